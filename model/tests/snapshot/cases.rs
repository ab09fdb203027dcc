//! Snapshots at moments that schedules meet too rarely.

use crate::support::image::Plan;
use crate::support::{self, Answer, DONE, Guest, Host, config, refused};
use crate::view::View;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex, VirtualAddress};
use uvsim_model::config::{ChangeDetection, CipherProfile, MachineConfig};
use uvsim_model::cpu::HostCpu;
use uvsim_model::storage::Asce;
use uvsim_model::uvc::Command;
use uvsim_model::{Injection, Machine, OthersOperate, Reset, RestoreError, RunState};

const P: PageIndex = PageIndex(5);

/// Runs a future three times from one snapshot. It must come to the same each time, and the machine must go back.
fn three_times<T: PartialEq + core::fmt::Debug>(host: &mut Host<'_>, mut future: impl FnMut(&mut Host<'_>) -> T) {
    host.cpu.snapshot().unwrap();
    let before = View::of(&host.cpu);
    let first = (future(host), View::of(&host.cpu));
    for _ in 0..2 {
        host.cpu.restore().unwrap();
        assert_eq!(before.difference(&View::of(&host.cpu)), None, "the machine is another one");
        let again = (future(host), View::of(&host.cpu));
        assert_eq!(first.1.difference(&again.1), None, "the future is another one");
        assert_eq!(first.0, again.0);
    }
    host.cpu.restore().unwrap();
    assert_eq!(before.difference(&View::of(&host.cpu)), None, "the machine is another one");
}

#[test]
fn without_a_snapshot_there_is_nothing_to_go_back_to() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    host.store_u64(0x5000, 1);
    let before = View::of(&host.cpu);
    assert_eq!(host.cpu.restore(), Err(RestoreError::NoSnapshot));
    assert_eq!(before.difference(&View::of(&host.cpu)), None);
}

#[test]
fn nobody_else_may_operate_at_either_moment() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    host.cpu.snapshot().unwrap();
    host.store_u64(0x5000, 1);
    let other = machine.cpu(1).unwrap();
    assert_eq!(host.cpu.snapshot(), Err(OthersOperate));
    assert_eq!(host.cpu.restore(), Err(RestoreError::OthersOperate(OthersOperate)));
    drop(other);
    let channel = machine.channel();
    assert_eq!(host.cpu.snapshot(), Err(OthersOperate));
    assert_eq!(host.cpu.restore(), Err(RestoreError::OthersOperate(OthersOperate)));
    drop(channel);
    assert_eq!(host.cpu.load_u64(VirtualAddress(0x5000)), Ok(1), "what is refused has changed nothing");
    host.cpu.restore().unwrap();
    assert_eq!(host.cpu.load_u64(VirtualAddress(0x5000)), Ok(0));
}

#[test]
fn a_new_snapshot_takes_the_place_of_the_last_one() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, 0x5000, &[1]).unwrap();
    host.cpu.snapshot().unwrap();
    host.guest_store(&guest, 0x5000, &[2]).unwrap();
    assert_eq!(host.export(frame), DONE);
    let second = View::of(&host.cpu);
    host.cpu.snapshot().unwrap();
    for _ in 0..3 {
        assert_eq!(host.import(&guest, P), DONE);
        assert_eq!(host.guest_load(&guest, 0x5000, 1), Ok(vec![2]));
        host.guest_store(&guest, 0x5000, &[3]).unwrap();
        assert_eq!(host.export(frame), DONE);
        host.cpu.restore().unwrap();
        assert_eq!(second.difference(&View::of(&host.cpu)), None);
    }
}

/// Whoever goes back goes on; registers and prefix are those of the snapshot, on all CPUs.
#[test]
fn registers_of_all_cpus_come_back_and_any_cpu_may_ask_for_it() {
    let machine = support::machine(config());
    let set = |cpu: &mut HostCpu<'_>, value: u64| {
        cpu.set_home(Asce(value << 12));
        cpu.set_primary(Asce(value << 13));
        cpu.set_prefix(value << 14).unwrap();
        cpu.set_problem_state(value % 2 == 1);
    };
    let mut first = machine.cpu(0).unwrap();
    set(&mut first, 2);
    set(&mut machine.cpu(1).unwrap(), 3);
    first.snapshot().unwrap();
    let before = [first.registers(), machine.cpu(1).unwrap().registers()];
    set(&mut first, 4);
    drop(first);
    let mut second = machine.cpu(1).unwrap();
    set(&mut second, 6);
    machine.advance_clock(77);
    second.restore().unwrap();
    assert_eq!([machine.cpu(0).unwrap().registers(), second.registers()], before);
    assert_eq!(machine.clock(), 0);
}

