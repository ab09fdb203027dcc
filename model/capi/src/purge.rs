//! Instructions that take translations back, and the reset of a machine.

use crate::cpu::{ended, on_host, uvsim_cpu, uvsim_interruption};
use crate::result::{Fault, UVSIM_E_OPERATING, UVSIM_OK};
use std::ffi::c_int;
use uvsim_model::Reset;
use uvsim_model::address::{AbsoluteAddress, VirtualAddress};
use uvsim_model::storage::Asce;

/// What a reset leaves in storage: secure and donated frames become zeros, the rest stays.
pub const UVSIM_RESET_LOAD_NORMAL: u32 = 0;
/// All of storage becomes zeros.
pub const UVSIM_RESET_CLEAR: u32 = 1;

/// INVALIDATE PAGE TABLE ENTRY: sets the invalid bit of the entry that the page index of `address` selects in the page table
/// at the absolute address `table`, and removes what was formed through it, on all CPUs.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_ipte(
    cpu: *mut uvsim_cpu,
    table: u64,
    address: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        let done = host.ipte(AbsoluteAddress(table), VirtualAddress(address));
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// INVALIDATE DAT TABLE ENTRY for one entry of the segment table at the absolute address `table`: sets its invalid bit and
/// removes what lies under its index, on all CPUs.
///
/// Answers: as `uvsim_ipte`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_idte_segment(
    cpu: *mut uvsim_cpu,
    table: u64,
    address: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        let done = host.idte_segment(AbsoluteAddress(table), VirtualAddress(address));
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// The same for one entry of the region-third table at the absolute address `table`.
///
/// Answers: as `uvsim_ipte`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_idte_region(
    cpu: *mut uvsim_cpu,
    table: u64,
    address: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        let done = host.idte_region(AbsoluteAddress(table), VirtualAddress(address));
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// INVALIDATE DAT TABLE ENTRY by ASCE: removes everything formed under it, on all CPUs.
///
/// Answers: as `uvsim_ipte`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_idte_space(
    cpu: *mut uvsim_cpu,
    asce: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    on_host(cpu, |host| Ok(unsafe { ended(host.idte_space(Asce(asce)), interruption) }))
}

/// Removes one page of a space on all CPUs: what IPTE does for tables, for hosts that have none (`uvsim_set_translator`).
///
/// Answers: as `uvsim_ipte`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_purge_page(
    cpu: *mut uvsim_cpu,
    asce: u64,
    address: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_host(cpu, |host| {
        let done = host.purge_page(Asce(asce), VirtualAddress(address));
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// PURGE TLB: removes everything on this CPU.
///
/// Answers: as `uvsim_ipte`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_ptlb(cpu: *mut uvsim_cpu, interruption: *mut uvsim_interruption) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    on_host(cpu, |host| Ok(unsafe { ended(host.ptlb(), interruption) }))
}

/// Resets the machine: every configuration is gone and the Ultravisor is not initialised. The registers of this CPU stay.
/// `kind` is `UVSIM_RESET_LOAD_NORMAL` or `UVSIM_RESET_CLEAR`.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_ARGUMENT` (`kind`); `UVSIM_E_OPERATING` (another CPU is
/// started); `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn uvsim_reset(cpu: *mut uvsim_cpu, kind: u32) -> c_int {
    let done = on_host(cpu, |host| {
        let kind = match kind {
            UVSIM_RESET_LOAD_NORMAL => Reset::LoadNormal,
            UVSIM_RESET_CLEAR => Reset::Clear,
            _ => return Err(Fault::argument(format!("{kind} is no kind of reset"))),
        };
        host.reset_machine(kind).map_err(|error| Fault::new(UVSIM_E_OPERATING, error.to_string()))?;
        Ok(UVSIM_OK)
    });
    crate::event::deliver();
    done
}
