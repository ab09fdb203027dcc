//! What a hypervisor does above KVM: diagnose 0x308 of a guest that is not protected yet, and resets.

use super::{FaultAnswers, Kernel, Observed, Stop};
use crate::image::Ipib;
use crate::image::layout::LONGEST_IPIB;
use crate::scenario::{CpuReset, MpState, Outcome, PvCommand};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::cpu::{Diagnose, GuestEvent, Interception, SieExit};

/// An IPL parameter block that a guest has set: as it came, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IplBlock {
    bytes: Vec<u8>,
    says: Ipib,
}

/// Return codes of diagnose 0x308.
mod diag_rc {
    pub(super) const OK: u16 = 0x0001;
    pub(super) const NO_CONFIGURATION: u16 = 0x0102;
    pub(super) const INVALID: u16 = 0x0402;
    pub(super) const NO_SECURE_CONFIGURATION: u16 = 0x0902;
    pub(super) const INVALID_FOR_SECURE: u16 = 0x0a02;
}

/// What a diagnose of a guest came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diagnosed {
    /// The outcome.
    pub observed: Observed,
    /// The register behind the first operand, where the hypervisor has answered at once.
    pub register: Option<u64>,
}

/// What the guest has asked its hypervisor for by diagnose 0x308.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ResetRequest {
    vcpu: u16,
    subcode: u64,
}

