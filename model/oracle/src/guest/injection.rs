//! Interruptions that the host injects at entry. The Ultravisor lets them in only if the guest is enabled for them, and
//! carries them out itself, through the prefix area that the host cannot see.

use super::description::{Encoder, offset};
use super::entry::reason;
use super::{Issuer, Stop, access};
use crate::call::Block;
use crate::host::{self, Part};
use crate::ids::GuestAddress;
use crate::state::{Registers, SecureCpu, State};
use crate::step::Access;
use crate::world::World;

/// What may be injected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Injection {
    MachineCheck,
    External,
    Io,
    Restart,
    /// A program interruption with this code, in place of the instruction that the host was to complete.
    Program(u16),
}

/// What the injection control (Q23) asks for. An error is the reason of a validity interception.
pub(super) fn asked(cpu: &SecureCpu, block: &Block) -> Result<Option<Injection>, u16> {
    let (mask, control) = (cpu.registers.psw.0, cpu.registers.control);
    let outstanding = cpu.outstanding.as_ref();
    let exception = |admitted: bool, code| match admitted {
        true => Ok(Some(Injection::Program(code))),
        false => Err(reason::EXCEPTION),
    };
    // The interruption, the PSW bit that lets it in, and what the control registers say; `None`: there is no such one.
    let (injection, bit, subclass) = match block.u8(offset::INJECTION) {
        0 => return Ok(None),
        1 => (Injection::MachineCheck, super::MACHINE_CHECKS, takes_machine_check(control[14], block)),
        2 => (Injection::External, super::EXTERNAL, takes_external(control[0], block)),
        3 => (Injection::Io, super::IO, Some(control[6] & interruption_subclass(block) != 0)),
        4 => (Injection::Restart, 0, Some(true)),
        0x10 => return exception(outstanding.is_some_and(|left| left.takes_specification), 0x06),
        0x11 => return exception(outstanding.is_some_and(|left| left.takes_operand), 0x15),
        _ => return Err(reason::INJECTION),
    };
    if outstanding.is_some() {
        return Err(reason::INCOMPLETE);
    }
    match subclass {
        None => Err(reason::NO_INTERRUPTION),
        Some(true) if mask & bit == bit => Ok(Some(injection)),
        Some(_) => Err(reason::NOT_ENABLED),
    }
}

/// Carries an interruption out: its data and the old PSW go to the prefix area, the new PSW comes from there.
pub(super) fn inject(
    next: &mut State,
    issuer: &Issuer,
    block: &Block,
    injection: Injection,
    world: &mut dyn World,
) -> Result<(), Stop> {
    let encode = Encoder { big_endian: next.setup.big_endian };
    let (old, new) = psw_places(injection);
    let psw = issuer.cpu(next)?.registers.psw;
    prefix_area(next, issuer, 0, 0x2000, Access::Store, world)?;
    let mut stores = data(&encode, block, injection);
    if injection == Injection::MachineCheck {
        stores.extend(save_areas(&encode, &issuer.cpu(next)?.registers));
    }
    stores.push((old, [encode.u64(psw.0), encode.u64(psw.1)].concat()));
    for (at, bytes) in stores {
        let parts = prefix_area(next, issuer, at, bytes.len() as u64, Access::Store, world)?;
        access::write_at(next, &parts, 0, &bytes);
    }
    let parts = prefix_area(next, issuer, new, 16, Access::Fetch, world)?;
    let psw = Block { bytes: host::gather(next, &parts), big_endian: next.setup.big_endian };
    issuer.cpu_mut(next)?.registers.psw = (psw.u64(0), psw.u64(8));
    Ok(())
}

fn prefix_area(
    next: &mut State,
    issuer: &Issuer,
    at: u64,
    length: u64,
    kind: Access,
    world: &mut dyn World,
) -> Result<Vec<Part>, Stop> {
    access::probe(next, issuer, access::Place::Real(GuestAddress(at)), length, kind, world)
}

/// Where old and new PSW lie, as real addresses.
fn psw_places(injection: Injection) -> (u64, u64) {
    match injection {
        Injection::Restart => (0x120, 0x1a0),
        Injection::External => (0x130, 0x1b0),
        Injection::Program(_) => (0x150, 0x1d0),
        Injection::MachineCheck => (0x160, 0x1e0),
        Injection::Io => (0x170, 0x1f0),
    }
}

