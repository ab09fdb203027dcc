//! Instructions of a guest that make it leave SIE. The host sees the same instruction text each time, and only the
//! registers that it needs.

use super::{Acted, Issuer, Notice, Stop, access, description, problem_state, set_problem_state};
use crate::call::Block;
use crate::ids::GuestAddress;
use crate::reset;
use crate::state::{Outstanding, State};
use crate::step::{Access, GuestStep, Outcome, Program};
use crate::world::World;

/// All of them are privileged.
pub(super) fn execute(
    next: &mut State,
    issuer: &Issuer,
    step: &GuestStep,
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    if problem_state(next, issuer) {
        return Err(Stop::Guest(Program { code: 0x02, teid: 0 }, "C3"));
    }
    match *step {
        GuestStep::Diagnose { function, r1, r3 } => diagnose(next, issuer, function, r1, r3, world),
        GuestStep::SetPrefix(prefix) => set_prefix(next, issuer, prefix),
        GuestStep::ServiceCall { command, block } => service_call(next, issuer, command, block, world),
        GuestStep::Sigp { order, cpu, parameter } => Ok(sigp(order, cpu, parameter)),
        GuestStep::LoadPsw { mask, address } => load_psw(next, issuer, mask, address, world),
        GuestStep::LoadControl { number, value } => load_control(next, issuer, number, value, world),
        // The other steps are no instructions of this kind.
        _ => Ok(Acted::Stays(Outcome::Done, "D18")),
    }
}

/// Instruction completion: the host is to do its part.
const INSTRUCTION: u8 = 104;
/// Notification: it is done.
const NOTIFICATION: u8 = 108;

/// DIAGNOSE (Q22, C97, C98; the book's table of instructions): always shown as R1 = 0, R3 = 2, function code in
/// register 5.
fn diagnose(
    next: &mut State,
    issuer: &Issuer,
    function: u16,
    r1: u8,
    r3: u8,
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    let general = issuer.cpu(next)?.registers.general;
    let value = |number: u8| general[usize::from(number & 15)];
    let first = [(0, value(r1)), (1, value(r1.wrapping_add(1)))];
    let second = [(2, value(r3)), (3, value(r3.wrapping_add(1)))];
    let exceptions = Outstanding { takes_specification: true, ..left_by(DIAGNOSE.0) };
    match function {
        0x44 | 0x9c => Ok(notified(function, &first[..1], "Q22")),
        0x288 if r1.is_multiple_of(2) && r3.is_multiple_of(2) => {
            issuer.cpu_mut(next)?.outstanding = Some(exceptions);
            Ok(completed_by_host(function, &[first, second].concat(), Vec::new(), "Q22"))
        }
        0x308 if r1.is_multiple_of(2) => diagnose_ipl(next, issuer, r1, &[first[0], first[1], second[0]], world),
        0x500 => {
            let left = Outstanding { takes_operand: true, result: Some((2, 2)), ..exceptions };
            issuer.cpu_mut(next)?.outstanding = Some(left);
            Ok(completed_by_host(function, &[1, 2, 3, 4].map(|number| (number, value(number))), Vec::new(), "Q22"))
        }
        _ => Err(specification("Q22")),
    }
}

/// Function 0x308 by its subcode, in register R3 (D79).
fn diagnose_ipl(
    next: &mut State,
    issuer: &Issuer,
    r1: u8,
    shown: &[(u8, u64); 3],
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    let [(_, address), _, (_, subcode)] = *shown;
    let list = GuestAddress(address);
    let left = Outstanding { result: Some((1, r1.wrapping_add(1) & 15)), ..left_by(DIAGNOSE.0) };
    match subcode {
        0 | 1 => {
            *next = reset::request(next, issuer.configuration, subcode);
            Ok(notified(0x308, shown, "D79"))
        }
        3 => Ok(notified(0x308, shown, "D79")),
        5 if address.is_multiple_of(PAGE) => {
            let bytes = access::load(next, issuer, list, 4, world)?;
            let length = Block { bytes, big_endian: next.setup.big_endian }.u32(0);
            let data = access::load(next, issuer, list, u64::from(length).min(PAGE), world)?;
            issuer.cpu_mut(next)?.outstanding = Some(left);
            Ok(completed_by_host(0x308, shown, data, "Q22"))
        }
        6 if address.is_multiple_of(PAGE) => {
            access::probe(next, issuer, access::Place::Real(list), PAGE, Access::Store, world)?;
            let left = Outstanding { write_back: Some((address, PAGE as u16)), ..left };
            issuer.cpu_mut(next)?.outstanding = Some(left);
            Ok(completed_by_host(0x308, shown, Vec::new(), "Q22"))
        }
        _ => Err(specification("D79")),
    }
}

fn left_by(ipa: u16) -> Outstanding {
    let (result, write_back) = (None, None);
    Outstanding { ipa, takes_specification: false, takes_operand: false, result, write_back, notifies: false }
}

fn notified(function: u16, shown: &[(u8, u64)], rule: &'static str) -> Acted {
    let mut notice = Notice::of(NOTIFICATION, DIAGNOSE.0, DIAGNOSE.1);
    notice.registers = [shown, &[(5, u64::from(function))]].concat();
    Acted::Leaves(notice, rule)
}

