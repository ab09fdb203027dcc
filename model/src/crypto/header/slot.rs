//! Key slots: AES-256-GCM under a key that exists once per customer key and host key, so that its IV may be
//! zero (s390-tools, crate `pv`).

use super::super::ec::KeyEncryptionKey;
use super::super::ec::{KeyHash, PrivateKey, PublicKey};
use super::layout::Slot;
use super::{ProtectionKey, sealed_with};
use aes_gcm::aead::AeadInOut;
use zeroize::Zeroizing;

impl Slot {
    /// Wraps a protection key for a host key.
    pub(super) fn wrap(customer: &PrivateKey, host: &PublicKey, protection: &ProtectionKey) -> Self {
        let kek: KeyEncryptionKey = customer.agree(host);
        let mut wrapped = protection.0.clone();
        let tag = sealed_with(&kek)
            .encrypt_inout_detached(&[0; 12].into(), &[], wrapped.as_mut_slice().into())
            .expect("a key is far below the longest message of GCM");
        Self { key: host.hash().0, wrapped: *wrapped, tag: tag.into() }
    }

    /// Unwraps the protection key, from either side: by the private half of one key and the public half of the
    /// other. `None` if the slot was not made for this pair.
    pub(super) fn unwrap(&self, own: &PrivateKey, peer: &PublicKey) -> Option<ProtectionKey> {
        let kek = own.agree(peer);
        let mut key = Zeroizing::new(self.wrapped);
        sealed_with(&kek)
            .decrypt_inout_detached(&[0; 12].into(), &[], key.as_mut_slice().into(), &self.tag.into())
            .ok()?;
        Some(ProtectionKey(key))
    }

    pub(super) fn hash(&self) -> KeyHash {
        KeyHash(self.key)
    }
}
