//! An Ultravisor call: its control block, and how it can end.

use crate::Objection;
use crate::ids::{CpuNumber, FrameNumber};
use crate::state::State;

/// A control block, as it was fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// All of its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Byte order of its fields.
    pub(crate) big_endian: bool,
}

impl Block {
    pub(crate) fn u64(&self, offset: usize) -> u64 {
        let bytes = self.array(offset);
        if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    pub(crate) fn u32(&self, offset: usize) -> u32 {
        let bytes = self.array(offset);
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(crate) fn u16(&self, offset: usize) -> u16 {
        let bytes = self.array(offset);
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(crate) fn u8(&self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// Bytes beyond the end of the block count as zeros.
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        core::array::from_fn(|at| self.bytes.get(offset + at).copied().unwrap_or(0))
    }
}

/// Who calls, and where its block lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    /// The host CPU; for a call of a guest the one that it runs on.
    pub(crate) cpu: CpuNumber,
    /// The block.
    pub(crate) block: Block,
    /// Its frames (D5).
    pub(crate) frames: Vec<FrameNumber>,
}

/// A call that did something, or had nothing to do.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Done {
    /// What the machine is now.
    pub(crate) state: State,
    /// The row that says so.
    pub(crate) rule: &'static str,
    /// Outputs: offset in the block, bytes.
    pub(crate) outputs: Vec<(usize, Vec<u8>)>,
}

/// A response other than "executed".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// Response code.
    pub(crate) rc: u16,
    /// Reason code.
    pub(crate) rrc: u16,
    /// The row that says so.
    pub(crate) rule: &'static str,
}

/// Why a call does not simply succeed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stop {
    /// Refused: condition code 1, nothing has changed.
    Refused(Refusal),
    /// Condition code 1 all the same, but it is done and its outputs count (D4).
    Delivered(Box<Done>, Refusal),
    /// Condition code 2 or 3: nothing has changed.
    Again(u8),
    /// The world is wrong.
    Objection(Objection),
}

/// What a command function returns. Refused calls change nothing (I-18) because they have no state to return.
pub(crate) type Ruling = Result<Done, Stop>;

impl State {
    /// Ends a call without outputs.
    pub(crate) fn done(self, rule: &'static str) -> Ruling {
        Ok(Done { state: self, rule, outputs: Vec::new() })
    }
}

/// Refuses a call.
pub(crate) fn refuse<T>(rc: u16, rrc: u16, rule: &'static str) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal { rc, rrc, rule }))
}
