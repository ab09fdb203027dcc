//! `uvsim explain`: what a command, a code, an interruption or a rule means, and what one does about it.
//!
//! The facts are static tables, one file per kind; an [`Entry`] is put together from them at look-up.
//! Where a public source attests a fact the entry names it; a number or behaviour that no public source
//! settles is marked as this project's choice (in lists with °).

mod codes;
mod commands;
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

pub use entry::{Block, Entry, Heading, Kind, Section};
pub(crate) use layout::wrap;
pub use layout::{lines, render};
pub use query::{Unknown, lookup};

#[cfg(test)]
mod tests;
