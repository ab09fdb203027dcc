//! `uvsim explain`: what a command, a code, an interruption or a rule means, and what one does about it.
//!
//! The facts are static tables, one file per kind; an [`Entry`] is put together from them at look-up.
//! Where a public source attests a fact the entry names it; a number or behaviour that no public source
//! settles is marked as this project's choice (in lists with °).

mod codes;
mod commands;
mod diagnose;
mod entry;
mod exceptions;
mod interceptions;
mod layout;
mod names;
mod outcomes;
mod query;
mod rules;
mod rules_choices;
mod rules_decisions;
mod rules_invariants;
mod rules_transitions;

use uvsim_model::uvc::Command;

pub use entry::{Block, Entry, Heading, Kind, Section};
pub(crate) use layout::wrap;
pub use layout::{lines, render};
pub use query::{Unknown, lookup};

/// What a command wants to say with a code, as a clause; several where it does not tell them apart.
#[must_use]
pub fn response_meaning(command: Command, rc: u16, rrc: u16) -> Option<String> {
    commands::of(command).short(rc, rrc)
}

/// The commands of a name: that of the public headers, in any spelling, or an alias such as `import`.
pub fn commands_named(name: &str) -> impl Iterator<Item = Command> {
    let name = name.to_lowercase().replace('_', "-");
    commands::all().filter(move |facts| facts.names().any(|known| known == name)).map(|facts| facts.command)
}

/// The name of an interception code.
#[must_use]
pub fn interception_name(code: u16) -> Option<&'static str> {
    interceptions::ALL.iter().find(|one| u16::from(one.code) == code).map(|one| one.name)
}

#[cfg(test)]
mod tests;
