//! Which frames nobody uses, which are set aside, and how many guest pages map one.

use super::intervals::Intervals;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use uvsim_model::Machine;
use uvsim_model::address::FrameNumber;
use uvsim_model::storage::FrameState;

/// The host's account of frames. Lanes on threads share it.
#[derive(Debug)]
pub(super) struct Frames {
    /// Frames that nobody uses, lowest first.
    free: Intervals,
    /// Frames given up while the Ultravisor still knows them; free once they are non-secure (D68).
    set_aside: BTreeSet<FrameNumber>,
    /// How many guest pages map a frame.
    aliases: BTreeMap<FrameNumber, u64>,
}

impl Frames {
    /// All of a range are free but the reserved ones.
    pub(super) fn new(all: Range<u64>, reserved: Range<u64>) -> Self {
        let mut free = Intervals::new(all);
        free.reserve(reserved);
        Self { free, set_aside: BTreeSet::new(), aliases: BTreeMap::new() }
    }

    /// How many are free.
    pub(super) fn total(&self) -> u64 {
        self.free.total()
    }

    /// `count` consecutive frames, aligned to `align` frames, lowest first; none if there are not as many together.
    pub(super) fn take(&mut self, machine: &Machine, count: u64, align: u64) -> Option<FrameNumber> {
        let mut swept = false;
        loop {
            match self.free.take(count, align) {
                Some(first) if all_non_secure(machine, first, count) => return Some(FrameNumber(first)),
                // A raw call has donated frames that the kernel took for free.
                Some(first) => (first..first + count).for_each(|frame| self.release(machine, FrameNumber(frame))),
                None if swept => return None,
                None => {
                    self.sweep(machine);
                    swept = true;
                }
            }
        }
    }

    /// Gives a frame up: to the free list if it is non-secure, else set aside (D68).
    pub(super) fn release(&mut self, machine: &Machine, frame: FrameNumber) {
        if machine.frame_state(frame) == FrameState::NonSecure {
            self.free.give(frame.0);
        } else {
            self.set_aside.insert(frame);
        }
    }

    /// Frees what was set aside and has become non-secure.
    pub(super) fn sweep(&mut self, machine: &Machine) {
        let free = &mut self.free;
        self.set_aside.retain(|&frame| {
            let kept = machine.frame_state(frame) != FrameState::NonSecure;
            if !kept {
                free.give(frame.0);
            }
            kept
        });
    }

    /// A guest page maps a frame.
    pub(super) fn link(&mut self, frame: FrameNumber) {
        *self.aliases.entry(frame).or_default() += 1;
    }

    /// A guest page maps a frame no more. Whether it was the last.
    pub(super) fn unlink(&mut self, frame: FrameNumber) -> bool {
        let count = self.aliases.entry(frame).or_default();
        *count = count.saturating_sub(1);
        let last = *count == 0;
        if last {
            self.aliases.remove(&frame);
        }
        last
    }
}

fn all_non_secure(machine: &Machine, first: u64, count: u64) -> bool {
    (first..first + count).all(|frame| machine.frame_state(FrameNumber(frame)) == FrameState::NonSecure)
}
