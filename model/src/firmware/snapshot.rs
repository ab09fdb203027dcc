//! Snapshot and restore of what the Ultravisor knows.

use super::handles::Drawn;
use super::injection::KeptInjections;
use super::journal::Changed;
use super::{Area, Ultravisor};
use crate::crypto::SealIndex;
use core::sync::atomic::Ordering;

/// What is copied when a snapshot is taken; the rest is kept when it changes.
#[derive(Debug)]
pub(crate) struct KeptFirmware {
    initialised: bool,
    base: Area,
    injections: KeptInjections,
    drawn: Drawn,
}

impl Ultravisor {
    /// Takes a snapshot in place of the last one. No call may run.
    pub(crate) fn snapshot(&self) -> KeptFirmware {
        self.forget(self.journal.begin_era());
        let drawn = self.objects.snapshot();
        for configuration in self.objects.configurations() {
            if let Some(life) = configuration.life() {
                life.cipher.snapshot();
            }
        }
        let (base, injections) = (self.base_area(), self.injections.snapshot());
        KeptFirmware { initialised: self.is_initialised(), base, injections, drawn }
    }

    /// Lets go of what the last snapshot has kept, secrets above all.
    fn forget(&self, changed: Changed) {
        for configuration in changed.configurations.into_iter().filter_map(|domain| self.objects.domain(domain)) {
            configuration.forget_kept();
        }
        for cpu in changed.cpus.into_iter().filter_map(|handle| self.objects.cpu(handle)) {
            cpu.forget_kept();
        }
    }

    /// Goes back to the snapshot. No call may run, and nobody may be in SIE.
    pub(crate) fn restore(&self, kept: &KeptFirmware) {
        let changed = self.journal.begin_era();
        // The tables first: the rest is found through them.
        self.objects.restore(kept.drawn);
        for configuration in changed.configurations.into_iter().filter_map(|domain| self.objects.domain(domain)) {
            configuration.restore();
        }
        for cpu in changed.cpus.into_iter().filter_map(|handle| self.objects.cpu(handle)) {
            cpu.restore();
        }
        for row in &changed.rows {
            let Some(owner) = self.objects.domain(row.domain) else { continue };
            owner.rows.restore(row);
            if let (Some(life), Ok(index)) = (owner.life(), SealIndex::try_from(row.page)) {
                life.cipher.forget(index);
            }
        }
        self.initialised.store(kept.initialised, Ordering::Release);
        self.base.lock().clone_from(&kept.base);
        self.injections.restore(&kept.injections);
    }
}
