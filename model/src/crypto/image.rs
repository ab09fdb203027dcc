//! An image on its way into a guest: the page cipher of its components, and the three digests that bind
//! pages, addresses and tweaks to the header.

use super::PAGE_BYTES;
use aes::Aes256;
use aes::cipher::KeyInit;
use sha2::{Digest, Sha512};
use xts_mode::Xts128;

/// A SHA-512 value.
pub type ImageDigest = [u8; 64];

/// Running digests of an image, in the order in which its pages are loaded (US11354418).
#[derive(Clone, Debug, Default)]
pub struct ImageDigests {
    count: u64,
    pages: Sha512,
    addresses: Sha512,
    tweaks: Sha512,
}

/// AES-256-XTS over whole pages, as image tools encrypt components (s390-tools, crate `pvimg`).
///
/// The tweak of a page is 16 bytes: the prefix of its component, then the byte offset of the page in it.
/// Holds expanded keys, which are overwritten when it is dropped.
pub struct ImageCipher(Xts128<Aes256>);

impl ImageDigests {
    /// Adds a page as stored, its guest absolute address, and its tweak (prefix, offset).
    pub fn add(&mut self, page: &[u8; PAGE_BYTES], address: u64, tweak: [u64; 2]) {
        self.count += 1;
        self.pages.update(page);
        self.addresses.update(address.to_be_bytes());
        self.tweaks.update(tweak_bytes(tweak));
    }

    /// Pages added.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.count
    }

    /// Page-list, address-list and tweak-list digest so far.
    #[must_use]
    pub fn finish(&self) -> [ImageDigest; 3] {
        [&self.pages, &self.addresses, &self.tweaks].map(|digest| digest.clone().finalize().into())
    }
}

impl ImageCipher {
    /// From the 64 bytes of a header: data key, then tweak key.
    #[must_use]
    pub fn new(key: &[u8; 64]) -> Self {
        let (halves, _) = key.as_chunks::<32>();
        Self(Xts128::new(Aes256::new((&halves[0]).into()), Aes256::new((&halves[1]).into())))
    }

    /// Encrypts a page in place.
    pub fn encrypt(&self, page: &mut [u8; PAGE_BYTES], tweak: [u64; 2]) {
        self.0.encrypt_sector(page, tweak_bytes(tweak).into());
    }

    /// Decrypts a page in place. There is nothing to check: the digests prove pages.
    pub fn decrypt(&self, page: &mut [u8; PAGE_BYTES], tweak: [u64; 2]) {
        self.0.decrypt_sector(page, tweak_bytes(tweak).into());
    }
}

impl core::fmt::Debug for ImageCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ImageCipher(..)")
    }
}

fn tweak_bytes([prefix, offset]: [u64; 2]) -> [u8; 16] {
    (u128::from(prefix) << 64 | u128::from(offset)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The component test of s390-tools: key 42×32 ‖ 43×32, 01×0x3400 at 0x10000, 02×0x3000 at 0x20000, both
    /// with tweak prefix 0x42.
    #[test]
    fn digests_are_those_of_the_image_tool() {
        let mut key = [0x42; 64];
        key[32..].fill(0x43);
        let cipher = ImageCipher::new(&key);
        let mut digests = ImageDigests::default();
        let components: [(u8, usize, u64); 2] = [(1, 0x3400, 0x1_0000), (2, 0x3000, 0x2_0000)];
        for (byte, len, address) in components {
            for start in (0..len).step_by(PAGE_BYTES) {
                let mut page = [0; PAGE_BYTES];
                page[..PAGE_BYTES.min(len - start)].fill(byte);
                let (plain, tweak) = (page, [0x42, start as u64]);
                cipher.encrypt(&mut page, tweak);
                digests.add(&page, address + start as u64, tweak);
                cipher.decrypt(&mut page, tweak);
                assert_eq!(page, plain);
            }
        }
        assert_eq!(digests.pages(), 7);
        let expected = [
            "a24ff30a8af1295888dedfe9369eb509290309a90159ebc32ca26a53f9d4364a781857e2590587536c3e767355c7b7603f2b0c6a407f16330d82128d0964fad2",
            "c391de5727a08212ea2fea9c37f9cf090be51f93c6d521b8906332ce720c5f38ada0e73e69663e5211d015fef41dc62606f5135e619904d4f450ab889f49caad",
            "424fe3cf04a6f64a7aef185c3b4ef607c0e4f54bb7e14620b574a3d31eef31c7d462eb040d45ee6918e6b80968ba4454f9e2edc26f6929ed624d0055f2355659",
        ];
        assert_eq!(digests.finish().map(|digest| hex(&digest)), expected);
    }
}
