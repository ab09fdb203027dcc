//! The functions of the C interface, with the types of the model. Nothing is done here but the call and the translation
//! of what comes back: an answer that a case does not expect is a panic with the library's own words.

#![allow(unsafe_code, reason = "the calls of a C program")]

mod cpu;
mod guest;
mod machine;
mod raw;

pub use cpu::Cpu;
pub use machine::Machine;

use core::ffi::{CStr, c_int};
use model::storage::{ProgramCode, ProgramInterruption, Teid};
use uvsim_capi::cpu::uvsim_interruption;
use uvsim_capi::result::{UVSIM_INTERRUPTED, UVSIM_OK, uvsim_last_error, uvsim_strerror};

/// Nothing but success is expected.
#[track_caller]
fn done(answer: c_int) {
    assert_eq!(answer, UVSIM_OK, "{}", told(answer));
}

/// Success, or an interruption.
#[track_caller]
fn ended(answer: c_int, interruption: uvsim_interruption) -> Result<(), ProgramInterruption> {
    if answer == UVSIM_INTERRUPTED {
        return Err(interruption_of(interruption));
    }
    done(answer);
    Ok(())
}

/// The interruption in the words of the model.
#[track_caller]
fn interruption_of(interruption: uvsim_interruption) -> ProgramInterruption {
    let code = ProgramCode::ALL.into_iter().find(|code| code.number() == interruption.code);
    assert_eq!(interruption.reserved, [0; 3], "reserved bytes are zeros");
    ProgramInterruption { code: code.expect("a code that the machine has"), teid: Teid(interruption.teid) }
}

/// The library's words for an answer.
fn told(answer: c_int) -> String {
    // SAFETY: both end with a zero byte, the first is there for ever, the second until the next failure on this thread.
    let texts = unsafe { [CStr::from_ptr(uvsim_strerror(answer)), CStr::from_ptr(uvsim_last_error())] };
    texts.map(CStr::to_string_lossy).join(": ")
}
