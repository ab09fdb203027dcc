//! Entry into SIE: the checks of D80, then what the Ultravisor has to finish before the guest goes on.

use super::description::{Description, offset};
use super::injection::{Injection, Lowcore};
use super::interception::{Interception, SieExit, ValidityReason};
use super::{GuestCpu, GuestEvent, Stay, timer_units};
use crate::address::{GuestAddress, PAGE_SIZE, VirtualAddress};
use crate::cpu::host::HostCpu;
use crate::firmware::{CpuStatus, Outstanding, Psw, RunState, SecureCpu};
use crate::storage::translation_buffer::Space;
use crate::storage::{AccessKind, ProgramCode, ProgramInterruption, dat};
use crate::witness::{HostStep, Outcome, Step};
use std::sync::Arc;

impl<'m> HostCpu<'m> {
    /// START INTERPRETIVE EXECUTION with a state description of format 4 at a host virtual address.
    ///
    /// What happens, in this order (D80; a validity changes nothing, and the entry can be repeated with the
    /// field corrected):
    ///
    /// 1. the checks: access to the state description, handles and control register 1, CPU timer, state of
    ///    configuration and CPU, both prefix pages;
    /// 2. after a reset, the PSW is loaded from guest absolute 0;
    /// 3. what the host wants to inject is checked against that PSW, the control registers and the latest
    ///    exit (validity);
    /// 4. an instruction that left with interception 104 is completed, or ends with the injected exception;
    ///    SERVICE CALL is then notified with 108;
    /// 5. an injected interruption is delivered through the prefix area, and injection control is cleared.
    ///
    /// # Errors
    /// The exit of an entry that fails, or that ends before the guest does anything.
    pub fn enter(&mut self, description: VirtualAddress) -> Result<GuestCpu<'_, 'm>, SieExit> {
        let (machine, number) = (self.machine, self.number);
        let mut entry = self.enter_sie(Description(description));
        let outcome = match &mut entry {
            Ok(guest) => {
                guest.entry_told = true;
                Outcome::Done
            }
            Err(exit) => Outcome::Exit(*exit),
        };
        machine.tell(Step::Host(number, HostStep::Enter(description)), outcome);
        entry
    }

    fn enter_sie(&mut self, description: Description) -> Result<GuestCpu<'_, 'm>, SieExit> {
        match self.check_entry(description) {
            Ok((cpu, timer)) => {
                let mut guest = self.in_sie(cpu, description, timer);
                guest.begin()?;
                Ok(guest)
            }
            Err(exit) => {
                description.report(self, exit);
                Err(exit)
            }
        }
    }

    fn in_sie(&mut self, cpu: Arc<SecureCpu>, description: Description, timer: u64) -> GuestCpu<'_, 'm> {
        let configuration = cpu.configuration.clone();
        let (domain, origin, size) = (configuration.domain, configuration.origin, configuration.size());
        let space = Space::of(configuration.asce);
        let (prefix, psw) = cpu.look(|status| (status.registers.prefix, status.registers.psw));
        let stay = Some(Stay { timer, since: self.machine.clock() });
        let reach = if self.machine.is_watched() { 0 } else { size };
        GuestCpu {
            host: self,
            cpu,
            configuration,
            description,
            domain,
            origin,
            space,
            size,
            reach,
            prefix,
            problem_state: psw.mask & Psw::PROBLEM_STATE != 0,
            exit: None,
            entry_told: false,
            stay,
        }
    }

