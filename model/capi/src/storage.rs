//! Loads and stores of a host CPU.
//!
//! Addresses are virtual ones of home space, or real ones while translation is off. Loads and stores by size have the byte
//! order of the machine; those of buffers move bytes as they are. What is refused has changed nothing: neither storage nor
//! the caller's buffer.

use crate::cpu::{ended, interrupted, on_host, uvsim_cpu, uvsim_interruption};
use crate::raw::is_plain;
use crate::result::{Fault, UVSIM_OK};
use std::ffi::{c_int, c_void};
use uvsim_model::address::VirtualAddress;
use uvsim_model::config::ByteOrder;
use uvsim_model::cpu::HostCpu;

/// Loads a byte.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `value` and `interruption` are each null or writable. Each may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_load8(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: *mut u8,
    interruption: *mut uvsim_interruption,
) -> c_int {
    let decode = |_, bytes: [u8; 1]| bytes[0];
    // SAFETY: what the caller says of the places is passed on.
    unsafe { load(cpu, address, value, interruption, decode) }
}

/// Loads a halfword.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `value` and `interruption` are each null or writable. Each may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_load16(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: *mut u16,
    interruption: *mut uvsim_interruption,
) -> c_int {
    let decode = |order: ByteOrder, bytes| order.u16(bytes);
    // SAFETY: what the caller says of the places is passed on.
    unsafe { load(cpu, address, value, interruption, decode) }
}

/// Loads a word.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `value` and `interruption` are each null or writable. Each may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_load32(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: *mut u32,
    interruption: *mut uvsim_interruption,
) -> c_int {
    let decode = |order: ByteOrder, bytes| order.u32(bytes);
    // SAFETY: what the caller says of the places is passed on.
    unsafe { load(cpu, address, value, interruption, decode) }
}

/// Loads a doubleword.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `value` and `interruption` are each null or writable. Each may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_load64(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: *mut u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    let decode = |order: ByteOrder, bytes| order.u64(bytes);
    // SAFETY: what the caller says of the places is passed on.
    unsafe { load(cpu, address, value, interruption, decode) }
}

/// Stores a byte.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_store8(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: u8,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    unsafe { store(cpu, address, interruption, |_| [value]) }
}

/// Stores a halfword.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_store16(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: u16,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    unsafe { store(cpu, address, interruption, |order| order.u16_bytes(value)) }
}

/// Stores a word.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_store32(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: u32,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    unsafe { store(cpu, address, interruption, |order| order.u32_bytes(value)) }
}

/// Stores a doubleword.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_store64(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    unsafe { store(cpu, address, interruption, |order| order.u64_bytes(value)) }
}

/// Loads `length` bytes.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_NULL` (`buffer` is null, though there is a length);
/// `UVSIM_E_ARGUMENT` (no object is as long, or it lies in a host view); `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `buffer` leads to `length` writable bytes of plain memory; `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_load(
    cpu: *mut uvsim_cpu,
    address: u64,
    buffer: *mut c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        // SAFETY: the caller says that the buffer is writable, and the place null or writable.
        unsafe { Ok(ended(host.load(VirtualAddress(address), writable(buffer, length)?), interruption)) }
    })
}

/// Fetches `length` bytes as instructions are fetched: a load, but a secure-storage access does not tell its address.
///
/// Answers: as `uvsim_load`.
///
/// # Safety
/// As `uvsim_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_fetch(
    cpu: *mut uvsim_cpu,
    address: u64,
    buffer: *mut c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        // SAFETY: the caller says that the buffer is writable, and the place null or writable.
        unsafe { Ok(ended(host.fetch_instruction(VirtualAddress(address), writable(buffer, length)?), interruption)) }
    })
}

/// Stores `length` bytes.
///
/// Answers: as `uvsim_load`.
///
/// # Safety
/// `buffer` leads to `length` readable bytes of plain memory; `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_store(
    cpu: *mut uvsim_cpu,
    address: u64,
    buffer: *const c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        // SAFETY: the caller says that the buffer is readable, and the place null or writable.
        unsafe { Ok(ended(host.store(VirtualAddress(address), readable(buffer, length)?), interruption)) }
    })
}

