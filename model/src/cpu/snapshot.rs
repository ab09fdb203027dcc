//! Snapshot and restore of what outlives the operation of a host CPU.

use super::host::{CpuSlot, CpuState, Registers};
use crate::storage::translation_buffer::{Purge, Space};
use core::sync::atomic::Ordering;

/// What is copied when a snapshot is taken; the translation buffer keeps what changes in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptHostCpu(Registers);

impl CpuSlot {
    /// `state` is its own. What the CPU was asked to purge it purges now: nothing can come between.
    pub(crate) fn snapshot(&self, state: &mut CpuState) -> KeptHostCpu {
        for purge in self.take_asked() {
            state.buffer.purge(purge);
        }
        state.buffer.snapshot();
        KeptHostCpu(state.registers)
    }

    /// Becomes what it was at the snapshot. What it was asked to purge since does not concern what comes back.
    pub(crate) fn restore(&self, state: &mut CpuState, kept: KeptHostCpu) {
        self.take_asked();
        state.buffer.restore();
        state.registers = kept.0;
        state.home = Space::of(kept.0.home);
    }

    fn take_asked(&self) -> Vec<Purge> {
        if !self.purge_pending.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.asked.lock().take()
    }
}
