//! The host's own mapping of storage: what it shows, and what it keeps away.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "system calls that look at the view from outside")]

#[path = "support/scene.rs"]
mod scene;
mod support;

use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{AsRawFd, OwnedFd};
use support::{BLOCK, DONE, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::MachineConfig;
use uvsim_model::uvc::Command;
use uvsim_model::{CONFIGURATION_BASE_LENGTH, Machine, Reset, UV_BASE_LENGTH};

const P: PageIndex = PageIndex(5);

fn with_view() -> MachineConfig {
    MachineConfig { host_view: true, ..config() }
}

/// Reads through the view. `None` where a plain load would fault.
fn look(machine: &Machine, address: u64, len: usize) -> Option<Vec<u8>> {
    let from = machine.host_view().expect("a view").pointer(AbsoluteAddress(address)).expect("in storage");
    let mut bytes = vec![0u8; len];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
    let there = libc::iovec { iov_base: from.as_ptr().cast(), iov_len: len };
    // SAFETY: the buffer is ours, and the system checks the other side.
    let done = unsafe { libc::process_vm_readv(libc::getpid(), &raw const here, 1, &raw const there, 1, 0) };
    (done == len as isize).then_some(bytes)
}

/// Writes through the view. `false` where a plain store would fault.
fn write(machine: &Machine, address: u64, bytes: &[u8]) -> bool {
    let to = machine.host_view().expect("a view").pointer(AbsoluteAddress(address)).expect("in storage");
    let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: to.as_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the buffer is ours, and the system checks the other side, which is storage of a machine.
    let done = unsafe { libc::process_vm_writev(libc::getpid(), &raw const here, 1, &raw const there, 1, 0) };
    done == bytes.len() as isize
}

/// Loads that a processor makes in the name of this process. What `look` does will not do where protections change
/// meanwhile: the system looks at them first and copies then, by a mapping of its own.
struct Loads(OwnedFd);

impl Loads {
    fn new() -> Self {
        let file = rustix::fs::memfd_create(c"loads", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        Self(file)
    }

    /// A page. `None` if a load faults.
    fn page(&self, from: usize) -> Option<[u8; 4096]> {
        let from = core::ptr::with_exposed_provenance(from);
        // SAFETY: the system loads by the mappings of this process, and answers if they do not let it.
        let done = unsafe { libc::pwrite(self.0.as_raw_fd(), from, 4096, 0) };
        let mut bytes = [0; 4096];
        let read = rustix::io::pread(&self.0, &mut bytes, 0).unwrap();
        (done == 4096 && read == 4096).then_some(bytes)
    }
}

fn is_shut(machine: &Machine, frame: FrameNumber) -> bool {
    look(machine, frame.address().0, 1).is_none()
}

/// The view shows exactly the frames that are not secure.
#[track_caller]
fn agree(machine: &Machine, frames: impl IntoIterator<Item = FrameNumber>) {
    for frame in frames {
        assert_eq!(is_shut(machine, frame), machine.zone_entry(frame).is_secure(), "{frame:?}");
    }
    assert_eq!(machine.host_view_failed(), None);
}

fn frames(address: u64, len: u64) -> impl Iterator<Item = FrameNumber> {
    (address / 4096..(address + len) / 4096).map(FrameNumber)
}

/// Mappings of storage in this process.
fn mappings(machine: &Machine) -> usize {
    let view = machine.host_view().unwrap();
    let (start, end) = (view.base.as_ptr() as u64, view.base.as_ptr() as u64 + view.size);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let first = |line: &str| u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    maps.lines().filter(|line| (start..end).contains(&first(line))).count()
}

#[test]
fn a_machine_has_no_view_unless_asked() {
    let machine = Machine::new(config()).unwrap();
    assert!(machine.host_view().is_none() && machine.host_view_failed().is_none());
}

#[test]
fn a_frame_is_shut_as_long_as_it_is_secure() {
    let machine = support::machine(with_view());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    assert!(is_shut(&machine, frame));
    host.guest_store(&guest, P.0 * 4096, b"attack at dawn").unwrap();

    assert_eq!(host.export(frame), DONE);
    let cipher = look(&machine, frame.address().0, 4096).unwrap();
    assert_eq!(cipher, host.page_bytes(frame).unwrap());
    assert!(!cipher.windows(6).any(|window| window == b"attack"));
    assert_eq!(host.import(&guest, P), DONE);
    assert!(is_shut(&machine, frame));

    assert_eq!(host.share(&guest, P), Ok(DONE));
    assert_eq!(look(&machine, frame.address().0, 14).unwrap(), b"attack at dawn");
    assert_eq!(host.pin(frame), DONE);
    assert!(!is_shut(&machine, frame));
    assert_eq!(host.unpin(&guest, P), DONE);
    assert_eq!(host.unshare(&guest, P), Ok(DONE));
    assert!(is_shut(&machine, frame));

    assert_eq!(host.share(&guest, P), Ok(DONE));
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert!(is_shut(&machine, frame));
    agree(&machine, frames(0, 0x80_0000));
    host.destroy_guest(&guest, Command::DestroySecConf);
    assert_eq!(look(&machine, frame.address().0, 4096).unwrap(), [0; 4096]);
    agree(&machine, frames(0, 0x80_0000));
}

#[test]
fn a_refused_call_leaves_the_view_as_it_was() {
    let machine = support::machine(with_view());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    assert_eq!(host.export(frame), DONE);
    let at = frame.address().0;
    let good = host.page_bytes(frame).unwrap();
    let mut bad = good.clone();
    bad[9] ^= 1;
    host.store(at, &bad);
    assert_eq!(host.import(&guest, P), refused(0x106));
    assert_eq!(look(&machine, at, 4096).unwrap(), bad);
    host.store(at, &good);
    assert_eq!(host.import(&guest, P), DONE);

    let taken = host.prepare(1);
    let mut fields = Host::create_fields(&taken);
    fields[0].2 = guest.base;
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x108));
    agree(&machine, frames(0, 0x80_0000));
}

