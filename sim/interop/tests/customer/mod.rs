//! The customer of a simulated machine: trusts documents, makes and opens headers, all of it with the client
//! library and OpenSSL, none of it with code of uvsim.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::sha::Sha512;
use openssl::symm::{Cipher, Crypter, Mode};
use s390_pv::request::{
    Aes256GcmKey, Confidential, EcPubKeyCoord, Encrypt, Keyslot, SymKey, SymKeyType, decrypt_aead,
    derive_aes256_gcm_key, encrypt_aead, gen_ec_key,
};
use std::fs;
use std::path::{Path, PathBuf};
use uvsim::hostkey::{self, Authority, Form, HostKeyFile, Period, Role};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::PrivateKey;

pub type Page = [u8; 4096];

/// A folder of its own, gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("uvsim-interop-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A folder with the files of the host key of a seed.
    pub fn with_documents(name: &str, seed: u64, period: Period, form: Form) -> Self {
        let folder = Self::new(name);
        let authority = Authority::new(seed, period).unwrap();
        let keys = MachineConfig { seed, ..MachineConfig::default() }.host_keys();
        for (role, key) in [(Role::Host, &keys.host), (Role::Backup, &keys.backup)] {
            let files = authority.files(role, key, form).unwrap();
            let placed: Vec<(PathBuf, &HostKeyFile)> =
                files.iter().map(|file| (folder.path(file.name), file)).collect();
            hostkey::save(&placed, false).unwrap();
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The key in the host-key document, as client programs read it.
    pub fn host_key(&self) -> PKey<Public> {
        public_key(&self.path("host-key.crt"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The key in a document.
pub fn public_key(document: &Path) -> PKey<Public> {
    let mut all = s390_pv::misc::read_certs(fs::read(document).unwrap()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0).public_key().unwrap()
}

/// A host key of uvsim, as OpenSSL reads it.
pub fn private_key(key: &PrivateKey) -> PKey<Private> {
    PKey::private_key_from_pem(key.to_pem().as_bytes()).unwrap()
}

/// The key with these coordinates.
pub fn key_at(coordinates: &[u8]) -> PKey<Public> {
    let (x, y) = coordinates.split_at(80);
    let (x, y) = (BigNum::from_slice(x).unwrap(), BigNum::from_slice(y).unwrap());
    let group = EcGroup::from_curve_name(Nid::SECP521R1).unwrap();
    PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y).unwrap()).unwrap()
}

/// What the maker of an image knows and draws.
pub struct Maker {
    pub customer: PKey<Private>,
    pub protection: SymKey,
    pub iv: [u8; 12],
    pub communication_key: [u8; 32],
    pub image_key: [u8; 64],
    pub flags: u64,
    pub secret_flags: u64,
    pub psw: [u64; 2],
}

/// A page in plain: guest absolute address, tweak, bytes.
pub type PlainPage = (u64, [u64; 2], Page);

impl Maker {
    pub fn new() -> Self {
        Self {
            customer: gen_ec_key(Nid::SECP521R1).unwrap(),
            protection: SymKey::random(SymKeyType::Aes256Gcm).unwrap(),
            iv: s390_pv::request::random_array().unwrap(),
            communication_key: s390_pv::request::random_array().unwrap(),
            image_key: s390_pv::request::random_array().unwrap(),
            flags: 0xe0,
            secret_flags: 0,
            psw: [0x1_8000_0000, 0x1_0000],
        }
    }

    pub fn coordinates(&self) -> EcPubKeyCoord {
        EcPubKeyCoord::try_from(self.customer.as_ref()).unwrap()
    }

    /// The key slots for these host keys.
    pub fn slots(&self, hosts: &[PKey<Public>]) -> Vec<u8> {
        let mut slots = Vec::new();
        for host in hosts {
            Keyslot::new(host.clone()).encrypt_to(self.protection.value(), &self.customer, &mut slots).unwrap();
        }
        slots
    }

    /// The pages as a host gets them, and the header for them.
    pub fn image(&self, hosts: &[PKey<Public>], plain: &[PlainPage]) -> (Vec<u8>, Vec<PlainPage>) {
        let encrypt = |&(address, tweak, ref page): &PlainPage| {
            (address, tweak, xts(Mode::Encrypt, &self.image_key, tweak, page))
        };
        let pages: Vec<PlainPage> = plain.iter().map(encrypt).collect();
        let header = self.header(self.coordinates().as_ref(), &self.slots(hosts), &pages);
        (header, pages)
    }

    /// The header for pages as a host gets them.
    pub fn header(&self, customer: &[u8], slots: &[u8], pages: &[PlainPage]) -> Vec<u8> {
        let mut plain = b"IBMSecEx".to_vec();
        plain.extend(0x100u32.to_be_bytes());
        plain.extend((0x1a0 + slots.len() as u32 + 0x80 + 16).to_be_bytes());
        plain.extend(self.iv);
        plain.extend([0; 4]);
        for number in [slots.len() as u64 / 80, 0x80, pages.len() as u64, self.flags] {
            plain.extend(number.to_be_bytes());
        }
        plain.extend(customer);
        digests(pages).iter().for_each(|digest| plain.extend(digest));
        assert_eq!(plain.len(), 0x1a0);
        plain.extend(slots);
        let mut secret = self.communication_key.to_vec();
        secret.extend(self.image_key);
        for number in [self.psw[0], self.psw[1], self.secret_flags, 0] {
            secret.extend(number.to_be_bytes());
        }
        assert_eq!(secret.len(), 0x80);
        encrypt_aead(&self.protection, &self.iv, &plain, &secret).unwrap().into_buf()
    }
}

/// Page-list, address-list and tweak-list digest.
pub fn digests(pages: &[PlainPage]) -> [[u8; 64]; 3] {
    let mut all = [Sha512::new(), Sha512::new(), Sha512::new()];
    for (address, [prefix, offset], page) in pages {
        all[0].update(page);
        all[1].update(&address.to_be_bytes());
        all[2].update(&prefix.to_be_bytes());
        all[2].update(&offset.to_be_bytes());
    }
    all.map(Sha512::finish)
}

/// AES-256-XTS over one page.
pub fn xts(mode: Mode, key: &[u8], [prefix, offset]: [u64; 2], page: &Page) -> Page {
    let iv = (u128::from(prefix) << 64 | u128::from(offset)).to_be_bytes();
    let mut crypter = Crypter::new(Cipher::aes_256_xts(), mode, key, Some(&iv)).unwrap();
    let mut out = [0; 4096 + 16];
    let done = crypter.update(page, &mut out).unwrap();
    assert_eq!((done, crypter.finalize(&mut out[done..]).unwrap()), (4096, 0));
    out[..4096].try_into().unwrap()
}

/// What is secret in a header: the 128 bytes in plain, opened with the private key of a host. `None` if there
/// is no slot for it.
pub fn open(header: &[u8], host: &PKey<Private>) -> Option<Vec<u8>> {
    let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap());
    let (slots, rest) = header[0x1a0..].split_at(number(0x20) as usize * 80);
    let name = EcPubKeyCoord::try_from(host.as_ref()).unwrap().sha256().unwrap();
    let slot = slots.chunks_exact(80).find(|slot| slot[..32] == name[..])?;
    let kek: Aes256GcmKey = derive_aes256_gcm_key(host, &key_at(&header[0x40..0xe0])).unwrap();
    let protection = plain(&SymKey::from(kek), &[0; 12], &[], &slot[32..64], &slot[64..]);
    let protection = SymKey::try_from_data(SymKeyType::Aes256Gcm, Confidential::new(protection)).unwrap();
    let (area, tag) = rest.split_at(0x80);
    Some(plain(&protection, &header[0x10..0x1c], &header[..header.len() - 0x90], area, tag))
}

fn plain(key: &SymKey, iv: &[u8], associated: &[u8], sealed: &[u8], tag: &[u8]) -> Vec<u8> {
    let opened = decrypt_aead(key, iv, associated, sealed, tag).expect("the tag fits").into_buf();
    opened.value()[associated.len()..associated.len() + sealed.len()].to_vec()
}
