//! The control block as bytes with a meaning, and the checks that every call passes.

use super::code::{Refusal, Response};
use super::command::{Command, Issuer, Length};
use super::{HEADER_LENGTH, MAX_BLOCK_LENGTH};
use crate::config::ByteOrder;
use core::ops::Range;

/// The first eight bytes of a control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// Total length, bytes.
    pub length: u16,
    /// Command code.
    pub command: u16,
}

impl BlockHeader {
    /// Reads length and command; rc and rrc are the Ultravisor's to write.
    #[must_use]
    pub const fn parse(bytes: [u8; HEADER_LENGTH], order: ByteOrder) -> Self {
        Self { length: order.u16([bytes[0], bytes[1]]), command: order.u16([bytes[2], bytes[3]]) }
    }
}

/// Which commands an issuer finds installed, bit 0 leftmost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InstalledCalls(pub [u64; 4]);

impl InstalledCalls {
    /// The set with one more command.
    #[must_use]
    pub const fn with(mut self, command: Command) -> Self {
        let bit = command.row().bit as usize;
        self.0[bit / 64] |= 1 << (63 - bit % 64);
        self
    }

    /// Whether a command is installed.
    #[must_use]
    pub const fn contains(self, command: Command) -> bool {
        let bit = command.row().bit as usize;
        self.0[bit / 64] >> (63 - bit % 64) & 1 != 0
    }
}

/// The checks that all commands share, in the order of D2, as far as the header decides them:
/// 0x0002 (unknown, not installed, not this issuer's), 0x0003 (UV not initialised), 0x0005 (length).
///
/// # Errors
/// The first of these refusals that applies.
pub fn general_checks(
    header: BlockHeader,
    issuer: Issuer,
    installed: &InstalledCalls,
    initialised: bool,
) -> Result<Command, Refusal> {
    let invalid = Refusal::new(Response::INVALID_COMMAND, "D2");
    let command = Command::from_code(header.command).ok_or(invalid)?;
    let row = command.row();
    let foreign = row.issuer != Issuer::Both && row.issuer != issuer;
    if foreign || !installed.contains(command) {
        return Err(invalid);
    }
    if row.needs_init && !initialised {
        return Err(Refusal::new(Response::INVALID_STATE, "D2"));
    }
    let fits = match row.length {
        Length::Exact(length) => header.length == length,
        Length::AtLeast(length) => header.length >= length,
    };
    if !fits {
        return Err(Refusal::new(Response::INVALID_LENGTH, "Q16"));
    }
    Ok(command)
}

/// A control block, fetched whole. Outputs are collected and stored only when the call is done (D3).
#[derive(Clone, Debug)]
pub struct Block {
    bytes: [u8; MAX_BLOCK_LENGTH],
    length: u16,
    order: ByteOrder,
    written: Range<u16>,
}

impl Block {
    /// A block of `length` bytes; only the first 0x200 are kept, which is all that any command reads.
    #[must_use]
    pub const fn new(length: u16, order: ByteOrder) -> Self {
        Self { bytes: [0; MAX_BLOCK_LENGTH], length, order, written: 0..0 }
    }

    /// Makes it a block of another call, without clearing what will be overwritten: bytes that are not kept
    /// are never read.
    pub(crate) fn reset(&mut self, length: u16) {
        self.length = length;
        self.written = 0..0;
        self.kept_mut().fill(0);
    }

    /// Length from the header, bytes.
    #[must_use]
    pub const fn length(&self) -> u16 {
        self.length
    }

    /// The bytes that are kept, to be filled from storage.
    pub fn kept_mut(&mut self) -> &mut [u8] {
        let kept = usize::from(self.length).min(MAX_BLOCK_LENGTH);
        &mut self.bytes[..kept]
    }

