//! Random adversarial hosts: statements drawn and mutated, run without anything expected of them.
//!
//! A [`Case`] is a machine with guests and a list of statements. It decodes from any bytes ([`Case::from_bytes`]), so
//! that fuzzers that know nothing of it can change it, and is written as a scenario ([`Case::to_scenario`]).
//! [`run_case`] runs one: a panic, a broken invariant, a refused call that has changed the state or a disagreement
//! with the oracle is a [`Find`]. [`targets`] is what coverage-guided fuzzers call.

mod bytes;
mod call;
mod campaign;
mod case;
mod convert;
pub mod corpus;
mod coverage;
mod draw;
mod goals;
mod mutate;
mod notation;
mod operands;
mod run;
pub mod seeds;
mod seen;
mod settle;
mod shrink;
mod silent;
pub mod targets;
mod text;
mod verbs;
mod workshop;

pub use campaign::{Found, Settings, Standing, Summary, Watcher, campaign};
pub use case::{
    Case, Deed, GuestSetup, LEAST_STORAGE, LoadContent, LoadSetup, MOST_CPUS, MOST_GUESTS, MOST_MEMORY,
    MOST_STATEMENTS, MOST_STORAGE, MOST_VCPUS, Setup, USUAL_STORAGE,
};
pub use convert::NoCase;
pub use coverage::{Coverage, Reached};
pub use goals::{Goal, GoalKind, goals, tally, to_json};
pub use run::{CaseReport, Find, FindKind, Planted, RunOptions, quietly, run_case, run_case_with};
pub use shrink::shrunk;
