//! Conformance, initialisation, configurations and CPUs: C23–C52, D11, D12, D17, D20, D27–D29.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, generation, with};
use std::collections::BTreeSet;
use support::{Answer, BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::storage::{Donation, FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, Injection, MAX_CPU_NUMBER, Machine, PageRecord, Reset,
    RunState, UV_BASE_LENGTH,
};

const END: u64 = 4 << 30;
const GOOD_INIT: [Field; 2] = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];

/// Every page of an area raises 0x3d on loads and stores of the host.
#[track_caller]
fn is_donated(host: &mut Host<'_>, origin: u64, len: u64) {
    for at in (origin..origin + len).step_by(0x1000) {
        let code = host.load(at, 8).unwrap_err().code;
        assert_eq!(code, ProgramCode::SecureStorageAccess, "load at {at:#x}");
        let code = host.cpu.store(VirtualAddress(at), &[1]).unwrap_err().code;
        assert_eq!(code, ProgramCode::SecureStorageAccess, "store at {at:#x}");
    }
}

/// Every page of an area can be read and is zero.
#[track_caller]
fn is_zero(host: &mut Host<'_>, origin: u64, len: u64) {
    for at in (origin..origin + len).step_by(0x1000) {
        assert_eq!(host.load(at, 4096), Ok(vec![0; 4096]), "page at {at:#x}");
    }
}

fn variable_length(guest: &Guest) -> u64 {
    CONFIGURATION_FIXED_LENGTH + guest.mebibytes * 0x1000
}

#[test]
fn c23_init_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    for length in [0x40, 0x50] {
        host.refuse_raw(0x000f, length, &GOOD_INIT, refused(5));
    }
}

#[test]
fn c24_init_with_too_little_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    for len in [UV_BASE_LENGTH - 8, UV_BASE_LENGTH + 0x1000, 0, u64::MAX] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x20, 8, len)]), refused(0x103));
    }
    assert!(!machine.is_initialised());
}

#[test]
fn c25_init_ignores_low_bits() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    assert_eq!(host.call(Command::InitUv, &[(0x18, 8, UV_BASE + 0xf_fff8), (0x20, 8, UV_BASE_LENGTH + 0xff8)]), DONE);
    assert_eq!(host.load(UV_BASE, 1).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert!(host.load(UV_BASE + UV_BASE_LENGTH, 1).is_ok());
}

#[test]
fn c26_init_at_the_end_of_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    for origin in [END, END + (1 << 30), u64::MAX] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x104));
    }
}

#[test]
fn c27_init_beyond_the_end_of_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    for origin in [END - (1 << 20), END - UV_BASE_LENGTH + (1 << 20)] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x105));
    }
    assert_eq!(host.call(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, END - UV_BASE_LENGTH)])), DONE);
}

#[test]
fn c28_init_below_two_gibibytes() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    for origin in [1 << 30, UV_BASE - 1, 0] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x108));
    }
}

#[test]
fn c29_init_while_another_cpu_operates() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    let other = machine.cpu(1).unwrap();
    host.refuse_unchanged(Command::InitUv, &GOOD_INIT, refused(0x102));
    drop(other);
    assert_eq!(host.issue(BLOCK), Ok(DONE));
}

#[test]
fn c30_init_takes_the_area() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    host.store(UV_BASE + 0x1000, b"host data");
    let log = scene::Log::of(&machine);
    assert_eq!(host.init(), DONE);
    assert!(machine.is_initialised());
    let transitions = log.transitions();
    assert_eq!((transitions.len() as u64, transitions[0]), (UV_BASE_LENGTH / 4096, "T76"));
    is_donated(&mut host, UV_BASE, UV_BASE_LENGTH);
    assert_eq!(machine.frame_state(AbsoluteAddress(UV_BASE).frame()), FrameState::Donated(Donation::Base));
    machine.check_invariants().unwrap();
}

#[test]
fn c31_init_twice() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let other = UV_BASE + (128 << 20);
    host.store(other, b"mine");
    host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, other)]), refused(0x101));
    host.refuse_unchanged(Command::InitUv, &GOOD_INIT, refused(0x101));
    assert_eq!(host.load(other, 4).unwrap(), b"mine");
}

