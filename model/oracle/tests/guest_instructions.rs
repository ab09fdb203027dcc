//! Instructions that make a guest leave SIE, what the host does about them, and what it injects.

mod guest_machine;

use guest_machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::GuestAddress;
use uvsim_oracle::state::{Pending, Registered};
use uvsim_oracle::step::GuestStep;

const DIAGNOSE: (u16, u32) = (0x8302, 0x5000_0000);
const EXTERNAL: u64 = 1 << (63 - 7);
const IO: u64 = 1 << (63 - 6);
const MACHINE_CHECKS: u64 = 1 << (63 - 13);
const PROBLEM_STATE: u64 = 1 << (63 - 15);
/// Guest real addresses of page 0 are here in absolute storage.
const LOWCORE: u64 = FIRST << 12;

fn diagnose(function: u16, r1: u8, r3: u8) -> GuestStep {
    GuestStep::Diagnose { function, r1, r3 }
}

fn exits(machine: &mut Machine, step: GuestStep, code: u8) {
    assert_eq!(machine.act(step), intercepted(code, DIAGNOSE.0, DIAGNOSE.1));
    machine.leave();
}

/// Registers 0 to 7 of the guest hold 10 to 17.
fn with_registers() -> Machine {
    let mut machine = Machine::running();
    for number in 0..8 {
        assert_eq!(machine.act(GuestStep::General(number, 10 + u64::from(number))), Outcome::Done);
    }
    machine
}

/// The injection control, and what goes with it.
fn inject(machine: &mut Machine, control: u8, data: &[(u64, &[u8])]) {
    machine.poke(DESCRIPTION + 0x55, &[control]);
    for (offset, bytes) in data {
        machine.poke(DESCRIPTION + offset, bytes);
    }
}

fn put_new_psw(machine: &mut Machine, at: u64, psw: (u64, u64)) {
    machine.poke(LOWCORE + at, &psw.0.to_be_bytes());
    machine.poke(LOWCORE + at + 8, &psw.1.to_be_bytes());
}

fn doubleword(machine: &Machine, address: u64) -> u64 {
    u64::from_be_bytes(machine.peek(LOWCORE + address, 8).try_into().expect("eight bytes"))
}

#[test]
fn q22_yields_are_notifications() {
    let mut machine = with_registers();
    exits(&mut machine, diagnose(0x44, 1, 2), 108);
    assert_eq!(machine.shown_register(5), 0x44);
    assert_eq!(machine.enter(), Outcome::Done);
    exits(&mut machine, diagnose(0x9c, 7, 2), 108);
    assert_eq!((machine.shown_register(0), machine.shown_register(5)), (17, 0x9c));
    assert_eq!(machine.vcpu().outstanding, None);
}

#[test]
fn q22_diagnose_0x288_is_104_and_takes_a_specification_exception_only() {
    let mut machine = with_registers();
    exits(&mut machine, diagnose(0x288, 4, 6), 104);
    assert_eq!([0, 1, 2, 5].map(|number| machine.shown_register(number)), [14, 15, 16, 0x288]);
    inject(&mut machine, 0x11, &[]);
    assert!(is_validity(&machine.enter()));
    inject(&mut machine, 0x10, &[]);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.peek(LOWCORE + 0x8c, 4), [0, 4, 0, 0x06]);
}

#[test]
fn c97_diagnose_0x500_takes_operand_and_specification_exceptions_through_the_prefix_area() {
    for (control, code) in [(0x11, 0x15), (0x10, 0x06)] {
        let mut machine = with_registers();
        put_new_psw(&mut machine, 0x1d0, (PROBLEM_STATE, 0x4711));
        machine.vcpu().registers.psw = (0x8000_0000, 0x815);
        exits(&mut machine, diagnose(0x500, 0, 0), 104);
        assert_eq!([1, 2, 3, 4].map(|number| machine.shown_register(number)), [11, 12, 13, 14]);
        inject(&mut machine, control, &[(0x380 + 16, &99_u64.to_be_bytes())]);
        assert_eq!(machine.enter(), Outcome::Done);
        assert_eq!(machine.peek(LOWCORE + 0x8e, 2), [0, code]);
        assert_eq!((doubleword(&machine, 0x150), doubleword(&machine, 0x158)), (0x8000_0000, 0x815));
        assert_eq!(machine.vcpu().registers.psw, (PROBLEM_STATE, 0x4711));
        assert_eq!(machine.vcpu().registers.general[2], 12);
        assert_eq!(machine.peek(DESCRIPTION + 0x55, 1), [0]);
        assert_eq!(machine.act(diagnose(0x44, 0, 0)), guest_takes(0x02));
    }
}

