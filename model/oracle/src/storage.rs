//! Bytes of absolute storage, and what a frame is.

use crate::ids::{AbsoluteAddress, FrameNumber};
use crate::state::{Bytes, Digest, Donated, Purpose, State, Zone};
use std::sync::Arc;

/// Bytes in a frame.
pub(crate) const FRAME: u64 = 4096;

static ZEROS: [u8; FRAME as usize] = [0; FRAME as usize];

impl State {
    /// Whether all of a stretch lies in storage.
    pub(crate) fn has_storage(&self, address: AbsoluteAddress, length: u64) -> bool {
        address.0.checked_add(length).is_some_and(|end| end <= self.setup.storage)
    }

    /// What a frame is.
    pub fn zone(&self, frame: FrameNumber) -> Zone {
        if let Some(&registration) = self.registered.get(&frame) {
            return Zone::Registered(registration);
        }
        match self.donated.get_prev(&frame) {
            Some((first, donated)) if frame.0 - first.0 < donated.count => Zone::Donated(donated.purpose),
            _ => Zone::NonSecure,
        }
    }

    /// Whether all of so many frames are \[N\] and in storage (T76, T77).
    pub(crate) fn all_non_secure(&self, first: FrameNumber, count: u64) -> bool {
        let Some(last) = first.0.checked_add(count.max(1) - 1) else { return false };
        let before = self.donated.get_prev(&FrameNumber(last));
        last < self.setup.storage / FRAME
            && self.registered.range(first..=FrameNumber(last)).next().is_none()
            && before.is_none_or(|(start, donated)| start.0 + donated.count <= first.0)
    }

    /// Makes a stretch of \[N\] frames donated; nothing is left of their bytes (D16).
    pub(crate) fn donate(&mut self, first: FrameNumber, donated: Donated) {
        let last = FrameNumber(first.0 + donated.count - 1);
        let bytes: Vec<FrameNumber> = self.storage.range(first..=last).map(|(&frame, _)| frame).collect();
        for frame in bytes {
            self.storage.remove(&frame);
        }
        self.donated.insert(first, donated);
    }

    /// Gives all that was donated for one of these purposes back, as zeros (T42, Q28).
    pub(crate) fn give_back(&mut self, purposes: &[Purpose]) {
        let stretches = self.donated.iter().filter(|(_, donated)| purposes.contains(&donated.purpose));
        let firsts: Vec<FrameNumber> = stretches.map(|(&first, _)| first).collect();
        for first in firsts {
            self.donated.remove(&first);
        }
    }

    /// The bytes of a frame.
    pub fn frame(&self, frame: FrameNumber) -> Bytes {
        self.storage.get(&frame).cloned().unwrap_or_else(|| Arc::new([0; FRAME as usize]))
    }

    /// Gives a frame other bytes.
    pub(crate) fn set_frame(&mut self, frame: FrameNumber, bytes: Bytes) {
        if *bytes == ZEROS {
            self.storage.remove(&frame);
        } else {
            self.storage.insert(frame, bytes);
        }
    }

    /// Reads storage, whatever fences it; it must lie in storage.
    pub(crate) fn read(&self, address: AbsoluteAddress, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (frame, from, to) in (address.0..address.0 + length).step_by_frames() {
            match self.storage.get(&frame) {
                Some(frame) => bytes.extend_from_slice(&frame[from..to]),
                None => bytes.resize(bytes.len() + to - from, 0),
            }
        }
        bytes
    }

    /// Reads eight bytes that do not cross a frame boundary and lie in storage.
    pub(crate) fn doubleword(&self, address: AbsoluteAddress) -> u64 {
        let Some(bytes) = self.storage.get(&FrameNumber(address.0 / FRAME)) else { return 0 };
        let from = (address.0 % FRAME) as usize & !7;
        let bytes = core::array::from_fn(|at| bytes[from + at]);
        if self.setup.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    /// Writes storage, whatever fences it; it must lie in storage.
    pub(crate) fn write(&mut self, address: AbsoluteAddress, bytes: &[u8]) {
        let mut rest = bytes;
        for (frame, from, to) in (address.0..address.0 + bytes.len() as u64).step_by_frames() {
            let (part, tail) = rest.split_at(to - from);
            let mut all = *self.frame(frame);
            all[from..to].copy_from_slice(part);
            self.set_frame(frame, Arc::new(all));
            rest = tail;
        }
    }
}

/// Stands for the content of a page.
pub(crate) fn digest(bytes: &Bytes) -> Digest {
    Digest(xxhash_rust::xxh3::xxh3_128(&bytes[..]))
}

/// A stretch of bytes, cut at frame boundaries.
pub(crate) trait Frames {
    /// Frame, offset of the first byte, offset behind the last.
    fn step_by_frames(self) -> impl Iterator<Item = (FrameNumber, usize, usize)>;
}

impl Frames for core::ops::Range<u64> {
    fn step_by_frames(self) -> impl Iterator<Item = (FrameNumber, usize, usize)> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            let end = self.end.min((at / FRAME + 1) * FRAME);
            let part = (FrameNumber(at / FRAME), (at % FRAME) as usize, (end - at / FRAME * FRAME) as usize);
            let more = at < end;
            at = end;
            more.then_some(part)
        })
    }
}
