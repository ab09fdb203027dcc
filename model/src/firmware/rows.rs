//! The integrity table of a configuration: one row per guest page.
//!
//! A row holds the page's record, the counter of its latest encryption, and the change hash and tag that
//! belong to it. Rows come into being in groups of 256 (1 MiB) on first touch.

use super::journal::{Journal, Since};
use crate::address::{FrameNumber, PAGES_PER_MEBIBYTE, PageIndex};
use crate::crypto::{ChangeHash, Tag};
use crate::storage::arena::fetch_ahead;
use crate::storage::{Directory, Domain};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// State of a guest page, as its owner's integrity table has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PageRecord {
    /// Never imported; the first import gives zeros.
    Absent,
    /// In a secure frame.
    Resident(FrameNumber),
    /// With the host, encrypted.
    Exported,
    /// Opened to the host; without a frame after an export.
    Shared(Option<FrameNumber>),
    /// Opened to the host, which has pinned it.
    Pinned(FrameNumber),
    /// Destroyed by the host; never comes back (T55).
    Destroyed,
}

impl PageRecord {
    /// The frame that holds the page.
    #[must_use]
    pub const fn frame(self) -> Option<FrameNumber> {
        match self {
            Self::Resident(frame) | Self::Shared(Some(frame)) | Self::Pinned(frame) => Some(frame),
            Self::Absent | Self::Exported | Self::Shared(None) | Self::Destroyed => None,
        }
    }
}

const KIND: u64 = 7;
const LOCK: u64 = 8;
const VERIFIED: u64 = 16;
const FRAME_SHIFT: u32 = 8;

const ABSENT: u64 = 0;
const RESIDENT: u64 = 1;
const EXPORTED: u64 = 2;
const SHARED: u64 = 3;
const SHARED_NOWHERE: u64 = 4;
const PINNED: u64 = 5;
const DESTROYED: u64 = 6;

/// One cache line, so that a call misses once and not twice.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Row {
    word: AtomicU64,
    counter: AtomicU64,
    hash: [AtomicU64; 2],
    tag: [AtomicU64; 2],
    since: Since,
}

/// The rows of 1 MiB of guest storage.
#[derive(Debug)]
pub(crate) struct RowChunk {
    rows: [Row; PAGES_PER_MEBIBYTE as usize],
    changed: AtomicBool,
}

/// The integrity table.
#[derive(Debug)]
pub(crate) struct Rows {
    chunks: Directory<RowChunk>,
    domain: Domain,
    journal: Arc<Journal>,
    /// Era in which the table was made. Nothing of it need be kept in that one.
    made: u64,
}

/// A row as it was at the snapshot.
#[derive(Debug)]
pub(super) struct KeptRow {
    pub(super) domain: Domain,
    pub(super) page: PageIndex,
    word: u64,
    counter: u64,
    hash: [u64; 2],
    tag: [u64; 2],
}

/// What a row says, for inspection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowView {
    pub(crate) record: PageRecord,
    pub(crate) counter: u64,
    pub(crate) hash: [u64; 2],
    pub(crate) tag: [u64; 2],
    pub(crate) verified: bool,
    pub(crate) locked: bool,
}

impl Rows {
    pub(super) fn new(domain: Domain, pages: u64, journal: Arc<Journal>) -> Self {
        let chunks = Directory::new(pages.div_ceil(PAGES_PER_MEBIBYTE) as usize);
        Self { chunks, domain, made: journal.era(), journal }
    }

    /// Locks a row. `None` when another call holds it, or beyond the last page.
    pub(super) fn try_lock(&self, page: PageIndex) -> Option<RowLock<'_>> {
        let make = || Box::new(RowChunk::new());
        let chunk = self.chunks.find_or_make((page.0 / PAGES_PER_MEBIBYTE) as usize, make)?;
        let row = &chunk.rows[(page.0 % PAGES_PER_MEBIBYTE) as usize];
        let before = row.word.load(Ordering::Acquire);
        if before & LOCK != 0 {
            return None;
        }
        row.word.compare_exchange(before, before | LOCK, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(RowLock { rows: self, page, chunk, row, word: before })
    }

