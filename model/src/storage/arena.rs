//! Absolute storage, sparse: 1 MiB chunks of frames with their zone entries, made on first touch.
//!
//! This file and `directory.rs` hold the only `unsafe` of the model. Bytes that two requestors may
//! touch at once are read and written as relaxed atomics; plain bytes exist only under a
//! [`FrameLock`], which shuts everybody else out.

#![allow(unsafe_code, reason = "plain bytes of a locked frame; see the SAFETY comments")]

use super::barrier;
use super::directory::{Directory, Piece};
use super::zone::{FrameState, ZoneEntry};
use crate::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE};
use crate::config::ByteOrder;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

const FRAMES: usize = 256;
const WORDS: usize = 512;

/// A page of plain bytes.
pub(crate) type PageBytes = [u8; PAGE_SIZE as usize];

/// Bits of the touch mark that every store leaves on its frame.
pub(crate) mod touch {
    /// Stored to since the page became resident by a verified import (D40).
    pub(crate) const SINCE_IMPORT: u8 = 1;
    /// Changed since a digest last looked.
    pub(crate) const SINCE_DIGEST: u8 = 2;
    /// May hold something other than zeros.
    pub(crate) const NOT_ZERO: u8 = 4;
    /// What a store sets.
    pub(crate) const ALL: u8 = SINCE_IMPORT | SINCE_DIGEST | NOT_ZERO;
}

/// One MiB of storage with what the hardware keeps beside it. All-zero bytes are a valid chunk.
#[repr(C)]
pub(crate) struct Chunk {
    zone: [AtomicU64; FRAMES],
    generation: [AtomicU32; FRAMES],
    touched: [AtomicU8; FRAMES],
    zone_changed: AtomicBool,
    /// Some frame has [`touch::SINCE_DIGEST`].
    any_touched: AtomicBool,
    fill: [u8; 766],
    data: [[AtomicU64; WORDS]; FRAMES],
}

const _: () = assert!(size_of::<Chunk>() == MEBIBYTE as usize + PAGE_SIZE as usize);

/// Absolute storage and its zone-security table.
#[derive(Debug)]
pub(crate) struct Storage {
    size: u64,
    order: ByteOrder,
    chunks: Directory<Chunk>,
    /// The frame that each requestor is accessing, plus one; 0 for none (D33).
    in_flight: Box<[InFlight]>,
    /// Requestors run on more than one thread.
    concurrent: AtomicBool,
    /// Counts up when a generation wraps: all translation buffers are void then.
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct InFlight(AtomicU64);

/// Number of a requestor: a host CPU, or the channel subsystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestorNumber(pub(crate) u16);

/// The access goes beyond the end of storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutsideStorage;

impl Storage {
    /// Storage of `size` bytes (a multiple of 1 MiB) for `requestors` requestors.
    pub(crate) fn new(size: u64, requestors: u16, order: ByteOrder) -> Self {
        barrier::prepare();
        Self {
            size,
            order,
            chunks: Directory::new((size / MEBIBYTE) as usize),
            in_flight: (0..requestors).map(|_| InFlight::default()).collect(),
            concurrent: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
        }
    }

    /// Bytes of storage.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether `len` bytes from `address` on lie in storage.
    pub(crate) fn contains(&self, address: AbsoluteAddress, len: u64) -> bool {
        address.0.checked_add(len).is_some_and(|end| end <= self.size)
    }

    /// The live zone entry of a frame.
    #[inline(always)]
    pub(crate) fn zone(&self, frame: FrameNumber) -> ZoneEntry {
        match self.chunk(frame) {
            Some((chunk, index)) => ZoneEntry::from_bits(chunk.zone[index].load(Ordering::Acquire)),
            None => ZoneEntry::NON_SECURE,
        }
    }

    /// How often the entry of this frame has changed. A translation buffer entry that was formed
    /// under another generation is void (D56).
    #[inline(always)]
    pub(crate) fn generation(&self, frame: FrameNumber) -> u32 {
        self.chunk(frame).map_or(0, |(chunk, index)| chunk.generation[index].load(Ordering::Acquire))
    }

