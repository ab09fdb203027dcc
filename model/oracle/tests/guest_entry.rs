//! Who may enter a guest, and when.

mod guest_machine;

use guest_machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::FrameNumber;
use uvsim_oracle::state::{Boot, CpuReset, Donated, Pending, Purpose, Registered, Run};
use uvsim_oracle::step::{GuestStep, HostStep};
use uvsim_oracle::{Step, ids::AbsoluteAddress};

/// Puts something right again after a validity, and enters.
fn refused_then_entered(mut machine: Machine, spoil: impl Fn(&mut Machine), repair: impl Fn(&mut Machine)) {
    spoil(&mut machine);
    let before = machine.state.cpus.clone();
    let outcome = machine.enter();
    assert!(is_validity(&outcome), "{outcome:?}");
    assert_eq!(Outcome::Interception(machine.shown_interception()), outcome);
    assert_eq!(machine.state.cpus, before);
    repair(&mut machine);
    assert_eq!(machine.enter(), Outcome::Done);
}

#[test]
fn c65_t20_a_guest_that_is_ready_runs() {
    let mut machine = Machine::new();
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().in_sie, Some(CPU));
    machine.leave();
    assert_eq!(machine.vcpu().in_sie, None);
}

#[test]
fn d80_the_state_description_must_be_accessible() {
    let mut machine = Machine::new();
    machine.state.donated.insert(FrameNumber(DESCRIPTION >> 12), Donated { count: 1, purpose: Purpose::Base });
    assert!(matches!(machine.enter(), Outcome::Program(program) if program.code == 0x3d));
    let outside = machine.state.setup.storage;
    assert!(matches!(machine.enter_on(CPU, outside), Outcome::Program(program) if program.code == 0x05));
}

#[test]
fn c92_control_register_1_must_hold_the_registered_asce() {
    let set = |asce| {
        move |machine: &mut Machine| {
            machine.state.host.get_mut(&CPU).expect("CPU 0").primary = asce;
        }
    };
    refused_then_entered(Machine::new(), set(0x6_0100), set(ASCE));
}

#[test]
fn c93_every_bit_of_both_handles_counts() {
    for (offset, handle) in [(0x10, VCPU), (0x18, ALPHA)] {
        for bit in 0..64 {
            let mut machine = Machine::new();
            machine.poke(DESCRIPTION + offset, &(handle.0 ^ 1 << bit).to_be_bytes());
            let outcome = machine.enter();
            assert!(is_validity(&outcome), "bit {bit} at {offset:#x}: {outcome:?}");
        }
    }
}

#[test]
fn c94_handles_of_another_configuration_are_none() {
    for (offset, other, own) in [(0x10, BETA_VCPU, VCPU), (0x18, BETA, ALPHA)] {
        let mut machine = Machine::new();
        machine.configuration(BETA, BETA_VCPU, 0x6_0100, 0x1_4000);
        let put = |handle: uvsim_oracle::ids::Handle| {
            move |machine: &mut Machine| machine.poke(DESCRIPTION + offset, &handle.0.to_be_bytes())
        };
        refused_then_entered(machine, put(other), put(own));
    }
}

#[test]
fn q26_only_the_registered_state_description_will_do() {
    refused_then_entered(
        Machine::new(),
        |machine| machine.vcpu().state_description = AbsoluteAddress(DESCRIPTION + 0x200),
        |machine| machine.vcpu().state_description = AbsoluteAddress(DESCRIPTION),
    );
}

