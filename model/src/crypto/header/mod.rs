//! SE headers: what an image says of itself, and what only the addressed machine can read of it.
//!
//! [`SeHeader::parse`] reads the plain part, [`SeHeader::open`] does all that SET_SEC_CONF_PARAMS asks
//! for, in the order of D52; [`HeaderPlan::seal`] is the other side.

mod layout;
mod seal;
mod slot;
#[cfg(test)]
mod vectors;

use super::ec::{HostKeys, KeyHash, PrivateKey, PublicKey};
use super::image::{ImageCipher, ImageDigest};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use core::fmt;
pub use layout::{ENCRYPTED_AREA, HEADER_FIXED, HEADER_MAGIC, HEADER_VERSION, LONGEST_HEADER, MOST_SLOTS};
use layout::{Fixed, Secret, Slot, TAG, header_size};
pub use seal::{HeaderPlan, TooManySlots};
use zerocopy::{FromBytes, FromZeros, IntoBytes};
use zeroize::Zeroizing;

/// Plaintext control flags, readable by everyone (s390-tools, crate `pvimg`).
pub mod plain_flag {
    /// The host may have the guest dumped.
    pub const DUMP: u64 = 1 << 29;
    /// Components are not encrypted; their digests count all the same.
    pub const PLAIN_COMPONENTS: u64 = 1 << 28;
    /// PCKMO for DEA and TDEA keys.
    pub const PCKMO_DEA: u64 = 1 << 7;
    /// PCKMO for AES keys.
    pub const PCKMO_AES: u64 = 1 << 6;
    /// PCKMO for keys of elliptic curves.
    pub const PCKMO_ECC: u64 = 1 << 5;
    /// PCKMO for HMAC keys.
    pub const PCKMO_HMAC: u64 = 1 << 4;
    /// The backup host key may open the header.
    pub const BACKUP_KEY: u64 = 1 << 1;
}

/// Secret control flags, in the encrypted area (s390-tools, crate `pvimg`).
pub mod secret_flag {
    /// Add-secret requests must carry the extension secret derived from the communication key.
    pub const EXTENSION_REQUIRED: u64 = 1 << 62;
    /// The communication key may be replaced.
    pub const KEY_UPDATE: u64 = 1 << 61;
    /// All that have a meaning.
    pub const KNOWN: u64 = EXTENSION_REQUIRED | KEY_UPDATE;
}

/// A header whose plain part has the right shape.
#[derive(Clone, Copy)]
pub struct SeHeader<'a> {
    fixed: &'a Fixed,
    slots: &'a [Slot],
    /// All that the tag authenticates besides the encrypted area.
    associated: &'a [u8],
    encrypted: &'a [u8; ENCRYPTED_AREA],
    tag: &'a [u8; TAG],
}

/// The AES-256 key that protects a header. Overwritten when it is dropped.
#[derive(Clone)]
pub struct ProtectionKey(Zeroizing<[u8; 32]>);

/// The encrypted area, opened. Overwritten when it is dropped; `Debug` shows what is no key.
#[derive(Clone)]
pub struct HeaderSecrets(Secret);

/// Which of its keys a machine has opened a header with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedWith {
    /// Hash of the key.
    pub key: KeyHash,
    /// It is the backup key.
    pub backup: bool,
}

