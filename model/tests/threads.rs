//! Real threads, one CPU each: answers that only contention gives, and contents that no race may spoil.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::{Answer, DONE, Guest, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestCpu, GuestEvent, HostCpu, SieExit, Uvc};
use uvsim_model::storage::{Asce, FrameState, ProgramCode};
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{CONFIGURATION_BASE_LENGTH, Machine, PageRecord};

const P: PageIndex = PageIndex(5);

fn machine() -> Machine {
    Machine::new(MachineConfig { cpus: 4, ..config() }).unwrap()
}

/// Kernel code on one CPU that repeats what is busy.
struct Worker<'m> {
    cpu: HostCpu<'m>,
    block: u64,
    busy: u64,
}

impl<'m> Worker<'m> {
    fn new(machine: &'m Machine, number: u16) -> Self {
        Self { cpu: machine.cpu(number).unwrap(), block: 0x2_0000 + 0x1000 * u64::from(number), busy: 0 }
    }

    fn call(&mut self, command: Command, fields: &[(u64, u64)]) -> Answer {
        let length = usize::from(command.usual_length());
        let mut bytes = vec![0; length];
        bytes[..2].copy_from_slice(&(length as u16).to_be_bytes());
        bytes[2..4].copy_from_slice(&command.code().to_be_bytes());
        for &(offset, value) in fields {
            bytes[offset as usize..][..8].copy_from_slice(&value.to_be_bytes());
        }
        self.cpu.store(VirtualAddress(self.block), &bytes).unwrap();
        loop {
            let cc = self.cpu.uvc(Uvc::at(VirtualAddress(self.block))).unwrap();
            let mut codes = [0; 4];
            self.cpu.load(VirtualAddress(self.block + 4), &mut codes).unwrap();
            if cc == ConditionCode::Busy {
                assert_eq!(codes, [0; 4], "D3");
                self.busy += 1;
                thread::yield_now();
                continue;
            }
            let half = |at: usize| u16::from_be_bytes([codes[at], codes[at + 1]]);
            return Answer { cc: cc as u8, rc: half(0), rrc: half(2) };
        }
    }

    fn import(&mut self, guest: &Guest, page: PageIndex) -> Answer {
        self.call(Command::ConvToSecStor, &[(0x18, guest.handle), (0x20, page.0 * 4096)])
    }

    fn export(&mut self, frame: FrameNumber) -> Answer {
        self.call(Command::ConvFromSecStor, &[(0x18, frame.address().0)])
    }

    fn pin(&mut self, frame: FrameNumber) -> Answer {
        self.call(Command::PinPageShared, &[(0x18, frame.address().0)])
    }

    fn unpin(&mut self, guest: &Guest, page: PageIndex) -> Answer {
        self.call(Command::UnpinPageShared, &[(0x18, guest.handle), (0x20, page.0 * 4096)])
    }

    /// Lets the guest act until it succeeds; answers 0x3e, 112 and 108 as Linux does.
    fn guest<T>(&mut self, guest: &Guest, mut action: impl FnMut(&mut GuestCpu<'_, 'm>) -> Result<T, GuestEvent>) -> T {
        self.cpu.set_primary(guest.asce);
        for _ in 0..2_000_000 {
            let entered = self.cpu.enter(VirtualAddress(guest.state_description));
            let event = match entered.map(|mut cpu| action(&mut cpu)) {
                Ok(Ok(done)) => return done,
                Ok(Err(event)) => event,
                Err(exit) => GuestEvent::Exit(exit),
            };
            match event {
                GuestEvent::Exit(SieExit::HostInterruption(it)) if it.code == ProgramCode::NonSecureStorageAccess => {
                    let answer = self.import(guest, PageIndex(it.teid.address() / 4096));
                    assert_eq!(answer, DONE);
                }
                GuestEvent::Exit(SieExit::Interception(it)) if it.code == 108 => thread::yield_now(),
                other => panic!("{other}"),
            }
        }
        panic!("the guest makes no progress (I-44)");
    }

