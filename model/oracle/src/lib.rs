//! The rules, executable: what a machine with an Ultravisor has to answer to every step, and what it is
//! afterwards. Short, slow, obviously right.
//!
//! A [`State`] is a value; [`step`] is a function from a state and a [`Step`] to the next state and what
//! whoever took the step gets to see. There are no locks, no caches and no cryptography: an exported page is
//! the value `sealed(configuration, page, counter, content)`. What the rules leave open, or what only the
//! other side can know (the bits of a ciphertext, the number of a handle), is asked of the [`World`], which is
//! thereby the complete list of what the oracle is loose about.
//!
//! This is the second statement of the rules, and it is worth something only as long as it is independent of
//! the first: of the model it knows the types of addresses and numbers (`ids`), nothing else, and a test holds
//! it to that. It was written from the tables of the book and their public sources.
//!
//! Ids (T26, I-15, Q2, D11, C70) are rows of those tables.

mod access;
mod boot;
mod call;
mod channel;
mod command;
mod configuration;
mod cpu;
mod guest;
mod host;
pub mod ids;
mod machine;
mod paging;
mod query;
mod reset;
mod sharing;
pub mod state;
pub mod step;
mod storage;
mod translation;
pub mod world;

pub use state::State;
pub use step::{Outcome, Step};
pub use world::World;

/// What became of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct After {
    /// The state that follows.
    pub state: State,
    /// What whoever took the step gets to see.
    pub outcome: Outcome,
    /// The rows that decided, in the order in which they did.
    pub rules: Vec<&'static str>,
}

/// The world has shown something that no rule admits: a handle used twice, a ciphertext that stands for something
/// else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Objection {
    /// The rule.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Takes a step.
///
/// # Errors
/// The world has shown something that no rule admits.
pub fn step(before: &State, step: &Step, world: &mut dyn World) -> Result<After, Objection> {
    let _ = (before, step, world);
    unimplemented!("host.rs, guest/, channel.rs, machine.rs")
}