#[test]
fn c32_t43_a_machine_reset_returns_everything() {
    for reset in [Reset::LoadNormal, Reset::Clear] {
        let machine = Machine::new(config()).unwrap();
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        let secret = host.resident(&guest, PageIndex(3));
        host.guest_store(&guest, 0x3000, b"secret").unwrap();
        let open = host.shared(&guest, PageIndex(4), b"open");
        let held = host.shared(&guest, PageIndex(5), b"held");
        assert_eq!(host.pin(held), DONE);
        let exported = host.resident(&guest, PageIndex(6));
        assert_eq!(host.export(exported), DONE);
        let cipher = host.page_bytes(exported).unwrap();
        // A second configuration, ended, whose page is left over (O).
        let gone = host.start(1);
        let orphan = host.resident(&gone, PageIndex(3));
        host.guest_store(&gone, 0x3000, b"orphan").unwrap();
        host.destroy_guest(&gone, Command::DestroySecConfFast);
        let log = scene::Log::of(&machine);

        host.cpu.reset_machine(reset).unwrap();
        assert!(log.transitions().iter().all(|&rule| rule == "T43"));
        assert!(!machine.is_initialised());
        for (origin, len) in [
            (UV_BASE, UV_BASE_LENGTH),
            (guest.base, CONFIGURATION_BASE_LENGTH),
            (guest.variable, variable_length(&guest)),
            (guest.cpu_storage, 0x1000),
            (secret.address().0, 0x1000),
            (orphan.address().0, 0x1000),
        ] {
            is_zero(&mut host, origin, len);
        }
        for frame in [secret, open, held, exported, orphan] {
            assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
        }
        let clear = reset == Reset::Clear;
        let kept = |bytes: &[u8]| if clear { vec![0; bytes.len()] } else { bytes.to_vec() };
        assert_eq!(host.load(open.address().0, 4).unwrap(), kept(b"open"));
        assert_eq!(host.load(held.address().0, 4).unwrap(), kept(b"held"));
        assert_eq!(host.page_bytes(exported).unwrap(), kept(&cipher));
        machine.check_invariants().unwrap();

        // C12 holds again, old handles are dead (D20), and INIT works.
        host.refuse_unchanged(Command::ConvToSecStor, &[(0x18, 8, guest.handle)], refused(3));
        assert!(machine.domain(guest.handle).is_none() && machine.cpu_state(guest.cpu).is_none());
        assert_eq!(host.init(), DONE);
        host.refuse_unchanged(Command::DestroySecConf, &[(0x18, 8, guest.handle)], refused(0x20));
        host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)], refused(0x21));
        let again = host.start(1);
        assert!(again.handle != guest.handle && again.cpu != guest.cpu);
    }
}

#[test]
fn d29_a_machine_reset_needs_the_other_cpus_stopped() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let other = machine.cpu(1).unwrap();
    assert!(host.cpu.reset_machine(Reset::LoadNormal).is_err());
    assert!(machine.is_initialised());
    drop(other);
    assert!(host.cpu.reset_machine(Reset::LoadNormal).is_ok());
}

/// A machine with a configuration and everything that a CPU of it needs, but no CPU.
fn without_cpu(host: &mut Host<'_>) -> Guest {
    let mut guest = host.prepare(1);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    guest.handle = host.output(0x18);
    guest
}

#[test]
fn c33_create_cpu_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    for length in [0x58, 0x68] {
        host.refuse_raw(0x0120, length, &Host::cpu_fields(&guest, 0), refused(5));
    }
}