    fn guest_store(&mut self, guest: &Guest, at: u64, bytes: &[u8]) {
        self.guest(guest, |cpu| cpu.store(GuestAddress(at), bytes));
    }

    fn guest_load<const N: usize>(&mut self, guest: &Guest, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.guest(guest, |cpu| cpu.load(GuestAddress(at), &mut bytes));
        bytes
    }

    /// A guest call on a page, repeated while busy.
    fn guest_call(&mut self, guest: &Guest, command: Command, page: PageIndex) {
        const AT: u64 = 0x1e00;
        let mut bytes = [0; 0x30];
        bytes[..4].copy_from_slice(&[0, 0x30, (command.code() >> 8) as u8, command.code() as u8]);
        bytes[0x20..0x28].copy_from_slice(&(page.0 * 4096).to_be_bytes());
        self.guest_store(guest, AT, &bytes);
        while self.guest(guest, |cpu| cpu.uvc(Uvc::at(VirtualAddress(AT)))) == ConditionCode::Busy {
            self.busy += 1;
            thread::yield_now();
        }
        assert_eq!(self.guest_load::<4>(guest, AT + 4), [0, 1, 0, 0]);
    }
}

/// Raises a flag when it is dropped, so that a failed thread does not leave the others running.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `rounds` on CPU 1 while `noise` repeats on CPU 2.
fn against<'m>(
    machine: &'m Machine,
    rounds: impl FnOnce(&mut Worker<'m>) + Send,
    mut noise: impl FnMut(&mut Worker<'m>) + Send,
) {
    let over = AtomicBool::new(false);
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&over);
            let mut worker = Worker::new(machine, 1);
            while !started.load(Ordering::Acquire) && !over.load(Ordering::Acquire) {
                thread::yield_now();
            }
            rounds(&mut worker);
        });
        scope.spawn(|| {
            let _over = Over(&over);
            let mut worker = Worker::new(machine, 2);
            while !over.load(Ordering::Acquire) {
                noise(&mut worker);
                started.store(true, Ordering::Release);
            }
        });
    });
    machine.check_invariants().unwrap();
}

#[test]
fn disjoint_pages_move_in_parallel() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let pages: Vec<_> = (8..24u64).map(|page| (PageIndex(page), host.resident(&guest, PageIndex(page)))).collect();
    for &(page, _) in &pages {
        host.guest_store(&guest, page.0 * 4096, &[page.0 as u8; 4096]).unwrap();
    }
    thread::scope(|scope| {
        for (number, part) in (1..).zip(pages.chunks(8)) {
            let (machine, guest) = (&machine, &guest);
            scope.spawn(move || {
                let mut worker = Worker::new(machine, number);
                for _ in 0..40 {
                    for &(page, frame) in part {
                        assert_eq!(worker.export(frame), DONE);
                        assert_eq!(worker.import(guest, page), DONE);
                    }
                }
                assert_eq!(worker.busy, 0, "nothing is shared between the two");
            });
        }
    });
    for &(page, frame) in &pages {
        assert_eq!(host.guest_load(&guest, page.0 * 4096, 4096).unwrap(), [page.0 as u8; 4096]);
        let view = machine.page(guest.handle, page).unwrap();
        assert_eq!((view.record, view.counter), (PageRecord::Resident(frame), 1));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn contention_is_busy_and_every_loop_ends() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, &[7; 4096]).unwrap();
    let busy = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 1..4 {
            let (machine, guest, busy) = (&machine, &guest, &busy);
            scope.spawn(move || {
                let mut worker = Worker::new(machine, number);
                for round in 0..20_000 {
                    assert_eq!(worker.export(frame), DONE);
                    assert_eq!(worker.import(guest, P), DONE);
                    busy.fetch_add(core::mem::take(&mut worker.busy), Ordering::AcqRel);
                    if round >= 100 && busy.load(Ordering::Acquire) > 0 {
                        break;
                    }
                }
            });
        }
    });
    assert!(busy.into_inner() > 0, "no call has ever met another");
    assert_eq!(host.import(&guest, P), DONE);
    assert_eq!(host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), [7; 4096]);
    assert_eq!(machine.page(guest.handle, P).unwrap().counter, 1);
    machine.check_invariants().unwrap();
}

