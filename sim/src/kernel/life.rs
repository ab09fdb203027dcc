//! Life cycle of a guest: create, start, stop, teardown, machine reset, as KVM issues the calls.

use super::configuration::Vcpu;
use super::{Kernel, Observed, Stop};
use crate::scenario::Outcome;
use uvsim_model::Reset;
use uvsim_model::address::VirtualAddress;
use uvsim_model::storage::Asce;
use uvsim_model::uvc::{Command, InstalledCalls};

const STATE_OPERATING: u64 = 1;
const STATE_STOPPED: u64 = 2;
pub(super) const STATE_LOAD: u64 = 5;

impl Kernel<'_> {
    /// `host create`: INIT_UV if need be, CREATE_SEC_CONF, CREATE_SEC_CPU for each vCPU; undone if a call is
    /// refused.
    ///
    /// # Errors
    /// The first refused call, or storage that is too small.
    pub fn create(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.initialise_ultravisor(cpu)?;
        self.make_configuration(cpu, guest)
    }

    /// `host start`: creates the guest if it has no configuration; boots it if its image is not verified;
    /// else sets the vCPUs operating that ran before.
    ///
    /// # Errors
    /// The first refused call, or storage that is too small.
    pub fn start(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        if !self.guests[guest].live {
            self.create(cpu, guest)?;
        }
        if !self.guests[guest].verified {
            return self.boot_guest(cpu, guest);
        }
        let mut last = Observed::OK;
        for number in self.vcpu_numbers(guest, |vcpu| vcpu.ran) {
            last = self.set_vcpu_state(cpu, guest, number, STATE_OPERATING)?;
        }
        Ok(last)
    }

    pub(super) fn set_vcpu_state(&mut self, cpu: u16, guest: usize, number: u16, state: u64) -> Result<Observed, Stop> {
        let handle = self.guests[guest].vcpus.get(&number).map_or(0, |vcpu| vcpu.handle);
        let answer = self.must(cpu, Command::CpuSetState, &[("cpu-handle", handle), ("state", state)])?;
        if let Some(vcpu) = self.guests[guest].vcpus.get_mut(&number)
            && runs(state)
        {
            vcpu.ran = true;
        }
        Ok(answer)
    }

    /// `host stop`: CPU_SET_STATE 2 for each vCPU.
    ///
    /// # Errors
    /// The first refused call.
    pub fn stop(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let mut last = Observed::OK;
        for number in self.vcpu_numbers(guest, |_| true) {
            last = self.set_vcpu_state(cpu, guest, number, STATE_STOPPED)?;
        }
        Ok(last)
    }

    pub(super) fn vcpu_numbers(&self, guest: usize, wanted: impl Fn(&Vcpu) -> bool) -> Vec<u16> {
        let vcpus = self.guests[guest].vcpus.iter();
        vcpus.filter(|(_, vcpu)| wanted(vcpu)).map(|(&number, _)| number).collect()
    }

    /// `host unshare-all`.
    ///
    /// # Errors
    /// A refusal.
    pub fn unshare_all(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let handle = self.guests[guest].handle;
        self.must(cpu, Command::SetUnsharedAll, &[("handle", handle)])
    }

    /// `host teardown`: the CPUs, the configuration and those set aside before, then each page with a frame is
    /// destroyed, else exported. `fast` leaves the pages, and without DESTROY_SEC_CONF_FAST the configuration as well (D83).
    ///
    /// # Errors
    /// The first refused call.
    pub fn teardown(&mut self, cpu: u16, guest: usize, fast: bool) -> Result<Observed, Stop> {
        if fast && !self.installed(cpu)?.contains(Command::DestroySecConfFast) {
            self.destroy_vcpus(cpu, guest)?;
            return Ok(Observed { rule: "D83", ..Observed::OK });
        }
        let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
        let answer = self.destroy_configuration(cpu, guest, command)?;
        if fast {
            return Ok(answer);
        }
        let disposed = self.dispose_leftovers(cpu, guest)?;
        if let Some(refused) = self.clean_all_pages(cpu, guest)? {
            return Err(refused.into());
        }
        disposed.map_or(Ok(answer), |refused| Err(refused.into()))
    }

    /// The calls that QUI reports.
    pub(crate) fn installed(&mut self, cpu: u16) -> Result<InstalledCalls, Stop> {
        self.must(cpu, Command::QueryUvInformation, &[])?;
        let at = self.block_address(cpu).0 + 0x10;
        let mut words = [0; 4];
        for (word, offset) in words.iter_mut().zip((0u64..).step_by(8)) {
            *word = self.cpu(cpu).load_u64(VirtualAddress(at + offset))?;
        }
        Ok(InstalledCalls(words))
    }

    /// Whether QUI reports that imports take over frames that another configuration shares.
    pub(super) fn has_misc(&mut self, cpu: u16) -> Result<bool, Stop> {
        self.must(cpu, Command::QueryUvInformation, &[])?;
        Ok(self.output(cpu, Command::QueryUvInformation, "uv-feature-indications")? >> 63 == 1)
    }

    /// `host reset-machine`: load-normal reset by this CPU, the others stop (T43). Guests fall back to none,
    /// mappings stay, the swap store is empty, nothing is leaked or left over.
    ///
    /// # Errors
    /// Only an error of this program.
    pub fn reset_machine(&mut self, cpu: u16) -> Result<Observed, Stop> {
        for guest in 0..self.guests.len() {
            // Their frames are set aside now and free once the reset has made them non-secure.
            let vcpus: Vec<Vcpu> = core::mem::take(&mut self.guests[guest].vcpus).into_values().collect();
            self.forget_vcpus(&vcpus);
            if let Some(donation) = self.guests[guest].forget_configuration() {
                self.scatter(&donation)?;
            }
            self.recover_leftovers(guest)?;
            self.recover_leaks(guest);
            let record = &mut self.guests[guest];
            record.vcpus = record.plan.plain_vcpus();
            record.handle = 0;
            record.ipl = None;
            record.swap.clear();
        }
        self.stop_others(cpu);
        self.cpu(cpu).reset_machine(Reset::LoadNormal).map_err(|error| Stop::Internal(error.to_string()))?;
        self.sweep();
        Ok(Observed { rule: "T43", ..Observed::OK })
    }

    /// Takes note of what a raw call has done behind the kernel's back, so that the life cycle goes on from
    /// there.
    ///
    /// # Errors
    /// Only an error of this program.
    pub fn learn(&mut self, command: Option<Command>, block: &[u8], got: &Observed) -> Result<(), Stop> {
        let (Some(command), Outcome::Ok) = (command, got.outcome) else { return Ok(()) };
        let handle = match block.get(0x18..0x20).map(<[u8; 8]>::try_from) {
            Some(Ok(bytes)) => u64::from_be_bytes(bytes),
            _ => return Ok(()),
        };
        for guest in 0..self.guests.len() {
            let record = &mut self.guests[guest];
            let own = record.live && record.handle == handle;
            match command {
                Command::DestroySecConf | Command::DestroySecConfFast if own => {
                    if let Some(donation) = record.forget_configuration() {
                        self.scatter(&donation)?;
                    }
                }
                Command::VerifyImg if own => record.verified = true,
                Command::DestroySecCpu => {
                    let found = record.vcpus.values_mut().find(|vcpu| vcpu.live && vcpu.handle == handle);
                    if let Some(vcpu) = found {
                        vcpu.live = false;
                        let freed = [vcpu.storage, vcpu.sida];
                        freed.into_iter().for_each(|frame| self.free_frames(frame, 1));
                    }
                }
                Command::CpuResetInitial | Command::CpuResetClear => {
                    let found = record.vcpus.values_mut().find(|vcpu| vcpu.live && vcpu.handle == handle);
                    if let Some(vcpu) = found {
                        vcpu.prefix = 0;
                    }
                }
                Command::CpuSetState if block.get(0x27).is_some_and(|&state| runs(state.into())) => {
                    let found = record.vcpus.values_mut().find(|vcpu| vcpu.live && vcpu.handle == handle);
                    if let Some(vcpu) = found {
                        vcpu.ran = true;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Handle of a guest's configuration: 0 if it was never created.
    #[must_use]
    pub fn handle(&self, guest: usize) -> u64 {
        self.guests[guest].handle
    }

    /// Handle of a vCPU: 0 if there is none.
    #[must_use]
    pub fn vcpu_handle(&self, guest: usize, number: u16) -> u64 {
        self.guests[guest].vcpus.get(&number).map_or(0, |vcpu| vcpu.handle)
    }

    /// The host's address space for a guest.
    #[must_use]
    pub fn asce(&self, guest: usize) -> Asce {
        self.guests[guest].space.asce
    }

    /// Whether the guest has a configuration.
    #[must_use]
    pub fn is_live(&self, guest: usize) -> bool {
        self.guests[guest].live
    }

    /// Bytes of guest storage.
    #[must_use]
    pub fn guest_memory(&self, guest: usize) -> u64 {
        self.guests[guest].plan.memory
    }
}

/// Whether a vCPU in this state runs.
const fn runs(state: u64) -> bool {
    matches!(state, STATE_OPERATING | STATE_LOAD)
}