#[test]
fn c34_to_c38_create_cpu_with_one_bad_field() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let good = Host::cpu_fields(&guest, 0);
    let fields: [(&str, Field, u16); 15] = [
        ("C34", (0x20, 8, guest.handle + 1), 0x20),
        ("C34", (0x20, 8, 0), 0x20),
        ("C35", (0x36, 2, u64::from(MAX_CPU_NUMBER) + 1), 0x103),
        ("C35", (0x36, 2, 0xffff), 0x103),
        ("C36", (0x28, 8, END + 0x1000), 0x105),
        ("C36", (0x28, 8, END), 0x105),
        ("D12", (0x28, 8, guest.cpu_storage + 8), 0x105),
        ("C37", (0x28, 8, 0), 0x106),
        ("D12", (0x28, 8, 0x1000), 0x106),
        ("D12", (0x28, 8, 0x1fff), 0x106),
        ("C38", (0x38, 8, END + 0x1000), 0x107),
        ("D12", (0x38, 8, UV_BASE), 0x107),
        ("D12", (0x38, 8, guest.base), 0x107),
        ("D12", (0x38, 8, guest.state_description + 256), 0x107),
        ("D12", (0x38, 8, guest.cpu_storage), 0x107),
    ];
    for (case, field, rc) in fields {
        println!("{case}");
        host.refuse_unchanged(Command::CreateSecCpu, &with(&good, &[field]), refused(rc));
    }
}

#[test]
fn d12_cpu_storage_must_not_lie_in_the_prefix_area() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    for at in [prefix, prefix + 0x1000, prefix - 0xfff] {
        host.refuse_unchanged(
            Command::CreateSecCpu,
            &with(&Host::cpu_fields(&guest, 0), &[(0x28, 8, at)]),
            refused(0x106),
        );
    }
}

#[test]
fn c39_create_cpu_takes_its_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    assert_eq!(host.call(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0)), DONE);
    let cpu = host.output(0x18);
    assert_ne!(cpu, 0);
    is_donated(&mut host, guest.cpu_storage, 0x1000);
    assert_eq!(machine.cpu_state(cpu), Some(RunState::Stopped));
    let domain = machine.domain(guest.handle).unwrap();
    let frame = AbsoluteAddress(guest.cpu_storage).frame();
    assert_eq!(machine.frame_state(frame), FrameState::Donated(Donation::Cpu(domain)));
    machine.check_invariants().unwrap();
}

#[test]
fn c40_a_cpu_number_that_exists() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let fresh = host.allocate(0x1000);
    let fields = with(&Host::cpu_fields(&guest, 0), &[(0x28, 8, fresh)]);
    host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x104));
    assert!(host.load(fresh, 8).is_ok());
}

#[test]
fn c41_the_highest_cpu_number() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let (storage, state) = (host.allocate(0x1000), host.allocate(0x1000));
    let number = u64::from(MAX_CPU_NUMBER);
    let fields = with(&Host::cpu_fields(&guest, number), &[(0x28, 8, storage), (0x38, 8, state)]);
    assert_eq!(host.call(Command::CreateSecCpu, &fields), DONE);
    assert_ne!(host.output(0x18), guest.cpu);
}

#[test]
fn c42_t77_cpu_storage_that_is_taken() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secure = host.resident(&guest, PageIndex(3)).address().0;
    let open = host.shared(&guest, PageIndex(4), b"open").address().0;
    // D37: a shared frame, though the host has access to it, is not N.
    for taken in [guest.cpu_storage, guest.base, guest.variable, UV_BASE, secure, open] {
        let fields = with(&Host::cpu_fields(&guest, 1), &[(0x28, 8, taken)]);
        host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x105));
    }
}

#[test]
fn c43_destroy_cpu_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for length in [0x38, 0x48] {
        host.refuse_raw(0x0121, length, &[(0x18, 8, guest.cpu)], refused(5));
    }
}

#[test]
fn c44_destroy_cpu_of_an_unknown_handle() {
    for preset in [Generation::Z15, Generation::Z16] {
        let machine = Machine::new(generation(preset)).unwrap();
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        // D15: 0x21 on all generations; a configuration's handle is in another name space.
        for handle in [guest.cpu + 1, guest.cpu - 1, 0, u64::MAX, guest.handle] {
            host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, handle)], refused(0x21));
        }
        for handle in [guest.handle + 1, 0, guest.cpu] {
            host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, handle)], refused(0x20));
        }
    }
}