/// Why a header is refused, in the order in which it is looked at (D52).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFault {
    /// Too short for its fixed part, or too long for any.
    #[error("{length} bytes are no header: it has {HEADER_FIXED} to {LONGEST_HEADER}")]
    Length {
        /// Bytes given.
        length: usize,
    },
    /// Magic.
    #[error("it does not begin with `IBMSecEx`")]
    Magic,
    /// Version.
    #[error("header version {0:#x} is not supported: only {HEADER_VERSION:#x} is")]
    Version(u32),
    /// Number of key slots.
    #[error("it has no key slot")]
    NoSlots,
    /// Size of the encrypted area.
    #[error("its encrypted area has {0:#x} bytes instead of {ENCRYPTED_AREA:#x}")]
    EncryptedSize(u64),
    /// Size of the header.
    #[error("its size field says {stated:#x}, {length:#x} bytes were given, {slots} key slots need {needed}")]
    Size {
        /// In the size field.
        stated: u32,
        /// Bytes given.
        length: usize,
        /// Number of key slots.
        slots: u64,
        /// What that number of slots takes.
        needed: SizeNeeded,
    },
    /// Plaintext control flags.
    #[error("plaintext control flags {unknown:#x} are not supported")]
    Flags {
        /// Those that are not.
        unknown: u64,
    },
    /// No key slot for this machine.
    #[error("no key slot is for the host key {host}")]
    NoSlot {
        /// Its host key.
        host: KeyHash,
    },
    /// No key slot for this machine, although its backup key was allowed.
    #[error("no key slot is for the host key {host} or the backup host key {backup}")]
    NoBackupSlot {
        /// Its host key.
        host: KeyHash,
        /// Its backup key.
        backup: KeyHash,
    },
    /// Customer public key.
    #[error("the customer public key is invalid: {0}")]
    CustomerKey(super::ec::KeyError),
    /// The slot does not unwrap.
    #[error("the key slot for {0} does not unwrap: it or the customer public key has been changed")]
    Slot(KeyHash),
    /// Authentication tag.
    #[error("the authentication tag does not fit: the header has been changed, or the key is not its own")]
    Tag,
    /// Secret control flags.
    #[error("secret control flags {unknown:#x} are not supported")]
    SecretFlags {
        /// Those that are not.
        unknown: u64,
    },
    /// Optional items.
    #[error("it has {0} optional items, which are not supported")]
    Items(u32),
}

/// The size that a header should have had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeNeeded(Option<u64>);

