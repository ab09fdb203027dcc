//! Images that schedules boot, whole and spoilt, and what D52 says of their headers.
//!
//! Every header is made once: making one costs as much as opening it.

use crate::reference::Bytes;
use crate::secret;
use crate::step::{HOST_KEY, Setup};
use crate::support::image::{Plan, USUAL, image_key};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{LazyLock, Mutex};
use uvsim_model::Machine;
use uvsim_model::config::Generation;
use uvsim_model::crypto::{ImageCipher, PrivateKey, plain_flag, secret_flag};
use uvsim_model::seed::{Purpose, Seed};

static OTHER_KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::generate(&mut Seed(0x07e4).stream(Purpose::Images)));

/// An image of up to two pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Image {
    pub pages: [Option<u8>; 2],
    pub seal: Seal,
}

/// What the maker of a header has put into it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Seal {
    Genuine,
    /// Page-list, address-list or tweak-list digest is another.
    Digest(usize),
    /// Says that it has a page more.
    Count,
    Flags(u64),
    SecretFlags(u64),
    /// For another machine. The backup key may open it, or not.
    Foreign(bool),
    /// For another machine and for this one.
    ForBoth,
}

/// What happens to a header on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    None,
    /// A bit of a field of [`FIELDS`].
    Flip(usize, u16),
    /// All bytes of a field are this one.
    Fill(usize, u8),
    /// A valid customer public key, but another.
    Customer,
    /// The length given.
    Length(u32),
    /// It is said to lie in the donated base area, or at the end of storage.
    Donated,
    Outside,
}

/// What happens to the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slip {
    None,
    /// A bit of the first page.
    Flip(u16),
    /// Another tweak for the first page.
    Tweak,
    /// The first page is loaded at the place behind it.
    Address,
    /// Once more, from its own frame and from another.
    Twice,
    /// Once more, after it was exported.
    Exported,
    /// Imported, or imported and destroyed, before it is unpacked.
    Imported,
    Destroyed,
    /// The last page comes only after VERIFY_IMG was refused.
    Late,
    Missing,
    Swapped,
}

/// The fields of a header with one key slot: first byte and the one behind the last.
pub(crate) const FIELDS: [(usize, usize); 17] = [
    (0x0, 0x8),
    (0x8, 0xc),
    (0xc, 0x10),
    (0x10, 0x1c),
    (0x1c, 0x20),
    (0x20, 0x28),
    (0x28, 0x30),
    (0x30, 0x38),
    (0x38, 0x40),
    CUSTOMER,
    (0xe0, 0x120),
    (0x120, 0x160),
    (0x160, 0x1a0),
    (0x1a0, 0x1c0),
    (0x1c0, 0x1f0),
    (0x1f0, 0x270),
    (0x270, 0x280),
];
const CUSTOMER: (usize, usize) = (0x40, 0xe0);
const FIXED: usize = 0x1a0;
const SLOT: usize = 80;
const ENCRYPTED_AND_TAG: usize = 0x90;

/// A page of an image as delivered: guest absolute address, tweak, bytes.
pub(crate) type Delivered = (u64, [u64; 2], Bytes);

/// A header as it lies in storage.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    pub image: Image,
    pub bytes: Vec<u8>,
    genuine: Vec<u8>,
}

impl Image {
    pub(crate) fn of(page: Option<u8>) -> Self {
        Self { pages: [page, None], seal: Seal::Genuine }
    }

    /// The pages, in the order in which they are to be loaded.
    pub(crate) fn delivered(self) -> Vec<Delivered> {
        let encrypted = self.is_encrypted();
        let page = |page: u8| {
            let (tweak, mut bytes) = (tweak(page), plain(page));
            if encrypted {
                cipher().encrypt(&mut bytes, tweak);
            }
            (u64::from(page) << 12, tweak, Rc::new(bytes))
        };
        self.pages.into_iter().flatten().map(page).collect()
    }

    /// What UNPACK_IMG makes of what it finds.
    pub(crate) fn unpacked(self, delivered: &Bytes, tweak: [u64; 2]) -> Bytes {
        let mut bytes = delivered.clone();
        if self.is_encrypted() {
            cipher().decrypt(Rc::make_mut(&mut bytes), tweak);
        }
        bytes
    }

    fn is_encrypted(self) -> bool {
        !matches!(self.seal, Seal::Flags(flags) if flags & plain_flag::PLAIN_COMPONENTS != 0)
    }

    /// How many pages it says it has.
    pub(crate) fn stated(self) -> usize {
        self.pages.iter().flatten().count() + usize::from(self.seal == Seal::Count)
    }

    /// The header, and what is made of it on its way.
    pub(crate) fn lay(self, machine: &Machine, change: Change) -> Laid {
        let genuine = self.header(machine);
        let mut bytes = genuine.clone();
        match change {
            Change::Flip(field, bit) => {
                let (from, to) = FIELDS[field];
                let bit = usize::from(bit) % ((to - from) * 8);
                bytes[from + bit / 8] ^= 1 << (bit % 8);
            }
            Change::Fill(field, byte) => bytes[FIELDS[field].0..FIELDS[field].1].fill(byte),
            Change::Customer => {
                bytes[CUSTOMER.0..CUSTOMER.1].copy_from_slice(HOST_KEY.public().coordinates());
            }
            _ => {}
        }
        Laid { image: self, bytes, genuine }
    }

