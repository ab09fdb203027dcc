//! uvsim: a behavioural simulator of the IBM Z Ultravisor (IBM Secure Execution), as a library.
//!
//! - [`scenario`]: the scenario language, from text to a resolved document.
//! - [`kernel`]: the host kernel, an actor that does what Linux and KVM do.
//! - [`run`]: runs scenarios and tells what happened.
//! - [`paging`]: which page goes when a frame is wanted.
//! - [`trace`]: memory accesses of real programs, recorded.
//! - [`domain`]: libvirt domain definitions, and what keeps them from protected virtualization.
//! - [`fuzz`]: random adversarial hosts, and what coverage-guided fuzzers call.
//! - [`hostkey`]: host-key documents of simulated machines, with the chain that vouches for them.
//! - [`image`]: SE images, made and taken apart.
//! - [`explain`]: what codes, commands, interruptions and rules mean.
//! - [`refusals`]: what every call looks at, in order.
//! - [`sweep`]: traces replayed on many machines, with tables and charts.
//! - [`host_info`]: what Linux shows of the Ultravisor under `/sys/firmware/uv`.
//! - [`fuzz::targets`]: what a fuzzer calls with any bytes.
//! - [`virtio`]: devices that see what a guest has shared.

#![deny(unsafe_code)]

pub mod domain;
pub mod explain;
pub mod fuzz;
pub mod host_info;
pub mod hostkey;
pub mod image;
pub mod kernel;
pub mod paging;
mod pressure;
pub mod refusals;
pub mod run;
pub mod scenario;
pub mod sweep;
pub mod trace;
pub mod virtio;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
