//! Absolute storage, sparse: its bytes are one region, and what the hardware keeps beside them comes in chunks for 1 MiB
//! each, made on first touch.
//!
//! Bytes that two requestors may touch at once are read and written as relaxed atomics; plain bytes exist only under a
//! [`FrameLock`], which shuts everybody else out. All `unsafe` of the model is in this room, but for the promise that
//! the issuer of native operands gives.

#![allow(unsafe_code, reason = "plain bytes of a locked frame; see the SAFETY comments")]

mod host_view;
mod kept;
mod lock;

use super::barrier;
use super::copy::{copy_in, copy_out};
use super::directory::Directory;
use super::journal::Journal;
use super::region::{NoAddressSpace, Region, SharedFrame};
use super::translator::Translators;
use super::zone::ZoneEntry;
use crate::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE};
use crate::config::ByteOrder;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use parking_lot::Mutex;

pub use host_view::HostView;
use host_view::View;
pub(crate) use lock::FrameLock;

const FRAMES: usize = 256;

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
    /// The frame need not be kept for a restore any more: it was, or there is no snapshot.
    pub(super) const KEPT: u8 = 8;
    /// What a store sets.
    pub(crate) const ALL: u8 = SINCE_IMPORT | SINCE_DIGEST | NOT_ZERO | KEPT;
}

/// What the hardware keeps beside one MiB of storage. All-zero bytes are a valid chunk.
#[repr(C, align(64))]
pub(crate) struct Chunk {
    keepers: [Keeper; FRAMES],
}

/// What the hardware keeps beside a frame, together, so that an access meets one cache line of it.
#[repr(C)]
struct Keeper {
    zone: AtomicU64,
    /// How often the zone entry has changed; stays at [`NEVER_BUFFERED`] once it gets there.
    generation: AtomicU32,
    touched: AtomicU8,
    /// The host cannot touch the frame through its view, if it has one.
    shut: AtomicBool,
    /// Fills the gap. Only those of the first frame are used, for the whole chunk.
    chunk: ChunkMarks,
}

/// What has happened in a chunk since a digest last looked.
#[repr(C)]
struct ChunkMarks {
    zone_changed: AtomicBool,
    /// Some frame has [`touch::SINCE_DIGEST`].
    any_touched: AtomicBool,
}

/// The generation of a frame whose translations are no longer buffered: it has changed 2^32 - 1 times.
pub(crate) const NEVER_BUFFERED: u32 = u32::MAX;

const _: () = assert!(size_of::<Chunk>() == PAGE_SIZE as usize);

/// Absolute storage and its zone-security table.
#[derive(Debug)]
pub(crate) struct Storage {
    size: u64,
    order: ByteOrder,
    region: Region,
    /// The host's own mapping of storage, if it has one.
    view: Option<View>,
    translators: Translators,
    chunks: Directory<Chunk>,
    /// The frame that each requestor is accessing, plus one; 0 for none (D33).
    in_flight: Box<[InFlight]>,
    /// Requestors run on more than one thread.
    concurrent: AtomicBool,
    /// Who fences: see [`fencing`].
    fencing: AtomicU8,
    /// How often a change has made all threads fence.
    interrupted: AtomicU32,
    /// A snapshot was taken.
    keeps: AtomicBool,
    journal: Mutex<Journal>,
}

/// Who makes announcements and marks visible to each other. Making other threads fence costs a change some
/// microseconds, a fence of its own costs each access some nanoseconds: what is dearer depends on how many changes
/// there are.
mod fencing {
    /// Changes have all threads fence; accesses need not.
    pub(super) const BY_CHANGES: u8 = 0;
    /// Accesses fence, but one may be under way that has not.
    pub(super) const TO_ACCESSES: u8 = 1;
    /// Accesses fence; for changes a fence of their own will do.
    pub(super) const BY_ACCESSES: u8 = 2;

    /// Changes after which accesses fence, until no requestor operates.
    pub(super) const PATIENCE: u32 = 64;
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct InFlight(AtomicU64);

/// Number of a requestor: a host CPU, or the channel subsystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestorNumber(pub(crate) u16);

/// The access goes beyond the end of storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutsideStorage;

impl Storage {
    /// Storage of `size` bytes (a multiple of 1 MiB) for `requestors` requestors.
    pub(crate) fn new(size: u64, requestors: u16, order: ByteOrder) -> Result<Self, NoAddressSpace> {
        Ok(Self::of(Region::new(size)?, None, size, requestors, order))
    }