#[test]
fn c45_t42_destroy_cpu_returns_its_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let log = scene::Log::of(&machine);
    assert_eq!(host.destroy_cpu(&guest), DONE);
    assert_eq!(log.transitions(), ["T42"]);
    is_zero(&mut host, guest.cpu_storage, 0x1000);
    host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)], refused(0x21));
    assert!(machine.cpu_state(guest.cpu).is_none());
    assert_eq!(host.call(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0)), DONE);
    assert_ne!(host.output(0x18), guest.cpu);
}

#[test]
fn c46_destroy_configuration_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    host.refuse_raw(0x0101, 0x38, &[(0x18, 8, guest.handle)], refused(5));
    host.refuse_raw(0x0101, 0x48, &[(0x18, 8, guest.handle)], refused(5));
    host.refuse_raw(0x0102, 0x40, &[(0x18, 8, guest.handle)], refused(5));
}

#[test]
fn c47_destroy_configuration_of_an_unknown_handle() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        for handle in [guest.handle + 1, guest.handle - 1, 0, u64::MAX] {
            host.refuse_unchanged(command, &[(0x18, 8, handle)], refused(0x20));
        }
    }
}

#[test]
fn c48_t42_destroy_configuration_returns_its_storage() {
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        let machine = Machine::new(config()).unwrap();
        let mut host = Host::ready(&machine);
        let guest = without_cpu(&mut host);
        is_donated(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
        is_donated(&mut host, guest.variable, variable_length(&guest));
        let log = scene::Log::of(&machine);
        assert_eq!(host.call(command, &[(0x18, 8, guest.handle)]), DONE);
        let transitions = log.transitions();
        assert_eq!(transitions.len() as u64, (CONFIGURATION_BASE_LENGTH + variable_length(&guest)) / 4096);
        assert!(transitions.iter().all(|&rule| rule == "T42"));
        is_zero(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
        is_zero(&mut host, guest.variable, variable_length(&guest));
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x20));
        machine.check_invariants().unwrap();
    }
}

#[test]
fn c49_a_configuration_with_a_cpu_cannot_be_destroyed() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x105));
    }
    host.resident(&guest, PageIndex(3));
    assert_eq!(host.guest_store(&guest, 0x3000, b"usable"), Ok(()));
}

#[test]
fn c50_a_configuration_can_be_made_again() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let mut live = guest.handle;
    let mut issued = BTreeSet::from([live]);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast, Command::DestroySecConf] {
        assert_eq!(host.call(command, &[(0x18, 8, live)]), DONE);
        assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
        live = host.output(0x18);
        assert!(issued.insert(live), "a handle came back (D20)");
    }
}

