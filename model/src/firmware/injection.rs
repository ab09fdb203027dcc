//! Test hooks: answers that real contention gives too rarely to be relied on (Q19, D17).

use crate::uvc::Command;
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What the next calls of a command do instead of, or after, their work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// This many calls answer condition code 2 and do nothing.
    Busy(u64),
    /// This many calls answer condition code 3 and do nothing.
    Partial(u64),
    /// The next CREATE_SEC_CONF does its work and answers with the 0x8000 flag.
    LateFailure,
}

/// One injected answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Injected {
    Busy,
    Partial,
}

#[derive(Debug, Default)]
pub(super) struct Injections {
    any: AtomicBool,
    pending: Mutex<BTreeMap<Command, Pending>>,
}

/// Pending answers as they were once.
#[derive(Clone, Debug)]
pub(super) struct KeptInjections {
    any: bool,
    pending: BTreeMap<Command, Pending>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    busy: u64,
    partial: u64,
    late_failure: bool,
}

impl Injections {
    pub(super) fn add(&self, command: Command, injection: Injection) {
        let mut pending = self.pending.lock();
        let entry = pending.entry(command).or_default();
        match injection {
            Injection::Busy(count) => entry.busy = entry.busy.saturating_add(count),
            Injection::Partial(count) => entry.partial = entry.partial.saturating_add(count),
            Injection::LateFailure => entry.late_failure = true,
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether anything was injected since they were cleared.
    pub(super) fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The next injected stop of a command; a late failure waits for [`Injections::take_late_failure`].
    pub(super) fn take(&self, command: Command) -> Option<Injected> {
        if !self.is_any() {
            return None;
        }
        let mut pending = self.pending.lock();
        let entry = pending.get_mut(&command)?;
        if entry.busy > 0 {
            entry.busy -= 1;
            Some(Injected::Busy)
        } else if entry.partial > 0 {
            entry.partial -= 1;
            Some(Injected::Partial)
        } else {
            None
        }
    }

    pub(super) fn take_late_failure(&self, command: Command) -> bool {
        self.is_any()
            && self.pending.lock().get_mut(&command).is_some_and(|entry| core::mem::take(&mut entry.late_failure))
    }

    /// What is pending; there are at most as many entries as commands.
    pub(super) fn snapshot(&self) -> KeptInjections {
        KeptInjections { any: self.is_any(), pending: self.pending.lock().clone() }
    }

    pub(super) fn restore(&self, kept: &KeptInjections) {
        self.pending.lock().clone_from(&kept.pending);
        self.any.store(kept.any, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.pending.lock().clear();
        self.any.store(false, Ordering::Release);
    }
}