    fn of(region: Region, view: Option<View>, size: u64, requestors: u16, order: ByteOrder) -> Self {
        barrier::prepare();
        Self {
            size,
            order,
            region,
            view,
            translators: Translators::default(),
            chunks: Directory::new((size / MEBIBYTE) as usize),
            in_flight: (0..requestors).map(|_| InFlight::default()).collect(),
            concurrent: AtomicBool::new(false),
            fencing: AtomicU8::new(fencing::BY_CHANGES),
            interrupted: AtomicU32::new(0),
            keeps: AtomicBool::new(false),
            journal: Mutex::default(),
        }
    }

    /// What stands in for translation tables.
    pub(crate) fn translators(&self) -> &Translators {
        &self.translators
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
        self.place(frame).map_or(ZoneEntry::NON_SECURE, |place| place.keeper().zone())
    }

    /// How often the entry of this frame has changed. A translation buffer entry that was formed
    /// under another generation is void (D56).
    #[inline(always)]
    pub(crate) fn generation(&self, frame: FrameNumber) -> u32 {
        self.place(frame).map_or(0, |place| place.keeper().generation.load(Ordering::Acquire))
    }

    /// Tells whether requestors run on more than one thread from now on. If not, none operates.
    pub(crate) fn set_concurrent(&self, concurrent: bool) {
        self.concurrent.store(concurrent, Ordering::SeqCst);
        if concurrent {
            barrier::heavy();
        } else {
            self.fencing.store(fencing::BY_CHANGES, Ordering::SeqCst);
            self.interrupted.store(0, Ordering::Relaxed);
        }
    }

    /// Where a requestor announces its accesses.
    pub(crate) fn in_flight(&self, requestor: RequestorNumber) -> &InFlight {
        &self.in_flight[usize::from(requestor.0)]
    }

    /// Begins an access to `frame`: from here until the guard is dropped, no change of the frame's
    /// entry completes. The entry must be read after this call.
    #[inline(always)]
    pub(crate) fn begin(&self, requestor: RequestorNumber, frame: FrameNumber) -> Access<'_> {
        self.announce(self.in_flight(requestor), frame)
    }

    /// [`Storage::begin`] for who knows already where it announces its accesses.
    #[inline(always)]
    pub(crate) fn announce<'a>(&'a self, requestor: &'a InFlight, frame: FrameNumber) -> Access<'a> {
        let slot = &requestor.0;
        slot.store(frame.0 + 1, Ordering::Relaxed);
        barrier::light();
        if self.fencing.load(Ordering::Relaxed) != fencing::BY_CHANGES {
            fence(Ordering::SeqCst);
        }
        // Looked up after the announcement: a chunk that comes later belongs to a frame that nobody has
        // changed before this access is over.
        Access { slot, place: self.place(frame), storage: self, frame }
    }

    /// A hint that one byte of a frame, and its zone entry, will be wanted soon.
    #[inline(always)]
    pub(crate) fn fetch_byte_ahead(&self, frame: FrameNumber, offset: usize) {
        if let Some(place) = self.place(frame)
            && let Some(word) = place.data.get(offset / 8)
        {
            fetch_ahead(place.keeper());
            fetch_ahead(word);
        }
    }

    /// Has the processor fetch the state and the first bytes of a frame that is about to be locked.
    #[inline]
    pub(crate) fn fetch_ahead(&self, frame: FrameNumber) {
        if let Some(place) = self.place(frame) {
            fetch_ahead(place.keeper());
            fetch_ahead(&place.data[0]);
            fetch_ahead(&place.data[8]);
        }
    }

    /// Takes the lock of a frame, which shuts out other calls. `None` when it is taken, or outside storage.
    pub(crate) fn try_lock(&self, frame: FrameNumber) -> Option<FrameLock<'_>> {
        let place = self.place_or_make(frame)?;
        let before = place.keeper().zone();
        if before.is_locked() {
            return None;
        }
        place
            .keeper()
            .zone
            .compare_exchange(before.bits(), before.locked().bits(), Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        Some(FrameLock { storage: self, place, frame, before, quiet: false, in_batch: false })
    }

