//! The translation buffer of one CPU.
//!
//! It holds (ASCE, page) → frame and protection, never a zone verdict (D56). Entries live until the
//! host purges them or another one takes their place, so a host that forgets to purge sees the old
//! frame, every time. A change of a frame's zone entry voids all entries that yield the frame, on all
//! CPUs: each entry remembers the frame's generation, which the change counts up.

use super::arena::Storage;
use super::dat::{Asce, Level, Translation};
use crate::address::{AbsoluteAddress, FrameNumber, VirtualAddress};

/// Entries of a buffer (D63).
const ENTRIES: usize = 4096;
/// Entries that one page index can occupy.
const WAYS: usize = ENTRIES / 256;

/// A buffered translation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    asce: u64,
    page: u64,
    leaf: u64,
    frame: u32,
    generation: u32,
    /// A store is refused.
    pub(crate) protected: bool,
    /// Formed through a large mapping.
    pub(crate) large: bool,
}

impl Entry {
    /// The frame.
    #[inline(always)]
    pub(crate) fn frame(&self) -> FrameNumber {
        FrameNumber(u64::from(self.frame))
    }
}

const EMPTY: Entry =
    Entry { asce: 0, page: u64::MAX, leaf: 0, frame: 0, generation: 0, protected: false, large: false };

/// What an instruction removes from the buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purge {
    /// Everything.
    All,
    /// Everything formed under one ASCE.
    Space(Asce),
    /// What was formed through one page-table entry.
    Leaf(AbsoluteAddress),
    /// What lies under one index of a region or segment table. Other spaces with the same index lose
    /// theirs too, which the architecture permits.
    Index(Level, u64),
}

/// A direct-mapped translation buffer.
#[derive(Debug)]
pub(crate) struct TranslationBuffer {
    entries: Box<[Entry]>,
    epoch: u64,
}

impl TranslationBuffer {
    /// An empty buffer.
    pub(crate) fn new() -> Self {
        Self { entries: vec![EMPTY; ENTRIES].into_boxed_slice(), epoch: 0 }
    }

    /// The live entry for an address, if there is one.
    #[inline(always)]
    pub(crate) fn find(&self, storage: &Storage, asce: Asce, address: VirtualAddress) -> Option<&Entry> {
        let page = address.page();
        let entry = &self.entries[slot(asce, page)];
        let live = entry.page == page
            && entry.asce == asce.0
            && entry.generation == storage.generation(entry.frame())
            && self.epoch == storage.epoch();
        live.then_some(entry)
    }

    /// Keeps a translation whose byte lies in `frame`.
    pub(crate) fn insert(
        &mut self,
        storage: &Storage,
        asce: Asce,
        address: VirtualAddress,
        found: &Translation,
        frame: FrameNumber,
    ) -> Entry {
        if self.epoch != storage.epoch() {
            self.purge(Purge::All);
            self.epoch = storage.epoch();
        }
        let page = address.page();
        let entry = Entry {
            asce: asce.0,
            page,
            leaf: found.leaf.0,
            // At most 16 TiB of storage, so 32 bits hold every frame number.
            frame: frame.0 as u32,
            generation: storage.generation(frame),
            protected: found.protected,
            large: found.large,
        };
        self.entries[slot(asce, page)] = entry;
        entry
    }

    /// Removes entries.
    pub(crate) fn purge(&mut self, what: Purge) {
        match what {
            Purge::All => self.entries.fill(EMPTY),
            Purge::Space(asce) => self.remove(|entry| entry.asce == asce.0),
            Purge::Leaf(leaf) => {
                let index = ((leaf.0 / 8) & 0xff) as usize;
                for way in 0..WAYS {
                    let entry = &mut self.entries[way << 8 | index];
                    if entry.leaf == leaf.0 {
                        *entry = EMPTY;
                    }
                }
            }
            Purge::Index(level, index) => {
                self.remove(|entry| level.index(VirtualAddress(entry.page.wrapping_mul(4096))) == index);
            }
        }
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        for entry in &mut self.entries {
            if which(entry) {
                *entry = EMPTY;
            }
        }
    }
}

/// The low eight bits are the page index, so that IPTE finds its candidates without a search.
#[inline(always)]
fn slot(asce: Asce, page: u64) -> usize {
    let space = asce.0 >> 12 ^ asce.0 >> 14 ^ asce.0 >> 18;
    let way = (page >> 8 ^ page >> 12 ^ space) as usize & (WAYS - 1);
    way << 8 | (page & 0xff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteOrder;
    use crate::storage::{Donation, FrameState};

    const SPACE: Asce = Asce(0x1_0000);

    fn found(leaf: u64) -> Translation {
        Translation { address: 0x5000, leaf: AbsoluteAddress(leaf), protected: false, large: false }
    }

    fn filled() -> (Storage, TranslationBuffer) {
        let storage = Storage::new(1 << 20, 1, ByteOrder::Big);
        let mut buffer = TranslationBuffer::new();
        buffer.insert(&storage, SPACE, VirtualAddress(0x3000), &found(0x8018), FrameNumber(5));
        buffer.insert(&storage, SPACE, VirtualAddress(0x4000), &found(0x8020), FrameNumber(6));
        (storage, buffer)
    }

    #[test]
    fn a_page_is_found_under_its_own_space_only() {
        let (storage, buffer) = filled();
        assert_eq!(buffer.find(&storage, SPACE, VirtualAddress(0x3fff)).unwrap().frame(), FrameNumber(5));
        assert!(buffer.find(&storage, SPACE, VirtualAddress(0x5000)).is_none());
        assert!(buffer.find(&storage, Asce(0x2_0000), VirtualAddress(0x3000)).is_none());
    }

    #[test]
    fn a_zone_change_voids_the_entries_of_its_frame() {
        let (storage, buffer) = filled();
        storage.try_lock(FrameNumber(5)).unwrap().commit(FrameState::Donated(Donation::Base));
        assert!(buffer.find(&storage, SPACE, VirtualAddress(0x3000)).is_none());
        assert!(buffer.find(&storage, SPACE, VirtualAddress(0x4000)).is_some());
    }

    #[test]
    fn purges_remove_what_they_name() {
        let live = |purge| {
            let (storage, mut buffer) = filled();
            buffer.purge(purge);
            [0x3000, 0x4000].map(|address| buffer.find(&storage, SPACE, VirtualAddress(address)).is_some())
        };
        assert_eq!(live(Purge::Leaf(AbsoluteAddress(0x8018))), [false, true]);
        assert_eq!(live(Purge::Leaf(AbsoluteAddress(0x8820))), [true, true]);
        assert_eq!(live(Purge::Space(SPACE)), [false, false]);
        assert_eq!(live(Purge::Space(Asce(0x2_0000))), [true, true]);
        assert_eq!(live(Purge::Index(Level::Segment, 0)), [false, false]);
        assert_eq!(live(Purge::Index(Level::Segment, 1)), [true, true]);
        assert_eq!(live(Purge::All), [false, false]);
    }
}
