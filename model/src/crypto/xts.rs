//! Profile `xts`: AES-256-XTS over the whole page, as in dumps of the product, with HMAC-SHA-256 as
//! its integrity value.

use aes::Aes256;
use aes::cipher::KeyInit;
use xts_mode::Xts128;
use zeroize::Zeroize;

use super::PAGE_BYTES;
use super::digest::PageDigest;
use super::integrity::{Integrity, Tag};
use super::keys::PageKeys;
use super::position::{Counter, SealIndex, component};

pub(super) struct Xts {
    cipher: Xts128<Aes256>,
    /// The nonce of the configuration as a number: only its low 32 bits are not zero (D44).
    nonce: u32,
}

impl Xts {
    pub(super) fn new(keys: &PageKeys) -> Self {
        let (halves, _) = keys.xts.as_chunks::<32>();
        let [data_key, tweak_key] = [&halves[0], &halves[1]];
        Self {
            cipher: Xts128::new(Aes256::new(data_key.into()), Aes256::new(tweak_key.into())),
            nonce: u32::from_be_bytes(keys.xts_nonce),
        }
    }

    pub(super) fn seal(
        &self,
        digest: &PageDigest,
        index: SealIndex,
        counter: Counter,
        page: &mut [u8; PAGE_BYTES],
    ) -> Tag {
        let tag = Integrity::from_digest(&digest.of(index, page)).tag;
        self.cipher.encrypt_sector(page, self.tweak(index, counter).into());
        tag
    }

    /// Whether the page was genuine; if not, it is untouched.
    ///
    /// The integrity value is one of the plaintext, so decryption comes first, and into a copy.
    pub(super) fn open(
        &self,
        digest: &PageDigest,
        index: SealIndex,
        counter: Counter,
        page: &mut [u8; PAGE_BYTES],
        tag: &Tag,
    ) -> bool {
        let mut plaintext = *page;
        self.cipher.decrypt_sector(&mut plaintext, self.tweak(index, counter).into());
        let genuine = Integrity::from_digest(&digest.of(index, &plaintext)).tag.ct_eq(tag);
        if genuine {
            *page = plaintext;
        }
        // As a slice: an array is wiped element by element, eight times as slowly.
        plaintext.as_mut_slice().zeroize();
        genuine
    }

    /// Component OR nonce: their set bits do not overlap.
    fn tweak(&self, index: SealIndex, counter: Counter) -> [u8; 16] {
        (u128::from_be_bytes(component(index, counter)) | u128::from(self.nonce)).to_be_bytes()
    }
}
