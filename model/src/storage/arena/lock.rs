//! The lock of a frame: whoever holds it may close the frame, work on its bytes, and give it another state.

#![allow(unsafe_code, reason = "plain bytes of a locked frame; see the SAFETY comments")]

use super::{PageBytes, Place, Storage, touch};
use crate::address::FrameNumber;
use crate::storage::zone::{FrameState, ZoneEntry};
use core::sync::atomic::Ordering;

/// The lock of one frame. Closed to everybody, state \[T\], from the moment its holder turns to the bytes
/// or their marks. Dropped without [`FrameLock::commit`], it leaves the frame as it was.
pub(crate) struct FrameLock<'a> {
    pub(super) storage: &'a Storage,
    pub(super) place: Place<'a>,
    pub(super) frame: FrameNumber,
    pub(super) before: ZoneEntry,
    pub(super) quiet: bool,
    /// Whoever holds the lock holds many, and settles the host's view of them together.
    pub(super) in_batch: bool,
}

impl FrameLock<'_> {
    /// The frame.
    pub(crate) fn frame(&self) -> FrameNumber {
        self.frame
    }

    /// Its state before it was locked.
    pub(crate) fn state(&self) -> FrameState {
        self.before.state()
    }

    /// Touch marks of the frame. A store that began before the lock leaves its mark until it is over, so
    /// they count only once it is.
    pub(crate) fn touched(&mut self) -> u8 {
        self.quiesce();
        self.place.keeper().touched.load(Ordering::Relaxed)
    }

    /// Replaces the touch marks.
    pub(crate) fn set_touched(&self, marks: u8) {
        self.keep();
        let marks = marks | touch::KEPT;
        if marks & touch::SINCE_DIGEST != 0 {
            self.place.chunk.mark(self.place.index, marks);
        } else {
            self.place.keeper().touched.store(marks, Ordering::Relaxed);
        }
    }

    fn keep(&self) {
        self.place.keep(self.storage, self.frame);
    }

    /// Closes the frame and waits for the accesses that began before. Whatever turns to the bytes does it.
    pub(crate) fn quiesce(&mut self) {
        if !self.quiet {
            self.close();
            self.storage.drain(self.frame);
            self.quiet = true;
        }
    }

    /// Shuts everybody out, but does not wait for those who are in.
    pub(crate) fn close(&self) {
        self.place.keeper().zone.store(self.before.closed().bits(), Ordering::SeqCst);
        self.settle();
    }

    /// From now on the holder settles the host's view itself: with [`Storage::settle`], when it has closed frames that
    /// were not secure and before it turns to their bytes, and when all is done.
    pub(crate) fn batch(&mut self) {
        self.in_batch = true;
    }

    #[inline(always)]
    fn settle(&self) {
        if !self.in_batch && self.storage.has_view() {
            self.storage.settle(core::iter::once(self.frame));
        }
    }

    /// The bytes of the frame, for reading.
    pub(crate) fn bytes(&mut self) -> &PageBytes {
        self.quiesce();
        self.quiet_bytes()
    }

    /// The bytes of the frame. The caller says by [`FrameLock::set_touched`] what it did to them.
    pub(crate) fn bytes_mut(&mut self) -> &mut PageBytes {
        self.quiesce();
        self.keep();
        self.quiet_bytes()
    }

    fn quiet_bytes(&mut self) -> &mut PageBytes {
        debug_assert!(self.quiet);
        let data = self.place.data.as_ptr().cast_mut().cast::<PageBytes>();
        // SAFETY: the page is 4096 initialised bytes of the region, which lives as long as the storage,
        // and AtomicU64 permits mutation through a shared reference. Nobody else touches them while the
        // lock is held: every access checks the zone entry after it announced itself, finds it closed
        // and stops; those that found it open are over, `quiesce` waited for them. `&mut self` keeps
        // a second view from being made through this lock, and there is only one lock.
        unsafe { &mut *data }
    }

    /// Clears the frame. One that holds nothing but zeros looks to digests as if it had been left alone.
    pub(crate) fn clear(&mut self) {
        let marks = self.touched();
        if marks & touch::NOT_ZERO != 0 {
            self.bytes_mut().fill(0);
            self.set_touched(touch::SINCE_IMPORT | touch::SINCE_DIGEST);
        } else {
            self.quiesce();
            self.set_touched(marks | touch::SINCE_IMPORT);
        }
    }

    /// Sets the lock down without giving it up: [`Storage::resume`] takes it up again.
    pub(crate) fn suspend(self) {
        core::mem::forget(self);
    }

    /// Gives the frame a new state, voids translations to it if the entry changed, waits for accesses that
    /// began under the old state, and unlocks it. A frame that is not closed changes from one state to the
    /// other without being neither: who has access before and after keeps it in between.
    pub(crate) fn commit(mut self, state: FrameState) {
        let after = ZoneEntry::new(state);
        if after != self.before {
            self.keep();
            if !self.quiet {
                self.place.keeper().zone.store(after.locked().bits(), Ordering::SeqCst);
                if after.is_secure() {
                    self.settle();
                }
                self.storage.drain(self.frame);
            }
            let generation = &self.place.keeper().generation;
            // Only who holds the lock counts, so this needs no atomic addition.
            generation.store(generation.load(Ordering::Relaxed).saturating_add(1), Ordering::Release);
            self.place.chunk.marks().zone_changed.store(true, Ordering::Relaxed);
            self.before = after;
        }
    }
}

impl Drop for FrameLock<'_> {
    fn drop(&mut self) {
        self.place.keeper().zone.store(self.before.bits(), Ordering::Release);
        // It may be opened after the lock is gone: who takes the lock next and closes the frame shuts it again.
        if !self.before.is_secure() {
            self.settle();
        }
    }
}

impl core::fmt::Debug for FrameLock<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FrameLock({:?}, {:?})", self.frame, self.before)
    }
}
