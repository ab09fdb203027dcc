//! Conformance, guest instructions that concern the host: C91, C97, 5.3 of the interface, Q22.

#[path = "support/description.rs"]
mod description;
#[path = "support/scene.rs"]
mod scene;
mod support;

use description::{ENABLED, PREFIX, fill, validity};
use scene::{code_and_address, host_interruption, interception, own_interruption, refused_entry};
use support::{DONE, Host, UV_BASE, config};
use uvsim_model::address::{GuestAddress, PageIndex};
use uvsim_model::cpu::{Diagnose, GuestCpu, Interception, ServiceCall, SieExit, Sigp, ValidityReason};
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, Psw};

const fn diagnosed(code: u8) -> Interception {
    Interception { code, ipa: 0x8302, ipb: 0x5000_0000 }
}

#[test]
fn a_yield_is_notified_with_its_first_operand_alone() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for function in [Diagnose::TIME_SLICE_END, Diagnose::TIME_SLICE_END_DIRECTED] {
        host.marked(&guest);
        let exit = host.exit(&guest, |cpu| {
            fill(cpu);
            cpu.diagnose(Diagnose { function, r1: 11, r3: 7 })
        });
        assert_eq!(exit, diagnosed(108));
        assert_eq!(
            host.load(guest.state_description + 0x50, 12).unwrap(),
            [108, 0, 0, 0, 0, 0, 0x83, 2, 0x50, 0, 0, 0]
        );
        assert_eq!((host.saved(&guest, 0), host.saved(&guest, 5)), (0x1_000b, u64::from(function)));
        host.untouched(&guest, &[0, 5]);
        // What the host leaves there is of no interest.
        host.give_register(&guest, 0, 99);
        assert_eq!(host.enter(&guest).unwrap().registers().general[11], 0x1_000b);
    }
}

#[test]
fn diagnose_0x500_shows_four_registers_and_takes_one() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.marked(&guest);
    let exit = host.exit(&guest, |cpu| {
        fill(cpu);
        cpu.diagnose(Diagnose::new(Diagnose::KVM))
    });
    assert_eq!(exit, diagnosed(104));
    for register in 1..5 {
        assert_eq!(host.saved(&guest, register), 0x1_0000 + register);
    }
    assert_eq!(host.saved(&guest, 5), 0x500);
    host.untouched(&guest, &[1, 2, 3, 4, 5]);
    (0..16).for_each(|register| host.give_register(&guest, register, 0x77 + register));
    let general = host.enter(&guest).unwrap().registers().general;
    let mut wanted: [u64; 16] = core::array::from_fn(|register| 0x1_0000 + register as u64);
    wanted[2] = 0x79;
    assert_eq!(general, wanted);
    // Taken once.
    host.give_register(&guest, 2, 1);
    assert_eq!(host.enter(&guest).unwrap().registers().general[2], 0x79);
}

#[test]
fn q22_the_watchdog_shows_both_pairs_and_takes_nothing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.marked(&guest);
    let exit = host.exit(&guest, |cpu| {
        fill(cpu);
        cpu.diagnose(Diagnose { function: Diagnose::WATCHDOG, r1: 6, r3: 14 })
    });
    assert_eq!(exit, diagnosed(104));
    assert_eq!([0, 1, 2, 3].map(|register| host.saved(&guest, register)), [0x1_0006, 0x1_0007, 0x1_000e, 0x1_000f]);
    host.untouched(&guest, &[0, 1, 2, 3, 5]);
    host.give_register(&guest, 0, 1);
    assert_eq!(host.enter(&guest).unwrap().registers().general[6], 0x1_0006);
}

