//! Machine reset.

use super::{Area, Ultravisor};
use crate::storage::{FrameState, Storage};
use core::sync::atomic::Ordering;

/// What a machine reset leaves in storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// Load normal (diagnose 0x308 subcode 1): secure and donated frames become zeros, the rest stays.
    LoadNormal,
    /// Clear reset and power-on: all zeros.
    Clear,
}

impl Ultravisor {
    /// Ends everything: every frame is non-secure, handles and keys are gone, the Ultravisor is not
    /// initialised (T43, D29). No other CPU may operate.
    pub(crate) fn reset(&self, storage: &Storage, reset: Reset) {
        self.initialised.store(false, Ordering::Release);
        self.objects.clear();
        self.injections.clear();
        *self.base.lock() = Area::default();
        storage.count_host_stores();
        for frame in storage.frames_in_use() {
            let secure = storage.zone(frame).is_secure();
            // Nobody else operates, so the lock is free.
            let Some(mut lock) = storage.try_lock(frame) else { continue };
            lock.batch();
            if secure || reset == Reset::Clear {
                lock.clear();
            }
            self.transition_if_changed(lock);
        }
        storage.settle(storage.frames_in_use());
    }

    fn transition_if_changed(&self, lock: crate::storage::arena::FrameLock<'_>) {
        if lock.state() != FrameState::NonSecure {
            self.transition(lock, FrameState::NonSecure, "T43");
        }
    }
}
