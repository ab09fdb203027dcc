//! The bounce buffer (Linux: swiotlb): shared slots through which everything goes that a device shall see.

use std::collections::BTreeMap;
use virtio_drivers::BufferDirection;

/// Bytes of a slot.
pub(crate) const SLOT: u64 = 2048;
/// Slots of a segment. A mapping lies within one, so 256 KiB are the most that can be mapped at once.
pub(crate) const SEGMENT: u64 = 128;

/// A mapping that cannot be had, in Linux's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("swiotlb buffer is full (sz: {size} bytes), total {total} (slots), used {used} (slots)")]
pub(crate) struct PoolFull {
    /// Bytes wanted.
    pub(crate) size: u64,
    /// Slots there are.
    pub(crate) total: u64,
    /// Slots in use.
    pub(crate) used: u64,
}

/// What a pool counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PoolCounters {
    /// Mappings made.
    pub(crate) mappings: u64,
    /// Copies into slots.
    pub(crate) copies_in: u64,
    /// Bytes copied into slots.
    pub(crate) bytes_in: u64,
    /// Copies out of slots.
    pub(crate) copies_out: u64,
    /// Bytes copied out of slots.
    pub(crate) bytes_out: u64,
    /// Most slots in use at a time.
    pub(crate) peak: u64,
}

/// Slots at the end of guest memory, mirrored here.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    first: u64,
    taken: Vec<bool>,
    memory: Vec<u8>,
    mappings: BTreeMap<u64, Mapping>,
    used: u64,
    counters: PoolCounters,
    /// What has been copied in since the guest's storage was last brought in line.
    changed: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    slots: u64,
    length: u64,
}

impl Pool {
    /// A pool of slots that ends where guest memory ends; fewer slots if memory is smaller.
    #[must_use]
    pub(crate) fn new(memory: u64, slots: u64) -> Self {
        let slots = slots.min(memory / SLOT);
        let length = usize::try_from(slots).unwrap_or(0);
        Self {
            first: memory - slots * SLOT,
            taken: vec![false; length],
            memory: vec![0; length * SLOT as usize],
            ..Self::default()
        }
    }

    /// Guest absolute address of the first slot.
    #[must_use]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Number of slots.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.taken.len() as u64
    }

    /// Slots in use.
    #[must_use]
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// What has been counted.
    #[must_use]
    pub(crate) fn counters(&self) -> PoolCounters {
        self.counters
    }

    /// Whether all of these lengths can be mapped at once.
    ///
    /// # Errors
    /// The first that cannot.
    pub(crate) fn would_fit(&mut self, lengths: &[u64]) -> Result<(), PoolFull> {
        let mut held = Vec::with_capacity(lengths.len());
        let mut verdict = Ok(());
        for &length in lengths {
            match self.reserve(length) {
                Ok(index) => held.push((index, slots_of(length))),
                Err(full) => {
                    verdict = Err(full);
                    break;
                }
            }
        }
        held.into_iter().for_each(|(index, slots)| self.release(index, slots));
        verdict
    }

    /// Maps bytes. Linux copies them in whichever way they go: what a device does not write keeps its value.
    ///
    /// # Errors
    /// No run of free slots is long enough.
    pub(crate) fn map(&mut self, bytes: &[u8]) -> Result<u64, PoolFull> {
        let length = bytes.len() as u64;
        let index = self.reserve(length)?;
        let slots = slots_of(length);
        let address = self.first + index * SLOT;
        self.mappings.insert(address, Mapping { slots, length });
        self.counters.mappings += 1;
        self.counters.peak = self.counters.peak.max(self.used);
        self.counters.copies_in += 1;
        self.counters.bytes_in += length;
        self.write(address, bytes);
        self.changed.push((address, length));
        Ok(address)
    }

    /// Ends a mapping; what the device was to write is copied out. An address that is not mapped does nothing.
    pub(crate) fn unmap(&mut self, address: u64, buffer: &mut [u8], direction: BufferDirection) {
        let Some(mapping) = self.mappings.remove(&address) else { return };
        if direction != BufferDirection::DriverToDevice
            && let Some(bytes) = self.bytes(address, mapping.length)
        {
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            self.counters.copies_out += 1;
            self.counters.bytes_out += length as u64;
        }
        self.release((address - self.first) / SLOT, mapping.slots);
    }

    /// Bytes of the mirror.
    #[must_use]
    pub(crate) fn bytes(&self, address: u64, length: u64) -> Option<&[u8]> {
        let at = usize::try_from(address.checked_sub(self.first)?).ok()?;
        self.memory.get(at..at.checked_add(usize::try_from(length).ok()?)?)
    }

    /// Brings the mirror in line; bytes beyond the pool go nowhere.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        let Some(at) = address.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else { return };
        if let Some(target) = at.checked_add(bytes.len()).and_then(|end| self.memory.get_mut(at..end)) {
            target.copy_from_slice(bytes);
        }
    }

    /// Address and length of what has been copied in since it was last asked for.
    pub(crate) fn take_changed(&mut self) -> Vec<(u64, u64)> {
        core::mem::take(&mut self.changed)
    }

    /// Lowest first, within a segment.
    fn reserve(&mut self, length: u64) -> Result<u64, PoolFull> {
        let wanted = slots_of(length);
        let full = PoolFull { size: length, total: self.total(), used: self.used };
        if wanted > SEGMENT {
            return Err(full);
        }
        for (number, segment) in (0u64..).zip(self.taken.chunks_mut(SEGMENT as usize)) {
            let Some(start) = run_of_free(segment, wanted as usize) else { continue };
            segment[start..start + wanted as usize].fill(true);
            self.used += wanted;
            return Ok(number * SEGMENT + start as u64);
        }
        Err(full)
    }

    fn release(&mut self, index: u64, slots: u64) {
        self.taken[index as usize..(index + slots) as usize].fill(false);
        self.used -= slots;
    }
}