#[test]
fn c97_an_exception_is_not_for_notifications() {
    for function in [0x44, 0x9c] {
        let mut machine = Machine::running();
        exits(&mut machine, diagnose(function, 0, 0), 108);
        inject(&mut machine, 0x10, &[]);
        assert!(is_validity(&machine.enter()));
        inject(&mut machine, 0, &[]);
        assert_eq!(machine.enter(), Outcome::Done);
    }
}

#[test]
fn q22_the_host_completes_diagnose_0x500_by_its_result() {
    let mut machine = with_registers();
    exits(&mut machine, diagnose(0x500, 0, 0), 104);
    machine.poke(DESCRIPTION + 0x380 + 16, &99_u64.to_be_bytes());
    machine.poke(DESCRIPTION + 0x380 + 24, &98_u64.to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().registers.general[1..5], [11, 99, 13, 14]);
    machine.leave();
    machine.poke(DESCRIPTION + 0x380 + 16, &1_u64.to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().registers.general[2], 99);
}

#[test]
fn d79_c98_diagnose_0x308_makes_the_configuration_pending() {
    for subcode in [0, 1] {
        let mut machine = Machine::running();
        machine.act(GuestStep::General(2, subcode));
        exits(&mut machine, diagnose(0x308, 0, 2), 108);
        assert_eq!((machine.shown_register(2), machine.shown_register(5)), (subcode, 0x308));
        let pending = Pending { subcode: Some(subcode), prepared: false };
        assert_eq!(machine.alpha().reset.pending, Some(pending));
        assert!(is_validity(&machine.enter()));
    }
}

#[test]
fn d79_other_subcodes_are_no_reset() {
    let mut machine = Machine::running();
    machine.act(GuestStep::General(2, 3));
    exits(&mut machine, diagnose(0x308, 0, 2), 108);
    assert_eq!(machine.alpha().reset.pending, None);
    assert_eq!(machine.enter(), Outcome::Done);
    for subcode in [4, 7, 8, 9, 10] {
        machine.act(GuestStep::General(2, subcode));
        assert_eq!(machine.act(diagnose(0x308, 0, 2)), guest_takes(0x06));
    }
}

#[test]
fn c91_set_prefix_takes_effect_and_the_host_is_told() {
    let mut machine = Machine::running();
    assert_eq!(machine.act(GuestStep::SetPrefix(0x8fff)), intercepted(108, 0xb210, 0));
    machine.leave();
    assert_eq!(machine.peek(DATA_AREA, 4), [0, 0, 0x80, 0]);
    assert_eq!(machine.vcpu().registers.prefix, 0x8000);
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
    for page in [8, 9] {
        machine.map(page, Some(FIRST + page));
        machine.register(page, FIRST + page, Registered::Secure);
    }
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.store(0, b"x"), Outcome::Done);
    assert_eq!(machine.peek((FIRST + 8) << 12, 1), b"x");
}

#[test]
fn t22_a_prefix_outside_guest_storage_is_addressing() {
    let mut machine = Machine::running();
    assert_eq!(machine.act(GuestStep::SetPrefix(SIZE)), guest_takes(0x05));
    assert_eq!(machine.vcpu().registers.prefix, 0);
}

