//! An image is loaded and verified.

use crate::call::{Block, Call, Ruling, Stop, refuse};
use crate::host;
use crate::ids::{Handle, VirtualAddress};
use crate::paging::Claim;
use crate::state::{Boot, Image, Opened, Record, Registered, Registration, State, Unpacked};
use crate::step::Access;
use crate::storage::FRAME;
use crate::world::World;
use std::sync::Arc;

/// Fixed part of an SE header, and the longest one (D52).
const HEADER: core::ops::RangeInclusive<u64> = 0x1a0..=0x2000;

/// Plaintext control flag 35: components are not encrypted.
const NOT_ENCRYPTED: u64 = 0x1000_0000;

/// Plaintext control flag 62: the backup host key may open the header.
const BACKUP_KEY: u64 = 0x2;

/// Secret control flags 1 and 2.
const SECRET_FLAGS: u64 = 0x6000_0000_0000_0000;

/// SET_SEC_CONF_PARAMS 0x0300: Q13, D52.
pub(crate) fn set_sec_conf_params(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    if configuration.boot != Boot::Created {
        return refuse(0x0101, 0, "Q13");
    }
    let mut next = state.clone();
    let given = u64::from(call.block.u32(0x28));
    let Some(bytes) = fetch_header(&mut next, call, given.min(*HEADER.end()), world) else {
        return refuse(0x0103, 0, "D52");
    };
    let header = Block { bytes, big_endian: true };
    judge_form(&header, given)?;
    judge_flags(&header, state.setup.generation)?;
    let image = open(&header, world)?;
    next.set_boot(owner, Boot::Loading(image, Arc::default()));
    next.done("D52")
}

/// UNPACK_IMG 0x0301: D51, T73–T75, D30, D50.
pub(crate) fn unpack_img(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    let Boot::Loading(image, unpacked) = &configuration.boot else { return refuse(0x0101, 0, "Q13") };
    let address = call.block.u64(0x20);
    let place = configuration.origin.checked_add(address).filter(|_| address.is_multiple_of(FRAME));
    let Some((place, page)) = place.and_then(|place| Some((place, configuration.page_at(place)?))) else {
        return refuse(0x0103, 0, "D51");
    };
    let Some(frame) = state.mapped(configuration, place) else { return refuse(0x010a, 0, "T74") };
    let claim = state.claim(call, frame, owner, page)?;
    if claim == Claim::Already || configuration.row(page).record != Record::Absent {
        return refuse(0x0105, 0, "T75");
    }
    let tweak = (call.block.u64(0x28), call.block.u64(0x30));
    if state.setup.strict_tweaks && unpacked.pages.last().is_some_and(|(_, _, last)| tweak <= *last) {
        return refuse(0x0106, 0, "D50");
    }

    let bytes = state.frame(frame);
    let plain = if image.pcf & NOT_ENCRYPTED != 0 { bytes.clone() } else { world.decrypt(image.key, tweak, &bytes) };
    let mut pages = unpacked.pages.clone();
    pages.push_back((bytes, address, tweak));
    let mut next = state.clone();
    next.settle(claim);
    next.set_frame(frame, plain);
    next.register(frame, Registration { kind: Registered::Secure, configuration: owner, page });
    next.set_boot(owner, Boot::Loading(image.clone(), Arc::new(Unpacked { pages })));
    next.done("T73")
}

/// VERIFY_IMG 0x0302: Q13, D54, I-34.
pub(crate) fn verify_img(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    let Boot::Loading(image, unpacked) = &configuration.boot else { return refuse(0x0101, 0, "Q13") };
    let pages = &unpacked.pages;
    if pages.len() as u64 != image.nep {
        return refuse(0x0102, 0x1d, "C61");
    }
    if world.digest(&mut pages.iter().map(|(_, address, _)| address.to_be_bytes().to_vec())) != image.ald {
        return refuse(0x0102, 0x1a, "C63");
    }
    if world.digest(&mut pages.iter().map(|(bytes, _, _)| bytes.to_vec())) != image.pld {
        return refuse(0x0102, 0x1b, "C62");
    }
    let tweaks = pages.iter().map(|(_, _, tweak)| [tweak.0.to_be_bytes(), tweak.1.to_be_bytes()].concat());
    if world.digest(&mut { tweaks }) != image.tld {
        return refuse(0x0102, 0x1c, "C64");
    }
    let mut next = state.clone();
    next.set_boot(owner, Boot::Verified(image.clone()));
    next.done("I-34")
}