#[test]
fn no_guest_store_is_lost_to_an_export_i43() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let guest = &guest;
    against(
        &machine,
        |worker| {
            for round in 1..1500u64 {
                let at = P.0 * 4096 + round % 500 * 8;
                worker.guest_store(guest, at, &round.to_be_bytes());
                assert_eq!(u64::from_be_bytes(worker.guest_load(guest, at)), round);
                let bytes: [u8; 64] = core::array::from_fn(|byte| byte as u8 ^ round as u8);
                worker.guest_store(guest, P.0 * 4096 + 4000, &bytes);
                assert_eq!(worker.guest_load::<64>(guest, P.0 * 4096 + 4000), bytes);
            }
        },
        |worker| assert_eq!(worker.export(frame), DONE),
    );
}

#[test]
fn a_long_stay_in_sie_sees_every_export_i43() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let guest = &guest;
    against(
        &machine,
        |worker| {
            // One entry, many stores: the translation stays buffered, the verdict does not. The counter in
            // the page must never fall back.
            let mut value = 0u64;
            while value < 20_000 {
                value = worker.guest(guest, |cpu| {
                    for next in value + 1..=20_000 {
                        cpu.store(GuestAddress(P.0 * 4096 + 8), &next.to_be_bytes())?;
                        value = next;
                    }
                    Ok(value)
                });
            }
            assert_eq!(u64::from_be_bytes(worker.guest_load(guest, P.0 * 4096 + 8)), 20_000);
        },
        |worker| {
            assert_eq!(worker.export(frame), DONE);
            thread::yield_now();
        },
    );
}

#[test]
fn an_import_takes_the_genuine_bytes_or_none_i42() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let text: [u8; 4096] = core::array::from_fn(|byte| (byte * 5 + byte / 256) as u8);
    host.guest_store(&guest, P.0 * 4096, &text).unwrap();
    assert_eq!(host.export(frame), DONE);
    let cipher = host.page_bytes(frame).unwrap();
    let (guest, cipher) = (&guest, &cipher);
    let mut turn = 0u64;
    against(
        &machine,
        |worker| {
            for _ in 0..600 {
                match worker.import(guest, P) {
                    DONE => {
                        assert_eq!(worker.guest_load::<4096>(guest, P.0 * 4096), text);
                        assert_eq!(worker.export(frame), DONE);
                    }
                    other => {
                        assert_eq!(other, refused(0x106));
                        worker.cpu.store(VirtualAddress(frame.address().0), cipher).unwrap();
                    }
                }
            }
        },
        |worker| {
            turn += 1;
            let at = (turn * 97 % 4096) as usize;
            let byte = cipher[at] ^ (turn & 1) as u8;
            // Refused while the page is secure; what it writes then would be plaintext.
            let _ = worker.cpu.store(VirtualAddress(frame.address().0 + at as u64), &[byte]);
            let _ = worker.cpu.store(VirtualAddress(frame.address().0 + at as u64), &cipher[at..=at]);
        },
    );
    machine.check_invariants().unwrap();
}