fn completed_by_host(function: u16, shown: &[(u8, u64)], data: Vec<u8>, rule: &'static str) -> Acted {
    let mut notice = Notice::of(INSTRUCTION, DIAGNOSE.0, DIAGNOSE.1);
    notice.registers = [shown, &[(5, u64::from(function))]].concat();
    notice.data = data;
    Acted::Leaves(notice, rule)
}

const PAGE: u64 = 4096;

/// The text of a diagnose, whatever the guest's was.
const DIAGNOSE: (u16, u32) = (0x8302, 0x5000_0000);

/// SET PREFIX: done, and the host is told the new prefix by 4 bytes in the data area.
fn set_prefix(next: &mut State, issuer: &Issuer, prefix: u64) -> Result<Acted, Stop> {
    let prefix = prefix & 0x7fff_e000;
    // Question: what does SET PREFIX to an address outside guest storage lead to?
    if prefix + 0x2000 > issuer.configuration(next)?.size {
        return Err(Stop::Guest(Program { code: 0x05, teid: 0 }, "T22"));
    }
    issuer.cpu_mut(next)?.registers.prefix = prefix;
    // Question: what is the rest of the instruction text of SET PREFIX, SERVICE CALL, SIGP and UVC?
    let mut notice = Notice::of(NOTIFICATION, 0xb210, 0);
    let value = u32::try_from(prefix).unwrap_or_default();
    notice.data = description::Encoder { big_endian: next.setup.big_endian }.u32(value).to_vec();
    Ok(Acted::Leaves(notice, "C91"))
}

/// SERVICE CALL: the host finds the block in the data area, and what it leaves there goes back to the guest at the
/// next entry; then comes the notification that the instruction is finished.
fn service_call(
    next: &mut State,
    issuer: &Issuer,
    command: u32,
    block: GuestAddress,
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    let area = block.0 & !0x1fff;
    if block.0 & !0x7fff_fff8 != 0 || area == 0 || area == issuer.cpu(next)?.registers.prefix {
        return Err(specification("Q22"));
    }
    let header = access::load(next, issuer, block, 2, world)?;
    let length = Block { bytes: header, big_endian: next.setup.big_endian }.u16(0);
    if length < 8 || block.0 % PAGE + u64::from(length) > PAGE {
        return Err(specification("Q22"));
    }
    access::probe(next, issuer, access::Place::Real(block), u64::from(length), Access::Store, world)?;
    let data = access::load(next, issuer, block, u64::from(length), world)?;
    let left = Outstanding { write_back: Some((block.0, length)), notifies: true, ..left_by(0xb220) };
    issuer.cpu_mut(next)?.outstanding = Some(left);
    let mut notice = Notice::of(INSTRUCTION, 0xb220, 0x0012_0000);
    notice.registers = vec![(1, u64::from(command)), (2, 0)];
    notice.data = data;
    Ok(Acted::Leaves(notice, "Q22"))
}

/// SIGNAL PROCESSOR: shown as R1 = 0 (so the parameter is in register 1), R3 = 2, order code in register 5.
fn sigp(order: u8, cpu: u16, parameter: u64) -> Acted {
    // Question: which registers does SIGP show?
    let mut notice = Notice::of(NOTIFICATION, 0xae02, 0x5000_0000);
    notice.registers = vec![(1, parameter), (2, u64::from(cpu)), (5, u64::from(order))];
    Acted::Leaves(notice, "Q22")
}

/// LOAD PSW EXTENDED. The host is told if the guest lets in now what the host has announced that it waits for.
fn load_psw(next: &mut State, issuer: &Issuer, mask: u64, address: u64, world: &mut dyn World) -> Result<Acted, Stop> {
    let cpu = issuer.cpu_mut(next)?;
    let newly = mask & !cpu.registers.psw.0;
    cpu.registers.psw = (mask, address);
    set_problem_state(next, issuer, mask & super::PROBLEM_STATE != 0);
    let (flags, controls) = description::announced(next, issuer.site, world);
    let machine_check = newly & super::MACHINE_CHECKS != 0 && controls & 0x0040_0000 != 0;
    let external = newly & super::EXTERNAL != 0 && flags & 0x0100_0000 != 0;
    let io = newly & super::IO != 0 && flags & 0x0200_0000 != 0;
    Ok(if machine_check {
        Acted::Leaves(Notice::bare(96), "D80")
    } else if external || io {
        Acted::Leaves(Notice::bare(100), "D80")
    } else {
        Acted::Stays(Outcome::Done, "D18")
    })
}

/// LOAD CONTROL, likewise: registers 0, 6 and 14 have masks.
fn load_control(
    next: &mut State,
    issuer: &Issuer,
    number: u8,
    value: u64,
    world: &mut dyn World,
) -> Result<Acted, Stop> {
    let number = number & 15;
    let register = &mut issuer.cpu_mut(next)?.registers.control[usize::from(number)];
    let newly = value & !*register;
    *register = value;
    let has_masks = matches!(number, 0 | 6 | 14) && newly != 0;
    Ok(if has_masks && description::control_requests(next, issuer.site, world) & 0x8000 >> number != 0 {
        Acted::Leaves(Notice::bare(100), "D80")
    } else {
        Acted::Stays(Outcome::Done, "D18")
    })
}

fn specification(rule: &'static str) -> Stop {
    Stop::Guest(Program { code: 0x06, teid: 0 }, rule)
}
