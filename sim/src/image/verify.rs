//! Whether a machine would boot an image: it is tried, on a simulated one.

use super::SeImage;
use crate::explain;
use driver::{Answer, Driver, Guest};
use uvsim_model::MAX_GUEST_ADDRESS;
use uvsim_model::Machine;
use uvsim_model::Psw;
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::crypto::{HeaderFault, HostKeys, ImageDigest, ImageDigests, KeyHash, PrivateKey, SeHeader};
use uvsim_model::uvc::Command;

mod driver;

/// The machine that is to boot an image.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its host key.
    pub host_key: PrivateKey,
    /// Its backup host key; one that no image is made for if there is none.
    pub backup_host_key: Option<PrivateKey>,
    /// Its generation.
    pub generation: Generation,
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The first CPU operates.
    Boots(Booted),
    /// A call was refused.
    Refused(Refused),
}

/// A guest that has booted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Booted {
    /// The key that opened the header.
    pub opened_with: KeyHash,
    /// Authentication tag of the header.
    pub tag: [u8; 16],
    /// Pages unpacked.
    pub pages: u64,
    /// Where the guest begins.
    pub psw: Psw,
}

/// A call that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The call.
    pub command: Command,
    /// Response code.
    pub rc: u16,
    /// Reason code.
    pub rrc: u16,
    /// What about it was wrong.
    pub cause: Cause,
}

/// What about a call was wrong, as far as it can be told from outside.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cause {
    /// The header.
    #[error("{0}")]
    Header(HeaderFault),
    /// A page that is to be unpacked.
    #[error("page {number} of the image, at {address:#x}, tweak {:#018x} {:#x}", .tweak[0], .tweak[1])]
    Page {
        /// Number in the order of unpacking, from 0.
        number: u64,
        /// Its guest absolute address.
        address: u64,
        /// Its tweak.
        tweak: [u64; 2],
    },
    /// The number of pages.
    #[error("number of pages: the header says {header}, {image} were unpacked")]
    Pages {
        /// In the header.
        header: u64,
        /// Unpacked.
        image: u64,
    },
    /// A digest.
    #[error("{}: the header says {}, what was unpacked has {}", .which.name(), hex(.header.as_slice()), hex(.image.as_slice()))]
    Digest {
        /// Which one.
        which: DigestKind,
        /// In the header.
        header: Box<ImageDigest>,
        /// Of what was unpacked.
        image: Box<ImageDigest>,
    },
    /// Nothing is known.
    #[error("the call was refused for another reason")]
    Other,
}

/// The digests in a header, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestKind {
    /// Page-list digest.
    Pages,
    /// Address-list digest.
    Addresses,
    /// Tweak-list digest.
    Tweaks,
}

/// It cannot be tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// The guest would be too large.
    #[error("a component ends at {end:#x}: guests of {MOST_MEMORY:#x} bytes at most are simulated here")]
    TooHigh {
        /// Where it ends; the highest number if no number says it.
        end: u64,
    },
    /// Only an error of this program can lead here.
    #[error("the simulated machine cannot be brought up: {0}")]
    Machine(String),
}

/// Largest guest that is simulated for this.
pub const MOST_MEMORY: u64 = 64 << 30;

const _: () = assert!(MOST_MEMORY <= MAX_GUEST_ADDRESS);

impl DigestKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pages => "page-list digest (contents)",
            Self::Addresses => "address-list digest",
            Self::Tweaks => "tweak-list digest",
        }
    }
}

impl Refused {
    /// What the codes mean, as a clause.
    #[must_use]
    pub fn meaning(&self) -> Option<String> {
        explain::response_meaning(self.command, self.rc, self.rrc)
    }
}