/// What comes with an interruption: real address, bytes.
fn data(encode: &Encoder, block: &Block, injection: Injection) -> Vec<(u64, Vec<u8>)> {
    match injection {
        Injection::Restart => Vec::new(),
        Injection::External => vec![
            (0x80, encode.u32(block.u32(offset::EXTERNAL_PARAMETER)).to_vec()),
            (0x84, encode.u16(block.u16(offset::EXTERNAL_CPU)).to_vec()),
            (0x86, encode.u16(block.u16(offset::EXTERNAL_CODE)).to_vec()),
        ],
        // Length of the instruction: DIAGNOSE has four bytes.
        Injection::Program(code) => vec![(0x8c, encode.u16(4).to_vec()), (0x8e, encode.u16(code).to_vec())],
        Injection::MachineCheck => vec![
            (0xe8, encode.u64(block.u64(offset::MACHINE_CHECK_CODE)).to_vec()),
            (0xf4, encode.u32(block.u32(offset::EXTERNAL_DAMAGE)).to_vec()),
            (0xf8, encode.u64(block.u64(offset::FAILING_STORAGE)).to_vec()),
        ],
        // Question: are the parameters of an I/O interruption at 0xe8 of the state description, as in Linux, or at 0xc0?
        Injection::Io => vec![
            (0xb8, encode.u32(block.u32(offset::SUBCHANNEL)).to_vec()),
            (0xbc, encode.u32(block.u32(offset::IO_PARAMETER)).to_vec()),
            (0xc0, encode.u32(block.u32(offset::IO_WORD)).to_vec()),
        ],
    }
}

/// The register save areas of the prefix area, which a machine check fills (z/Architecture Principles of Operation).
fn save_areas(encode: &Encoder, registers: &Registers) -> Vec<(u64, Vec<u8>)> {
    let mut stores = vec![
        (0x1300, [encode.u64(registers.psw.0), encode.u64(registers.psw.1)].concat()),
        (0x1318, encode.u32(registers.prefix as u32).to_vec()),
        (0x131c, encode.u32(registers.floating_point_control).to_vec()),
        (0x1324, encode.u32(registers.tod_programmable).to_vec()),
        (0x1328, encode.u64(registers.cpu_timer).to_vec()),
        (0x1330, encode.u64(registers.clock_comparator >> 8).to_vec()),
    ];
    for number in 0..16 {
        let at = number as u64;
        stores.push((0x1280 + 8 * at, encode.u64(registers.general[number]).to_vec()));
        stores.push((0x1340 + 4 * at, encode.u32(registers.access[number]).to_vec()));
        stores.push((0x1380 + 8 * at, encode.u64(registers.control[number]).to_vec()));
    }
    stores
}

/// Whether control register 0 lets an external interruption of this code in. `None`: no such code.
fn takes_external(control: u64, block: &Block) -> Option<bool> {
    let subclass = match block.u16(offset::EXTERNAL_CODE) {
        0x1200 => 0x8000,
        0x1201 => 0x4000,
        0x1202 => 0x2000,
        0x1004 => 0x0800,
        0x1005 => 0x0400,
        0x2401 | 0x2603 => 0x0200,
        0x0040 => 0x0040,
        0x1407 => 0x0020,
        0x1406 => 0x0010,
        _ => return None,
    };
    Some(control & subclass != 0)
}

/// Whether control register 14 lets a machine check in: system and instruction-processing damage (bits 0 and 1 of the
/// interruption code) have no mask; the others are let in if one of theirs is on. `None`: it tells of nothing.
fn takes_machine_check(control: u64, block: &Block) -> Option<bool> {
    let code = block.u64(offset::MACHINE_CHECK_CODE);
    let present = |bit: u32| code & 1 << (63 - bit) != 0;
    let exigent = present(0) || present(1);
    // Recovery, timing facility, external damage, degradation, warning, channel report: bit, mask.
    let masks = [(2, 36), (4, 38), (5, 38), (7, 37), (8, 39), (9, 35)];
    let mut found = masks.into_iter().filter(|&(bit, _)| present(bit)).peekable();
    let any = exigent || found.peek().is_some();
    any.then(|| exigent || found.any(|(_, mask)| control & 1 << (63 - mask) != 0))
}

/// The mask in control register 6 for the subclass in an I/O-interruption word.
fn interruption_subclass(block: &Block) -> u64 {
    let subclass = (block.u32(offset::IO_WORD) >> 27) & 7;
    0x8000_0000 >> subclass
}
