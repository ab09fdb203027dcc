//! Conformance, INIT_UV and the reset of the machine: C23–C32, D29.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, with};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex, VirtualAddress};
use uvsim_model::storage::{Donation, FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, Machine, Reset, UV_BASE_LENGTH};

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
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for length in [0x40, 0x50] {
        host.refuse_raw(0x000f, length, &GOOD_INIT, refused(5));
    }
}

#[test]
fn c24_init_with_too_little_storage() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for len in [UV_BASE_LENGTH - 8, UV_BASE_LENGTH + 0x1000, 0, u64::MAX] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x20, 8, len)]), refused(0x103));
    }
    assert!(!machine.is_initialised());
}

#[test]
fn c25_init_ignores_low_bits() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    assert_eq!(host.call(Command::InitUv, &[(0x18, 8, UV_BASE + 0xf_fff8), (0x20, 8, UV_BASE_LENGTH + 0xff8)]), DONE);
    assert_eq!(host.load(UV_BASE, 1).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert!(host.load(UV_BASE + UV_BASE_LENGTH, 1).is_ok());
}

#[test]
fn c26_init_at_the_end_of_storage() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for origin in [END, END + (1 << 30), u64::MAX] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x104));
    }
}

#[test]
fn c27_init_beyond_the_end_of_storage() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for origin in [END - (1 << 20), END - UV_BASE_LENGTH + (1 << 20)] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x105));
    }
    assert_eq!(host.call(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, END - UV_BASE_LENGTH)])), DONE);
}

#[test]
fn c28_init_below_two_gibibytes() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for origin in [1 << 30, UV_BASE - 1, 0] {
        host.refuse_unchanged(Command::InitUv, &with(&GOOD_INIT, &[(0x18, 8, origin)]), refused(0x108));
    }
}

#[test]
fn c29_init_while_another_cpu_operates() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    let other = machine.cpu(1).unwrap();
    host.refuse_unchanged(Command::InitUv, &GOOD_INIT, refused(0x102));
    drop(other);
    assert_eq!(host.issue(BLOCK), Ok(DONE));
}

#[test]
fn c30_init_takes_the_area() {
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
        let machine = support::machine(config());
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
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let other = machine.cpu(1).unwrap();
    assert!(host.cpu.reset_machine(Reset::LoadNormal).is_err());
    assert!(machine.is_initialised());
    drop(other);
    assert!(host.cpu.reset_machine(Reset::LoadNormal).is_ok());
}
