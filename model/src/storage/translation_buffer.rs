//! The translation buffer of one CPU.
//!
//! It holds (ASCE, page) → frame and protection, never a zone verdict (D56). Entries live until the
//! host purges them or another one takes their place, so a host that forgets to purge sees the old
//! frame, every time. A change of a frame's zone entry voids all entries that yield the frame, on all
//! CPUs: each entry remembers the frame's generation, which the change counts up.

use super::arena::{NEVER_BUFFERED, Storage};
use super::dat::{Asce, Level, Translation};
use crate::address::{AbsoluteAddress, FrameNumber, VirtualAddress};
use std::collections::HashSet;

/// Entries of a buffer (D63).
const ENTRIES: usize = 4096;
/// Entries that one page index can occupy.
const WAYS: usize = ENTRIES / 256;

/// A buffered translation, half a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct Entry {
    asce: u64,
    /// Address of the page; the low bits are properties.
    page: u64,
    leaf: u64,
    frame: u32,
    generation: u32,
}

/// Properties of an entry, in the low bits of its page.
pub(crate) mod property {
    /// A store is refused.
    pub(crate) const PROTECTED: u64 = 1;
    /// Formed through a large mapping.
    pub(crate) const LARGE: u64 = 2;
    pub(super) const EMPTY: u64 = 4;
}

/// An address space as the buffer looks it up: its ASCE, and where its entries go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Space {
    asce: Asce,
    way: u64,
}

impl Space {
    /// The space that an ASCE names.
    pub(crate) fn of(asce: Asce) -> Self {
        // Bits 12 and up of the table origin, folded and shifted to where the slot has its way.
        let folded = asce.0 >> 12 ^ asce.0 >> 14 ^ asce.0 >> 18;
        Self { asce, way: (folded & (WAYS as u64 - 1)) << 8 }
    }

    /// The ASCE.
    pub(crate) fn asce(self) -> Asce {
        self.asce
    }

    /// The low eight bits are the page index, so that IPTE finds its candidates without a search.
    #[inline(always)]
    fn slot(self, address: VirtualAddress) -> usize {
        let page = address.page();
        (page ^ page >> 4 & 0xf00 ^ self.way) as usize & (ENTRIES - 1)
    }
}

const PAGE_MASK: u64 = !0xfff;

impl Entry {
    /// The frame.
    #[inline(always)]
    pub(crate) fn frame(&self) -> FrameNumber {
        FrameNumber(u64::from(self.frame))
    }

    /// Generation of the frame when the entry was formed. Under any other the entry is void.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// A store is refused.
    #[inline(always)]
    pub(crate) fn is_protected(&self) -> bool {
        self.page & property::PROTECTED != 0
    }

    /// Formed through a large mapping.
    #[inline(always)]
    pub(crate) fn is_large(&self) -> bool {
        self.page & property::LARGE != 0
    }
}

const EMPTY: Entry = Entry { asce: 0, page: property::EMPTY, leaf: 0, frame: 0, generation: 0 };

/// What an instruction removes from the buffers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Purge {
    /// Everything.
    All,
    /// Everything formed under one ASCE.
    Space(Asce),
    /// What was formed through one page-table entry.
    Leaf(AbsoluteAddress),
    /// One page of a space.
    Page(Asce, VirtualAddress),
    /// What lies under one index of a region or segment table. Other spaces with the same index lose
    /// theirs too, which the architecture permits.
    Index(Level, u64),
}

/// What a CPU has been asked to purge and has not purged yet. It may be asked for long: one that stands still looks at
/// this only when it goes on.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    purges: Vec<Purge>,
    /// When to look for repetitions again.
    room: usize,
}

impl Asked {
    /// Adds a purge. To purge twice is to purge once, so there are at most about twice as many as there are different
    /// ones.
    pub(crate) fn add(&mut self, purge: Purge) {
        if self.purges.len() >= self.room.max(ENTRIES) {
            let mut seen = HashSet::new();
            self.purges.retain(|purge| seen.insert(*purge));
            self.room = 2 * self.purges.len();
        }
        self.purges.push(purge);
    }

    /// Takes all.
    pub(crate) fn take(&mut self) -> Vec<Purge> {
        core::mem::take(&mut self.purges)
    }
}

/// A direct-mapped translation buffer.
#[derive(Debug)]
pub(crate) struct TranslationBuffer {
    entries: Box<[Entry; ENTRIES]>,
    /// `None` before the first snapshot.
    kept: Option<Box<KeptEntries>>,
}

/// Entries that are others now than at the snapshot, as they were: a host that forgot to purge finds the same stale
/// ones after a restore, and none that was formed since.
#[derive(Debug)]
struct KeptEntries {
    /// Which slots, one bit each.
    slots: [u64; ENTRIES / 64],
    entries: Vec<(u16, Entry)>,
}

impl TranslationBuffer {
    /// An empty buffer.
    pub(crate) fn new() -> Self {
        let entries = vec![EMPTY; ENTRIES].into_boxed_slice();
        Self { entries: entries.try_into().expect("a vector of the length of the array"), kept: None }
    }