fn content(page: u64) -> [u8; 4096] {
    core::array::from_fn(|index| (index as u64 * 7 + page) as u8)
}

fn unpack(host: &mut Host<'_>, guest: &Guest, page: u64) -> Answer {
    let fields = [(0x18, 8, guest.handle), (0x20, 8, page << 12), (0x28, 8, 1), (0x30, 8, page << 12)];
    host.call(Command::UnpackImg, &fields)
}

#[test]
fn in_the_middle_of_an_image() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let image = Plan::of(&machine, [3, 4].map(|page| (page << 12, [1, page << 12], content(page))).to_vec()).make();
    let header = host.allocate(0x1000);
    host.store(header, &image.header);
    let fields = [(0x18, 8, guest.handle), (0x20, 8, header), (0x28, 4, image.header.len() as u64)];
    assert_eq!(host.call(Command::SetSecConfParams, &fields), DONE);
    for (page, (_, _, bytes)) in [3, 4].into_iter().zip(&image.pages) {
        let frame = host.frame();
        host.store(frame.address().0, bytes);
        host.map(&guest, PageIndex(page), frame);
    }
    assert_eq!(unpack(&mut host, &guest, 3), DONE);
    let verify = |host: &mut Host<'_>| host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]);
    // Too early, then as it should be.
    three_times(&mut host, |host| {
        assert_eq!(verify(host), Answer { cc: 1, rc: 0x102, rrc: 0x1d });
        assert_eq!(unpack(host, &guest, 4), DONE);
        assert_eq!(verify(host), DONE);
        host.set_state(&guest, 5)
    });
    // A page that is another one does not leave its digest behind.
    host.cpu.snapshot().unwrap();
    let frame = host.cpu.machine().page(guest.handle, PageIndex(3)).unwrap().record.frame().unwrap();
    host.store(frame.address().0 + 0x1000, &[0xff; 64]);
    assert_eq!(unpack(&mut host, &guest, 4), DONE);
    assert_eq!(verify(&mut host), Answer { cc: 1, rc: 0x102, rrc: 0x1b });
    host.cpu.restore().unwrap();
    assert_eq!(unpack(&mut host, &guest, 4), DONE);
    assert_eq!(verify(&mut host), DONE);
}

#[test]
fn with_a_reset_prepared() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    assert_eq!(host.set_state(&guest, 2), DONE);
    for command in [Command::SetUnsharedAll, Command::PrepareReset] {
        assert_eq!(host.call(command, &[(0x18, 8, guest.handle)]), DONE);
    }
    three_times(&mut host, |host| {
        assert!(machine.secure_cpu(guest.cpu).unwrap().owes_reset);
        assert_eq!(host.set_state(&guest, 5), refused(0x104));
        assert_eq!(host.call(Command::CpuResetClear, &[(0x18, 8, guest.cpu)]), DONE);
        assert_eq!(host.set_state(&guest, 5), DONE);
        assert_eq!(machine.cpu_state(guest.cpu), Some(RunState::Operating));
        host.enter(&guest).map(drop)
    });
}

/// Handles, ids, keys and domains are drawn again as they were; what has ended lives again.
#[test]
fn everything_ends_and_begins_anew() {
    for profile in [CipherProfile::Gcm, CipherProfile::Xts] {
        let machine = support::machine(MachineConfig { cipher: profile, ..config() });
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        let mut next = host.prepare(1);
        let frame = host.resident(&guest, P);
        host.guest_store(&guest, 0x5000, &[9; 100]).unwrap();
        three_times(&mut host, |host| {
            let mut seen = Vec::new();
            assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
            assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), DONE);
            for reset in [None, Some(Reset::LoadNormal), Some(Reset::Clear)] {
                if let Some(reset) = reset {
                    host.cpu.reset_machine(reset).unwrap();
                    assert_eq!(host.init(), DONE);
                }
                if reset == Some(Reset::Clear) {
                    continue;
                }
                assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&next)), DONE);
                next.handle = host.output(0x18);
                host.create_cpu(&mut next);
                host.map(&next, P, frame);
                assert_eq!(host.import(&next, P), DONE);
                assert_eq!(host.export(frame), DONE);
                seen.push((next.handle, next.cpu, machine.unique_id(next.handle), host.page_bytes(frame)));
            }
            assert_eq!(machine.domain(guest.handle), None);
            seen
        });
        assert_eq!(host.guest_load(&guest, 0x5000, 4), Ok(vec![9; 4]), "it lives");
        assert_eq!(host.export(frame), DONE);
        assert_eq!(host.import(&guest, P), DONE);
    }
}