    /// All of D80 but the prefix pages. The CPU counts as being in SIE when this succeeds.
    fn check_entry(&mut self, description: Description) -> Result<(Arc<SecureCpu>, u64), SieExit> {
        let host = SieExit::HostInterruption;
        self.check_privilege().map_err(host)?;
        let at = self.translate_within(description.0).map_err(host)?;
        let cpu_handle = description.doubleword(self, offset::CPU_HANDLE).map_err(host)?;
        let configuration_handle = description.doubleword(self, offset::CONFIGURATION_HANDLE).map_err(host)?;
        let timer = description.doubleword(self, offset::CPU_TIMER).map_err(host)?;

        let objects = self.machine.firmware.objects();
        let configuration =
            objects.configuration(configuration_handle).ok_or(ValidityReason::ConfigurationHandle.exit())?;
        let cpu = objects.cpu(cpu_handle).ok_or(ValidityReason::CpuHandle.exit())?;
        if !Arc::ptr_eq(&cpu.configuration, &configuration) {
            return Err(ValidityReason::ForeignCpu.exit());
        }
        if self.registers().primary != configuration.asce {
            return Err(ValidityReason::Asce.exit());
        }
        if at != cpu.state_description {
            return Err(ValidityReason::StateDescription.exit());
        }
        if !cpu.try_enter() {
            return Err(ValidityReason::AlreadyRunning.exit());
        }
        match self.check_state(&cpu, timer) {
            Some(reason) => {
                cpu.leave();
                Err(reason.exit())
            }
            None => Ok((cpu, timer)),
        }
    }

    fn check_state(&self, cpu: &SecureCpu, timer: u64) -> Option<ValidityReason> {
        if cpu.is_gone() {
            return Some(ValidityReason::CpuHandle);
        }
        let verified = cpu.configuration.life().is_some_and(|life| life.boot.psw().is_some());
        let pending = cpu.configuration.reset().is_pending();
        let clock = self.machine.clock();
        cpu.look(|status| {
            if !timer_is_allowed(status, timer, clock) {
                return Some(ValidityReason::CpuTimer);
            }
            if !verified {
                return Some(ValidityReason::NotVerified);
            }
            if pending || status.mark.is_some_and(|mark| !mark.is_satisfied()) {
                return Some(ValidityReason::ResetPending);
            }
            (status.state != RunState::Operating).then_some(ValidityReason::NotOperating)
        })
    }
}

/// The host may lower the CPU timer by the time spent outside, and not raise it (C96).
fn timer_is_allowed(status: &CpuStatus, timer: u64, clock: u64) -> bool {
    let Some(since) = status.last_exit else { return true };
    let allowed = i64::try_from(timer_units(clock.saturating_sub(since))).unwrap_or(i64::MAX);
    let lowered = (status.registers.cpu_timer as i64).wrapping_sub(timer as i64);
    (0..=allowed).contains(&lowered)
}

impl GuestCpu<'_, '_> {
    /// What comes between the checks and the guest.
    fn begin(&mut self) -> Result<(), SieExit> {
        self.check_prefix()?;
        let control = match self.description.bytes::<1>(self.host, offset::INJECTION_CONTROL) {
            Ok([control]) => control,
            Err(interruption) => return Err(self.leave(SieExit::HostInterruption(interruption))),
        };
        let (load_pending, outstanding) = self.cpu.look(|status| (status.load_pending, status.outstanding));
        // Nearly always there is nothing to do.
        if control == 0 && !load_pending && outstanding.is_none() {
            return Ok(());
        }
        let psw = if load_pending { self.short_psw()? } else { self.psw() };
        let injection = self.check_injection(control, psw, outstanding)?;
        match (injection, outstanding) {
            (None, Some(outstanding)) => self.complete(outstanding)?,
            (None, None) => self.cpu.change(|status| status.registers.psw = psw),
            (Some(injection), _) => self.inject(injection, psw)?,
        }
        self.cpu.change(|status| status.load_pending = false);
        self.problem_state = self.psw().mask & Psw::PROBLEM_STATE != 0;
        match outstanding {
            Some(it) if injection.is_none() && it.notifies => {
                let exit = Interception { code: Interception::NOTIFICATION, ipa: it.ipa, ipb: 0 };
                Err(self.leave(SieExit::Interception(exit)))
            }
            _ => Ok(()),
        }
    }

    /// Both prefix pages must be reachable before anything runs: else 112 (T20, D80).
    fn check_prefix(&mut self) -> Result<(), SieExit> {
        // Real 0 and 0x1000 are the prefix area by definition.
        for page in [0, PAGE_SIZE] {
            if self.access(GuestAddress(page), AccessKind::Fetch).is_err() {
                return Err(self.leave_for_prefix());
            }
        }
        Ok(())
    }

    /// Interception 112 in place of whatever an access to the prefix area has ended with.
    fn leave_for_prefix(&mut self) -> SieExit {
        self.leave(Interception::bare(Interception::PREFIX))
    }

