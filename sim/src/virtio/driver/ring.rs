//! What a guest believes of a used ring: nothing that it has not asked for.

use super::hal::DmaSpace;
use crate::virtio::port::QueueRegisters;
use crate::virtio::view::Refusal;
use std::collections::VecDeque;

/// Descriptor flags: another one follows; the device writes the buffer.
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A device that does not keep to the protocol. The driver does not talk to it any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It has given up, or an access of it was refused.
    #[error("the device needs a reset: {reason}")]
    NeedsReset {
        /// What it could not do.
        reason: String,
        /// The access that the host was refused, if that is why.
        refusal: Option<Refusal>,
    },
    /// It has not answered although it was notified.
    #[error("the device does not answer")]
    NoAnswer,
    /// It has used more chains than it was given.
    #[error("the device has used {used} chains and was given {given}")]
    TooMany {
        /// Chains newly in the used ring.
        used: u16,
        /// Chains in flight.
        given: usize,
    },
    /// It has used a chain that it does not have.
    #[error("the device has used chain {id}, which it was not given")]
    UnknownChain {
        /// What it wrote to the used ring.
        id: u32,
    },
    /// It says that it has written more than there is room for.
    #[error("the device says that it has written {length} bytes to chain {id}, which has room for {room}")]
    TooLong {
        /// The chain.
        id: u32,
        /// Bytes, as the device says.
        length: u32,
        /// Bytes that it may write.
        room: u64,
    },
    /// The driver has been given an address that no device can use.
    #[error("a buffer could not be mapped")]
    Unmapped,
    /// The guest was stopped while the device had a request.
    #[error("a request was interrupted")]
    Interrupted,
}

impl Fault {
    /// The access that the host was refused, if that is why.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NeedsReset { refusal, .. } => *refusal,
            _ => None,
        }
    }
}

/// A chain that the device has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Used {
    /// First descriptor.
    pub(crate) id: u16,
    /// Bytes that the device has written, as it says; at most what it may write.
    pub(crate) length: u32,
}

/// A queue as the guest keeps account of it.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    last: u16,
    in_flight: Vec<u16>,
    used: VecDeque<Used>,
}

impl Ring {
    /// A chain goes to the device.
    pub(crate) fn begin(&mut self, id: u16) {
        self.in_flight.push(id);
    }

    /// The next used chain, in the order of the ring.
    pub(crate) fn next(&mut self) -> Option<Used> {
        self.used.pop_front()
    }

    /// The driver waits for no chain any more; the addresses of all buffers that the device had.
    pub(crate) fn abandon(&mut self, space: &DmaSpace, queue: &QueueRegisters) -> Vec<u64> {
        let used = self.used.drain(..).map(|used| used.id);
        let heads = self.in_flight.drain(..).chain(used);
        heads.flat_map(|head| buffers(space, queue, head)).map(|(address, ..)| address).collect()
    }

    /// Looks at the mirror of the used ring; the buffers of newly used chains that the device may have written.
    ///
    /// # Errors
    /// What is there cannot be believed.
    pub(crate) fn harvest(&mut self, space: &DmaSpace, queue: &QueueRegisters) -> Result<Vec<(u64, u64)>, Fault> {
        let Some(ring) = space.ring(queue.used, queue.used_length()) else { return Ok(Vec::new()) };
        let index = u16::from_le_bytes([ring[2], ring[3]]);
        let new = index.wrapping_sub(self.last);
        if usize::from(new) > self.in_flight.len() {
            return Err(Fault::TooMany { used: new, given: self.in_flight.len() });
        }
        let mut written = Vec::new();
        for _ in 0..new {
            let at = 4 + 8 * usize::from(self.last % queue.size);
            let word = |at: usize| u32::from_le_bytes([ring[at], ring[at + 1], ring[at + 2], ring[at + 3]]);
            let (id, length) = (word(at), word(at + 4));
            let known = self.in_flight.iter().position(|&flying| u32::from(flying) == id);
            let Some(known) = known else { return Err(Fault::UnknownChain { id }) };
            let buffers = writable(space, queue, self.in_flight[known]);
            let room = buffers.iter().map(|&(_, length)| length).sum();
            if u64::from(length) > room {
                return Err(Fault::TooLong { id, length, room });
            }
            self.used.push_back(Used { id: self.in_flight.swap_remove(known), length });
            self.last = self.last.wrapping_add(1);
            written.extend(buffers);
        }
        Ok(written)
    }
}

/// The buffers of a chain that the device may write.
fn writable(space: &DmaSpace, queue: &QueueRegisters, head: u16) -> Vec<(u64, u64)> {
    let buffers = buffers(space, queue, head).into_iter();
    buffers.filter_map(|(address, length, write)| write.then_some((address, length))).collect()
}

/// The buffers of a chain: address, length, whether the device may write. The descriptor table is the driver's own,
/// the device has no hand in the mirror of it.
fn buffers(space: &DmaSpace, queue: &QueueRegisters, head: u16) -> Vec<(u64, u64, bool)> {
    let mut buffers = Vec::new();
    let mut next = Some(head);
    for _ in 0..queue.size {
        let Some(at) = next.filter(|&at| at < queue.size) else { break };
        let Some(bytes) = space.ring(queue.descriptors + 16 * u64::from(at), 16) else { break };
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let address = bytes[..8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let length = u64::from(half(8)) | u64::from(half(10)) << 16;
        buffers.push((address, length, half(12) & WRITE != 0));
        next = (half(12) & NEXT != 0).then(|| half(14));
    }
    buffers
}