#[test]
fn c97_exceptions_that_the_host_may_inject() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for (function, control, code) in
        [(Diagnose::KVM, 0x11, 0x15u16), (Diagnose::KVM, 0x10, 0x06), (Diagnose::WATCHDOG, 0x10, 0x06)]
    {
        host.exit(&guest, |cpu| {
            cpu.load_psw(ENABLED).unwrap();
            cpu.set_general(2, 0x2222);
            cpu.diagnose(Diagnose::new(function))
        });
        host.give_register(&guest, 2, 0x3333);
        host.injects(&guest, control);
        let cpu = host.enter(&guest).unwrap();
        assert_eq!(cpu.psw(), Psw { mask: 0x1_8000_0000, address: 0x300 }, "the new PSW");
        assert_eq!(cpu.registers().general[2], 0x2222, "an instruction that ends so gives no result");
        drop(cpu);
        assert_eq!(host.injection_control(&guest), 0, "delivered");
        assert_eq!(host.old_psw(&guest, 0x150), ENABLED);
        assert_eq!(host.lowcore(&guest, 0x8c, 4), [&[0, 4], &code.to_be_bytes()[..]].concat());
        // Only right after the exit.
        host.injects(&guest, control);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
        host.injects(&guest, 0);
    }
}

#[test]
fn c97_exceptions_that_it_may_not() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    let scenes: [(&str, u8, Diagnose); 4] = [
        ("a notification", 0x10, Diagnose::new(Diagnose::TIME_SLICE_END)),
        ("a notification", 0x11, Diagnose::new(Diagnose::TIME_SLICE_END_DIRECTED)),
        ("a reset request", 0x10, Diagnose { r3: 8, ..Diagnose::new(Diagnose::IPL) }),
        ("no operand exception from the watchdog", 0x11, Diagnose::new(Diagnose::WATCHDOG)),
    ];
    for (what, control, diagnose) in scenes {
        let exit = host.exit(&guest, |cpu| {
            cpu.set_general(8, 3);
            cpu.diagnose(diagnose)
        });
        host.injects(&guest, control);
        let before = machine.cpu_registers(guest.cpu);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted), "{what}");
        assert_eq!(machine.cpu_registers(guest.cpu), before);
        if exit.code == 104 {
            // A refused entry is none: the instruction still waits.
            host.injects(&guest, 0x10);
            assert_eq!(host.enter(&guest).unwrap().psw().address, 0x300);
        }
        host.injects(&guest, 0);
        assert!(host.enter(&guest).is_ok());
    }
    // No exit at all, and an exit that is an interruption of the host.
    for address in [0x1800, 0x9000] {
        let _ = host.guest_load(&guest, address, 1);
        host.injects(&guest, 0x10);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
        host.injects(&guest, 0);
    }
}

#[test]
fn an_interruption_does_not_come_between_an_instruction_and_its_completion() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    host.exit(&guest, |cpu| cpu.diagnose(Diagnose::new(Diagnose::KVM)));
    for control in 1..5 {
        host.injects(&guest, control);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::InstructionIncomplete));
    }
    host.injects(&guest, 0);
    host.give_register(&guest, 2, 5);
    assert_eq!(host.enter(&guest).unwrap().registers().general[2], 5);
    host.injects(&guest, 4);
    assert_eq!(host.enter(&guest).unwrap().psw().address, 0x100);
}

