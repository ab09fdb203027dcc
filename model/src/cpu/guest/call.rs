//! ULTRAVISOR CALL on a guest CPU.

use super::{GuestCpu, GuestEvent, Interception};
use crate::address::{FrameNumber, GuestAddress, PAGE_SIZE, PageIndex};
use crate::cpu::call::{Answer, Uvc};
use crate::event::Event;
use crate::firmware::{CallResult, Stop, Unshared};
use crate::storage::dat;
use crate::storage::{AccessKind, Tag, Verdict, check};
use crate::uvc::{Block, BlockHeader, Command, ConditionCode, HEADER_LENGTH, Issuer, Refusal, general_checks};
use crate::witness::{Answered, GuestStep, Outcome};

/// The instruction, as the exit for a pinned page shows it.
const UNSHARE: u16 = 0xb9a4;

impl GuestCpu<'_, '_> {
    /// Executes ULTRAVISOR CALL with a block at a guest real address. Order as on the host (D2, D18).
    ///
    /// # Errors
    /// A program interruption of the guest, or an exit; the guest then repeats the instruction, after an
    /// interception 108 too (D32).
    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, GuestEvent> {
        let ended = self.call(instruction);
        let outcome = match ended {
            Ok(answered) => Outcome::Answered(answered),
            Err(event) => Outcome::Guest(event),
        };
        self.tell(GuestStep::Uvc(instruction), outcome);
        ended.map(|answered| answered.cc)
    }

    fn call(&mut self, instruction: Uvc) -> Result<Answered, GuestEvent> {
        self.check_privilege()?;
        instruction.check_form().map_err(GuestEvent::Program)?;
        let address = GuestAddress(instruction.r2);
        let order = self.host.storage().order();
        let (access, page) = self.access(address, AccessKind::Store)?;
        let (home, offset) = ((access.frame(), page), (address.0 % PAGE_SIZE) as usize);
        let mut header = [0; HEADER_LENGTH];
        access.load(offset, &mut header);
        let header = BlockHeader::parse(header, order);
        let firmware = &self.host.machine.firmware;
        let checked = general_checks(header, Issuer::Guest, firmware.guest_calls(), true);
        let mut block = self.host.take_block(header.length);
        // The access to the header is one to the whole block if that lies in the same page.
        let whole = usize::from(header.length) <= PAGE_SIZE as usize - offset;
        if whole && checked.is_ok() {
            access.load(offset, block.kept_mut());
        }
        drop(access);
        let result = match checked {
            Err(refusal) => Err(Stop::Refused(refusal)),
            Ok(command) => {
                if !whole {
                    self.probe(address, u64::from(header.length), AccessKind::Store)?;
                    self.load_within(address, block.kept_mut())?;
                }
                self.perform(command, &mut block)?
            }
        };
        let answer = Answer::of(result);
        self.finish(address, home, header.command, &block, &answer)?;
        self.host.give_block(block);
        Ok(answer.told(header.command, [home.0; 2]))
    }

    /// Runs a command whose general checks are done.
    fn perform(&mut self, command: Command, block: &mut Block) -> Result<CallResult, GuestEvent> {
        let machine = self.host.machine;
        if let Some(stop) = machine.firmware.injected_stop(command) {
            return Ok(Err(stop));
        }
        if !matches!(command, Command::SetSharedAccess | Command::RemoveSharedAccess) {
            return Ok(machine.firmware.guest_query(command, block));
        }
        let address = GuestAddress(block.u64(0x20) & !(PAGE_SIZE - 1));
        if address.0 >= self.size {
            return Ok(Err(Stop::Refused(Refusal::new(0x101, "T63"))));
        }
        // The page must be accessible exactly as for a load (D32); its access ends before the state changes.
        // The operand is guest absolute (D18), an access takes real addresses; prefixing is its own inverse.
        let real = GuestAddress(dat::apply_prefix(address.0, self.prefix).0);
        let number = self.access(real, AccessKind::Fetch)?.0.frame();
        let (storage, page) = (&machine.storage, address.page());
        if command == Command::SetSharedAccess {
            return Ok(machine.firmware.share(storage, &self.configuration, page, number));
        }
        match machine.firmware.unshare(storage, &self.configuration, page, number) {
            Ok(Unshared::Done(rule)) => Ok(Ok(rule)),
            Ok(Unshared::Pinned) => {
                self.description.give(self.host, block.kept());
                Err(self.intercept(Interception::NOTIFICATION, UNSHARE, 0))
            }
            Err(stop) => Ok(Err(stop)),
        }
    }

    /// Stores outputs, then rc and rrc. The codes go to the frame where the header was found: a call that
    /// has changed the zone entry of its own block's frame needs no second translation, which could fail
    /// when it is too late. The live entry is checked all the same (D58).
    fn finish(
        &mut self,
        address: GuestAddress,
        home: (FrameNumber, PageIndex),
        command: u16,
        block: &Block,
        answer: &Answer,
    ) -> Result<(), GuestEvent> {
        let (offset, bytes) = block.output();
        if answer.outputs && !bytes.is_empty() {
            self.store_within(GuestAddress(address.0.wrapping_add(u64::from(offset))), bytes)?;
        }
        if let Some(codes) = answer.codes(self.host.storage().order()) {
            let (frame, page) = home;
            let access = self.host.begin(frame);
            match check(Tag::Guest(self.domain, page), access.zone()) {
                Verdict::Allow => access.store((address.0 % PAGE_SIZE) as usize + 4, &codes),
                verdict => {
                    drop(access);
                    return Err(self.refuse(verdict, address, AccessKind::Store));
                }
            }
        }
        let (cpu, &Answer { cc, rc, rrc, rule, .. }) = (self.host.number, answer);
        let events = self.host.machine.firmware.events();
        events.emit(|| Event::Call { issuer: Issuer::Guest, cpu, command, cc, rc, rrc, rule });
        Ok(())
    }
}
