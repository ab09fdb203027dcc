//! Random sequences of CPU states, unshare-all, PREPARE_RESET, CPU resets, requests and entries, against a
//! reference automaton of I-36 and D79.

mod support;

use proptest::prelude::*;
use support::{Answer, DONE, Guest, Host, config, refused};
use uvsim_model::cpu::{Diagnose, GuestEvent, SieExit, ValidityReason};
use uvsim_model::uvc::Command;

#[derive(Clone, Copy, Debug)]
enum Step {
    SetState(u64),
    UnshareAll,
    Prepare,
    /// 1 normal, 2 initial, 3 clear.
    Reset(u8),
    /// Enter; if that succeeds, ask for a reset with this subcode, or just leave.
    Enter(Option<u64>),
}

/// The reference: one CPU, verified.
#[derive(Clone, Copy, Debug, Default)]
struct Automaton {
    operating: bool,
    stopped: bool,
    unshared: bool,
    /// What the pending reset needs of the CPU that is loaded.
    needed: Option<u8>,
    /// The strongest CPU reset since PREPARE_RESET; none without that call.
    prepared: Option<u8>,
}

impl Automaton {
    fn step(&mut self, step: Step) -> Result<Answer, Option<ValidityReason>> {
        let pending = self.needed.is_some();
        let loadable = !pending || self.prepared >= self.needed;
        Ok(match step {
            Step::SetState(5) if !loadable => refused(0x104),
            Step::SetState(5) if !self.stopped => refused(0x103),
            Step::SetState(5) => {
                *self = Self { operating: true, ..Self::default() };
                DONE
            }
            Step::SetState(state) => {
                (self.operating, self.stopped) = (state == 1, state == 2);
                self.unshared &= !self.operating;
                DONE
            }
            Step::UnshareAll | Step::Prepare if self.operating => refused(0x101),
            Step::UnshareAll => {
                self.unshared = true;
                DONE
            }
            Step::Prepare if !self.unshared => refused(0x102),
            Step::Prepare => {
                (self.needed, self.prepared) = (self.needed.or(Some(2)), Some(0));
                DONE
            }
            Step::Reset(_) if !self.stopped => refused(0x103),
            Step::Reset(kind) => {
                self.prepared = self.prepared.map(|earlier| earlier.max(kind));
                DONE
            }
            Step::Enter(_) if pending => return Err(Some(ValidityReason::ResetPending)),
            Step::Enter(_) if !self.operating => return Err(Some(ValidityReason::NotOperating)),
            Step::Enter(subcode) => {
                self.needed = subcode.map(|subcode| if subcode == 0 { 3 } else { 2 });
                return Err(None);
            }
        })
    }
}

fn act(host: &mut Host<'_>, guest: &Guest, step: Step) -> Result<Answer, Option<ValidityReason>> {
    Ok(match step {
        Step::SetState(state) => host.set_state(guest, state),
        Step::UnshareAll => host.call(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)]),
        Step::Prepare => host.call(Command::PrepareReset, &[(0x18, 8, guest.handle)]),
        Step::Reset(kind) => {
            let command = [Command::CpuReset, Command::CpuResetInitial, Command::CpuResetClear][usize::from(kind) - 1];
            host.call(command, &[(0x18, 8, guest.cpu)])
        }
        Step::Enter(subcode) => match host.enter(guest) {
            Err(SieExit::Interception(exit)) => {
                assert_eq!(exit.code, 32);
                let reasons = [ValidityReason::ResetPending, ValidityReason::NotOperating];
                let reason = reasons.into_iter().find(|&reason| exit.ipb == (reason as u32) << 16);
                return Err(Some(reason.expect("one of the two")));
            }
            Err(exit) => panic!("{exit}"),
            Ok(mut cpu) => {
                if let Some(subcode) = subcode {
                    cpu.set_general(2, subcode);
                    let exit = cpu.diagnose(Diagnose::new(Diagnose::IPL));
                    assert!(matches!(exit, Err(GuestEvent::Exit(SieExit::Interception(it))) if it.code == 108));
                }
                return Err(None);
            }
        },
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::SetState(2)),
        1 => prop_oneof![Just(1u64), Just(3)].prop_map(Step::SetState),
        3 => Just(Step::SetState(5)),
        3 => Just(Step::UnshareAll),
        3 => Just(Step::Prepare),
        4 => (1u8..=3).prop_map(Step::Reset),
        4 => prop_oneof![Just(None), Just(Some(0)), Just(Some(1))].prop_map(Step::Enter),
    ]
}

/// The order that ends in a running guest, with anything between its steps.
fn nearly_right() -> impl Strategy<Value = Vec<Step>> {
    let noise = || prop::collection::vec(step(), 0..2);
    (0u64..2, noise(), noise(), noise(), noise()).prop_map(|(subcode, a, b, c, d)| {
        let mut steps = vec![Step::Enter(Some(subcode)), Step::SetState(2)];
        steps.extend(a);
        steps.push(Step::UnshareAll);
        steps.extend(b);
        steps.push(Step::Prepare);
        steps.extend(c);
        steps.push(Step::Reset(3 - subcode as u8));
        steps.extend(d);
        steps.extend([Step::SetState(5), Step::Enter(None)]);
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn i36_random_sequences(parts in prop::collection::vec(prop_oneof![
        nearly_right(),
        prop::collection::vec(step(), 1..8),
    ], 1..8)) {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        let mut automaton = Automaton { operating: true, ..Automaton::default() };
        for step in parts.into_iter().flatten() {
            let wanted = automaton.step(step);
            let found = act(&mut host, &guest, step);
            prop_assert_eq!(found, wanted, "{:?}, then {:?}", step, automaton);
            if !matches!(wanted, Ok(DONE) | Err(None)) {
                // Only the answer itself may differ: in the block, or in the state description.
                let repeated = act(&mut host, &guest, step);
                prop_assert_eq!(repeated, wanted);
                let after = machine.state_digest(None);
                prop_assert_eq!(act(&mut host, &guest, step), wanted);
                prop_assert_eq!(machine.state_digest(None), after);
            }
            prop_assert_eq!(machine.is_reset_pending(guest.handle), Some(automaton.needed.is_some()));
        }
        machine.check_invariants().expect("no invariant is broken");
    }
}