impl<'a> SeHeader<'a> {
    /// Reads the plain part of a header that consists of exactly these bytes.
    ///
    /// # Errors
    /// [`HeaderFault::Length`] to [`HeaderFault::Size`], in this order.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HeaderFault> {
        let length = bytes.len();
        if length > LONGEST_HEADER {
            return Err(HeaderFault::Length { length });
        }
        let (fixed, rest) = Fixed::ref_from_prefix(bytes).map_err(|_| HeaderFault::Length { length })?;
        if fixed.magic != HEADER_MAGIC {
            return Err(HeaderFault::Magic);
        }
        if fixed.version.get() != HEADER_VERSION {
            return Err(HeaderFault::Version(fixed.version.get()));
        }
        let slots = fixed.slots.get();
        if slots == 0 {
            return Err(HeaderFault::NoSlots);
        }
        if fixed.encrypted.get() != ENCRYPTED_AREA as u64 {
            return Err(HeaderFault::EncryptedSize(fixed.encrypted.get()));
        }
        let (stated, needed) = (fixed.size.get(), header_size(slots, ENCRYPTED_AREA as u64));
        let misfit = HeaderFault::Size { stated, length, slots, needed: SizeNeeded(needed) };
        if stated as usize != length || needed != Some(length as u64) {
            return Err(misfit);
        }
        let parts = || {
            let (slots, rest) = <[Slot]>::ref_from_prefix_with_elems(rest, usize::try_from(slots).ok()?).ok()?;
            let (encrypted, tag) = rest.split_first_chunk()?;
            Some((slots, encrypted, tag.first_chunk()?))
        };
        let Some((slots, encrypted, tag)) = parts() else { return Err(misfit) };
        let associated = &bytes[..length - ENCRYPTED_AREA - TAG];
        Ok(Self { fixed, slots, associated, encrypted, tag })
    }

    /// The size field of something that begins like a header: how many bytes to hand to [`Self::parse`].
    #[must_use]
    pub fn stated_size(bytes: &[u8]) -> Option<u32> {
        let (fixed, _) = Fixed::ref_from_prefix(bytes).ok()?;
        (fixed.magic == HEADER_MAGIC).then(|| fixed.size.get())
    }

    /// Opens a header as a machine with these keys does. `supported` are the plaintext control flags that it
    /// knows.
    ///
    /// # Errors
    /// [`HeaderFault::Flags`] to [`HeaderFault::Items`], in this order.
    pub fn open(&self, keys: &HostKeys, supported: u64) -> Result<(HeaderSecrets, OpenedWith), HeaderFault> {
        self.check_flags(supported)?;
        let (slot, key, with) = self.find_slot(keys)?;
        let secrets = self.decrypt(&self.unwrap(slot, key)?)?;
        secrets.check()?;
        Ok((secrets, with))
    }

    fn check_flags(&self, supported: u64) -> Result<(), HeaderFault> {
        match self.flags() & !supported {
            0 => Ok(()),
            unknown => Err(HeaderFault::Flags { unknown }),
        }
    }

    /// The first slot for the host key, else the first for the backup key where the header allows it.
    fn find_slot<'k>(&self, keys: &'k HostKeys) -> Result<(&'a Slot, &'k PrivateKey, OpenedWith), HeaderFault> {
        let find = |key: &PrivateKey| self.slots.iter().find(|slot| slot.hash().names(key));
        let with = |key: &PrivateKey, backup| OpenedWith { key: key.hash(), backup };
        if let Some(slot) = find(&keys.host) {
            return Ok((slot, &keys.host, with(&keys.host, false)));
        }
        let host = keys.host.hash();
        if self.flags() & plain_flag::BACKUP_KEY == 0 {
            return Err(HeaderFault::NoSlot { host });
        }
        match find(&keys.backup) {
            Some(slot) => Ok((slot, &keys.backup, with(&keys.backup, true))),
            None => Err(HeaderFault::NoBackupSlot { host, backup: keys.backup.hash() }),
        }
    }

    /// The protection key of the header, by any key that a slot is for.
    ///
    /// # Errors
    /// [`HeaderFault::NoSlot`], [`HeaderFault::CustomerKey`], [`HeaderFault::Slot`].
    pub fn protection_key(&self, key: &PrivateKey) -> Result<ProtectionKey, HeaderFault> {
        let slot = self.slots.iter().find(|slot| slot.hash().names(key));
        self.unwrap(slot.ok_or(HeaderFault::NoSlot { host: key.hash() })?, key)
    }

    /// The protection key of the header, for its maker: by the private half of the customer key and the public
    /// half of a host key.
    ///
    /// # Errors
    /// [`HeaderFault::NoSlot`], [`HeaderFault::Slot`].
    pub fn protection_key_as_maker(
        &self,
        customer: &PrivateKey,
        host: &PublicKey,
    ) -> Result<ProtectionKey, HeaderFault> {
        let hash = host.hash();
        let slot = self.slots.iter().find(|slot| slot.hash() == hash);
        slot.ok_or(HeaderFault::NoSlot { host: hash })?.unwrap(customer, host).ok_or(HeaderFault::Slot(hash))
    }

    fn unwrap(&self, slot: &Slot, key: &PrivateKey) -> Result<ProtectionKey, HeaderFault> {
        let customer = PublicKey::from_coordinates(&self.fixed.customer).map_err(HeaderFault::CustomerKey)?;
        slot.unwrap(key, &customer).ok_or(HeaderFault::Slot(slot.hash()))
    }

    /// Checks the tag and decrypts.
    ///
    /// # Errors
    /// [`HeaderFault::Tag`].
    pub fn decrypt(&self, key: &ProtectionKey) -> Result<HeaderSecrets, HeaderFault> {
        let mut area = Zeroizing::new(*self.encrypted);
        sealed_with(&key.0)
            .decrypt_inout_detached(
                &self.fixed.iv.into(),
                self.associated,
                area.as_mut_slice().into(),
                &(*self.tag).into(),
            )
            .map_err(|_| HeaderFault::Tag)?;
        let mut secret = Secret::new_zeroed();
        secret.as_mut_bytes().copy_from_slice(area.as_slice());
        Ok(HeaderSecrets(secret))
    }

    /// Bytes of the header, its tag included.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.fixed.size.get()
    }

    /// Version, [`HEADER_VERSION`].
    #[must_use]
    pub fn version(&self) -> u32 {
        self.fixed.version.get()
    }

    /// IV of the encrypted area.
    #[must_use]
    pub fn iv(&self) -> [u8; 12] {
        self.fixed.iv
    }

    /// Number of component pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.fixed.pages.get()
    }

    /// Plaintext control flags, see [`plain_flag`].
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.fixed.flags.get()
    }

    /// Coordinates of the customer public key, as they stand there.
    #[must_use]
    pub fn customer(&self) -> &'a super::ec::KeyCoordinates {
        &self.fixed.customer
    }

    /// Page-list, address-list and tweak-list digest.
    #[must_use]
    pub fn digests(&self) -> &'a [ImageDigest; 3] {
        &self.fixed.digests
    }

    /// The host keys that have a slot, in order.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        self.slots.iter().map(Slot::hash)
    }

    /// Wrapped key and tag of a slot.
    #[must_use]
    pub fn slot(&self, number: usize) -> Option<([u8; 32], [u8; 16])> {
        self.slots.get(number).map(|slot| (slot.wrapped, slot.tag))
    }

    /// The encrypted area as it stands there.
    #[must_use]
    pub fn encrypted_area(&self) -> &'a [u8; ENCRYPTED_AREA] {
        self.encrypted
    }

    /// Authentication tag: the name of an image in attestation and in add-secret requests.
    #[must_use]
    pub fn tag(&self) -> [u8; 16] {
        *self.tag
    }
}

