//! The limits of booting: one key agreement and two openings, one decryption and three digests a page.

use aes::Aes256;
use aes::cipher::KeyInit;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::AeadInOut;
use core::hint::black_box;
use p521::{PublicKey, SecretKey};
use sha2::{Digest, Sha512};
use xts_mode::Xts128;

/// What opening a header cannot do without: P-521, and AES-GCM over a key slot and an encrypted area.
pub struct BareHeader {
    own: SecretKey,
    /// SEC1 form of the peer: a header carries coordinates, so reading the point is part of the work.
    peer: Vec<u8>,
    cipher: Aes256Gcm,
    slot: ([u8; 32], [u8; 16]),
    associated: [u8; 0x1f0],
    area: ([u8; 0x80], [u8; 16]),
}

impl core::fmt::Debug for BareHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("BareHeader(..)")
    }
}

impl Default for BareHeader {
    fn default() -> Self {
        let key = |byte| SecretKey::from_slice(&[byte; 65]).expect("in range");
        let cipher = Aes256Gcm::new(&[7; 32].into());
        let (mut slot, mut area, associated) = ([1; 32], [2; 0x80], [3; 0x1f0]);
        let seal = |associated: &[u8], bytes: &mut [u8]| {
            cipher.encrypt_inout_detached(&[0; 12].into(), associated, bytes.into()).expect("short").into()
        };
        let slot_tag = seal(&[], &mut slot);
        let area_tag = seal(&associated, &mut area);
        Self {
            own: key(1),
            peer: key(2).public_key().to_sec1_bytes().to_vec(),
            cipher,
            slot: (slot, slot_tag),
            associated,
            area: (area, area_tag),
        }
    }
}

impl BareHeader {
    /// Opens it once.
    ///
    /// # Panics
    /// Never: it was sealed by this type.
    pub fn open(&self) {
        let peer = PublicKey::from_sec1_bytes(&self.peer).expect("a point");
        black_box(self.own.diffie_hellman(&peer));
        let open = |associated: &[u8], (bytes, tag): (&mut [u8], [u8; 16])| {
            let opened = self.cipher.decrypt_inout_detached(&[0; 12].into(), associated, bytes.into(), &tag.into());
            opened.expect("what was sealed");
        };
        let (mut slot, mut area) = (self.slot.0, self.area.0);
        open(&[], (&mut slot, self.slot.1));
        open(&self.associated, (&mut area, self.area.1));
        black_box((slot, area));
    }
}

/// What unpacking a page cannot do without: AES-256-XTS, and SHA-512 over page, address and tweak.
pub struct BareImage {
    cipher: Xts128<Aes256>,
    digests: [Sha512; 3],
    page: Box<[u8; 4096]>,
}

impl core::fmt::Debug for BareImage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("BareImage(..)")
    }
}

impl Default for BareImage {
    fn default() -> Self {
        let key = |byte: u8| Aes256::new(&[byte; 32].into());
        Self { cipher: Xts128::new(key(1), key(2)), digests: Default::default(), page: Box::new([5; 4096]) }
    }
}

impl BareImage {
    /// A page.
    pub fn unpack(&mut self, number: u64) {
        let tweak = u128::from(number) << 12;
        let [pages, addresses, tweaks] = &mut self.digests;
        pages.update(self.page.as_slice());
        addresses.update((number << 12).to_be_bytes());
        tweaks.update(tweak.to_be_bytes());
        self.cipher.decrypt_sector(self.page.as_mut_slice(), tweak.to_be_bytes().into());
    }

    /// The digests so far.
    pub fn verify(&self) {
        black_box(self.digests.each_ref().map(|digest| digest.clone().finalize()));
    }
}