    /// See [`Storage::generation`]: a change voids every entry of every buffer.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Tells whether requestors run on more than one thread from now on.
    pub(crate) fn set_concurrent(&self, concurrent: bool) {
        self.concurrent.store(concurrent, Ordering::SeqCst);
        if concurrent {
            barrier::heavy();
        }
    }

    /// Begins an access to `frame`: from here until the guard is dropped, no change of the frame's
    /// entry completes. The entry must be read after this call.
    #[inline(always)]
    pub(crate) fn begin(&self, requestor: RequestorNumber, frame: FrameNumber) -> Access<'_> {
        let slot = &self.in_flight[usize::from(requestor.0)].0;
        slot.store(frame.0 + 1, Ordering::Relaxed);
        barrier::light();
        Access { slot, storage: self, frame }
    }

    /// Takes the lock of a frame, which shuts out other calls. `None` when it is taken, or outside storage.
    pub(crate) fn try_lock(&self, frame: FrameNumber) -> Option<FrameLock<'_>> {
        let (chunk, index) = self.chunk_or_make(frame)?;
        let before = ZoneEntry::from_bits(chunk.zone[index].load(Ordering::Acquire));
        if before.is_locked() {
            return None;
        }
        chunk.zone[index]
            .compare_exchange(before.bits(), before.locked().bits(), Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        Some(FrameLock { storage: self, chunk, index, frame, before, quiet: false })
    }

    /// Takes up a lock that was set down by [`FrameLock::suspend`]. The caller vouches that it holds
    /// the lock of this frame, and has called [`Storage::drain_all`] if it has closed it.
    pub(crate) fn resume(&self, frame: FrameNumber) -> FrameLock<'_> {
        let (chunk, index) = self.chunk(frame).expect("a suspended lock is that of a frame in storage");
        let locked = ZoneEntry::from_bits(chunk.zone[index].load(Ordering::Acquire));
        assert!(locked.is_locked(), "{frame:?} is not locked");
        FrameLock { storage: self, chunk, index, frame, before: locked.unlocked(), quiet: locked.is_closed() }
    }

    /// Waits until every access that has begun by now is over.
    pub(crate) fn drain_all(&self) {
        if !self.concurrent.load(Ordering::SeqCst) {
            return;
        }
        barrier::heavy();
        for slot in &self.in_flight {
            let seen = slot.0.load(Ordering::Acquire);
            while seen != 0 && slot.0.load(Ordering::Acquire) == seen {
                core::hint::spin_loop();
            }
        }
    }

    /// Copies `bytes.len()` bytes out, without any check of access.
    pub(crate) fn load(&self, address: AbsoluteAddress, bytes: &mut [u8]) -> Result<(), OutsideStorage> {
        if !self.contains(address, bytes.len() as u64) {
            return Err(OutsideStorage);
        }
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(PAGE_SIZE as usize - at.offset());
            let (part, tail) = rest.split_at_mut(len);
            match self.chunk(at.frame()) {
                Some((chunk, index)) => copy_out(&chunk.data[index], at.offset(), part),
                None => part.fill(0),
            }
            at = AbsoluteAddress(at.0 + len as u64);
            rest = tail;
        }
        Ok(())
    }

    /// Copies `bytes` in, without any check of access.
    #[cfg(test)]
    pub(crate) fn store(&self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), OutsideStorage> {
        if !self.contains(address, bytes.len() as u64) {
            return Err(OutsideStorage);
        }
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(PAGE_SIZE as usize - at.offset());
            let (part, tail) = rest.split_at(len);
            let (chunk, index) = self.chunk_or_make(at.frame()).ok_or(OutsideStorage)?;
            chunk.mark(index, touch::ALL);
            copy_in(&chunk.data[index], at.offset(), part);
            at = AbsoluteAddress(at.0 + len as u64);
            rest = tail;
        }
        Ok(())
    }

    /// Byte order of the structures in storage.
    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    /// A doubleword in the machine's byte order, without any check of access.
    #[cfg(test)]
    pub(crate) fn load_u64(&self, address: AbsoluteAddress) -> Result<u64, OutsideStorage> {
        let mut bytes = [0; 8];
        self.load(address, &mut bytes)?;
        Ok(self.order.u64(bytes))
    }

    /// Stores a doubleword in the machine's byte order, without any check of access.
    #[cfg(test)]
    pub(crate) fn store_u64(&self, address: AbsoluteAddress, value: u64) -> Result<(), OutsideStorage> {
        self.store(address, &self.order.u64_bytes(value))
    }

    /// Calls `visit` with every chunk that exists, in the order in which they came into being, which never
    /// changes.
    pub(crate) fn visit_chunks(&self, mut visit: impl FnMut(FrameNumber, &Chunk)) {
        self.chunks.visit(|index, chunk| visit(FrameNumber((index * FRAMES) as u64), chunk));
    }

    /// The chunks that exist, rising.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (FrameNumber, &Chunk)> {
        self.chunks
            .indices()
            .into_iter()
            .filter_map(|index| self.chunks.find(index).map(|chunk| (FrameNumber((index * FRAMES) as u64), chunk)))
    }

    /// Every frame of a chunk that exists, rising.
    pub(crate) fn frames_in_use(&self) -> impl Iterator<Item = FrameNumber> {
        self.chunks.indices().into_iter().flat_map(|index| {
            let first = (index * FRAMES) as u64;
            (first..first + FRAMES as u64).map(FrameNumber)
        })
    }

    #[inline(always)]
    fn chunk(&self, frame: FrameNumber) -> Option<(&Chunk, usize)> {
        let chunk = self.chunks.find((frame.0 / FRAMES as u64) as usize)?;
        Some((chunk, (frame.0 % FRAMES as u64) as usize))
    }

    fn chunk_or_make(&self, frame: FrameNumber) -> Option<(&Chunk, usize)> {
        let chunk = self.chunks.find_or_make((frame.0 / FRAMES as u64) as usize, make_chunk)?;
        Some((chunk, (frame.0 % FRAMES as u64) as usize))
    }

    /// Waits until no requestor is in an access to `frame` that began before the frame was marked.
    fn drain(&self, frame: FrameNumber) {
        if !self.concurrent.load(Ordering::SeqCst) {
            return;
        }
        barrier::heavy();
        for slot in &self.in_flight {
            while slot.0.load(Ordering::Acquire) == frame.0 + 1 {
                core::hint::spin_loop();
            }
        }
    }
}

