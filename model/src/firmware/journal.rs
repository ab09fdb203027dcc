//! What the Ultravisor keeps for a restore: whatever has changed since the snapshot, as it was before.
//!
//! A snapshot begins an era, and so does a restore. Whatever can change remembers the era in which it was kept, or
//! made; the first change of another era keeps it. Era 0 is the time before the first snapshot: everything is as
//! old as that, and nothing is kept.

use super::rows::KeptRow;
use crate::storage::Domain;
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::Mutex;

/// Shared by everything that keeps itself.
#[derive(Debug, Default)]
pub(super) struct Journal {
    era: AtomicU64,
    changed: Mutex<Changed>,
}

/// What was kept in this era. Rows are kept here, the others with themselves.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) rows: Vec<KeptRow>,
    pub(super) configurations: Vec<Domain>,
    /// Handles.
    pub(super) cpus: Vec<u64>,
}

/// The era in which something was made or kept.
#[derive(Debug, Default)]
pub(super) struct Since(AtomicU64);

impl Journal {
    /// What is made now need not be kept in this era.
    pub(super) fn now(&self) -> Since {
        Since(AtomicU64::new(self.era()))
    }

    #[inline]
    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Whether something must be kept before it changes. Without a snapshot nothing must.
    #[inline]
    pub(super) fn is_due(&self, since: &Since) -> bool {
        since.0.load(Ordering::Acquire) != self.era()
    }

    /// Says that something is kept. What was kept must be complete.
    pub(super) fn done(&self, since: &Since) {
        since.0.store(self.era(), Ordering::Release);
    }

    /// Notes what was kept.
    pub(super) fn note(&self, note: impl FnOnce(&mut Changed)) {
        note(&mut self.changed.lock());
    }

    /// Begins an era, and takes what was kept in the last one. Nobody may change anything meanwhile.
    pub(super) fn begin_era(&self) -> Changed {
        self.era.fetch_add(1, Ordering::AcqRel);
        core::mem::take(&mut self.changed.lock())
    }
}
