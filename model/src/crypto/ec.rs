//! Elliptic-curve keys of hosts and of those who make images: P-521, and only that.
//!
//! A host proves nothing with its key; it only opens what was sealed for it. The maker of an image draws a
//! fresh key pair per header, and both sides reach the same key-encryption key (s390-tools, crate `pv`).

use core::fmt;
use ctutils::CtEq;
use p521::elliptic_curve::sec1::ToSec1Point;
use p521::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a coordinate as headers and requests carry it: 14 of padding, 66 that count.
const COORDINATE: usize = 80;
/// Bytes of a field element of P-521.
const FIELD: usize = 66;
const PADDING: usize = COORDINATE - FIELD;

/// A point as headers and requests carry it: X and Y, each padded with zeros on the left to 80 bytes.
pub type KeyCoordinates = [u8; 2 * COORDINATE];

/// The key-encryption key that two key pairs agree on.
pub(super) type KeyEncryptionKey = Zeroizing<[u8; 32]>;

/// SHA-256 over the 160 bytes of a public key's coordinates: the name of a host key in key slots, in
/// QUERY_KEYS and in sysfs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: p521::PublicKey,
    coordinates: KeyCoordinates,
}

/// A key pair, of a host or of the maker of a header.
///
/// `Debug` shows the hash of the public half; the private half is overwritten when the key is dropped. Two
/// are equal if their public halves are.
#[derive(Clone)]
pub struct PrivateKey {
    secret: p521::SecretKey,
    public: PublicKey,
}

/// The keys under which a machine opens headers and requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostKeys {
    /// Slot 0 of QUERY_KEYS.
    pub host: PrivateKey,
    /// Slot 1: used for headers that allow it (plaintext control flag 62).
    pub backup: PrivateKey,
}

/// Bytes that are no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// A coordinate has more than 521 bits.
    #[error("a coordinate does not fit into 521 bits: its padding is not zero")]
    Padding,
    /// The coordinates name no point of the curve, or the one at infinity.
    #[error("the coordinates name no point of the curve P-521")]
    NotOnCurve,
    /// The text is not a private key of the curve in PEM form.
    #[error("not a P-521 private key in PKCS#8 PEM form (`-----BEGIN PRIVATE KEY-----`)")]
    NotPem,
    /// The number is zero or not below the order of the curve.
    #[error("the private number is zero, or not below the order of P-521")]
    Scalar,
}

impl PublicKey {
    /// The key with these coordinates.
    ///
    /// # Errors
    /// Padding that is not zero; no point of the curve.
    pub fn from_coordinates(coordinates: &KeyCoordinates) -> Result<Self, KeyError> {
        let mut sec1 = [0; 1 + 2 * FIELD];
        sec1[0] = 4;
        for (half, field) in coordinates.chunks_exact(COORDINATE).zip(sec1[1..].chunks_exact_mut(FIELD)) {
            let (padding, significant) = half.split_at(PADDING);
            if padding.iter().any(|&byte| byte != 0) {
                return Err(KeyError::Padding);
            }
            field.copy_from_slice(significant);
        }
        Self::from_sec1(&sec1)
    }

    /// The key with this SEC1 encoding, as certificates carry it.
    ///
    /// # Errors
    /// No point of the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        p521::PublicKey::from_sec1_bytes(bytes).map(Self::new).map_err(|_| KeyError::NotOnCurve)
    }

    fn new(point: p521::PublicKey) -> Self {
        let sec1 = point.to_sec1_point(false);
        let mut coordinates = [0; 2 * COORDINATE];
        for (half, field) in coordinates.chunks_exact_mut(COORDINATE).zip(sec1.as_bytes()[1..].chunks_exact(FIELD)) {
            half[PADDING..].copy_from_slice(field);
        }
        Self { point, coordinates }
    }

    /// The uncompressed SEC1 encoding, 133 bytes.
    #[must_use]
    pub fn to_sec1(&self) -> Vec<u8> {
        self.point.to_sec1_point(false).as_bytes().to_vec()
    }

    /// The form that headers and requests carry.
    #[must_use]
    pub fn coordinates(&self) -> &KeyCoordinates {
        &self.coordinates
    }

    /// Its name.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.coordinates).into())
    }
}

