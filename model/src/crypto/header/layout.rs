//! How an SE header lies in bytes (s390-tools, crate `pvimg`, header version 1). Always big-endian.

use super::super::ec::KeyCoordinates;
use super::super::image::ImageDigest;
use core::mem::size_of;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::Zeroize;

/// First 8 bytes.
pub const HEADER_MAGIC: [u8; 8] = *b"IBMSecEx";
/// The only version that is known.
pub const HEADER_VERSION: u32 = 0x100;
/// Bytes of the encrypted area of that version.
pub const ENCRYPTED_AREA: usize = 0x80;
/// Bytes before the key slots.
pub const HEADER_FIXED: usize = 0x1a0;
/// Longest header that hosts take.
pub const LONGEST_HEADER: usize = 0x2000;
/// Most key slots of a header that is not too long.
pub const MOST_SLOTS: usize = (LONGEST_HEADER - HEADER_FIXED - ENCRYPTED_AREA - TAG) / SLOT;

pub(super) const SLOT: usize = 80;
pub(super) const TAG: usize = 16;

/// Before the key slots: all of it readable by everyone, none of it changeable.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Fixed {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    pub(super) size: U32,
    pub(super) iv: [u8; 12],
    pub(super) reserved: [u8; 4],
    pub(super) slots: U64,
    pub(super) encrypted: U64,
    pub(super) pages: U64,
    pub(super) flags: U64,
    pub(super) customer: KeyCoordinates,
    pub(super) digests: [ImageDigest; 3],
}

/// A key slot: the protection key, wrapped for one host key. Requests have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) key: [u8; 32],
    pub(super) wrapped: [u8; 32],
    pub(super) tag: [u8; TAG],
}

/// The encrypted area in plain.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Secret {
    pub(super) communication_key: [u8; 32],
    pub(super) image_key: [u8; 64],
    pub(super) psw_mask: U64,
    pub(super) psw_address: U64,
    pub(super) flags: U64,
    pub(super) items: U32,
    pub(super) reserved: U32,
}

const _: () = assert!(size_of::<Fixed>() == HEADER_FIXED);
const _: () = assert!(size_of::<Slot>() == SLOT);
const _: () = assert!(size_of::<Secret>() == ENCRYPTED_AREA);
const _: () = assert!(MOST_SLOTS == 95);

impl Drop for Secret {
    fn drop(&mut self) {
        self.as_mut_bytes().zeroize();
    }
}

/// Bytes of a header with this many slots. `None` if no number can say it.
pub(super) fn header_size(slots: u64, encrypted: u64) -> Option<u64> {
    let fixed = (HEADER_FIXED + TAG) as u64;
    slots.checked_mul(SLOT as u64)?.checked_add(fixed)?.checked_add(encrypted)
}