/// Boots an image: SET_SEC_CONF_PARAMS, UNPACK_IMG for each page in order, VERIFY_IMG, CPU_SET_STATE 5, on a
/// fresh guest of a fresh machine.
///
/// # Errors
/// [`VerifyError`]: it could not be tried.
pub fn boot(image: &SeImage, target: &Target) -> Result<Verdict, VerifyError> {
    let ends = image.pages().map(|page| page.address.saturating_add(PAGE_SIZE));
    let end = ends.max().unwrap_or(MEBIBYTE);
    if end > MOST_MEMORY {
        return Err(VerifyError::TooHigh { end });
    }
    let memory = end.next_multiple_of(MEBIBYTE);
    let data = image.pages().count() as u64 * PAGE_SIZE + image.header.len() as u64;
    let machine = Machine::new(MachineConfig {
        storage: driver::storage_for(memory, data),
        cpus: 1,
        generation: target.generation,
        host_key: Some(target.host_key.clone()),
        backup_host_key: target.backup_host_key.clone(),
        ..MachineConfig::default()
    })
    .map_err(|error| VerifyError::Machine(error.to_string()))?;
    let mut host = Driver::new(&machine)?;
    let mut guest = host.create(memory)?;
    Ok(match load(&mut host, &mut guest, image)? {
        Some(refused) => Verdict::Refused(refused),
        None => Verdict::Boots(booted(&machine, &guest, image)?),
    })
}

/// The calls of a boot; the first one that is refused.
fn load(host: &mut Driver<'_>, guest: &mut Guest, image: &SeImage) -> Result<Option<Refused>, VerifyError> {
    let refused = |command, answer: Answer, cause| Refused { command, rc: answer.rc, rrc: answer.rrc, cause };
    let answer = host.set_parameters(guest, &image.header)?;
    if !answer.done() {
        let flags = host.supported_flags()?;
        let cause = header_cause(&image.header, &host.machine().config().host_keys(), flags);
        return Ok(Some(refused(Command::SetSecConfParams, answer, cause)));
    }
    for (number, page) in (0..).zip(image.pages()) {
        let answer = host.unpack(guest, page)?;
        if !answer.done() {
            let cause = Cause::Page { number, address: page.address, tweak: page.tweak };
            return Ok(Some(refused(Command::UnpackImg, answer, cause)));
        }
    }
    let answer = host.verify(guest)?;
    if !answer.done() {
        return Ok(Some(refused(Command::VerifyImg, answer, digest_cause(image, answer.rrc))));
    }
    let answer = host.start(guest)?;
    Ok((!answer.done()).then(|| refused(Command::CpuSetState, answer, Cause::Other)))
}

fn booted(machine: &Machine, guest: &Guest, image: &SeImage) -> Result<Booted, VerifyError> {
    let known = machine.image(guest.handle).ok_or(VerifyError::Machine("the image is not known".into()))?;
    let pages = image.pages().count() as u64;
    Ok(Booted { opened_with: known.opened_with, tag: known.tag, pages, psw: known.psw })
}

fn header_cause(header: &[u8], keys: &HostKeys, flags: u64) -> Cause {
    match SeHeader::parse(header).and_then(|header| header.open(keys, flags)) {
        Ok(_) => Cause::Other,
        Err(fault) => Cause::Header(fault),
    }
}

/// The digest that a reason code of VERIFY_IMG speaks of.
fn digest_cause(image: &SeImage, rrc: u16) -> Cause {
    let Ok(header) = SeHeader::parse(&image.header) else { return Cause::Other };
    let digests = image.digests();
    let differs = |which| Cause::Digest {
        which,
        header: Box::new(header.digests()[which as usize]),
        image: Box::new(digests.finish()[which as usize]),
    };
    match rrc {
        0x1d => Cause::Pages { header: header.pages(), image: digests.pages() },
        0x1a => differs(DigestKind::Addresses),
        0x1b => differs(DigestKind::Pages),
        0x1c => differs(DigestKind::Tweaks),
        _ => Cause::Other,
    }
}

impl SeImage {
    /// The digests of its pages as they would be unpacked.
    #[must_use]
    pub fn digests(&self) -> ImageDigests {
        let mut digests = ImageDigests::default();
        self.pages().for_each(|page| digests.add(page.bytes, page.address, page.tweak));
        digests
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
