//! Channel I/O: a non-secure requestor with a refusal of its own (T10, T11, D23).

use crate::address::{AbsoluteAddress, PAGE_SIZE};
use crate::machine::Machine;
use crate::storage::arena::RequestorNumber;
use crate::storage::{Tag, Verdict, check};
use crate::witness::{Outcome, Step};
use parking_lot::MutexGuard;

/// Why the channel subsystem ends an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChannelRefusal {
    /// The frame is secure (T11).
    #[error("I/O refused: the frame at {0} is secure (T11)")]
    SecureFrame(AbsoluteAddress),
    /// The address lies outside storage.
    #[error("I/O refused: {0} lies outside storage")]
    OutsideStorage(AbsoluteAddress),
}

/// The channel subsystem, as long as one client uses it.
#[derive(Debug)]
pub struct Channel<'m> {
    machine: &'m Machine,
    _turn: MutexGuard<'m, ()>,
}

impl<'m> Channel<'m> {
    pub(crate) fn new(machine: &'m Machine, turn: MutexGuard<'m, ()>) -> Self {
        Self { machine, _turn: turn }
    }

    /// A device reads storage.
    ///
    /// # Errors
    /// The first frame that refuses. Nothing has been read then, unless a frame was secured by another CPU
    /// during the transfer.
    pub fn read(&mut self, address: AbsoluteAddress, bytes: &mut [u8]) -> Result<(), ChannelRefusal> {
        let done = self.read_frames(address, bytes);
        let outcome = match done {
            Ok(()) => Outcome::Loaded(bytes),
            Err(refusal) => Outcome::Refused(refusal),
        };
        self.machine.tell(Step::ChannelRead(address, bytes.len() as u64), outcome);
        done
    }

    fn read_frames(&mut self, address: AbsoluteAddress, bytes: &mut [u8]) -> Result<(), ChannelRefusal> {
        self.probe(address, bytes.len() as u64)?;
        let mut at = address;
        for part in Pieces::new(address, bytes.len()) {
            let access = self.machine.storage.begin(self.requestor(), at.frame());
            if check(Tag::NonSecure, access.zone()) != Verdict::Allow {
                return Err(ChannelRefusal::SecureFrame(at));
            }
            access.load(at.offset(), &mut bytes[part.clone()]);
            at = AbsoluteAddress(at.0 + part.len() as u64);
        }
        Ok(())
    }

    /// A device writes storage.
    ///
    /// # Errors
    /// The first frame that refuses. Nothing has been written then, unless a frame was secured by another CPU
    /// during the transfer: what went before stays, as on a real channel.
    pub fn write(&mut self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), ChannelRefusal> {
        let done = self.write_frames(address, bytes);
        let outcome = match done {
            Ok(()) => Outcome::Done,
            Err(refusal) => Outcome::Refused(refusal),
        };
        self.machine.tell(Step::ChannelWrite(address, bytes), outcome);
        done
    }

    fn write_frames(&mut self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), ChannelRefusal> {
        self.probe(address, bytes.len() as u64)?;
        let mut at = address;
        for part in Pieces::new(address, bytes.len()) {
            let access = self.machine.storage.begin(self.requestor(), at.frame());
            if check(Tag::NonSecure, access.zone()) != Verdict::Allow {
                return Err(ChannelRefusal::SecureFrame(at));
            }
            access.store(at.offset(), &bytes[part.clone()]);
            at = AbsoluteAddress(at.0 + part.len() as u64);
        }
        Ok(())
    }

    fn probe(&self, address: AbsoluteAddress, len: u64) -> Result<(), ChannelRefusal> {
        let storage = &self.machine.storage;
        if !storage.contains(address, len) {
            return Err(ChannelRefusal::OutsideStorage(address));
        }
        let mut at = address.0;
        while at < address.0 + len {
            let frame = AbsoluteAddress(at).frame();
            if check(Tag::NonSecure, storage.zone(frame)) != Verdict::Allow {
                return Err(ChannelRefusal::SecureFrame(AbsoluteAddress(at)));
            }
            at = (at / PAGE_SIZE + 1) * PAGE_SIZE;
        }
        Ok(())
    }

    fn requestor(&self) -> RequestorNumber {
        self.machine.channel_requestor()
    }
}

impl Drop for Channel<'_> {
    fn drop(&mut self) {
        self.machine.channel_released();
    }
}

/// Cuts a stretch at page boundaries.
struct Pieces {
    offset: usize,
    done: usize,
    len: usize,
}

impl Pieces {
    fn new(address: AbsoluteAddress, len: usize) -> Self {
        Self { offset: address.offset(), done: 0, len }
    }
}

impl Iterator for Pieces {
    type Item = core::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = PAGE_SIZE as usize;
        let len = (self.len - self.done).min(page - (self.offset + self.done) % page);
        let start = self.done;
        self.done += len;
        (len > 0).then_some(start..start + len)
    }
}
