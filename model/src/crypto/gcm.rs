//! Profile `gcm`: AES-256-GCM with a counter nonce, POLYVAL for change detection.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::PAGE_BYTES;
use super::integrity::{ChangeHash, Tag};
use super::keys::PageKeys;
use super::position::{Counter, SealIndex, nonce};

pub(super) struct Gcm {
    cipher: Aes256Gcm,
    /// Holds the powers of its key; a hash starts from a copy of it.
    change: Polyval,
    uid: [u8; 16],
}

impl Gcm {
    pub(super) fn new(keys: &PageKeys, uid: &[u8; 16]) -> Self {
        Self { cipher: Aes256Gcm::new((&keys.gcm).into()), change: Polyval::new((&keys.change).into()), uid: *uid }
    }

    pub(super) fn change_hash(&self, page: &[u8; PAGE_BYTES]) -> ChangeHash {
        let mut polyval = self.change.clone();
        polyval.update_padded(page);
        ChangeHash::from_bytes(polyval.finalize().into())
    }

    pub(super) fn seal(&self, index: SealIndex, counter: Counter, page: &mut [u8; PAGE_BYTES]) -> Tag {
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &nonce(index, counter).into(),
                &associated_data(&self.uid, index, counter),
                page.as_mut_slice().into(),
            )
            .expect("a page is far below the longest message of GCM");
        Tag::from_bytes(tag.into())
    }

    /// Whether the page was genuine; if not, it is untouched.
    ///
    /// The library compares the tag before it decrypts, but does not promise to leave the buffer alone.
    /// Builds with debug assertions, and with them all tests, therefore look after every refusal.
    pub(super) fn open(&self, index: SealIndex, counter: Counter, page: &mut [u8; PAGE_BYTES], tag: &Tag) -> bool {
        let before = cfg!(debug_assertions).then(|| *page);
        let opened = self.cipher.decrypt_inout_detached(
            &nonce(index, counter).into(),
            &associated_data(&self.uid, index, counter),
            page.as_mut_slice().into(),
            &tag.to_bytes().into(),
        );
        debug_assert!(
            opened.is_ok() || before.is_some_and(|before| before == *page),
            "AES-GCM changed a page that it refused (I-16)"
        );
        opened.is_ok()
    }
}

/// "UVPGEXP1" ‖ uid ‖ index u64 ‖ counter u64 ‖ length u32 ‖ flags u32, which are zero.
pub(super) fn associated_data(uid: &[u8; 16], index: SealIndex, counter: Counter) -> [u8; 48] {
    let mut data = [0; 48];
    data[..8].copy_from_slice(b"UVPGEXP1");
    data[8..24].copy_from_slice(uid);
    data[24..32].copy_from_slice(&index.value().to_be_bytes());
    data[32..40].copy_from_slice(&counter.value().to_be_bytes());
    data[40..44].copy_from_slice(&(PAGE_BYTES as u32).to_be_bytes());
    data
}