    /// The PSW at guest absolute 0. The prefix is 0 after a reset, so the page has just been found present; a
    /// guest that has moved its prefix since, and is loaded once more, may have to wait for page 0.
    fn short_psw(&mut self) -> Result<Psw, SieExit> {
        let mut bytes = [0; 8];
        let real = GuestAddress(dat::apply_prefix(0, self.prefix).0);
        self.load_within(real, &mut bytes).map_err(|event| self.host_exit(event))?;
        Ok(Psw::from_short(self.host.storage().order().u64(bytes)))
    }

    /// What the host wants to inject. A validity leaves everything as it is, the CPU timer included.
    fn check_injection(
        &mut self,
        control: u8,
        psw: Psw,
        outstanding: Option<Outstanding>,
    ) -> Result<Option<Injection>, SieExit> {
        let parameters = match self.description.bytes(self.host, offset::INJECTION_PARAMETERS) {
            Ok(parameters) => parameters,
            Err(interruption) => return Err(self.leave(SieExit::HostInterruption(interruption))),
        };
        let order = self.host.storage().order();
        let verdict = self
            .cpu
            .look(|status| Injection::check(control, &parameters, order, psw, &status.registers.control, outstanding));
        verdict.map_err(|reason| {
            self.stay = None;
            self.leave(reason.exit())
        })
    }

    /// Completes an instruction: the result register comes from the save area, storage operands from the
    /// data area. If guest storage is not accessible the guest's exit for it results, and the next entry
    /// tries again.
    fn complete(&mut self, outstanding: Outstanding) -> Result<(), SieExit> {
        let result = match outstanding.result {
            Some((from, to)) => match self.description.saved(self.host, from) {
                Ok(value) => Some((to, value)),
                Err(interruption) => return Err(self.leave(SieExit::HostInterruption(interruption))),
            },
            None => None,
        };
        if let Some((at, length)) = outstanding.write_back {
            let mut buffer = vec![0; usize::from(length)];
            let held = match self.description.take(self.host, &mut buffer) {
                Ok(held) => held,
                Err(interruption) => return Err(self.leave(SieExit::HostInterruption(interruption))),
            };
            self.store_within(at, held).map_err(|event| self.host_exit(event))?;
        }
        self.cpu.change(|status| {
            if let Some((register, value)) = result {
                status.registers.general[usize::from(register & 15)] = value;
            }
            status.outstanding = None;
        });
        Ok(())
    }

    /// Delivers an interruption through the prefix area (z/Architecture Principles of Operation, "Assigned
    /// Storage Locations"), and clears injection control. If the prefix area goes away under it: 112, and the
    /// interruption stays pending with the host.
    fn inject(&mut self, injection: Injection, old: Psw) -> Result<(), SieExit> {
        let order = self.host.storage().order();
        let registers = self.registers();
        let lowcore = Lowcore::of(&injection, old, &registers, order);
        let reachable = self.probe(GuestAddress(0), 2 * PAGE_SIZE, AccessKind::Store).is_ok();
        let mut new = [0; 16];
        let delivered = reachable
            && self.load_within(GuestAddress(injection.new_psw()), &mut new).is_ok()
            && lowcore.stores().all(|(at, bytes)| self.store_within(GuestAddress(at), bytes).is_ok());
        if !delivered {
            return Err(self.leave_for_prefix());
        }
        let half = |at: usize| order.u64(core::array::from_fn(|byte| new[at + byte]));
        let new = Psw { mask: half(0), address: half(8) };
        self.cpu.change(|status| {
            status.registers.psw = new;
            status.outstanding = None;
        });
        self.description.put(self.host, offset::INJECTION_CONTROL, &[0]);
        Ok(())
    }

    /// The exit behind a failed access of the Ultravisor to guest storage that was in range when the guest
    /// named it.
    fn host_exit(&mut self, event: GuestEvent) -> SieExit {
        match event {
            GuestEvent::Exit(exit) => exit,
            GuestEvent::Program(_) => {
                self.leave(SieExit::HostInterruption(ProgramInterruption::new(ProgramCode::Addressing)))
            }
        }
    }
}
