//! Conformance, guest instructions that concern the host, and what the host injects: C91, C97, 5.3 of the
//! interface, Q22, Q23.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{code_and_address, host_interruption, interception, own_interruption, refused_entry};
use support::{DONE, Guest, Host, UV_BASE, config};
use uvsim_model::address::{GuestAddress, PageIndex};
use uvsim_model::cpu::{Diagnose, GuestCpu, Interception, ServiceCall, SieExit, Sigp, ValidityReason};
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, Psw};

const PREFIX: Interception = Interception { code: 112, ipa: 0, ipb: 0 };
/// Machine checks, I/O and external interruptions are enabled.
const ENABLED: Psw = Psw { mask: 0x0304_0001_8000_0000, address: 0x1000 };
const OLD: Psw = Psw { mask: 0x0304_0001_8000_0000, address: 0x1000 };

fn validity(reason: ValidityReason) -> Interception {
    Interception { code: 32, ipa: 0, ipb: (reason as u32) << 16 }
}

const fn diagnosed(code: u8) -> Interception {
    Interception { code, ipa: 0x8302, ipb: 0x5000_0000 }
}

/// What a host finds and leaves in a state description.
impl Host<'_> {
    fn saved(&mut self, guest: &Guest, register: u64) -> u64 {
        let bytes = self.load(guest.state_description + 0x380 + register * 8, 8).unwrap();
        u64::from_be_bytes(bytes.try_into().unwrap())
    }

    fn give_register(&mut self, guest: &Guest, register: u64, value: u64) {
        self.store_u64(guest.state_description + 0x380 + register * 8, value);
    }

    fn injects(&mut self, guest: &Guest, control: u8) {
        self.store(guest.state_description + 0x55, &[control]);
    }

    fn injection_control(&mut self, guest: &Guest) -> u8 {
        self.load(guest.state_description + 0x55, 1).unwrap()[0]
    }

    /// Enters once, and lets the guest do one thing that must end with an exit.
    fn exit(
        &mut self,
        guest: &Guest,
        action: impl FnOnce(&mut GuestCpu<'_, '_>) -> Result<(), uvsim_model::cpu::GuestEvent>,
    ) -> Interception {
        let mut cpu = self.enter(guest).expect("the guest runs");
        interception(action(&mut cpu))
    }

    /// Enters, and fills the save area with marks first, so that unexposed registers can be told.
    fn marked(&mut self, guest: &Guest) {
        for register in 0..16 {
            self.give_register(guest, register, 0xaaaa_0000 + register);
        }
    }

    fn untouched(&mut self, guest: &Guest, exposed: &[u64]) {
        for register in (0..16).filter(|register| !exposed.contains(register)) {
            assert_eq!(self.saved(guest, register), 0xaaaa_0000 + register, "register {register} is exposed");
        }
    }

    /// A guest whose new PSWs are `address = 0x100 × index`, with the masks of its own PSW on.
    fn interruptible(&mut self) -> Guest {
        let guest = self.start(1);
        for (index, at) in (1u64..).zip([0x1a0, 0x1b0, 0x1d0, 0x1e0, 0x1f0]) {
            self.guest_store(&guest, at, &0x1_8000_0000u64.to_be_bytes()).unwrap();
            self.guest_store(&guest, at + 8, &(index * 0x100).to_be_bytes()).unwrap();
        }
        self.enter(&guest).unwrap().load_psw(ENABLED).unwrap();
        guest
    }

    fn lowcore(&mut self, guest: &Guest, at: u64, len: usize) -> Vec<u8> {
        self.guest_load(guest, at, len).unwrap()
    }

    fn old_psw(&mut self, guest: &Guest, at: u64) -> Psw {
        let bytes = self.lowcore(guest, at, 16);
        let half = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Psw { mask: half(0), address: half(8) }
    }
}

/// Registers of the guest with marks of their own.
fn fill(cpu: &mut GuestCpu<'_, '_>) {
    (0..16).for_each(|register| cpu.set_general(register, 0x1_0000 + u64::from(register)));
}

