//! What a device sees of a guest: the storage that the guest shares, through the checked channel.
//!
//! [`HostView`] is the guest memory of vm-memory, so rust-vmm's queues and devices run on it as they are. It never
//! hands out storage of the machine itself. Every slice is a copy, made when the slice is taken; whatever is written
//! to it is written through to the machine, and there the checks are made again. A slice that outlives an unshare
//! thus shows what was shared when it was taken and nothing else, and what is written to it then is refused.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::iter::FusedIterator;

use bumpalo::Bump;
use uvsim_model::PageRecord;
use uvsim_model::address::{AbsoluteAddress, PAGE_SIZE, PageIndex};
use uvsim_model::cpu::Channel;
use uvsim_model::storage::FrameState;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Permissions, VolatileSlice};
use zerocopy::IntoBytes;

use crate::kernel::{Kernel, Observed, PageBytes, Stop};
use crate::scenario::Outcome;

/// How many bytes of copies a view holds at most. A driver that makes a device want more has made a mistake, or
/// means harm.
const LARGEST: usize = 256 << 20;
/// Copies are aligned as the guest's bytes are, up to this.
const ALIGNMENT: u64 = 8;

/// Where a view keeps copies of guest bytes; it may serve one view after another.
#[derive(Debug)]
pub struct Copies {
    slices: Bump,
    /// For what is on its way to the machine.
    page: Box<PageBytes>,
}

impl Default for Copies {
    fn default() -> Self {
        Self { slices: Bump::new(), page: Box::new([0; PAGE_SIZE as usize]) }
    }
}

impl Copies {
    /// Bytes that are held for slices, used or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slices.allocated_bytes()
    }
}

/// The host's view of a guest's storage, for as long as devices work on it.
#[derive(Debug)]
pub struct HostView<'k, 'm> {
    host: RefCell<Host<'k, 'm>>,
    copies: &'k mut Bump,
}

impl<'k, 'm> HostView<'k, 'm> {
    /// A view of a guest. The host issues its calls on `cpu`; copies of guest bytes lie in `copies`, which is
    /// emptied first.
    ///
    /// Of a guest that is not protected, all storage is seen.
    pub fn new(kernel: &'k mut Kernel<'m>, guest: usize, cpu: u16, copies: &'k mut Copies) -> Self {
        let Copies { slices: copies, page } = copies;
        copies.reset();
        copies.set_allocation_limit(Some(LARGEST));
        let (memory, protected) = (kernel.guest_memory(guest), kernel.is_live(guest));
        let host = Host {
            kernel,
            guest,
            cpu,
            memory,
            protected,
            state: State::Usable,
            refusals: Vec::new(),
            statistics: ViewStatistics::default(),
            page,
            channel: None,
        };
        Self { host: RefCell::new(host), copies }
    }

    /// What has been refused since this was last asked. After a refused write nothing is seen until then.
    #[must_use]
    pub fn take_refusals(&self) -> Vec<Refusal> {
        let mut host = self.host.borrow_mut();
        if matches!(host.state, State::WriteRefused(_)) {
            host.state = State::Usable;
        }
        std::mem::take(&mut host.refusals)
    }

