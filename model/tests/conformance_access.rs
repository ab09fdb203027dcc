//! Conformance, what guests may touch: C82, T12–T17, T22, D18, D19, D21.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{guest_block, own_interruption};
use support::{DONE, Host, UV_BASE, config};
use uvsim_model::Machine;
use uvsim_model::address::{AbsoluteAddress, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestEvent, SieExit, Uvc};
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::Command;

const PAGE: PageIndex = PageIndex(3);

const AT: u64 = 0x3000;

#[test]
fn c82_t13_t14_a_guest_touches_pages_that_are_not_there() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let mut guest = host.prepare(2);
    // Storage from 1 MiB of its space on: TEIDs say origin + guest absolute (D19).
    let fields = scene::with(&Host::create_fields(&guest), &[(0x38, 8, 1 << 20), (0x40, 8, 1 << 20)]);
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    host.create_cpu(&mut guest);
    assert_eq!(host.set_parameters(&guest, &support::image::empty_header(&machine)), DONE);
    assert_eq!(host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
    // `PageIndex` of the small host counts from 0 of the space.
    host.resident(&guest, PageIndex(256));
    host.resident(&guest, PageIndex(257));

    let before = machine.state_digest(None);
    let found = scene::code_and_address(host.guest_load(&guest, AT + 5, 1));
    assert_eq!(found, (ProgramCode::PageTranslation, 0x10_3000));
    let frame = host.frame();
    assert_eq!(before, machine.state_digest(None));
    host.map(&guest, PageIndex(256 + 3), frame);
    let interruption = scene::host_interruption(host.guest_store(&guest, AT + 5, &[1]));
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::NonSecureStorageAccess, 0x10_3000));
    assert!(!interruption.teid.bit_61());
    assert_eq!(host.import(&guest, PageIndex(256 + 3)), DONE);
    assert_eq!(host.guest_store(&guest, AT + 5, &[1]), Ok(()));
    assert_eq!(host.guest_load(&guest, AT, 6), Ok(vec![0, 0, 0, 0, 0, 1]), "T12");
}

#[test]
fn t22_beyond_guest_storage_the_guest_takes_an_addressing_exception() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    for address in [1 << 20, u64::MAX, 1 << 47] {
        assert_eq!(own_interruption(cpu.load(GuestAddress(address), &mut [0])), ProgramCode::Addressing);
        assert_eq!(own_interruption(cpu.store(GuestAddress(address), &[0])), ProgramCode::Addressing);
    }
    assert_eq!(cpu.load(GuestAddress(0), &mut [0]), Ok(()), "the guest stays in SIE");
}

#[test]
fn d21_a_frame_that_another_configuration_shares_is_a_non_secure_access() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let open = host.shared(&one, PageIndex(4), b"open");
    let held = host.shared(&one, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    for frame in [open, held] {
        host.map(&two, PAGE, frame);
        let found = scene::code_and_address(host.guest_load(&two, AT, 1));
        assert_eq!(found, (ProgramCode::NonSecureStorageAccess, AT));
        assert!(host.load(frame.address().0, 4).is_ok(), "T5, T6");
    }
}

#[test]
fn t17_a_guest_never_reaches_donated_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for at in [UV_BASE, guest.base, guest.variable, guest.cpu_storage] {
        host.map(&guest, PAGE, AbsoluteAddress(at).frame());
        let before = machine.state_digest(None);
        assert_eq!(
            scene::code_and_address(host.guest_store(&guest, AT, &[1])),
            (ProgramCode::SecureStorageViolation, AT)
        );
        assert_eq!(before, machine.state_digest(None));
    }
}

#[test]
fn d18_a_guest_block_is_reached_like_any_guest_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let missing = |host: &mut Host<'_>, at: u64| host.enter(&guest).unwrap().uvc(Uvc::at(VirtualAddress(at)));
    // Not mapped, then not imported: the host repairs it and the guest repeats.
    let before = machine.state_digest(None);
    assert_eq!(scene::code_and_address(missing(&mut host, AT)), (ProgramCode::PageTranslation, AT));
    assert_eq!(before, machine.state_digest(None));
    let frame = host.frame();
    host.map(&guest, PAGE, frame);
    let interruption = scene::host_interruption(missing(&mut host, AT));
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::NonSecureStorageAccess, AT));
    assert_eq!(interruption.teid.0 & 0xc00, 0x400, "a block counts as a store (D19)");
    assert_eq!(host.import(&guest, PAGE), DONE);
    host.guest_store(&guest, AT, &guest_block(0x0001, 0x120, 0)).unwrap();
    assert_eq!(missing(&mut host, AT).map(|cc| cc as u8), Ok(0));
    // The header at the end of a page whose successor is missing: nothing is written.
    host.guest_store(&guest, 0x3ff8, &[0x01, 0x20, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!(scene::code_and_address(missing(&mut host, 0x3ff8)), (ProgramCode::PageTranslation, 0x4000));
    assert_eq!(host.guest_load(&guest, 0x3ff8, 8).unwrap(), [0x01, 0x20, 0, 1, 0, 0, 0, 0]);
    host.resident(&guest, PageIndex(4));
    assert_eq!(missing(&mut host, 0x3ff8).map(|cc| cc as u8), Ok(0));
    // Form and place are the guest's own faults.
    let mut cpu = host.enter(&guest).unwrap();
    for (r2, m3, code) in [
        (AT + 4, 0, ProgramCode::Specification),
        (AT, 1, ProgramCode::Specification),
        (1 << 20, 0, ProgramCode::Addressing),
        ((1 << 20) + 4, 0, ProgramCode::Specification),
    ] {
        assert_eq!(own_interruption(cpu.uvc(Uvc { r1: 0, r2, m3, m4: 0 })), code);
    }
    // Shared storage may hold a block as well.
    drop(cpu);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    host.store(frame.address().0, &guest_block(0x0001, 0x120, 0));
    assert_eq!(missing(&mut host, AT).map(|cc| cc as u8), Ok(0));
    assert_eq!(host.load(frame.address().0 + 4, 2).unwrap(), [0, 1]);
}

#[test]
fn an_exit_ends_every_further_action_until_the_next_entry() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    let exit = cpu.load(GuestAddress(AT), &mut [0]).unwrap_err();
    assert!(matches!(exit, GuestEvent::Exit(SieExit::HostInterruption(_))));
    let before = machine.state_digest(None);
    assert_eq!(cpu.store(GuestAddress(0), b"lost"), Err(exit));
    assert_eq!(cpu.load(GuestAddress(0), &mut [0]), Err(exit));
    assert_eq!(cpu.uvc(Uvc::at(VirtualAddress(0x1e00))), Err(exit));
    assert_eq!(before, machine.state_digest(None));
    drop(cpu);
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn d19_a_violation_says_that_its_address_is_right_only_with_misc() {
    for misc in [false, true] {
        let machine = support::machine(MachineConfig { feature_misc: Some(misc), ..config() });
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        host.map(&guest, PAGE, AbsoluteAddress(UV_BASE).frame());
        let interruption = scene::host_interruption(host.guest_load(&guest, AT, 1));
        assert_eq!(interruption.code, ProgramCode::SecureStorageViolation);
        assert_eq!(interruption.teid.bit_61(), misc);
        assert_eq!(interruption.teid.0 & 3, 0, "primary space");
    }
}
