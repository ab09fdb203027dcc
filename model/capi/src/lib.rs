//! The C interface of uvsim: a machine with an Ultravisor that a C program links.
//!
//! The header is `include/uvsim.h`; what stands here is the documentation of what it declares.
//!
//! # Handles
//!
//! `uvsim_machine *` and `uvsim_cpu *` are numbers that look like pointers and are never dereferenced. A handle that is
//! null, of another kind, made up or no longer in use gets an answer ([`result::UVSIM_E_HANDLE`],
//! [`result::UVSIM_E_DESTROYED`]) and does no harm. No number is given out twice.
//!
//! # Answers
//!
//! Functions return an `int`: 0 is success, a positive number is what the machine said, a negative one is a mistake of the
//! caller or a failure of the system; then [`result::uvsim_last_error`] has a text. The list of answers of a function
//! stands in its documentation, in the order in which they are looked for.
//!
//! Any function that takes a handle may answer, before all others and in this order: `UVSIM_E_NULL`, `UVSIM_E_HANDLE`,
//! `UVSIM_E_DESTROYED`, then for CPUs `UVSIM_E_THREAD`, then `UVSIM_E_REENTERED` and `UVSIM_E_LOST`; and in place of all
//! others `UVSIM_E_INTERNAL`.
//!
//! # Pointers
//!
//! Pointers for results may be null where that is said ("may be null"), which means that the result is not wanted. They
//! need no alignment and may overlap: results are written one after the other, when everything else is done. Other
//! pointers must lead to as many readable or writable bytes as is said; that is the one promise that a caller has to
//! keep, for nobody can check it.
//!
//! # Threads
//!
//! A CPU belongs to the thread that has started it; calls from others answer `UVSIM_E_THREAD`. When that thread ends,
//! its CPUs are stopped, and their handles are destroyed ones. All functions of machines may be called from any thread
//! at any time, destruction included.
//!
//! # Stability
//!
//! Within a major version (the number in `libuvsim.so.0`) no function, constant or member of a structure goes away or
//! changes its meaning. There may be new functions, new positive and negative answers where a function's documentation
//! does not list all of them, new kinds of events, and meanings for members that are called `reserved`, which the library
//! fills with zeros and a caller has to fill with zeros. The size of no structure changes.
//!
//! # The modules
//!
//! - [`result`]: answers, and their texts.
//! - [`machine`]: machines.
//! - [`cpu`]: CPUs and their registers.
//! - [`call`]: ULTRAVISOR CALL.
//! - [`storage`]: loads and stores.
//! - [`absolute`]: the same at absolute addresses.
//! - [`purge`]: IPTE and its like; reset.
//! - [`channel`]: channel I/O.
//! - [`sie`]: SIE, and why it ends.
//! - [`guest`]: what a guest does.
//! - [`event`]: what happened.
//! - [`inject`]: busy and partial answers.
//! - [`image`]: SE images.
//! - [`inspect`]: a look behind the curtain.
//! - [`snapshot`]: back to an earlier moment.
//! - [`translator`]: what stands in for tables.
//! - [`version`]: which library this is.
//! - [`raw`]: host storage as plain memory.

#![allow(unsafe_code, reason = "this is the boundary to C")]
#![allow(non_camel_case_types, reason = "the names are those of the C interface")]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles are numbers of 64 bits");

pub mod absolute;
pub mod call;
pub mod channel;
pub mod cpu;
pub mod event;
pub mod guest;
mod handle;
pub mod image;
pub mod inject;
pub mod inspect;
pub mod machine;
pub mod purge;
pub mod raw;
pub mod result;
pub mod sie;
pub mod snapshot;
pub mod storage;
#[cfg(test)]
mod tests;
mod thread;
pub mod translator;
pub mod version;