/// Slots that a mapping takes.
fn slots_of(length: u64) -> u64 {
    length.div_ceil(SLOT).max(1)
}

fn run_of_free(segment: &[bool], wanted: usize) -> Option<usize> {
    let mut run = 0;
    for (at, &taken) in segment.iter().enumerate() {
        run = if taken { 0 } else { run + 1 };
        if run == wanted {
            return Some(at + 1 - wanted);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_pool_speaks_as_linux_does() {
        let mut pool = Pool::new(1 << 20, 4);
        assert_eq!(pool.first(), (1 << 20) - 4 * SLOT);
        pool.map(&[1; 4097]).unwrap();
        let full = pool.map(&[0; 4096]).unwrap_err();
        assert_eq!(full.to_string(), "swiotlb buffer is full (sz: 4096 bytes), total 4 (slots), used 3 (slots)");
        assert!(pool.would_fit(&[1]).is_ok());
        assert_eq!(pool.would_fit(&[1, 1]).unwrap_err().used, 4);
        assert_eq!(pool.used(), 3, "asking takes nothing");
    }

    #[test]
    fn without_slots_nothing_can_be_mapped() {
        let mut pool = Pool::new(1 << 20, 0);
        let full = pool.map(&[0]).unwrap_err();
        assert_eq!(full.to_string(), "swiotlb buffer is full (sz: 1 bytes), total 0 (slots), used 0 (slots)");
    }

    #[test]
    fn a_mapping_stays_within_a_segment() {
        let mut pool = Pool::new(1 << 20, 2 * SEGMENT);
        let whole = vec![0; (SEGMENT * SLOT) as usize];
        pool.map(&[0]).unwrap();
        assert_eq!(pool.map(&whole), Ok(pool.first() + SEGMENT * SLOT));
        assert!(pool.would_fit(&[SEGMENT * SLOT]).is_err());
        let mut empty = Pool::new(1 << 20, 2 * SEGMENT);
        assert!(empty.would_fit(&[SEGMENT * SLOT + 1]).is_err(), "no mapping is longer than a segment");
        assert!(empty.would_fit(&[SEGMENT * SLOT, SEGMENT * SLOT]).is_ok());
    }

    #[test]
    fn only_what_a_device_writes_comes_back() {
        let mut pool = Pool::new(1 << 20, 4);
        let (out, back) = (pool.map(&[1; 8]).unwrap(), pool.map(&[2; 8]).unwrap());
        assert_eq!(pool.take_changed(), [(out, 8), (back, 8)]);
        pool.write(out, &[9; 8]);
        pool.write(back, &[9; 4]);
        let mut buffer = [0; 8];
        pool.unmap(out, &mut buffer, BufferDirection::DriverToDevice);
        assert_eq!(buffer, [0; 8]);
        pool.unmap(back, &mut buffer, BufferDirection::DeviceToDriver);
        assert_eq!(buffer, [9, 9, 9, 9, 2, 2, 2, 2], "the rest keeps its value");
        pool.unmap(back, &mut buffer, BufferDirection::DeviceToDriver);
        assert_eq!(pool.used(), 0);
        let counters = pool.counters();
        assert_eq!((counters.copies_in, counters.bytes_in, counters.copies_out, counters.bytes_out), (2, 16, 1, 8));
    }

    proptest! {
        /// Against a list of intervals.
        #[test]
        fn slots_are_given_once(slots in 0u64..300, steps in prop::collection::vec((any::<bool>(), 0u64..300_000), 1..60)) {
            let mut pool = Pool::new(1 << 20, slots);
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (take, value) in steps {
                if take || held.is_empty() {
                    let wanted = slots_of(value);
                    let free = |at: u64| held.iter().all(|&(start, len)| at < start || at >= start + len);
                    let place = (0..slots).find(|&start| {
                        wanted <= SEGMENT
                            && start + wanted <= slots
                            && start / SEGMENT == (start + wanted - 1) / SEGMENT
                            && (start..start + wanted).all(free)
                    });
                    let got = pool.map(&vec![0; value as usize]);
                    prop_assert_eq!(got.ok(), place.map(|place| pool.first() + place * SLOT));
                    held.extend(place.map(|place| (place, wanted)));
                } else {
                    let (start, _) = held.swap_remove(value as usize % held.len());
                    pool.unmap(pool.first() + start * SLOT, &mut [], BufferDirection::DriverToDevice);
                }
                prop_assert_eq!(pool.used(), held.iter().map(|&(_, len)| len).sum::<u64>());
            }
        }
    }
}
