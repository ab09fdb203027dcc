//! A guest that runs, and a host that answers it by calls.

mod guest_machine;

use guest_machine::*;
use uvsim_oracle::ids::{FrameNumber, GuestAddress, Handle};
use uvsim_oracle::state::Exit;
use uvsim_oracle::step::{GuestStep, Uvc};
use uvsim_oracle::{Outcome, Step};

const IMPORT: u16 = 0x0200;
const EXPORT: u16 = 0x0201;
const CPU_RESET_INITIAL: u16 = 0x0311;
const PREPARE_RESET: u16 = 0x0320;
const CPU_RESET_CLEAR: u16 = 0x0321;
const CPU_SET_STATE: u16 = 0x0330;
const SET_UNSHARED_ALL: u16 = 0x0340;
const PIN: u16 = 0x0341;
const UNPIN: u16 = 0x0342;

fn import(machine: &mut Machine, page: u64) -> u16 {
    machine.host_call(IMPORT, 0x28, &[(0x18, ALPHA.0), (0x20, page << 12)])
}

fn export(machine: &mut Machine, page: u64) -> u16 {
    machine.host_call(EXPORT, 0x20, &[(0x18, (FIRST + page) << 12)])
}

fn by_handle(machine: &mut Machine, command: u16, handle: Handle) -> u16 {
    machine.host_call(command, 0x40, &[(0x18, handle.0)])
}

fn set_state(machine: &mut Machine, state: u64) -> u16 {
    machine.host_call(CPU_SET_STATE, 0x50, &[(0x18, VCPU.0), (0x20, state)])
}

#[test]
fn t14_t24_c82_i_39_after_3e_the_import_makes_the_access_good() {
    let mut machine = Machine::running();
    assert!(matches!(machine.store(PLAIN << 12, b"x"), Outcome::Program(stop) if stop.code == 0x3e));
    machine.leave();
    assert_eq!(import(&mut machine, PLAIN), 1);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.load(PLAIN << 12, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.store(PLAIN << 12, b"x"), Outcome::Done);
}

#[test]
fn t20_c90_c91_either_prefix_page_exported_is_112_until_it_is_imported() {
    for shared in [false, true] {
        for page in [0, 1] {
            let mut machine = Machine::running();
            if shared {
                for page in [1, 0] {
                    assert_eq!(machine.sharing_call(0x1000, page << 12), (Outcome::Condition(0), 1));
                }
            }
            machine.leave();
            assert_eq!(export(&mut machine, page), 1);
            assert_eq!(machine.enter(), intercepted(112, 0, 0));
            assert_eq!(machine.enter(), intercepted(112, 0, 0));
            assert_eq!(import(&mut machine, page), 1);
            assert_eq!(machine.enter(), Outcome::Done);
        }
    }
}

#[test]
fn d56_i_43_an_export_takes_the_page_from_a_guest_that_runs() {
    let mut machine = Machine::running();
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
    assert_eq!(export(&mut machine, SECURE), 1);
    assert!(matches!(machine.load(SECURE << 12, 1), Outcome::Program(stop) if stop.code == 0x3e));
    assert_eq!(machine.world.asked, 0);
}

#[test]
fn t60_t66_c88_c89_an_unshare_of_a_pinned_page_waits_for_the_unpin() {
    let mut machine = Machine::running();
    assert_eq!(machine.host_call(PIN, 0x20, &[(0x18, (FIRST + SHARED) << 12)]), 1);
    assert_eq!(machine.sharing_call(0x1001, SHARED << 12).0, intercepted(108, 0xb9a4, 0));
    machine.leave();
    assert_eq!(machine.enter(), Outcome::Done);
    let again = GuestStep::Uvc(Uvc { r1: 0, r2: 0x1e00, m3: 0, m4: 0 });
    assert_eq!(machine.act(again.clone()), intercepted(108, 0xb9a4, 0));
    machine.leave();
    assert!(matches!(machine.host_load((FIRST + SHARED) << 12, 1), Outcome::Loaded(_)));
    assert_eq!(machine.host_call(UNPIN, 0x28, &[(0x18, ALPHA.0), (0x20, SHARED << 12)]), 1);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.act(again), Outcome::Condition(0));
    assert!(matches!(machine.host_load((FIRST + SHARED) << 12, 1), Outcome::Program(stop) if stop.code == 0x3d));
}

