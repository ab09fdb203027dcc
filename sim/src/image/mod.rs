//! SE images: what a protected guest starts from.
//!
//! A [`SeImage`] is what a host hands to the Ultravisor: the header, and the components as they are
//! delivered. A [`Recipe`] makes one from plain components. Around it there is the file: [`SeImageFile`] takes
//! one apart, [`ImagePlan`] makes one, [`verify`] boots one on a machine, [`ImageInfo`] tells what is in it.

mod build;
mod file;
mod info;
mod ipib;
pub mod layout;
mod recipient;
mod stages;
pub mod verify;

pub use build::{BuildError, BuiltImage, ImagePlan, LONGEST_FILE, Placed};
pub use file::{FileError, Found, MOST_BYTES, SeImageFile};
pub use info::{ImageInfo, Section};
pub use ipib::{HostRefusal, Ipib, IpibFault, ListedComponent};
pub use recipient::{Recipient, RecipientError};
pub use stages::{KERNEL_ENTRY, KernelFault, StageTooShort, check_kernel};

use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::{
    HeaderPlan, HeaderSecrets, ImageDigests, PrivateKey, ProtectionKey, PublicKey, TooManySlots, plain_flag,
};
use zeroize::Zeroizing;

/// An image as a host gets it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeImage {
    /// The SE header.
    pub header: Vec<u8>,
    /// The components, in the order in which they are unpacked.
    pub components: Vec<Component>,
}

/// A component: whole pages from a guest absolute address on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Component {
    /// Tweak prefix: kind (2 bytes) and anything (6 bytes).
    pub prefix: u64,
    /// Guest absolute address of its first page.
    pub address: u64,
    /// Its bytes, padded to whole pages; as delivered in a [`SeImage`], in plain in a [`Recipe`].
    pub data: Vec<u8>,
}

/// A page of a component, with what UNPACK_IMG needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct ImagePage<'a> {
    /// Guest absolute address.
    pub address: u64,
    /// Tweak: prefix of the component, offset in it.
    pub tweak: [u64; 2],
    /// The page as delivered.
    pub bytes: &'a [u8; PAGE_SIZE as usize],
}

/// All that an image is made from.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// The host keys that may open it.
    pub recipients: &'a [PublicKey],
    /// Plaintext control flags.
    pub flags: u64,
    /// Secret control flags.
    pub secret_flags: u64,
    /// Mask and address of the initial PSW.
    pub psw: [u64; 2],
    /// The components in plain, in the order in which they are to be unpacked.
    pub components: Vec<Component>,
    /// The keys and the IV.
    pub keys: ImageKeys,
}

/// The secrets of one image. Drawn afresh for each; `Debug` shows none of them.
#[derive(Clone)]
pub struct ImageKeys {
    /// Customer communication key.
    pub communication: Zeroizing<[u8; 32]>,
    /// Key of the header.
    pub header: Zeroizing<[u8; 32]>,
    /// Key of the components: data key, tweak key.
    pub image: Zeroizing<[u8; 64]>,
    /// The key pair of the maker.
    pub customer: PrivateKey,
    /// IV of the header.
    pub iv: [u8; 12],
}

/// The usual plaintext control flags of image tools: PCKMO for DEA, AES and ECC keys.
pub const USUAL_FLAGS: u64 = plain_flag::PCKMO_DEA | plain_flag::PCKMO_AES | plain_flag::PCKMO_ECC;
/// Mask of the usual initial PSW: 64-bit addressing.
pub const USUAL_PSW_MASK: u64 = 0x0000_0001_8000_0000;

impl SeImage {
    /// The pages, in the order in which they are unpacked.
    pub fn pages(&self) -> impl Iterator<Item = ImagePage<'_>> {
        self.components.iter().flat_map(Component::pages)
    }
}

impl Component {
    /// A component with its bytes padded to whole pages; an empty one has one page.
    #[must_use]
    pub fn new(prefix: u64, address: u64, mut data: Vec<u8>) -> Self {
        let pages = data.len().div_ceil(PAGE_SIZE as usize).max(1);
        data.resize(pages * PAGE_SIZE as usize, 0);
        Self { prefix, address, data }
    }

    /// Its pages.
    pub fn pages(&self) -> impl Iterator<Item = ImagePage<'_>> {
        let (pages, _) = self.data.as_chunks();
        pages.iter().zip((0..).step_by(PAGE_SIZE as usize)).map(|(bytes, offset): (_, u64)| ImagePage {
            address: self.address.wrapping_add(offset),
            tweak: [self.prefix, offset],
            bytes,
        })
    }
}

/// The bytes that loads put into a guest, as components: one per stretch of touched pages, the rest of which
/// is zero.
#[must_use]
pub fn components_of_loads(loads: &[(u64, Vec<u8>)], random: &mut impl rand::CryptoRng) -> Vec<Component> {
    const PAGE: u64 = PAGE_SIZE;
    /// Kind "kernel", as image tools number them.
    const KIND: u64 = 40;
    let mut sorted: Vec<&(u64, Vec<u8>)> = loads.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    sorted.sort_by_key(|(address, _)| *address);
    let mut components: Vec<Component> = Vec::new();
    for (address, bytes) in sorted {
        let first = address / PAGE * PAGE;
        let end = (address + bytes.len() as u64).next_multiple_of(PAGE);
        let component = match components.last_mut() {
            Some(last) if last.address + last.data.len() as u64 >= first => last,
            _ => {
                // Prefixes rise, as hosts want them to.
                let prefix = KIND << 48 | (components.len() as u64) << 32 | u64::from(random.next_u32());
                components.push(Component { prefix, address: first, data: Vec::new() });
                components.last_mut().expect("it has just been pushed")
            }
        };
        let at = (address - component.address) as usize;
        component.data.resize((end - component.address) as usize, 0);
        component.data[at..at + bytes.len()].copy_from_slice(bytes);
    }
    components
}

