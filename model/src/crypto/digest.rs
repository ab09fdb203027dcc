//! HMAC-SHA-256 of a page at its index.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::PAGE_BYTES;
use super::keys::PageKeys;
use super::position::SealIndex;

/// The keyed function, with its key already absorbed.
pub(super) struct PageDigest(Hmac<Sha256>);

impl PageDigest {
    pub(super) fn new(keys: &PageKeys) -> Self {
        Self(Hmac::new_from_slice(&keys.digest).expect("HMAC takes keys of every length"))
    }

    /// HMAC-SHA-256("PGDIGv1\0" ‖ index u64 ‖ plaintext).
    pub(super) fn of(&self, index: SealIndex, page: &[u8; PAGE_BYTES]) -> [u8; 32] {
        let mut hmac = self.0.clone();
        hmac.update(b"PGDIGv1\0");
        hmac.update(&index.value().to_be_bytes());
        hmac.update(page);
        hmac.finalize().into_bytes().into()
    }
}