#[test]
fn diagnose_0x308_by_subcode() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for subcode in [2, 4, 7, 8, 9, 10, 11, 0x1_0000, u64::MAX] {
        let mut cpu = host.enter(&guest).unwrap();
        cpu.set_general(2, subcode);
        assert_eq!(own_interruption(cpu.diagnose(Diagnose::new(Diagnose::IPL))), ProgramCode::Specification);
        assert!(cpu.load(GuestAddress(0x1000), &mut [0]).is_ok(), "the guest stays in SIE");
    }
    assert_eq!(machine.is_reset_pending(guest.handle), Some(false));
    let exit = host.exit(&guest, |cpu| {
        cpu.set_general(2, 3);
        cpu.diagnose(Diagnose::new(Diagnose::IPL))
    });
    assert_eq!((exit, host.saved(&guest, 2)), (diagnosed(108), 3));
    assert_eq!(machine.is_reset_pending(guest.handle), Some(false));
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn diagnose_0x308_hands_lists_over_through_the_data_area() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.resident(&guest, PageIndex(5));
    let mut list = 0x80u32.to_be_bytes().to_vec();
    list.extend([7; 0x200]);
    host.guest_store(&guest, 0x5000, &list).unwrap();
    let call = |cpu: &mut GuestCpu<'_, '_>, address, subcode| {
        cpu.set_general(4, address);
        cpu.set_general(9, subcode);
        cpu.diagnose(Diagnose { function: Diagnose::IPL, r1: 4, r3: 9 })
    };
    assert_eq!(host.exit(&guest, |cpu| call(cpu, 0x5000, 5)), diagnosed(104));
    assert_eq!(host.load(guest.sida, 0x80).unwrap(), list[..0x80]);
    assert_eq!(host.load(guest.sida + 0x80, 0x100).unwrap(), [0; 0x100], "no more than the list says");
    host.give_register(&guest, 1, 0x0402);
    assert_eq!(host.enter(&guest).unwrap().registers().general[5], 0x0402);
    assert_eq!(host.exit(&guest, |cpu| call(cpu, 0x5000, 6)), diagnosed(104));
    host.store(guest.sida, &[9; 0x1000]);
    host.give_register(&guest, 1, 1);
    assert_eq!(host.enter(&guest).unwrap().registers().general[5], 1);
    assert_eq!(host.guest_load(&guest, 0x5000, 0x1000).unwrap(), [9; 0x1000]);
    let mut cpu = host.enter(&guest).unwrap();
    assert_eq!(own_interruption(call(&mut cpu, 0x5008, 5)), ProgramCode::Specification);
    assert_eq!(own_interruption(call(&mut cpu, 1 << 20, 6)), ProgramCode::Addressing);
    assert_eq!(code_and_address(call(&mut cpu, 0x9000, 6)), (ProgramCode::PageTranslation, 0x9000));
}

#[test]
fn diagnoses_that_do_not_exist() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    let odd = |function| [Diagnose { function, r1: 1, r3: 2 }, Diagnose { function, r1: 0xff, r3: 2 }];
    let bad = [0, 8, 0x10c, 0x204, 0x318, 0xffff].map(Diagnose::new);
    let odd = odd(Diagnose::IPL).into_iter().chain(odd(Diagnose::WATCHDOG));
    for diagnose in bad.into_iter().chain(odd).chain([Diagnose { function: Diagnose::WATCHDOG, r1: 0, r3: 3 }]) {
        assert_eq!(own_interruption(cpu.diagnose(diagnose)), ProgramCode::Specification, "{diagnose:?}");
    }
}