impl ImageKeys {
    /// Draws all of them.
    pub fn draw(random: &mut impl rand::CryptoRng) -> Self {
        let mut keys = Self {
            communication: Zeroizing::new([0; 32]),
            header: Zeroizing::new([0; 32]),
            image: Zeroizing::new([0; 64]),
            customer: PrivateKey::generate(random),
            iv: [0; 12],
        };
        random.fill_bytes(keys.communication.as_mut_slice());
        random.fill_bytes(keys.header.as_mut_slice());
        random.fill_bytes(keys.image.as_mut_slice());
        random.fill_bytes(&mut keys.iv);
        keys
    }
}

impl Recipe<'_> {
    /// Makes the image: encrypts the components unless the flags say otherwise, digests them, seals the
    /// header.
    ///
    /// # Errors
    /// No recipient, or too many.
    pub fn make(mut self) -> Result<SeImage, TooManySlots> {
        let secrets = HeaderSecrets::new(&self.keys.communication, &self.keys.image, self.psw, self.secret_flags);
        let cipher = (self.flags & plain_flag::PLAIN_COMPONENTS == 0).then(|| secrets.image_cipher());
        let mut digests = ImageDigests::default();
        for component in &mut self.components {
            let (pages, _) = component.data.as_chunks_mut();
            for (page, offset) in pages.iter_mut().zip((0..).step_by(PAGE_SIZE as usize)) {
                let tweak = [component.prefix, offset];
                if let Some(cipher) = &cipher {
                    cipher.encrypt(page, tweak);
                }
                digests.add(page, component.address.wrapping_add(offset), tweak);
            }
        }
        let plan = HeaderPlan {
            recipients: self.recipients,
            flags: self.flags,
            pages: digests.pages(),
            digests: digests.finish(),
            secrets: &secrets,
            protection: &ProtectionKey::new(*self.keys.header),
            customer: &self.keys.customer,
            iv: self.keys.iv,
        };
        Ok(SeImage { header: plan.seal()?, components: self.components })
    }
}

impl core::fmt::Debug for ImageKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ImageKeys").field("customer", &self.customer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvsim_model::config::MachineConfig;
    use uvsim_model::crypto::SeHeader;
    use uvsim_model::seed::{Purpose, Seed};

    #[test]
    fn loads_become_stretches_of_whole_pages_with_rising_prefixes() {
        let loads = vec![(0x5010, vec![1; 4]), (0x9000, vec![2; 1]), (0x4ffe, vec![3; 4]), (0x6000, vec![4; 0x1001])];
        let components = components_of_loads(&loads, &mut Seed(1).stream(Purpose::Images));
        let shape: Vec<_> = components.iter().map(|found| (found.address, found.data.len())).collect();
        assert_eq!(shape, [(0x4000, 0x4000), (0x9000, 0x1000)]);
        assert!(components[0].prefix < components[1].prefix);
        assert_eq!(
            components[0].data[0xffe..0x1014],
            [3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
        );
        assert_eq!((components[0].data[0x3000], components[0].data[0x3001]), (4, 0));
    }

    #[test]
    fn what_is_made_opens_and_decrypts() {
        let keys = MachineConfig::default().host_keys();
        let plain = vec![Component::new(7, 0x1_0000, b"kernel".to_vec()), Component::new(8, 0x2_0000, Vec::new())];
        let make = |flags| {
            let recipe = Recipe {
                recipients: &[keys.host.public().clone()],
                flags,
                secret_flags: 0,
                psw: [USUAL_PSW_MASK, 0x1_0000],
                components: plain.clone(),
                keys: ImageKeys::draw(&mut Seed(1).stream(Purpose::Images)),
            };
            recipe.make().unwrap()
        };
        let image = make(USUAL_FLAGS);
        let header = SeHeader::parse(&image.header).unwrap();
        let (secrets, _) = header.open(&keys, USUAL_FLAGS).unwrap();
        assert_eq!((header.pages(), secrets.psw()), (2, [USUAL_PSW_MASK, 0x1_0000]));
        let cipher = secrets.image_cipher();
        for (page, wanted) in image.pages().zip(plain.iter().flat_map(Component::pages)) {
            let mut bytes = *page.bytes;
            assert_ne!(&bytes, wanted.bytes);
            cipher.decrypt(&mut bytes, page.tweak);
            assert_eq!((&bytes, page.address), (wanted.bytes, wanted.address));
        }
        let open = make(USUAL_FLAGS | plain_flag::PLAIN_COMPONENTS);
        assert_eq!(open.components, plain);
        assert_ne!(open.header, image.header);
    }
}