    /// Takes up a lock that was set down by [`FrameLock::suspend`]. The caller vouches that it holds
    /// the lock of this frame, has called [`Storage::settle`] and [`Storage::drain_all`] if it has closed it, and calls
    /// [`Storage::settle`] when all is done.
    pub(crate) fn resume(&self, frame: FrameNumber) -> FrameLock<'_> {
        let place = self.place(frame).expect("a suspended lock is that of a frame in storage");
        let locked = place.keeper().zone();
        assert!(locked.is_locked(), "{frame:?} is not locked");
        FrameLock { storage: self, place, frame, before: locked.unlocked(), quiet: locked.is_closed(), in_batch: true }
    }

    /// Waits until every access that has begun by now is over.
    pub(crate) fn drain_all(&self) {
        if !self.concurrent.load(Ordering::SeqCst) {
            return;
        }
        self.fence_change();
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
            match self.place(at.frame()) {
                Some(place) => copy_out(place.data, at.offset(), part),
                None => self.load_first(at.frame(), at.offset(), part),
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
            let place = self.place_or_make(at.frame()).ok_or(OutsideStorage)?;
            place.store(self, at.frame(), at.offset(), part);
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
    fn place(&self, frame: FrameNumber) -> Option<Place<'_>> {
        let chunk = self.chunks.find((frame.0 / FRAMES as u64) as usize)?;
        Some(self.place_in(chunk, frame))
    }

    #[inline(always)]
    fn place_or_make(&self, frame: FrameNumber) -> Option<Place<'_>> {
        let number = (frame.0 / FRAMES as u64) as usize;
        let chunk = self.chunks.find_or_make(number, || self.make_chunk(number))?;
        Some(self.place_in(chunk, frame))
    }

    #[inline(always)]
    fn place_in<'a>(&'a self, chunk: &'a Chunk, frame: FrameNumber) -> Place<'a> {
        // SAFETY: the directory has a slot for each MiB of storage and no more, so a frame whose chunk was found lies
        // in storage, and `make_chunk` has prepared its MiB.
        let data = unsafe { self.region.frame(frame) };
        Place { chunk, index: (frame.0 % FRAMES as u64) as usize, data }
    }

    fn make_chunk(&self, number: usize) -> Box<Chunk> {
        self.region.prepare(number);
        let chunk = Box::<Chunk>::new_zeroed();
        // SAFETY: a chunk is made of integers and booleans, all valid when zero.
        unsafe { chunk.assume_init() }
    }

    /// Copies a frame out. Outside storage, zeros.
    pub(crate) fn copy_frame(&self, frame: FrameNumber, bytes: &mut PageBytes) {
        match self.place(frame) {
            Some(place) => copy_out(place.data, 0, bytes),
            None => self.load_first(frame, 0, bytes),
        }
    }

    /// Bytes of a frame whose chunk nobody has touched: zeros, unless the host has stored through its view.
    #[cold]
    fn load_first(&self, frame: FrameNumber, offset: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        if self.view.is_some()
            && let Some(place) = self.place_or_make(frame)
        {
            copy_out(place.data, offset, bytes);
        }
    }

    /// Makes sure that accesses which have not seen a mark have announced themselves.
    fn fence_change(&self) {
        if self.fencing.load(Ordering::SeqCst) == fencing::BY_ACCESSES {
            fence(Ordering::SeqCst);
            return;
        }
        let patience = self.interrupted.fetch_add(1, Ordering::Relaxed) < fencing::PATIENCE;
        let change = |from, to| self.fencing.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if patience || !change(fencing::BY_CHANGES, fencing::TO_ACCESSES) {
            barrier::heavy();
            return;
        }
        // An access that has not seen the new value announced itself before this, and what it announced is visible
        // after this. All others fence.
        barrier::heavy();
        change(fencing::TO_ACCESSES, fencing::BY_ACCESSES);
    }

    /// Waits until no requestor is in an access to `frame` that began before the frame was marked.
    fn drain(&self, frame: FrameNumber) {
        if !self.concurrent.load(Ordering::SeqCst) {
            return;
        }
        self.fence_change();
        for slot in &self.in_flight {
            while slot.0.load(Ordering::Acquire) == frame.0 + 1 {
                core::hint::spin_loop();
            }
        }
    }
}

/// Has the processor fetch a line that is about to be needed, while it still works on others. Locks are
/// atomic exchanges, which would make it wait for one line after the other.
#[inline(always)]
pub(crate) fn fetch_ahead<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction. It is a hint: it reads and writes nothing as
        // far as the program can tell, so it takes part in no data race, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl Keeper {
    #[inline(always)]
    fn zone(&self) -> ZoneEntry {
        ZoneEntry::from_bits(self.zone.load(Ordering::Acquire))
    }
}

/// Where a frame is kept.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    chunk: &'a Chunk,
    index: usize,
    data: &'a SharedFrame,
}

