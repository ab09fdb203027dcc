//! Why SIE ends.

use crate::storage::ProgramInterruption;
use core::fmt;

/// Why SIE ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SieExit {
    /// A program interruption of the host: the guest has not noticed anything and will repeat.
    HostInterruption(ProgramInterruption),
    /// An interception, stored in the state description.
    Interception(Interception),
}

/// An interception as the state description shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interception {
    /// Interception code.
    pub code: u8,
    /// First halfword of the instruction, or 0.
    pub ipa: u16,
    /// Rest of the instruction, or the validity reason in the upper half.
    pub ipb: u32,
}

impl Interception {
    /// Validity: the entry was refused, and nothing has changed.
    pub const VALIDITY: u8 = 32;
    /// The guest is enabled for machine checks now, which the host has asked to be told.
    pub const MACHINE_CHECK_REQUEST: u8 = 96;
    /// The guest has changed a mask that the host waits for.
    pub const INTERRUPT_ENABLEMENT: u8 = 100;
    /// An instruction that the host has to complete.
    pub const INSTRUCTION: u8 = 104;
    /// An instruction that is done, or that the host only has to react to.
    pub const NOTIFICATION: u8 = 108;
    /// A prefix page is not there.
    pub const PREFIX: u8 = 112;

    /// One that tells of no instruction.
    pub(super) const fn bare(code: u8) -> SieExit {
        SieExit::Interception(Self { code, ipa: 0, ipb: 0 })
    }
}

/// Reasons of a validity interception; the numbers behind 0x20 are ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum ValidityReason {
    /// The configuration handle names no live configuration.
    ConfigurationHandle = 0x2001,
    /// The CPU handle names no CPU.
    CpuHandle = 0x2002,
    /// The CPU is one of another configuration.
    ForeignCpu = 0x2003,
    /// Control register 1 is not the ASCE of the configuration.
    Asce = 0x2004,
    /// The state description is not the one that CREATE_SEC_CPU named (Q26).
    StateDescription = 0x2005,
    /// The CPU is in SIE elsewhere.
    AlreadyRunning = 0x2006,
    /// The CPU timer was raised, or lowered by more than the time that has passed.
    CpuTimer = 0x2007,
    /// The image is not verified (I-34).
    NotVerified = 0x2008,
    /// The CPU does not operate.
    NotOperating = 0x2009,
    /// A reset of the configuration, or of this CPU, is not finished (I-36, D79).
    ResetPending = 0x200a,
    /// The injection control field has an undefined value.
    InjectionControl = 0x200b,
    /// The injected interruption is not one that the architecture has.
    InvalidInterruption = 0x200c,
    /// The guest is not enabled for the injected interruption.
    NotEnabled = 0x200d,
    /// An exception is injected that the latest exit does not admit.
    ExceptionNotAdmitted = 0x200e,
    /// An interruption is injected while an instruction is incomplete.
    InstructionIncomplete = 0x200f,
}

impl ValidityReason {
    pub(super) const fn exit(self) -> SieExit {
        SieExit::Interception(Interception { code: Interception::VALIDITY, ipa: 0, ipb: (self as u32) << 16 })
    }
}

impl fmt::Display for SieExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostInterruption(interruption) => interruption.fmt(f),
            Self::Interception(it) => write!(f, "interception {}, ipa {:#x}, ipb {:#x}", it.code, it.ipa, it.ipb),
        }
    }
}
