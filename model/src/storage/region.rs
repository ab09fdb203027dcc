//! The bytes of absolute storage: one mapping of all of it, so that a frame lies at the base plus its address.
//!
//! Storage of 16 TiB is address space, not memory: the system gives memory with the first touch of a page. Where it
//! does not promise more memory than it has (overcommit mode 2), address space is only reserved, and each MiB is asked
//! for when something in it is first touched.

#![allow(unsafe_code, reason = "frames inside one mapping; see the SAFETY comments")]

use crate::address::{FrameNumber, MEBIBYTE, PAGE_SIZE};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use memmap2::{MmapOptions, MmapRaw};

/// Words of a frame.
pub(super) const WORDS: usize = 512;

/// A frame that others may touch at the same time.
pub(super) type SharedFrame = [AtomicU64; WORDS];

/// The bytes of absolute storage, all zero at first.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<SharedFrame>,
    frames: u64,
    mapping: Mapping,
}

/// What keeps the bytes.
#[derive(Debug)]
enum Mapping {
    /// All of it may be touched.
    Whole(#[expect(dead_code, reason = "owns the mapping")] MmapRaw),
    /// A MiB may be touched once it was asked for.
    #[cfg(target_os = "linux")]
    Reserved(Span),
    /// All of it may be touched, and somebody else has mapped the same bytes.
    #[cfg(target_os = "linux")]
    Shared(#[expect(dead_code, reason = "owns the mapping")] Span),
}

/// The system does not give as much address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoAddressSpace(pub(crate) std::io::ErrorKind);

// SAFETY: the base points into the mapping that the region owns, wherever the region is. What it hands out are
// references to atomics.
unsafe impl Send for Region {}
// SAFETY: as above; all methods work on `&self`.
unsafe impl Sync for Region {}

impl Region {
    /// A region of `size` bytes, a multiple of 1 MiB.
    pub(super) fn new(size: u64) -> Result<Self, NoAddressSpace> {
        let len = usize::try_from(size).map_err(|_| NoAddressSpace(std::io::ErrorKind::OutOfMemory))?;
        match MmapOptions::new().len(len).no_reserve_swap().map_anon() {
            Ok(mapping) => Ok(Self::whole(mapping.into(), size)),
            Err(refused) => Self::reserved(size, len, refused.kind()),
        }
    }

    fn whole(mapping: MmapRaw, size: u64) -> Self {
        // A guest that touches one page here and one there must not be given 2 MiB for each, whatever the system does
        // for others. Where it cannot be asked, nothing is lost but memory.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise(memmap2::Advice::NoHugePage);
        let base = NonNull::new(mapping.as_mut_ptr().cast()).expect("a mapping is never at address zero");
        Self { base, frames: size / PAGE_SIZE, mapping: Mapping::Whole(mapping) }
    }

    #[cfg(target_os = "linux")]
    fn reserved(size: u64, len: usize, refused: std::io::ErrorKind) -> Result<Self, NoAddressSpace> {
        let span = Span::reserved(len).map_err(|_| NoAddressSpace(refused))?;
        Ok(Self { base: span.base.cast(), frames: size / PAGE_SIZE, mapping: Mapping::Reserved(span) })
    }

    #[cfg(not(target_os = "linux"))]
    fn reserved(_: u64, _: usize, refused: std::io::ErrorKind) -> Result<Self, NoAddressSpace> {
        Err(NoAddressSpace(refused))
    }

    /// The region of all bytes of a file.
    #[cfg(target_os = "linux")]
    pub(super) fn shared(file: &rustix::fd::OwnedFd, size: u64) -> Result<Self, NoAddressSpace> {
        let span = Span::shared(file, size as usize)?;
        Ok(Self { base: span.base.cast(), frames: size / PAGE_SIZE, mapping: Mapping::Shared(span) })
    }

    /// Makes the MiB of this number accessible. Where the system has no memory left, the process ends, as when any
    /// other allocation fails.
    pub(super) fn prepare(&self, mebibyte: usize) {
        match &self.mapping {
            Mapping::Whole(_) => {}
            #[cfg(target_os = "linux")]
            Mapping::Reserved(span) => span.open(mebibyte),
            #[cfg(target_os = "linux")]
            Mapping::Shared(_) => {}
        }
    }

    /// The bytes of a frame.
    ///
    /// # Safety
    /// The frame lies in storage, and [`Region::prepare`] was called for its MiB.
    #[inline(always)]
    pub(super) unsafe fn frame(&self, frame: FrameNumber) -> &SharedFrame {
        debug_assert!(frame.0 < self.frames);
        // SAFETY: the caller vouches that the frame lies inside the mapping, which lives as long as `self` and can be
        // read and written there. A frame is 4096 initialised bytes and aligned, and all that reaches them are atomics
        // or the exclusive reference of a lock, which shuts the others out.
        unsafe { self.base.add(frame.0 as usize).as_ref() }
    }
}

/// A mapping of our own, and what lies around it that nobody may touch.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Span {
    pub(super) base: NonNull<core::ffi::c_void>,
    pub(super) len: usize,
    guard: usize,
}

#[cfg(target_os = "linux")]
impl Span {
    /// Address space without memory.
    fn reserved(len: usize) -> Result<Self, NoAddressSpace> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping where the system finds room, which nobody knows of yet.
        let base = unsafe { mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::empty(), flags) };
        let base = base.map_err(|refused| NoAddressSpace(refused.kind()))?;
        // SAFETY: the advice changes no byte, and the mapping is ours.
        let _ = unsafe { madvise(base, len, Advice::LinuxNoHugepage) };
        let base = NonNull::new(base).expect("a mapping is never at address zero");
        Ok(Self { base, len, guard: 0 })
    }

    /// The first bytes of a file, shared with whoever else maps them. Who runs beyond an end does not run into another
    /// mapping of the same bytes.
    pub(super) fn shared(file: &rustix::fd::OwnedFd, len: usize) -> Result<Self, NoAddressSpace> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
        const GUARD: usize = MEBIBYTE as usize;
        let mut span = Self::reserved(len + 2 * GUARD)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: this takes the place of the middle of a mapping of ours, which nobody knows of yet.
        let base = unsafe { mmap(span.base.as_ptr().byte_add(GUARD), len, access, flags, file, 0) };
        let base = base.map_err(|refused| NoAddressSpace(refused.kind()))?;
        // SAFETY: as in `reserved`.
        let _ = unsafe { madvise(base, len, Advice::LinuxNoHugepage) };
        span.base = NonNull::new(base).expect("a mapping is never at address zero");
        (span.len, span.guard) = (len, GUARD);
        Ok(span)
    }

    fn open(&self, mebibyte: usize) {
        use rustix::mm::{MprotectFlags, mprotect};
        const MIB: usize = MEBIBYTE as usize;
        let start = mebibyte * MIB;
        assert!(start + MIB <= self.len);
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the MiB lies in the mapping, which is ours; to make it accessible takes nothing from anybody.
        let opened = unsafe { mprotect(self.base.as_ptr().byte_add(start), MIB, access) };
        if opened.is_err() {
            let layout = core::alloc::Layout::from_size_align(MIB, PAGE_SIZE as usize);
            std::alloc::handle_alloc_error(layout.unwrap_or(core::alloc::Layout::new::<SharedFrame>()));
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever borrowed from it borrowed what owns this.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().byte_sub(self.guard), self.len + 2 * self.guard) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    fn use_both_ends(region: &Region) {
        for frame in [0, 255, region.frames - 1] {
            region.prepare((frame * PAGE_SIZE / MEBIBYTE) as usize);
            // SAFETY: the frame is one of the region, and its MiB was prepared.
            let bytes = unsafe { region.frame(FrameNumber(frame)) };
            assert_eq!(bytes[511].swap(frame + 1, Ordering::Relaxed), 0);
            assert_eq!(bytes[511].load(Ordering::Relaxed), frame + 1);
        }
    }

    #[test]
    fn all_of_a_large_region_can_be_used() {
        use_both_ends(&Region::new(16 << 40).unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_reserved_region_is_opened_piece_by_piece() {
        use_both_ends(&Region::reserved(16 << 40, 16 << 40, std::io::ErrorKind::OutOfMemory).unwrap());
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert!(Region::new(1 << 60).is_err());
    }
}