    /// Has the processor fetch a row that is about to be locked.
    #[inline]
    pub(super) fn fetch_ahead(&self, page: PageIndex) {
        if let Some(chunk) = self.chunks.find((page.0 / PAGES_PER_MEBIBYTE) as usize) {
            fetch_ahead(&chunk.rows[(page.0 % PAGES_PER_MEBIBYTE) as usize]);
        }
    }

    /// The row of a page as it is now.
    pub(crate) fn view(&self, page: PageIndex) -> RowView {
        match self.chunks.find((page.0 / PAGES_PER_MEBIBYTE) as usize) {
            Some(chunk) => chunk.view((page.0 % PAGES_PER_MEBIBYTE) as usize),
            None => RowChunk::new().view(0),
        }
    }

    /// Puts a row back. No call may run.
    pub(super) fn restore(&self, kept: &KeptRow) {
        let KeptRow { page, word, counter, hash, tag, .. } = *kept;
        let Some(chunk) = self.chunks.find((page.0 / PAGES_PER_MEBIBYTE) as usize) else { return };
        let row = &chunk.rows[(page.0 % PAGES_PER_MEBIBYTE) as usize];
        row.counter.store(counter, Ordering::Relaxed);
        store_pair(&row.hash, hash);
        store_pair(&row.tag, tag);
        row.word.store(word, Ordering::Release);
        chunk.changed.store(true, Ordering::Relaxed);
    }

    /// The groups of rows that exist, rising, each with its first page.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (PageIndex, &RowChunk)> {
        self.chunks.indices().into_iter().filter_map(|index| {
            self.chunks.find(index).map(|chunk| (PageIndex(index as u64 * PAGES_PER_MEBIBYTE), chunk))
        })
    }
}

impl RowChunk {
    fn new() -> Self {
        Self { rows: core::array::from_fn(|_| Row::default()), changed: AtomicBool::new(true) }
    }

    /// The rows, in order.
    pub(crate) fn views(&self) -> impl Iterator<Item = RowView> {
        (0..self.rows.len()).map(|index| self.view(index))
    }

    /// Whether a row has changed since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    fn view(&self, index: usize) -> RowView {
        let row = &self.rows[index];
        let word = row.word.load(Ordering::Acquire);
        let pair = |words: &[AtomicU64; 2]| [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
        RowView {
            record: unpack(word),
            counter: row.counter.load(Ordering::Relaxed),
            hash: pair(&row.hash),
            tag: pair(&row.tag),
            verified: word & VERIFIED != 0,
            locked: word & LOCK != 0,
        }
    }
}

/// The lock of one row. Dropped without a change, it leaves the row as it was.
#[derive(Debug)]
pub(super) struct RowLock<'a> {
    rows: &'a Rows,
    page: PageIndex,
    chunk: &'a RowChunk,
    row: &'a Row,
    word: u64,
}

impl RowLock<'_> {
    pub(super) fn record(&self) -> PageRecord {
        unpack(self.word)
    }

    /// Resident by a verified import, with no SET_SHARED since (D40). Stores leave their mark on the frame.
    pub(super) fn is_verified(&self) -> bool {
        self.word & VERIFIED != 0
    }

    pub(super) fn counter(&self) -> u64 {
        self.row.counter.load(Ordering::Relaxed)
    }

    pub(super) fn hash(&self) -> ChangeHash {
        ChangeHash::from_words(load_pair(&self.row.hash))
    }

    pub(super) fn tag(&self) -> Tag {
        Tag::from_words(load_pair(&self.row.tag))
    }

    /// Records an encryption: counter, hash of the plaintext, tag.
    pub(super) fn seal(&mut self, counter: u64, hash: Option<ChangeHash>, tag: Tag) {
        self.keep();
        self.chunk.changed.store(true, Ordering::Relaxed);
        self.row.counter.store(counter, Ordering::Relaxed);
        if let Some(hash) = hash {
            store_pair(&self.row.hash, hash.to_words());
        }
        store_pair(&self.row.tag, tag.to_words());
    }

    /// Replaces the record. Only a verified import calls it with `verified`.
    pub(super) fn set(&mut self, record: PageRecord, verified: bool) {
        let word = pack(record) | if verified { VERIFIED } else { 0 };
        if word != self.word {
            self.keep();
            self.chunk.changed.store(true, Ordering::Relaxed);
            self.word = word;
        }
    }

    /// To be called before every change.
    #[inline]
    fn keep(&self) {
        if self.rows.journal.is_due(&self.row.since) {
            self.keep_first();
        }
    }

    #[cold]
    fn keep_first(&self) {
        let journal = &self.rows.journal;
        if self.rows.made != journal.era() {
            let kept = KeptRow {
                domain: self.rows.domain,
                page: self.page,
                word: self.word,
                counter: self.counter(),
                hash: load_pair(&self.row.hash),
                tag: load_pair(&self.row.tag),
            };
            journal.note(|changed| changed.rows.push(kept));
        }
        journal.done(&self.row.since);
    }
}

