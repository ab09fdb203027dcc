//! ULTRAVISOR CALL on a host CPU.

use super::host::HostCpu;
use super::native::OUTSIDE;
use crate::address::{AbsoluteAddress, FrameNumber, PAGE_SIZE, VirtualAddress};
use crate::event::Event;
use crate::firmware::{Call, CallResult, HomeSpace, Stop};
use crate::storage::arena::RequestorNumber;
use crate::storage::{AccessKind, AddressSpace, ProgramCode, ProgramInterruption};
use crate::uvc::{
    Block, BlockHeader, Command, ConditionCode, HEADER_LENGTH, Issuer, Refusal, Response, general_checks,
};
use crate::witness::{Answered, HostStep, Outcome};

/// The operands of the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uvc {
    /// Contents of R1: ignored (D3).
    pub r1: u64,
    /// Contents of R2: address of the control block.
    pub r2: u64,
    /// Third operand field; must be zero.
    pub m3: u8,
    /// Fourth operand field; must be zero.
    pub m4: u8,
}

impl Uvc {
    /// The instruction as every known caller issues it.
    #[must_use]
    pub const fn at(block: VirtualAddress) -> Self {
        Self { r1: 0, r2: block.0, m3: 0, m4: 0 }
    }

    /// Immediate fields and alignment of the block.
    pub(super) fn check_form(self) -> Result<(), ProgramInterruption> {
        if self.m3 != 0 || self.m4 != 0 || !self.r2.is_multiple_of(8) {
            return Err(ProgramInterruption::new(ProgramCode::Specification));
        }
        Ok(())
    }
}

/// Condition code, rc, rrc and rule of a finished call.
pub(super) struct Answer {
    pub(super) cc: ConditionCode,
    pub(super) rc: u16,
    pub(super) rrc: u16,
    pub(super) rule: &'static str,
    /// The outputs of the block count (D3).
    pub(super) outputs: bool,
}

impl Answer {
    pub(super) fn of(result: CallResult) -> Self {
        let other = |refusal: Refusal, outputs| Self {
            cc: ConditionCode::Other,
            rc: refusal.rc,
            rrc: refusal.rrc,
            rule: refusal.rule,
            outputs,
        };
        let again = |cc| Self { cc, rc: 0, rrc: 0, rule: "Q19", outputs: false };
        match result {
            Ok(rule) => Self { cc: ConditionCode::Done, rc: Response::EXECUTED, rrc: 0, rule, outputs: true },
            Err(Stop::Refused(refusal)) => other(refusal, false),
            Err(Stop::Remark(remark)) => other(remark, true),
            Err(Stop::Busy) => again(ConditionCode::Busy),
            Err(Stop::Partial) => again(ConditionCode::Partial),
        }
    }

    /// For a witness.
    pub(super) fn told(&self, command: u16, frames: [FrameNumber; 2]) -> Answered {
        let &Self { cc, rc, rrc, rule, .. } = self;
        Answered { command, cc, rc, rrc, rule, frames }
    }

    /// rc and rrc as they are stored; nothing is with condition codes 2 and 3 (D3).
    pub(super) fn codes(&self, order: crate::config::ByteOrder) -> Option<[u8; 4]> {
        if matches!(self.cc, ConditionCode::Busy | ConditionCode::Partial) {
            return None;
        }
        let (rc, rrc) = (order.u16_bytes(self.rc), order.u16_bytes(self.rrc));
        Some([rc[0], rc[1], rrc[0], rrc[1]])
    }
}