#[test]
fn c91_set_prefix_is_notified_and_in_effect_at_once() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.guest_store(&guest, 0x100, b"old prefix area").unwrap();
    host.marked(&guest);
    // Of the operand bits 33 to 50 count.
    let exit = host.exit(&guest, |cpu| cpu.set_prefix(0xffff_ffff_8000_9fff));
    assert_eq!(exit, Interception { code: 108, ipa: 0xb210, ipb: 0 });
    assert_eq!(host.load(guest.sida, 4).unwrap(), 0x8000u32.to_be_bytes());
    host.untouched(&guest, &[]);
    assert_eq!(machine.cpu_registers(guest.cpu).unwrap().prefix, 0x8000);
    for (page, then) in [(8, Some(PREFIX)), (9, None)] {
        assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
        host.resident(&guest, PageIndex(page));
        assert_eq!(host.enter(&guest).err(), then.map(SieExit::Interception), "page {page}");
    }
    // Real 0 is the new area now, real 0x8000 is absolute 0.
    assert_eq!(host.guest_load(&guest, 0x8100, 15).unwrap(), b"old prefix area");
    assert_eq!(host.guest_load(&guest, 0x100, 15).unwrap(), [0; 15]);
    // C91: as with the area at 0, so with this one, also when it is shared.
    assert_eq!(host.share(&guest, PageIndex(8)), Ok(DONE));
    assert_eq!(host.share(&guest, PageIndex(9)), Ok(DONE));
    for page in [8, 9] {
        let frame = scene::record(&machine, &guest, PageIndex(page)).frame().unwrap();
        assert_eq!(host.export(frame), DONE);
        assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
        assert_eq!(host.import(&guest, PageIndex(page)), DONE);
        assert!(host.enter(&guest).is_ok());
    }
    // The old area does not count any more.
    for page in [0, 1] {
        let frame = scene::record(&machine, &guest, PageIndex(page)).frame().unwrap();
        assert_eq!(host.export(frame), DONE);
    }
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn set_prefix_beyond_guest_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    for prefix in [1 << 20, 0x7fff_e000, 0xffff_ffff] {
        assert_eq!(own_interruption(cpu.set_prefix(prefix)), ProgramCode::Addressing);
    }
    assert_eq!(cpu.registers().prefix, 0);
    assert_eq!(interception(cpu.set_prefix((1 << 20) - 0x2000)).code, 108);
}

#[test]
fn service_call_exits_twice() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    host.resident(&guest, PageIndex(6));
    let block = [&[0, 0x40], &[1; 0x3e][..], &[2; 0x40]].concat();
    host.guest_store(&guest, 0x6100, &block).unwrap();
    host.marked(&guest);
    let call = ServiceCall { command: 0x0002_0001, block: GuestAddress(0x6100) };
    let exit = host.exit(&guest, |cpu| cpu.service_call(call));
    assert_eq!((exit.code, exit.ipa), (104, 0xb220));
    assert_eq!(host.load(guest.sida, 0x40).unwrap(), block[..0x40]);
    assert_eq!(host.load(guest.sida + 0x40, 0x40).unwrap(), [0; 0x40]);
    assert_eq!((host.saved(&guest, 1), host.saved(&guest, 2)), (0x0002_0001, 0), "the address stays with the guest");
    host.untouched(&guest, &[1, 2]);
    // The host answers; no exception is possible.
    host.store(guest.sida, &[8; 0x80]);
    for control in [0x10, 0x11] {
        host.injects(&guest, control);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
    }
    host.injects(&guest, 0);
    let finished = refused_entry(host.enter(&guest));
    assert_eq!((finished.code, finished.ipa), (108, 0xb220));
    assert_eq!(host.guest_load(&guest, 0x6100, 0x80).unwrap(), [&[8; 0x40][..], &[2; 0x40]].concat());
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn a_service_call_whose_block_went_away_is_completed_later() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(6));
    host.guest_store(&guest, 0x6000, &[0, 0x10]).unwrap();
    let call = ServiceCall { command: 1, block: GuestAddress(0x6000) };
    assert_eq!(host.exit(&guest, |cpu| cpu.service_call(call)).code, 104);
    assert_eq!(host.export(frame), DONE);
    host.store(guest.sida, &[3; 0x10]);
    let exit = host.enter(&guest).unwrap_err();
    assert!(
        matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::NonSecureStorageAccess && it.teid.address() == 0x6000),
        "{exit}"
    );
    assert_eq!(host.import(&guest, PageIndex(6)), DONE);
    // A data area that cannot be read is the host's own trouble.
    host.store_u64(guest.state_description + 0x180, UV_BASE);
    let exit = host.enter(&guest).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::SecureStorageAccess), "{exit}");
    host.store_u64(guest.state_description + 0x180, guest.sida);
    assert_eq!(refused_entry(host.enter(&guest)).code, 108);
    assert_eq!(host.guest_load(&guest, 0x6000, 0x10).unwrap(), [3; 0x10]);
}