#[test]
fn q22_a_service_call_goes_out_and_back_by_the_data_area_and_ends_with_108() {
    let mut machine = Machine::running();
    let block = [&[0, 16][..], b"a service call"].concat();
    assert_eq!(machine.store(0x2100, &block), Outcome::Done);
    let step = GuestStep::ServiceCall { command: 0x12_0001, block: GuestAddress(0x2100) };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if (found.code, found.ipa) == (104, 0xb220)));
    machine.leave();
    assert_eq!(machine.peek(DATA_AREA, 16), block);
    assert_eq!(machine.shown_register(1), 0x12_0001);
    machine.poke(DATA_AREA, b"what the host says");
    assert!(matches!(machine.enter(), Outcome::Interception(found) if (found.code, found.ipa) == (108, 0xb220)));
    assert_eq!(machine.peek(((FIRST + SECURE) << 12) + 0x100, 18), b"what the host sa\0\0");
    assert_eq!(machine.vcpu().in_sie, None);
    assert_eq!(machine.enter(), Outcome::Done);
}

#[test]
fn d31_a_write_back_that_a_page_refuses_is_tried_again() {
    let mut machine = Machine::running();
    assert_eq!(machine.store(0x2100, &[0, 8, 1, 2, 3, 4, 5, 6]), Outcome::Done);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(0x2100) };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if found.code == 104));
    machine.leave();
    let frame = uvsim_oracle::ids::FrameNumber(FIRST + SECURE);
    let registration = machine.state.registered.remove(&frame).expect("it is registered");
    assert!(matches!(machine.enter(), Outcome::Program(program) if program.code == 0x3e));
    assert!(machine.vcpu().outstanding.is_some());
    assert_eq!(machine.vcpu().in_sie, None);
    machine.state.registered.insert(frame, registration);
    assert!(matches!(machine.enter(), Outcome::Interception(found) if found.code == 108));
}

#[test]
fn q22_sigp_is_a_notification() {
    let mut machine = Machine::running();
    let step = GuestStep::Sigp { order: 6, cpu: 1, parameter: 0x1000 };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if (found.code, found.ipa >> 8) == (108, 0xae)));
    machine.leave();
    assert_eq!(machine.vcpu().outstanding, None);
}

/// The host waits for every change of masks.
fn announce(machine: &mut Machine) {
    machine.poke(DESCRIPTION, &0x0300_0000_u32.to_be_bytes());
    machine.poke(DESCRIPTION + 0x44, &[0x82, 0x02]);
    machine.poke(DESCRIPTION + 0x48, &0x0040_0000_u32.to_be_bytes());
}

#[test]
fn d80_a_guest_that_lets_more_interruptions_in_tells_so() {
    let load = |mask| GuestStep::LoadPsw { mask, address: 0x1000 };
    for (mask, code) in [(EXTERNAL, 100), (IO, 100), (MACHINE_CHECKS, 96), (MACHINE_CHECKS | IO, 96)] {
        let mut machine = Machine::running();
        assert_eq!(machine.act(load(mask)), Outcome::Done, "nobody waits for it");
        assert_eq!(machine.act(load(0)), Outcome::Done);
        announce(&mut machine);
        assert_eq!(machine.act(load(mask)), intercepted(code, 0, 0));
        assert_eq!(machine.vcpu().registers.psw, (mask, 0x1000));
        machine.leave();
        assert_eq!(machine.enter(), Outcome::Done);
        assert_eq!(machine.act(load(mask)), Outcome::Done);
        assert_eq!(machine.act(load(0)), Outcome::Done);
    }
    for (number, exit) in [(0, true), (6, true), (14, true), (1, false), (13, false)] {
        let mut machine = Machine::running();
        announce(&mut machine);
        let outcome = machine.act(GuestStep::LoadControl { number, value: 0x200 });
        assert_eq!(outcome, if exit { intercepted(100, 0, 0) } else { Outcome::Done });
        assert_eq!(machine.vcpu().registers.control[usize::from(number)], 0x200);
    }
}

