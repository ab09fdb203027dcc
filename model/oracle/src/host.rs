//! What a CPU of the host executes.

use crate::access::{self, Requestor, Verdict};
use crate::call;
use crate::guest;
use crate::ids::{AbsoluteAddress, CpuNumber, FrameNumber, VirtualAddress};
use crate::machine;
use crate::state::{Space, State};
use crate::step::{Access, HostStep, Outcome, Program, Table};
use crate::storage::FRAME;
use crate::translation::{ADDRESSING, Fault, prefixed, translate};
use crate::world::World;
use crate::{After, Objection};

/// A program interruption, and the row that demands it.
pub(crate) type Interrupted = (Program, &'static str);

/// A host CPU takes a step.
pub(crate) fn step(state: &State, cpu: CpuNumber, step: &HostStep, world: &mut dyn World) -> Result<After, Objection> {
    let host = &state.host[&cpu];
    if !host.operating || host.guest.is_some() {
        return Ok(After { state: state.clone(), outcome: Outcome::Impossible, rules: vec![] });
    }
    match step {
        HostStep::Uvc(uvc) => return call::host_call(state, cpu, *uvc, world),
        HostStep::Enter(description) => return guest::enter(state, cpu, *description, world),
        HostStep::ResetMachine(kind) => return Ok(machine::reset(state, cpu, *kind)),
        _ => {}
    }
    let mut next = state.clone();
    let ending = execute(&mut next, cpu, step, world);
    let (outcome, rule) = ending.unwrap_or_else(|(program, rule)| (Outcome::Program(program), rule));
    Ok(After { state: next, outcome, rules: vec![rule] })
}

/// Everything that is no call, entry or reset. If it is interrupted only the translation buffer has changed.
fn execute(
    state: &mut State,
    cpu: CpuNumber,
    step: &HostStep,
    world: &mut dyn World,
) -> Result<(Outcome, &'static str), Interrupted> {
    let privileged =
        matches!(step, HostStep::Ipte { .. } | HostStep::Idte { .. } | HostStep::IdteSpace(_) | HostStep::Ptlb);
    if privileged && state.host[&cpu].problem_state {
        return Err((Program { code: 0x02, teid: 0 }, "D2"));
    }
    match *step {
        HostStep::Load { address, length, kind } => {
            let (parts, rule) = reach(state, cpu, address, length, kind, world)?;
            Ok((Outcome::Loaded(gather(state, &parts)), rule))
        }
        HostStep::Store { address, ref bytes } => {
            let (parts, rule) = reach(state, cpu, address, bytes.len() as u64, Access::Store, world)?;
            scatter(state, &parts, bytes);
            Ok((Outcome::Done, rule))
        }
        HostStep::Translate(address) => {
            let (frame, _) = locate(state, cpu, address, Access::Fetch, world)?;
            Ok((Outcome::Translated(AbsoluteAddress(frame.0 * FRAME + address.0 % FRAME)), "D60"))
        }
        HostStep::Registers { problem_state, translation, primary, home } => {
            let host = &mut state.host[&cpu];
            (host.problem_state, host.translation, host.primary, host.home) =
                (problem_state, translation, primary, home);
            Ok((Outcome::Done, "D57"))
        }
        HostStep::SetPrefix(address) => set_prefix(state, cpu, address),
        HostStep::Ipte { table, address } => {
            let entry = (table.0 & !0x7ff) + (address.0 >> 12 & 0xff) * 8;
            invalidate(state, AbsoluteAddress(entry), 0x400)
        }
        HostStep::Idte { level, table, address } => {
            let shift = if level == Table::Segment { 20 } else { 31 };
            let entry = (table.0 & !0xfff).saturating_add((address.0 >> shift & 0x7ff) * 8);
            invalidate(state, AbsoluteAddress(entry), 0x20)
        }
        HostStep::IdteSpace(asce) => {
            state.purge_space(asce);
            Ok((Outcome::Done, "D56"))
        }
        HostStep::Ptlb => {
            state.purge_cpu(cpu);
            Ok((Outcome::Done, "D56"))
        }
        HostStep::Uvc(_) | HostStep::Enter(_) | HostStep::ResetMachine(_) => Ok((Outcome::Impossible, "")),
    }
}

/// SET PREFIX: 8 KiB in storage; what was translated under the old one is gone.
fn set_prefix(state: &mut State, cpu: CpuNumber, address: u64) -> Result<(Outcome, &'static str), Interrupted> {
    let prefix = address & 0x7fff_e000;
    if !state.has_storage(AbsoluteAddress(prefix), 2 * FRAME) {
        return Err((Program { code: ADDRESSING, teid: 0 }, "D59"));
    }
    state.host[&cpu].prefix = prefix;
    state.purge_cpu(cpu);
    Ok((Outcome::Done, "D60"))
}

/// IPTE, IDTE: sets the invalid bit of an entry, then nobody keeps what was formed through it.
fn invalidate(state: &mut State, entry: AbsoluteAddress, bit: u64) -> Result<(Outcome, &'static str), Interrupted> {
    if !state.has_storage(entry, 8) {
        return Err((Program { code: ADDRESSING, teid: 0 }, "D59"));
    }
    let zone = state.zone(FrameNumber(entry.0 / FRAME));
    if let Verdict::Deny(code, rule) = access::check(state, Requestor::NonSecure, zone) {
        return Err((Program { code, teid: secure_teid(state, entry.0, Access::Store) }, rule));
    }
    let value = state.doubleword(entry) | bit;
    let bytes = if state.setup.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    state.write(entry, &bytes);
    state.purge_entry(entry);
    Ok((Outcome::Done, "D56"))
}

/// Loads bytes as a host CPU does (home space, or real while translation is off). The state changes only in what
/// the translation buffer may keep.
pub(crate) fn load(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    length: u64,
    kind: Access,
    world: &mut dyn World,
) -> Result<Vec<u8>, Program> {
    let (parts, _) = reach(state, cpu, address, length, kind, world).map_err(|(program, _)| program)?;
    Ok(gather(state, &parts))
}

/// Stores bytes, likewise; nothing is stored if a page refuses.
pub(crate) fn store(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    bytes: &[u8],
    world: &mut dyn World,
) -> Result<(), Program> {
    let reached = reach(state, cpu, address, bytes.len() as u64, Access::Store, world);
    let (parts, _) = reached.map_err(|(program, _)| program)?;
    scatter(state, &parts, bytes);
    Ok(())
}

/// Where the bytes of an access lie, page by page, and the row that allows the last of them. The first page that
/// refuses decides. Addresses wrap at the end of the space.
pub(crate) fn reach(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    length: u64,
    kind: Access,
    world: &mut dyn World,
) -> Result<(Vec<Part>, &'static str), Interrupted> {
    let (mut parts, mut rule, mut at, mut rest) = (Vec::new(), "T1", address.0, length);
    while rest > 0 {
        let count = rest.min(FRAME - at % FRAME);
        let (frame, allowed) = page(state, cpu, VirtualAddress(at), kind, world)?;
        parts.push(Part { address: AbsoluteAddress(frame.0 * FRAME + at % FRAME), length: count });
        (rule, at, rest) = (allowed, at.wrapping_add(count), rest - count);
    }
    Ok((parts, rule))
}

/// Bytes of an access that lie in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) address: AbsoluteAddress,
    pub(crate) length: u64,
}

