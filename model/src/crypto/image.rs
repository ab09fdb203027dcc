//! The three digests that bind an image to its header: over pages, addresses and tweaks.

use crate::address::PAGE_SIZE;
use sha2::{Digest, Sha512};

/// A SHA-512 value.
pub type ImageDigest = [u8; 64];

/// Running digests of an image, in the order in which its pages are loaded (US11354418).
#[derive(Clone, Debug, Default)]
pub struct ImageDigests {
    count: u64,
    pages: Sha512,
    addresses: Sha512,
    tweaks: Sha512,
}

impl ImageDigests {
    /// Adds a page as stored, its guest absolute address, and its tweak (prefix, offset).
    pub fn add(&mut self, page: &[u8; PAGE_SIZE as usize], address: u64, tweak: [u64; 2]) {
        self.count += 1;
        self.pages.update(page);
        self.addresses.update(address.to_be_bytes());
        self.tweaks.update(tweak[0].to_be_bytes());
        self.tweaks.update(tweak[1].to_be_bytes());
    }

    /// Pages added.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.count
    }

    /// Page-list, address-list and tweak-list digest so far.
    #[must_use]
    pub fn finish(&self) -> [ImageDigest; 3] {
        [&self.pages, &self.addresses, &self.tweaks].map(|digest| digest.clone().finalize().into())
    }
}
