//! Snapshot and restore of storage and its zone-security table.
//!
//! A frame is kept before its first change: whoever is about to change it looks for the mark [`touch::KEPT`], which
//! stores find together with their own. A host that stores through a mapping of its own leaves no marks, so what it can
//! store to is kept at once; that costs what it has in use.

use super::{PageBytes, Place, Storage, touch};
use crate::address::{FrameNumber, PAGE_SIZE};
use crate::storage::copy::{copy_in, copy_out};
use crate::storage::journal::KeptFrame;
use core::sync::atomic::Ordering;

impl Storage {
    /// Keeps every frame from now on before it changes. Nobody may access storage meanwhile.
    pub(crate) fn snapshot(&self) {
        self.count_host_stores();
        if self.keeps.swap(true, Ordering::Relaxed) {
            // Whatever has the mark was kept.
            core::mem::take(&mut *self.journal.lock()).take(|kept, _| self.due(kept.frame));
        } else {
            self.frames_in_use().for_each(|frame| self.due(frame));
        }
        self.keep_what_the_host_sees();
    }

    fn due(&self, frame: FrameNumber) {
        if let Some(place) = self.place(frame)
            && place.keeper().touched.load(Ordering::Relaxed) & touch::KEPT != 0
        {
            place.keeper().touched.fetch_and(!touch::KEPT, Ordering::Relaxed);
        }
    }

    /// Puts back every frame that has changed since the snapshot. Nobody may access storage meanwhile.
    pub(crate) fn restore(&self) {
        self.count_host_stores();
        if self.has_view() {
            self.put_back_protections();
        }
        self.journal.lock().take(|kept, bytes| self.put_back(kept, bytes));
        self.keep_what_the_host_sees();
    }

    /// Makes the host's view what the zone entries of the snapshot say. To shut a frame leaves a mark on it, so this comes
    /// before the marks.
    fn put_back_protections(&self) {
        let mut frames: Vec<FrameNumber> = Vec::new();
        for kept in self.journal.lock().frames() {
            if let Some(place) = self.place(kept.frame) {
                place.keeper().zone.store(kept.zone.bits(), Ordering::Release);
                frames.push(kept.frame);
            }
        }
        frames.sort_unstable();
        self.settle(frames.into_iter());
    }

    fn put_back(&self, kept: &KeptFrame, bytes: Option<&PageBytes>) {
        let Some(place) = self.place(kept.frame) else { return };
        let keeper = place.keeper();
        match bytes {
            Some(bytes) => copy_in(place.data, 0, bytes),
            None if keeper.touched.load(Ordering::Relaxed) & touch::NOT_ZERO != 0 => {
                copy_in(place.data, 0, &[0; PAGE_SIZE as usize]);
            }
            None => {}
        }
        keeper.generation.store(kept.generation, Ordering::Relaxed);
        keeper.zone.store(kept.zone.bits(), Ordering::Release);
        place.chunk.marks().zone_changed.store(true, Ordering::Relaxed);
        place.chunk.mark(place.index, kept.touched & !touch::KEPT | touch::SINCE_DIGEST);
    }

    fn keep_what_the_host_sees(&self) {
        self.visit_seen_by_host(|place, frame| place.keep(self, frame));
    }

    /// Keeps a frame, unless another thread was faster. Bytes and zone entry change only once the mark is there, so
    /// what is copied is what there was at the snapshot.
    #[cold]
    pub(super) fn keep(&self, place: Place<'_>, frame: FrameNumber) {
        let keeper = place.keeper();
        if !self.keeps.load(Ordering::Relaxed) {
            keeper.touched.fetch_or(touch::KEPT, Ordering::Relaxed);
            return;
        }
        let mut journal = self.journal.lock();
        let touched = keeper.touched.load(Ordering::Relaxed);
        if touched & touch::KEPT != 0 {
            return;
        }
        // A call that holds the frame has not changed it yet.
        let (zone, generation) = (keeper.zone().unlocked(), keeper.generation.load(Ordering::Relaxed));
        let stored = touched & touch::NOT_ZERO != 0;
        journal.keep(KeptFrame { frame, zone, generation, touched, stored }, |bytes| copy_out(place.data, 0, bytes));
        keeper.touched.fetch_or(touch::KEPT, Ordering::Release);
    }
}
