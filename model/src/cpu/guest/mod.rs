//! A CPU of a secure configuration, in SIE on a host CPU.
//!
//! [`HostCpu::enter`] starts it; it then performs one action after the other until one of them makes it
//! leave. Guest CPUs run with translation off (D18): addresses are guest real. Instructions are not
//! fetched from storage: the client says what the guest does, so the address half of the PSW moves only by
//! loads and interruptions.

mod access;
mod call;
mod description;
mod entry;
mod injection;
mod instruction;
mod interception;

pub use instruction::{Diagnose, ServiceCall, Sigp};
pub use interception::{Interception, SieExit, ValidityReason};

use super::host::HostCpu;
use crate::firmware::{Configuration, GuestRegisters, Psw, SecureCpu};
use crate::storage::translation_buffer::Space;
use crate::storage::{Domain, ProgramCode, ProgramInterruption};
use crate::witness::{GuestStep, Outcome, Step};
use core::fmt;
use description::{Description, offset};
use std::sync::Arc;

/// How a guest action ends when it does not simply succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestEvent {
    /// The CPU has left SIE. Every further action reports the same exit.
    Exit(SieExit),
    /// The guest takes a program interruption of its own and stays in SIE.
    Program(ProgramInterruption),
}

impl From<ProgramInterruption> for GuestEvent {
    fn from(interruption: ProgramInterruption) -> Self {
        Self::Exit(SieExit::HostInterruption(interruption))
    }
}

/// A guest CPU in SIE. Dropped, it leaves.
#[derive(Debug)]
pub struct GuestCpu<'c, 'm> {
    host: &'c mut HostCpu<'m>,
    cpu: Arc<SecureCpu>,
    configuration: Arc<Configuration>,
    description: Description,
    domain: Domain,
    origin: u64,
    space: Space,
    size: u64,
    /// Bytes within the reach of a load or store by the short way: all of `size`; none after an exit, or while
    /// somebody watches the machine.
    reach: u64,
    prefix: u64,
    problem_state: bool,
    exit: Option<SieExit>,
    /// A witness was told of the entry: it is told of the end as well.
    entry_told: bool,
    /// The stay whose time is still to be charged. `None` after the exit.
    stay: Option<Stay>,
}

/// A stay in SIE: the CPU timer with which it began, and the machine's clock then, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Stay {
    timer: u64,
    since: u64,
}

/// Nanoseconds in units of the CPU timer, of which there are 4096 in a microsecond.
fn timer_units(nanoseconds: u64) -> u128 {
    u128::from(nanoseconds) * 4096 / 1000
}

impl GuestCpu<'_, '_> {
    /// Number of the CPU in its configuration.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.cpu.number
    }

    /// The registers.
    #[must_use]
    pub fn registers(&self) -> GuestRegisters {
        let mut registers = self.cpu.look(|status| status.registers.clone());
        if let Some(stay) = self.stay {
            registers.cpu_timer = self.timer(stay);
        }
        registers
    }

    /// The program-status word.
    #[must_use]
    pub fn psw(&self) -> Psw {
        self.cpu.look(|status| status.registers.psw)
    }

    /// Loads a general register; of its number the low four bits count. After an exit nothing is loaded.
    pub fn set_general(&mut self, number: u8, value: u64) {
        self.change_registers(|registers| registers.general[usize::from(number & 15)] = value);
        self.tell(GuestStep::General(number, value), Outcome::Done);
    }

    /// Loads an access register; as [`GuestCpu::set_general`].
    pub fn set_access(&mut self, number: u8, value: u32) {
        self.change_registers(|registers| registers.access[usize::from(number & 15)] = value);
        self.tell(GuestStep::AccessRegister(number, value), Outcome::Done);
    }

    /// Enters or leaves problem state for this stay in SIE: the PSW keeps its bit, and a PSW that is loaded
    /// brings its own.
    pub fn set_problem_state(&mut self, on: bool) {
        self.problem_state = on;
        self.tell(GuestStep::ProblemState(on), Outcome::Done);
    }

    /// Tells the witness of a step of this CPU.
    #[inline]
    fn tell(&self, step: GuestStep<'_>, outcome: Outcome<'_>) {
        self.host.machine.tell(Step::Guest(self.host.number, step), outcome);
    }

    fn change_registers(&mut self, change: impl FnOnce(&mut GuestRegisters)) {
        if self.exit.is_none() {
            self.cpu.change(|status| change(&mut status.registers));
        }
    }

    /// An action needs a CPU that is in SIE, a privileged one also supervisor state.
    fn check_privilege(&self) -> Result<(), GuestEvent> {
        if let Some(exit) = self.exit {
            return Err(GuestEvent::Exit(exit));
        }
        if self.problem_state {
            return Err(GuestEvent::Program(ProgramInterruption::new(ProgramCode::PrivilegedOperation)));
        }
        Ok(())
    }

    fn exit_with(&mut self, interruption: ProgramInterruption) -> GuestEvent {
        GuestEvent::Exit(self.leave(SieExit::HostInterruption(interruption)))
    }

    /// Leaves with an interception.
    fn intercept(&mut self, code: u8, ipa: u16, ipb: u32) -> GuestEvent {
        GuestEvent::Exit(self.leave(SieExit::Interception(Interception { code, ipa, ipb })))
    }

    fn leave(&mut self, exit: SieExit) -> SieExit {
        self.description.report(self.host, exit);
        self.charge();
        self.exit = Some(exit);
        self.reach = 0;
        exit
    }

    /// The CPU timer after the time that a stay has lasted so far.
    fn timer(&self, stay: Stay) -> u64 {
        let spent = self.host.machine.clock().saturating_sub(stay.since);
        stay.timer.wrapping_sub(timer_units(spent) as u64)
    }

    /// Takes the time of the stay off the CPU timer, and remembers when it ended (C96).
    fn charge(&mut self) {
        let Some(stay) = self.stay.take() else { return };
        let timer = self.timer(stay);
        if timer != stay.timer {
            self.description.put_doubleword(self.host, offset::CPU_TIMER, timer);
        }
        let clock = self.host.machine.clock();
        self.cpu.change(|status| {
            status.registers.cpu_timer = timer;
            status.last_exit = Some(clock);
        });
    }
}

impl Drop for GuestCpu<'_, '_> {
    fn drop(&mut self) {
        self.charge();
        self.cpu.leave();
        if self.entry_told {
            self.tell(GuestStep::Leave, Outcome::Done);
        }
    }
}

impl fmt::Display for GuestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => exit.fmt(f),
            Self::Program(interruption) => write!(f, "in the guest: {interruption}"),
        }
    }
}
