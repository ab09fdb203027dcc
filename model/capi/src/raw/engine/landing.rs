//! Landings: where an interruption that nobody repairs is delivered. The host's own `setjmp` makes one, in the
//! macro `UVSIM_TRY`; the handler jumps to the newest.
//!
//! What is jumped over is host code, which knows, and the handler, which has nothing to drop.

#![allow(unsafe_code, reason = "landings live on stacks of the host; see the SAFETY comments")]

use super::thread::Thread;
use crate::cpu::uvsim_interruption;
use crate::raw::uvsim_landing;
use core::ffi::{c_int, c_void};
use core::ptr;

/// Offset of the `jmp_buf`, which lies behind what Rust knows. The header asserts the same.
const BUFFER: usize = size_of::<uvsim_landing>();

/// Makes a landing the newest of this thread. One that is in use already is the newest again: those above it are gone.
///
/// # Safety
/// `landing` is a `uvsim_landing` that stays where it is until it is popped or landed on.
pub(crate) unsafe fn push(landing: *mut uvsim_landing) {
    if landing.is_null() {
        return;
    }
    Thread::with(|thread| {
        // SAFETY: see `cut`; the chain holds landings in use only.
        unsafe { cut(thread, landing) };
        // A new landing where the floor was: the code below the floor has been left by a jump.
        if thread.floor.get() == landing {
            thread.floor.set(ptr::null_mut());
        }
        let new = uvsim_landing {
            previous: thread.top.get(),
            mark: !landing.addr(),
            interruption: uvsim_interruption::default(),
            address: ptr::null_mut(),
            absolute: 0,
            reserved: [0; 2],
        };
        // SAFETY: the caller vouches for the memory.
        unsafe { landing.write(new) };
        thread.top.set(landing);
    });
}

/// Takes a landing, and all that are newer, out of use. Whether it was in use.
///
/// # Safety
/// As for [`push`].
pub(crate) unsafe fn pop(landing: *mut uvsim_landing) -> bool {
    // SAFETY: the chain holds landings in use only.
    Thread::with(|thread| unsafe { cut(thread, landing) })
}

/// Removes `landing` and what is newer from the chain.
///
/// # Safety
/// What is in the chain is still there.
unsafe fn cut(thread: &Thread, landing: *mut uvsim_landing) -> bool {
    let mut at = thread.top.get();
    while !at.is_null() {
        // SAFETY: the caller vouches for what is in the chain.
        let found = unsafe { at.read() };
        if found.mark != !at.addr() {
            // A function has returned without popping its landing, and something else lies there now.
            return false;
        }
        if at == landing {
            thread.top.set(found.previous);
            return true;
        }
        at = found.previous;
    }
    false
}

/// The landing that an interruption of this thread goes to.
pub(super) fn newest(thread: &Thread) -> Option<*mut uvsim_landing> {
    let top = thread.top.get();
    if top.is_null() || top == thread.floor.get() {
        return None;
    }
    // SAFETY: the host vouches for landings in use; one that has been written over does not bear its mark.
    let found = unsafe { top.read() };
    (found.mark == !top.addr()).then_some(top)
}

/// Jumps. The landing is out of use then.
///
/// # Safety
/// `landing` is what [`newest`] gave, on this thread, and no frame between it and here has anything to drop.
pub(super) unsafe fn land(
    landing: *mut uvsim_landing,
    interruption: uvsim_interruption,
    address: usize,
    absolute: u64,
) -> ! {
    // SAFETY: it is in use, so its head may be written, and its buffer has been filled by `setjmp`.
    unsafe {
        Thread::with(|thread| thread.top.set((*landing).previous));
        (*landing).mark = 0;
        (*landing).interruption = interruption;
        (*landing).address = ptr::without_provenance_mut(address);
        (*landing).absolute = absolute;
        longjmp(landing.byte_add(BUFFER).cast(), 1)
    }
}

unsafe extern "C" {
    /// The mask of signals is none of its business: the handler has put it back.
    fn longjmp(buffer: *mut c_void, value: c_int) -> !;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::engine::outside;
    use core::mem::MaybeUninit;

    #[test]
    fn landings_nest() {
        let mut landings = [const { MaybeUninit::<uvsim_landing>::uninit() }; 4];
        let [a, b, c, never] = landings.each_mut().map(MaybeUninit::as_mut_ptr);
        let top = || Thread::with(newest);
        // SAFETY: all four outlive this block.
        unsafe {
            assert_eq!(top(), None);
            [a, b, c].into_iter().for_each(|landing| push(landing));
            assert_eq!(top(), Some(c));
            assert!(!pop(never) && !pop(ptr::null_mut()));
            assert!(pop(b));
            assert_eq!(top(), Some(a));
            assert!(!pop(c));
            push(a);
            assert_eq!(top(), Some(a));
            push(b);
            push(a);
            assert_eq!(top(), Some(a));
            assert!(pop(a));
            assert_eq!(top(), None);
        }
    }

    #[test]
    fn landings_below_the_library_are_out_of_reach() {
        let mut landings = [const { MaybeUninit::<uvsim_landing>::uninit() }; 2];
        let [below, above] = landings.each_mut().map(MaybeUninit::as_mut_ptr);
        // SAFETY: both outlive this block.
        unsafe {
            push(below);
            let host = outside();
            assert_eq!(Thread::with(newest), None);
            push(above);
            assert_eq!(Thread::with(newest), Some(above));
            assert!(pop(above));
            drop(host);
            assert_eq!(Thread::with(newest), Some(below));
            (*below).mark = 0;
            assert_eq!(Thread::with(newest), None);
            Thread::with(|thread| thread.top.set(ptr::null_mut()));
        }
    }
}