#[test]
fn c52_t41_t52_a_fast_destroy_leaves_the_guest_frames() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frames: Vec<FrameNumber> = (3..6).map(|page| host.resident(&guest, PageIndex(page))).collect();
    for page in 3..6 {
        host.guest_store(&guest, page * 0x1000, b"secret").unwrap();
    }
    let log = scene::Log::of(&machine);
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    assert_eq!(log.take().last().map(|event| format!("{event:?}").contains("T41")), Some(true));
    is_zero(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
    is_zero(&mut host, guest.variable, variable_length(&guest));
    for frame in frames {
        assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess, "T9");
        let FrameState::Secure(domain, _) = machine.frame_state(frame) else { panic!("{frame:?}") };
        assert!(machine.is_discarded(domain));
        assert_eq!(host.destroy(frame), DONE);
        assert_eq!(log.transitions(), ["T52"]);
        assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn t40_d27_a_destroy_returns_secure_frames_as_zeros_and_shared_ones_as_they_are() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secret = host.resident(&guest, PageIndex(3));
    host.guest_store(&guest, 0x3000, b"secret").unwrap();
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    host.destroy_guest(&guest, Command::DestroySecConf);
    for frame in [secret, open, held] {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    assert_eq!(host.page_bytes(secret), Ok(vec![0; 4096]));
    assert_eq!(host.load(open.address().0, 4).unwrap(), b"open");
    assert_eq!(host.load(held.address().0, 4).unwrap(), b"held");
    machine.check_invariants().unwrap();
}

#[test]
fn d28_what_a_fast_destroy_leaves_of_shared_pages() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut leftovers = Vec::new();
    for page in 3..9u64 {
        let frame = host.shared(&guest, PageIndex(page), b"left");
        if page % 2 == 0 {
            assert_eq!(host.pin(frame), DONE);
        }
        leftovers.push(frame);
    }
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    let log = scene::Log::of(&machine);
    for &frame in &leftovers {
        assert_eq!(host.load(frame.address().0, 4).unwrap(), b"left");
        // PIN does nothing, and another guest gets 0x3e.
        let before = machine.frame_state(frame);
        assert_eq!(host.pin(frame), DONE);
        assert_eq!(machine.frame_state(frame), before);
        host.map(&other, PageIndex(7), frame);
        let found = scene::code_and_address(host.guest_load(&other, 0x7000, 4));
        assert_eq!(found, (ProgramCode::NonSecureStorageAccess, 0x7000));
        // D37: it is not N, so it cannot be donated.
        let fields = with(&Host::cpu_fields(&other, 1), &[(0x28, 8, frame.address().0)]);
        host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x105));
    }
    log.take();
    // Export drops the registration and keeps the bytes, destroy clears, import takes over.
    for &frame in &leftovers[..2] {
        assert_eq!(host.export(frame), DONE);
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
        assert_eq!(host.load(frame.address().0, 4).unwrap(), b"left");
    }
    for &frame in &leftovers[2..4] {
        assert_eq!(host.destroy(frame), DONE);
        assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    }
    assert_eq!(log.transitions(), ["T48", "T48", "T52", "T52"]);
    for (page, &frame) in (10..).map(PageIndex).zip(&leftovers[4..]) {
        host.map(&other, page, frame);
        assert_eq!(host.import(&other, page), DONE);
        assert_eq!(log.transitions(), ["T35"]);
        assert_eq!(machine.frame_state(frame), scene::secure(&machine, &other, page));
        assert_eq!(host.guest_load(&other, page.0 * 4096, 4096), Ok(vec![0; 4096]));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn d28_without_misc_a_leftover_cannot_be_taken_over() {
    let machine = Machine::new(MachineConfig { feature_misc: Some(false), ..config() }).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PageIndex(3), b"left");
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    host.map(&other, PageIndex(7), frame);
    let fields = [(0x18, 8, other.handle), (0x20, 8, 0x7000)];
    host.refuse_unchanged(Command::ConvToSecStor, &fields, refused(0x104));
}