    /// The bytes that are kept.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(MAX_BLOCK_LENGTH)]
    }

    /// An input doubleword.
    #[must_use]
    pub fn u64(&self, offset: u16) -> u64 {
        self.order.u64(self.array(offset))
    }

    /// An input word.
    #[must_use]
    pub fn u32(&self, offset: u16) -> u32 {
        self.order.u32(self.array(offset))
    }

    /// An input halfword.
    #[must_use]
    pub fn u16(&self, offset: u16) -> u16 {
        self.order.u16(self.array(offset))
    }

    /// An input byte.
    #[must_use]
    pub fn u8(&self, offset: u16) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// Sets an output doubleword.
    pub fn set_u64(&mut self, offset: u16, value: u64) {
        self.set(offset, &self.order.u64_bytes(value));
    }

    /// Sets an output word.
    pub fn set_u32(&mut self, offset: u16, value: u32) {
        self.set(offset, &self.order.u32_bytes(value));
    }

    /// Sets an output halfword.
    pub fn set_u16(&mut self, offset: u16, value: u16) {
        self.set(offset, &self.order.u16_bytes(value));
    }

    /// Sets output bytes. What lies beyond the block is dropped: a short QUI gets what fits.
    pub fn set(&mut self, offset: u16, bytes: &[u8]) {
        let end = usize::from(self.length).min(MAX_BLOCK_LENGTH);
        let start = usize::from(offset).min(end);
        let stop = (start + bytes.len()).min(end);
        self.bytes[start..stop].copy_from_slice(&bytes[..stop - start]);
        let (start, stop) = (start as u16, stop as u16);
        self.written = if self.written.is_empty() {
            start..stop
        } else {
            self.written.start.min(start)..self.written.end.max(stop)
        };
    }

    /// Offset and bytes of what must be stored back.
    #[must_use]
    pub fn output(&self) -> (u16, &[u8]) {
        let range = usize::from(self.written.start)..usize::from(self.written.end);
        (self.written.start, &self.bytes[range])
    }

    fn array<const N: usize>(&self, offset: u16) -> [u8; N] {
        let mut array = [0; N];
        if let Some(bytes) = self.kept().get(usize::from(offset)..usize::from(offset) + N) {
            array.copy_from_slice(bytes);
        }
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> InstalledCalls {
        Command::ALL.iter().fold(InstalledCalls::default(), |set, &command| set.with(command))
    }

    fn rc(command: u16, length: u16, issuer: Issuer, installed: &InstalledCalls, initialised: bool) -> u16 {
        match general_checks(BlockHeader { length, command }, issuer, installed, initialised) {
            Ok(_) => Response::EXECUTED,
            Err(refusal) => refusal.rc,
        }
    }

    /// All pairs of faults: the one that D2 ranks first is the answer.
    #[test]
    fn d2_order_holds_for_every_command() {
        for &command in Command::ALL {
            let row = command.row();
            let right = if row.issuer == Issuer::Guest { Issuer::Guest } else { Issuer::Host };
            let wrong = if right == Issuer::Host { Issuer::Guest } else { Issuer::Host };
            let (code, good) = (command.code(), command.usual_length());
            let none = InstalledCalls::default();
            assert_eq!(rc(code, good, right, &all(), true), Response::EXECUTED);
            assert_eq!(
                rc(code, good - 1, right, &all(), true),
                match row.length {
                    Length::Exact(_) => Response::INVALID_LENGTH,
                    Length::AtLeast(_) => Response::EXECUTED,
                }
            );
            assert_eq!(rc(code, 8, right, &all(), true), Response::INVALID_LENGTH);
            assert_eq!(rc(code, 8, right, &none, false), Response::INVALID_COMMAND);
            if row.issuer != Issuer::Both {
                assert_eq!(rc(code, 8, wrong, &all(), false), Response::INVALID_COMMAND);
            }
            if row.needs_init {
                assert_eq!(rc(code, 8, right, &all(), false), Response::INVALID_STATE);
            }
        }
        assert_eq!(rc(0x4242, 8, Issuer::Host, &all(), false), Response::INVALID_COMMAND, "C7");
    }

    #[test]
    fn fields_follow_the_byte_order_and_outputs_stay_inside() {
        let mut block = Block::new(0x28, ByteOrder::Big);
        block.kept_mut()[0x18..0x20].copy_from_slice(&0x1122_3344_5566_7788u64.to_be_bytes());
        assert_eq!((block.u64(0x18), block.u16(0x18), block.u8(0x1f)), (0x1122_3344_5566_7788, 0x1122, 0x88));
        assert!(block.output().1.is_empty());
        block.set_u64(0x24, u64::MAX);
        assert_eq!(block.output(), (0x24, &[0xff; 4][..]));
        assert_eq!(block.u64(0x1fc), 0, "beyond what is kept");
    }

    #[test]
    fn a_block_that_is_used_again_shows_nothing_of_the_last_call() {
        let mut block = Block::new(0x40, ByteOrder::Big);
        block.kept_mut().fill(0xff);
        block.set_u64(0x38, 1);
        block.reset(0x20);
        assert_eq!((block.length(), block.output().1, block.kept()), (0x20, &[][..], &[0; 0x20][..]));
        assert_eq!((block.u64(0x18), block.u64(0x1c), block.u64(0x20), block.u8(0x3f)), (0, 0, 0, 0));
        block.reset(0x40);
        assert_eq!(block.kept(), [0; 0x40]);
    }
}