#[test]
fn c98_i_36_d79_sie_is_refused_until_the_last_step_of_the_reset() {
    for (subcode, reset) in [(0, CPU_RESET_CLEAR), (1, CPU_RESET_INITIAL)] {
        let mut machine = Machine::running();
        assert_eq!(machine.store(0, &0x0008_0000_8000_1234_u64.to_be_bytes()), Outcome::Done);
        machine.act(GuestStep::General(2, subcode));
        let diagnose = GuestStep::Diagnose { function: 0x308, r1: 0, r3: 2 };
        assert!(matches!(machine.act(diagnose), Outcome::Interception(found) if found.code == 108));
        machine.leave();
        let steps: [&dyn Fn(&mut Machine) -> u16; 5] = [
            &|machine| set_state(machine, 2),
            &|machine| by_handle(machine, SET_UNSHARED_ALL, ALPHA),
            &|machine| by_handle(machine, PREPARE_RESET, ALPHA),
            &|machine| by_handle(machine, reset, VCPU),
            &|machine| set_state(machine, 5),
        ];
        for step in steps {
            assert!(is_validity(&machine.enter()));
            assert_eq!(step(&mut machine), 1);
        }
        assert_eq!(machine.enter(), Outcome::Done);
        assert_eq!(machine.vcpu().registers.psw, (0x8000_0000, 0x1234));
    }
}

#[test]
fn d79_state_1_is_accepted_while_a_reset_is_pending_but_sie_is_not() {
    let mut machine = Machine::running();
    let diagnose = GuestStep::Diagnose { function: 0x308, r1: 0, r3: 2 };
    assert!(matches!(machine.act(diagnose), Outcome::Interception(found) if found.code == 108));
    machine.leave();
    assert_eq!(set_state(&mut machine, 2), 1);
    assert_eq!(set_state(&mut machine, 1), 1);
    assert!(is_validity(&machine.enter()));
}

#[test]
fn d13_d80_a_cpu_in_sie_keeps_its_state() {
    let mut machine = Machine::running();
    assert_eq!(set_state(&mut machine, 2), 0x0103);
    assert_eq!(by_handle(&mut machine, 0x0121, VCPU), 0x0103);
    assert_eq!(machine.load(0, 1), Outcome::Loaded(vec![0]));
}

#[test]
fn c96_d81_an_initial_reset_lets_the_host_set_the_timer_anew() {
    let mut machine = Machine::running();
    machine.leave();
    machine.poke(DESCRIPTION + 0x28, &5_u64.to_be_bytes());
    assert!(is_validity(&machine.enter()));
    assert_eq!(set_state(&mut machine, 2), 1);
    assert_eq!(by_handle(&mut machine, CPU_RESET_INITIAL, VCPU), 1);
    assert_eq!(set_state(&mut machine, 1), 1);
    assert_eq!(machine.enter(), Outcome::Done);
}

