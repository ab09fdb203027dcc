//! Recognisable page contents. A secret carries its number in every 16 bytes, so that a leak shows
//! wherever it comes to lie; nothing that the host makes looks like one.

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
