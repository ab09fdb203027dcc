//! Ultravisor calls of the kernel: a block in the page of the CPU, the instruction, the answer.

use super::{Kernel, Observed, Stop};
use crate::scenario::Outcome;
use uvsim_model::address::{AbsoluteAddress, VirtualAddress};
use uvsim_model::cpu::Uvc;
use uvsim_model::uvc::{Command, ConditionCode};

/// Fields of a block by name.
pub type Fields<'a> = &'a [(&'static str, u64)];

/// A call that stays busy this often is given up.
const PATIENCE: u32 = 1 << 20;

impl Kernel<'_> {
    /// Issues a call and repeats it while it is busy or partially done. Anything but condition code 0 is a
    /// stop.
    pub(super) fn must(&mut self, cpu: u16, command: Command, fields: Fields<'_>) -> Result<Observed, Stop> {
        let observed = self.call(cpu, command, fields)?;
        if observed.outcome == Outcome::Ok { Ok(observed) } else { Err(Stop::Outcome(observed)) }
    }

    /// Issues a call and repeats it while it is busy or partially done.
    pub fn call(&mut self, cpu: u16, command: Command, fields: Fields<'_>) -> Result<Observed, Stop> {
        let mut block = vec![0; usize::from(command.usual_length())];
        for &(name, value) in fields {
            let field = command.field(name).ok_or_else(|| Stop::Internal(format!("no field {name}")))?;
            let (offset, size) = (usize::from(field.offset), usize::from(field.size));
            block[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
        }
        let at = self.block_address(cpu);
        for _ in 0..PATIENCE {
            let observed = self.issue(cpu, command.code(), command.usual_length(), &mut block, at, Uvc::at(at))?;
            if !matches!(observed.outcome, Outcome::Busy | Outcome::Partial) {
                return Ok(observed);
            }
            self.in_time()?;
            if self.alone {
                // Whoever has what this call needs may wait for the processor.
                std::thread::yield_now();
            }
        }
        Ok(Observed::plain(Outcome::Busy, "Q19"))
    }

    /// An output of the last call on this CPU.
    pub(super) fn output(&mut self, cpu: u16, command: Command, name: &str) -> Result<u64, Stop> {
        let field = command.field(name).ok_or_else(|| Stop::Internal(format!("no field {name}")))?;
        let at = self.block_address(cpu);
        Ok(self.cpu(cpu).load_u64(VirtualAddress(at.0 + u64::from(field.offset)))?)
    }

    /// Where the blocks of a CPU lie.
    pub fn block_address(&self, cpu: u16) -> VirtualAddress {
        VirtualAddress(self.blocks[usize::from(cpu)].0)
    }

    /// Stores a block, issues the instruction once, and reads the block back if one could be stored.
    pub fn issue(
        &mut self,
        cpu: u16,
        code: u16,
        length: u16,
        block: &mut [u8],
        at: VirtualAddress,
        instruction: Uvc,
    ) -> Result<Observed, Stop> {
        if let [l0, l1, c0, c1, ..] = block {
            [*l0, *l1] = length.to_be_bytes();
            [*c0, *c1] = code.to_be_bytes();
        }
        self.cpu(cpu).store(at, block)?;
        let masked = AbsoluteAddress(at.0);
        let before = self.watch.then(|| self.machine.state_digest(Some(masked)));
        let answer = self.cpu(cpu).uvc(instruction);
        let after = before.filter(|_| !matches!(answer, Ok(ConditionCode::Done)));
        self.cpu(cpu).load(at, block)?;
        let observed = match answer {
            Ok(cc) => Observed { rule: self.rule_of_last_call(), ..answered(cc, block) },
            Err(interruption) => Observed::interruption(interruption),
        };
        self.rule = observed.rule;
        let excused = observed.outcome == Outcome::Ok || observed.rc.is_some_and(|rc| rc & 0x8000 != 0);
        if let Some(before) = after.filter(|_| !excused)
            && self.machine.state_digest(Some(masked)) != before
        {
            self.changed = Some(format!("a call that ended with {} has changed the state (I-18)", observed.outcome));
        }
        Ok(observed)
    }
}

/// What a condition code and the codes in the block mean: rc 0x0100 is `ok` (D4).
pub(super) fn answered(cc: ConditionCode, block: &[u8]) -> Observed {
    let half = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let command = Command::from_code(half(2));
    let codes = |outcome| Observed { rc: Some(half(4)), rrc: Some(half(6)), command, ..Observed::plain(outcome, "") };
    match cc {
        ConditionCode::Done => codes(Outcome::Ok),
        ConditionCode::Other if half(4) == 0x100 => codes(Outcome::Ok),
        ConditionCode::Other => codes(Outcome::Refused),
        ConditionCode::Busy => Observed::plain(Outcome::Busy, "Q19"),
        ConditionCode::Partial => Observed::plain(Outcome::Partial, "Q19"),
    }
}