fn make_chunk() -> Piece<Chunk> {
    match memmap2::MmapMut::map_anon(size_of::<Chunk>()) {
        Ok(mapping) => Piece::Mapped(mapping),
        // The system refuses more mappings; the heap may still have room.
        Err(_) => {
            let chunk = Box::<Chunk>::new_zeroed();
            // SAFETY: a chunk is made of integers and booleans, all valid when zero.
            Piece::Boxed(unsafe { chunk.assume_init() })
        }
    }
}

/// An access in progress.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    slot: &'a AtomicU64,
    storage: &'a Storage,
    frame: FrameNumber,
}

impl Access<'_> {
    /// The zone entry to be checked.
    #[inline(always)]
    pub(crate) fn zone(&self) -> ZoneEntry {
        self.storage.zone(self.frame)
    }

    /// Copies bytes of the frame out. `offset + bytes.len()` must not pass its end.
    #[inline(always)]
    pub(crate) fn load(&self, offset: usize, bytes: &mut [u8]) {
        match self.storage.chunk(self.frame) {
            Some((chunk, index)) => copy_out(&chunk.data[index], offset, bytes),
            None => bytes.fill(0),
        }
    }

    /// Copies bytes into the frame. `offset + bytes.len()` must not pass its end.
    #[inline(always)]
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        if let Some((chunk, index)) = self.storage.chunk(self.frame) {
            chunk.mark(index, touch::ALL);
            copy_in(&chunk.data[index], offset, bytes);
        } else {
            self.store_first(offset, bytes);
        }
    }

    #[cold]
    fn store_first(&self, offset: usize, bytes: &[u8]) {
        if let Some((chunk, index)) = self.storage.chunk_or_make(self.frame) {
            chunk.mark(index, touch::ALL);
            copy_in(&chunk.data[index], offset, bytes);
        }
    }
}

