//! uvsim: a behavioural simulator of the IBM Z Ultravisor (IBM Secure Execution), as a library.
//!
//! - [`scenario`]: the scenario language, from text to a resolved document.

#![forbid(unsafe_code)]

pub mod scenario;