    fn header(self, machine: &Machine) -> Vec<u8> {
        static MADE: Mutex<BTreeMap<Image, Vec<u8>>> = Mutex::new(BTreeMap::new());
        let mut made = MADE.lock().expect("making a header does not panic");
        made.entry(self).or_insert_with(|| self.plan(machine).make().header).clone()
    }

    fn plan(self, machine: &Machine) -> Plan {
        let page = |page: u8| (u64::from(page) << 12, tweak(page), plain(page));
        let mut plan = Plan::of(machine, self.pages.into_iter().flatten().map(page).collect());
        let other = OTHER_KEY.public().clone();
        match self.seal {
            Seal::Genuine => {}
            Seal::Digest(list) => plan.digests[list] = Some([0x5a; 64]),
            Seal::Count => plan.count = Some(self.stated() as u64),
            Seal::Flags(flags) => plan.flags = flags,
            Seal::SecretFlags(flags) => plan.secret_flags = flags,
            Seal::Foreign(backup) => {
                plan.recipients = vec![other];
                plan.flags |= if backup { plain_flag::BACKUP_KEY } else { 0 };
            }
            Seal::ForBoth => plan.recipients.insert(0, other),
        }
        plan
    }
}

impl Laid {
    /// rc and rrc with which SET_SEC_CONF_PARAMS refuses it, in the order of D52.
    pub(crate) fn fault(&self, length: u32, setup: Setup) -> Option<(u16, u16)> {
        const MISFIT: Option<(u16, u16)> = Some((0x10a, 0x31));
        let (bytes, genuine, length) = (&self.bytes, &self.genuine, u64::from(length));
        let field =
            |from: usize, to: usize| bytes[from..to].iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if !(0x1a0..=0x2000).contains(&length) {
            return MISFIT;
        }
        if !bytes.starts_with(b"IBMSecEx") {
            return Some((0x10a, 0));
        }
        if field(0x8, 0xc) != 0x100 {
            return Some((0x104, 1));
        }
        let slots = field(0x20, 0x28);
        if slots == 0 {
            return Some((0x10a, 0x40));
        }
        if field(0x28, 0x30) != 0x80 {
            return Some((0x10a, 0x39));
        }
        let needed = u128::from(slots) * SLOT as u128 + (FIXED + ENCRYPTED_AND_TAG) as u128;
        if field(0xc, 0x10) != length || needed != u128::from(length) {
            return MISFIT;
        }
        let (flags, known) = (field(0x38, 0x40), if setup.generation == Generation::Z17 { 0x10 } else { 0 });
        if flags & !(0x3000_00e2 | known) != 0 {
            return Some((0x106, if setup.generation == Generation::Z15 { 0 } else { 0x30 }));
        }
        let end = bytes.len() - ENCRYPTED_AND_TAG;
        let hash = HOST_KEY.public().hash().0;
        let Some(slot) = (FIXED..end).step_by(SLOT).find(|&at| bytes[at..at + 32] == hash) else {
            return Some((0x108, if flags & plain_flag::BACKUP_KEY == 0 { 0x5 } else { 0x34 }));
        };
        let same = |from: usize, to: usize| bytes[from..to] == genuine[from..to];
        let valid = same(CUSTOMER.0, CUSTOMER.1) || bytes[CUSTOMER.0..CUSTOMER.1] == *HOST_KEY.public().coordinates();
        if !valid {
            return Some((0x108, 0xb));
        }
        if !same(CUSTOMER.0, CUSTOMER.1) || !same(slot + 32, slot + SLOT) {
            return Some((0x108, 0));
        }
        if bytes != genuine {
            return Some((0x10a, 0));
        }
        match self.image.seal {
            Seal::SecretFlags(flags) if flags & !(secret_flag::EXTENSION_REQUIRED | secret_flag::KEY_UPDATE) != 0 => {
                Some((0x109, 0))
            }
            _ => None,
        }
    }
}

/// Flags that are worth trying.
pub(crate) const FLAGS: [u64; 7] = [
    USUAL,
    USUAL | plain_flag::PLAIN_COMPONENTS,
    USUAL | plain_flag::BACKUP_KEY | plain_flag::DUMP,
    USUAL | plain_flag::PCKMO_HMAC,
    USUAL | 1 << 63,
    USUAL | 1,
    0,
];

/// The tweak of a page.
fn tweak(page: u8) -> [u64; 2] {
    [7, u64::from(page) << 12]
}

/// The page of an image that is to be loaded at `page`, in plain.
fn plain(page: u8) -> [u8; 4096] {
    secret::public(0xffff_0000 + u64::from(page))
}

fn cipher() -> ImageCipher {
    ImageCipher::new(&image_key())
}