/// Fetches a header as the issuer would; all of it has to be accessible, however long it is said to be. Of one that
/// is too long the rest is not kept.
fn fetch_header(next: &mut State, call: &Call, given: u64, world: &mut dyn World) -> Option<Vec<u8>> {
    let origin = call.block.u64(0x20);
    let mut bytes = Vec::new();
    let mut done = 0;
    while done < given {
        let at = origin.wrapping_add(done);
        let length = (FRAME - at % FRAME).min(given - done);
        let part = host::load(next, call.cpu, VirtualAddress(at), length, Access::Fetch, world).ok()?;
        if done <= *HEADER.end() {
            bytes.extend(part);
        }
        done += length;
    }
    Some(bytes)
}

/// Length, magic, version, slots, sizes (D52).
fn judge_form(header: &Block, given: u64) -> Result<(), Stop> {
    if !HEADER.contains(&given) {
        return refuse(0x010a, 0x31, "D52");
    }
    if !header.bytes.starts_with(b"IBMSecEx") {
        return refuse(0x010a, 0, "D52");
    }
    if header.u32(0x08) != 0x100 {
        return refuse(0x0104, 0x1, "C53");
    }
    let (slots, encrypted) = (header.u64(0x20), header.u64(0x28));
    if slots == 0 {
        return refuse(0x010a, 0x40, "C57");
    }
    if encrypted != 0x80 {
        return refuse(0x010a, 0x39, "D52");
    }
    let needed = slots.checked_mul(80).and_then(|slots| slots.checked_add(0x1a0 + 0x80 + 16));
    if u64::from(header.u32(0x0c)) != given || needed != Some(given) {
        return refuse(0x010a, 0x31, "C56");
    }
    Ok(())
}

/// Plaintext control flags (D53, Q20).
fn judge_flags(header: &Block, generation: u8) -> Result<(), Stop> {
    let supported = if generation >= 17 { 0x3000_00f2 } else { 0x3000_00e2 };
    if header.u64(0x38) & !supported != 0 {
        return refuse(0x0106, if generation == 15 { 0 } else { 0x30 }, "C55");
    }
    Ok(())
}

/// What needs a key (D52). Of what the world says, the plain part of the header is not believed but read.
fn open(header: &Block, world: &mut dyn World) -> Result<Image, Stop> {
    let flags = header.u64(0x38);
    let (image, items) = match world.open_header(&header.bytes) {
        Opened::NoKeySlot if flags & BACKUP_KEY != 0 => return refuse(0x0108, 0x34, "D52"),
        Opened::NoKeySlot => return refuse(0x0108, 0x5, "C54"),
        Opened::NoCustomerKey => return refuse(0x0108, 0xb, "D52"),
        Opened::NotUnwrapped => return refuse(0x0108, 0, "D52"),
        Opened::NotAuthentic => return refuse(0x010a, 0, "C58"),
        Opened::OptionalItems(image) => (image, true),
        Opened::Header(image) => (image, false),
    };
    if image.scf & !SECRET_FLAGS != 0 {
        return refuse(0x0109, 0, "D52");
    }
    if items {
        return refuse(0x010a, 0, "D52");
    }
    Ok(Image {
        pcf: flags,
        nep: header.u64(0x30),
        pld: field(header, 0x0e0),
        ald: field(header, 0x120),
        tld: field(header, 0x160),
        ..*image
    })
}

/// A digest in a header.
fn field(header: &Block, offset: usize) -> [u8; 64] {
    core::array::from_fn(|at| header.u8(offset + at))
}

impl State {
    /// Notes how far the image of a configuration is.
    fn set_boot(&mut self, owner: Handle, boot: Boot) {
        if let Some(configuration) = self.configurations.get_mut(&owner) {
            configuration.boot = boot;
        }
    }
}
