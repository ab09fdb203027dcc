//! The host's own mapping of absolute storage, for host code that uses plain loads and stores.
//!
//! One file of memory is mapped twice. The model works on a mapping without protections; in the host's, a frame that
//! is secure to the host, or closed, cannot be touched. Whoever changes a zone entry settles the view afterwards:
//! the entries are the truth, the protections follow. A frame is shut before the Ultravisor turns to its bytes, and
//! opened after its entry says that the host may have it.
//!
//! A change of protection makes the processors of all threads forget translations, so changes come in stretches. The
//! system allows a process so many mappings, and each shut stretch takes two. When it refuses, the whole view is
//! opened and stays open; the machine goes on, and says so.

#[cfg(target_os = "linux")]
pub(super) use mapped::View;
#[cfg(not(target_os = "linux"))]
pub(super) use missing::View;

use super::{NoAddressSpace, Place, Storage};
use crate::address::{AbsoluteAddress, FrameNumber};
use crate::config::ByteOrder;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// Where the host sees absolute storage: a mapping that lives as long as the machine. Loads and stores through it are
/// those of a host CPU; one that meets a secure frame raises `SIGSEGV`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostView {
    /// Where absolute address 0 is.
    pub base: NonNull<u8>,
    /// Bytes.
    pub size: u64,
}

impl HostView {
    /// Where the host sees a byte. `None` outside storage.
    #[must_use]
    pub fn pointer(&self, address: AbsoluteAddress) -> Option<NonNull<u8>> {
        let inside = address.0 < self.size;
        inside.then(|| NonNull::new(self.base.as_ptr().wrapping_add(address.0 as usize))).flatten()
    }

    /// The byte that the host sees at a pointer. `None` outside of the view.
    #[must_use]
    pub fn address(&self, pointer: *const u8) -> Option<AbsoluteAddress> {
        let offset = (pointer.addr() as u64).wrapping_sub(self.base.as_ptr().addr() as u64);
        (offset < self.size).then_some(AbsoluteAddress(offset))
    }
}

impl Storage {
    /// Storage that the host sees in its own mapping.
    pub(crate) fn with_view(size: u64, requestors: u16, order: ByteOrder) -> Result<Self, NoAddressSpace> {
        let (region, view) = View::new(size)?;
        Ok(Self::of(region, Some(view), size, requestors, order))
    }

    /// The host's mapping, if it has one.
    pub(crate) fn host_view(&self) -> Option<HostView> {
        self.view.as_ref().map(|view| HostView { base: view.base(), size: self.size })
    }

    /// Why the host's mapping no longer keeps the host away from secure frames.
    pub(crate) fn view_failed(&self) -> Option<std::io::ErrorKind> {
        self.view.as_ref().and_then(View::failed)
    }

    /// Whether the host has a mapping.
    #[inline(always)]
    pub(crate) fn has_view(&self) -> bool {
        self.view.is_some()
    }

    /// Makes the host's mapping of these frames, rising, say what their zone entries say.
    pub(crate) fn settle(&self, frames: impl Iterator<Item = FrameNumber>) {
        let Some(view) = &self.view else { return };
        // Whoever closes a frame does so before it comes here, so it sees what was opened before, and whoever
        // comes to open the frame later sees that it is closed.
        let _turn = view.turn();
        let mut stretch: Range<u64> = 0..0;
        let mut shut = false;
        for frame in frames {
            let Some(place) = self.place(frame) else { continue };
            let wanted = place.keeper().zone().is_secure();
            if place.keeper().shut.load(Ordering::Relaxed) == wanted {
                continue;
            }
            if stretch.end == frame.0 && shut == wanted && !stretch.is_empty() {
                stretch.end += 1;
                continue;
            }
            self.change_view(view, stretch, shut);
            (stretch, shut) = (frame.0..frame.0 + 1, wanted);
        }
        self.change_view(view, stretch, shut);
    }

    /// Counts frames as stored to which the host may have stored to through its mapping. The machine is at rest.
    pub(crate) fn count_host_stores(&self) {
        self.visit_seen_by_host(|place, frame| place.touch(self, frame));
    }

    /// Calls `visit` with every frame that the host can store to through its mapping, and that may hold anything. After
    /// a snapshot all of them are kept, or held nothing then. The machine is at rest.
    pub(super) fn visit_seen_by_host(&self, mut visit: impl FnMut(Place<'_>, FrameNumber)) {
        let Some(view) = &self.view else { return };
        let _turn = view.turn();
        view.visit_backed(0..self.size / crate::address::PAGE_SIZE, |frame| {
            if let Some(place) = self.place_or_make(frame)
                && !place.keeper().shut.load(Ordering::Relaxed)
            {
                visit(place, frame);
            }
        });
    }

    fn change_view(&self, view: &View, stretch: Range<u64>, shut: bool) {
        if stretch.is_empty() {
            return;
        }
        view.protect(&stretch, shut);
        for frame in stretch.clone() {
            if let Some(place) = self.place(FrameNumber(frame)) {
                place.keeper().shut.store(shut, Ordering::Relaxed);
            }
        }
        if !shut {
            return;
        }
        // The host's stores leave no marks, but only memory that was touched can hold anything.
        view.visit_backed(stretch, |frame| {
            if let Some(place) = self.place(frame) {
                place.touch(self, frame);
            }
        });
    }
}

#[cfg(target_os = "linux")]
mod mapped {
    #![allow(unsafe_code, reason = "protections of our own mapping; see the SAFETY comments")]