    /// Why the host could not go on, if it could not: the time or the storage is used up. Nothing is seen after
    /// that.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        match &self.host.borrow().state {
            State::Stopped(stop) => Some(stop.clone()),
            State::Usable | State::WriteRefused(_) => None,
        }
    }

    /// What the view has been used for.
    #[must_use]
    pub fn statistics(&self) -> ViewStatistics {
        self.host.borrow().statistics
    }

    /// Gives up all copies.
    pub fn reclaim(&mut self) {
        self.copies.reset();
    }

    /// Something happens on the host while slices are out.
    #[cfg(test)]
    pub(crate) fn meanwhile<T>(&self, event: impl FnOnce(&mut Kernel<'m>) -> T) -> T {
        let mut host = self.host.borrow_mut();
        host.channel = None;
        event(host.kernel)
    }

    /// A slice within one page.
    fn slice(&self, address: u64, len: usize, access: Permissions) -> Result<Slice<'_>, GuestMemoryError> {
        self.host.borrow_mut().prepare(address, access.has_write())?;
        let lead = (address % ALIGNMENT) as usize;
        let words = (lead + len).div_ceil(ALIGNMENT as usize);
        let words: &mut [u64] = self.copies.try_alloc_slice_fill_copy(words, 0).map_err(|_| too_much())?;
        let bytes = words.as_mut_bytes().get_mut(lead..).and_then(|bytes| bytes.get_mut(..len));
        let bytes = bytes.ok_or(GuestMemoryError::InvalidBackendAddress)?;
        // What can only be written needs no look at what is there.
        if access.allow(Permissions::Read) {
            self.host.borrow_mut().read(address, bytes)?;
        }
        let copy = VolatileSlice::from(bytes);
        Ok(with_bitmap(copy, ThroughSlice { backing: self, address, copy, offset: 0 }))
    }
}

type Slice<'a> = VolatileSlice<'a, ThroughSlice<'a>>;

impl GuestMemory for HostView<'_, '_> {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = WriteThrough;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        let pieces = Pieces { next: addr.0, left: count as u64 };
        pieces.into_iter().all(|piece| {
            piece.is_ok_and(|(address, _)| self.host.borrow_mut().prepare(address, access.has_write()).is_ok())
        })
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, ThroughSlice<'a>>, GuestMemoryError> {
        Ok(Slices { view: self, pieces: Pieces { next: addr.0, left: count as u64 }, access })
    }
}

/// An access that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The first byte, a guest absolute address.
    pub address: u64,
    /// The guest page.
    pub page: u64,
    /// The device wanted to write.
    pub write: bool,
    /// The rule: T69 where the page could not be pinned, T11 where the channel refused, another where the host could not
    /// bring the page in.
    pub rule: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, page, write, rule } = self;
        let way = if *write { "written" } else { "read" };
        let why = match *rule {
            "T11" => "the channel reaches no secure frame",
            "T69" => "the guest has not shared it",
            _ => "the host cannot bring it in",
        };
        write!(f, "page {page:#x} cannot be {way} at {address:#x}: {why} ({rule})")
    }
}

/// What a view has been used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ViewStatistics {
    /// Bytes read from the machine.
    pub bytes_read: u64,
    /// Bytes written to the machine.
    pub bytes_written: u64,
    /// PIN_PAGE_SHARED calls.
    pub pins: u64,
    /// Refused accesses.
    pub refusals: u64,
}

/// The host side of a view.
#[derive(Debug)]
struct Host<'k, 'm> {
    kernel: &'k mut Kernel<'m>,
    guest: usize,
    cpu: u16,
    memory: u64,
    protected: bool,
    state: State,
    refusals: Vec<Refusal>,
    statistics: ViewStatistics,
    /// For what is on its way to the machine.
    page: &'k mut PageBytes,
    /// Held from one transfer to the next.
    channel: Option<Channel<'m>>,
}

/// Whether a view can be used.
#[derive(Debug)]
enum State {
    Usable,
    /// A write had no one to tell; the next access tells.
    WriteRefused(Refusal),
    Stopped(Stop),
}

