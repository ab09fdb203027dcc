//! Channel I/O: what a device does to storage. From any thread; one waits for another.

use crate::machine::{on_machine, uvsim_machine};
use crate::result::{UVSIM_OK, UVSIM_OUTSIDE, UVSIM_REFUSED};
use crate::storage::{put, readable, writable};
use std::ffi::{c_int, c_void};
use uvsim_model::address::AbsoluteAddress;
use uvsim_model::cpu::ChannelRefusal;

/// A device reads `length` bytes at an absolute address.
///
/// Answers: those of every function; `UVSIM_E_NULL` (`buffer` is null, though there is a length); `UVSIM_E_ARGUMENT` (no
/// object is as long, or it lies in a host view); `UVSIM_OUTSIDE` (not all of it is storage); `UVSIM_REFUSED` (a frame is
/// secure; `failing` is the first address in it); `UVSIM_OK`. What is refused has moved nothing, unless another CPU has secured a frame meanwhile.
///
/// # Safety
/// `buffer` leads to `length` writable bytes; `failing` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_channel_read(
    machine: *mut uvsim_machine,
    absolute: u64,
    buffer: *mut c_void,
    length: usize,
    failing: *mut u64,
) -> c_int {
    on_machine(machine, |room| {
        // SAFETY: the caller says that it is writable.
        let bytes = unsafe { writable(buffer, length)? };
        let done = room.machine.channel().read(AbsoluteAddress(absolute), bytes);
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, failing) })
    })
}

/// A device writes `length` bytes at an absolute address.
///
/// Answers: as `uvsim_channel_read`.
///
/// # Safety
/// `buffer` leads to `length` readable bytes; `failing` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_channel_write(
    machine: *mut uvsim_machine,
    absolute: u64,
    buffer: *const c_void,
    length: usize,
    failing: *mut u64,
) -> c_int {
    on_machine(machine, |room| {
        // SAFETY: the caller says that it is readable.
        let bytes = unsafe { readable(buffer, length)? };
        let done = room.machine.channel().write(AbsoluteAddress(absolute), bytes);
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, failing) })
    })
}

/// # Safety
/// `failing` is null or writable.
unsafe fn ended(done: Result<(), ChannelRefusal>, failing: *mut u64) -> c_int {
    let (answer, address) = match done {
        Ok(()) => return UVSIM_OK,
        Err(ChannelRefusal::SecureFrame(address)) => (UVSIM_REFUSED, address),
        Err(ChannelRefusal::OutsideStorage(address)) => (UVSIM_OUTSIDE, address),
    };
    // SAFETY: the caller says that the place is null or writable.
    unsafe { put(failing, address.0) };
    answer
}