    /// Keeps what changes from now on.
    pub(crate) fn snapshot(&mut self) {
        self.kept = Some(Box::new(KeptEntries { slots: [0; ENTRIES / 64], entries: Vec::new() }));
    }

    /// Becomes what it was at the snapshot.
    pub(crate) fn restore(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        for (slot, entry) in kept.entries.drain(..) {
            self.entries[usize::from(slot)] = entry;
            kept.slots[usize::from(slot) / 64] = 0;
        }
    }

    /// The entry for an address, if there is one whose properties are all among `admitted`. It is live
    /// only if its generation is that of its frame.
    #[inline(always)]
    pub(crate) fn candidate(&self, space: Space, address: VirtualAddress, admitted: u64) -> Option<&Entry> {
        let entry = &self.entries[space.slot(address)];
        let differs = (entry.page ^ address.0 & PAGE_MASK) & !admitted | (entry.asce ^ space.asce.0);
        (differs == 0).then_some(entry)
    }

    /// The live entry for an address, if there is one.
    #[inline(always)]
    pub(crate) fn find(&self, storage: &Storage, space: Space, address: VirtualAddress) -> Option<&Entry> {
        let entry = self.candidate(space, address, property::PROTECTED | property::LARGE)?;
        (entry.generation == storage.generation(entry.frame())).then_some(entry)
    }

    /// Keeps a translation whose byte lies in `frame`.
    pub(crate) fn insert(
        &mut self,
        storage: &Storage,
        space: Space,
        address: VirtualAddress,
        found: &Translation,
        frame: FrameNumber,
    ) {
        let generation = storage.generation(frame);
        if generation == NEVER_BUFFERED {
            return;
        }
        let properties =
            if found.protected { property::PROTECTED } else { 0 } | if found.large { property::LARGE } else { 0 };
        let slot = space.slot(address);
        self.keep(slot);
        self.entries[slot] = Entry {
            asce: space.asce.0,
            page: address.0 & PAGE_MASK | properties,
            leaf: found.leaf.0,
            // At most 16 TiB of storage, so 32 bits hold every frame number.
            frame: frame.0 as u32,
            generation,
        };
    }

    /// Removes entries.
    pub(crate) fn purge(&mut self, what: Purge) {
        match what {
            Purge::All if self.kept.is_none() => self.entries.fill(EMPTY),
            Purge::All => self.remove(|_| true),
            Purge::Space(asce) => self.remove(|entry| entry.asce == asce.0),
            Purge::Leaf(leaf) => {
                let index = ((leaf.0 / 8) & 0xff) as usize;
                for slot in (0..WAYS).map(|way| way << 8 | index) {
                    if self.entries[slot].leaf == leaf.0 {
                        self.empty(slot);
                    }
                }
            }
            Purge::Page(asce, address) => {
                let slot = Space::of(asce).slot(address);
                let entry = &self.entries[slot];
                if entry.asce == asce.0 && (entry.page ^ address.0) & PAGE_MASK == 0 {
                    self.empty(slot);
                }
            }
            Purge::Index(level, index) => {
                self.remove(|entry| level.index(VirtualAddress(entry.page)) == index);
            }
        }
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        for slot in 0..ENTRIES {
            if which(&self.entries[slot]) {
                self.empty(slot);
            }
        }
    }

    fn empty(&mut self, slot: usize) {
        if self.entries[slot].page & property::EMPTY == 0 {
            self.keep(slot);
            self.entries[slot] = EMPTY;
        }
    }

    /// To be called before every change of an entry.
    fn keep(&mut self, slot: usize) {
        let Some(kept) = &mut self.kept else { return };
        let (word, bit) = (&mut kept.slots[slot / 64], 1 << (slot % 64));
        if *word & bit == 0 {
            *word |= bit;
            kept.entries.push((slot as u16, self.entries[slot]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteOrder;
    use crate::storage::{Donation, FrameState};

    const ASCE: Asce = Asce(0x1_0000);

    fn found(leaf: u64) -> Translation {
        Translation { address: 0x5000, leaf: AbsoluteAddress(leaf), absolute: false, protected: false, large: false }
    }

    fn filled() -> (Storage, TranslationBuffer) {
        let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
        let mut buffer = TranslationBuffer::new();
        buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x3000), &found(0x8018), FrameNumber(5));
        buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x4000), &found(0x8020), FrameNumber(6));
        (storage, buffer)
    }

