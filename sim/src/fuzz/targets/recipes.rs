//! What an image is made from: any flags, any addresses, any damage to what was made. It goes into a file and comes
//! out of it again, and boots if there was no damage and nothing that the machine does not know.

use super::images::MACHINE;
use super::{Fault, ensure, images};
use crate::image::verify::{self, Verdict};
use crate::image::{BuiltImage, Component, ImageKeys, ImagePlan, Placed, Recipe, SeImage, SeImageFile, USUAL_FLAGS};
use std::sync::LazyLock;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::{plain_flag, secret_flag};
use uvsim_model::seed::{Purpose, Seed};
use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MOST_COMPONENTS: usize = 6;
const MOST_MEMORY: u64 = 16 << 20;
/// Plaintext control flags that a z16 knows (D53), besides that of the backup key.
const KNOWN: u64 = plain_flag::DUMP
    | plain_flag::PLAIN_COMPONENTS
    | plain_flag::PCKMO_DEA
    | plain_flag::PCKMO_AES
    | plain_flag::PCKMO_ECC;

/// How an input begins; components follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    flags: U64,
    secret_flags: U64,
    psw: [U64; 2],
    /// Bit 0: for the backup key. Bit 1: made as a file. Bit 2: a bare header.
    how: u8,
    /// The bit of the header that is turned round, 0 for none.
    damage: [u8; 2],
    padding: u8,
}

/// A component: a page or two of one byte.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Part {
    prefix: U64,
    address: U64,
    pages: u8,
    content: u8,
}

static KEYS: LazyLock<ImageKeys> = LazyLock::new(|| ImageKeys::draw(&mut Seed(1).stream(Purpose::Images)));

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let Ok((head, rest)) = Head::ref_from_prefix(data) else { return Ok(()) };
    let count = (rest.len() / size_of::<Part>()).min(MOST_COMPONENTS);
    let Ok((parts, _)) = <[Part]>::ref_from_prefix_with_elems(rest, count) else { return Ok(()) };
    if head.how & 2 != 0 { file(head, parts) } else { recipe(head, parts) }
}

/// Recipes that work, one with each kind of making, and one of each kind of damage.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let parts = [(0x10, 0x2_0000, 0, 0x5a), (0x20, 0x3_0000, 1, 0), (0x30, 0x40_0000, 0, 0xff)];
    let parts: Vec<u8> = parts
        .into_iter()
        .flat_map(|(prefix, address, pages, content)| {
            let part = Part { prefix: U64::new(prefix), address: U64::new(address), pages, content };
            part.as_bytes().to_vec()
        })
        .collect();
    let seed = |name: &str, flags: u64, how: u8, damage: u16| {
        let head = Head {
            flags: U64::new(flags),
            secret_flags: U64::new(0),
            psw: [U64::new(0x0000_0001_8000_0000), U64::new(0x2_0000)],
            how,
            damage: damage.to_be_bytes(),
            padding: 0,
        };
        (name.to_owned(), [head.as_bytes(), &parts].concat())
    };
    vec![
        seed("usual", USUAL_FLAGS, 0, 0),
        seed("plain-components", USUAL_FLAGS | plain_flag::PLAIN_COMPONENTS, 0, 0),
        seed("backup-key", USUAL_FLAGS | plain_flag::BACKUP_KEY, 1, 0),
        seed("backup-key-not-allowed", USUAL_FLAGS, 1, 0),
        seed("unknown-flag", 1 << 40, 0, 0),
        seed("damaged", USUAL_FLAGS, 0, 0x800),
        seed("file", USUAL_FLAGS, 2, 0),
        seed("bare-header", USUAL_FLAGS, 2 | 4, 0),
    ]
}