#[test]
fn c3_all_of_them_are_privileged() {
    let steps = [
        diagnose(0x44, 0, 0),
        GuestStep::SetPrefix(0),
        GuestStep::ServiceCall { command: 0, block: GuestAddress(0x2000) },
        GuestStep::Sigp { order: 0, cpu: 0, parameter: 0 },
        GuestStep::LoadPsw { mask: 0, address: 0 },
        GuestStep::LoadControl { number: 0, value: 0 },
    ];
    for step in steps {
        let mut machine = Machine::running();
        assert_eq!(machine.act(GuestStep::ProblemState(true)), Outcome::Done);
        assert_eq!(machine.act(step), guest_takes(0x02));
        assert_eq!(machine.load(0, 1), Outcome::Loaded(vec![0]));
    }
}

#[test]
fn q23_an_external_interruption_needs_psw_and_control_register_0() {
    let mut machine = Machine::new();
    put_new_psw(&mut machine, 0x1b0, (1, 2));
    inject(&mut machine, 2, &[(0xc0, &[0, 4, 0x30, 0, 0, 7, 0x24, 1])]);
    assert!(is_validity(&machine.enter()));
    machine.vcpu().registers.psw = (EXTERNAL, 5);
    assert!(is_validity(&machine.enter()));
    machine.vcpu().registers.control[0] = 0x200;
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.peek(LOWCORE + 0x80, 8), [0, 4, 0x30, 0, 0, 7, 0x24, 1]);
    assert_eq!((doubleword(&machine, 0x130), doubleword(&machine, 0x138)), (EXTERNAL, 5));
    assert_eq!(machine.vcpu().registers.psw, (1, 2));
}

#[test]
fn q23_an_io_interruption_needs_psw_and_its_subclass() {
    let mut machine = Machine::new();
    put_new_psw(&mut machine, 0x1f0, (1, 2));
    let word = 3_u32 << 27;
    inject(&mut machine, 3, &[(0xe8, &[0, 1, 0, 2, 0, 0, 0, 3]), (0xf0, &word.to_be_bytes())]);
    machine.vcpu().registers.psw = (IO, 0);
    machine.vcpu().registers.control[6] = 0xef00_0000;
    assert!(is_validity(&machine.enter()));
    machine.vcpu().registers.control[6] = 0x1000_0000;
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.peek(LOWCORE + 0xb8, 8), [0, 1, 0, 2, 0, 0, 0, 3]);
    assert_eq!(machine.peek(LOWCORE + 0xc0, 4), word.to_be_bytes());
    assert_eq!(doubleword(&machine, 0x170), IO);
}

#[test]
fn q23_machine_checks_need_the_psw_and_restarts_nothing() {
    let mut machine = Machine::new();
    inject(&mut machine, 1, &[(0xc0, &(1_u64 << 63).to_be_bytes())]);
    assert!(is_validity(&machine.enter()));
    machine.vcpu().registers.psw = (MACHINE_CHECKS, 9);
    machine.vcpu().registers.general[15] = 0x77;
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!((doubleword(&machine, 0xe8), doubleword(&machine, 0x168)), (1 << 63, 9));
    assert_eq!((doubleword(&machine, 0x12f8), doubleword(&machine, 0x1308)), (0x77, 9), "save areas");

    let mut machine = Machine::new();
    put_new_psw(&mut machine, 0x1a0, (0, 77));
    inject(&mut machine, 4, &[]);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().registers.psw, (0, 77));

    inject(&mut Machine::new(), 5, &[]);
    let mut machine = Machine::new();
    inject(&mut machine, 5, &[]);
    assert!(is_validity(&machine.enter()));
}

#[test]
fn d80_a_loaded_psw_brings_its_problem_state() {
    let mut machine = Machine::running();
    assert_eq!(machine.act(GuestStep::LoadPsw { mask: PROBLEM_STATE, address: 0 }), Outcome::Done);
    assert_eq!(machine.act(GuestStep::SetPrefix(0)), guest_takes(0x02));
    machine.leave();
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.act(GuestStep::SetPrefix(0)), guest_takes(0x02));
}