impl ProtectionKey {
    /// From its bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }
}

impl HeaderSecrets {
    /// What a new image keeps secret: communication key, image key (data key, tweak key), PSW mask and
    /// address, secret control flags.
    #[must_use]
    pub fn new(communication_key: &[u8; 32], image_key: &[u8; 64], psw: [u64; 2], flags: u64) -> Self {
        Self(Secret {
            communication_key: *communication_key,
            image_key: *image_key,
            psw_mask: psw[0].into(),
            psw_address: psw[1].into(),
            flags: flags.into(),
            items: 0.into(),
            reserved: 0.into(),
        })
    }

    /// Nothing that a machine would have to understand and does not.
    fn check(&self) -> Result<(), HeaderFault> {
        match (self.flags() & !secret_flag::KNOWN, self.0.items.get()) {
            (0, 0) => Ok(()),
            (0, items) => Err(HeaderFault::Items(items)),
            (unknown, _) => Err(HeaderFault::SecretFlags { unknown }),
        }
    }

    /// The customer communication key, for dumps and secrets.
    #[must_use]
    pub fn communication_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.communication_key)
    }

    /// The key of the components: data key, then tweak key.
    #[must_use]
    pub fn image_key(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.image_key)
    }

    /// The cipher of the components.
    #[must_use]
    pub fn image_cipher(&self) -> ImageCipher {
        ImageCipher::new(&self.0.image_key)
    }

    /// Mask and address of the initial PSW.
    #[must_use]
    pub fn psw(&self) -> [u64; 2] {
        [self.0.psw_mask.get(), self.0.psw_address.get()]
    }

    /// Secret control flags, see [`secret_flag`].
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.0.flags.get()
    }

    /// Number of optional items.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.0.items.get()
    }
}

fn sealed_with(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

impl fmt::Display for SizeNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => write!(f, "{size:#x}"),
            None => f.write_str("more than there are"),
        }
    }
}

impl fmt::Debug for SeHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeHeader")
            .field("size", &self.size())
            .field("pages", &self.pages())
            .field("flags", &format_args!("{:#x}", self.flags()))
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProtectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProtectionKey(..)")
    }
}

impl fmt::Debug for HeaderSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderSecrets")
            .field("psw", &self.psw())
            .field("flags", &format_args!("{:#x}", self.flags()))
            .finish_non_exhaustive()
    }
}
