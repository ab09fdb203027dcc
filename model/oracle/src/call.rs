//! An Ultravisor call: its control block, and how it can end.

use crate::command::{self, Command};
use crate::host::{self, Interrupted, Part};
use crate::ids::{CpuNumber, FrameNumber, VirtualAddress};
use crate::state::{Space, State};
use crate::step::{Access, Outcome, Program, Uvc};
use crate::storage::FRAME;
use crate::translation;
use crate::world::World;
use crate::{After, Objection};

/// A control block, as it was fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// All of its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Byte order of its fields.
    pub(crate) big_endian: bool,
}

impl Block {
    pub(crate) fn u64(&self, offset: usize) -> u64 {
        let bytes = self.array(offset);
        if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    pub(crate) fn u32(&self, offset: usize) -> u32 {
        let bytes = self.array(offset);
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(crate) fn u16(&self, offset: usize) -> u16 {
        let bytes = self.array(offset);
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(crate) fn u8(&self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }

    /// Bytes beyond the end of the block count as zeros.
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        core::array::from_fn(|at| self.bytes.get(offset + at).copied().unwrap_or(0))
    }
}

/// Host or guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Issuer {
    /// A host CPU.
    Host,
    /// A CPU of a configuration.
    Guest,
}

/// Who calls, and where its block lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    /// Who issues it.
    pub(crate) issuer: Issuer,
    /// The host CPU; for a call of a guest the one that it runs on.
    pub(crate) cpu: CpuNumber,
    /// The block.
    pub(crate) block: Block,
    /// Its frames (D5).
    pub(crate) frames: Vec<FrameNumber>,
}

/// A call that did something, or had nothing to do.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Done {
    /// What the machine is now.
    pub(crate) state: State,
    /// The row that says so.
    pub(crate) rule: &'static str,
    /// Outputs: offset in the block, bytes.
    pub(crate) outputs: Vec<(usize, Vec<u8>)>,
}

/// A response other than "executed".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// Response code.
    pub(crate) rc: u16,
    /// Reason code.
    pub(crate) rrc: u16,
    /// The row that says so.
    pub(crate) rule: &'static str,
}

/// Why a call does not simply succeed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stop {
    /// Refused: condition code 1, nothing has changed.
    Refused(Refusal),
    /// Condition code 1 all the same, but it is done and its outputs count (D4).
    Delivered(Box<Done>, Refusal),
    /// Condition code 2 or 3: nothing has changed.
    Again(u8),
    /// The world is wrong.
    Objection(Objection),
}

/// What a command function returns. Refused calls change nothing (I-18) because they have no state to return.
pub(crate) type Ruling = Result<Done, Stop>;

impl State {
    /// Ends a call without outputs.
    pub(crate) fn done(self, rule: &'static str) -> Ruling {
        Ok(Done { state: self, rule, outputs: Vec::new() })
    }
}

/// Refuses a call.
pub(crate) fn refuse<T>(rc: u16, rrc: u16, rule: &'static str) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal { rc, rrc, rule }))
}

impl Block {
    /// An output field.
    pub(crate) fn field(&self, offset: usize, value: u64) -> (usize, Vec<u8>) {
        (offset, if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }.to_vec())
    }

    fn short(&self, offset: usize, value: u16) -> (usize, Vec<u8>) {
        (offset, if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }.to_vec())
    }

    /// Response and reason code.
    pub(crate) fn codes(&self, rc: u16, rrc: u16) -> [(usize, Vec<u8>); 2] {
        [self.short(4, rc), self.short(6, rrc)]
    }
}

/// How a call ends, without a program interruption.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Ending {
    /// The machine, but for the block.
    pub(crate) state: State,
    /// Condition code.
    pub(crate) condition: u8,
    /// What is stored into the block.
    pub(crate) writes: Vec<(usize, Vec<u8>)>,
    /// The row that decided.
    pub(crate) rule: &'static str,
}

