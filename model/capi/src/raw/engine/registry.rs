//! Which stretches of the process's address space are host views, and of which machines.
//!
//! Signal handlers read this table, so reading takes no lock and waits for nobody. A reader counts itself in
//! before it follows a pointer and out again when it is done; who takes a window away unpublishes it first and
//! then waits for those who are counted in. Readers are in for some nanoseconds, never while host code runs. They
//! count in one of two places, and who waits sends newcomers to the other, so that a storm of faults cannot keep it
//! waiting.

#![allow(unsafe_code, reason = "windows are reached through atomic pointers; see the SAFETY comments")]

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// One host view.
#[derive(Debug)]
pub(crate) struct Window<T> {
    /// The first byte.
    pub(crate) base: usize,
    /// Bytes.
    pub(crate) size: usize,
    /// What the handler wants to know of the machine behind it.
    pub(crate) behind: T,
}

impl<T> Window<T> {
    /// Offset of `address` in the window.
    pub(crate) fn offset(&self, address: usize) -> Option<usize> {
        Some(address.wrapping_sub(self.base)).filter(|&offset| offset < self.size)
    }
}

/// A table of windows. It only grows; places of windows that are gone are used again.
#[derive(Debug)]
pub(crate) struct Registry<T: 'static> {
    first: AtomicPtr<Slot<T>>,
    changes: Mutex<()>,
}

#[derive(Debug)]
struct Slot<T> {
    /// Hints: they keep readers from counting themselves in where the address cannot lie.
    base: AtomicUsize,
    size: AtomicUsize,
    window: AtomicPtr<Window<T>>,
    readers: [AtomicU32; 2],
    /// In which of the two places readers count themselves in.
    turn: AtomicUsize,
    /// Written before the slot is published, never again.
    next: AtomicPtr<Slot<T>>,
}

/// A window's place in the table.
#[derive(Debug)]
pub(crate) struct Place<T: 'static> {
    slot: &'static Slot<T>,
}

