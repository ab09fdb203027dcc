//! What a guest CPU loads and stores: secure accesses to its configuration's storage, through the translation buffer
//! of the host CPU that it runs on.

use super::{Issuer, Stop};
use crate::access::{Requestor, Verdict, check};
use crate::host::{Part, gather};
use crate::ids::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use crate::state::{Space, State};
use crate::step::{Access, Program};
use crate::storage::FRAME;
use crate::translation::{ADDRESSING, Fault, prefixed, translate};
use crate::world::World;

/// Loads bytes at a guest real address; a page that refuses stops all of it.
pub(super) fn load(
    state: &mut State,
    issuer: &Issuer,
    address: GuestAddress,
    length: u64,
    world: &mut dyn World,
) -> Result<Vec<u8>, Stop> {
    let parts = probe(state, issuer, Place::Real(address), length, Access::Fetch, world)?;
    Ok(gather(state, &parts))
}

/// Stores bytes at a guest real address, likewise.
pub(super) fn store(
    state: &mut State,
    issuer: &Issuer,
    address: GuestAddress,
    bytes: &[u8],
    world: &mut dyn World,
) -> Result<(), Stop> {
    let parts = probe(state, issuer, Place::Real(address), bytes.len() as u64, Access::Store, world)?;
    write_at(state, &parts, 0, bytes);
    Ok(())
}

/// A hint: forms the translation that a load would form, whatever becomes of it.
pub(super) fn prefetch(
    state: &mut State,
    issuer: &Issuer,
    address: GuestAddress,
    world: &mut dyn World,
) -> Result<(), Stop> {
    match probe(state, issuer, Place::Real(address), 1, Access::Fetch, world) {
        Err(Stop::Objection(objection)) => Err(Stop::Objection(objection)),
        _ => Ok(()),
    }
}

/// How a guest names a place in its storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// With prefixing (D18).
    Real(GuestAddress),
    /// As it is.
    Absolute(GuestAddress),
}

/// Finds out where a stretch of guest storage lies, page by page in ascending order, by an access of this kind to
/// each of them.
pub(super) fn probe(
    state: &mut State,
    issuer: &Issuer,
    place: Place,
    length: u64,
    kind: Access,
    world: &mut dyn World,
) -> Result<Vec<Part>, Stop> {
    let (start, prefix) = match place {
        Place::Real(GuestAddress(start)) => (start, issuer.cpu(state)?.registers.prefix),
        Place::Absolute(GuestAddress(start)) => (start, 0),
    };
    let mut parts = Vec::new();
    let mut done = 0;
    while done < length {
        // Question: is a stretch that ends beyond guest storage refused (T22) before its first page is looked at?
        let real = start.checked_add(done).ok_or_else(outside)?;
        let within = (FRAME - real % FRAME).min(length - done);
        let absolute = GuestAddress(prefixed(prefix, FrameNumber(real / FRAME)).0 * FRAME + real % FRAME);
        let address = reach(state, issuer, absolute, kind, world)?;
        parts.push(Part { address, length: within });
        done += within;
    }
    Ok(parts)
}

/// Writes bytes at an offset of what was probed.
pub(super) fn write_at(state: &mut State, parts: &[Part], offset: u64, bytes: &[u8]) {
    let (mut start, end) = (0, offset + bytes.len() as u64);
    for part in parts {
        let (from, to) = (start.max(offset), end.min(start + part.length));
        if from < to {
            let range = (from - offset) as usize..(to - offset) as usize;
            state.write(AbsoluteAddress(part.address.0 + (from - start)), &bytes[range]);
        }
        start += part.length;
    }
}

/// One page of the guest for one access: T22 beyond its storage, the events of D59, 0x3c for a large mapping (T21,
/// D35), then the outcome matrix (T12, T14–T17).
pub(super) fn reach(
    state: &mut State,
    issuer: &Issuer,
    absolute: GuestAddress,
    kind: Access,
    world: &mut dyn World,
) -> Result<AbsoluteAddress, Stop> {
    let configuration = issuer.configuration(state)?;
    if absolute.0 >= configuration.size {
        return Err(outside());
    }
    let (asce, address) = (configuration.asce, VirtualAddress(configuration.origin.wrapping_add(absolute.0)));
    let refuse = |code, teid, rule| Err(Stop::Host(Program { code, teid }, rule));
    let translation = match translate(state, issuer.site.host, Space::of_guest(asce), address, world) {
        Ok(translation) => translation,
        Err(Fault::Exception(code)) => return refuse(code, exception_teid(code, address, kind), "T13"),
        // What fails is the fetch of the table entry (D19).
        Err(Fault::SecureTable(entry)) => {
            return refuse(0x3d, right_teid(state, VirtualAddress(entry.0), Access::Fetch), "D59");
        }
    };
    if translation.frame.0 >= state.setup.storage / FRAME {
        return refuse(ADDRESSING, 0, "D59");
    }
    let at = AbsoluteAddress(translation.frame.0 * FRAME + address.0 % FRAME);
    if translation.protected && kind == Access::Store {
        return refuse(0x04, teid(address, kind, true), "D59");
    }
    if translation.large {
        return refuse(0x3c, teid(address, kind, false), "T21");
    }
    let page = PageIndex(absolute.0 / FRAME);
    match check(state, Requestor::Guest(issuer.configuration, page), state.zone(translation.frame)) {
        Verdict::Allow(_) => Ok(at),
        Verdict::Deny(0x3e, rule) => refuse(0x3e, teid(address, kind, false), rule),
        Verdict::Deny(code, rule) => refuse(code, right_teid(state, address, kind), rule),
    }
}

/// T22: taken by the guest itself.
fn outside() -> Stop {
    Stop::Guest(Program { code: ADDRESSING, teid: 0 }, "T22")
}

/// Translation exceptions tell the address, addressing and specification have nothing to tell.
fn exception_teid(code: u16, address: VirtualAddress, kind: Access) -> u64 {
    match code {
        ADDRESSING | 0x12 => 0,
        _ => teid(address, kind, false),
    }
}

/// D15, D19: bit 61 says that the address is right, where the machine has "misc".
fn right_teid(state: &State, address: VirtualAddress, kind: Access) -> u64 {
    teid(address, kind, state.setup.misc)
}

/// Address of the page, kind of access, bit 61, primary space (0).
fn teid(address: VirtualAddress, kind: Access, bit_61: bool) -> u64 {
    let kind = if kind == Access::Store { 0x400 } else { 0x800 };
    (address.0 & !0xfff) | kind | if bit_61 { 4 } else { 0 }
}
