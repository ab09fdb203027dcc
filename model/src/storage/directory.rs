//! A sparse table: a wide array of pieces that come into being when they are first wanted.
//!
//! The directory of 16 TiB in pieces of 1 MiB is 128 MiB of address space, of which the system hands
//! out only the pages that are used. Pieces live until the directory is dropped.

#![allow(unsafe_code, reason = "pieces are reached through atomic pointers; see the SAFETY comments")]

use core::sync::atomic::{AtomicPtr, Ordering};
use parking_lot::Mutex;

/// A sparse array of `T`, found by index without locks.
pub(crate) struct Directory<T> {
    slots: Box<[AtomicPtr<T>]>,
    /// Owns the pieces, in the order in which they were made.
    pieces: Mutex<Vec<(usize, Box<T>)>>,
}

impl<T: Sync> Directory<T> {
    /// A directory of `len` empty slots.
    pub(crate) fn new(len: usize) -> Self {
        let slots = Box::<[AtomicPtr<T>]>::new_zeroed_slice(len);
        // SAFETY: an AtomicPtr has the layout of a raw pointer, whose all-zero pattern is null.
        let slots = unsafe { slots.assume_init() };
        Self { slots, pieces: Mutex::new(Vec::new()) }
    }

    /// The piece at `index`, if it exists.
    #[inline(always)]
    pub(crate) fn find(&self, index: usize) -> Option<&T> {
        let pointer = self.slots.get(index)?.load(Ordering::Acquire);
        // SAFETY: a non-null slot points to a piece that `pieces` owns until `self` is dropped; the
        // Acquire load pairs with the Release store that published it fully made.
        unsafe { pointer.as_ref() }
    }

    /// The piece at `index`, made by `make` if it is missing. `None` beyond the last slot.
    pub(crate) fn find_or_make(&self, index: usize, make: impl FnOnce() -> Box<T>) -> Option<&T> {
        if let Some(piece) = self.find(index) {
            return Some(piece);
        }
        let slot = self.slots.get(index)?;
        let mut pieces = self.pieces.lock();
        if slot.load(Ordering::Acquire).is_null() {
            let mut piece = make();
            slot.store(&raw mut *piece, Ordering::Release);
            pieces.push((index, piece));
        }
        drop(pieces);
        self.find(index)
    }

    /// Calls `visit` with every piece, in the order in which they were made.
    pub(crate) fn visit(&self, mut visit: impl FnMut(usize, &T)) {
        for &(index, _) in &*self.pieces.lock() {
            if let Some(piece) = self.find(index) {
                visit(index, piece);
            }
        }
    }

    /// The indices that exist, rising.
    pub(crate) fn indices(&self) -> Vec<usize> {
        let mut indices: Vec<usize> = self.pieces.lock().iter().map(|&(index, _)| index).collect();
        indices.sort_unstable();
        indices
    }
}

impl<T> core::fmt::Debug for Directory<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Directory({} of {})", self.pieces.lock().len(), self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn pieces_are_made_once_and_stay() {
        let directory: Directory<AtomicU32> = Directory::new(1 << 24);
        assert!(directory.find(5).is_none() && directory.find(1 << 24).is_none());
        let make = || Box::new(AtomicU32::new(7));
        directory.find_or_make(5, make).unwrap().store(9, Ordering::Relaxed);
        assert_eq!(directory.find_or_make(5, make).unwrap().load(Ordering::Relaxed), 9);
        assert!(directory.find_or_make(1 << 24, make).is_none());
        directory.find_or_make(3, make).unwrap();
        assert_eq!(directory.indices(), [3, 5]);
    }
}