/// Actions of all kinds, such that end well and such that do not.
fn actions() -> Vec<GuestStep> {
    let load = |address| GuestStep::Load { address: GuestAddress(address), length: 9 };
    let store = |address| GuestStep::Store { address: GuestAddress(address), bytes: vec![7; 9] };
    let uvc = |r2, m3| GuestStep::Uvc(Uvc { r1: 0, r2, m3, m4: 0 });
    let diagnose = |function| GuestStep::Diagnose { function, r1: 1, r3: 2 };
    let mut actions = vec![uvc(0x1e00, 0), uvc(0x1e00, 1), uvc(PLAIN << 12, 0), uvc(u64::MAX - 7, 0), uvc(4, 0)];
    for page in [0, 1, SECURE, SHARED, PINNED, PLAIN, UNMAPPED, SIZE >> 12, u64::MAX >> 12] {
        actions.extend([load(page << 12), store((page << 12) + 0xffc)]);
    }
    actions.extend([0x44, 0x9c, 0x288, 0x308, 0x500, 0x999].map(diagnose));
    actions.extend([0, 0x2000, 0x7fff_e000, u64::MAX].map(GuestStep::SetPrefix));
    for block in [SECURE << 12, 4, PLAIN << 12, SIZE, u64::MAX - 7] {
        actions.push(GuestStep::ServiceCall { command: 0, block: GuestAddress(block) });
    }
    actions.extend([0, u64::MAX].map(|mask| GuestStep::LoadPsw { mask, address: 1 }));
    actions.extend([0, 1, 14, 255].map(|number| GuestStep::LoadControl { number, value: u64::MAX }));
    actions.extend([true, false].map(GuestStep::ProblemState));
    actions.push(GuestStep::Sigp { order: 1, cpu: 2, parameter: 3 });
    actions.push(GuestStep::Prefetch(GuestAddress(u64::MAX)));
    actions
}

/// Everything but translation buffers is as it was.
fn same_but_buffers(one: &uvsim_oracle::State, other: &uvsim_oracle::State) -> bool {
    let bare = |state: &uvsim_oracle::State| {
        let mut state = state.clone();
        for cpu in [CPU, OTHER_CPU] {
            state.host[&cpu].buffer.clear();
        }
        state
    };
    bare(one) == bare(other)
}

#[test]
fn d32_d64_whatever_stops_an_action_leaves_nothing_behind_and_an_exit_is_final() {
    for first in actions() {
        for second in actions() {
            let mut machine = Machine::running();
            machine.step(Step::Guest(CPU, first.clone()));
            let before = machine.state.clone();
            let exit = before.host[&CPU].guest.as_ref().and_then(|stay| stay.exit);
            let after = machine.step(Step::Guest(CPU, second.clone()));
            match (exit, after.outcome) {
                (Some(_), Outcome::Done) => assert_eq!(after.state, before, "{first:?}, {second:?}"),
                (Some(Exit::Program(exit)), outcome) => {
                    assert_eq!(outcome, Outcome::Program(exit), "{first:?}, {second:?}");
                    assert_eq!(after.state, before);
                }
                (Some(Exit::Interception(exit)), outcome) => {
                    assert_eq!(outcome, Outcome::Interception(exit), "{first:?}, {second:?}");
                    assert_eq!(after.state, before);
                }
                (None, Outcome::GuestProgram(_)) => assert!(same_but_buffers(&before, &after.state), "{second:?}"),
                (None, Outcome::Program(program)) => {
                    let mut undone = after.state.clone();
                    let stay = undone.host[&CPU].guest.as_mut().expect("its client still has it");
                    assert_eq!(stay.exit.take(), Some(Exit::Program(program)));
                    // An exit all the same: the timer's window begins (C96).
                    let vcpu = stay.cpu;
                    assert_eq!(undone.cpus[&vcpu].last_exit, Some(before.clock));
                    undone.cpus[&vcpu].last_exit = before.cpus[&vcpu].last_exit;
                    assert!(same_but_buffers(&before, &undone), "{first:?}, {second:?}");
                }
                (None, _) => {}
            }
        }
    }
}

#[test]
fn t12_t14_frames_change_only_by_calls() {
    for action in actions() {
        let mut machine = Machine::running();
        let before = machine.state.registered.clone();
        machine.step(Step::Guest(CPU, action));
        assert_eq!(machine.state.registered, before);
        assert_eq!(machine.state.frame(FrameNumber(FIRST + PLAIN))[..], [0; 4096]);
    }
}