#[test]
fn d80_a_data_area_that_is_fenced_gets_nothing() {
    let mut machine = Machine::new();
    machine.poke(DESCRIPTION + 0x180, &((FIRST + SECURE) << 12).to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    let outcome = machine.act(GuestStep::SetPrefix(0x8000));
    assert!(matches!(outcome, Outcome::Interception(found) if found.code == 108));
    assert_eq!(machine.vcpu().registers.prefix, 0x8000);
    assert_eq!(machine.peek((FIRST + SECURE) << 12, 4), [0; 4]);
}

#[test]
fn d80_a_host_that_names_no_data_area_gets_no_data_and_gives_none() {
    let mut machine = Machine::new();
    machine.poke(DESCRIPTION + 0x180, &0_u64.to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.store(0x2000, &[0, 8, 1, 2, 3, 4, 5, 6]), Outcome::Done);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(0x2000) };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if found.code == 104));
    machine.leave();
    assert_eq!(machine.peek(0, 8), [0; 8]);
    machine.poke(0, &[9; 8]);
    assert!(matches!(machine.enter(), Outcome::Interception(found) if found.code == 108));
    assert_eq!(machine.load_after_entry(0x2000, 8), [0, 8, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn q22_a_service_call_hands_over_a_page_at_most() {
    let mut machine = Machine::running();
    machine.poke((FIRST + SECURE) << 12, &[0x10, 1]);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(SECURE << 12) };
    assert_eq!(machine.act(step), guest_takes(0x06), "across pages");
    machine.poke((FIRST + SECURE) << 12, &[0, 7]);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(SECURE << 12) };
    assert_eq!(machine.act(step), guest_takes(0x06), "shorter than its header");
    machine.poke((FIRST + SECURE) << 12, &[0x10, 0]);
    assert_eq!(machine.store((SECURE << 12) + 0xfff, b"x"), Outcome::Done);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(SECURE << 12) };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if found.code == 104));
    assert_eq!(machine.peek(DATA_AREA + 0xfff, 1), b"x");
    machine.leave();
    machine.poke((FIRST + SHARED) << 12, b"kept");
    assert!(matches!(machine.enter(), Outcome::Interception(found) if found.code == 108));
    assert_eq!(machine.peek((FIRST + SHARED) << 12, 4), b"kept");
}

#[test]
fn c96_d81_the_notification_of_a_finished_service_call_is_an_exit() {
    let mut machine = Machine::running();
    assert_eq!(machine.store(0x2000, &[0, 8]), Outcome::Done);
    let step = GuestStep::ServiceCall { command: 1, block: GuestAddress(0x2000) };
    assert!(matches!(machine.act(step), Outcome::Interception(found) if found.code == 104));
    machine.leave();
    machine.clock(1_000_000);
    machine.vcpu().registers.psw = (EXTERNAL, 0);
    assert!(matches!(machine.enter(), Outcome::Interception(found) if found.code == 108));
    assert_eq!(machine.vcpu().last_exit, Some(1_000_000));
    assert_eq!(machine.vcpu().registers.psw, (EXTERNAL, 0));
    machine.poke(DESCRIPTION + 0x28, &u64::MAX.to_be_bytes());
    assert!(is_validity(&machine.enter()));
}

#[test]
fn t20_q23_what_is_to_be_injected_waits_for_the_prefix_pages() {
    let mut machine = Machine::new();
    inject(&mut machine, 0x7f, &[]);
    machine.map(1, None);
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
    machine.map(1, Some(FIRST + 1));
    assert!(is_validity(&machine.enter()));
    assert_eq!(machine.peek(DESCRIPTION + 0x55, 1), [0x7f]);
}

#[test]
fn q23_each_external_code_has_its_subclass_mask() {
    let masks: [(u16, u64); 9] = [
        (0x1200, 0x8000),
        (0x1201, 0x4000),
        (0x1202, 0x2000),
        (0x1004, 0x0800),
        (0x1005, 0x0400),
        (0x2401, 0x0200),
        (0x0040, 0x0040),
        (0x1407, 0x0020),
        (0x1406, 0x0010),
    ];
    for (code, mask) in masks {
        let mut machine = Machine::new();
        inject(&mut machine, 2, &[(0xc6, &code.to_be_bytes())]);
        machine.vcpu().registers.psw = (EXTERNAL, 0);
        machine.vcpu().registers.control[0] = !mask;
        assert!(is_validity(&machine.enter()), "{code:#x}");
        machine.vcpu().registers.control[0] = mask;
        assert_eq!(machine.enter(), Outcome::Done);
        assert_eq!(machine.peek(LOWCORE + 0x86, 2), code.to_be_bytes());
    }
}