#[test]
fn service_calls_that_are_no_good() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.resident(&guest, PageIndex(6));
    host.guest_store(&guest, 0x6000, &[0, 7]).unwrap();
    host.guest_store(&guest, 0x6ff0, &[0, 0x11]).unwrap();
    let mut cpu = host.enter(&guest).unwrap();
    for at in [0, 0x1000, 0x6000, 0x6ff0, 0x6104, 1 << 31, u64::MAX] {
        let result = cpu.service_call(ServiceCall { command: 1, block: GuestAddress(at) });
        assert_eq!(own_interruption(result), ProgramCode::Specification, "{at:#x}");
    }
    let result = cpu.service_call(ServiceCall { command: 1, block: GuestAddress(1 << 20) });
    assert_eq!(own_interruption(result), ProgramCode::Addressing);
    let result = cpu.service_call(ServiceCall { command: 1, block: GuestAddress(0x9000) });
    assert_eq!(host_interruption(result).code, ProgramCode::PageTranslation);
}

#[test]
fn the_data_area_may_span_pages_or_be_missing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // No designation: the host does not hear of the prefix, and nothing is written to storage 0.
    host.store_u64(guest.state_description + 0x180, 0);
    let zero = host.load(0, 16).unwrap();
    assert_eq!(host.exit(&guest, |cpu| cpu.set_prefix(0)).code, 108);
    assert_eq!(host.load(0, 16).unwrap(), zero);
    // Of the designation the low byte is a number of pages less one.
    let area = host.allocate(0x3000);
    host.store_u64(guest.state_description + 0x180, area | 2);
    assert_eq!(host.exit(&guest, |cpu| cpu.set_prefix(0)).code, 108);
    assert_eq!(host.load(area, 4).unwrap(), [0; 4]);
    host.store_u64(guest.state_description + 0x180, UV_BASE);
    assert_eq!(host.exit(&guest, |cpu| cpu.set_prefix(0)).code, 108, "a bad area loses the data only");
}

#[test]
fn sigp_is_notified() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.marked(&guest);
    let exit = host.exit(&guest, |cpu| cpu.sigp(Sigp { order: 2, cpu: 1, parameter: 0xabc }));
    assert_eq!((exit.code, exit.ipa >> 8), (108, 0xae));
    assert_eq!([1, 2, 5].map(|register| host.saved(&guest, register)), [0xabc, 1, 2]);
    host.untouched(&guest, &[1, 2, 5]);
    host.injects(&guest, 0x10);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
}

#[test]
fn the_instructions_are_privileged() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    cpu.load_psw(Psw { mask: 0x0001_0001_8000_0000, address: 0 }).unwrap();
    let results = [
        cpu.diagnose(Diagnose::new(Diagnose::TIME_SLICE_END)),
        cpu.set_prefix(0),
        cpu.service_call(ServiceCall { command: 0, block: GuestAddress(0) }),
        cpu.sigp(Sigp { order: 1, cpu: 0, parameter: 0 }),
        cpu.load_control(0, 0),
        cpu.load_psw(Psw::default()),
    ];
    for result in results {
        assert_eq!(own_interruption(result), ProgramCode::PrivilegedOperation);
    }
    drop(cpu);
    let mut cpu = host.enter(&guest).unwrap();
    assert_eq!(own_interruption(cpu.load_control(0, 0)), ProgramCode::PrivilegedOperation, "the PSW keeps the bit");
}

#[test]
fn c88_the_exit_for_a_pinned_page_is_as_before() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PageIndex(4), b"io");
    assert_eq!(host.pin(frame), DONE);
    let exit = interception(host.unshare(&guest, PageIndex(4)));
    assert_eq!(exit, Interception { code: 108, ipa: 0xb9a4, ipb: 0 });
    assert_eq!(host.load(guest.sida + 2, 2).unwrap(), Command::RemoveSharedAccess.code().to_be_bytes());
    host.injects(&guest, 0x10);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
}