impl Drop for Access<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.store(0, Ordering::Release);
    }
}

/// The lock of one frame. Closed to everybody, state \[T\], from the moment its holder turns to the bytes
/// or their marks. Dropped without [`FrameLock::commit`], it leaves the frame as it was.
pub(crate) struct FrameLock<'a> {
    storage: &'a Storage,
    chunk: &'a Chunk,
    index: usize,
    frame: FrameNumber,
    before: ZoneEntry,
    quiet: bool,
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
        self.chunk.touched[self.index].load(Ordering::Relaxed)
    }

    /// Replaces the touch marks.
    pub(crate) fn set_touched(&self, marks: u8) {
        if marks & touch::SINCE_DIGEST != 0 {
            self.chunk.mark(self.index, marks);
        } else {
            self.chunk.touched[self.index].store(marks, Ordering::Relaxed);
        }
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
        self.chunk.zone[self.index].store(self.before.closed().bits(), Ordering::SeqCst);
    }

    /// The bytes of the frame, for reading.
    pub(crate) fn bytes(&mut self) -> &PageBytes {
        self.bytes_mut()
    }

    /// The bytes of the frame. The caller says by [`FrameLock::set_touched`] what it did to them.
    pub(crate) fn bytes_mut(&mut self) -> &mut PageBytes {
        self.quiesce();
        let data = self.chunk.data[self.index].as_ptr().cast_mut().cast::<PageBytes>();
        // SAFETY: the page is 4096 initialised bytes inside a chunk that lives as long as the storage,
        // and AtomicU64 permits mutation through a shared reference. Nobody else touches them while the
        // lock is held: every access checks the zone entry after it announced itself, finds it closed
        // and stops; those that found it open are over, `quiesce` waited for them. `&mut self` keeps
        // a second view from being made through this lock, and there is only one lock.
        unsafe { &mut *data }
    }

    /// Clears the frame.
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
            if !self.quiet {
                self.chunk.zone[self.index].store(after.locked().bits(), Ordering::SeqCst);
                self.storage.drain(self.frame);
            }
            if self.chunk.generation[self.index].fetch_add(1, Ordering::AcqRel) == u32::MAX {
                self.storage.epoch.fetch_add(1, Ordering::AcqRel);
            }
            self.chunk.zone_changed.store(true, Ordering::Relaxed);
            self.before = after;
        }
    }
}

impl Drop for FrameLock<'_> {
    fn drop(&mut self) {
        self.chunk.zone[self.index].store(self.before.bits(), Ordering::Release);
    }
}

impl core::fmt::Debug for FrameLock<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FrameLock({:?}, {:?})", self.frame, self.before)
    }
}

impl Chunk {
    /// The states of the frames, in order.
    pub(crate) fn zone_entries(&self) -> impl Iterator<Item = ZoneEntry> {
        self.zone.iter().map(|entry| ZoneEntry::from_bits(entry.load(Ordering::Acquire)))
    }

    /// Leaves the mark of a store, or of whatever else the Ultravisor did to a frame.
    #[inline(always)]
    fn mark(&self, index: usize, marks: u8) {
        self.touched[index].store(marks, Ordering::Relaxed);
        self.any_touched.store(true, Ordering::Relaxed);
    }

    /// Whether a zone entry has changed since the last call.
    pub(crate) fn take_zone_changed(&self) -> bool {
        self.zone_changed.load(Ordering::Relaxed) && self.zone_changed.swap(false, Ordering::AcqRel)
    }

    /// Calls `visit` with the index of every frame that was stored to since it was last visited.
    pub(crate) fn visit_touched(&self, mut visit: impl FnMut(usize)) {
        if !self.any_touched.load(Ordering::Relaxed) || !self.any_touched.swap(false, Ordering::AcqRel) {
            return;
        }
        for (index, mark) in self.touched.iter().enumerate() {
            if mark.load(Ordering::Relaxed) & touch::SINCE_DIGEST != 0 {
                mark.fetch_and(!touch::SINCE_DIGEST, Ordering::AcqRel);
                visit(index);
            }
        }
    }

