//! Recognisable page contents. A secret carries its number in every 16 bytes, so that a leak shows
//! wherever it comes to lie; nothing that the host makes looks like one.

use crate::support::image::{Plan, image_key};
use std::collections::BTreeMap;
use std::sync::Mutex;
use uvsim_model::Machine;
use uvsim_model::crypto::{ImageCipher, KeyHash};

const MARK: u64 = 0x5e_c2e7;

/// A page full of secret number `id`.
pub(crate) fn page(id: u32) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(MARK << 40 | u64::from(id) << 8 | (index as u64 & 0xff)).to_be_bytes());
    }
    bytes
}

/// The secrets of which 16 bytes stand in a page.
pub(crate) fn find(bytes: &[u8; 4096]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(16).filter_map(|window| {
        let word = |at: usize| u64::from_be_bytes(window[at..at + 8].try_into().unwrap_or_default());
        let (first, second) = (word(0), word(8));
        // Both words name the number: one that the host has flipped a bit of is none.
        (first >> 40 == MARK && first >> 8 == second >> 8).then_some((first >> 8) as u32)
    })
}

/// What the host writes; every number gives another page.
pub(crate) fn public(number: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(0xb0 << 56 | number << 16 | index as u64).to_be_bytes());
    }
    bytes
}

/// The page of an image that is to be loaded at `page`, in plain.
fn image(page: u8) -> [u8; 4096] {
    public(0xffff_0000 + u64::from(page))
}

/// The tweak of every image page.
pub(crate) const TWEAK: [u64; 2] = [7, 7];

/// The only page of an image, as it is delivered.
pub(crate) fn delivered(page: u8) -> [u8; 4096] {
    let mut bytes = image(page);
    cipher().encrypt(&mut bytes, TWEAK);
    bytes
}

/// What UNPACK_IMG makes of what it finds.
pub(crate) fn unpacked(mut bytes: [u8; 4096], tweak: [u64; 2]) -> [u8; 4096] {
    cipher().decrypt(&mut bytes, tweak);
    bytes
}

/// The header of an image that consists of a page at most; made once for each.
pub(crate) fn header(machine: &Machine, page: Option<u8>) -> Vec<u8> {
    type Made = BTreeMap<(KeyHash, Option<u8>), Vec<u8>>;
    static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
    let key = machine.host_public_key().hash();
    let mut made = MADE.lock().expect("making a header does not panic");
    let pages = page.map(|page| (u64::from(page) << 12, TWEAK, image(page)));
    made.entry((key, page)).or_insert_with(|| Plan::of(machine, pages.into_iter().collect()).make().header).clone()
}

fn cipher() -> ImageCipher {
    ImageCipher::new(&image_key())
}
