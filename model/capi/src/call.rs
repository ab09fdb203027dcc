//! ULTRAVISOR CALL.

use crate::cpu::{interrupted, on_host, uvsim_cpu, uvsim_interruption};
use crate::event::deliver;
use std::ffi::c_int;
use uvsim_model::cpu::Uvc;

/// ULTRAVISOR CALL: `r1` and `r2` are the contents of the two registers. `r2` is the address of the control block.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; the condition code, 0 to 3.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn uvsim_uvc(
    cpu: *mut uvsim_cpu,
    r1: u64,
    r2: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    let ended = unsafe { issue(cpu, Uvc { r1, r2, m3: 0, m4: 0 }, interruption) };
    deliver();
    ended
}

/// The same with values in the two fields of the instruction that must be zero.
///
/// Answers: as `uvsim_uvc`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn uvsim_uvc_with(
    cpu: *mut uvsim_cpu,
    r1: u64,
    r2: u64,
    m3: u8,
    m4: u8,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    let ended = unsafe { issue(cpu, Uvc { r1, r2, m3, m4 }, interruption) };
    deliver();
    ended
}

/// # Safety
/// `interruption` is null or writable.
unsafe fn issue(cpu: *mut uvsim_cpu, instruction: Uvc, interruption: *mut uvsim_interruption) -> c_int {
    on_host(cpu, |host| match host.uvc(instruction) {
        Ok(cc) => Ok(cc as c_int),
        // SAFETY: the caller says that the place is null or writable.
        Err(found) => Ok(unsafe { interrupted(found, interruption) }),
    })
}
