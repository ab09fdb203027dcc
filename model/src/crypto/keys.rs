//! The keys of one configuration instance.

use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// All page keys of a configuration instance, wiped when they have been expanded into ciphers.
///
/// They come from random bytes of the instance alone, never from an image or a customer key: two
/// instances of one image must not share any (I-12).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct PageKeys {
    /// AES-256-GCM.
    pub(super) gcm: [u8; 32],
    /// AES-256-XTS, data key and tweak key.
    pub(super) xts: [u8; 64],
    /// The last four bytes of the XTS nonce; the first twelve are zero.
    pub(super) xts_nonce: [u8; 4],
    /// POLYVAL for change detection.
    pub(super) change: [u8; 16],
    /// HMAC-SHA-256.
    pub(super) digest: [u8; 32],
}

impl PageKeys {
    /// HKDF-SHA-512 with the unique id as salt and one label per key (D44).
    pub(super) fn derive(seed: &[u8; 32], uid: &[u8; 16]) -> Self {
        let (mut pseudorandom_key, hkdf) = Hkdf::<Sha512>::extract(Some(uid), seed);
        // The copy for the caller, who has no use for it; the one inside `hkdf` is wiped on drop.
        pseudorandom_key.as_mut_slice().zeroize();
        Self {
            gcm: *expand(&hkdf, "ultravisor-sim/v1/page-export/aes-256-gcm"),
            xts: *expand(&hkdf, "ultravisor-sim/v1/page-export/aes-256-xts"),
            xts_nonce: *expand(&hkdf, "ultravisor-sim/v1/page-export/xts-nonce"),
            change: *expand(&hkdf, "ultravisor-sim/v1/page-change/polyval"),
            digest: *expand(&hkdf, "ultravisor-sim/v1/page-digest/hmac-sha-256"),
        }
    }
}

fn expand<const N: usize>(hkdf: &Hkdf<Sha512>, label: &str) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    hkdf.expand(label.as_bytes(), key.as_mut_slice()).expect("every key is shorter than 255 hash values");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed apart from these libraries, with the Python standard library.
    #[test]
    fn keys_of_the_vectors() {
        let seed = std::array::from_fn(|byte| byte as u8);
        let uid = std::array::from_fn(|byte| 0xa0 + byte as u8);
        let keys = PageKeys::derive(&seed, &uid);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&keys.gcm), "86cf452421a5850f5e70e9707577c68a31257e20b140b2aa37e109f5062de296");
        assert_eq!(hex(&keys.digest), "43aa8dcb00d1539f520a0ea650febc9198b8da5cbac1a38e14e943833bcd7657");
        assert_eq!(hex(&keys.change), "d6ea6a282fd30cc3d7569ad590d5b0c6");
        assert_eq!(hex(&keys.xts_nonce), "0d66874f");
        assert_eq!(hex(&keys.xts[..32]), "94d61a24eb0207b72ddad12abef320a4d6e9ab735aab56c6f04bb5db9fec1456");
        assert_eq!(hex(&keys.xts[32..]), "10959b0a64ae5f35c771be06e30bd960d4a90151094598b0a75ee444d5c92364");
        assert_ne!(keys.gcm[..16], keys.change);
    }

    #[test]
    fn everything_that_holds_a_key_wipes_it() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<PageKeys>();
        wiped::<aes_gcm::Aes256Gcm>();
        wiped::<aes::Aes256>();
        wiped::<sha2::block_api::Sha256VarCore>();
        wiped::<sha2::block_api::Sha512VarCore>();
    }
}
