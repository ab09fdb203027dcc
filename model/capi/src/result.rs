//! Answers, and their texts.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// It is done. Of an Ultravisor call: condition code 0.
pub const UVSIM_OK: c_int = 0;
/// Condition code 1 of an Ultravisor call: it ended with another response code than 0x0001.
pub const UVSIM_CC1: c_int = 1;
/// Condition code 2 of an Ultravisor call: busy, nothing was done, issue it again.
pub const UVSIM_CC2: c_int = 2;
/// Condition code 3 of an Ultravisor call: partially done, issue it again with the same block.
pub const UVSIM_CC3: c_int = 3;
/// A program interruption.
pub const UVSIM_INTERRUPTED: c_int = 4;
/// The guest CPU has left SIE.
pub const UVSIM_EXIT: c_int = 5;
/// The channel subsystem has refused an access.
pub const UVSIM_REFUSED: c_int = 6;
/// What was looked for is not there.
pub const UVSIM_NONE: c_int = 7;
/// There is no storage at this address.
pub const UVSIM_OUTSIDE: c_int = 8;
/// An invariant of the machine does not hold.
pub const UVSIM_INVARIANT: c_int = 9;

/// A pointer is null that must not be.
pub const UVSIM_E_NULL: c_int = -1;
/// This is no handle, or one of another kind.
pub const UVSIM_E_HANDLE: c_int = -2;
/// The handle was valid once; what it stood for is gone.
pub const UVSIM_E_DESTROYED: c_int = -3;
/// The CPU belongs to another thread.
pub const UVSIM_E_THREAD: c_int = -4;
/// A callback in the middle of a call has called in again, or has never returned.
pub const UVSIM_E_REENTERED: c_int = -5;
/// The CPU is in SIE: first comes `uvsim_sie_leave`.
pub const UVSIM_E_IN_SIE: c_int = -6;
/// The CPU is not in SIE.
pub const UVSIM_E_NOT_IN_SIE: c_int = -7;
/// CPUs operate that must be stopped first, or the CPU operates already.
pub const UVSIM_E_OPERATING: c_int = -8;
/// No machine can be made of the configuration.
pub const UVSIM_E_CONFIG: c_int = -9;
/// An argument is out of range or does not mean anything.
pub const UVSIM_E_ARGUMENT: c_int = -10;
/// The operating system refuses, or a table is full.
pub const UVSIM_E_SYSTEM: c_int = -11;
/// The machine is lost: an internal error has left it in an unknown state. Only stopping its CPUs and destroying it is
/// possible.
pub const UVSIM_E_LOST: c_int = -12;
/// There is no snapshot to go back to.
pub const UVSIM_E_NO_SNAPSHOT: c_int = -13;
/// The machine was made without a host view.
pub const UVSIM_E_NO_VIEW: c_int = -14;
/// An error of the library itself. The machine is lost.
pub const UVSIM_E_INTERNAL: c_int = -15;

/// What an answer means, in a few words. Never null, for any number; the text is valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_strerror(answer: c_int) -> *const c_char {
    text(answer).as_ptr()
}

/// What was wrong, of the latest call of this thread that has given a negative answer or `UVSIM_INVARIANT`; empty if there was none. Never null.
/// The text is valid until the next negative answer on this thread, and as long as the thread lives.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_last_error() -> *const c_char {
    LAST.with(|last| last.as_ptr().cast::<c_char>().cast_const())
}

fn text(answer: c_int) -> &'static CStr {
    match answer {
        UVSIM_OK => c"done",
        UVSIM_CC1 => c"condition code 1: see the response code",
        UVSIM_CC2 => c"condition code 2: busy",
        UVSIM_CC3 => c"condition code 3: partially done",
        UVSIM_INTERRUPTED => c"program interruption",
        UVSIM_EXIT => c"the guest CPU has left SIE",
        UVSIM_REFUSED => c"the channel subsystem has refused",
        UVSIM_NONE => c"there is none",
        UVSIM_OUTSIDE => c"there is no storage at this address",
        UVSIM_INVARIANT => c"an invariant of the machine does not hold",
        UVSIM_E_NULL => c"a pointer is null",
        UVSIM_E_HANDLE => c"not a handle, or one of another kind",
        UVSIM_E_DESTROYED => c"the handle is no longer in use",
        UVSIM_E_THREAD => c"the CPU belongs to another thread",
        UVSIM_E_REENTERED => c"called from a callback in the middle of a call",
        UVSIM_E_IN_SIE => c"the CPU is in SIE",
        UVSIM_E_NOT_IN_SIE => c"the CPU is not in SIE",
        UVSIM_E_OPERATING => c"a CPU operates",
        UVSIM_E_CONFIG => c"no machine can be made of this configuration",
        UVSIM_E_ARGUMENT => c"an argument is not valid",
        UVSIM_E_SYSTEM => c"the system refuses",
        UVSIM_E_LOST => c"the machine is lost after an internal error",
        UVSIM_E_NO_SNAPSHOT => c"there is no snapshot",
        UVSIM_E_NO_VIEW => c"the machine has no host view",
        UVSIM_E_INTERNAL => c"internal error: the machine is lost",
        _ => c"an unknown answer",
    }
}