#[test]
fn a_yield_is_notified_with_its_first_operand_alone() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for (function, control, code) in
        [(Diagnose::KVM, 0x11, 0x15u16), (Diagnose::KVM, 0x10, 0x06), (Diagnose::WATCHDOG, 0x10, 0x06)]
    {
        host.exit(&guest, |cpu| {
            cpu.load_psw(OLD).unwrap();
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
        assert_eq!(host.old_psw(&guest, 0x150), OLD);
        assert_eq!(host.lowcore(&guest, 0x8c, 4), [&[0, 4], &code.to_be_bytes()[..]].concat());
        // Only right after the exit.
        host.injects(&guest, control);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
        host.injects(&guest, 0);
    }
}

#[test]
fn c97_exceptions_that_it_may_not() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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

/// Parameters at their places in the state description (Linux `asm/kvm_host.h`).
fn parameters(host: &mut Host<'_>, guest: &Guest, fields: &[(u64, &[u8])]) {
    host.store(guest.state_description + 0xc0, &[0; 0x34]);
    for &(at, bytes) in fields {
        host.store(guest.state_description + at, bytes);
    }
}

#[test]
fn an_external_interruption_goes_through_the_prefix_area() {
    let machine = Machine::new(config()).unwrap();
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
        cpu.load_psw(OLD).unwrap();
        cpu.load_control(0, !bit).unwrap();
        drop(cpu);
        host.injects(&guest, 2);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled), "{code:#x}: subclass");
        assert_eq!(host.injection_control(&guest), 2, "the interruption stays pending");
        host.injects(&guest, 0);
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_control(0, bit).unwrap();
        cpu.load_psw(Psw { mask: OLD.mask & !Psw::EXTERNAL, ..OLD }).unwrap();
        drop(cpu);
        host.injects(&guest, 2);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled), "{code:#x}: PSW");
        host.injects(&guest, 0);
        host.enter(&guest).unwrap().load_psw(OLD).unwrap();
        host.injects(&guest, 2);
        assert_eq!(host.enter(&guest).unwrap().psw(), Psw { mask: 0x1_8000_0000, address: 0x200 });
        assert_eq!(host.injection_control(&guest), 0);
        assert_eq!(host.old_psw(&guest, 0x130), OLD);
        let stored = [&0x43000u32.to_be_bytes()[..], &[0, 7], &code.to_be_bytes()].concat();
        assert_eq!(host.lowcore(&guest, 0x80, 8), stored);
    }
    parameters(&mut host, &guest, &[(0xc6, &[0x12, 0x03])]);
    host.injects(&guest, 2);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::InvalidInterruption));
}

#[test]
fn an_input_output_interruption() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.interruptible();
    for subclass in 0..8u32 {
        let word = subclass << 27;
        let fields = [&[0, 1, 0, 5][..], &0xdead_beefu32.to_be_bytes(), &word.to_be_bytes()].concat();
        parameters(&mut host, &guest, &[(0xe8, &fields)]);
        let bit = 0x8000_0000u64 >> subclass;
        let mut cpu = host.enter(&guest).unwrap();
        cpu.load_psw(OLD).unwrap();
        cpu.load_control(6, 0xff00_0000 & !bit).unwrap();
        drop(cpu);
        host.injects(&guest, 3);
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled));
        host.injects(&guest, 0);
        host.enter(&guest).unwrap().load_control(6, bit).unwrap();
        host.injects(&guest, 3);
        assert_eq!(host.enter(&guest).unwrap().psw().address, 0x500);
        assert_eq!(host.old_psw(&guest, 0x170), OLD);
        assert_eq!(host.lowcore(&guest, 0xb8, 12), fields);
    }
    host.enter(&guest).unwrap().load_psw(Psw { mask: OLD.mask & !Psw::INPUT_OUTPUT, ..OLD }).unwrap();
    host.injects(&guest, 3);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled));
}

#[test]
fn a_machine_check_also_fills_the_save_areas() {
    let machine = Machine::new(config()).unwrap();
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
            cpu.load_psw(OLD).unwrap();
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
    cpu.load_psw(OLD).unwrap();
    drop(cpu);
    // System damage needs the PSW bit alone.
    assert_eq!(inject(&mut host, 1 << 63).unwrap(), Psw { mask: 0x1_8000_0000, address: 0x400 });
    assert_eq!(host.old_psw(&guest, 0x160), OLD);
    assert_eq!(host.lowcore(&guest, 0xe8, 8), (1u64 << 63).to_be_bytes());
    assert_eq!(host.lowcore(&guest, 0xf4, 12), [&[1, 2, 3, 4][..], &[9; 8]].concat());
    assert_eq!(host.lowcore(&guest, 0x1280 + 8 * 13, 8), 0x1_000du64.to_be_bytes());
    assert_eq!(host.old_psw(&guest, 0x1300), OLD);
    assert_eq!(host.lowcore(&guest, 0x1340 + 4 * 15, 4), 0x99u32.to_be_bytes());
    assert_eq!(host.lowcore(&guest, 0x1380, 8), 0xe0u64.to_be_bytes());
    // No class of machine check at all; then masked by the PSW.
    let refusal = |reason| Err(SieExit::Interception(validity(reason)));
    assert_eq!(inject(&mut host, 0), refusal(ValidityReason::InvalidInterruption));
    assert_eq!(inject(&mut host, 1 << 63), refusal(ValidityReason::NotEnabled));
}

#[test]
fn restart_cannot_be_masked() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    assert_eq!(host.old_psw(&guest, 0x120), OLD);
    assert_eq!(host.lowcore(&guest, 0x8120, 16), [0; 16], "nothing in the old area");
}

#[test]
fn undefined_injections() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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

#[test]
fn c88_the_exit_for_a_pinned_page_is_as_before() {
    let machine = Machine::new(config()).unwrap();
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