/// The bytes of an access.
pub(crate) fn gather(state: &State, parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.append(&mut state.read(part.address, part.length));
    }
    bytes
}

/// Stores the bytes of an access.
pub(crate) fn scatter(state: &mut State, parts: &[Part], mut bytes: &[u8]) {
    for part in parts {
        let (now, rest) = bytes.split_at(part.length as usize);
        state.write(part.address, now);
        bytes = rest;
    }
}

/// One page of an access: walk, addressing, protection, then the outcome matrix.
fn page(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    kind: Access,
    world: &mut dyn World,
) -> Result<(FrameNumber, &'static str), Interrupted> {
    let (frame, protected) = locate(state, cpu, address, kind, world)?;
    if protected && kind == Access::Store {
        return Err((Program { code: 0x04, teid: teid(address.0, kind) | RIGHT }, "D59"));
    }
    match access::check(state, Requestor::NonSecure, state.zone(frame)) {
        Verdict::Allow(rule) => Ok((frame, rule)),
        Verdict::Deny(code, rule) => {
            let rule = if kind == Access::Instruction && rule == "T3" { "T4" } else { rule };
            Err((Program { code, teid: secure_teid(state, address.0, kind) }, rule))
        }
    }
}

/// Where an address of a CPU leads, in home space or, while translation is off, as a real address; and whether stores
/// are refused there.
fn locate(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    kind: Access,
    world: &mut dyn World,
) -> Result<(FrameNumber, bool), Interrupted> {
    let (home, prefix) = (Space::of_host(state.host[&cpu].home), state.host[&cpu].prefix);
    let (frame, protected) = if state.host[&cpu].translation {
        let found = translate(state, cpu, home, address, world);
        let found = found.map_err(|fault| interruption(state, fault, address, kind))?;
        (found.frame, found.protected)
    } else {
        (prefixed(prefix, FrameNumber(address.0 / FRAME)), false)
    };
    if frame.0 >= state.setup.storage / FRAME {
        return Err((Program { code: ADDRESSING, teid: 0 }, "D59"));
    }
    Ok((frame, protected))
}

/// Bit 61: the address is right; protection comes from translation.
const RIGHT: u64 = 4;

/// What a walk that found nothing means for a CPU of the host (D59).
fn interruption(state: &State, fault: Fault, address: VirtualAddress, kind: Access) -> Interrupted {
    match fault {
        Fault::Exception(code @ (0x10 | 0x11 | 0x38..=0x3b)) => (Program { code, teid: teid(address.0, kind) }, "D59"),
        Fault::Exception(code) => (Program { code, teid: 0 }, "D59"),
        // What fails is the fetch of the entry.
        Fault::SecureTable(entry) => (Program { code: 0x3d, teid: secure_teid(state, entry.0, Access::Fetch) }, "D59"),
    }
}

/// Page, kind of access, home space.
fn teid(address: u64, kind: Access) -> u64 {
    let kind = if kind == Access::Store { 0x400 } else { 0x800 };
    address & !0xfff | kind | 3
}

/// TEID of 0x3d (D15, D19): an instruction fetch tells no address.
fn secure_teid(state: &State, address: u64, kind: Access) -> u64 {
    match kind {
        Access::Instruction => teid(0, kind),
        _ if state.setup.misc => teid(address, kind) | RIGHT,
        _ => teid(address, kind),
    }
}
