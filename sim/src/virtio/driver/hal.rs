//! What the drivers of the guest get memory from, and the only unsafe code around them.
//!
//! A driver sees mirrors of the guest's rings and of its bounce buffer, never the machine. [`GuestHal`] has no state,
//! so the space that a driver works in is entered first. It copies what it is given and keeps no address of a buffer:
//! that is why the calls at the end of this file are safe.

#![allow(unsafe_code, reason = "`Hal` is an unsafe trait, and the drivers' calls that do not wait are unsafe")]

use super::pool::Pool;
use crate::virtio::port::Port;
use core::cell::{RefCell, UnsafeCell};
use core::ops::Range;
use core::ptr::NonNull;
use std::sync::Arc;
use uvsim_model::address::PAGE_SIZE;
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::{BufferDirection, Hal, PhysAddr, Result};

/// What a device gets instead of an address when the bounce buffer is full: no guest has storage there.
pub(crate) const POISON: u64 = 0xffff_ffff_0000_0000;
/// Coherent memory ends here: below lie the guest's prefix area, its control block and its program.
const LOWEST: u64 = 16 * PAGE_SIZE;

thread_local! {
    static CURRENT: RefCell<Option<DmaSpace>> = const { RefCell::new(None) };
}

/// Memory that a guest's drivers and devices have in common: the bounce buffer and, below it, pages of rings.
#[derive(Debug, Default)]
pub(crate) struct DmaSpace {
    /// The bounce buffer.
    pub(crate) pool: Pool,
    lowest: u64,
    regions: Vec<Region>,
    freed: Vec<(u64, usize)>,
    changes: Vec<Change>,
    poisoned: bool,
}

/// Coherent pages that the guest has to share or to take back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Allocated: address and pages.
    Allocated(u64, usize),
    /// Freed: address and pages.
    Freed(u64, usize),
}

#[derive(Debug)]
struct Region {
    address: u64,
    pages: Arc<[MirrorPage]>,
}

#[derive(Debug)]
#[repr(C, align(4096))]
struct MirrorPage(UnsafeCell<[u8; PAGE_SIZE as usize]>);

// SAFETY: the bytes of a page are reached from a driver and from its `DmaSpace`. Both belong to one guest of one board,
// which lends them out by `&mut self` only.
unsafe impl Send for MirrorPage {}
// SAFETY: as above.
unsafe impl Sync for MirrorPage {}

impl DmaSpace {
    /// The space of a guest of so much memory, with so many slots at its end.
    #[must_use]
    pub(crate) fn new(memory: u64, slots: u64) -> Self {
        let pool = Pool::new(memory, slots);
        let lowest = pool.first() / PAGE_SIZE * PAGE_SIZE;
        Self { pool, lowest, ..Self::default() }
    }

    /// Runs driver code in this space.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let inside = Inside { space: self };
        CURRENT.with_borrow_mut(|current| *current = Some(core::mem::take(&mut *inside.space)));
        work()
    }

    /// Pages allocated and freed since this was last asked for.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        core::mem::take(&mut self.changes)
    }

    /// Whether a driver has been given an address that no device can use.
    pub(crate) fn take_poisoned(&mut self) -> bool {
        core::mem::take(&mut self.poisoned)
    }

    /// Bytes of a ring's mirror.
    #[must_use]
    pub(crate) fn ring(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.each_run(address, length, |run, mirror| {
            let to = &mut bytes[run];
            // SAFETY: the run lies in a page of `self.regions`, and no driver runs while the space is lent here.
            unsafe { core::ptr::copy_nonoverlapping(mirror, to.as_mut_ptr(), to.len()) };
        })?;
        Some(bytes)
    }

    /// Brings a ring's mirror in line with the guest's storage. Bytes beyond all rings go nowhere.
    pub(crate) fn write_ring(&mut self, address: u64, bytes: &[u8]) {
        let _ = self.each_run(address, bytes.len(), |run, mirror| {
            let from = &bytes[run];
            // SAFETY: as in `ring`; `&mut self` excludes other readers.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), mirror, from.len()) };
        });
    }

    /// Visits a range page by page: which bytes of it, and where they are.
    fn each_run(&self, address: u64, length: usize, mut visit: impl FnMut(Range<usize>, *mut u8)) -> Option<()> {
        let region = self.regions.iter().find(|region| {
            let end = region.address + region.pages.len() as u64 * PAGE_SIZE;
            address >= region.address && address.checked_add(length as u64).is_some_and(|last| last <= end)
        })?;
        let start = usize::try_from(address - region.address).ok()?;
        let mut at = 0;
        while at < length {
            let (page, offset) = ((start + at) / PAGE_SIZE as usize, (start + at) % PAGE_SIZE as usize);
            let end = length.min(at + PAGE_SIZE as usize - offset);
            visit(at..end, region.pages[page].0.get().cast::<u8>().wrapping_add(offset));
            at = end;
        }
        Some(())
    }

    /// Whole pages below the bounce buffer, downward; freed ones of the same length first.
    fn allocate(&mut self, pages: usize) -> Option<(u64, Arc<[MirrorPage]>)> {
        let address = match self.freed.iter().position(|&(_, length)| length == pages) {
            Some(at) => self.freed.swap_remove(at).0,
            None => {
                let address = self.lowest.checked_sub(PAGE_SIZE.checked_mul(pages as u64)?)?;
                if address < LOWEST {
                    return None;
                }
                self.lowest = address;
                address
            }
        };
        let memory: Arc<[MirrorPage]> =
            (0..pages).map(|_| MirrorPage(UnsafeCell::new([0; PAGE_SIZE as usize]))).collect();
        self.regions.push(Region { address, pages: Arc::clone(&memory) });
        self.changes.push(Change::Allocated(address, pages));
        Some((address, memory))
    }

    fn free(&mut self, address: u64) {
        if let Some(at) = self.regions.iter().position(|region| region.address == address) {
            let region = self.regions.swap_remove(at);
            self.freed.push((address, region.pages.len()));
            self.changes.push(Change::Freed(address, region.pages.len()));
        }
    }
}

