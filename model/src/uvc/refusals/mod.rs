//! The refusal matrix: for every command all that it looks at, in the order in which it does, and the answer
//! to each. The tests of the model generate their calls from this table, one cause at a time and in pairs.

mod general;
mod rows;

use super::command::Command;
use crate::config::{Generation, MachineConfig};

/// One thing that a command looks at, and how the call ends if it is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// Name, unique within the command.
    pub id: &'static str,
    /// What must be the case, as a clause.
    pub cause: &'static str,
    /// How the call ends then.
    pub answer: Reply,
    /// Ids of the rules, separated by blanks.
    pub rules: &'static str,
    /// How far public knowledge carries.
    pub evidence: Evidence,
    /// On which machines it is looked at.
    pub machines: Machines,
    /// How it comes about.
    pub reach: Reach,
}

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Condition code 0: done. Without effect if the row stands before the last.
    Done,
    /// Condition code 1: nothing but rc and rrc is stored.
    Refused {
        /// Response code.
        rc: u16,
        /// Reason code.
        rrc: u16,
    },
    /// Condition code 1 with outputs: done, with something to say (D4).
    Remark {
        /// Response code.
        rc: u16,
    },
    /// Condition code 2: nothing was done, nothing is stored.
    Busy,
    /// Condition code 3: not finished, nothing is stored.
    Partial,
    /// A program interruption, by one of these codes; nothing is stored.
    Interruption(&'static [u16]),
    /// The guest leaves SIE with this interception and repeats the call.
    Interception(u8),
}

/// What is known of an answer outside this project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// A public test shows it.
    Tested,
    /// Code or documentation of a caller tells it.
    Caller,
    /// It is deduced from how callers behave.
    Inferred,
    /// The code is a choice of this project.
    Choice,
}

/// On which machines a check is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machines {
    /// All.
    All,
    /// z15 only.
    Z15,
    /// z16 and later.
    SinceZ16,
    /// Those that are set to `strict-tweaks`.
    StrictTweaks,
    /// Those without the feature "misc".
    WithoutMisc,
}

/// How an answer comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// By the call alone.
    Call,
    /// Only while another CPU is at work on the same things.
    Race,
    /// Only by a test hook of the machine.
    Injection,
    /// Not in this model, for this reason.
    Never(&'static str),
}

impl Command {
    /// All that the command looks at, in order: the first that is so decides. For a command that no machine
    /// installs, up to the answer 0x0002.
    #[must_use]
    pub fn checks(self) -> Vec<Check> {
        let mut checks = general::before(self);
        if let Some(own) = rows::own(self) {
            checks.extend(general::after(self));
            checks.extend_from_slice(own);
        }
        checks
    }

    /// What the command itself looks at, after the general checks.
    #[must_use]
    pub fn own_checks(self) -> &'static [Check] {
        rows::own(self).unwrap_or_default()
    }

    /// Whether some machine installs the command (D14).
    #[must_use]
    pub fn is_built(self) -> bool {
        rows::own(self).is_some()
    }
}

impl Check {
    /// Response code and reason code, if the call ends with any.
    #[must_use]
    pub const fn codes(&self) -> Option<(u16, u16)> {
        match self.answer {
            Reply::Done => Some((1, 0)),
            Reply::Refused { rc, rrc } => Some((rc, rrc)),
            Reply::Remark { rc } => Some((rc, 0)),
            Reply::Busy | Reply::Partial | Reply::Interruption(_) | Reply::Interception(_) => None,
        }
    }

    const fn new(id: &'static str, answer: Reply, cause: &'static str, rules: &'static str, by: Evidence) -> Self {
        Self { id, cause, answer, rules, evidence: by, machines: Machines::All, reach: Reach::Call }
    }

    const fn refused(id: &'static str, rc: u16, cause: &'static str, rules: &'static str, by: Evidence) -> Self {
        Self::new(id, Reply::Refused { rc, rrc: 0 }, cause, rules, by)
    }

    const fn done(id: &'static str, cause: &'static str, rules: &'static str, by: Evidence) -> Self {
        Self::new(id, Reply::Done, cause, rules, by)
    }

    const fn busy(id: &'static str, cause: &'static str) -> Self {
        Self::new(id, Reply::Busy, cause, "D33 Q19", Evidence::Caller).by(Reach::Race)
    }

    /// Reason code of a refusal.
    const fn reason(mut self, reason: u16) -> Self {
        if let Reply::Refused { rc, .. } = self.answer {
            self.answer = Reply::Refused { rc, rrc: reason };
        }
        self
    }

    const fn on(mut self, machines: Machines) -> Self {
        self.machines = machines;
        self
    }

    const fn by(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }
}

impl Machines {
    /// Whether this machine is one of them.
    #[must_use]
    pub fn include(self, machine: &MachineConfig) -> bool {
        match self {
            Self::All => true,
            Self::Z15 => machine.generation == Generation::Z15,
            Self::SinceZ16 => machine.generation > Generation::Z15,
            Self::StrictTweaks => machine.strict_tweaks,
            Self::WithoutMisc => !machine.misc(),
        }
    }

    /// In words; nothing for all machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Z15 => "z15 only",
            Self::SinceZ16 => "z16 and later",
            Self::StrictTweaks => "machines with `strict-tweaks`",
            Self::WithoutMisc => "machines without feature \"misc\"",
        }
    }
}

impl Evidence {
    /// The mark that the book uses.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Tested => "t",
            Self::Caller => "c",
            Self::Inferred => "i",
            Self::Choice => "°",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_every_command_that_is_built_ends_in_success() {
        for &command in Command::ALL {
            let checks = command.checks();
            let ids: BTreeSet<_> = checks.iter().map(|check| check.id).collect();
            assert_eq!(ids.len(), checks.len(), "{}", command.name());
            let last = checks.last().map(|check| check.answer);
            let expected = if command.is_built() { Reply::Done } else { Reply::Refused { rc: 2, rrc: 0 } };
            assert_eq!(last, Some(expected), "{}", command.name());
            for check in &checks {
                assert!(!check.rules.is_empty() && !check.cause.ends_with('.'), "{} {}", command.name(), check.id);
            }
        }
    }
}