/// An answer that has a text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: c_int,
    detail: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(code: c_int, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(crate) fn null(what: &'static str) -> Self {
        Self::new(UVSIM_E_NULL, format!("{what} is null"))
    }

    pub(crate) fn argument(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(UVSIM_E_ARGUMENT, detail)
    }

    /// Leaves the text for `uvsim_last_error`; what is left is the answer.
    #[cold]
    pub(crate) fn tell(self) -> c_int {
        remember(&self.detail);
        self.code
    }
}

/// Runs what stands behind a function of the interface. No panic goes further than this: it becomes `None`.
#[inline(always)]
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let work = || {
        // Faults of the library's own code are not for the host to repair.
        let _inside = crate::raw::inside();
        work()
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(payload) => {
            let detail = payload.downcast_ref::<String>().map(String::as_str);
            let detail = detail.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no text");
            remember(&format!("internal error: {detail}"));
            // To drop what somebody has thrown could throw again.
            core::mem::forget(payload);
            None
        }
    }
}

/// The answer of a function that is about no machine yet, or about none any more.
pub(crate) fn answer(work: impl FnOnce() -> Result<c_int, Fault>) -> c_int {
    match caught(work) {
        Some(Ok(code)) => code,
        Some(Err(fault)) => fault.tell(),
        None => UVSIM_E_INTERNAL,
    }
}

/// Bytes of the longest text, with its end.
const LONGEST: usize = 2048;

thread_local! {
    /// Without a destructor: it is there as long as the thread.
    static LAST: RefCell<[u8; LONGEST]> = const { RefCell::new([0; LONGEST]) };
}

fn remember(detail: &str) {
    let detail = &detail[..detail.floor_char_boundary(LONGEST - 1)];
    LAST.with_borrow_mut(|last| {
        // A text for C ends at its first zero byte.
        for (to, from) in last.iter_mut().zip(detail.bytes()) {
            *to = if from == 0 { b' ' } else { from };
        }
        last[detail.len()] = 0;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the text ends with a zero byte and lives as long as this thread.
        unsafe { CStr::from_ptr(uvsim_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_stops_at_the_boundary_and_leaves_its_text() {
        assert_eq!(answer(|| panic!("page {:#x}", 0x12)), UVSIM_E_INTERNAL);
        assert_eq!(last(), "internal error: page 0x12");
        assert_eq!(answer(|| Ok(UVSIM_OK)), UVSIM_OK);
        assert_eq!(last(), "internal error: page 0x12");
    }

    #[test]
    fn long_texts_end_at_a_whole_character_and_zeros_do_not_end_them() {
        assert_eq!(Fault::argument("a\0b").tell(), UVSIM_E_ARGUMENT);
        assert_eq!(last(), "a b");
        Fault::argument(format!("x{}", "\u{fc}".repeat(LONGEST))).tell();
        assert_eq!(last(), format!("x{}", "\u{fc}".repeat((LONGEST - 2) / 2)));
        Fault::argument("short").tell();
        assert_eq!(last(), "short");
    }

    #[test]
    fn every_answer_has_a_text_of_its_own() {
        let texts: std::collections::BTreeSet<_> = (UVSIM_E_INTERNAL..=UVSIM_INVARIANT).map(text).collect();
        assert_eq!(texts.len() as c_int, UVSIM_INVARIANT - UVSIM_E_INTERNAL + 1);
        assert_eq!(text(UVSIM_INVARIANT + 1), text(c_int::MIN));
    }
}