    /// Copies frame `index` out.
    pub(crate) fn copy_frame(&self, index: usize, bytes: &mut PageBytes) {
        copy_out(&self.data[index], 0, bytes);
    }
}

impl core::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chunk").field("fill", &self.fill.len()).finish_non_exhaustive()
    }
}

#[inline(always)]
fn copy_out(page: &[AtomicU64; WORDS], offset: usize, bytes: &mut [u8]) {
    if let (Ok(bytes), 0) = (<&mut [u8; 8]>::try_from(&mut *bytes), offset % 8)
        && let Some(word) = page.get(offset / 8)
    {
        *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        return;
    }
    copy_out_any(page, offset, bytes);
}

fn copy_out_any(page: &[AtomicU64; WORDS], offset: usize, bytes: &mut [u8]) {
    let (head, rest) = bytes.split_at_mut(bytes.len().min(offset.wrapping_neg() % 8));
    if !head.is_empty() {
        let word = page[offset / 8].load(Ordering::Relaxed).to_ne_bytes();
        head.copy_from_slice(&word[offset % 8..][..head.len()]);
    }
    let first = (offset + head.len()) / 8;
    let mut parts = rest.chunks_exact_mut(8);
    let whole = parts.len();
    for (part, word) in parts.by_ref().zip(&page[first.min(WORDS)..]) {
        part.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    let tail = parts.into_remainder();
    if !tail.is_empty() {
        let word = page[first + whole].load(Ordering::Relaxed).to_ne_bytes();
        tail.copy_from_slice(&word[..tail.len()]);
    }
}

#[inline(always)]
fn copy_in(page: &[AtomicU64; WORDS], offset: usize, bytes: &[u8]) {
    if let (Ok(bytes), 0) = (<&[u8; 8]>::try_from(bytes), offset % 8)
        && let Some(word) = page.get(offset / 8)
    {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        return;
    }
    copy_in_any(page, offset, bytes);
}

fn copy_in_any(page: &[AtomicU64; WORDS], offset: usize, bytes: &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(offset.wrapping_neg() % 8));
    if !head.is_empty() {
        merge(&page[offset / 8], offset % 8, head);
    }
    let first = (offset + head.len()) / 8;
    let parts = rest.chunks_exact(8);
    let (whole, tail) = (parts.len(), parts.remainder());
    for (part, word) in parts.zip(&page[first.min(WORDS)..]) {
        if let Ok(part) = <[u8; 8]>::try_from(part) {
            word.store(u64::from_ne_bytes(part), Ordering::Relaxed);
        }
    }
    if !tail.is_empty() {
        merge(&page[first + whole], 0, tail);
    }
}

