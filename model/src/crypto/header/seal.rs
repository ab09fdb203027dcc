//! The maker's side of an SE header.

use super::super::ec::{PrivateKey, PublicKey};
use super::super::image::ImageDigest;
use super::layout::{ENCRYPTED_AREA, Fixed, HEADER_MAGIC, HEADER_VERSION, MOST_SLOTS, Slot, header_size};
use super::{HeaderSecrets, ProtectionKey, sealed_with};
use aes_gcm::aead::AeadInOut;
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

/// All that a header is made of.
#[derive(Debug)]
pub struct HeaderPlan<'a> {
    /// The host keys that may open it, one slot each, in this order.
    pub recipients: &'a [PublicKey],
    /// Plaintext control flags.
    pub flags: u64,
    /// Number of component pages.
    pub pages: u64,
    /// Page-list, address-list and tweak-list digest.
    pub digests: [ImageDigest; 3],
    /// The encrypted area.
    pub secrets: &'a HeaderSecrets,
    /// The key of the header; never twice with the same IV.
    pub protection: &'a ProtectionKey,
    /// A key pair for this header alone.
    pub customer: &'a PrivateKey,
    /// IV of the encrypted area.
    pub iv: [u8; 12],
}

/// A header for so many host keys would be longer than hosts take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} key slots: a header holds 1 to {MOST_SLOTS}")]
pub struct TooManySlots(pub usize);

impl HeaderPlan<'_> {
    /// Makes the header. Equal plans give equal bytes.
    ///
    /// # Errors
    /// Too many recipients, or none.
    pub fn seal(&self) -> Result<Vec<u8>, TooManySlots> {
        let slots = self.recipients.len();
        let size = header_size(slots as u64, ENCRYPTED_AREA as u64).and_then(|size| u32::try_from(size).ok());
        let Some(size) = size.filter(|_| (1..=MOST_SLOTS).contains(&slots)) else { return Err(TooManySlots(slots)) };
        let fixed = Fixed {
            magic: HEADER_MAGIC,
            version: HEADER_VERSION.into(),
            size: size.into(),
            iv: self.iv,
            reserved: [0; 4],
            slots: (slots as u64).into(),
            encrypted: (ENCRYPTED_AREA as u64).into(),
            pages: self.pages.into(),
            flags: self.flags.into(),
            customer: *self.customer.public().coordinates(),
            digests: self.digests,
        };
        let mut header = fixed.as_bytes().to_vec();
        for host in self.recipients {
            header.extend(Slot::wrap(self.customer, host, self.protection).as_bytes());
        }
        let mut area = Zeroizing::new([0; ENCRYPTED_AREA]);
        area.copy_from_slice(self.secrets.0.as_bytes());
        let tag = sealed_with(&self.protection.0)
            .encrypt_inout_detached(&self.iv.into(), &header, area.as_mut_slice().into())
            .expect("an area is far below the longest message of GCM");
        header.extend(*area);
        header.extend(<[u8; 16]>::from(tag));
        Ok(header)
    }
}
