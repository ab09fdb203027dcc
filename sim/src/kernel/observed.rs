//! What a statement comes to.

use crate::scenario::Outcome;
use uvsim_model::cpu::{GuestEvent, Interception, SieExit};
use uvsim_model::storage::{ProgramCode, ProgramInterruption, Teid};
use uvsim_model::uvc::Command;

/// An outcome with its codes and the rule behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observed {
    /// The outcome.
    pub outcome: Outcome,
    /// Response code, where a call was answered.
    pub rc: Option<u16>,
    /// Reason code, where a call was answered.
    pub rrc: Option<u16>,
    /// Interception code.
    pub code: Option<u16>,
    /// The rule, `""` if none is known.
    pub rule: &'static str,
    /// The command that was answered.
    pub command: Option<Command>,
    /// The interruption, where there was one.
    pub interruption: Option<ProgramInterruption>,
}

/// Why something the kernel does stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The machine answered something that is not `ok`.
    Outcome(Observed),
    /// Storage does not suffice.
    OutOfStorage {
        /// What it was wanted for.
        what: String,
        /// Bytes wanted.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The kernel's deadline is over.
    TimeOut,
    /// Only an error of this program can lead here.
    Internal(String),
}

impl Observed {
    /// Done, without a call's codes.
    pub const OK: Self = Self::plain(Outcome::Ok, "");

    /// An outcome without codes.
    #[must_use]
    pub const fn plain(outcome: Outcome, rule: &'static str) -> Self {
        Self { outcome, rc: None, rrc: None, code: None, rule, command: None, interruption: None }
    }

    /// A program interruption.
    #[must_use]
    pub fn interruption(interruption: ProgramInterruption) -> Self {
        let (outcome, rule) = match interruption.code {
            ProgramCode::Operation => (Outcome::Operation, ""),
            ProgramCode::PrivilegedOperation => (Outcome::PrivilegedOperation, "C2"),
            ProgramCode::Protection => (Outcome::Protection, ""),
            ProgramCode::Addressing => (Outcome::Addressing, "T22"),
            ProgramCode::Specification => (Outcome::Specification, "Q17"),
            ProgramCode::TranslationSpecification => (Outcome::TranslationSpecification, "D60"),
            ProgramCode::SecurePageSize => (Outcome::SecurePageSize, "T21"),
            ProgramCode::SecureStorageAccess => (Outcome::SecureStorageAccess, "T3"),
            ProgramCode::NonSecureStorageAccess => (Outcome::NonSecureStorageAccess, "T14"),
            ProgramCode::SecureStorageViolation => (Outcome::SecureStorageViolation, "T15"),
            ProgramCode::SegmentTranslation
            | ProgramCode::PageTranslation
            | ProgramCode::AsceType
            | ProgramCode::RegionFirstTranslation
            | ProgramCode::RegionSecondTranslation
            | ProgramCode::RegionThirdTranslation => (Outcome::PageTranslation, "T13"),
        };
        Self { interruption: Some(interruption), ..Self::plain(outcome, rule) }
    }

    /// An interception.
    #[must_use]
    pub fn interception(interception: Interception) -> Self {
        let rule = match interception.code {
            108 => "T60",
            112 => "T20",
            _ => "D80",
        };
        Self { code: Some(interception.code.into()), ..Self::plain(Outcome::Intercept, rule) }
    }

    /// An exit from SIE.
    #[must_use]
    pub fn exit(exit: SieExit) -> Self {
        match exit {
            SieExit::HostInterruption(interruption) => Self::interruption(interruption),
            SieExit::Interception(interception) => Self::interception(interception),
        }
    }

    /// What a guest action came to.
    #[must_use]
    pub fn event(event: GuestEvent) -> Self {
        match event {
            GuestEvent::Exit(exit) => Self::exit(exit),
            GuestEvent::Program(interruption) => Self::interruption(interruption),
        }
    }

    /// A page that has no frame.
    pub const UNMAPPED: Self = Self::plain(Outcome::Unmapped, "D70");

    /// The failing address, where the interruption gives one.
    #[must_use]
    pub fn teid(&self) -> Option<Teid> {
        self.interruption.map(|interruption| interruption.teid)
    }
}

impl From<ProgramInterruption> for Stop {
    fn from(interruption: ProgramInterruption) -> Self {
        Self::Outcome(Observed::interruption(interruption))
    }
}

impl From<Observed> for Stop {
    fn from(observed: Observed) -> Self {
        Self::Outcome(observed)
    }
}
