//! The cases, compiled against a machine of the same shape that is driven through the C interface.
//!
//! In the case files `uvsim_model` is this crate: its [`Machine`](machine::Machine) does every act twice, through the
//! `extern "C"` functions on one machine and directly on another one, its twin. Whatever comes back must be equal: what
//! was loaded, condition codes, interruptions with their TEID, exits, events in their order. So must be the digest of
//! the state whenever a case takes it, and at the end.

mod cases;
mod events;
mod guest;
mod host;
mod interface;
mod machine;
pub mod names;
mod raw;
#[cfg(test)]
mod tests;

use core::fmt::Debug;

/// How the host reaches storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// By the loads and stores of the interface.
    Simulated,
    /// By plain pointers into its view, where the case does not test addressing itself.
    Raw,
}

/// What the two machines have answered, which must be the same.
#[track_caller]
fn equal<T: PartialEq + Debug>(act: &str, through_c: T, direct: T) -> T {
    assert_eq!(through_c, direct, "{act}: the C interface (left) and the model (right) differ");
    through_c
}