impl Host<'_, '_> {
    /// Pins the page for an access, unless that is done.
    fn prepare(&mut self, address: u64, write: bool) -> Result<(), GuestMemoryError> {
        match &self.state {
            State::Usable => {}
            State::WriteRefused(refusal) => {
                return Err(GuestMemoryError::IOError(io::Error::other(refusal.to_string())));
            }
            State::Stopped(stop) => return Err(GuestMemoryError::IOError(stop_error(stop))),
        }
        if address >= self.memory {
            return Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(address)));
        }
        if !self.protected || self.is_pinned(address / PAGE_SIZE) {
            return Ok(());
        }
        self.pin(address / PAGE_SIZE).map_err(|stop| self.fail(stop, address, write))
    }

    fn is_pinned(&self, page: u64) -> bool {
        let state = self.kernel.mapped(self.guest, page).map(|frame| self.kernel.machine().frame_state(frame));
        matches!(state, Some(FrameState::Pinned(..)))
    }

    fn pin(&mut self, page: u64) -> Result<(), Stop> {
        let record = self.kernel.machine().page(self.kernel.handle(self.guest), PageIndex(page));
        if record.is_some_and(|view| view.record == PageRecord::Shared(None)) {
            // The host has paged it out, which ends the pin as well (T45, T46). It comes in as it went (T37).
            self.kernel.bring_in(self.cpu, self.guest, page)?;
        } else if self.kernel.mapped(self.guest, page).is_none() {
            // As user memory does.
            self.kernel.frame_for_device(self.guest, page)?;
        }
        self.statistics.pins += 1;
        self.kernel.pin(self.cpu, self.guest, page).map(drop)
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), GuestMemoryError> {
        let place = self.place(address);
        let machine = self.kernel.machine();
        let channel = self.channel.get_or_insert_with(|| machine.channel());
        let done = place.and_then(|at| channel.read(at, bytes).map_err(|_| refused()));
        done.map_err(|stop| self.fail(stop, address, false))?;
        self.statistics.bytes_read += bytes.len() as u64;
        Ok(())
    }

    /// Writes what a slice holds, at most a page.
    fn write(&mut self, address: u64, bytes: VolatileSlice<'_>) -> Result<(), GuestMemoryError> {
        self.prepare(address, true)?;
        let len = bytes.copy_to(&mut self.page[..]);
        let place = self.place(address);
        let machine = self.kernel.machine();
        let channel = self.channel.get_or_insert_with(|| machine.channel());
        let done = place.and_then(|at| channel.write(at, &self.page[..len]).map_err(|_| refused()));
        done.map_err(|stop| self.fail(stop, address, true))?;
        self.statistics.bytes_written += len as u64;
        Ok(())
    }

    /// Where a byte of the guest lies.
    fn place(&mut self, address: u64) -> Result<AbsoluteAddress, Stop> {
        let frame = self.kernel.frame_for_device(self.guest, address / PAGE_SIZE)?;
        Ok(AbsoluteAddress(frame.address().0 + address % PAGE_SIZE))
    }

    /// Takes down a refusal, or that the host cannot go on.
    fn fail(&mut self, stop: Stop, address: u64, write: bool) -> GuestMemoryError {
        let rule = match stop {
            Stop::Outcome(Observed { outcome: Outcome::IoRefused, .. }) => "T11",
            Stop::Outcome(Observed { rule: "", .. }) => "T69",
            Stop::Outcome(Observed { rule, .. }) => rule,
            stop => {
                let error = stop_error(&stop);
                self.state = State::Stopped(stop);
                return GuestMemoryError::IOError(error);
            }
        };
        let refusal = Refusal { address, page: address / PAGE_SIZE, write, rule };
        self.refusals.push(refusal);
        self.statistics.refusals += 1;
        GuestMemoryError::IOError(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string()))
    }
}

fn refused() -> Stop {
    Observed::plain(Outcome::IoRefused, "T11").into()
}

fn stop_error(stop: &Stop) -> io::Error {
    match stop {
        Stop::Outcome(observed) => io::Error::other(format!("the host is refused: {}", observed.outcome)),
        Stop::OutOfStorage { what, needed, available } => {
            io::Error::other(format!("{needed} bytes of storage for {what}, {available} there"))
        }
        Stop::TimeOut => io::Error::new(io::ErrorKind::TimedOut, "the time limit is reached"),
        Stop::Internal(message) => io::Error::other(message.clone()),
    }
}

fn too_much() -> GuestMemoryError {
    let error = format!("more than {LARGEST} bytes of buffers at once");
    GuestMemoryError::IOError(io::Error::new(io::ErrorKind::OutOfMemory, error))
}

/// A range cut at the ends of guest pages.
#[derive(Debug)]
struct Pieces {
    next: u64,
    left: u64,
}

