//! Instructions of a guest that make it leave SIE. The host sees the same instruction text each time, and only the
//! registers that it needs.

use super::{Acted, Issuer, Notice, Stop, access, problem_state, set_problem_state};
use crate::call::Block;
use crate::ids::GuestAddress;
use crate::reset;
use crate::state::{Outstanding, State};
use crate::step::{GuestStep, Outcome, Program};
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
        GuestStep::Diagnose { function, r1, r3 } => diagnose(next, issuer, function, r1, r3),
        GuestStep::SetPrefix(prefix) => set_prefix(next, issuer, prefix),
        GuestStep::ServiceCall { command, block } => service_call(next, issuer, command, block, world),
        GuestStep::Sigp { order, cpu, parameter } => Ok(sigp(order, cpu, parameter)),
        GuestStep::LoadPsw { mask, address } => load_psw(next, issuer, mask, address),
        GuestStep::LoadControl { number, value } => load_control(next, issuer, number, value),
        // The other steps are no instructions of this kind.
        _ => Ok(Acted::Stays(Outcome::Done, "D18")),
    }
}

/// Instruction completion: the host is to do its part.
const INSTRUCTION: u8 = 104;
/// Notification: it is done.
const NOTIFICATION: u8 = 108;

/// DIAGNOSE (Q22, C97, C98): always shown as R1 = 0, R3 = 2, function code in register 5.
fn diagnose(next: &mut State, issuer: &Issuer, function: u16, r1: u8, r3: u8) -> Result<Acted, Stop> {
    let general = issuer.cpu(next)?.registers.general;
    let register = |number: u8| general[usize::from(number & 15)];
    let (first, second, third) = (register(r1), register(r1.wrapping_add(1)), register(r3));
    let (code, shown) = match function {
        0x44 => (NOTIFICATION, vec![]),
        0x9c => (NOTIFICATION, vec![(0, first)]),
        0x288 => (INSTRUCTION, vec![(0, first), (1, second), (2, third)]),
        // Question: which registers does diagnose 0x308 expose beside the subcode in register 2?
        0x308 => (NOTIFICATION, vec![(0, first), (2, third)]),
        0x500 => (INSTRUCTION, (1..5).map(|number| (number, register(number))).collect()),
        // Question: which functions and subcodes does a guest know? The others are a specification exception.
        _ => return Err(specification("Q22")),
    };
    match (function, third) {
        (0x308, 0 | 1) => *next = reset::request(next, issuer.configuration, third),
        (0x308, 3) => {}
        (0x308, _) => return Err(specification("D79")),
        _ => {}
    }
    if code == INSTRUCTION {
        issuer.cpu_mut(next)?.outstanding = Some(Outstanding {
            ipa: DIAGNOSE.0,
            takes_specification: true,
            takes_operand: function == 0x500,
            // Question: does diagnose 0x288 have a result?
            result: (function == 0x500).then_some((2, 2)),
            write_back: None,
            notifies: false,
        });
    }
    let mut notice = Notice::of(code, DIAGNOSE.0, DIAGNOSE.1);
    notice.registers = shown;
    notice.registers.push((5, u64::from(function)));
    Ok(Acted::Leaves(notice, if function == 0x308 { "D79" } else { "Q22" }))
}

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
    notice.data = super::description::Encoder { big_endian: next.setup.big_endian }.u32(value).to_vec();
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
    // Question: what is checked of the block (alignment, length), and which registers are shown?
    if !block.0.is_multiple_of(8) {
        return Err(specification("Q22"));
    }
    let header = access::load(next, issuer, block, 2, world)?;
    let length = Block { bytes: header, big_endian: next.setup.big_endian }.u16(0);
    let data = access::load(next, issuer, block, u64::from(length), world)?;
    issuer.cpu_mut(next)?.outstanding = Some(Outstanding {
        ipa: 0xb220,
        takes_specification: false,
        takes_operand: false,
        result: None,
        write_back: Some((block.0, length)),
        notifies: true,
    });
    let mut notice = Notice::of(INSTRUCTION, 0xb220, 0x0012_0000);
    notice.registers = vec![(1, u64::from(command))];
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

/// LOAD PSW EXTENDED. The host is told if the guest lets in now what it did not before.
fn load_psw(next: &mut State, issuer: &Issuer, mask: u64, address: u64) -> Result<Acted, Stop> {
    let cpu = issuer.cpu_mut(next)?;
    // Question: are 96 and 100 reported for every mask newly on, or only if the host has said that it waits?
    let newly = mask & !cpu.registers.psw.0;
    cpu.registers.psw = (mask, address);
    set_problem_state(next, issuer, mask & super::PROBLEM_STATE != 0);
    Ok(if newly & super::MACHINE_CHECKS != 0 {
        Acted::Leaves(Notice::bare(96), "D80")
    } else if newly & (super::IO | super::EXTERNAL) != 0 {
        Acted::Leaves(Notice::bare(100), "D80")
    } else {
        Acted::Stays(Outcome::Done, "D18")
    })
}

/// LOAD CONTROL, likewise: registers 0, 6 and 14 have masks.
fn load_control(next: &mut State, issuer: &Issuer, number: u8, value: u64) -> Result<Acted, Stop> {
    let number = number & 15;
    let register = &mut issuer.cpu_mut(next)?.registers.control[usize::from(number)];
    let newly = value & !*register;
    *register = value;
    Ok(if matches!(number, 0 | 6 | 14) && newly != 0 {
        Acted::Leaves(Notice::bare(100), "D80")
    } else {
        Acted::Stays(Outcome::Done, "D18")
    })
}

fn specification(rule: &'static str) -> Stop {
    Stop::Guest(Program { code: 0x06, teid: 0 }, rule)
}