#[test]
fn a_new_page_is_zero_whatever_is_stored_into_its_frame() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(8);
    let pages: Vec<_> = (16..1000u64).map(|page| (PageIndex(page), host.frame())).collect();
    for &(page, frame) in &pages {
        host.map(&guest, page, frame);
    }
    let target = AtomicU64::new(pages[0].1.address().0);
    let (guest, target) = (&guest, &target);
    against(
        &machine,
        |worker| {
            for &(page, frame) in &pages {
                target.store(frame.address().0, Ordering::Release);
                for _ in 0..page.0 % 32 {
                    core::hint::spin_loop();
                }
                assert_eq!(worker.import(guest, page), DONE);
                assert_eq!(worker.guest_load::<4096>(guest, page.0 * 4096), [0; 4096], "{page:?}");
            }
        },
        |worker| {
            let at = target.load(Ordering::Acquire);
            let _ = worker.cpu.store(VirtualAddress(at + 8), &[0xff; 8]);
            let device = worker.cpu.machine().channel().write(AbsoluteAddress(at + 4088), &[0xff; 8]);
            let _ = device;
        },
    );
}

#[test]
fn sharing_against_export_loses_nothing() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let guest = &guest;
    against(
        &machine,
        |worker| {
            for round in 1..300u64 {
                worker.guest_store(guest, P.0 * 4096, &round.to_be_bytes());
                worker.guest_call(guest, Command::SetSharedAccess, P);
                worker.guest_call(guest, Command::RemoveSharedAccess, P);
                assert_eq!(u64::from_be_bytes(worker.guest_load(guest, P.0 * 4096)), round);
            }
        },
        |worker| assert_eq!(worker.export(frame), DONE),
    );
}

#[test]
fn a_pinned_page_stays_open_while_the_guest_takes_it_back_i26() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let guest = &guest;
    let mut pins = 0u64;
    let seen = AtomicU64::new(0);
    against(
        &machine,
        |worker| {
            for _ in 0..20_000 {
                worker.guest_call(guest, Command::SetSharedAccess, P);
                worker.guest_call(guest, Command::RemoveSharedAccess, P);
                if seen.load(Ordering::Acquire) > 50 {
                    break;
                }
            }
        },
        |worker| match worker.pin(frame) {
            DONE => {
                pins += 1;
                for turn in 0..500u64 {
                    let at = VirtualAddress(frame.address().0 + 64);
                    worker.cpu.store_u64(at, pins << 16 | turn).expect("pinned");
                    assert_eq!(worker.cpu.load_u64(at), Ok(pins << 16 | turn));
                }
                assert_eq!(worker.unpin(guest, P), DONE);
                seen.store(pins, Ordering::Release);
            }
            other => assert_eq!(other, refused(0x102)),
        },
    );
    assert!(seen.into_inner() > 0, "the page was never pinned");
}

#[test]
fn teardown_against_imports() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    for round in 0..24 {
        let guest = host.create(1);
        assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
        let frames: Vec<FrameNumber> = (0..256u64)
            .map(|page| {
                let frame = host.frame();
                host.map(&guest, PageIndex(page), frame);
                frame
            })
            .collect();
        let fast = round % 2 == 1;
        let (started, guest) = (AtomicU64::new(0), &guest);
        thread::scope(|scope| {
            let (machine, started) = (&machine, &started);
            scope.spawn(move || {
                let mut worker = Worker::new(machine, 1);
                for page in (0..256).cycle() {
                    let answer = worker.import(guest, PageIndex(page));
                    started.fetch_add(1, Ordering::AcqRel);
                    if answer != DONE {
                        assert_eq!(answer, refused(0x20));
                        break;
                    }
                }
            });
            scope.spawn(move || {
                let mut worker = Worker::new(machine, 2);
                while started.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
                let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
                assert_eq!(worker.call(command, &[(0x18, guest.handle)]), DONE);
            });
        });
        machine.check_invariants().unwrap();
        for frame in frames {
            if fast {
                assert_eq!(host.export(frame), DONE);
            }
            assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
            assert_eq!(host.page_bytes(frame).unwrap(), [0; 4096]);
        }
        machine.check_invariants().unwrap();
    }
}

