//! Any bytes as an image file, and as an SE header that a host hands to the Ultravisor.

use super::{Fault, ensure};
use crate::image::layout::IPIB_TYPE;
use crate::image::verify::{self, Cause, Target, Verdict};
use crate::image::{
    Component, FileError, ImageInfo, ImageKeys, Ipib, KERNEL_ENTRY, ListedComponent, Recipe, Recipient, SeImage,
    SeImageFile, USUAL_FLAGS, USUAL_PSW_MASK, check_kernel,
};
use std::sync::LazyLock;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::config::Generation;
use uvsim_model::crypto::{PrivateKey, SeHeader};
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::uvc::Command;

/// Guests of images are no larger: only their addresses cost anything.
const MOST_MEMORY: u64 = 64 << 20;
const MOST_PAGES: usize = 64;

/// The machine that images of the corpus are for: that of scenarios that name no key and no seed.
pub(super) static MACHINE: LazyLock<Target> = LazyLock::new(|| {
    let key = |number| PrivateKey::generate(&mut Seed(1).substream(Purpose::HostKeys, number));
    Target { host_key: key(0), backup_host_key: Some(key(1)), generation: Generation::Z16 }
});

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    header(data)?;
    let _ = Recipient::read(data);
    let _ = check_kernel(data, data.get(KERNEL_ENTRY as usize..));
    // All of it as a header. Without the magic it is refused at once, which needs no machine to be told again and again.
    if SeHeader::stated_size(data).is_some() {
        booted(&SeImage { header: data.to_vec(), components: Vec::new() })?;
    }
    match SeImageFile::parse(data) {
        Ok(file) => file_of(&file, data),
        Err(FileError::Io(error)) => Err(Fault::new(format!("bytes in storage cannot be read: {error}"))),
        Err(error) => ensure(!error.to_string().is_empty(), || "an error without words".to_owned()),
    }
}

/// A header, and a file of five pages that is found by search.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    const PAGE: usize = PAGE_SIZE as usize;
    let mut random = Seed(1).stream(Purpose::Images);
    let recipe = |components, random: &mut _| {
        Recipe {
            recipients: &[MACHINE.host_key.public().clone()],
            flags: USUAL_FLAGS,
            secret_flags: 0,
            psw: [USUAL_PSW_MASK, 0x3000],
            components,
            keys: ImageKeys::draw(random),
        }
        .make()
    };
    let component = Component::new(1, 0x3000, vec![0x5a; PAGE]);
    let (Ok(bare), Ok(image)) = (recipe(Vec::new(), &mut random), recipe(vec![component], &mut random)) else {
        return Vec::new();
    };
    let ipib = Ipib {
        length: 0x1a0,
        block_type: IPIB_TYPE,
        header_address: 0x1000,
        header_size: image.header.len() as u64,
        components: vec![ListedComponent { prefix: 1, address: 0x3000, length: PAGE_SIZE }],
    };
    let mut file = vec![0; 4 * PAGE];
    file[PAGE..PAGE + image.header.len()].copy_from_slice(&image.header);
    file[3 * PAGE..].copy_from_slice(&image.components[0].data);
    file.extend(ipib.to_bytes());
    vec![("header".to_owned(), bare.header), ("file".to_owned(), file)]
}

/// What the plain part says agrees with the bytes.
fn header(data: &[u8]) -> Result<(), Fault> {
    let Ok(header) = SeHeader::parse(data) else { return Ok(()) };
    ensure(header.size() as usize == data.len(), || format!("size {:#x} of {:#x} bytes", header.size(), data.len()))?;
    ensure(SeHeader::stated_size(data) == Some(header.size()), || "two sizes".to_owned())?;
    for number in 0..=header.recipients().len() {
        let there = number < header.recipients().len();
        ensure(header.slot(number).is_some() == there, || format!("key slot {number}"))?;
    }
    Ok(())
}

fn file_of(file: &SeImageFile, data: &[u8]) -> Result<(), Fault> {
    ensure(file.length == data.len() as u64, || format!("{:#x} bytes of {:#x}", file.length, data.len()))?;
    if let Some((_, ipib)) = &file.ipib {
        let _ = ipib.check();
    }
    if let Ok(mut info) = ImageInfo::new(file) {
        let opened = info.open(&MACHINE.host_key).is_ok();
        ensure(!info.sections(opened).is_empty(), || "nothing is told".to_owned())?;
        let kind = info.to_json(opened)["kind"].clone();
        ensure((kind == "decrypted_se_hdr") == opened, || format!("`{kind}`, although opened: {opened}"))?;
        let _ = info.digests_match();
    }
    booted(&file.image)
}

/// Boots an image unless it is large. The machine that boots it must come up, and where it refuses a header, the
/// reader of headers must find the reason.
pub(super) fn booted(image: &SeImage) -> Result<(), Fault> {
    let small = image.pages().count() <= MOST_PAGES
        && image.pages().all(|page| page.address <= MOST_MEMORY)
        && image.components.iter().all(|one| one.address <= MOST_MEMORY);
    if !small {
        return Ok(());
    }
    match verify::boot(image, &MACHINE).map_err(|error| Fault::new(error.to_string()))? {
        Verdict::Boots(booted) => {
            let pages = image.pages().count() as u64;
            ensure(booted.pages == pages, || format!("{} pages of {pages}", booted.pages))
        }
        Verdict::Refused(refused) => {
            let unexplained = refused.command == Command::SetSecConfParams && refused.cause == Cause::Other;
            ensure(!unexplained, || format!("a header that seems to be good is refused: {refused:x?}"))?;
            ensure(refused.rc != 0, || "refused with rc 0".to_owned())
        }
    }
}