/// Components as they come, one over the other if need be.
fn recipe(head: &Head, parts: &[Part]) -> Result<(), Fault> {
    let component = |part: &Part| Component::new(part.prefix.get(), part.address.get() % MOST_MEMORY, part.data());
    let recipe = Recipe {
        recipients: &[recipient(head)],
        flags: head.flags.get(),
        secret_flags: head.secret_flags.get(),
        psw: head.psw.map(U64::get),
        components: parts.iter().map(component).collect(),
        keys: KEYS.clone(),
    };
    let image = recipe.make().map_err(|error| Fault::new(error.to_string()))?;
    boot(head, parts, image)
}

/// Components as an image tool lays them out.
fn file(head: &Head, parts: &[Part]) -> Result<(), Fault> {
    let placed = |part: &Part| Placed {
        address: part.address.get() % MOST_MEMORY,
        prefix: (part.prefix.get() != 0).then_some(part.prefix.get()),
        data: part.data(),
    };
    let plan = ImagePlan {
        recipients: &[recipient(head)],
        kernel: None,
        ramdisk: None,
        command_line: None,
        placed: parts.iter().map(placed).collect(),
        stage3a: None,
        stage3b: None,
        flags: head.flags.get(),
        secret_flags: head.secret_flags.get(),
        psw: Some(head.psw.map(U64::get)),
        keys: KEYS.clone(),
        header_only: head.how & 4 != 0,
    };
    let Ok(built) = plan.build(&mut Seed(2).stream(Purpose::Images)) else { return Ok(()) };
    images::booted(&read_back(&built)?)
}

/// What a file says is what was written.
fn read_back(built: &BuiltImage) -> Result<SeImage, Fault> {
    let file = SeImageFile::parse(&built.to_bytes()).map_err(|error| Fault::new(error.to_string()))?;
    ensure(file.image.header == built.image.header, || "another header is read than was written".to_owned())?;
    Ok(file.image)
}

/// Boots it, and holds the answer against what is known of the plan.
fn boot(head: &Head, parts: &[Part], mut image: SeImage) -> Result<(), Fault> {
    let bit = usize::from(u16::from_be_bytes(head.damage));
    if bit != 0
        && let Some(byte) = image.header.get_mut(bit / 8)
    {
        *byte ^= 0x80 >> (bit % 8);
    }
    let backup = head.how & 1 != 0;
    let allowed = KNOWN | if backup { plain_flag::BACKUP_KEY } else { 0 };
    let whole = bit == 0 || bit / 8 >= image.header.len();
    let plain = whole
        && head.flags.get() & !allowed == 0
        && (!backup || head.flags.get() & plain_flag::BACKUP_KEY != 0)
        && head.secret_flags.get() & !secret_flag::KNOWN == 0
        && apart(parts);
    match verify::boot(&image, &MACHINE).map_err(|error| Fault::new(error.to_string()))? {
        Verdict::Boots(booted) => {
            ensure(whole, || format!("bit {bit} of the header is turned round, and it boots: {booted:x?}"))?;
            let wanted = head.psw.map(U64::get);
            let found = [booted.psw.mask, booted.psw.address];
            ensure(found == wanted, || format!("PSW {found:x?}, not {wanted:x?}"))
        }
        Verdict::Refused(refused) => ensure(!plain, || format!("nothing is wrong with it: {refused:x?}")),
    }
}

/// Components that begin at pages and do not lie one over the other.
fn apart(parts: &[Part]) -> bool {
    let mut ranges: Vec<(u64, u64)> =
        parts.iter().map(|part| (part.address.get() % MOST_MEMORY, part.data().len() as u64)).collect();
    ranges.sort_unstable();
    ranges.iter().all(|(address, _)| address.is_multiple_of(PAGE_SIZE))
        && ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
}

fn recipient(head: &Head) -> uvsim_model::crypto::PublicKey {
    let backup = MACHINE.backup_host_key.as_ref().filter(|_| head.how & 1 != 0);
    backup.unwrap_or(&MACHINE.host_key).public().clone()
}

impl Part {
    fn data(&self) -> Vec<u8> {
        vec![self.content; PAGE_SIZE as usize * usize::from(1 + self.pages % 2)]
    }
}
