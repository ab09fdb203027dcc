//! What happened, as types. Observers subscribe; when nobody does, an event costs one load.

use crate::address::FrameNumber;
use crate::storage::FrameState;
use crate::uvc::{ConditionCode, Issuer};
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::RwLock;
use std::sync::Arc;

/// Something that a machine did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An Ultravisor call ended.
    Call {
        /// Host or guest.
        issuer: Issuer,
        /// Number of the host CPU on which it ran.
        cpu: u16,
        /// Command code as found in the block.
        command: u16,
        /// The condition code.
        cc: ConditionCode,
        /// Response code; 0 with condition codes 2 and 3.
        rc: u16,
        /// Reason code.
        rrc: u16,
        /// The rule that decided.
        rule: &'static str,
    },
    /// A frame changed its state.
    Transition {
        /// The frame.
        frame: FrameNumber,
        /// State before.
        from: FrameState,
        /// State after.
        to: FrameState,
        /// Row of the transition table.
        rule: &'static str,
    },
}

/// Receives the events of a machine, in the order in which each CPU causes them.
pub trait Observer: Send + Sync {
    /// Called after the change that the event reports is complete. Must not call the machine.
    fn observe(&self, event: &Event);
}

/// The subscribers of one machine.
#[derive(Default)]
pub(crate) struct Events {
    listening: AtomicBool,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
}

impl Events {
    pub(crate) fn subscribe(&self, observer: Arc<dyn Observer>) {
        self.observers.write().push(observer);
        self.listening.store(true, Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.listening.load(Ordering::Acquire) {
            self.deliver(&event());
        }
    }

    #[cold]
    fn deliver(&self, event: &Event) {
        for observer in &*self.observers.read() {
            observer.observe(event);
        }
    }
}

impl core::fmt::Debug for Events {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Events({} observers)", self.observers.read().len())
    }
}