/// After a restore the counter of a page goes back, and its next content is another one.
#[test]
fn a_page_is_exported_again_with_another_content() {
    for (cipher, change_detection) in
        [(CipherProfile::Gcm, ChangeDetection::Digest), (CipherProfile::Xts, ChangeDetection::Always)]
    {
        let machine = support::machine(MachineConfig { cipher, change_detection, ..config() });
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        let frame = host.resident(&guest, P);
        host.cpu.snapshot().unwrap();
        let mut seen = Vec::new();
        for round in 0..4u8 {
            host.guest_store(&guest, 0x5000, &[round]).unwrap();
            assert_eq!(host.export(frame), DONE);
            assert_eq!(machine.page(guest.handle, P).unwrap().counter, 1);
            seen.push(host.page_bytes(frame).unwrap());
            assert_eq!(host.import(&guest, P), DONE);
            assert_eq!(host.guest_load(&guest, 0x5000, 1), Ok(vec![round]));
            host.cpu.restore().unwrap();
        }
        assert!((1..seen.len()).all(|at| seen[at] != seen[at - 1]));
    }
}

#[test]
fn injected_answers_come_back_with_what_is_left_of_them() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    machine.inject(Command::ConvFromSecStor, Injection::Busy(2));
    machine.inject(Command::ConvFromSecStor, Injection::Partial(1));
    assert_eq!(host.export(frame).cc, 2);
    three_times(&mut host, |host| {
        machine.inject(Command::PinPageShared, Injection::Busy(1));
        let cc = [host.export(frame).cc, host.export(frame).cc, host.export(frame).cc];
        assert_eq!(cc, [2, 3, 0]);
        // A machine reset forgets them.
        host.cpu.reset_machine(Reset::LoadNormal).unwrap();
        host.init()
    });
}

/// Tables of a host space at 1 GiB that map page 3 to a frame.
struct Space;

const SEGMENTS: u64 = 0x4000_0000;
const TABLE: u64 = 0x4000_4000;
const ENTRY: u64 = TABLE + 3 * 8;
const ASCE: Asce = Asce(SEGMENTS | 3);
const FRAMES: [u64; 2] = [0x4010_0000, 0x4010_1000];

impl Space {
    fn lay(cpu: &mut HostCpu<'_>) {
        let mut store = |at, value| cpu.store_u64(VirtualAddress(at), value).unwrap();
        store(SEGMENTS, TABLE);
        store(ENTRY, FRAMES[0]);
        FRAMES.into_iter().zip(1..).for_each(|(frame, value)| store(frame, value));
    }

    /// What a CPU finds at page 3.
    fn look(cpu: &mut HostCpu<'_>) -> u64 {
        cpu.set_home(ASCE);
        cpu.set_translation(true);
        let found = cpu.load_u64(VirtualAddress(0x3000));
        cpu.set_translation(false);
        found.unwrap()
    }
}

#[test]
fn a_host_that_forgot_to_purge_finds_the_old_frame_again() {
    // Under the oracle, and without a witness, where accesses go the short way.
    let (watched, bare) = (support::machine(config()), Machine::new(config()).unwrap());
    for machine in [&*watched, &bare] {
        let mut cpu = machine.cpu(0).unwrap();
        Space::lay(&mut cpu);
        assert_eq!(Space::look(&mut cpu), 1);
        cpu.store_u64(VirtualAddress(ENTRY), FRAMES[1]).unwrap();
        cpu.snapshot().unwrap();
        for _ in 0..3 {
            assert_eq!(Space::look(&mut cpu), 1, "it is stale");
            cpu.ptlb().unwrap();
            assert_eq!(Space::look(&mut cpu), 2);
            cpu.restore().unwrap();
        }
        // The other way round: what was formed since the snapshot is gone.
        cpu.ptlb().unwrap();
        cpu.snapshot().unwrap();
        for (frame, value) in FRAMES.into_iter().zip(1..) {
            cpu.store_u64(VirtualAddress(ENTRY), frame).unwrap();
            assert_eq!(Space::look(&mut cpu), value);
            cpu.restore().unwrap();
        }
    }
}

