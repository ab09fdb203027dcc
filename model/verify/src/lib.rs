//! Runs the model of uvsim and its oracle side by side, step by step.
//!
//! [`SideBySide`] watches a machine. After every step it lets the oracle take the same step, and compares what whoever
//! took it got to see, and what the machine is now. The first [`Difference`] ends the comparison: one of the two is
//! wrong, or both.
//!
//! Every step is held to what the oracle says has changed. What the machine has changed besides is found by a look at
//! all of it, which takes turns with the steps and comes once more at the end ([`SideBySide::finish`]).

mod bridge;
mod coverage;
mod difference;
mod project;
mod script;
mod side;
mod sweep;
mod world;

pub use coverage::{Coverage, Covered, Ending, What};
pub use difference::{Difference, Part};
pub use side::{SideBySide, Statistics};
