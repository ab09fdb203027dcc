//! Guest actions: enter SIE, do one thing, leave.

use super::{Kernel, Observed};
use uvsim_model::address::{AbsoluteAddress, GuestAddress, PAGE_SIZE, PageIndex, VirtualAddress};
use uvsim_model::cpu::{GuestCpu, GuestEvent, SieExit, Uvc};
use uvsim_model::storage::Asce;

/// Where a guest keeps its control block: the last 512 bytes of page 1 (D74).
const BLOCK: u64 = 2 * PAGE_SIZE - 512;

impl<'m> Kernel<'m> {
    /// Enters a guest on the host CPU that serves this vCPU. One that does not exist is entered with the
    /// handles that the kernel has, which the machine answers with a validity interception.
    pub fn enter(&mut self, guest: usize, vcpu: u16) -> Result<GuestCpu<'_, 'm>, SieExit> {
        let entrance = self.entrance(guest, vcpu)?;
        self.pass(vcpu, entrance)
    }

    /// Where a guest is entered.
    pub(super) fn entrance(&mut self, guest: usize, vcpu: u16) -> Result<Entrance, SieExit> {
        let record = &self.guests[guest];
        let (asce, handle) = (record.space.asce, record.handle);
        let description = record.vcpus.get(&vcpu).map(|vcpu| vcpu.state_description);
        let at = match description.filter(|at| at.0 != 0) {
            Some(at) => at,
            None => self.nobody(handle)?,
        };
        Ok(Entrance { asce, at })
    }

    pub(super) fn pass(&mut self, vcpu: u16, entrance: Entrance) -> Result<GuestCpu<'_, 'm>, SieExit> {
        let cpu = self.cpu(self.serving_cpu(vcpu));
        cpu.set_primary(entrance.asce);
        cpu.enter(VirtualAddress(entrance.at.0))
    }

    /// The host CPU that serves a vCPU.
    #[must_use]
    pub fn serving_cpu(&self, vcpu: u16) -> u16 {
        self.serving.unwrap_or(vcpu % self.machine.config().cpus)
    }

    /// A state description for a vCPU that does not exist, in the page behind the blocks of the CPU that tries it.
    fn nobody(&mut self, handle: u64) -> Result<AbsoluteAddress, SieExit> {
        let at = AbsoluteAddress(self.blocks[usize::from(self.own_cpu())].0 + PAGE_SIZE);
        self.put(at, &[0; 512]).map_err(SieExit::HostInterruption)?;
        self.put_u64(AbsoluteAddress(at.0 + 0x18), handle).map_err(SieExit::HostInterruption)?;
        Ok(at)
    }

    /// One guest action: SIE is entered, `action` runs, SIE is left.
    pub fn act<T>(
        &mut self,
        guest: usize,
        vcpu: u16,
        action: impl FnOnce(&mut GuestCpu<'_, '_>) -> Result<T, GuestEvent>,
    ) -> Result<T, GuestEvent> {
        let mut entered = self.enter(guest, vcpu).map_err(GuestEvent::Exit)?;
        action(&mut entered)
    }

    /// One guest-issued call, with the state compared around it.
    pub fn guest_issue(
        &mut self,
        guest: usize,
        vcpu: u16,
        call: &GuestCall<'_>,
    ) -> Result<(Observed, Vec<u8>), GuestEvent> {
        let at = GuestAddress(BLOCK.wrapping_add(call.skew));
        self.act(guest, vcpu, |cpu| cpu.store(at, call.block))?;
        let masked = self.guest_block_frame(guest, at);
        let before = self.watch.then(|| self.machine.state_digest(masked));
        let mut block = call.block.to_vec();
        let answer = self.act(guest, vcpu, |cpu| {
            cpu.set_problem_state(call.problem_state);
            let done = cpu.uvc(Uvc { r1: 0, r2: at.0, m3: call.immediate >> 4, m4: call.immediate & 0xf })?;
            cpu.set_problem_state(false);
            Ok(done)
        });
        let after = before.filter(|_| !matches!(answer, Ok(uvsim_model::uvc::ConditionCode::Done)));
        let verdict = after.map(|before| self.machine.state_digest(masked) == before);
        let cc = match answer {
            Ok(cc) => cc,
            Err(event) => {
                // An interception reports through the state description and its data area.
                if !matches!(event, GuestEvent::Exit(SieExit::Interception(_))) {
                    self.note_change(verdict, "an interrupted guest call");
                }
                return Err(event);
            }
        };
        self.act(guest, vcpu, |cpu| cpu.load(at, &mut block))?;
        let observed = Observed { rule: self.rule_of_last_call(), ..super::calls::answered(cc, &block) };
        self.rule = observed.rule;
        if observed.outcome != crate::scenario::Outcome::Ok {
            self.note_change(verdict, "a guest call that was not executed");
        }
        Ok((observed, block))
    }

    fn note_change(&mut self, unchanged: Option<bool>, what: &str) {
        if unchanged == Some(false) {
            self.changed = Some(format!("{what} has changed the state (I-18)"));
        }
    }

    /// Where the guest's block lies: in the frame that holds the page, even where the host maps another one by now
    /// and has forgotten to purge.
    fn guest_block_frame(&self, guest: usize, at: GuestAddress) -> Option<AbsoluteAddress> {
        let page = at.0 / PAGE_SIZE;
        let held = self.machine.page(self.handle(guest), PageIndex(page)).and_then(|view| view.record.frame());
        let frame = held.or_else(|| self.mapped(guest, page))?;
        Some(AbsoluteAddress(frame.address().0 + at.0 % PAGE_SIZE))
    }
}

/// The space of a guest, and the state description of a vCPU.
#[derive(Clone, Copy)]
pub(super) struct Entrance {
    asce: Asce,
    at: AbsoluteAddress,
}

/// A guest-issued call.
#[derive(Clone, Copy, Debug)]
pub struct GuestCall<'a> {
    /// The block, header included.
    pub block: &'a [u8],
    /// Issue it in problem state.
    pub problem_state: bool,
    /// Immediate fields.
    pub immediate: u8,
    /// Added to the address of the block.
    pub skew: u64,
}
