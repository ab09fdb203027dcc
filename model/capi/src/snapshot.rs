//! Snapshots: a machine goes back to an earlier moment, as often as one likes.

use crate::cpu::{on_host, uvsim_cpu};
use crate::result::{Fault, UVSIM_E_NO_SNAPSHOT, UVSIM_E_OPERATING, UVSIM_OK};
use std::ffi::c_int;
use uvsim_model::RestoreError;

/// Takes a snapshot of the machine of a CPU, in place of the last one. Everything that decides what the machine does belongs
/// to it: storage, what the Ultravisor knows, random streams, injected answers, the clock, registers and translation buffers of
/// all CPUs. Who listens, and what translates, does not.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_OPERATING` (another CPU is started, or a device is at work);
/// `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_snapshot(cpu: *mut uvsim_cpu) -> c_int {
    on_host(cpu, |host| {
        host.snapshot().map_err(|error| Fault::new(UVSIM_E_OPERATING, error.to_string()))?;
        Ok(UVSIM_OK)
    })
}

/// Goes back to the snapshot, which stays. Costs what was touched since.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_OPERATING` (another CPU is started, or a device is at work);
/// `UVSIM_E_NO_SNAPSHOT`; `UVSIM_OK`. Unless it is `UVSIM_OK`, nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_restore(cpu: *mut uvsim_cpu) -> c_int {
    on_host(cpu, |host| {
        host.restore().map_err(|error| {
            let code = match error {
                RestoreError::NoSnapshot => UVSIM_E_NO_SNAPSHOT,
                RestoreError::OthersOperate(_) => UVSIM_E_OPERATING,
            };
            Fault::new(code, error.to_string())
        })?;
        Ok(UVSIM_OK)
    })
}
