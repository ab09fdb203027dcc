//! The guest's side: accesses, and what it knows its pages to hold.

use super::{Counters, Extent, PAGE_WORDS, Touch, Touches};
use crate::paging::Resident;
use std::collections::BTreeMap;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::cpu::{GuestCpu, GuestEvent};

/// Why a stay in the guest ends early.
pub(super) enum Leave {
    Event(GuestEvent),
    Mismatch(Touch),
}

/// What changes while the guest runs.
pub(super) struct Guest<'t, T> {
    pub(super) extent: &'t Extent,
    pub(super) counters: &'t mut Counters,
    pub(super) resident: &'t mut Resident,
    pub(super) known: &'t mut Known<T>,
}

impl<T: Turn> Guest<'_, T> {
    pub(super) fn run(
        &mut self,
        cpu: &mut GuestCpu<'_, '_>,
        touches: &mut impl Touches,
        until: u64,
    ) -> Result<(), Leave> {
        while self.counters.accesses < until {
            let touch = touches.current();
            if !self.access(cpu, touch).map_err(Leave::Event)? {
                return Err(Leave::Mismatch(touch));
            }
            let later = touches.advance();
            cpu.prefetch(self.extent.address(later));
            self.known.prefetch(later);
        }
        Ok(())
    }

    /// Does one access and compares it; `false` if it did not give what the guest last stored.
    #[inline(always)]
    fn access(&mut self, cpu: &mut GuestCpu<'_, '_>, touch: Touch) -> Result<bool, GuestEvent> {
        if !self.known.seen[touch.slot] {
            self.look(cpu, touch.slot)?;
        }
        let address = self.extent.address(touch);
        let page = self.extent.first + touch.slot as u64;
        let genuine = if touch.store {
            let turn = self.known.turn(touch).next();
            cpu.store(address, &stamp(page, touch.word, turn).to_be_bytes())?;
            self.known.turns[touch.slot * PAGE_WORDS + touch.word] = turn;
            self.counters.writes += 1;
            true
        } else {
            let mut bytes = [0; 8];
            cpu.load(address, &mut bytes)?;
            self.counters.reads += 1;
            u64::from_be_bytes(bytes) == self.known.word(page, touch)
        };
        self.counters.accesses += 1;
        self.counters.mismatches += u64::from(!genuine);
        self.resident.touch(touch.slot);
        Ok(genuine)
    }

    /// Looks at what a page holds that has not been touched before.
    #[inline(never)]
    fn look(&mut self, cpu: &mut GuestCpu<'_, '_>, slot: usize) -> Result<(), GuestEvent> {
        let mut bytes = [0; PAGE_SIZE as usize];
        cpu.load(self.extent.address(Touch { slot, ..Touch::default() }), &mut bytes)?;
        self.known.see(slot, &bytes);
        Ok(())
    }
}

/// What a guest knows its pages to hold.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// The turn of the last store to each word, page by page; 0 for none.
    turns: Vec<T>,
    /// Pages that have been looked at.
    seen: Vec<bool>,
    /// What pages held at first that did not hold zeros.
    first: BTreeMap<usize, Box<[u64; PAGE_WORDS]>>,
}

impl<T: Turn> Known<T> {
    pub(super) fn new(pages: usize) -> Self {
        Self { turns: vec![T::default(); pages * PAGE_WORDS], seen: vec![false; pages], first: BTreeMap::new() }
    }

    pub(super) fn see(&mut self, slot: usize, bytes: &[u8; PAGE_SIZE as usize]) {
        self.seen[slot] = true;
        if bytes.iter().any(|&byte| byte != 0) {
            self.first.insert(slot, words(bytes));
        }
    }

    /// The pages that have been looked at.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        (0..self.seen.len()).filter(|&slot| self.seen[slot])
    }

    /// The first doubleword of a page that is not as it should be.
    pub(super) fn difference(&self, page: u64, slot: usize, bytes: &[u8; PAGE_SIZE as usize]) -> Option<usize> {
        let found = words(bytes);
        (0..PAGE_WORDS).find(|&word| found[word] != self.word(page, Touch { slot, word, store: false }))
    }

    pub(super) fn forget(&mut self, slot: usize) {
        self.seen[slot] = false;
    }

    fn turn(&self, touch: Touch) -> T {
        self.turns[touch.slot * PAGE_WORDS + touch.word]
    }

    /// Looks at what will be compared, so that it is near by then.
    fn prefetch(&self, touch: Touch) {
        std::hint::black_box(self.turn(touch));
    }

    fn word(&self, page: u64, touch: Touch) -> u64 {
        let turn = self.turn(touch);
        if turn == T::default() {
            self.first.get(&touch.slot).map_or(0, |first| first[touch.word])
        } else {
            stamp(page, touch.word, turn)
        }
    }
}

/// What a guest stores: where it stores it, and a number that changes with every store.
fn stamp<T: Turn>(page: u64, word: usize, turn: T) -> u64 {
    page << (T::BITS + 9) | (word as u64) << T::BITS | turn.into()
}

/// Numbers of stores into one doubleword, from 1; the default stands for none.
pub(crate) trait Turn: Copy + Default + PartialEq + Into<u64> + std::fmt::Debug {
    /// Bits of a number.
    const BITS: u32;

    /// The number after this one.
    fn next(self) -> Self;
}

impl Turn for u8 {
    const BITS: u32 = Self::BITS;

    #[inline(always)]
    fn next(self) -> Self {
        self % Self::MAX + 1
    }
}

impl Turn for u32 {
    const BITS: u32 = Self::BITS;

    #[inline(always)]
    fn next(self) -> Self {
        self % Self::MAX + 1
    }
}

/// A page as big-endian doublewords.
fn words(bytes: &[u8; PAGE_SIZE as usize]) -> Box<[u64; PAGE_WORDS]> {
    let mut words = Box::new([0; PAGE_WORDS]);
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = part.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}
