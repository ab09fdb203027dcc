//! Cryptography: pages between the guest and the host (T25, D38–D45), images on their way into a guest.
//!
//! An [`SeHeader`] opens with the keys of the machine that it was made for ([`HostKeys`]) and yields the
//! [`ImageCipher`] of the components; [`ImageDigests`] prove what was loaded.
//!
//! A [`PageCipher`] belongs to one configuration instance. It seals a page at export, opens it at
//! import and hashes it to find out whether it has changed. It keeps no page state: index, counter,
//! [`ChangeHash`] and [`Tag`] live in the integrity row, and the caller decides about them. This room
//! and [`crate::seed`] are the only places that know a cryptographic library.

mod digest;
mod ec;
mod gcm;
mod header;
mod image;
mod integrity;
mod keys;
mod ledger;
mod position;
mod xts;

#[cfg(test)]
mod vectors;

use std::fmt;

pub use self::ec::{HostKeys, KeyCoordinates, KeyError, KeyHash, PrivateKey, PublicKey};
pub use self::header::{
    ENCRYPTED_AREA, HEADER_FIXED, HEADER_MAGIC, HEADER_VERSION, HeaderFault, HeaderPlan, HeaderSecrets, LONGEST_HEADER,
    MOST_SLOTS, OpenedWith, ProtectionKey, SeHeader, SizeNeeded, TooManySlots, plain_flag, secret_flag,
};
pub use self::image::{ImageCipher, ImageDigest, ImageDigests};
pub use self::integrity::{ChangeHash, Integrity, IntegrityError, Tag};
pub use self::position::{Counter, CounterOutOfRange, IndexOutOfRange, SealIndex, component};

use self::digest::PageDigest;
use self::gcm::Gcm;
use self::keys::PageKeys;
use self::ledger::NonceLedger;
use self::xts::Xts;
use crate::config::CipherProfile;

/// Bytes of a page.
const PAGE_BYTES: usize = crate::address::PAGE_SIZE as usize;

/// The page cipher of one configuration instance.
///
/// Holds expanded keys, which are overwritten when it is dropped; `Debug` shows none of them. All
/// methods take `&self` and may run on many threads at once.
///
/// In builds with debug assertions, in unit tests and with the feature `nonce-ledger` it also records
/// what each (index, counter) has sealed, and panics when one of them is about to seal a second
/// plaintext (I-21): that is an error of the simulator, never one of its input.
pub struct PageCipher {
    cipher: Cipher,
    digest: PageDigest,
    ledger: NonceLedger,
}

/// The profiles behind the seam.
enum Cipher {
    Gcm(Gcm),
    Xts(Xts),
}

impl PageCipher {
    /// Derives all keys of a configuration instance from its 32 random bytes and its unique id, the
    /// CUID of attestation (D44). `seed` stays the caller's to wipe.
    #[must_use]
    pub fn derive(profile: CipherProfile, seed: &[u8; 32], uid: &[u8; 16]) -> Self {
        let keys = PageKeys::derive(seed, uid);
        let cipher = match profile {
            CipherProfile::Gcm => Cipher::Gcm(Gcm::new(&keys, uid)),
            CipherProfile::Xts => Cipher::Xts(Xts::new(&keys)),
        };
        Self { cipher, digest: PageDigest::new(&keys), ledger: NonceLedger::default() }
    }

    /// The profile that this cipher was derived for.
    #[must_use]
    pub fn profile(&self) -> CipherProfile {
        match self.cipher {
            Cipher::Gcm(_) => CipherProfile::Gcm,
            Cipher::Xts(_) => CipherProfile::Xts,
        }
    }

    /// Hashes the plaintext of a page, to compare with the hash of its last export (D39).
    ///
    /// `gcm`: POLYVAL under its own key; the index has no part in it, since hashes of different pages
    /// are never compared. `xts`: the first half of [`Self::digest`].
    #[must_use]
    pub fn change_hash(&self, index: SealIndex, page: &[u8; PAGE_BYTES]) -> ChangeHash {
        match &self.cipher {
            Cipher::Gcm(gcm) => gcm.change_hash(page),
            Cipher::Xts(_) => Integrity::from_digest(&self.digest(index, page)).hash,
        }
    }

    /// Encrypts a page in place and returns its tag. Never fails, and equal arguments give equal
    /// results (I-23).
    ///
    /// A pair of `index` and `counter` may seal one plaintext only, as often as one likes (I-21).
    #[must_use]
    pub fn seal(&self, index: SealIndex, counter: Counter, page: &mut [u8; PAGE_BYTES]) -> Tag {
        self.ledger.record(index, counter, page);
        match &self.cipher {
            Cipher::Gcm(gcm) => gcm.seal(index, counter, page),
            Cipher::Xts(xts) => xts.seal(&self.digest, index, counter, page),
        }
    }

    /// Checks a sealed page against its tag and decrypts it in place (T25).
    ///
    /// # Errors
    /// The bytes are not what [`Self::seal`] made of this index and counter when it returned this tag
    /// (I-15, I-16). The page is then byte for byte what it was.
    pub fn open(
        &self,
        index: SealIndex,
        counter: Counter,
        page: &mut [u8; PAGE_BYTES],
        tag: &Tag,
    ) -> Result<(), IntegrityError> {
        let genuine = match &self.cipher {
            Cipher::Gcm(gcm) => gcm.open(index, counter, page, tag),
            Cipher::Xts(xts) => xts.open(&self.digest, index, counter, page, tag),
        };
        if genuine { Ok(()) } else { Err(IntegrityError { index, counter }) }
    }

    /// The machine may come back to this moment.
    pub(crate) fn snapshot(&self) {
        self.ledger.snapshot();
    }

    /// The machine has come back to the snapshot: what was sealed of this page since then has not been.
    pub(crate) fn forget(&self, index: SealIndex) {
        self.ledger.forget(index);
    }

    /// HMAC-SHA-256 over the index and the plaintext of a page: the integrity value of profile `xts`,
    /// and the same function under either profile (D39).
    #[must_use]
    pub fn digest(&self, index: SealIndex, page: &[u8; PAGE_BYTES]) -> [u8; 32] {
        self.digest.of(index, page)
    }
}

impl fmt::Debug for PageCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCipher").field("profile", &self.profile()).finish_non_exhaustive()
    }
}

/// What is left of keys when they are dropped can only be shown by their types.
#[cfg(test)]
mod wiping {
    use zeroize::ZeroizeOnDrop;

    fn wiped<T: ZeroizeOnDrop>() {}

    #[test]
    fn what_holds_keys_is_overwritten() {
        wiped::<aes::Aes256>();
        wiped::<aes_gcm::Aes256Gcm>();
        wiped::<p521::SecretKey>();
        wiped::<zeroize::Zeroizing<[u8; 64]>>();
        assert!(core::mem::needs_drop::<super::HeaderSecrets>(), "its layout has a wiping drop of its own");
        assert!(core::mem::needs_drop::<super::ProtectionKey>());
    }
}