/// Where a load would go: the absolute address behind an address. No access is made, so whether one would be permitted is
/// not told.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `absolute` and `interruption` are each null or writable. Each may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_translate(
    cpu: *mut uvsim_cpu,
    address: u64,
    absolute: *mut u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| match host.translate(VirtualAddress(address)) {
        Ok(found) => {
            // SAFETY: the caller says that the place is null or writable.
            unsafe { put(absolute, found.0) };
            Ok(UVSIM_OK)
        }
        // SAFETY: the caller says that the place is null or writable.
        Err(found) => Ok(unsafe { interrupted(found, interruption) }),
    })
}

/// # Safety
/// `value` and `interruption` are each null or writable.
#[inline(always)]
unsafe fn load<T, const N: usize>(
    cpu: *mut uvsim_cpu,
    address: u64,
    value: *mut T,
    interruption: *mut uvsim_interruption,
    decode: impl FnOnce(ByteOrder, [u8; N]) -> T,
) -> c_int {
    on_host(cpu, |host| {
        let mut bytes = [0; N];
        match host.load(VirtualAddress(address), &mut bytes) {
            Ok(()) => {
                // SAFETY: the caller says that the place is null or writable.
                unsafe { put(value, decode(order(host), bytes)) };
                Ok(UVSIM_OK)
            }
            // SAFETY: the caller says that the place is null or writable.
            Err(found) => Ok(unsafe { interrupted(found, interruption) }),
        }
    })
}

/// # Safety
/// `interruption` is null or writable.
#[inline(always)]
unsafe fn store<const N: usize>(
    cpu: *mut uvsim_cpu,
    address: u64,
    interruption: *mut uvsim_interruption,
    encode: impl FnOnce(ByteOrder) -> [u8; N],
) -> c_int {
    on_host(cpu, |host| {
        let bytes = encode(order(host));
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(host.store(VirtualAddress(address), &bytes), interruption) })
    })
}

fn order(host: &HostCpu<'_>) -> ByteOrder {
    host.machine().config().byte_order
}

/// Writes a result that somebody wants.
///
/// # Safety
/// `place` is null or writable.
#[inline]
pub(crate) unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: it is not null, so the caller says that it is writable.
        unsafe { place.write_unaligned(value) };
    }
}

/// A buffer of the caller for results.
///
/// # Safety
/// It is writable, and nobody else uses it for `'a`.
pub(crate) unsafe fn writable<'a>(buffer: *mut c_void, length: usize) -> Result<&'a mut [u8], Fault> {
    check_buffer(buffer, length)?;
    if length == 0 {
        return Ok(&mut []);
    }
    // SAFETY: it is not null and no longer than an object can be; the caller says the rest.
    Ok(unsafe { core::slice::from_raw_parts_mut(buffer.cast(), length) })
}

/// A buffer of the caller with contents.
///
/// # Safety
/// It is readable, and nobody changes it for `'a`.
pub(crate) unsafe fn readable<'a>(buffer: *const c_void, length: usize) -> Result<&'a [u8], Fault> {
    check_buffer(buffer, length)?;
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: it is not null and no longer than an object can be; the caller says the rest.
    Ok(unsafe { core::slice::from_raw_parts(buffer.cast(), length) })
}

pub(crate) fn check_buffer(buffer: *const c_void, length: usize) -> Result<(), Fault> {
    if buffer.is_null() && length > 0 {
        return Err(Fault::null("the buffer"));
    }
    let end = (buffer.addr() as u64).checked_add(length as u64);
    if length > isize::MAX as usize || end.is_none() {
        return Err(Fault::argument(format!("a buffer of {length:#x} bytes")));
    }
    // Nobody could tell what a fault in the middle of a call would mean.
    if !is_plain(buffer, length) {
        return Err(Fault::argument("the buffer lies in a host view: it has to be plain memory"));
    }
    Ok(())
}