impl HostCpu<'_> {
    /// Executes ULTRAVISOR CALL. The block lies in home space, or in real storage while translation is off.
    ///
    /// Order (D2): privilege, immediate fields, alignment, access to the header; then rc 0x0002, 0x0003,
    /// 0x0005; access to the whole block; handles; the command.
    ///
    /// # Errors
    /// A program interruption: no command has run and storage is as it was. One case is an exception: if
    /// another CPU makes the block's own frame secure while the call runs, the call is done, but its answer
    /// cannot be stored.
    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, ProgramInterruption> {
        let ended = self.call(instruction);
        let outcome = match ended {
            Ok(answered) => Outcome::Answered(answered),
            Err(interruption) => Outcome::Program(interruption),
        };
        self.tell(HostStep::Uvc(instruction), outcome);
        ended.map(|answered| answered.cc)
    }

    fn call(&mut self, instruction: Uvc) -> Result<Answered, ProgramInterruption> {
        self.check_privilege()?;
        instruction.check_form()?;
        let address = VirtualAddress(instruction.r2);
        if self.native {
            return self.call_natively(address);
        }
        let order = self.storage().order();
        let access = self.access(address, AccessKind::Store)?;
        let offset = (address.0 % PAGE_SIZE) as usize;
        let mut header = [0; HEADER_LENGTH];
        access.load(offset, &mut header);
        let header = BlockHeader::parse(header, order);
        let firmware = &self.machine.firmware;
        let checked = general_checks(header, Issuer::Host, firmware.host_calls(), firmware.is_initialised());
        let mut block = self.take_block(header.length);
        // The access to the header is one to the whole block if that lies in the same page.
        let whole = usize::from(header.length) <= PAGE_SIZE as usize - offset;
        if whole && checked.is_ok() {
            access.load(offset, block.kept_mut());
        }
        // Outputs go where the block was found: a command may secure the tables that led there.
        let mut frames = [access.frame(); 2];
        drop(access);
        let answer = match checked {
            Err(refusal) => Answer::of(Err(Stop::Refused(refusal))),
            Ok(command) => {
                if !whole {
                    self.probe(address, u64::from(header.length), AccessKind::Store)?;
                    self.load_within(address, block.kept_mut())?;
                    frames = self.block_frames(address, block.kept().len() as u64)?;
                }
                self.run(command, &mut block, frames)
            }
        };
        self.finish(address, frames, header.command, &block, &answer)?;
        self.give_block(block);
        Ok(answer.told(header.command, frames))
    }

    /// Runs a command whose block lies in these frames.
    pub(super) fn run(&mut self, command: Command, block: &mut Block, block_frames: [FrameNumber; 2]) -> Answer {
        let (storage, mut recent) = (self.storage(), core::mem::take(&mut self.recent));
        let firmware = &self.machine.firmware;
        let mut call = Call { storage, home: self, block, block_frames };
        let result = firmware.host_call(command, &mut call, &mut recent);
        self.recent = recent;
        Answer::of(result)
    }

    fn block_frames(&mut self, address: VirtualAddress, len: u64) -> Result<[FrameNumber; 2], ProgramInterruption> {
        let last = VirtualAddress(address.0.wrapping_add(len.saturating_sub(1)));
        let first = self.frame_behind(address, AccessKind::Store)?;
        let second = if last.page() == address.page() { first } else { self.frame_behind(last, AccessKind::Store)? };
        Ok([first, second])
    }

    /// Stores outputs, then rc and rrc. They go to the frames where the block was found, none of which a
    /// command makes inaccessible (D5): a second translation could fail, when it is too late, because the
    /// command has taken a table on the way to the block.
    pub(super) fn finish(
        &self,
        address: VirtualAddress,
        frames: [FrameNumber; 2],
        command: u16,
        block: &Block,
        answer: &Answer,
    ) -> Result<(), ProgramInterruption> {
        let (offset, bytes) = block.output();
        if answer.outputs && !bytes.is_empty() {
            self.store_back(address, frames, u64::from(offset), bytes)?;
        }
        if let Some(codes) = answer.codes(self.storage().order()) {
            self.store_back(address, frames, 4, &codes)?;
        }
        let (cpu, &Answer { cc, rc, rrc, rule, .. }) = (self.number, answer);
        let events = self.machine.firmware.events();
        events.emit(|| Event::Call { issuer: Issuer::Host, cpu, command, cc, rc, rrc, rule });
        Ok(())
    }

    /// Stores bytes at an offset of a block at `address` that lies in these frames.
    fn store_back(
        &self,
        address: VirtualAddress,
        frames: [FrameNumber; 2],
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), ProgramInterruption> {
        let mut at = address.0 % PAGE_SIZE + offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(rest.len().min((PAGE_SIZE - at % PAGE_SIZE) as usize));
            let failing = (address.0 & !(PAGE_SIZE - 1)).wrapping_add(at);
            let frame = frames[usize::from(at >= PAGE_SIZE)];
            if frame == OUTSIDE {
                self.store_natively(VirtualAddress(failing), part)?;
                at += part.len() as u64;
                rest = tail;
                continue;
            }
            let access = self.begin(frame);
            if access.zone().is_secure() {
                return Err(self.secure_storage_access(failing, AccessKind::Store, AddressSpace::Home));
            }
            access.store((at % PAGE_SIZE) as usize, part);
            at += part.len() as u64;
            rest = tail;
        }
        Ok(())
    }
}

impl HomeSpace for HostCpu<'_> {
    fn frame(&mut self, address: VirtualAddress) -> Result<FrameNumber, Refusal> {
        let registers = self.registers();
        if registers.translation && !self.native && registers.home.is_real_space() {
            return Err(Refusal::new(Response::REAL_SPACE_ASCE, "D11"));
        }
        match self.frame_behind(address, AccessKind::Store) {
            Ok(frame) => Ok(frame),
            Err(interruption) if interruption.code == ProgramCode::Addressing => {
                Err(Refusal::new(Response::OPERAND_ADDRESS, "D11"))
            }
            Err(_) => Err(Refusal::new(Response::OPERAND_TRANSLATION, "D11")),
        }
    }

    fn read(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> bool {
        self.load_within(address, bytes).is_ok()
    }

    fn requestor(&self) -> RequestorNumber {
        HostCpu::requestor(self)
    }

    fn prefix(&self) -> AbsoluteAddress {
        AbsoluteAddress(self.registers().prefix)
    }

    fn others_operate(&self) -> bool {
        self.machine.others_operate()
    }
}