    #[test]
    fn a_page_is_found_under_its_own_space_only() {
        let (storage, buffer) = filled();
        assert_eq!(buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x3fff)).unwrap().frame(), FrameNumber(5));
        assert!(buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x5000)).is_none());
        assert!(buffer.find(&storage, Space::of(Asce(0x2_0000)), VirtualAddress(0x3000)).is_none());
        // Differences of page and space that are the same bit must not make up for each other; the slot is the same.
        const HIGH: u64 = 1 << 30;
        assert!(buffer.find(&storage, Space::of(Asce(ASCE.0 ^ HIGH)), VirtualAddress(0x3000 ^ HIGH)).is_none());
    }

    #[test]
    fn properties_must_be_admitted() {
        let (storage, mut buffer) = filled();
        let translation = Translation { protected: true, ..found(0x8018) };
        buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x3000), &translation, FrameNumber(5));
        let at = |address, admitted| buffer.candidate(Space::of(ASCE), VirtualAddress(address), admitted).is_some();
        assert_eq!([at(0x3000, 0), at(0x3000, property::LARGE), at(0x3000, property::PROTECTED)], [false, false, true]);
        assert!(at(0x4000, 0) && !at(0x5000, property::PROTECTED | property::LARGE));
        let entry = *buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x3000)).unwrap();
        assert!(entry.is_protected() && !entry.is_large());
    }

    #[test]
    fn the_page_at_0_of_space_0_is_not_found_in_an_empty_buffer() {
        let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
        assert!(TranslationBuffer::new().find(&storage, Space::of(Asce(0)), VirtualAddress(0)).is_none());
    }

    #[test]
    fn a_zone_change_voids_the_entries_of_its_frame() {
        let (storage, buffer) = filled();
        storage.try_lock(FrameNumber(5)).unwrap().commit(FrameState::Donated(Donation::Base));
        assert!(buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x3000)).is_none());
        assert!(buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x4000)).is_some());
    }

    #[test]
    fn a_frame_at_the_end_of_its_count_is_not_buffered() {
        use crate::storage::arena::tests::set_generation;
        let (storage, mut buffer) = filled();
        for (generation, buffered) in [(NEVER_BUFFERED - 1, true), (NEVER_BUFFERED, false)] {
            buffer.purge(Purge::All);
            set_generation(&storage, FrameNumber(5), generation);
            buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x3000), &found(0x8018), FrameNumber(5));
            let hit = buffer.find(&storage, Space::of(ASCE), VirtualAddress(0x3000)).is_some();
            assert_eq!(hit, buffered, "{generation:#x}");
        }
    }

    #[test]
    fn purges_that_wait_do_not_grow_without_end() {
        let mut asked = Asked::default();
        for turn in 0..100 * ENTRIES as u64 {
            asked.add(Purge::Leaf(AbsoluteAddress(turn % 5 * 8)));
        }
        assert!(asked.purges.len() <= ENTRIES && asked.purges.capacity() <= 4 * ENTRIES);
        let different = 3 * ENTRIES as u64;
        (0..different).for_each(|leaf| asked.add(Purge::Leaf(AbsoluteAddress(leaf * 8))));
        let taken: HashSet<Purge> = asked.take().into_iter().collect();
        assert_eq!(taken.len() as u64, different);
        assert!(asked.take().is_empty());
    }

    #[test]
    fn a_restore_brings_back_what_was_there_and_nothing_else() {
        let live = |storage: &Storage, buffer: &TranslationBuffer| {
            let found = |address| buffer.find(storage, Space::of(ASCE), VirtualAddress(address)).map(Entry::frame);
            [0x3000, 0x4000, 0x5000].map(found)
        };
        let purges = [
            Purge::All,
            Purge::Space(ASCE),
            Purge::Leaf(AbsoluteAddress(0x8018)),
            Purge::Index(Level::Segment, 0),
            Purge::Page(ASCE, VirtualAddress(0x3000)),
        ];
        for purge in purges {
            let (storage, mut buffer) = filled();
            buffer.snapshot();
            let before = live(&storage, &buffer);
            for _ in 0..2 {
                buffer.purge(purge);
                buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x3000), &found(0x8018), FrameNumber(9));
                buffer.insert(&storage, Space::of(ASCE), VirtualAddress(0x5000), &found(0x8028), FrameNumber(7));
                assert_ne!(live(&storage, &buffer), before);
                buffer.restore();
                assert_eq!(live(&storage, &buffer), before, "{purge:?}");
            }
        }
    }

    #[test]
    fn purges_remove_what_they_name() {
        let live = |purge| {
            let (storage, mut buffer) = filled();
            buffer.purge(purge);
            [0x3000, 0x4000].map(|address| buffer.find(&storage, Space::of(ASCE), VirtualAddress(address)).is_some())
        };
        assert_eq!(live(Purge::Leaf(AbsoluteAddress(0x8018))), [false, true]);
        assert_eq!(live(Purge::Leaf(AbsoluteAddress(0x8820))), [true, true]);
        assert_eq!(live(Purge::Page(ASCE, VirtualAddress(0x3fff))), [false, true]);
        assert_eq!(live(Purge::Page(Asce(0x2_0000), VirtualAddress(0x3000))), [true, true]);
        assert_eq!(live(Purge::Space(ASCE)), [false, false]);
        assert_eq!(live(Purge::Space(Asce(0x2_0000))), [true, true]);
        assert_eq!(live(Purge::Index(Level::Segment, 0)), [false, false]);
        assert_eq!(live(Purge::Index(Level::Segment, 1)), [true, true]);
        assert_eq!(live(Purge::All), [false, false]);
    }
}