/// Takes the space out of the thread again, also when driver code unwinds.
struct Inside<'a> {
    space: &'a mut DmaSpace,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(space) = CURRENT.with_borrow_mut(Option::take) {
            *self.space = space;
        }
    }
}

/// The guest's side of the drivers' memory.
#[derive(Debug)]
pub(crate) struct GuestHal;

// SAFETY: `dma_alloc` gives zeroed pages, aligned to a page and alive until `dma_dealloc`, as the driver holds a
// reference count of them. `share` and `unshare` touch the buffer only during the call.
unsafe impl Hal for GuestHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let none = (0, NonNull::dangling());
        let made = CURRENT.with_borrow_mut(|current| current.as_mut().and_then(|space| space.allocate(pages)));
        let Some((address, memory)) = made else { return none };
        let pointer = Arc::into_raw(memory).cast::<u8>().cast_mut();
        NonNull::new(pointer).map_or(none, |pointer| (address, pointer))
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, vaddr: NonNull<u8>, pages: usize) -> i32 {
        let memory = core::ptr::slice_from_raw_parts(vaddr.as_ptr().cast::<MirrorPage>(), pages);
        // SAFETY: the caller hands back what `dma_alloc` got from `Arc::into_raw`, once.
        drop(unsafe { Arc::from_raw(memory) });
        CURRENT.with_borrow_mut(|current| current.as_mut().map(|space| space.free(paddr)));
        0
    }

    /// There is none: it is never called, and must not be used if it is.
    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        // SAFETY: the caller has the buffer to itself during this call.
        let bytes = unsafe { buffer.as_ref() };
        CURRENT.with_borrow_mut(|current| {
            let Some(space) = current else { return POISON };
            space.pool.map(bytes).unwrap_or_else(|_| {
                space.poisoned = true;
                POISON
            })
        })
    }

    unsafe fn unshare(paddr: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        CURRENT.with_borrow_mut(|current| {
            let Some(space) = current else { return };
            if direction == BufferDirection::DriverToDevice {
                space.pool.unmap(paddr, &mut [], direction);
            } else {
                let mut buffer = buffer;
                // SAFETY: the buffer is one that the device may write, so the driver was lent it mutably, and has it
                // to itself during this call.
                space.pool.unmap(paddr, unsafe { buffer.as_mut() }, direction);
            }
        });
    }
}

/// A disk's driver.
pub(crate) type BlockDriver = VirtIOBlk<GuestHal, Port>;
/// A network card's driver.
pub(crate) type NetworkDriver = VirtIONetRaw<GuestHal, Port, 16>;
/// A queue of a driver of our own.
pub(crate) type GuestQueue<const SIZE: usize> = VirtQueue<GuestHal, SIZE>;

/// Begins to read from a disk.
pub(crate) fn begin_read(
    driver: &mut BlockDriver,
    sector: usize,
    request: &mut BlkReq,
    data: &mut [u8],
    answer: &mut BlkResp,
) -> Result<u16> {
    // SAFETY: `GuestHal` keeps no address of a buffer, so they may be used as soon as this returns.
    unsafe { driver.read_blocks_nb(sector, request, data, answer) }
}

/// Begins to write to a disk.
pub(crate) fn begin_write(
    driver: &mut BlockDriver,
    sector: usize,
    request: &mut BlkReq,
    data: &[u8],
    answer: &mut BlkResp,
) -> Result<u16> {
    // SAFETY: as in `begin_read`.
    unsafe { driver.write_blocks_nb(sector, request, data, answer) }
}

