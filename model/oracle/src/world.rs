//! What the oracle does not decide: the complete list of its looseness.

use crate::ids::{FrameNumber, Handle};
use crate::state::{Bytes, ImageKey, Opened};

/// Whoever runs the oracle beside something.
pub trait World {
    /// The rules allow several things here; which of so many is it? Answers below `count`. Whoever compares tries
    /// them all, beginning with 0, until the machine's answer is among them.
    fn choose(&mut self, looseness: Looseness, count: usize) -> usize;

    /// A new handle was drawn. Its value is the machine's; the oracle objects to one that D20 excludes.
    fn handle(&mut self) -> Handle;

    /// The bytes that an export has left in a frame. Their value is the cipher's; the oracle objects to bytes that
    /// stand for something else already (I-11, I-12, I-22).
    fn ciphertext(&mut self, frame: FrameNumber) -> Bytes;

    /// Output bytes of a query whose value no rule tells (hashes of keys): so many bytes of the block, from `offset`.
    fn query_output(&mut self, offset: usize, length: usize) -> Vec<u8>;

    /// Opens an SE header whose form the oracle has found sound, with the machine's host keys.
    fn open_header(&mut self, header: &[u8]) -> Opened;

    /// Decrypts a page of an image.
    fn decrypt(&mut self, key: ImageKey, tweak: (u64, u64), page: &Bytes) -> Bytes;

    /// SHA-512 of the concatenation of the parts.
    fn digest(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64];
}

/// Where the rules leave something open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looseness {
    /// A translation buffer may have kept a translation, or may have lost it (D63). Asked only if it makes a
    /// difference: those that may be kept come first, the one used last in front; what the tables say comes last.
    TranslationBuffer,
}