#[test]
fn t39_t48_an_orphan_is_reclaimed_before_it_serves_again() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(3));
    host.guest_store(&guest, 0x3000, b"secret").unwrap();
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    host.map(&other, PageIndex(7), frame);
    let log = scene::Log::of(&machine);
    let fields = [(0x18, 8, other.handle), (0x20, 8, 0x7000)];
    host.refuse_unchanged(Command::ConvToSecStor, &fields, refused(0x104));
    assert_eq!(log.last_call(), "T39");
    let found = scene::code_and_address(host.guest_load(&other, 0x7000, 4));
    assert_eq!(found, (ProgramCode::SecureStorageViolation, 0x7000), "T17");
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.transitions(), ["T48"]);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    assert_eq!(host.import(&other, PageIndex(7)), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn d11_create_configuration_with_one_bad_field() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let max = uvsim_model::MAX_GUEST_ADDRESS;
    let taken = host.create(1);
    let good = Host::create_fields(&guest);
    let cases: Vec<(Field, u16)> = vec![
        ((0x38, 8, max + 1), 0x101),
        ((0x38, 8, u64::MAX), 0x101),
        ((0x38, 8, max), 0x102),
        ((0x40, 8, max + (1 << 20)), 0x102),
        ((0x40, 8, u64::MAX), 0x102),
        ((0x38, 8, 0x1000), 0x103),
        ((0x40, 8, 0x10_1000), 0x103),
        ((0x40, 8, 0), 0x103),
        ((0x50, 8, guest.asce.0 & !0x100), 0x105),
        ((0x50, 8, guest.asce.0 | 0x20), 0x105),
        ((0x50, 8, taken.asce.0), 0x104),
        ((0x50, 8, taken.asce.0 ^ 0x3), 0x104),
        ((0x20, 8, END), 0x108),
        ((0x20, 8, END + 8), 0x108),
        ((0x20, 8, u64::MAX), 0x108),
        ((0x20, 8, END - 0x8000), 0x108),
        ((0x20, 8, taken.base), 0x108),
        ((0x20, 8, taken.base - 0x1000), 0x108),
        ((0x20, 8, taken.base + CONFIGURATION_BASE_LENGTH - 8), 0x108),
        // Unaligned, the area reaches one frame further.
        ((0x20, 8, taken.base - CONFIGURATION_BASE_LENGTH + 8), 0x108),
        ((0x20, 8, guest.base + 8), 0x106),
        ((0x20, 8, 0), 0x109),
        ((0x28, 8, END), 0x32),
        ((0x28, 8, END + 8), 0x32),
        ((0x28, 8, END - 0x1000), 0x32),
        ((0x28, 8, u64::MAX - 0xfff), 0x31),
        ((0x28, 8, guest.variable + 8), 0x10a),
        ((0x28, 8, 0), 0x10e),
        ((0x28, 8, 0x1000), 0x10e),
        ((0x28, 8, guest.base), 0x10b),
        ((0x28, 8, guest.base + CONFIGURATION_BASE_LENGTH - 0x1000), 0x10b),
        ((0x28, 8, taken.variable), 0x10b),
        ((0x28, 8, UV_BASE - 0x1000), 0x10b),
        ((0x48, 8, 0), 0x10c),
        ((0x48, 8, 0x3f), 0x10c),
        ((0x48, 8, END), 0x10d),
        ((0x48, 8, UV_BASE), 0x10d),
        ((0x48, 8, guest.base + 0x2000), 0x10d),
        ((0x48, 8, guest.variable), 0x10d),
        ((0x48, 8, taken.cpu_storage), 0x10d),
    ];
    for (field, rc) in cases {
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[field]), refused(rc));
    }
    // From 0x1000 on, the area would also hold the usual block.
    let elsewhere = host.allocate(0x1000);
    host.refuse_at(elsewhere, 0x0100, 0x80, &with(&good, &[(0x20, 8, 0x1000)]), refused(0x109));
    for length in [0x78, 0x88] {
        host.refuse_raw(0x0100, length, &good, refused(5));
    }
    // AP flags are ignored (D11).
    assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[(0x36, 2, 3)])), DONE);
    // The very same block again (Q36).
    host.refuse_unchanged(Command::CreateSecConf, &good, refused(0x104));
    machine.check_invariants().unwrap();
}

#[test]
fn d11_areas_must_not_lie_in_the_prefix_area() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    let good = Host::create_fields(&guest);
    for base in [prefix, prefix + 0x1000, prefix - CONFIGURATION_BASE_LENGTH + 0x1000] {
        let fields = with(&good, &[(0x20, 8, base), (0x28, 8, guest.base)]);
        host.refuse_unchanged(Command::CreateSecConf, &fields, refused(0x109));
    }
    // Real 0 is absolute `prefix`, and the other way round.
    for variable in [0, 0x1000, prefix, prefix + 0x1000] {
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x28, 8, variable)]), refused(0x10e));
    }
}

#[test]
fn d11_a_variable_area_is_translated_in_home_space() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let pages: Vec<FrameNumber> = (0..17).map(|_| host.frame()).collect();
    let good = Host::create_fields(&guest);
    let home = host.home_space();
    let at = |page: u64| (0x28, 8, home.window + page * 0x1000);
    for (index, &frame) in (0..).zip(&pages) {
        home.map(&mut host, index, frame, 0);
    }
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(1)]), refused(0x31));
    // One frame twice.
    home.map(&mut host, 9, pages[3], 0);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x10b));
    // A protected page, then one outside storage.
    home.map(&mut host, 9, pages[9], 0x200);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x31));
    home.map(&mut host, 9, AbsoluteAddress(END).frame(), 0);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x32));
    home.map(&mut host, 9, pages[9], 0);
    assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[at(0)])), DONE);
    let handle = host.output(0x18);
    let domain = machine.domain(handle).unwrap();
    for (index, &frame) in (0..).zip(&pages) {
        let state = FrameState::Donated(Donation::ConfigurationVariable(domain, home.window / 4096 + index));
        assert_eq!(machine.frame_state(frame), state);
    }
    // Unmapping it later has no effect (D16).
    for index in 0..17 {
        host.store_u64(home.table + index * 8, 0x400);
    }
    host.cpu.ptlb().unwrap();
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    for frame in pages {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    machine.check_invariants().unwrap();
}

