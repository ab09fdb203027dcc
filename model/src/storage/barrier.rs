//! The asymmetric fence between a storage access (frequent, must be cheap) and a change of a frame's
//! zone state (rare, may be dear).
//!
//! An access announces its frame with a plain store, passes [`light`], and only then reads the zone
//! entry. A change marks the frame, passes [`heavy`], and only then reads the announcements. One of the
//! two sees the other, so a change can wait for the accesses that began before it (D33).
//!
//! Where the kernel offers `membarrier`, the light side costs nothing but compiler order. Elsewhere
//! both sides are sequentially consistent fences.

use core::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

const UNKNOWN: u8 = 0;
const SYMMETRIC: u8 = 1;
const ASYMMETRIC: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Chooses the kind of fence. Called before the first access of every machine.
pub(crate) fn prepare() {
    if MODE.load(Ordering::Relaxed) == UNKNOWN {
        let mode = if register() { ASYMMETRIC } else { SYMMETRIC };
        MODE.store(mode, Ordering::SeqCst);
    }
}

/// The cheap side, after an announcement.
#[inline(always)]
pub(crate) fn light() {
    if MODE.load(Ordering::Relaxed) == ASYMMETRIC {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The dear side, after a frame was marked.
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    if MODE.load(Ordering::Relaxed) == ASYMMETRIC {
        expedite();
    }
}

#[cfg(target_os = "linux")]
fn register() -> bool {
    use rustix::thread::{MembarrierCommand, membarrier};
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

#[cfg(target_os = "linux")]
fn expedite() {
    use rustix::thread::{MembarrierCommand, membarrier};
    // Registered in `prepare`, after which the kernel refuses this command for no reason we could repair.
    let _ = membarrier(MembarrierCommand::PrivateExpedited);
}

#[cfg(not(target_os = "linux"))]
fn register() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn expedite() {}
