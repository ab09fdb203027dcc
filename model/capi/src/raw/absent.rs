//! Raw mode where there is none: systems other than Linux, processors other than x86-64 and aarch64.

#![allow(unsafe_code, reason = "the signatures are those of the other module")]

use super::{uvsim_fault, uvsim_landing};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use std::io::ErrorKind;
use uvsim_model::Machine;
use uvsim_model::address::AbsoluteAddress;
use uvsim_model::storage::ProgramInterruption;

pub(crate) const ATTEMPTS: u32 = 0;

/// Never made.
#[derive(Debug)]
pub(crate) enum View {}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    pub(crate) function: unsafe extern "C" fn(*mut c_void, *const uvsim_fault) -> c_int,
    pub(crate) user: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Interruption(ProgramInterruption),
    BadPointer,
}

impl View {
    pub(crate) unsafe fn open(_: &Machine, _: u64, _: NonNull<u8>, _: u64) -> Result<Self, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }

    pub(crate) fn set_callback(&self, _: Option<Callback>) {
        match *self {}
    }

    pub(crate) fn pointer(&self, _: AbsoluteAddress) -> Option<*mut c_void> {
        match *self {}
    }

    pub(crate) fn absolute(&self, _: *const c_void) -> Option<AbsoluteAddress> {
        match *self {}
    }
}

pub(crate) fn prepare() -> Result<(), ErrorKind> {
    Err(ErrorKind::Unsupported)
}

pub(crate) unsafe fn copy(_: *mut u8, _: *const u8, _: usize) -> Result<(), Stop> {
    Err(Stop::BadPointer)
}

pub(crate) unsafe fn push(_: *mut uvsim_landing) {}

pub(crate) unsafe fn pop(_: *mut uvsim_landing) -> bool {
    false
}

pub(crate) fn cpu_started(_: u64, _: u64) {}

pub(crate) fn cpu_stopped(_: u64) {}

pub(crate) fn inside() -> Nothing {
    Nothing
}

pub(crate) fn outside() -> Nothing {
    Nothing
}

/// Stands for what is dropped where there is something to drop.
#[derive(Debug)]
#[must_use]
pub(crate) struct Nothing;

pub(crate) fn is_plain(_: *const c_void, _: usize) -> bool {
    true
}