#[test]
fn areas_are_shut_and_opened_in_one_piece() {
    let machine = support::machine(with_view());
    let mut host = Host::new(&machine);
    assert_eq!(mappings(&machine), 1);
    assert_eq!(host.init(), DONE);
    agree(
        &machine,
        [UV_BASE - 4096, UV_BASE, UV_BASE + UV_BASE_LENGTH - 4096, UV_BASE + UV_BASE_LENGTH]
            .map(|at| FrameNumber(at / 4096)),
    );
    assert_eq!(mappings(&machine), 3);
    let guest = host.start(4);
    let before = mappings(&machine);
    for page in 2..200 {
        host.resident(&guest, PageIndex(page));
    }
    assert!(mappings(&machine) <= before + 2, "frames one beside the other are one mapping");
    host.destroy_guest(&guest, Command::DestroySecConf);
    assert_eq!(mappings(&machine), 3);
    agree(&machine, frames(0, 0x200_0000));
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    assert_eq!(mappings(&machine), 1);
}

#[test]
fn what_the_host_stores_through_its_view_is_in_storage() {
    let machine = Machine::new(with_view()).unwrap();
    let mut host = Host::ready(&machine);
    let at = 0x5000_0000;
    assert_eq!(host.load(at, 4).unwrap(), [0; 4]);
    let before = machine.state_digest(None);
    assert!(write(&machine, at, b"here"));
    assert_eq!(host.load(at, 4).unwrap(), b"here");
    let mut seen = [0; 4];
    assert!(machine.peek(AbsoluteAddress(at), &mut seen));
    assert_eq!(&seen, b"here");
    assert_ne!(machine.state_digest(None), before);
    let mut found = Vec::new();
    machine.visit_storage(|frame, bytes| {
        if bytes.starts_with(b"here") {
            found.push(frame);
        }
    });
    assert_eq!(found, [FrameNumber(at / 4096)]);
    assert!(write(&machine, at, b"herd"));
    let changed = machine.state_digest(None);
    assert!(write(&machine, at, &[0; 4]));
    assert_ne!(changed, machine.state_digest(None));
    assert_eq!(before, machine.state_digest(None));
    host.store(at, b"last");
    assert_eq!(look(&machine, at, 4).unwrap(), b"last");
}