#[test]
fn late_reclaims_do_not_harm_the_next_guest() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let frame = host.frame();
    // The guests come and go on CPU 0; exports of what they leave behind on two others.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 1..3 {
            let (machine, over) = (&machine, &over);
            scope.spawn(move || {
                let mut worker = Worker::new(machine, number);
                while !over.load(Ordering::Acquire) {
                    assert_eq!(worker.export(frame), DONE);
                }
            });
        }
        let _over = Over(&over);
        for round in 1..60u64 {
            let guest = host.start(1);
            let mut worker = Worker::new(&machine, 3);
            // What the last guest has left there goes first (T17, T39); the others may be late with it.
            assert_eq!(worker.export(frame), DONE);
            host.map(&guest, P, frame);
            for turn in 0..5 {
                worker.guest_store(&guest, P.0 * 4096, &(round << 8 | turn).to_be_bytes());
                assert_eq!(u64::from_be_bytes(worker.guest_load(&guest, P.0 * 4096)), round << 8 | turn);
            }
            // Resident once more, so that there is something left behind.
            worker.guest_load::<1>(&guest, P.0 * 4096);
            assert_eq!(worker.call(Command::DestroySecCpu, &[(0x18, guest.cpu)]), DONE);
            assert_eq!(worker.call(Command::DestroySecConfFast, &[(0x18, guest.handle)]), DONE);
        }
    });
    assert_eq!(host.export(frame), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn donation_against_stores_of_the_host() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let mut guest = host.prepare(1);
    let (base, over) = (guest.base, AtomicBool::new(false));
    let frames: Vec<u64> = (base..base + CONFIGURATION_BASE_LENGTH).step_by(4096).collect();
    thread::scope(|scope| {
        let (machine, over, frames) = (&machine, &over, &frames);
        scope.spawn(move || {
            let mut worker = Worker::new(machine, 1);
            while !over.load(Ordering::Acquire) {
                for frame in frames {
                    match worker.cpu.store(VirtualAddress(frame + 16), &[0xff; 8]) {
                        Ok(()) => {}
                        Err(it) => assert_eq!(it.code, ProgramCode::SecureStorageAccess),
                    }
                }
            }
        });
        let _over = Over(over);
        for _ in 0..200 {
            assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
            guest.handle = host.output(0x18);
            for &frame in frames {
                let mut bytes = [1; 4096];
                assert!(machine.peek(AbsoluteAddress(frame), &mut bytes));
                assert_eq!(bytes, [0; 4096], "D16 at {frame:#x}");
            }
            assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), DONE);
        }
    });
    machine.check_invariants().unwrap();
}

#[test]
fn a_table_that_becomes_secure_gives_no_plaintext_to_a_walk() {
    const WINDOW: u64 = 1 << 30;
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // The guest's secret is a page-table entry that leads to a mark.
    let (mark, frame) = (host.frame(), host.resident(&guest, P));
    host.store(mark.address().0, &[0x77; 8]);
    host.guest_store(&guest, P.0 * 4096, &mark.address().0.to_be_bytes()).unwrap();
    let segments = host.allocate_aligned(0x4000, 0x4000);
    for segment in 0..2048 {
        host.store_u64(segments + segment * 8, segment << 20 | 0x400);
    }
    host.store_u64(segments + (WINDOW >> 20) * 8, frame.address().0);
    let guest = &guest;
    against(
        &machine,
        |worker| {
            for _ in 0..1500 {
                assert_eq!(worker.export(frame), DONE);
                assert_eq!(worker.import(guest, P), DONE);
            }
        },
        |worker| {
            worker.cpu.set_home(Asce(segments | 3));
            worker.cpu.set_translation(true);
            worker.cpu.ptlb().unwrap();
            let mut byte = [0];
            if worker.cpu.load(VirtualAddress(WINDOW), &mut byte).is_ok() {
                assert_ne!(byte, [0x77], "the host has followed a secret");
            }
        },
    );
}
