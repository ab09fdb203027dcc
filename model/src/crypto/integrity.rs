//! What an integrity row keeps of a page: change hash and tag.

use std::fmt;

use ctutils::CtEq;

use super::position::{Counter, SealIndex};

/// The hash by which an export finds out whether a page has changed since the last one (D39).
///
/// It is a secret of the Ultravisor: `Debug` hides it and nothing prints it. It can be compared in
/// constant time only:
///
/// ```
/// use uvsim_model::crypto::ChangeHash;
/// let hash = ChangeHash::from_words([1, 2]);
/// assert!(hash.ct_eq(&hash));
/// ```
/// ```compile_fail,E0369
/// use uvsim_model::crypto::ChangeHash;
/// let hash = ChangeHash::from_words([1, 2]);
/// assert!(hash == hash);
/// ```
///
/// Every value is possible: a page of zeros has the hash zero under profile `gcm`, whatever the key.
/// Zero therefore must not stand for "none"; that a page has no hash yet shows in its counter, 0.
#[derive(Clone, Copy)]
pub struct ChangeHash([u64; 2]);

/// What makes an exported page genuine: the GCM tag, under profile `xts` the second half of the
/// HMAC-SHA-256 value. It stays in the integrity row. Compared in constant time only, see [`ChangeHash`]:
///
/// ```compile_fail,E0369
/// use uvsim_model::crypto::Tag;
/// let tag = Tag::from_words([1, 2]);
/// assert!(tag == tag);
/// ```
#[derive(Clone, Copy)]
pub struct Tag([u64; 2]);

/// Change hash and tag together: the 32 bytes of an integrity row, as four words.
///
/// Under profile `gcm` the halves are two independent values, under `xts` they are the 32 bytes of
/// one HMAC-SHA-256 value in order, so that either half is that function cut to 128 bits (RFC 4868).
#[derive(Clone, Copy, Debug)]
pub struct Integrity {
    /// Words 0 and 1.
    pub hash: ChangeHash,
    /// Words 2 and 3.
    pub tag: Tag,
}

/// A page is not what was exported: changed, moved, of another configuration or too old (I-16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("page {:#x} is not what was exported under counter {} (T25, I-16)", .index.value(), .counter.value())]
pub struct IntegrityError {
    /// The page that was to be imported.
    pub index: SealIndex,
    /// The counter of its last export.
    pub counter: Counter,
}

/// Both values are 16 bytes that are compared in constant time and kept as two words in a row.
macro_rules! sixteen_bytes {
    ($name:ident) => {
        impl $name {
            /// From the two words of an integrity row.
            #[must_use]
            pub const fn from_words(words: [u64; 2]) -> Self {
                Self(words)
            }

            /// As two words for an integrity row.
            #[must_use]
            pub const fn to_words(self) -> [u64; 2] {
                self.0
            }

            /// From the bytes that the algorithm returned.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                let value = u128::from_be_bytes(bytes);
                Self([(value >> 64) as u64, value as u64])
            }

            /// The bytes that the algorithm returned.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                ((self.0[0] as u128) << 64 | self.0[1] as u128).to_be_bytes()
            }

            /// Whether both are equal, in a time that does not depend on where they differ.
            #[must_use]
            pub fn ct_eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).to_bool()
            }
        }
    };
}

sixteen_bytes!(ChangeHash);
sixteen_bytes!(Tag);

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeHash(..)")
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:016x}{:016x})", self.0[0], self.0[1])
    }
}

impl Integrity {
    /// From the four words of an integrity row: change hash, then tag.
    #[must_use]
    pub const fn from_words([hash0, hash1, tag0, tag1]: [u64; 4]) -> Self {
        Self { hash: ChangeHash([hash0, hash1]), tag: Tag([tag0, tag1]) }
    }

    /// As four words for an integrity row: change hash, then tag.
    #[must_use]
    pub const fn to_words(self) -> [u64; 4] {
        let ([hash0, hash1], [tag0, tag1]) = (self.hash.0, self.tag.0);
        [hash0, hash1, tag0, tag1]
    }

    /// Splits the HMAC-SHA-256 value of profile `xts`.
    pub(super) fn from_digest(digest: &[u8; 32]) -> Self {
        let (mut hash, mut tag) = ([0; 16], [0; 16]);
        hash.copy_from_slice(&digest[..16]);
        tag.copy_from_slice(&digest[16..]);
        Self { hash: ChangeHash::from_bytes(hash), tag: Tag::from_bytes(tag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_looks_at_every_bit() {
        let bytes: [u8; 16] = std::array::from_fn(|byte| byte as u8 + 1);
        assert!(ChangeHash::from_bytes(bytes).ct_eq(&ChangeHash::from_bytes(bytes)));
        assert!(Tag::from_bytes(bytes).ct_eq(&Tag::from_bytes(bytes)));
        for bit in 0..128 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!ChangeHash::from_bytes(bytes).ct_eq(&ChangeHash::from_bytes(other)), "bit {bit}");
            assert!(!Tag::from_bytes(bytes).ct_eq(&Tag::from_bytes(other)), "bit {bit}");
        }
    }

    #[test]
    fn bytes_and_words_hold_the_same() {
        let digest: [u8; 32] = std::array::from_fn(|byte| byte as u8);
        let integrity = Integrity::from_digest(&digest);
        let words = [0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f, 0x1011_1213_1415_1617, 0x1819_1a1b_1c1d_1e1f];
        assert_eq!(integrity.to_words(), words);
        assert_eq!(Integrity::from_words(words).to_words(), words);
        assert_eq!(integrity.hash.to_bytes(), digest[..16]);
        assert_eq!(integrity.tag.to_bytes(), digest[16..]);
        assert_eq!(ChangeHash::from_words([words[0], words[1]]).to_words(), [words[0], words[1]]);
        assert_eq!(Tag::from_words([words[2], words[3]]).to_words(), [words[2], words[3]]);
    }

    #[test]
    fn debug_shows_the_tag_but_not_the_hash() {
        let shown = format!("{:?}", Integrity::from_words([0xabcd, 0xabcd, 0x1234, 0x5678]));
        assert_eq!(shown, "Integrity { hash: ChangeHash(..), tag: Tag(00000000000012340000000000005678) }");
    }

    #[test]
    fn a_refusal_names_page_and_counter() {
        let error = IntegrityError { index: SealIndex::new(0x12345).unwrap(), counter: Counter::FIRST.next().unwrap() };
        assert_eq!(error.to_string(), "page 0x12345 is not what was exported under counter 2 (T25, I-16)");
    }
}