#[test]
fn purges_that_a_stopped_cpu_was_asked_for_are_not_lost_nor_done_too_early() {
    let (watched, bare) = (support::machine(config()), Machine::new(config()).unwrap());
    for machine in [&*watched, &bare] {
        let mut cpu = machine.cpu(0).unwrap();
        Space::lay(&mut cpu);
        let look = || Space::look(&mut machine.cpu(1).unwrap());
        let remap = |cpu: &mut HostCpu<'_>, frame| {
            cpu.ipte(AbsoluteAddress(TABLE), VirtualAddress(0x3000)).unwrap();
            cpu.store_u64(VirtualAddress(ENTRY), frame).unwrap();
        };
        assert_eq!(look(), 1);
        remap(&mut cpu, FRAMES[1]);
        cpu.snapshot().unwrap();
        assert_eq!(look(), 2, "asked before the snapshot");
        // Asked for after the snapshot, and the machine goes back before it is done.
        cpu.store_u64(VirtualAddress(ENTRY), FRAMES[0]).unwrap();
        cpu.snapshot().unwrap();
        remap(&mut cpu, FRAMES[0]);
        cpu.restore().unwrap();
        assert_eq!(look(), 2, "it is stale, and nobody has asked");
        cpu.restore().unwrap();
        remap(&mut cpu, FRAMES[0]);
        assert_eq!(look(), 1);
    }
}

/// A frame that changes its state voids translations to it. When that is taken back, so is this.
#[test]
fn a_stale_translation_comes_back_though_its_frame_has_changed() {
    let (watched, bare) = (support::machine(config()), Machine::new(config()).unwrap());
    for machine in [&*watched, &bare] {
        let mut host = Host::ready(machine);
        let guest = host.start(1);
        Space::lay(&mut host.cpu);
        assert_eq!(Space::look(&mut host.cpu), 1);
        host.store_u64(ENTRY, FRAMES[1]);
        host.cpu.snapshot().unwrap();
        let frame = AbsoluteAddress(FRAMES[0]).frame();
        for _ in 0..3 {
            host.map(&guest, P, frame);
            assert_eq!((host.import(&guest, P), host.export(frame)), (DONE, DONE));
            assert_eq!(Space::look(&mut host.cpu), 2, "through the tables");
            host.cpu.restore().unwrap();
            assert_eq!(Space::look(&mut host.cpu), 1, "it is stale");
            host.cpu.restore().unwrap();
        }
    }
}

/// A zone entry that changes voids translations by a count; one that goes back must not make others valid.
#[test]
fn translations_are_not_made_valid_by_a_count_that_goes_back() {
    let (watched, bare) = (support::machine(config()), Machine::new(config()).unwrap());
    for machine in [&*watched, &bare] {
        let mut host = Host::ready(machine);
        let guest = host.start(1);
        let frames = [host.frame(), host.frame()];
        host.map(&guest, P, frames[0]);
        host.cpu.snapshot().unwrap();
        for _ in 0..3 {
            // The guest buffers the frame under a count that comes again below.
            assert_eq!(host.import(&guest, P), DONE);
            host.guest_store(&guest, 0x5000, &[7]).unwrap();
            host.cpu.restore().unwrap();
            host.map_without_purge(&guest, P, frames[1]);
            assert_eq!(host.import(&guest, P), DONE);
            assert_eq!(host.guest_load(&guest, 0x5000, 1), Ok(vec![0]), "through the tables");
            host.guest_store(&guest, 0x5000, &[8]).unwrap();
            assert_eq!(host.page_bytes(frames[0]).unwrap()[0], 0);
            host.cpu.restore().unwrap();
        }
    }
}

/// Frames of chunks that did not exist at the snapshot hold zeros again.
#[test]
fn storage_that_was_never_touched_is_so_again() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    three_times(&mut host, |host| {
        host.store(0x7000_0ffc, &[1; 8]);
        machine.channel().write(AbsoluteAddress(0x7100_0000), &[2; 0x3000]).unwrap();
        host.load(0x7000_0000, 0x2000)
    });
    assert_eq!(host.page_bytes(FrameNumber(0x7_0000)), Ok(vec![0; 4096]));
}
