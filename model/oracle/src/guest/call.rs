//! ULTRAVISOR CALL by a guest: the general checks as for a host (D2), but each byte of the block is a secure access at
//! a guest real address (D18), and what the host has to repair is its interruption; the call is then repeated.

use super::{Acted, Issuer, Notice, Stop, access, problem_state};
use crate::call::{self, Block, Call, Ending, Ruling};
use crate::command;
use crate::host::{self, Part};
use crate::ids::{FrameNumber, GuestAddress, PageIndex};
use crate::sharing;
use crate::state::State;
use crate::step::{Access, Outcome, Program, Uvc};
use crate::storage::FRAME;
use crate::world::World;

/// SET_SHARED_ACCESS.
const SHARE: u16 = 0x1000;
/// REMOVE_SHARED_ACCESS.
const UNSHARE: u16 = 0x1001;

/// All checks in their order, then the command; R1 is ignored (D3).
pub(super) fn uvc(next: &mut State, issuer: &Issuer, uvc: &Uvc, world: &mut dyn World) -> Result<Acted, Stop> {
    let interrupted = |code, rule| Err(Stop::Guest(Program { code, teid: 0 }, rule));
    if problem_state(next, issuer) {
        return interrupted(0x02, "C3");
    }
    if uvc.m3 != 0 || uvc.m4 != 0 {
        return interrupted(0x06, "C1");
    }
    if !uvc.r2.is_multiple_of(8) {
        return interrupted(0x06, "Q17");
    }
    let at = access::Place::Real(GuestAddress(uvc.r2));
    let header = access::probe(next, issuer, at, 8, Access::Store, world)?;
    let mut block = Block { bytes: host::gather(next, &header), big_endian: next.setup.big_endian };
    let command = match command::general_checks(next, &block, call::Issuer::Guest) {
        Err(refusal) => return answer(next, &block, &header, Err(call::Stop::Refused(refusal))),
        Ok(command) => command,
    };
    let parts = access::probe(next, issuer, at, u64::from(block.u16(0)), Access::Store, world)?;
    block.bytes = host::gather(next, &parts);
    let (counted, again) = command::injected(next, command);
    if let Some(condition) = again {
        *next = counted;
        return answer(next, &block, &parts, Err(call::Stop::Again(condition)));
    }
    match block.u16(2) {
        SHARE | UNSHARE => share_or_unshare(next, issuer, &block, &parts, world),
        _ => {
            let frames = parts.iter().map(|part| FrameNumber(part.address.0 / FRAME)).collect();
            let call = Call { issuer: call::Issuer::Guest, cpu: issuer.site.host, block, frames };
            let ruling = command.perform(next, &call, world);
            answer(next, &call.block, &parts, ruling)
        }
    }
}

/// D32: range, then the page must be as accessible as for a load by this guest, then its state (T56–T63). An unshare
/// of a pinned page is for the host to repair, and the guest stays at the instruction (T60).
fn share_or_unshare(
    next: &mut State,
    issuer: &Issuer,
    block: &Block,
    parts: &[Part],
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    let shares = block.u16(2) == SHARE;
    let address = GuestAddress(block.u64(0x20) & !(FRAME - 1));
    if address.0 >= issuer.configuration(next)?.size {
        return answer(next, block, parts, call::refuse(0x0101, 0, "T63"));
    }
    let reached = access::reach(next, issuer, address, Access::Fetch, world).map_err(|stop| match stop {
        Stop::Host(program, _) => Stop::Host(program, if shares { "T58" } else { "T62" }),
        other => other,
    })?;
    let (page, frame) = (PageIndex(address.0 / FRAME), FrameNumber(reached.0 / FRAME));
    let ruling = match shares {
        true => Some(sharing::set_shared_access(next, issuer.configuration, page, frame)),
        false => sharing::remove_shared_access(next, issuer.configuration, page, frame),
    };
    match ruling {
        Some(ruling) => answer(next, block, parts, ruling),
        None => {
            let mut notice = Notice::of(108, 0xb9a4, 0);
            notice.data.clone_from(&block.bytes);
            Ok(Acted::Leaves(notice, "T60"))
        }
    }
}

/// What a ruling means for the block, which is stored where it was found.
fn answer(next: &mut State, block: &Block, parts: &[Part], ruling: Ruling) -> Result<Acted, Stop> {
    let ended = call::ending(next, block, ruling).map_err(Stop::Objection)?;
    let Ending { state, condition, writes, rule } = ended;
    *next = state;
    for (offset, bytes) in writes {
        access::write_at(next, parts, offset as u64, &bytes);
    }
    Ok(Acted::Stays(Outcome::Condition(condition), rule))
}