impl<'a> Place<'a> {
    #[inline(always)]
    fn keeper(&self) -> &'a Keeper {
        &self.chunk.keepers[self.index]
    }

    /// Stores with a mark.
    #[inline(always)]
    fn store(&self, storage: &Storage, frame: FrameNumber, offset: usize, bytes: &[u8]) {
        self.touch(storage, frame);
        copy_in(self.data, offset, bytes);
    }

    /// Leaves the mark of a store. Mostly it is there already; then the line, which others read, stays as
    /// it is.
    #[inline(always)]
    fn touch(&self, storage: &Storage, frame: FrameNumber) {
        // Whoever sees the mark stores after the frame was kept.
        if self.keeper().touched.load(Ordering::Acquire) != touch::ALL {
            self.keep(storage, frame);
            self.chunk.mark(self.index, touch::ALL);
        }
    }

    /// To be called before every change of the frame.
    #[inline]
    fn keep(&self, storage: &Storage, frame: FrameNumber) {
        if self.keeper().touched.load(Ordering::Acquire) & touch::KEPT == 0 {
            storage.keep(*self, frame);
        }
    }
}

/// An access in progress.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    slot: &'a AtomicU64,
    /// `None` while nobody has touched the chunk.
    place: Option<Place<'a>>,
    storage: &'a Storage,
    frame: FrameNumber,
}

impl Access<'_> {
    /// The frame.
    pub(crate) fn frame(&self) -> FrameNumber {
        self.frame
    }

    /// Whether the frame has storage behind it by now.
    #[inline(always)]
    pub(crate) fn is_placed(&self) -> bool {
        self.place.is_some()
    }

    /// The zone entry to be checked.
    #[inline(always)]
    pub(crate) fn zone(&self) -> ZoneEntry {
        self.place.map_or(ZoneEntry::NON_SECURE, |place| place.keeper().zone())
    }

    /// See [`Storage::generation`]. To be read after [`Access::zone`], so that whoever sees a new entry
    /// sees the new generation too.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u32 {
        self.place.map_or(0, |place| place.keeper().generation.load(Ordering::Acquire))
    }

    /// Copies bytes of the frame out. `offset + bytes.len()` must not pass its end.
    #[inline(always)]
    pub(crate) fn load(&self, offset: usize, bytes: &mut [u8]) {
        match self.place {
            Some(place) => copy_out(place.data, offset, bytes),
            None => self.storage.load_first(self.frame, offset, bytes),
        }
    }

    /// Copies bytes into the frame. `offset + bytes.len()` must not pass its end.
    #[inline(always)]
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.place {
            place.store(self.storage, self.frame, offset, bytes);
        } else {
            self.store_first(offset, bytes);
        }
    }

    #[cold]
    fn store_first(&self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.storage.place_or_make(self.frame) {
            place.store(self.storage, self.frame, offset, bytes);
        }
    }
}

impl Drop for Access<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.store(0, Ordering::Release);
    }
}

impl Chunk {
    /// The states of the frames, in order.
    pub(crate) fn zone_entries(&self) -> impl Iterator<Item = ZoneEntry> {
        self.keepers.iter().map(Keeper::zone)
    }

    #[inline(always)]
    fn marks(&self) -> &ChunkMarks {
        &self.keepers[0].chunk
    }

    /// Marks a frame for a store, or for whatever else the Ultravisor did to it.
    fn mark(&self, index: usize, marks: u8) {
        self.keepers[index].touched.store(marks, Ordering::Relaxed);
        self.marks().any_touched.store(true, Ordering::Relaxed);
    }

    /// Whether a zone entry has changed since the last call.
    pub(crate) fn take_zone_changed(&self) -> bool {
        self.marks().zone_changed.load(Ordering::Relaxed) && self.marks().zone_changed.swap(false, Ordering::AcqRel)
    }

    /// Calls `visit` with the index of every frame that was stored to since it was last visited.
    pub(crate) fn visit_touched(&self, mut visit: impl FnMut(usize)) {
        if !self.marks().any_touched.load(Ordering::Relaxed) || !self.marks().any_touched.swap(false, Ordering::AcqRel)
        {
            return;
        }
        for (index, keeper) in self.keepers.iter().enumerate() {
            let mark = &keeper.touched;
            if mark.load(Ordering::Relaxed) & touch::SINCE_DIGEST != 0 {
                mark.fetch_and(!touch::SINCE_DIGEST, Ordering::AcqRel);
                visit(index);
            }
        }
    }

    /// The indices of frames that may hold something other than zeros.
    pub(crate) fn stored_frames(&self) -> impl Iterator<Item = usize> {
        let stored = |keeper: &Keeper| keeper.touched.load(Ordering::Relaxed) & touch::NOT_ZERO != 0;
        self.keepers.iter().enumerate().filter(move |(_, keeper)| stored(keeper)).map(|(index, _)| index)
    }
}

impl core::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chunk").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