    use super::{FrameNumber, NoAddressSpace, NonNull, Range};
    use crate::address::PAGE_SIZE;
    use crate::storage::region::{Region, Span};
    use parking_lot::{Mutex, MutexGuard};
    use rustix::fd::OwnedFd;
    use rustix::fs::{MemfdFlags, SeekFrom};
    use rustix::mm::MprotectFlags;
    use std::io::ErrorKind;
    use std::sync::OnceLock;

    /// The host's mapping.
    #[derive(Debug)]
    pub(in crate::storage::arena) struct View {
        span: Span,
        file: OwnedFd,
        turn: Mutex<()>,
        failed: OnceLock<ErrorKind>,
    }

    // SAFETY: the span is a mapping of our own, wherever its owner is; all methods go through the system.
    unsafe impl Send for View {}
    // SAFETY: as above, and protections change only under `turn`.
    unsafe impl Sync for View {}

    impl View {
        /// Both mappings of `size` bytes.
        pub(in crate::storage::arena) fn new(size: u64) -> Result<(Region, Self), NoAddressSpace> {
            let refused = |refused: rustix::io::Errno| NoAddressSpace(refused.kind());
            if rustix::param::page_size() as u64 != PAGE_SIZE {
                // Frames could not be shut one by one.
                return Err(NoAddressSpace(ErrorKind::Unsupported));
            }
            let file = rustix::fs::memfd_create(c"uvsim-storage", MemfdFlags::CLOEXEC).map_err(refused)?;
            rustix::fs::ftruncate(&file, size).map_err(refused)?;
            let region = Region::shared(&file, size)?;
            let span = Span::shared(&file, size as usize)?;
            Ok((region, Self { span, file, turn: Mutex::new(()), failed: OnceLock::new() }))
        }

        pub(super) fn base(&self) -> NonNull<u8> {
            self.span.base.cast()
        }

        pub(super) fn failed(&self) -> Option<ErrorKind> {
            self.failed.get().copied()
        }

        pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
            self.turn.lock()
        }

        /// Shuts or opens frames.
        pub(super) fn protect(&self, frames: &Range<u64>, shut: bool) {
            if self.failed().is_some() {
                return;
            }
            if let Err(refused) = self.change(frames, shut) {
                let _ = self.failed.set(refused.kind());
                // One mapping takes the place of many, so there is no reason to refuse this.
                let _ = self.change(&(0..self.span.len as u64 / PAGE_SIZE), false);
            }
        }

        fn change(&self, frames: &Range<u64>, shut: bool) -> rustix::io::Result<()> {
            let (start, len) =
                ((frames.start * PAGE_SIZE) as usize, ((frames.end - frames.start) * PAGE_SIZE) as usize);
            assert!(start.checked_add(len).is_some_and(|end| end <= self.span.len));
            let access = if shut { MprotectFlags::empty() } else { MprotectFlags::READ | MprotectFlags::WRITE };
            // SAFETY: the frames lie in the mapping, which is ours. The model never looks at it; host code that does is
            // told that it may fault.
            unsafe { rustix::mm::mprotect(self.span.base.as_ptr().byte_add(start), len, access) }
        }

        /// Calls `visit` with those of the frames that have memory behind them.
        pub(super) fn visit_backed(&self, frames: Range<u64>, mut visit: impl FnMut(FrameNumber)) {
            let end = frames.end * PAGE_SIZE;
            let mut at = frames.start * PAGE_SIZE;
            while at < end {
                // Where the system cannot tell, all frames may have memory.
                let data = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                    Ok(data) => data,
                    Err(rustix::io::Errno::NXIO) => return,
                    Err(_) => at,
                };
                if data >= end {
                    return;
                }
                // Mostly it is one frame, of which nothing more is to be asked.
                let last = data + PAGE_SIZE >= end;
                let hole = if last { end } else { rustix::fs::seek(&self.file, SeekFrom::Hole(data)).unwrap_or(end) };
                (data / PAGE_SIZE..hole.min(end).div_ceil(PAGE_SIZE)).map(FrameNumber).for_each(&mut visit);
                at = hole.max(at + 1);
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod missing {
    use super::{FrameNumber, NoAddressSpace, NonNull, Range};
    use crate::storage::region::Region;

    /// There is none on this system.
    #[derive(Debug)]
    pub(in crate::storage::arena) enum View {}

    impl View {
        pub(in crate::storage::arena) fn new(_: u64) -> Result<(Region, Self), NoAddressSpace> {
            Err(NoAddressSpace(std::io::ErrorKind::Unsupported))
        }

        pub(super) fn base(&self) -> NonNull<u8> {
            match *self {}
        }

        pub(super) fn failed(&self) -> Option<std::io::ErrorKind> {
            match *self {}
        }

        pub(super) fn turn(&self) {
            match *self {}
        }

        pub(super) fn protect(&self, _: &Range<u64>, _: bool) {
            match *self {}
        }

        pub(super) fn visit_backed(&self, _: Range<u64>, _: impl FnMut(FrameNumber)) {
            match *self {}
        }
    }
}
