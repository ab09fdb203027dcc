//! Conformance, what the host injects at an entry, and how it hears of masks: 5.3 of the interface, Q23.

#[path = "support/description.rs"]
mod description;
#[path = "support/scene.rs"]
mod scene;
mod support;

use description::{ENABLED, PREFIX, fill, validity};
use scene::{interception, refused_entry};
use support::{Guest, Host, config};
use uvsim_model::address::PageIndex;
use uvsim_model::cpu::{Interception, SieExit, ValidityReason};
use uvsim_model::{Machine, Psw};

/// Parameters at their places in the state description (Linux `asm/kvm_host.h`).
fn parameters(host: &mut Host<'_>, guest: &Guest, fields: &[(u64, &[u8])]) {
    host.store(guest.state_description + 0xc0, &[0; 0x34]);
    for &(at, bytes) in fields {
        host.store(guest.state_description + at, bytes);
    }
}

#[test]
fn an_external_interruption_goes_through_the_prefix_area() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for (code, mask) in [
        (0x0040u16, 57),
        (0x1004, 52),
        (0x1005, 53),
        (0x1200, 48),
        (0x1201, 49),
        (0x1202, 50),
        (0x1406, 59),
        (0x1407, 58),
        (0x2401, 54),
        (0x2603, 54),
    ] {
        let bit = 1u64 << (63 - mask);
        parameters(
            &mut host,
            &guest,
            &[(0xc0, &0x43000u32.to_be_bytes()), (0xc4, &[0, 7]), (0xc6, &code.to_be_bytes())],
        );
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_psw(ENABLED).unwrap();
        cpu.load_control(0, !bit).unwrap();
        drop(cpu);
        host.injects(&guest, 2);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled), "{code:#x}: subclass");
        assert_eq!(host.injection_control(&guest), 2, "the interruption stays pending");
        host.injects(&guest, 0);
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_control(0, bit).unwrap();
        cpu.load_psw(Psw { mask: ENABLED.mask & !Psw::EXTERNAL, ..ENABLED }).unwrap();
        drop(cpu);
        host.injects(&guest, 2);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled), "{code:#x}: PSW");
        host.injects(&guest, 0);
        host.enter(&guest).unwrap().load_psw(ENABLED).unwrap();
        host.injects(&guest, 2);
        assert_eq!(host.enter(&guest).unwrap().psw(), Psw { mask: 0x1_8000_0000, address: 0x200 });
        assert_eq!(host.injection_control(&guest), 0);
        assert_eq!(host.old_psw(&guest, 0x130), ENABLED);
        let stored = [&0x43000u32.to_be_bytes()[..], &[0, 7], &code.to_be_bytes()].concat();
        assert_eq!(host.lowcore(&guest, 0x80, 8), stored);
    }
    parameters(&mut host, &guest, &[(0xc6, &[0x12, 0x03])]);
    host.injects(&guest, 2);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::InvalidInterruption));
}

#[test]
fn an_input_output_interruption() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for subclass in 0..8u32 {
        let word = subclass << 27;
        let fields = [&[0, 1, 0, 5][..], &0xdead_beefu32.to_be_bytes(), &word.to_be_bytes()].concat();
        parameters(&mut host, &guest, &[(0xe8, &fields)]);
        let bit = 0x8000_0000u64 >> subclass;
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_psw(ENABLED).unwrap();
        cpu.load_control(6, 0xff00_0000 & !bit).unwrap();
        drop(cpu);
        host.injects(&guest, 3);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled));
        host.injects(&guest, 0);
        host.enter(&guest).unwrap().load_control(6, bit).unwrap();
        host.injects(&guest, 3);
        assert_eq!(host.enter(&guest).unwrap().psw().address, 0x500);
        assert_eq!(host.old_psw(&guest, 0x170), ENABLED);
        assert_eq!(host.lowcore(&guest, 0xb8, 12), fields);
    }
    host.enter(&guest).unwrap().load_psw(Psw { mask: ENABLED.mask & !Psw::INPUT_OUTPUT, ..ENABLED }).unwrap();
    host.injects(&guest, 3);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled));
}

