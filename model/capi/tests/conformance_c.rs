//! The conformance cases of the model, once more: every act goes through the C interface.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub, dead_code, reason = "test code, shared")]
#![allow(clippy::duplicate_mod, reason = "every case file brings its own copy of the small host")]

extern crate self as uvsim_model;
extern crate self as uvsim_verify;
extern crate uvsim_model as model;

#[path = "conformance/mod.rs"]
mod conformance;

pub use conformance::names::*;

/// How the host reaches storage.
const MODE: conformance::Mode = conformance::Mode::Simulated;
