//! One ring at work: chains are taken from it, read, written and given back.

use std::io;
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, Permissions};

use super::{DeviceError, Served};

/// Length of the ring's flags and index, and of an entry.
const RING_HEADER: u64 = 4;
const RING_ENTRY: u64 = 2;

/// A ring during a notification.
#[derive(Debug)]
pub(super) struct Ring<'a, M> {
    number: u16,
    queue: &'a mut Queue,
    memory: &'a M,
    /// Chains that may still be taken. A driver cannot have more out, but a device that is made to write into the
    /// ring could be kept busy for ever.
    left: u16,
    served: Served,
}

impl<'a, M: GuestMemory> Ring<'a, M> {
    pub(super) fn new(number: u16, queues: &'a mut [Queue], memory: &'a M) -> Result<Self, DeviceError> {
        let missing = DeviceError::Ring { queue: number, source: virtio_queue::Error::QueueNotReady };
        let queue = queues.get_mut(usize::from(number)).ok_or(missing)?;
        Ok(Self { number, left: queue.size(), queue, memory, served: Served::default() })
    }

    /// The next chain that the driver has made available.
    pub(super) fn take(&mut self) -> Result<Option<Chain<'a, M>>, DeviceError> {
        if self.left == 0 {
            return Ok(None);
        }
        let number = self.number;
        let failed = |source| DeviceError::Ring { queue: number, source };
        let Some(descriptors) = self.queue.iter(self.memory).map_err(failed)?.next() else {
            // An entry that cannot be read looks like the end of the ring.
            return self.check_entry().map_err(|error| failed(virtio_queue::Error::GuestMemory(error))).map(|()| None);
        };
        self.left -= 1;
        let mut chain = Chain {
            number,
            head: descriptors.head_index(),
            memory: self.memory,
            readable: Part::default(),
            writable: Part::default(),
        };
        let mut goes_on = true;
        let mut left = self.queue.size();
        for descriptor in descriptors {
            // Only an indirect table can be so long, and such tables are not offered.
            left = left.checked_sub(1).ok_or_else(|| chain.malformed("it is longer than the ring"))?;
            let part = if descriptor.is_write_only() { &mut chain.writable } else { &mut chain.readable };
            part.buffers.push((descriptor.addr().0, descriptor.len()));
            part.left += u64::from(descriptor.len());
            goes_on = descriptor.has_next();
        }
        if goes_on { Err(chain.malformed("it breaks off, or runs in a circle")) } else { Ok(Some(chain)) }
    }

    /// Reads the entry that comes next, if there is one.
    fn check_entry(&self) -> Result<(), GuestMemoryError> {
        let next = self.queue.next_avail();
        if self.queue.avail_idx(self.memory, Ordering::Acquire).is_ok_and(|end| end.0 == next) {
            return Ok(());
        }
        let offset = RING_HEADER + RING_ENTRY * u64::from(next % self.queue.size().max(1));
        let entry = self.queue.avail_ring().checked_add(offset).ok_or(GuestMemoryError::GuestAddressOverflow)?;
        self.memory.load::<u16>(GuestAddress(entry), Ordering::Acquire).map(drop)
    }

    /// The chain has been answered.
    pub(super) fn give(&mut self, chain: &Chain<'_, M>) -> Result<(), DeviceError> {
        let written = chain.writable.done;
        let length = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue
            .add_used(self.memory, chain.head, length)
            .map_err(|source| DeviceError::Ring { queue: self.number, source })?;
        self.served.requests += 1;
        self.served.bytes_read += chain.readable.done;
        self.served.bytes_written += written;
        Ok(())
    }

    /// The chain stays available.
    pub(super) fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// What has been done so far.
    pub(super) fn served(&self) -> Served {
        self.served
    }
}

/// A chain of buffers. What is read and what is written goes on where it stopped.
#[derive(Debug)]
pub(super) struct Chain<'a, M> {
    number: u16,
    head: u16,
    memory: &'a M,
    readable: Part,
    writable: Part,
}

impl<M: GuestMemory> Chain<'_, M> {
    /// Bytes not yet read.
    pub(super) fn readable(&self) -> u64 {
        self.readable.left
    }

    /// Bytes not yet written.
    pub(super) fn writable(&self) -> u64 {
        self.writable.left
    }

    /// Reads as many bytes as there are, at most what `bytes` holds.
    pub(super) fn read<'b>(&mut self, bytes: &'b mut [u8]) -> Result<&'b [u8], DeviceError> {
        let mut done = 0;
        while let Some((address, len)) = self.readable.advance(bytes.len() - done) {
            let slices = self.memory.get_slices(address, len, Permissions::Read).map_err(|error| self.failed(error))?;
            for slice in slices {
                done += slice.map_err(|error| self.failed(error))?.copy_to(&mut bytes[done..]);
            }
        }
        Ok(&bytes[..done])
    }

    /// Writes bytes, as many as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut done = 0;
        while let Some((address, len)) = self.writable.advance(bytes.len() - done) {
            let slices =
                self.memory.get_slices(address, len, Permissions::Write).map_err(|error| self.failed(error))?;
            for slice in slices {
                let slice = slice.map_err(|error| self.failed(error))?;
                let end = done + slice.len();
                slice.copy_from(&bytes[done..end]);
                done = end;
            }
        }
        Ok(())
    }

    /// Leaves room unwritten, up to the last byte.
    pub(super) fn skip_to_last(&mut self) {
        let written = self.writable.done;
        while self.writable.left > 1 {
            let room = usize::try_from(self.writable.left - 1).unwrap_or(usize::MAX);
            self.writable.advance(room);
        }
        self.writable.done = written;
    }

    pub(super) fn malformed(&self, reason: &'static str) -> DeviceError {
        DeviceError::Malformed { queue: self.number, reason }
    }

    fn failed(&self, error: GuestMemoryError) -> DeviceError {
        let source = match error {
            GuestMemoryError::IOError(error) => error,
            error => io::Error::other(error),
        };
        DeviceError::Buffer { queue: self.number, source }
    }
}

/// The readable or the writable buffers of a chain.
#[derive(Debug, Default)]
struct Part {
    buffers: Vec<(u64, u32)>,
    /// The buffer that is in use, and how much of it is.
    at: (usize, u32),
    left: u64,
    done: u64,
}

impl Part {
    /// The next range, of at most `len` bytes and never empty.
    fn advance(&mut self, len: usize) -> Option<(GuestAddress, usize)> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        loop {
            let &(address, size) = self.buffers.get(self.at.0)?;
            let used = self.at.1;
            let len = len.min(size - used);
            if len == 0 && used < size {
                return None;
            }
            self.at.1 += len;
            if self.at.1 == size {
                self.at = (self.at.0 + 1, 0);
            }
            if len > 0 {
                self.left -= u64::from(len);
                self.done += u64::from(len);
                // Where the addition would overflow, the access fails at the end of storage.
                return Some((GuestAddress(address.saturating_add(used.into())), len as usize));
            }
        }
    }
}