#[test]
fn a_machine_check_also_fills_the_save_areas() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    let inject = |host: &mut Host<'_>, code: u64| {
        let fields: [(u64, &[u8]); 3] = [(0xc0, &code.to_be_bytes()), (0xcc, &[1, 2, 3, 4]), (0xd0, &[9; 8])];
        parameters(host, &guest, &fields);
        host.injects(&guest, 1);
        let entered = host.enter(&guest).map(|cpu| cpu.psw());
        host.injects(&guest, 0);
        entered
    };
    // Bit of the interruption code, bit of control register 14.
    for (kind, mask) in [(2, 36), (4, 38), (5, 38), (7, 37), (8, 39), (9, 35)] {
        let (code, bit) = (1u64 << (63 - kind), 1u64 << (63 - mask));
        for (register, enabled) in [(!bit, false), (bit, true)] {
            let mut cpu = host.enter(&guest).unwrap();
            cpu.load_psw(ENABLED).unwrap();
            cpu.load_control(14, register).unwrap();
            drop(cpu);
            match enabled {
                true => assert_eq!(inject(&mut host, code).unwrap().address, 0x400),
                false => assert_eq!(
                    inject(&mut host, code),
                    Err(SieExit::Interception(validity(ValidityReason::NotEnabled)))
                ),
            }
        }
    }
    let mut cpu = host.enter(&guest).unwrap();
    fill(&mut cpu);
    cpu.set_access(15, 0x99);
    cpu.load_control(14, 0).unwrap();
    cpu.load_psw(ENABLED).unwrap();
    drop(cpu);
    // System damage needs the PSW bit alone.
    assert_eq!(inject(&mut host, 1 << 63).unwrap(), Psw { mask: 0x1_8000_0000, address: 0x400 });
    assert_eq!(host.old_psw(&guest, 0x160), ENABLED);
    assert_eq!(host.lowcore(&guest, 0xe8, 8), (1u64 << 63).to_be_bytes());
    assert_eq!(host.lowcore(&guest, 0xf4, 12), [&[1, 2, 3, 4][..], &[9; 8]].concat());
    assert_eq!(host.lowcore(&guest, 0x1280 + 8 * 13, 8), 0x1_000du64.to_be_bytes());
    assert_eq!(host.old_psw(&guest, 0x1300), ENABLED);
    assert_eq!(host.lowcore(&guest, 0x1340 + 4 * 15, 4), 0x99u32.to_be_bytes());
    assert_eq!(host.lowcore(&guest, 0x1380, 8), 0xe0u64.to_be_bytes());
    // No class of machine check at all; then masked by the PSW.
    let refusal = |reason| Err(SieExit::Interception(validity(reason)));
    assert_eq!(inject(&mut host, 0), refusal(ValidityReason::InvalidInterruption));
    assert_eq!(inject(&mut host, 1 << 63), refusal(ValidityReason::NotEnabled));
}

#[test]
fn restart_cannot_be_masked() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    let masked = Psw { mask: 0x1_8000_0000, address: 0x4444 };
    host.enter(&guest).unwrap().load_psw(masked).unwrap();
    host.injects(&guest, 4);
    assert_eq!(host.enter(&guest).unwrap().psw(), Psw { mask: 0x1_8000_0000, address: 0x100 });
    assert_eq!(host.old_psw(&guest, 0x120), masked);
}

#[test]
fn an_interruption_goes_to_the_prefix_area_of_the_moment_and_waits_for_it() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    host.exit(&guest, |cpu| cpu.set_prefix(0x8000));
    host.injects(&guest, 4);
    assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
    assert_eq!(host.injection_control(&guest), 4, "the interruption stays pending");
    for page in [8, 9] {
        host.resident(&guest, PageIndex(page));
    }
    assert_eq!(host.enter(&guest).unwrap().psw(), Psw::default(), "the new area is zeros");
    assert_eq!(host.old_psw(&guest, 0x120), ENABLED);
    assert_eq!(host.lowcore(&guest, 0x8120, 16), [0; 16], "nothing in the old area");
}

#[test]
fn undefined_injections() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for control in (5..0x10).chain(0x12..=0xff) {
        host.injects(&guest, control);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::InjectionControl));
    }
    host.injects(&guest, 0);
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn the_host_hears_of_masks_that_it_waits_for() {
    const ENABLEMENT: Interception = Interception { code: 100, ipa: 0, ipb: 0 };
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let at = guest.state_description;
    for (register, request) in [(0u8, 0x8000u16), (6, 0x0200), (14, 0x0002)] {
        host.enter(&guest).unwrap().load_control(register, 0).unwrap();
        // Another register's request counts for nothing.
        host.store(at + 0x44, &(!request).to_be_bytes());
        host.enter(&guest).unwrap().load_control(register, 0x100).unwrap();
        host.store(at + 0x44, &request.to_be_bytes());
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_control(register, 0).unwrap();
        cpu.load_control(register ^ 1, 0xff).unwrap();
        assert_eq!(interception(cpu.load_control(register, 0x200)), ENABLEMENT);
        assert_eq!(cpu.registers().control[usize::from(register)], 0x200, "it is loaded all the same");
        drop(cpu);
        host.store(at + 0x44, &[0, 0]);
    }
    let masked = Psw { mask: 0, address: 8 };
    for (offset, flag, mask, code) in [
        (0x00, 0x0100_0000u32, Psw::EXTERNAL, 100),
        (0x00, 0x0200_0000, Psw::INPUT_OUTPUT, 100),
        (0x48, 0x0040_0000, Psw::MACHINE_CHECK, 96),
    ] {
        host.store(at + offset, &flag.to_be_bytes());
        let mut cpu = host.enter(&guest).unwrap();
        let others = (Psw::EXTERNAL | Psw::INPUT_OUTPUT | Psw::MACHINE_CHECK) & !mask;
        cpu.load_psw(Psw { mask: others, address: 8 }).unwrap();
        cpu.load_psw(masked).unwrap();
        let wanted = Psw { mask, address: 16 };
        assert_eq!(interception(cpu.load_psw(wanted)), Interception { code, ipa: 0, ipb: 0 });
        assert_eq!(cpu.psw(), wanted);
        drop(cpu);
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_psw(wanted).unwrap();
        cpu.load_psw(masked).unwrap();
        drop(cpu);
        host.store(at + offset, &[0; 4]);
    }
}
