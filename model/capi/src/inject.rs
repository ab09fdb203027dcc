//! Answers that real contention gives too rarely to be relied on.

use crate::machine::{on_machine, uvsim_machine};
use crate::result::{Fault, UVSIM_OK};
use std::ffi::c_int;
use uvsim_model::Injection;
use uvsim_model::uvc::Command;

/// Calls answer condition code 2 and do nothing.
pub const UVSIM_INJECT_BUSY: u32 = 1;
/// Calls answer condition code 3 and do nothing.
pub const UVSIM_INJECT_PARTIAL: u32 = 2;
/// The next CREATE_SEC_CONF does its work and answers with the flag 0x8000. The count does not matter.
pub const UVSIM_INJECT_LATE_FAILURE: u32 = 3;

/// Makes the next `count` calls of a command end busy or partially, or one end late. `command` is a command code, `kind` one
/// of `UVSIM_INJECT_BUSY`, `UVSIM_INJECT_PARTIAL` and `UVSIM_INJECT_LATE_FAILURE`.
///
/// Answers: those of every function; `UVSIM_E_ARGUMENT` (no such command or kind); `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_inject(machine: *mut uvsim_machine, command: u16, kind: u32, count: u64) -> c_int {
    on_machine(machine, |room| {
        let Some(command) = Command::from_code(command) else {
            return Err(Fault::argument(format!("{command:#06x} is no command")));
        };
        let injection = match kind {
            UVSIM_INJECT_BUSY => Injection::Busy(count),
            UVSIM_INJECT_PARTIAL => Injection::Partial(count),
            UVSIM_INJECT_LATE_FAILURE => Injection::LateFailure,
            _ => return Err(Fault::argument(format!("{kind} is nothing to inject"))),
        };
        room.machine.inject(command, injection);
        Ok(UVSIM_OK)
    })
}