impl<T: Send + Sync + 'static> Registry<T> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self { first: AtomicPtr::new(ptr::null_mut()), changes: Mutex::new(()) }
    }

    /// Adds a window. Nobody may know an address in it before this is over.
    pub(crate) fn enter(&self, window: Window<T>) -> Place<T> {
        let changes = self.lock();
        let slot = self.slots().find(|slot| slot.window.load(Ordering::SeqCst).is_null());
        let slot = slot.unwrap_or_else(|| self.grow(&changes));
        slot.base.store(window.base, Ordering::SeqCst);
        slot.size.store(window.size, Ordering::SeqCst);
        slot.window.store(Box::into_raw(Box::new(window)), Ordering::SeqCst);
        Place { slot }
    }

    /// Puts something else behind a window.
    pub(crate) fn replace(&self, place: &Place<T>, behind: T) {
        let _changes = self.lock();
        let (base, size) = (place.slot.base.load(Ordering::SeqCst), place.slot.size.load(Ordering::SeqCst));
        let new = Box::into_raw(Box::new(Window { base, size, behind }));
        let old = place.slot.window.swap(new, Ordering::SeqCst);
        place.slot.retire(old);
    }

    /// Takes a window away. When this is over, nobody looks behind it any more.
    pub(crate) fn leave(&self, place: Place<T>) {
        let _changes = self.lock();
        place.slot.size.store(0, Ordering::SeqCst);
        let old = place.slot.window.swap(ptr::null_mut(), Ordering::SeqCst);
        place.slot.retire(old);
    }

    /// Looks at the window that holds `address`. Callable in a signal handler if `look` is.
    pub(crate) fn at<R>(&self, address: usize, look: impl FnOnce(&Window<T>) -> R) -> Option<R> {
        let slot = self.slots().find(|slot| slot.may_hold(address))?;
        let readers = &slot.readers[slot.turn.load(Ordering::SeqCst) % 2];
        readers.fetch_add(1, Ordering::SeqCst);
        let window = slot.window.load(Ordering::SeqCst);
        // SAFETY: a non-null pointer came out of Box::into_raw. It is freed by `retire` only, which waits, after
        // the pointer is out of the slot, until each of the two counts was zero. This reader counted itself in before
        // it read the pointer; all these operations are in one order (SeqCst), so either this reader found the
        // pointer gone or `retire` finds the reader.
        let found = unsafe { window.as_ref() }.filter(|window| window.offset(address).is_some()).map(look);
        readers.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Whether none of `len` bytes from `address` on lies in a window.
    pub(crate) fn is_free(&self, address: usize, len: usize) -> bool {
        let end = address.saturating_add(len);
        self.slots().all(|slot| {
            let (base, size) = (slot.base.load(Ordering::Relaxed), slot.size.load(Ordering::Relaxed));
            size == 0 || len == 0 || end <= base || address >= base + size
        })
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot<T>> {
        let follow = |pointer: &AtomicPtr<Slot<T>>| {
            // SAFETY: slots are made by Box::leak in `grow`, published with SeqCst, and never freed.
            unsafe { pointer.load(Ordering::SeqCst).as_ref::<'static>() }
        };
        core::iter::successors(follow(&self.first), move |slot| follow(&slot.next))
    }

    fn grow(&self, _changes: &MutexGuard<'_, ()>) -> &'static Slot<T> {
        let slot = Box::leak(Box::new(Slot {
            base: AtomicUsize::new(0),
            size: AtomicUsize::new(0),
            window: AtomicPtr::new(ptr::null_mut()),
            readers: [const { AtomicU32::new(0) }; 2],
            turn: AtomicUsize::new(0),
            next: AtomicPtr::new(self.first.load(Ordering::SeqCst)),
        }));
        self.first.store(slot, Ordering::SeqCst);
        slot
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing that can panic runs under this lock.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slot<T> {
    fn may_hold(&self, address: usize) -> bool {
        address.wrapping_sub(self.base.load(Ordering::Relaxed)) < self.size.load(Ordering::Relaxed)
    }

    /// Frees a window that is no longer in the slot, once nobody can hold it.
    fn retire(&self, old: *mut Window<T>) {
        // Twice, for a reader may have found out its place before the turn changed and be counted in there after.
        for _ in 0..2 {
            let turn = self.turn.fetch_add(1, Ordering::SeqCst);
            while self.readers[turn % 2].load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
        }
        if !old.is_null() {
            // SAFETY: the pointer came out of Box::into_raw, is in no slot, and whoever read it there before has
            // counted itself out.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;
    use std::sync::Arc;

    #[test]
    fn windows_come_and_go() {
        static TABLE: Registry<u32> = Registry::new();
        let first = TABLE.enter(Window { base: 0x1000, size: 0x1000, behind: 1 });
        let second = TABLE.enter(Window { base: 0x4000, size: 0x2000, behind: 2 });
        let behind = |address| TABLE.at(address, |window| window.behind);
        assert_eq!([0xfff, 0x1000, 0x1fff, 0x2000, 0x5fff].map(behind), [None, Some(1), Some(1), None, Some(2)]);
        assert!(TABLE.is_free(0x2000, 0x2000) && !TABLE.is_free(0x2000, 0x2001) && !TABLE.is_free(0x1800, 1));
        assert!(TABLE.is_free(0x1800, 0));
        TABLE.replace(&first, 3);
        assert_eq!(behind(0x1000), Some(3));
        TABLE.leave(first);
        assert!(behind(0x1000).is_none() && TABLE.is_free(0x1000, 0x1000));
        let slots = TABLE.slots().count();
        let third = TABLE.enter(Window { base: 0x9000, size: 1, behind: 4 });
        assert_eq!((behind(0x9000), TABLE.slots().count()), (Some(4), slots));
        TABLE.leave(second);
        TABLE.leave(third);
    }

    /// What is behind a window is poisoned when it is dropped: a reader that gets in late sees it.
    struct Alive(Arc<AtomicBool>);

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    #[test]
    fn readers_never_see_what_is_gone() {
        static TABLE: Registry<Alive> = Registry::new();
        static OVER: AtomicBool = AtomicBool::new(false);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn(|| {
                    let mut seen = 0_u32;
                    while !OVER.load(Ordering::Relaxed) {
                        let alive = TABLE.at(0x7000, |window| {
                            thread::yield_now();
                            window.behind.0.load(Ordering::SeqCst)
                        });
                        assert_ne!(alive, Some(false));
                        seen += u32::from(alive.is_some());
                    }
                    seen
                })
            })
            .collect();
        let alive = || Alive(Arc::new(AtomicBool::new(true)));
        for _ in 0..2000 {
            let place = TABLE.enter(Window { base: 0x7000, size: 0x1000, behind: alive() });
            thread::yield_now();
            TABLE.replace(&place, alive());
            TABLE.leave(place);
        }
        OVER.store(true, Ordering::Relaxed);
        let seen: u32 = readers.into_iter().map(|reader| reader.join().expect("a reader saw a dropped value")).sum();
        assert!(seen > 0);
    }
}
