//! Which rules have decided what.

use core::fmt;
use std::collections::BTreeMap;
use uvsim_model::cpu::{ChannelRefusal, GuestEvent, SieExit};
use uvsim_model::uvc::Command;
use uvsim_model::witness::{GuestStep, HostStep, Outcome, Step};

/// What was done, how it ended, and a rule that had a part in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Covered {
    /// What was done.
    pub what: What,
    /// How it ended.
    pub ending: Ending,
    /// Row of a table.
    pub rule: &'static str,
}

/// Kind of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// A call of a host. `None`: an unknown command, or an interruption before it was known.
    HostCall(Option<Command>),
    /// A call of a guest, likewise.
    GuestCall(Option<Command>),
    /// Something else that a host CPU does.
    Host(&'static str),
    /// Something else that a guest CPU does.
    Guest(&'static str),
    /// Everything else.
    Machine(&'static str),
}

/// How it ended, without values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ending {
    /// Done.
    Done,
    /// Condition code, response code, reason code.
    Condition(u8, u16, u16),
    /// Program interruption of the host, by code.
    Program(u16),
    /// Program interruption of the guest, by code.
    GuestProgram(u16),
    /// Interception: code, and reason of a validity.
    Interception(u8, u16),
    /// Refused by the channel subsystem: a secure frame, or outside storage.
    ChannelSecure,
    /// Likewise.
    ChannelOutside,
    /// It cannot be done at all.
    Impossible,
}

/// How often each was met.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage(pub BTreeMap<Covered, u64>);

impl Coverage {
    /// Counts a step.
    pub(crate) fn add(&mut self, step: &Step<'_>, outcome: &Outcome<'_>, rules: &[&'static str]) {
        let (what, ending) = (What::of(step, outcome), Ending::of(outcome));
        for &rule in rules {
            *self.0.entry(Covered { what, ending, rule }).or_default() += 1;
        }
    }

    /// Adds what another one has met. Whether anything in it is new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        for (covered, count) in &other.0 {
            *self.0.entry(*covered).or_default() += count;
        }
        self.0.len() > before
    }
}

impl What {
    fn of(step: &Step<'_>, outcome: &Outcome<'_>) -> Self {
        let command = match outcome {
            Outcome::Answered(answered) => Command::from_code(answered.command),
            _ => None,
        };
        match step {
            Step::Start(_) => Self::Machine("start"),
            Step::Stop(_) => Self::Machine("stop"),
            Step::ChannelRead(..) => Self::Machine("channel-read"),
            Step::ChannelWrite(..) => Self::Machine("channel-write"),
            Step::Clock(_) => Self::Machine("clock"),
            Step::Inject(..) => Self::Machine("inject"),
            Step::PresetCounter(..) => Self::Machine("preset-counter"),
            Step::Host(_, step) => match step {
                HostStep::Uvc(_) => Self::HostCall(command),
                HostStep::Registers(_) => Self::Host("registers"),
                HostStep::SetPrefix(_) => Self::Host("set-prefix"),
                HostStep::Load(..) => Self::Host("load"),
                HostStep::Store(..) => Self::Host("store"),
                HostStep::Translate(_) => Self::Host("translate"),
                HostStep::Ipte(..) => Self::Host("ipte"),
                HostStep::IdteSegment(..) => Self::Host("idte-segment"),
                HostStep::IdteRegion(..) => Self::Host("idte-region"),
                HostStep::IdteSpace(_) => Self::Host("idte-space"),
                HostStep::Ptlb => Self::Host("ptlb"),
                HostStep::Enter(_) => Self::Host("enter"),
                HostStep::ResetMachine(_) => Self::Host("reset-machine"),
                HostStep::Snapshot => Self::Host("snapshot"),
                HostStep::Restore => Self::Host("restore"),
            },
            Step::Guest(_, step) => match step {
                GuestStep::Uvc(_) => Self::GuestCall(command),
                GuestStep::Leave => Self::Guest("leave"),
                GuestStep::Load(..) => Self::Guest("load"),
                GuestStep::Store(..) => Self::Guest("store"),
                GuestStep::Prefetch(_) => Self::Guest("prefetch"),
                GuestStep::Diagnose(_) => Self::Guest("diagnose"),
                GuestStep::SetPrefix(_) => Self::Guest("set-prefix"),
                GuestStep::ServiceCall(_) => Self::Guest("service-call"),
                GuestStep::Sigp(_) => Self::Guest("sigp"),
                GuestStep::LoadPsw(_) => Self::Guest("load-psw"),
                GuestStep::LoadControl(..) => Self::Guest("load-control"),
                GuestStep::General(..) => Self::Guest("general-register"),
                GuestStep::AccessRegister(..) => Self::Guest("access-register"),
                GuestStep::ProblemState(_) => Self::Guest("problem-state"),
            },
        }
    }
}

impl Ending {
    fn of(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Done | Outcome::Loaded(_) | Outcome::Translated(_) => Self::Done,
            Outcome::Answered(it) => Self::Condition(it.cc as u8, it.rc, it.rrc),
            Outcome::Program(it) => Self::Program(it.code.number()),
            Outcome::Guest(GuestEvent::Program(it)) => Self::GuestProgram(it.code.number()),
            Outcome::Guest(GuestEvent::Exit(exit)) | Outcome::Exit(exit) => match exit {
                SieExit::HostInterruption(it) => Self::Program(it.code.number()),
                SieExit::Interception(it) => {
                    Self::Interception(it.code, if it.ipa == 0 { (it.ipb >> 16) as u16 } else { 0 })
                }
            },
            Outcome::Refused(ChannelRefusal::SecureFrame(_)) => Self::ChannelSecure,
            Outcome::Refused(ChannelRefusal::OutsideStorage(_)) => Self::ChannelOutside,
            Outcome::Impossible => Self::Impossible,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |command: &Option<Command>| command.map_or("?", Command::name);
        match self {
            Self::HostCall(command) => write!(f, "host uvc {}", name(command)),
            Self::GuestCall(command) => write!(f, "guest uvc {}", name(command)),
            Self::Host(name) => write!(f, "host {name}"),
            Self::Guest(name) => write!(f, "guest {name}"),
            Self::Machine(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Condition(cc, rc, rrc) => write!(f, "cc {cc} rc {rc:#06x} rrc {rrc:#x}"),
            Self::Program(code) => write!(f, "program interruption {code:#04x}"),
            Self::GuestProgram(code) => write!(f, "program interruption {code:#04x} in the guest"),
            Self::Interception(code, 0) => write!(f, "interception {code}"),
            Self::Interception(code, reason) => write!(f, "interception {code} reason {reason:#06x}"),
            Self::ChannelSecure => f.write_str("refused: secure frame"),
            Self::ChannelOutside => f.write_str("refused: outside storage"),
            Self::Impossible => f.write_str("impossible"),
        }
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.what, self.ending, self.rule)
    }
}