#[test]
fn c95_a_cpu_in_sie_cannot_be_entered_again() {
    let mut machine = Machine::running();
    let outcome = machine.enter_on(OTHER_CPU, DESCRIPTION);
    assert!(is_validity(&outcome), "{outcome:?}");
    assert_eq!(machine.load(0, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.enter(), Outcome::Impossible);
}

#[test]
fn c96_d81_the_cpu_timer_may_fall_by_the_time_that_passes_and_not_rise() {
    let timer = |value: u64| move |machine: &mut Machine| machine.poke(DESCRIPTION + 0x28, &value.to_be_bytes());
    let left = || {
        let mut machine = Machine::new();
        timer(0x10_0000)(&mut machine);
        assert_eq!(machine.enter(), Outcome::Done);
        machine.clock(2_000);
        machine.leave();
        assert_eq!(machine.shown(0x28), 0x10_0000 - 2 * 4096);
        machine.clock(1_000);
        machine
    };
    let exit = 0x10_0000 - 2 * 4096;
    refused_then_entered(left(), timer(exit + 1), timer(exit));
    refused_then_entered(left(), timer(exit - 4097), timer(exit - 4096));
    refused_then_entered(left(), timer(exit + 4_096_000), timer(exit));
}

#[test]
fn c96_the_first_timer_is_taken_as_it_is() {
    let mut machine = Machine::new();
    machine.poke(DESCRIPTION + 0x28, &u64::MAX.to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().registers.cpu_timer, u64::MAX);
}

#[test]
fn i_34_without_verification_there_is_no_entry() {
    let mut machine = Machine::new();
    machine.alpha().boot = Boot::Created;
    assert!(is_validity(&machine.enter()));
}

#[test]
fn i_36_c98_d79_a_pending_reset_or_one_owed_keeps_the_guest_out() {
    let pend = |pending| move |machine: &mut Machine| machine.alpha().reset.pending = pending;
    let pending = Pending { subcode: Some(0), prepared: true };
    refused_then_entered(Machine::new(), pend(Some(pending)), pend(None));
    let owe = |owed| move |machine: &mut Machine| machine.vcpu().owed = owed;
    refused_then_entered(Machine::new(), owe(Some((CpuReset::Clear, false))), owe(Some((CpuReset::Clear, true))));
}

#[test]
fn d80_only_an_operating_cpu_is_entered() {
    let run = |run| move |machine: &mut Machine| machine.vcpu().run = run;
    refused_then_entered(Machine::new(), run(Run::Stopped), run(Run::Operating));
    refused_then_entered(Machine::new(), run(Run::CheckStop), run(Run::Operating));
}

#[test]
fn d80_the_first_check_that_fails_decides() {
    let spoil: [fn(&mut Machine); 5] = [
        |machine| machine.poke(DESCRIPTION + 0x18, &[0]),
        |machine| machine.state.host.get_mut(&CPU).expect("CPU 0").primary = 0,
        |machine| machine.vcpu().in_sie = Some(OTHER_CPU),
        |machine| machine.alpha().boot = Boot::Created,
        |machine| machine.vcpu().run = Run::Stopped,
    ];
    let reason = |spoil: &[fn(&mut Machine)]| {
        let mut machine = Machine::new();
        machine.map(0, None);
        spoil.iter().for_each(|spoil| spoil(&mut machine));
        machine.enter()
    };
    for (at, one) in spoil.iter().enumerate() {
        assert!(is_validity(&reason(&[*one])));
        assert_eq!(reason(&[*one]), reason(&spoil[at..]));
    }
}

#[test]
fn t20_c90_c91_prefix_pages_that_are_missing_are_112() {
    for page in [0, 1] {
        for prefix in [0, 0x8000] {
            for kind in [Registered::Secure, Registered::Shared, Registered::Pinned] {
                let mut machine = Machine::new();
                machine.vcpu().registers.prefix = prefix;
                for (at, frame) in [(0, FIRST + 8), (1, FIRST + 9)] {
                    machine.map((prefix >> 12) + at, Some(frame));
                    machine.register((prefix >> 12) + at, frame, kind);
                }
                let gone = FrameNumber(FIRST + 8 + page);
                let registration = machine.state.registered.remove(&gone).expect("it is registered");
                assert_eq!(machine.enter(), intercepted(112, 0, 0));
                assert_eq!(machine.vcpu().in_sie, None);
                machine.state.registered.insert(gone, registration);
                assert_eq!(machine.enter(), Outcome::Done);
            }
        }
    }
}

#[test]
fn t20_a_prefix_outside_or_unmapped_is_112() {
    let mut machine = Machine::new();
    machine.map(1, None);
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
    let mut machine = Machine::new();
    machine.vcpu().registers.prefix = SIZE;
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
}

#[test]
fn c98_d79_after_a_reset_the_psw_comes_from_absolute_0_behind_the_prefix_check() {
    let mut machine = Machine::new();
    machine.poke(FIRST << 12, &0x000a_0000_8000_4711_u64.to_be_bytes());
    machine.vcpu().load_pending = true;
    machine.map(0, None);
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
    assert!(machine.vcpu().load_pending);
    machine.map(0, Some(FIRST));
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.vcpu().registers.psw, (0x0002_0000_8000_0000, 0x4711));
    assert!(!machine.vcpu().load_pending);
}

#[test]
fn c2_sie_is_privileged() {
    let mut machine = Machine::new();
    machine.state.host.get_mut(&CPU).expect("CPU 0").problem_state = true;
    assert_eq!(machine.enter(), host_takes(0x02, 0));
}

#[test]
fn d81_time_in_sie_is_charged_when_the_guest_leaves() {
    let mut machine = Machine::running();
    machine.clock(1_000_000);
    let exit = machine.load(PLAIN << 12, 1);
    assert!(matches!(exit, Outcome::Program(_)));
    assert_eq!(machine.step(Step::Guest(CPU, GuestStep::Leave)).outcome, Outcome::Done);
    assert_eq!(machine.shown(0x28), 0_u64.wrapping_sub(4096 * 1000));
    let host = machine.step(Step::Host(CPU, HostStep::Ptlb));
    assert_eq!(host.outcome, Outcome::Done);
}

#[test]
fn c65_c93_a_native_machine_has_native_state_descriptions() {
    let mut machine = Machine::new();
    std::sync::Arc::make_mut(&mut machine.state.setup).big_endian = false;
    assert!(is_validity(&enter_natively(&mut machine)));
    for address in [DESCRIPTION + 0x10, DESCRIPTION + 0x18, SEGMENTS].into_iter().chain((0..6).map(|at| PAGES + 8 * at))
    {
        let mut word = machine.peek(address, 8);
        word.reverse();
        machine.poke(address, &word);
    }
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
}

/// Interceptions of a native machine are native, too.
fn enter_natively(machine: &mut Machine) -> Outcome {
    let outcome = machine.enter();
    let text = machine.peek(DESCRIPTION + 0x50, 12);
    let Outcome::Interception(found) = outcome else { panic!("it is entered: {outcome:?}") };
    assert_eq!((text[0], &text[8..]), (found.code, &found.ipb.to_le_bytes()[..]));
    outcome
}

#[test]
fn t20_c96_a_112_is_an_exit_from_which_time_counts() {
    let mut machine = Machine::new();
    machine.clock(3_000);
    machine.map(1, None);
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
    assert_eq!(machine.vcpu().last_exit, Some(3_000));
    machine.map(1, Some(FIRST + 1));
    machine.poke(DESCRIPTION + 0x28, &1_u64.to_be_bytes());
    assert!(is_validity(&machine.enter()));
}