#[test]
fn d11_a_real_space_home_refuses_virtual_operands() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    host.cpu.set_home(uvsim_model::storage::Asce(0x20));
    host.cpu.set_translation(true);
    host.refuse_unchanged(Command::CreateSecConf, &Host::create_fields(&guest), refused(0x30));
    host.cpu.set_translation(false);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
}

#[test]
fn t77_frames_that_are_not_free_cannot_be_donated() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let secret = host.resident(&guest, PageIndex(6));
    // The areas that begin in these frames must not reach the new ones.
    host.allocate(0x2_0000);
    let new = host.prepare(1);
    let good = Host::create_fields(&new);
    let log = scene::Log::of(&machine);
    for frame in [open, held, secret] {
        let at = frame.address().0;
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x20, 8, at)]), refused(0x108));
        assert_eq!(log.last_call(), "T77");
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x28, 8, at)]), refused(0x10b));
        assert_eq!(log.last_call(), "T77");
    }
    assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
}

#[test]
fn d17_a_late_failure_leaves_a_handle_to_destroy() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    machine.inject(Command::CreateSecConf, Injection::LateFailure);
    let answer = host.call(Command::CreateSecConf, &Host::create_fields(&guest));
    assert_eq!(answer, Answer { cc: 1, rc: 0x810f, rrc: 0 });
    let handle = host.output(0x18);
    assert!(machine.domain(handle).is_some());
    host.refuse_unchanged(Command::CreateSecConf, &Host::create_fields(&guest), refused(0x104));
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
}

#[test]
fn d20_handles_are_far_apart() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let mut handles = Vec::new();
    for _ in 0..20 {
        let guest = host.create(1);
        handles.extend([guest.handle, guest.cpu]);
    }
    for (index, &one) in handles.iter().enumerate() {
        assert_ne!(one, 0);
        for &other in &handles[..index] {
            assert!((one ^ other).count_ones() > 1 && one.abs_diff(other) > 1);
        }
    }
}

#[test]
fn d20_a_refusal_draws_nothing() {
    let handle = |refusals: bool| {
        let machine = Machine::new(config()).unwrap();
        let mut host = Host::ready(&machine);
        let guest = host.prepare(1);
        let good = Host::create_fields(&guest);
        if refusals {
            for field in [(0x48, 8, 0), (0x28, 8, 0), (0x20, 8, END)] {
                assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[field])).cc, 1);
            }
        }
        assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
        let handle = host.output(0x18);
        (handle, machine.unique_id(handle))
    };
    assert_eq!(handle(false), handle(true));
}

#[test]
fn an_object_of_a_dead_configuration_is_gone_for_every_command() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.destroy_guest(&guest, Command::DestroySecConf);
    for command in [
        Command::DestroySecConf,
        Command::DestroySecConfFast,
        Command::ConvToSecStor,
        Command::UnpinPageShared,
        Command::SetUnsharedAll,
        Command::SetSecConfParams,
        Command::UnpackImg,
        Command::VerifyImg,
    ] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x20));
    }
    host.refuse_unchanged(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0), refused(0x20));
    for command in [Command::DestroySecCpu, Command::CpuSetState] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.cpu), (0x27, 1, 1)], refused(0x21));
    }
    assert!(machine.page(guest.handle, PageIndex(0)).is_none());
}

#[test]
fn a_new_configuration_knows_no_page() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for page in 0..256 {
        assert_eq!(scene::record(&machine, &guest, PageIndex(page)), PageRecord::Absent);
    }
    assert!(machine.page(guest.handle, PageIndex(256)).is_none());
}
