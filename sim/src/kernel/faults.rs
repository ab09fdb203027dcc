//! Answers to guest faults, as Linux and KVM give them.

use super::{Kernel, Observed, Stop};
use crate::scenario::Outcome;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::cpu::{GuestEvent, SieExit};
use uvsim_model::storage::{FrameState, ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;

/// How often a single action is repeated before its next fault counts.
const ANSWERS: u32 = 16;

/// What to do about guest faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FaultAnswers {
    /// As Linux.
    #[default]
    Linux,
    /// Nothing.
    Stop,
}

impl Kernel<'_> {
    /// Runs a guest action and answers its faults until it succeeds, an answer is refused, or patience is
    /// over.
    ///
    /// # Errors
    /// The last fault, or the refusal of an answer.
    pub fn with_faults<T>(
        &mut self,
        guest: usize,
        vcpu: u16,
        answers: FaultAnswers,
        pinned: Option<u64>,
        mut action: impl FnMut(&mut Self) -> Result<T, GuestEvent>,
    ) -> Result<T, Stop> {
        let mut given = 0;
        loop {
            let event = match action(self) {
                Ok(done) => return Ok(done),
                Err(event) => event,
            };
            let GuestEvent::Exit(exit) = event else { return Err(Observed::event(event).into()) };
            if answers == FaultAnswers::Stop || given == ANSWERS {
                return Err(self.named_exit(guest, exit).into());
            }
            given += 1;
            self.answer(guest, vcpu, exit, pinned)?;
        }
    }

    /// An exit that is not answered, with the row of the transition table that it follows.
    fn named_exit(&self, guest: usize, exit: SieExit) -> Observed {
        let observed = Observed::exit(exit);
        let SieExit::HostInterruption(interruption) = exit else { return observed };
        let page = interruption.teid.address() / PAGE_SIZE;
        let Some(frame) = self.mapped(guest, page) else { return observed };
        let state = self.machine.frame_state(frame);
        let own = self.machine.domain(self.guests[guest].handle);
        let own = state.registration().is_some_and(|(owner, _)| Some(owner) == own);
        let rule = match (interruption.code, state) {
            (ProgramCode::SecureStorageViolation, FrameState::Donated(_)) => "T17",
            (ProgramCode::SecureStorageViolation, FrameState::Secure(owner, _)) if self.machine.is_discarded(owner) => {
                "T17"
            }
            (ProgramCode::SecureStorageViolation, _) if own => "T16",
            (ProgramCode::NonSecureStorageAccess, FrameState::Shared(..) | FrameState::Pinned(..)) => {
                if own {
                    "T16"
                } else {
                    "T15"
                }
            }
            _ => observed.rule,
        };
        Observed { rule, ..observed }
    }

    /// One answer. `pinned` is the page that the guest is taking back.
    fn answer(&mut self, guest: usize, vcpu: u16, exit: SieExit, pinned: Option<u64>) -> Result<(), Stop> {
        let cpu = self.serving_cpu(vcpu);
        match exit {
            SieExit::HostInterruption(interruption) => self.answer_interruption(cpu, guest, interruption),
            SieExit::Interception(interception) => match (interception.code, pinned) {
                (112, _) => {
                    let prefix = self.guests[guest].vcpus.get(&vcpu).map_or(0, |vcpu| vcpu.prefix);
                    self.bring_in(cpu, guest, prefix / PAGE_SIZE)?;
                    self.bring_in(cpu, guest, prefix / PAGE_SIZE + 1).map(drop)
                }
                (108, Some(page)) => self.unpin(cpu, guest, page).map(drop),
                _ => Err(Observed::interception(interception).into()),
            },
        }
    }

    fn answer_interruption(&mut self, cpu: u16, guest: usize, it: ProgramInterruption) -> Result<(), Stop> {
        let page = it.teid.address() / PAGE_SIZE;
        match it.code {
            code if code.is_translation_exception() => self.bring_in(cpu, guest, page).map(drop),
            ProgramCode::NonSecureStorageAccess => self.import_as_linux(cpu, guest, page).map(drop),
            ProgramCode::SecureStorageViolation => {
                let Some(frame) = self.mapped(guest, page) else { return Err(Observed::UNMAPPED.into()) };
                let destroyed = self.call(cpu, Command::DestrSecStor, &[("paddr", frame.address().0)])?;
                if destroyed.outcome == Outcome::Ok {
                    return Ok(());
                }
                self.export(cpu, guest, page).map(drop)
            }
            _ => Err(Observed::interruption(it).into()),
        }
    }
}
