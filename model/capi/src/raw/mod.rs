//! Host storage as plain memory that faults.

#![allow(unsafe_code, reason = "the boundary to C; see the SAFETY comments")]

mod chain;
mod context;
mod copy;
mod handler;
mod landing;
mod last_words;
mod registry;
#[cfg(test)]
mod tests;
mod thread;
mod view;

use crate::cpu::uvsim_interruption;
use core::ffi::{c_int, c_void};

pub(crate) use thread::{cpu_started, cpu_stopped, inside, outside};
pub(crate) use view::is_plain;

/// The callback has made the frame accessible, or wants to be asked again: the access is repeated.
pub const UVSIM_RETRY: c_int = 0;
/// The interruption is delivered.
pub const UVSIM_DELIVER: c_int = 1;

/// A touch of a secure frame.
#[repr(C)]
#[derive(Debug)]
pub struct uvsim_fault {
    /// The machine.
    pub machine: *mut c_void,
    /// The CPU of it that this thread operates; null if there is none.
    pub cpu: *mut c_void,
    /// The pointer that was used.
    pub address: *mut c_void,
    /// The absolute address behind it.
    pub absolute: u64,
    /// The interruption: 0x3d.
    pub interruption: uvsim_interruption,
    /// 1: a store; 0: a load.
    pub is_store: u32,
    /// How often this callback has been asked about this access before.
    pub attempt: u32,
}
