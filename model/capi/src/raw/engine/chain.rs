//! The signals themselves: the handler is installed in front of what was there, and passes on what is not its own.

#![allow(unsafe_code, reason = "signal handling; see the SAFETY comments")]

use super::handler::handle;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use libc::{siginfo_t, sigset_t};
use std::io;
use std::sync::OnceLock;

/// Who handled a signal before.
#[derive(Debug)]
struct Before {
    signal: c_int,
    handler: AtomicUsize,
    flags: AtomicI32,
}

static BEFORE: [Before; 2] = [Before::of(libc::SIGSEGV), Before::of(libc::SIGBUS)];

/// Installs the handler, once.
///
/// # Errors
/// What the system says.
pub(super) fn install() -> Result<(), io::ErrorKind> {
    static DONE: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    *DONE.get_or_init(|| BEFORE.iter().try_for_each(Before::step_in_front).map_err(|error| error.kind()))
}

impl Before {
    const fn of(signal: c_int) -> Self {
        Self { signal, handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) }
    }

    fn step_in_front(&self) -> io::Result<()> {
        // SAFETY: both structures are plain data that the system fills or reads; all-zero ones are valid. What was there
        // before is kept before anything can call the new handler.
        unsafe {
            let mut before: libc::sigaction = core::mem::zeroed();
            if libc::sigaction(self.signal, ptr::null(), &raw mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            self.handler.store(before.sa_sigaction, Ordering::SeqCst);
            self.flags.store(before.sa_flags, Ordering::SeqCst);
            let mut new: libc::sigaction = core::mem::zeroed();
            new.sa_sigaction = handle as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut new.sa_mask);
            if libc::sigaction(self.signal, &raw const new, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Hands a signal to whoever handled it before, as the kernel would have done.
///
/// # Safety
/// The arguments are those of the handler; `code` is that of `info`.
pub(super) unsafe fn pass_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.iter().find(|before| before.signal == signal) else { return };
    let (handler, flags) = (before.handler.load(Ordering::SeqCst), before.flags.load(Ordering::SeqCst));
    let sent = code <= 0;
    match handler {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the default action can always be set. A fault comes again when this handler returns, at the
            // instruction that made it; a signal that was sent does not, so it is sent again.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if sent {
                    libc::raise(signal);
                }
            }
        }
        _ => {
            if flags & libc::SA_RESETHAND != 0 {
                before.handler.store(libc::SIG_DFL, Ordering::SeqCst);
            }
            // SAFETY: `handler` was installed with these flags; the arguments are as the caller says.
            unsafe { call(handler, flags, signal, info, context) };
        }
    }
}

/// Calls a handler with its own signal blocked, unless it wants otherwise.
///
/// # Safety
/// `handler` was installed with `flags`; the other arguments are those of a handler.
unsafe fn call(handler: usize, flags: c_int, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: signal sets are plain data; the type of the handler is the one that its flags say.
    unsafe {
        let mut old: sigset_t = core::mem::zeroed();
        let mut blocked: sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut blocked);
        if flags & libc::SA_NODEFER == 0 {
            libc::sigaddset(&raw mut blocked, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut old);
        let handler = ptr::with_exposed_provenance::<()>(handler);
        if flags & libc::SA_SIGINFO != 0 {
            let handler: unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = core::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: unsafe extern "C" fn(c_int) = core::mem::transmute(handler);
            handler(signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut());
    }
}