impl Iterator for Pieces {
    type Item = Result<(u64, usize), GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (address, len) = (self.next, self.left.min(PAGE_SIZE - self.next % PAGE_SIZE));
        self.left -= len;
        match address.checked_add(len) {
            Some(next) => self.next = next,
            None => {
                self.left = 0;
                return Some(Err(GuestMemoryError::GuestAddressOverflow));
            }
        }
        Some(Ok((address, len as usize)))
    }
}

/// The slices of a range; the first error is the last item.
#[derive(Debug)]
struct Slices<'a, 'k, 'm> {
    view: &'a HostView<'k, 'm>,
    pieces: Pieces,
    access: Permissions,
}

impl<'a> Iterator for Slices<'a, '_, '_> {
    type Item = Result<Slice<'a>, GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.pieces.next()?;
        let slice = piece.and_then(|(address, len)| self.view.slice(address, len, self.access));
        if slice.is_err() {
            self.pieces.left = 0;
        }
        Some(slice)
    }
}

impl FusedIterator for Slices<'_, '_, '_> {}

impl<'a> GuestMemorySliceIterator<'a, ThroughSlice<'a>> for Slices<'a, '_, '_> {}

/// Where written bytes go.
trait Backing: fmt::Debug {
    fn write_through(&self, address: u64, bytes: VolatileSlice<'_>);
}

impl Backing for HostView<'_, '_> {
    fn write_through(&self, address: u64, bytes: VolatileSlice<'_>) {
        let mut host = self.host.borrow_mut();
        let known = host.refusals.len();
        if host.write(address, bytes).is_err()
            && let Some(&refusal) = host.refusals.get(known)
        {
            host.state = State::WriteRefused(refusal);
        }
    }
}

/// What vm-memory takes for a dirty bitmap: told what has been written, it writes it to the machine.
#[derive(Clone, Copy, Debug)]
pub struct ThroughSlice<'a> {
    backing: &'a dyn Backing,
    /// Of the first byte of the copy.
    address: u64,
    copy: VolatileSlice<'a>,
    offset: usize,
}

impl<'a> WithBitmapSlice<'_> for ThroughSlice<'a> {
    type S = ThroughSlice<'a>;
}

impl BitmapSlice for ThroughSlice<'_> {}

impl Bitmap for ThroughSlice<'_> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        let offset = self.offset.saturating_add(offset);
        // A slice of nothing may lie behind the end.
        if let Ok(changed) = self.copy.subslice(offset, len)
            && len > 0
        {
            self.backing.write_through(self.address + offset as u64, changed);
        }
    }

    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> Self {
        Self { offset: self.offset.saturating_add(offset), ..*self }
    }
}

/// Names the type of the slices' bitmaps; there is none for the whole view.
#[derive(Clone, Copy, Debug)]
pub enum WriteThrough {}

impl<'a> WithBitmapSlice<'a> for WriteThrough {
    type S = ThroughSlice<'a>;
}

impl Bitmap for WriteThrough {
    fn mark_dirty(&self, _offset: usize, _len: usize) {
        match *self {}
    }

    fn dirty_at(&self, _offset: usize) -> bool {
        match *self {}
    }

    fn slice_at(&self, _offset: usize) -> ThroughSlice<'_> {
        match *self {}
    }
}

/// The same bytes, with a bitmap.
#[allow(unsafe_code, reason = "vm-memory has no other way to make a slice with a bitmap")]
fn with_bitmap<'a>(copy: VolatileSlice<'a>, bitmap: ThroughSlice<'a>) -> Slice<'a> {
    let guard = copy.ptr_guard_mut();
    // SAFETY: `copy` was made from an exclusive borrow that lasts for 'a and is given up to it, so its bytes are
    // valid for reads and writes for 'a, and no Rust reference to them exists. The new slice covers the same bytes,
    // and volatile slices may alias. Without the xen feature a guard maps nothing and its pointer stays valid.
    unsafe { VolatileSlice::with_bitmap(guard.as_ptr(), guard.len(), bitmap, None) }
}