impl PrivateKey {
    /// Draws a key: candidates of 521 bits until one is in range, which nearly every one is.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; FIELD]);
        loop {
            random.fill_bytes(bytes.as_mut_slice());
            bytes[0] &= 1;
            if let Ok(key) = Self::from_scalar(&bytes) {
                return key;
            }
        }
    }

    /// The key with this private number, 66 bytes big-endian.
    ///
    /// # Errors
    /// The number is out of range.
    pub fn from_scalar(bytes: &[u8; FIELD]) -> Result<Self, KeyError> {
        p521::SecretKey::from_slice(bytes).map(Self::new).map_err(|_| KeyError::Scalar)
    }

    /// Reads a key in PKCS#8 PEM form, as OpenSSL and [`Self::to_pem`] write it.
    ///
    /// # Errors
    /// Anything else, keys of other curves included.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        p521::SecretKey::from_pkcs8_pem(text).map(Self::new).map_err(|_| KeyError::NotPem)
    }

    /// The key in PKCS#8 PEM form.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.secret.to_pkcs8_pem(LineEnding::LF).expect("a valid key has a PKCS#8 form")
    }

    /// The private number, 66 bytes big-endian: for those who sign with the key.
    #[must_use]
    pub fn to_scalar(&self) -> Zeroizing<[u8; FIELD]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    fn new(secret: p521::SecretKey) -> Self {
        let public = PublicKey::new(secret.public_key());
        Self { secret, public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Name of the public half.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        self.public.hash()
    }

    /// SHA-256(Z ‖ 00000001), Z the X coordinate of the product: the ANSI X9.63 derivation with SHA-256,
    /// one round, no shared information.
    pub(super) fn agree(&self, peer: &PublicKey) -> KeyEncryptionKey {
        let product = self.secret.diffie_hellman(&peer.point);
        let hash = Sha256::new().chain_update(product.raw_secret_bytes()).chain_update(1u32.to_be_bytes());
        Zeroizing::new(hash.finalize().into())
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

impl KeyHash {
    /// Compares in constant time.
    pub(super) fn names(&self, key: &PrivateKey) -> bool {
        self.0.ct_eq(&key.hash().0).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.hash())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};

    fn key(number: u32) -> PrivateKey {
        PrivateKey::generate(&mut Seed(1).substream(Purpose::HostKeys, number))
    }

    #[test]
    fn both_sides_agree_and_nobody_else() {
        let (host, customer, other) = (key(0), key(1), key(2));
        assert_eq!(*host.agree(customer.public()), *customer.agree(host.public()));
        assert_ne!(*host.agree(customer.public()), *other.agree(customer.public()));
    }

    #[test]
    fn coordinates_are_padded_and_come_back() {
        let key = key(0);
        let coordinates = *key.public().coordinates();
        assert_eq!(coordinates[..14], [0; 14]);
        assert_eq!(coordinates[80..94], [0; 14]);
        assert_eq!(PublicKey::from_coordinates(&coordinates).as_ref(), Ok(key.public()));
        assert_eq!(PublicKey::from_sec1(&key.public().to_sec1()).as_ref(), Ok(key.public()));
        let mut padded = coordinates;
        padded[80] = 1;
        assert_eq!(PublicKey::from_coordinates(&padded), Err(KeyError::Padding));
        let mut moved = coordinates;
        moved[159] ^= 1;
        assert_eq!(PublicKey::from_coordinates(&moved), Err(KeyError::NotOnCurve));
        // The point at infinity has no coordinates; zeros are what a header without a key holds.
        assert_eq!(PublicKey::from_coordinates(&[0; 160]), Err(KeyError::NotOnCurve));
        let mut large = coordinates;
        large[14..80].fill(0xff);
        assert_eq!(PublicKey::from_coordinates(&large), Err(KeyError::NotOnCurve), "not below the prime");
    }

    #[test]
    fn a_key_survives_pem() {
        let key = key(0);
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!((again.hash(), again.to_scalar()), (key.hash(), key.to_scalar()));
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "\u{0}\u{ffff}"] {
            assert_eq!(PrivateKey::from_pem(text), Err(KeyError::NotPem), "{text:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_no_keys() {
        assert_eq!(PrivateKey::from_scalar(&[0; 66]), Err(KeyError::Scalar));
        assert_eq!(PrivateKey::from_scalar(&[0xff; 66]), Err(KeyError::Scalar));
        let mut one = [0; 66];
        one[65] = 1;
        assert!(PrivateKey::from_scalar(&one).is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = key(0);
        let text = format!("{key:?}");
        assert_eq!(text, format!("PrivateKey({}, ..)", key.hash()));
    }

    /// D46: the keys of machines must outlive the versions of the libraries. Computed with a ChaCha20 and a
    /// point multiplication of our own in Python.
    #[test]
    fn the_key_of_seed_1_is_frozen() {
        assert_eq!(key(0).hash().to_string(), "3edd3115476d8dc6ee8d132085f59029c0ce8ff96408bd8839654a27b065bc10");
    }
}