/// What a ruling means for the block (D3, D4).
pub(crate) fn ending(before: &State, block: &Block, ruling: Ruling) -> Result<Ending, Objection> {
    let done = |done: Done, condition, rc, rrc, rule| {
        let writes = done.outputs.into_iter().chain(block.codes(rc, rrc)).collect();
        Ending { state: done.state, condition, writes, rule }
    };
    match ruling {
        Ok(executed) => {
            let rule = executed.rule;
            Ok(done(executed, 0, 1, 0, rule))
        }
        Err(Stop::Delivered(delivered, why)) => Ok(done(*delivered, 1, why.rc, why.rrc, why.rule)),
        Err(Stop::Refused(why)) => {
            let nothing = Done { state: before.clone(), rule: why.rule, outputs: vec![] };
            Ok(done(nothing, 1, why.rc, why.rrc, why.rule))
        }
        Err(Stop::Again(condition)) => Ok(Ending { state: before.clone(), condition, writes: vec![], rule: "Q19" }),
        Err(Stop::Objection(objection)) => Err(objection),
    }
}

/// ULTRAVISOR CALL on a CPU of the host, in the order of D2. R1 is ignored (D3).
pub(crate) fn host_call(state: &State, cpu: CpuNumber, uvc: Uvc, world: &mut dyn World) -> Result<After, Objection> {
    let mut next = state.clone();
    let result = frame(&mut next, cpu, uvc, world);
    match result {
        Err((program, rule)) => Ok(After { state: next, outcome: Outcome::Program(program), rules: vec![rule] }),
        Ok((block, parts, Err(refusal))) => finish(&next, &block, &parts, Err(Stop::Refused(refusal))),
        Ok((block, parts, Ok(command))) => {
            let frames = parts.iter().map(|part| FrameNumber(part.address.0 / FRAME)).collect();
            let call = Call { issuer: Issuer::Host, cpu, block, frames };
            let (counted, again) = command::injected(&next, command);
            let handles = command::handles(&next, command, &call.block);
            let ruling = match (handles, again) {
                (Err(refusal), _) => Err(Stop::Refused(refusal)),
                (Ok(()), Some(condition)) => {
                    next = counted;
                    Err(Stop::Again(condition))
                }
                (Ok(()), None) => command.perform(&next, &call, world),
            };
            if let Err(Stop::Refused(refusal)) = &ruling
                && let Some((address, length)) = command.operand(&call.block, refusal.rc)
            {
                let home = Space::of_host(next.host[&cpu].home);
                translation::form(&mut next, cpu, home, address, length);
            }
            finish(&next, &call.block, &parts, ruling)
        }
    }
}

/// A block, where it lies, and what it asks for.
type Framed = (Block, Vec<Part>, Result<&'static Command, Refusal>);

/// All up to the access to the whole block. The header must be storable too (D3, D19).
fn frame(state: &mut State, cpu: CpuNumber, uvc: Uvc, world: &mut dyn World) -> Result<Framed, Interrupted> {
    let interrupted = |code, rule| Err((Program { code, teid: 0 }, rule));
    if state.host[&cpu].problem_state {
        return interrupted(0x02, "D2");
    }
    if uvc.m3 != 0 || uvc.m4 != 0 {
        return interrupted(0x06, "D2");
    }
    if !uvc.r2.is_multiple_of(8) {
        return interrupted(0x06, "Q17");
    }
    let at = VirtualAddress(uvc.r2);
    let (header, _) = host::reach(state, cpu, at, 8, Access::Store, world)?;
    let mut block = Block { bytes: host::gather(state, &header), big_endian: state.setup.big_endian };
    let command = match command::general_checks(state, &block, Issuer::Host) {
        Err(refusal) => return Ok((block, header, Err(refusal))),
        Ok(command) => command,
    };
    let (parts, _) = host::reach(state, cpu, at, u64::from(block.u16(0)), Access::Store, world)?;
    block.bytes = host::gather(state, &parts);
    Ok((block, parts, Ok(command)))
}

/// Stores the answer where the block was found; it is not translated again.
fn finish(before: &State, block: &Block, parts: &[Part], ruling: Ruling) -> Result<After, Objection> {
    let Ending { mut state, condition, writes, rule } = ending(before, block, ruling)?;
    let mut bytes = host::gather(&state, parts);
    for (offset, field) in writes {
        if let Some(place) = bytes.get_mut(offset..offset + field.len()) {
            place.copy_from_slice(&field);
        }
    }
    if condition < 2 {
        host::scatter(&mut state, parts, &bytes);
    }
    Ok(After { state, outcome: Outcome::Condition(condition), rules: vec![rule] })
}