/// Ends a read.
pub(crate) fn end_read(
    driver: &mut BlockDriver,
    token: u16,
    request: &BlkReq,
    data: &mut [u8],
    answer: &mut BlkResp,
) -> Result<()> {
    // SAFETY: buffers are only written during this call, and only these.
    unsafe { driver.complete_read_blocks(token, request, data, answer) }
}

/// Ends a write.
pub(crate) fn end_write(
    driver: &mut BlockDriver,
    token: u16,
    request: &BlkReq,
    data: &[u8],
    answer: &mut BlkResp,
) -> Result<()> {
    // SAFETY: as in `end_read`.
    unsafe { driver.complete_write_blocks(token, request, data, answer) }
}

/// Begins to send a frame, header included.
pub(crate) fn begin_send(driver: &mut NetworkDriver, frame: &[u8]) -> Result<u16> {
    // SAFETY: as in `begin_read`.
    unsafe { driver.transmit_begin(frame) }
}

/// Ends sending.
pub(crate) fn end_send(driver: &mut NetworkDriver, token: u16, frame: &[u8]) -> Result<usize> {
    // SAFETY: as in `end_read`.
    unsafe { driver.transmit_complete(token, frame) }
}

/// Offers a buffer for a frame.
pub(crate) fn begin_receive(driver: &mut NetworkDriver, buffer: &mut [u8]) -> Result<u16> {
    // SAFETY: as in `begin_read`.
    unsafe { driver.receive_begin(buffer) }
}

/// Takes a frame; lengths of its header and of itself.
pub(crate) fn end_receive(driver: &mut NetworkDriver, token: u16, buffer: &mut [u8]) -> Result<(usize, usize)> {
    // SAFETY: as in `end_read`.
    unsafe { driver.receive_complete(token, buffer) }
}

/// Adds a buffer that the device reads.
pub(crate) fn add_input<const SIZE: usize>(queue: &mut GuestQueue<SIZE>, input: &[u8]) -> Result<u16> {
    // SAFETY: as in `begin_read`.
    unsafe { queue.add(&[input], &mut []) }
}

/// Takes it back.
pub(crate) fn pop_input<const SIZE: usize>(queue: &mut GuestQueue<SIZE>, token: u16, input: &[u8]) -> Result<u32> {
    // SAFETY: as in `end_read`.
    unsafe { queue.pop_used(token, &[input], &mut []) }
}

/// Adds a buffer that the device writes.
pub(crate) fn add_output<const SIZE: usize>(queue: &mut GuestQueue<SIZE>, output: &mut [u8]) -> Result<u16> {
    // SAFETY: as in `begin_read`.
    unsafe { queue.add(&[], &mut [output]) }
}

/// Takes it back; the device may have written so many bytes of it.
pub(crate) fn pop_output<const SIZE: usize>(
    queue: &mut GuestQueue<SIZE>,
    token: u16,
    output: &mut [u8],
) -> Result<u32> {
    // SAFETY: as in `end_read`.
    unsafe { queue.pop_used(token, &[], &mut [output]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_pages_lie_below_the_pool_and_come_back() {
        let mut space = DmaSpace::new(1 << 20, 4);
        let (address, pointer) = space.enter(|| GuestHal::dma_alloc(2, BufferDirection::Both));
        assert_eq!(address, (1 << 20) - 8192 - 8192);
        assert_eq!(space.take_changes(), [Change::Allocated(address, 2)]);
        space.write_ring(address + 4090, &[7; 10]);
        assert_eq!(space.ring(address + 4089, 3), Some(vec![0, 7, 7]));
        assert_eq!(space.ring(address + 8190, 3), None);
        // SAFETY: allocated above, and given back once.
        assert_eq!(space.enter(|| unsafe { GuestHal::dma_dealloc(address, pointer, 2) }), 0);
        assert_eq!(space.take_changes(), [Change::Freed(address, 2)]);
        assert_eq!(space.enter(|| GuestHal::dma_alloc(1000, BufferDirection::Both)).0, 0, "no room");
        assert_eq!(GuestHal::dma_alloc(1, BufferDirection::Both).0, 0, "in no space");
    }

    #[test]
    fn a_full_pool_gives_an_address_that_is_none() {
        let mut space = DmaSpace::new(1 << 20, 0);
        let mut buffer = [1];
        // SAFETY: the buffer lives and is ours.
        let address = space.enter(|| unsafe { GuestHal::share((&mut buffer[..]).into(), BufferDirection::Both) });
        assert_eq!((address, space.take_poisoned(), space.take_poisoned()), (POISON, true, false));
    }
}
