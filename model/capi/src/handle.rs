//! The handle table: handles are numbers, and what they stand for lies in slots.
//!
//! A number names a slot, a generation of that slot and a kind. The generation of a slot only rises, so a number is never
//! given out twice, and a number of an earlier generation is one that was valid once. Looking one up is two loads.

use crate::result::{Fault, UVSIM_E_DESTROYED, UVSIM_E_HANDLE, UVSIM_E_SYSTEM};
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::Mutex;

/// What a handle may stand for. The numbers are odd, which hardly any pointer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Machine = 0x5,
    Cpu = 0xb,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Cpu => "CPU",
        }
    }
}

const KIND_BITS: u32 = 4;
const SLOT_BITS: u32 = 16;
const GENERATION_SHIFT: u32 = KIND_BITS + SLOT_BITS;
const LAST_GENERATION: u64 = u64::MAX >> GENERATION_SHIFT;
const LIVE: u64 = 1;

/// Slots of one kind. What lies in a slot takes care of itself: other threads may look at it at any time.
pub(crate) struct Table<T, const N: usize> {
    kind: Kind,
    slots: [Slot<T>; N],
    free: Mutex<Free>,
}

pub(crate) struct Slot<T> {
    /// The latest generation, and whether it lives.
    word: AtomicU64,
    content: T,
}

/// Slots that nobody uses.
struct Free {
    returned: Vec<usize>,
    /// None from here on was ever used.
    unused: usize,
}

/// A slot that is nobody else's, and has no handle yet.
pub(crate) struct Claim<'t, T, const N: usize> {
    table: &'t Table<T, N>,
    index: usize,
    opened: bool,
}

impl<T> Slot<T> {
    pub(crate) const fn new(content: T) -> Self {
        Self { word: AtomicU64::new(0), content }
    }
}

impl<T, const N: usize> Table<T, N> {
    pub(crate) const fn new(kind: Kind, slots: [Slot<T>; N]) -> Self {
        const { assert!(N <= 1 << SLOT_BITS) };
        Self { kind, slots, free: Mutex::new(Free { returned: Vec::new(), unused: 0 }) }
    }

    /// What lies in the slot of a live handle. Another thread may end its life at any time.
    #[inline]
    pub(crate) fn find(&self, number: u64) -> Result<&T, Fault> {
        let index = (number >> KIND_BITS) as usize & ((1 << SLOT_BITS) - 1);
        if number & ((1 << KIND_BITS) - 1) == self.kind as u64
            && let Some(slot) = self.slots.get(index)
            && slot.word.load(Ordering::Acquire) == number >> GENERATION_SHIFT << 1 | LIVE
        {
            return Ok(&slot.content);
        }
        Err(self.refusal(number))
    }