#[test]
fn q23_each_io_subclass_has_its_mask() {
    for subclass in 0..8_u32 {
        let mut machine = Machine::new();
        inject(&mut machine, 3, &[(0xf0, &(subclass << 27 | 0x8000_0000).to_be_bytes())]);
        let mask = 0x8000_0000_u64 >> subclass;
        machine.vcpu().registers.psw = (IO, 0);
        machine.vcpu().registers.control[6] = !mask;
        assert!(is_validity(&machine.enter()));
        machine.vcpu().registers.control[6] = mask;
        assert_eq!(machine.enter(), Outcome::Done);
    }
}

#[test]
fn q22_what_sigp_and_service_call_show() {
    let mut machine = Machine::running();
    let step = GuestStep::Sigp { order: 6, cpu: 3, parameter: 0x1000 };
    assert_eq!(machine.act(step), intercepted(108, 0xae02, 0x5000_0000));
    assert_eq!([1, 2, 5].map(|number| machine.shown_register(number)), [0x1000, 3, 6]);
    let mut machine = Machine::running();
    let call = |block| GuestStep::ServiceCall { command: 7, block: GuestAddress(block) };
    assert_eq!(machine.act(call(0x2004)), guest_takes(0x06));
    assert_eq!(machine.act(call(SIZE)), guest_takes(0x05));
    assert_eq!(machine.store(0x2008, &[0, 8]), Outcome::Done);
    assert_eq!(machine.act(call(0x2008)), intercepted(104, 0xb220, 0x0012_0000));
}

#[test]
fn d18_of_a_register_number_the_low_four_bits_count() {
    let mut machine = Machine::running();
    assert_eq!(machine.act(GuestStep::General(0x53, 8)), Outcome::Done);
    assert_eq!(machine.act(GuestStep::AccessRegister(0xff, 9)), Outcome::Done);
    assert_eq!(machine.act(GuestStep::LoadControl { number: 0x21, value: 10 }), Outcome::Done);
    let registers = machine.vcpu().registers.clone();
    assert_eq!((registers.general[3], registers.access[15], registers.control[1]), (8, 9, 10));
    exits(&mut machine, diagnose(0x9c, 0x13, 0), 108);
    assert_eq!(machine.shown_register(0), 8);
}

#[test]
fn t22_the_last_prefix_area_of_guest_storage_will_do() {
    let mut machine = Machine::running();
    // Bits 51 to 63 of a prefix do not count.
    assert_eq!(machine.act(GuestStep::SetPrefix(SIZE - 0x1000)), intercepted(108, 0xb210, 0));
    machine.leave();
    assert_eq!(machine.vcpu().registers.prefix, SIZE - 0x2000);
}

#[test]
fn d80_masks_that_go_off_or_stay_are_not_told() {
    let mut machine = Machine::running();
    announce(&mut machine);
    machine.vcpu().registers.psw = (EXTERNAL | IO | MACHINE_CHECKS, 0);
    machine.vcpu().registers.control[6] = 0xff00_0000;
    let load = |mask| GuestStep::LoadPsw { mask, address: 0 };
    assert_eq!(machine.act(load(EXTERNAL | IO | MACHINE_CHECKS)), Outcome::Done);
    assert_eq!(machine.act(load(IO | 1 << 31)), Outcome::Done);
    assert_eq!(machine.act(GuestStep::LoadControl { number: 6, value: 0x8000_0000 }), Outcome::Done);
    assert_eq!(machine.act(GuestStep::LoadControl { number: 6, value: 0xc000_0000 }), intercepted(100, 0, 0));
}
