//! Answers to guest faults, as Linux and KVM give them.

use super::{Kernel, Observed, Stop};
use crate::scenario::Outcome;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::cpu::{GuestEvent, SieExit};
use uvsim_model::storage::{ProgramCode, ProgramInterruption};
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
                return Err(Observed::exit(exit).into());
            }
            given += 1;
            self.answer(guest, vcpu, exit, pinned)?;
        }
    }

    /// One answer. `pinned` is the page that the guest is taking back.
    fn answer(&mut self, guest: usize, vcpu: u16, exit: SieExit, pinned: Option<u64>) -> Result<(), Stop> {
        let cpu = vcpu % self.machine.config().cpus;
        match exit {
            SieExit::HostInterruption(interruption) => self.answer_interruption(cpu, guest, interruption),
            SieExit::Interception(interception) => match (interception.code, pinned) {
                (112, _) => {
                    self.bring_in(cpu, guest, 0)?;
                    self.bring_in(cpu, guest, 1).map(drop)
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
            ProgramCode::NonSecureStorageAccess => self.import(cpu, guest, page).map(drop),
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
