//! Raw calls, and the calls of guests.

use super::Runner;
use crate::kernel::{GuestCall, Observed, Stop};
use crate::scenario::{FieldValue, UvcCall};
use uvsim_model::address::{PAGE_SIZE, VirtualAddress};
use uvsim_model::cpu::Uvc;
use uvsim_model::uvc::Command;

impl Runner<'_, '_, '_> {
    /// The bytes of a raw block: header, `bytes=`, fields.
    fn block(&self, call: &UvcCall, longest: usize) -> Vec<u8> {
        let end =
            |(field, _): &(uvsim_model::uvc::Field, FieldValue)| usize::from(field.offset) + usize::from(field.size);
        let fields = call.fields.iter().map(end).max().unwrap_or(0);
        let len = usize::from(call.length).max(8 + call.bytes.len()).max(fields).clamp(8, longest);
        let mut block = vec![0; len];
        block[..2].copy_from_slice(&call.length.to_be_bytes());
        block[2..4].copy_from_slice(&call.code.to_be_bytes());
        block[8..][..call.bytes.len().min(len - 8)].copy_from_slice(&call.bytes[..call.bytes.len().min(len - 8)]);
        for (field, value) in &call.fields {
            let (offset, size) = (usize::from(field.offset), usize::from(field.size));
            let value = self.field_value(*value).to_be_bytes();
            if let Some(target) = block.get_mut(offset..offset + size) {
                target.copy_from_slice(&value[8 - size..]);
            }
        }
        block
    }

    fn field_value(&self, value: FieldValue) -> u64 {
        match value {
            FieldValue::Number(number) => number,
            FieldValue::Handle(guest) => self.kernel.handle(guest.0),
            FieldValue::Cpu(guest, number) => self.kernel.vcpu_handle(guest.0, number),
            FieldValue::Frame(guest, page) => self.kernel.mapped(guest.0, page.0).map_or(0, |frame| frame.address().0),
            FieldValue::Page(_, page) => page.address().0,
            FieldValue::Header(guest) => self.kernel.header(guest.0).0.map_or(0, |copy| copy.0),
            FieldValue::HeaderLength(guest) => self.kernel.header(guest.0).1,
            FieldValue::TweakPrefix(guest, page) => self.kernel.tweak(guest.0, page.0).map_or(0, |tweak| tweak[0]),
            FieldValue::TweakOffset(guest, page) => self.kernel.tweak(guest.0, page.0).map_or(0, |tweak| tweak[1]),
        }
    }

    /// `(header)` is the address of a copy, which must be there.
    fn keep_headers(&mut self, call: &UvcCall) -> Result<(), Stop> {
        call.fields.iter().try_for_each(|(_, value)| match value {
            FieldValue::Header(guest) => self.kernel.keep_header(guest.0).map(drop),
            _ => Ok(()),
        })
    }

    /// `(frame)` of a page that has none cannot be given.
    fn missing_frame(&self, call: &UvcCall) -> bool {
        call.fields.iter().any(|(_, value)| match value {
            FieldValue::Frame(guest, page) => self.kernel.mapped(guest.0, page.0).is_none(),
            _ => false,
        })
    }

    pub(super) fn host_uvc(&mut self, cpu: u16, call: &UvcCall) -> Result<Observed, Stop> {
        if self.missing_frame(call) {
            return Err(Observed::UNMAPPED.into());
        }
        self.keep_headers(call)?;
        let mut block = self.block(call, PAGE_SIZE as usize);
        let at = VirtualAddress(self.kernel.block_address(cpu).0 + u64::from(call.skew));
        let instruction = Uvc { r1: 0, r2: at.0, m3: call.immediate >> 4, m4: call.immediate & 0xf };
        self.kernel.cpu(cpu).set_problem_state(call.problem_state);
        let got = self.kernel.issue(cpu, call.code, call.length, &mut block, at, instruction);
        self.kernel.cpu(cpu).set_problem_state(false);
        let got = got?;
        self.kernel.learn(call.command, &block, &got)?;
        if let Some(buffer) = call.save {
            self.buffers[buffer.0] = block;
        }
        Ok(got)
    }

    pub(super) fn guest_uvc(&mut self, guest: usize, vcpu: u16, call: &UvcCall) -> Result<Observed, Stop> {
        if self.missing_frame(call) {
            return Err(Observed::UNMAPPED.into());
        }
        self.keep_headers(call)?;
        let block = self.block(call, 512);
        let unshared = (call.command == Some(Command::RemoveSharedAccess))
            .then(|| block.get(0x20..0x28).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()))
            .flatten()
            .map(|bytes| u64::from_be_bytes(bytes) / PAGE_SIZE);
        let issued = GuestCall {
            block: &block,
            problem_state: call.problem_state,
            immediate: call.immediate,
            skew: call.skew.into(),
        };
        let faults = self.faults;
        let (got, block) = self
            .kernel
            .with_faults(guest, vcpu, faults, unshared, |kernel| kernel.guest_issue(guest, vcpu, &issued))?;
        if let Some(buffer) = call.save {
            self.buffers[buffer.0] = block;
        }
        Ok(got)
    }
}
