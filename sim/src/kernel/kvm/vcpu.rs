//! The ioctls of a vCPU, as far as they concern secure ones.

use super::super::configuration::Vcpu;
use super::super::{Kernel, Observed, Stop};
use super::INVALID;
use crate::scenario::{CpuReset, MpState};
use uvsim_model::uvc::Command;

impl Kernel<'_> {
    /// A new vCPU. That of a secure virtual machine becomes one of its configuration; if this is refused, there is
    /// no vCPU.
    ///
    /// # Errors
    /// The refusal, or [`crate::scenario::Outcome::Invalid`] for one that is there already.
    pub fn add_vcpu(&mut self, cpu: u16, guest: usize, number: u16) -> Result<Observed, Stop> {
        if self.guests[guest].vcpus.contains_key(&number) {
            return Err(INVALID.into());
        }
        if self.guests[guest].live {
            return self.create_vcpu(cpu, guest, number);
        }
        self.guests[guest].vcpus.insert(number, Vcpu::default());
        Ok(Observed::OK)
    }

    /// Normal, initial or clear reset: CPU_RESET, CPU_RESET_INITIAL, CPU_RESET_CLEAR of a secure vCPU, no call for
    /// another one.
    ///
    /// # Errors
    /// The refusal, or [`crate::scenario::Outcome::Invalid`] without such a vCPU.
    pub fn reset_vcpu(&mut self, cpu: u16, guest: usize, number: u16, kind: CpuReset) -> Result<Observed, Stop> {
        let Some(vcpu) = self.guests[guest].vcpus.get(&number) else { return Err(INVALID.into()) };
        if !vcpu.live {
            return Ok(Observed::OK);
        }
        let command = match kind {
            CpuReset::Normal => Command::CpuReset,
            CpuReset::Initial => Command::CpuResetInitial,
            CpuReset::Clear => Command::CpuResetClear,
        };
        let handle = vcpu.handle;
        let answer = self.must(cpu, command, &[("handle", handle)])?;
        if kind != CpuReset::Normal {
            self.vcpu_mut(guest, number).prefix = 0;
        }
        Ok(answer)
    }

    /// KVM_SET_MP_STATE: CPU_SET_STATE of a secure vCPU, no call for another one, which cannot be loaded. KVM does
    /// not know the check-stop state.
    ///
    /// # Errors
    /// The refusal, or [`crate::scenario::Outcome::Invalid`].
    pub fn set_mp_state(&mut self, cpu: u16, guest: usize, number: u16, state: MpState) -> Result<Observed, Stop> {
        let Some(vcpu) = self.guests[guest].vcpus.get(&number) else { return Err(INVALID.into()) };
        match state {
            MpState::CheckStop => Err(INVALID.into()),
            MpState::Load if !vcpu.live => Err(INVALID.into()),
            _ if !vcpu.live => Ok(Observed::OK),
            _ => self.set_vcpu_state(cpu, guest, number, state.code()),
        }
    }
}