#[test]
fn donated_storage_comes_back_as_zeros_whatever_the_host_left_there() {
    let machine = Machine::new(with_view()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    for at in [guest.base, guest.base + CONFIGURATION_BASE_LENGTH - 1, guest.variable] {
        assert!(write(&machine, at, &[7]));
    }
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    let handle = host.output(0x18);
    assert!(!write(&machine, guest.base, &[7]) && !write(&machine, guest.variable, &[7]));
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    for at in [guest.base, guest.base + CONFIGURATION_BASE_LENGTH - 1, guest.variable] {
        assert_eq!(look(&machine, at, 1).unwrap(), [0]);
    }
}

#[test]
fn tampering_through_the_view_is_found() {
    let machine = Machine::new(with_view()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, b"x").unwrap();
    assert_eq!(host.export(frame), DONE);
    let at = frame.address().0;
    let good = look(&machine, at, 1).unwrap();
    assert!(write(&machine, at, &[good[0] ^ 1]));
    assert_eq!(host.import(&guest, P), refused(0x106));
    assert!(write(&machine, at, &good));
    assert_eq!(host.import(&guest, P), DONE);
    assert_eq!(host.guest_load(&guest, P.0 * 4096, 1).unwrap(), b"x");
    // A page that starts anew is clear, though only the view was ever stored through.
    let fresh = host.frame();
    assert!(write(&machine, fresh.address().0, b"dirt"));
    host.map(&guest, PageIndex(9), fresh);
    assert_eq!(host.import(&guest, PageIndex(9)), DONE);
    assert_eq!(host.guest_load(&guest, 9 * 4096, 4).unwrap(), [0; 4]);
}

#[test]
fn a_clear_reset_clears_what_only_the_view_has_touched() {
    let machine = Machine::new(with_view()).unwrap();
    let mut host = Host::ready(&machine);
    let at = 0x5000_0000;
    assert!(write(&machine, at, b"here"));
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    assert_eq!(look(&machine, at, 4).unwrap(), b"here");
    host.cpu.reset_machine(Reset::Clear).unwrap();
    assert_eq!(look(&machine, at, 4).unwrap(), [0; 4]);
    assert_eq!(host.init(), DONE);
}

#[test]
fn no_plaintext_ever_shows_while_pages_come_and_go() {
    let machine = Machine::new(with_view()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, &[0x5a; 4096]).unwrap();
    assert_eq!(host.export(frame), DONE);
    let (over, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    let from = machine.host_view().unwrap().pointer(frame.address()).unwrap().as_ptr().expose_provenance();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let loads = Loads::new();
            while !over.load(Ordering::Relaxed) {
                if let Some(bytes) = loads.page(from) {
                    let plain = bytes.windows(16).any(|window| window == [0x5a; 16]);
                    seen.fetch_or(plain, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..2000 {
            assert_eq!(host.import(&guest, P), DONE);
            assert_eq!(host.export(frame), DONE);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(!seen.load(Ordering::Relaxed), "the host has seen plaintext");
}

#[test]
fn pointers_and_addresses_are_two_names_of_a_byte() {
    let machine = Machine::new(with_view()).unwrap();
    let view = machine.host_view().unwrap();
    assert_eq!(view.size, machine.storage_size());
    let last = AbsoluteAddress(view.size - 1);
    for address in [AbsoluteAddress(0), AbsoluteAddress(BLOCK), last] {
        assert_eq!(view.address(view.pointer(address).unwrap().as_ptr()), Some(address));
    }
    assert_eq!(view.pointer(AbsoluteAddress(view.size)), None);
    assert_eq!(view.address(view.pointer(last).unwrap().as_ptr().wrapping_add(1)), None);
    assert_eq!(view.address(view.base.as_ptr().wrapping_sub(1)), None);
}