/// Stores a few bytes of a word, keeping what others store into its other bytes at the same time.
fn merge(word: &AtomicU64, at: usize, bytes: &[u8]) {
    let merged = |old: u64| {
        let mut image = old.to_ne_bytes();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Some(u64::from_ne_bytes(image))
    };
    // The closure never gives up, so neither does the update.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merged);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PageIndex;
    use crate::storage::zone::Domain;
    use proptest::prelude::*;

    #[test]
    fn untouched_storage_reads_zero_and_costs_nothing() {
        let storage = Storage::new(16 << 40, 1, ByteOrder::Big);
        let mut bytes = [1; 64];
        storage.load(AbsoluteAddress((16 << 40) - 64), &mut bytes).unwrap();
        assert_eq!(bytes, [0; 64]);
        assert_eq!(storage.load(AbsoluteAddress((16 << 40) - 63), &mut bytes), Err(OutsideStorage));
        assert_eq!(storage.store(AbsoluteAddress(u64::MAX), &bytes), Err(OutsideStorage));
        assert_eq!(storage.chunks().count(), 0);
    }

    proptest! {
        #[test]
        fn copies_agree_with_a_plain_array(
            writes in prop::collection::vec((0usize..9000, prop::collection::vec(any::<u8>(), 0..5000)), 1..8)
        ) {
            let storage = Storage::new(1 << 20, 1, ByteOrder::Big);
            let mut plain = vec![0u8; 16384];
            for (at, bytes) in &writes {
                storage.store(AbsoluteAddress(*at as u64), bytes).unwrap();
                plain[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            let mut seen = vec![0; 16384 - 13];
            storage.load(AbsoluteAddress(13), &mut seen).unwrap();
            prop_assert!(seen == plain[13..]);
        }
    }

    #[test]
    fn a_lock_shuts_out_and_a_dropped_lock_changes_nothing() {
        let storage = Storage::new(1 << 20, 1, ByteOrder::Big);
        let frame = FrameNumber(9);
        let mut lock = storage.try_lock(frame).unwrap();
        assert!(storage.try_lock(frame).is_none());
        assert!(!storage.zone(frame).is_secure());
        lock.quiesce();
        assert!(storage.zone(frame).is_secure());
        drop(lock);
        assert_eq!(storage.zone(frame), ZoneEntry::NON_SECURE);
        assert_eq!(storage.generation(frame), 0);

        let mut lock = storage.try_lock(frame).unwrap();
        lock.bytes_mut()[17] = 3;
        lock.commit(FrameState::Secure(Domain(1), PageIndex(2)));
        assert_eq!(storage.generation(frame), 1);
        assert!(storage.zone(frame).is_secure());
        let mut byte = [0];
        storage.load(AbsoluteAddress(9 * 4096 + 17), &mut byte).unwrap();
        assert_eq!(byte, [3]);
    }

    #[test]
    fn marks_and_bytes_are_judged_after_the_stores_in_flight() {
        type Judge = fn(&mut FrameLock<'_>);
        let judges: [Judge; 3] = [
            |lock| assert_eq!(lock.touched(), touch::ALL),
            |lock| assert_eq!(lock.bytes()[0], 1),
            |lock| {
                lock.clear();
                assert_eq!(lock.bytes()[0], 0);
            },
        ];
        for judge in judges {
            let storage = Storage::new(1 << 20, 2, ByteOrder::Big);
            storage.set_concurrent(true);
            let frame = FrameNumber(4);
            std::thread::scope(|scope| {
                let access = storage.begin(RequestorNumber(0), frame);
                let holder = scope.spawn(|| judge(&mut storage.try_lock(frame).unwrap()));
                std::thread::sleep(std::time::Duration::from_millis(20));
                access.store(0, &[1]);
                drop(access);
                holder.join().unwrap();
            });
            assert_eq!(storage.zone(frame), ZoneEntry::NON_SECURE);
        }
    }

    #[test]
    fn an_open_change_leaves_no_gap_and_waits_all_the_same() {
        let storage = Storage::new(1 << 20, 2, ByteOrder::Big);
        storage.set_concurrent(true);
        let frame = FrameNumber(4);
        let shared = FrameState::Shared(Domain(1), PageIndex(2));
        storage.try_lock(frame).unwrap().commit(shared);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let access = storage.begin(RequestorNumber(0), frame);
            let changer = scope.spawn(|| {
                storage.try_lock(frame).unwrap().commit(FrameState::Pinned(Domain(1), PageIndex(2)));
                assert!(over.load(Ordering::SeqCst), "the change overtook an access");
            });
            for _ in 0..20 {
                assert!(!storage.zone(frame).is_secure());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            over.store(true, Ordering::SeqCst);
            drop(access);
            changer.join().unwrap();
        });
        assert_eq!(storage.zone(frame), ZoneEntry::new(FrameState::Pinned(Domain(1), PageIndex(2))));
    }

    #[test]
    fn a_change_waits_for_accesses_in_flight() {
        let storage = Storage::new(1 << 20, 2, ByteOrder::Big);
        storage.set_concurrent(true);
        let frame = FrameNumber(4);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let access = storage.begin(RequestorNumber(0), frame);
            let changer = scope.spawn(|| {
                let mut lock = storage.try_lock(frame).unwrap();
                lock.quiesce();
                assert!(over.load(Ordering::SeqCst), "the change overtook an access");
                lock.commit(FrameState::NonSecure);
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            access.store(0, &[1]);
            over.store(true, Ordering::SeqCst);
            drop(access);
            changer.join().unwrap();
        });
    }
}