impl Kernel<'_> {
    /// A diagnose of the guest, with these values in its general registers 0 to 4. A protected guest executes it
    /// in SIE; that of another one reaches the hypervisor, who knows function 0x308 alone.
    ///
    /// # Errors
    /// Storage that is too small, or an error of this program.
    pub fn guest_diagnose(
        &mut self,
        guest: usize,
        vcpu: u16,
        answers: FaultAnswers,
        function: u16,
        registers: [u64; 5],
    ) -> Result<Diagnosed, Stop> {
        if !self.guests[guest].live {
            return self.plain_diagnose(guest, vcpu, function, registers);
        }
        let done = self.with_faults(guest, vcpu, answers, None, |kernel| {
            kernel.act(guest, vcpu, |cpu| {
                for (number, value) in (0u8..).zip(registers) {
                    cpu.set_general(number, value);
                }
                cpu.diagnose(Diagnose::new(function))
            })
        });
        let observed = match done {
            Ok(()) => Observed::OK,
            Err(Stop::Outcome(observed)) => observed,
            Err(stop) => return Err(stop),
        };
        let subcode = registers[2];
        if observed.code == Some(108) && function == Diagnose::IPL {
            self.guests[guest].reset_request = Some(ResetRequest { vcpu, subcode });
            return Ok(Diagnosed { observed: Observed { rule: "D79", ..observed }, register: None });
        }
        Ok(Diagnosed { observed, register: None })
    }

    /// Function 0x308 of a guest that is not protected: 5 and 8 set, 6 and 9 store, 10 starts in secure mode. Any
    /// other function finds nobody.
    fn plain_diagnose(
        &mut self,
        guest: usize,
        vcpu: u16,
        function: u16,
        registers: [u64; 5],
    ) -> Result<Diagnosed, Stop> {
        let [address, _, subcode, ..] = registers;
        let answer = match (function, subcode) {
            (Diagnose::IPL, 8 | 9) if !address.is_multiple_of(PAGE_SIZE) => {
                return Ok(ended(Observed::plain(Outcome::Specification, "")));
            }
            (Diagnose::IPL, 8 | 9) if address >= self.guests[guest].plan.memory => {
                return Ok(ended(Observed::plain(Outcome::Addressing, "")));
            }
            (Diagnose::IPL, 8) => self.set_ipl_block(guest, address)?,
            (Diagnose::IPL, 9) => self.store_ipl_block(guest, address)?,
            (Diagnose::IPL, 10) => return self.start_secure(guest, vcpu),
            (Diagnose::IPL, 0 | 1 | 3 | 4) => {
                self.guests[guest].reset_request = Some(ResetRequest { vcpu, subcode });
                return Ok(ended(Observed::OK));
            }
            _ => return Ok(ended(Observed::plain(Outcome::Specification, ""))),
        };
        Ok(answered(answer))
    }

    /// Subcode 8.
    fn set_ipl_block(&mut self, guest: usize, address: u64) -> Result<u16, Stop> {
        // An aligned page of the guest: it has all of it.
        let mut bytes = vec![0; LONGEST_IPIB];
        self.read_user(self.own_cpu(), guest, address, &mut bytes)?;
        let Ok(says) = Ipib::parse(&bytes) else { return Ok(diag_rc::INVALID) };
        if says.check().is_err_and(|refusal| refusal.response() == diag_rc::INVALID) {
            return Ok(diag_rc::INVALID);
        }
        bytes.truncate(says.length as usize);
        self.guests[guest].ipl = Some(IplBlock { bytes, says });
        Ok(diag_rc::OK)
    }

    /// Subcode 9.
    fn store_ipl_block(&mut self, guest: usize, address: u64) -> Result<u16, Stop> {
        let Some(block) = self.guests[guest].ipl.clone() else { return Ok(diag_rc::NO_CONFIGURATION) };
        self.write_user(self.own_cpu(), guest, address, &block.bytes)?;
        Ok(diag_rc::OK)
    }

    /// Subcode 10: the commands to KVM. If one fails, the virtual machine is made a plain one again and goes on
    /// behind the diagnose, with the reason in a register.
    fn start_secure(&mut self, guest: usize, vcpu: u16) -> Result<Diagnosed, Stop> {
        let Some(block) = self.guests[guest].ipl.clone() else {
            return Ok(answered(diag_rc::NO_SECURE_CONFIGURATION));
        };
        if let Err(refusal) = block.says.check() {
            return Ok(answered(refusal.response()));
        }
        let (command, refused) = match self.protect(guest, vcpu, &block.says) {
            Ok(last) => return Ok(Diagnosed { observed: Observed { rule: "I-34", ..last }, register: None }),
            Err((command, Stop::Outcome(refused))) => (command, refused),
            Err((_, stop)) => return Err(stop),
        };
        if self.guests[guest].live {
            // What this comes to is not told.
            match self.pv(self.own_cpu(), guest, &PvCommand::Disable) {
                Ok(_) | Err(Stop::Outcome(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        let (rc, rrc) = (refused.rc.unwrap_or(0), refused.rrc.unwrap_or(0));
        let parts = [command, rrc, rc, diag_rc::INVALID_FOR_SECURE];
        let register = parts.into_iter().fold(0, |register, part| register << 16 | u64::from(part));
        Ok(Diagnosed { register: Some(register), ..answered(diag_rc::INVALID_FOR_SECURE) })
    }

    /// ENABLE (0), SET_SEC_PARMS (2), UNPACK (3), VERIFY (4), then the load of the boot CPU; with the number of the
    /// command that failed.
    fn protect(&mut self, guest: usize, vcpu: u16, block: &Ipib) -> Result<Observed, (u16, Stop)> {
        let numbered = |number: u16| move |stop: Stop| (number, stop);
        self.pv(self.own_cpu(), guest, &PvCommand::Enable).map_err(numbered(0))?;
        let end = block.header_address.checked_add(block.header_size);
        if end.is_none_or(|end| end > self.guests[guest].plan.memory) {
            return Err((2, Observed::plain(Outcome::Invalid, "").into()));
        }
        let mut header = vec![0; block.header_size as usize];
        self.read_user(self.own_cpu(), guest, block.header_address, &mut header).map_err(numbered(2))?;
        self.hand_over_header(self.own_cpu(), guest, &header).map_err(numbered(2))?;
        for component in &block.components {
            let size = component.length.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
            let region = [component.prefix, component.address, size];
            self.unpack_region(self.own_cpu(), guest, region, false).map_err(numbered(3))?;
        }
        self.pv(self.own_cpu(), guest, &PvCommand::Verify).map_err(numbered(4))?;
        self.set_mp_state(self.own_cpu(), guest, vcpu, MpState::Load).map_err(numbered(0))
    }

    /// `host reset`: what the guest has asked for by diagnose 0x308. Subcode 0: all CPUs stopped, all sharing ended,
    /// reset prepared, all CPUs cleared, the one that asked loaded. Subcode 1: an initial reset of that one and
    /// normal resets of the others instead. Anything else, and a reset that the guest has not asked for: the
    /// configuration ends, asynchronously where that is possible.
    ///
    /// # Errors
    /// The first refused call.
    pub fn reset_guest(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let request = self.guests[guest].reset_request.take();
        if !self.guests[guest].live {
            // The boot loader of a plain virtual machine starts again: nothing of it is modelled.
            return Ok(Observed::OK);
        }
        let Some(ResetRequest { vcpu: initiator, subcode: subcode @ (0 | 1) }) = request else {
            return self.unprotect(cpu, guest);
        };
        let vcpus = self.vcpu_numbers(guest, |_| true);
        for &number in &vcpus {
            self.set_mp_state(cpu, guest, number, MpState::Stopped)?;
            self.vcpu_mut(guest, number).ran = false;
        }
        self.pv(cpu, guest, &PvCommand::UnshareAll)?;
        self.pv(cpu, guest, &PvCommand::PrepReset)?;
        for &number in &vcpus {
            let kind = match subcode {
                0 => CpuReset::Clear,
                _ if number == initiator => CpuReset::Initial,
                _ => CpuReset::Normal,
            };
            self.reset_vcpu(cpu, guest, number, kind)?;
        }
        self.set_mp_state(cpu, guest, initiator, MpState::Load)
    }

    /// Asynchronously, unless the guest has at most 2 GiB or KVM refuses; else the thorough way.
    fn unprotect(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        if !self.guests[guest].space.is_segment_type() {
            match self.pv(cpu, guest, &PvCommand::AsyncCleanupPrepare) {
                Err(Stop::Outcome(_)) => {}
                other => return other,
            }
        }
        self.pv(cpu, guest, &PvCommand::Disable)
    }

    /// SET PREFIX of the guest. The kernel learns the new prefix from the exit, and the guest goes on.
    ///
    /// # Errors
    /// Any other exit, or a program interruption of the guest.
    pub fn guest_set_prefix(
        &mut self,
        guest: usize,
        vcpu: u16,
        answers: FaultAnswers,
        prefix: u64,
    ) -> Result<Observed, Stop> {
        let done = self.with_faults(guest, vcpu, answers, None, |kernel| {
            kernel.act(guest, vcpu, |cpu| match cpu.set_prefix(prefix) {
                Err(GuestEvent::Exit(SieExit::Interception(exit))) if exit.code == Interception::NOTIFICATION => {
                    Ok((cpu.registers().prefix, Some(exit)))
                }
                other => other.map(|()| (prefix, None)),
            })
        });
        let (prefix, exit) = done?;
        self.vcpu_mut(guest, vcpu).prefix = prefix;
        match exit.filter(|_| answers == FaultAnswers::Stop) {
            None => Ok(Observed::OK),
            Some(exit) => Err(Observed { rule: "", ..Observed::interception(exit) }.into()),
        }
    }
}

fn ended(observed: Observed) -> Diagnosed {
    Diagnosed { observed, register: None }
}

/// An answer of the hypervisor: the return code in the register, `ok` for 0x0001.
fn answered(rc: u16) -> Diagnosed {
    let outcome = if rc == diag_rc::OK { Outcome::Ok } else { Outcome::Refused };
    let observed = Observed { rc: Some(rc), ..Observed::plain(outcome, "") };
    Diagnosed { observed, register: Some(rc.into()) }
}
