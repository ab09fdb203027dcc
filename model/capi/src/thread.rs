//! What the library knows of the thread that calls: its number, the CPUs that belong to it, and in the middle of whose
//! translation it is.

use crate::cpu;
use crate::result::{Fault, UVSIM_E_THREAD};
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU64, Ordering};

/// Without a destructor, so that it is there to the end of the thread.
struct Here {
    token: Cell<u64>,
    /// Whether events wait for the end of a call.
    events: Cell<bool>,
}

thread_local! {
    static HERE: Here = const { Here { token: Cell::new(0), events: Cell::new(false) } };
    static STARTED: RefCell<Started> = const { RefCell::new(Started(Vec::new())) };
}

/// The CPUs that this thread has started. They end with it.
struct Started(Vec<u64>);

impl Drop for Started {
    fn drop(&mut self) {
        for number in self.0.drain(..) {
            cpu::abandon(number);
        }
    }
}

/// A number of this thread that no other ever has.
#[inline]
pub(crate) fn token() -> u64 {
    match HERE.with(|here| here.token.get()) {
        0 => first_token(),
        token => token,
    }
}

#[cold]
fn first_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let token = NEXT.fetch_add(1, Ordering::Relaxed);
    HERE.with(|here| here.token.set(token));
    token
}

/// Whether events wait for the end of a call.
#[inline]
pub(crate) fn have_events() -> bool {
    HERE.with(|here| here.events.get())
}

/// Remembers whether events wait.
pub(crate) fn note_events(some: bool) {
    HERE.with(|here| here.events.set(some));
}

/// Whether CPUs can still be given to this thread.
pub(crate) fn check_alive() -> Result<(), Fault> {
    STARTED
        .try_with(|_| ())
        .map_err(|_| Fault::new(UVSIM_E_THREAD, "the thread is about to end: it cannot start a CPU any more"))
}

/// This CPU ends with this thread.
pub(crate) fn keep(number: u64) {
    let _ = STARTED.try_with(|started| started.borrow_mut().0.push(number));
}

/// This CPU has ended.
pub(crate) fn forget(number: u64) {
    let _ = STARTED.try_with(|started| started.borrow_mut().0.retain(|kept| *kept != number));
}