impl Drop for RowLock<'_> {
    fn drop(&mut self) {
        self.row.word.store(self.word, Ordering::Release);
    }
}

fn load_pair(words: &[AtomicU64; 2]) -> [u64; 2] {
    [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)]
}

fn store_pair(words: &[AtomicU64; 2], values: [u64; 2]) {
    words[0].store(values[0], Ordering::Relaxed);
    words[1].store(values[1], Ordering::Relaxed);
}

const fn pack(record: PageRecord) -> u64 {
    match record {
        PageRecord::Absent => ABSENT,
        PageRecord::Resident(frame) => RESIDENT | frame.0 << FRAME_SHIFT,
        PageRecord::Exported => EXPORTED,
        PageRecord::Shared(Some(frame)) => SHARED | frame.0 << FRAME_SHIFT,
        PageRecord::Shared(None) => SHARED_NOWHERE,
        PageRecord::Pinned(frame) => PINNED | frame.0 << FRAME_SHIFT,
        PageRecord::Destroyed => DESTROYED,
    }
}

const fn unpack(word: u64) -> PageRecord {
    let frame = FrameNumber(word >> FRAME_SHIFT);
    match word & KIND {
        RESIDENT => PageRecord::Resident(frame),
        EXPORTED => PageRecord::Exported,
        SHARED => PageRecord::Shared(Some(frame)),
        SHARED_NOWHERE => PageRecord::Shared(None),
        PINNED => PageRecord::Pinned(frame),
        DESTROYED => PageRecord::Destroyed,
        _ => PageRecord::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_pack_and_unpack() {
        let frame = FrameNumber((1 << 32) - 1);
        for record in [
            PageRecord::Absent,
            PageRecord::Resident(frame),
            PageRecord::Exported,
            PageRecord::Shared(Some(frame)),
            PageRecord::Shared(None),
            PageRecord::Pinned(FrameNumber(0)),
            PageRecord::Destroyed,
        ] {
            assert_eq!(unpack(pack(record)), record);
            assert_eq!(unpack(pack(record) | LOCK | VERIFIED), record);
        }
    }

    #[test]
    fn a_locked_row_is_busy_and_comes_back_unchanged() {
        let rows = Rows::new(Domain(0), 300, Arc::default());
        let lock = rows.try_lock(PageIndex(299)).unwrap();
        assert!(rows.try_lock(PageIndex(299)).is_none() && rows.try_lock(PageIndex(0)).is_some());
        drop(lock);
        let mut lock = rows.try_lock(PageIndex(299)).unwrap();
        assert_eq!((lock.record(), lock.is_verified(), lock.counter()), (PageRecord::Absent, false, 0));
        lock.set(PageRecord::Resident(FrameNumber(7)), true);
        drop(lock);
        let view = rows.view(PageIndex(299));
        assert_eq!((view.record, view.verified, view.locked), (PageRecord::Resident(FrameNumber(7)), true, false));
        assert!(rows.try_lock(PageIndex(512)).is_none());
    }
}