    /// A slot for something new.
    pub(crate) fn claim(&self) -> Result<Claim<'_, T, N>, Fault> {
        let mut free = self.free.lock();
        let index = match free.returned.pop() {
            Some(index) => index,
            None if free.unused < N => {
                free.unused += 1;
                free.unused - 1
            }
            None => return Err(Fault::new(UVSIM_E_SYSTEM, format!("there are {N} {}s already", self.kind.name()))),
        };
        Ok(Claim { table: self, index, opened: false })
    }

    /// Ends the life of a handle. `false` if another thread has done so before.
    pub(crate) fn close(&self, number: u64) -> bool {
        let index = (number >> KIND_BITS) as usize & ((1 << SLOT_BITS) - 1);
        let Some(slot) = self.slots.get(index) else { return false };
        let word = number >> GENERATION_SHIFT << 1;
        slot.word.compare_exchange(word | LIVE, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Lets a slot be used again, once its handle is closed and its content gone. One without a further generation
    /// is not.
    pub(crate) fn give_back(&self, number: u64) {
        let index = (number >> KIND_BITS) as usize & ((1 << SLOT_BITS) - 1);
        if number >> GENERATION_SHIFT < LAST_GENERATION {
            self.free.lock().returned.push(index);
        }
    }

    /// Why a number is not a live handle of this table.
    #[cold]
    fn refusal(&self, number: u64) -> Fault {
        let wanted = self.kind.name();
        if number == 0 {
            return Fault::null("the handle");
        }
        let (kind, rest) = (number & ((1 << KIND_BITS) - 1), number >> KIND_BITS);
        let (index, generation) = (rest as usize & ((1 << SLOT_BITS) - 1), number >> GENERATION_SHIFT);
        if kind != self.kind as u64 {
            let other = [Kind::Machine, Kind::Cpu].into_iter().find(|other| *other as u64 == kind);
            let detail = match other {
                Some(other) => {
                    format!("{number:#x} is no handle of a {wanted}; it looks like one of a {}", other.name())
                }
                None => format!("{number:#x} is no handle"),
            };
            return Fault::new(UVSIM_E_HANDLE, detail);
        }
        let latest = self.slots.get(index).map_or(0, |slot| slot.word.load(Ordering::Acquire) >> 1);
        if generation == 0 || generation > latest {
            return Fault::new(UVSIM_E_HANDLE, format!("{number:#x} was never given out as a handle"));
        }
        Fault::new(UVSIM_E_DESTROYED, format!("the {wanted} behind handle {number:#x} is gone"))
    }
}

impl<T, const N: usize> Claim<'_, T, N> {
    /// The number that the handle is going to have.
    pub(crate) fn number(&self) -> u64 {
        let generation = (self.slot().word.load(Ordering::Relaxed) >> 1) + 1;
        generation << GENERATION_SHIFT | (self.index as u64) << KIND_BITS | self.table.kind as u64
    }

    pub(crate) fn content(&self) -> &T {
        &self.slot().content
    }

    /// From now on the handle lives.
    pub(crate) fn open(mut self) -> u64 {
        let number = self.number();
        self.opened = true;
        self.slot().word.store(number >> GENERATION_SHIFT << 1 | LIVE, Ordering::Release);
        number
    }

    fn slot(&self) -> &Slot<T> {
        &self.table.slots[self.index]
    }
}

impl<T, const N: usize> Drop for Claim<'_, T, N> {
    fn drop(&mut self) {
        if !self.opened {
            self.table.free.lock().returned.push(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::UVSIM_E_NULL;

    fn table() -> Table<u8, 2> {
        Table::new(Kind::Cpu, [Slot::new(7), Slot::new(8)])
    }

    fn code(result: Result<&u8, Fault>) -> i32 {
        result.map_or_else(|fault| fault.code, |_| 0)
    }

    #[test]
    fn numbers_are_valid_from_open_to_close_and_never_again() {
        let table = table();
        let claim = table.claim().unwrap();
        let number = claim.number();
        assert_eq!(code(table.find(number)), UVSIM_E_HANDLE);
        assert_eq!(claim.open(), number);
        assert_eq!(table.find(number).unwrap(), &7);
        assert!(table.close(number));
        assert!(!table.close(number));
        assert_eq!(code(table.find(number)), UVSIM_E_DESTROYED);
        table.give_back(number);
        let next = table.claim().unwrap().open();
        assert_ne!(next, number);
        assert_eq!((code(table.find(next)), code(table.find(number))), (0, UVSIM_E_DESTROYED));
    }

    #[test]
    fn forged_numbers_are_told_from_those_of_the_past() {
        let table = table();
        let number = table.claim().unwrap().open();
        for forged in [number + (1 << GENERATION_SHIFT), number + (1 << KIND_BITS), number | 0xffff << KIND_BITS, 1, !0]
        {
            assert_eq!(code(table.find(forged)), UVSIM_E_HANDLE, "{forged:#x}");
        }
        assert_eq!(code(table.find(number ^ Kind::Cpu as u64 ^ Kind::Machine as u64)), UVSIM_E_HANDLE);
        assert_eq!(code(table.find(0)), UVSIM_E_NULL);
        assert_eq!(code(table.find(number)), 0);
    }

    #[test]
    fn a_full_table_says_so_and_a_claim_that_comes_to_nothing_is_returned() {
        let table = table();
        let first = table.claim().unwrap().open();
        drop(table.claim().unwrap());
        let _second = table.claim().unwrap().open();
        assert_eq!(table.claim().map(|_| ()).unwrap_err().code, UVSIM_E_SYSTEM);
        assert!(table.close(first));
        table.give_back(first);
        assert!(table.claim().is_ok());
    }
}
