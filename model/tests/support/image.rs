//! Images for tests: real headers, made for the host key of a machine.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};
use uvsim_model::Machine;
use uvsim_model::crypto::{
    HeaderPlan, HeaderSecrets, ImageDigest, ImageDigests, PrivateKey, ProtectionKey, PublicKey, TooManySlots,
    plain_flag,
};
use uvsim_model::seed::{Purpose, Seed};

/// A page of an image in plain: guest absolute address, tweak, bytes.
pub type PlainPage = (u64, [u64; 2], [u8; 4096]);

/// What an image is to be; [`Plan::make`] makes it.
#[derive(Clone)]
pub struct Plan {
    pub recipients: Vec<PublicKey>,
    pub flags: u64,
    pub secret_flags: u64,
    pub psw: [u64; 2],
    pub pages: Vec<PlainPage>,
    /// Instead of the number of pages.
    pub count: Option<u64>,
    /// Instead of the true digests.
    pub digests: [Option<ImageDigest>; 3],
}

/// Header, and the pages as delivered.
#[derive(Clone)]
pub struct Image {
    pub header: Vec<u8>,
    pub pages: Vec<PlainPage>,
}

/// Flags of usual images.
pub const USUAL: u64 = 0xe0;
/// The PSW of all test images.
pub const PSW: [u64; 2] = [0x0000_0001_8000_0000, 0x1_0000];

static CUSTOMER: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(&mut Seed(7).stream(Purpose::Images)));

impl Plan {
    /// For this machine.
    pub fn of(machine: &Machine, pages: Vec<PlainPage>) -> Self {
        Self {
            recipients: vec![machine.host_public_key().clone()],
            flags: USUAL,
            secret_flags: 0,
            psw: PSW,
            pages,
            count: None,
            digests: [None; 3],
        }
    }

    pub fn secrets(&self) -> HeaderSecrets {
        HeaderSecrets::new(&[0x31; 32], &image_key(), self.psw, self.secret_flags)
    }

    pub fn make(&self) -> Image {
        self.seal().expect("few recipients")
    }

    pub fn seal(&self) -> Result<Image, TooManySlots> {
        let (secrets, mut digests, mut pages) = (self.secrets(), ImageDigests::default(), self.pages.clone());
        let cipher = secrets.image_cipher();
        for (address, tweak, page) in &mut pages {
            if self.flags & plain_flag::PLAIN_COMPONENTS == 0 {
                cipher.encrypt(page, *tweak);
            }
            digests.add(page, *address, *tweak);
        }
        let truth = digests.finish();
        let plan = HeaderPlan {
            recipients: &self.recipients,
            flags: self.flags,
            pages: self.count.unwrap_or(digests.pages()),
            digests: core::array::from_fn(|list| self.digests[list].unwrap_or(truth[list])),
            secrets: &secrets,
            protection: &ProtectionKey::new([0x32; 32]),
            customer: &CUSTOMER,
            iv: [0x33; 12],
        };
        Ok(Image { header: plan.seal()?, pages })
    }
}

/// Image key of all test images.
pub fn image_key() -> [u8; 64] {
    core::array::from_fn(|at| if at < 32 { 0x42 } else { 0x43 })
}

/// The header of an image without pages; made once per host key.
pub fn empty_header(machine: &Machine) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<[u8; 32], Vec<u8>>> = Mutex::new(BTreeMap::new());
    let key = machine.host_public_key().hash().0;
    let mut made = MADE.lock().expect("making a header does not panic");
    made.entry(key).or_insert_with(|| Plan::of(machine, Vec::new()).make().header).clone()
}
