//! Life cycle of a guest: create, start, stop, teardown, machine reset, as KVM issues the calls.

use super::space::Space;
use super::{Kernel, Observed, PageBytes, Stop};
use crate::image::SeImage;
use crate::scenario::Outcome;
use std::collections::BTreeMap;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, VirtualAddress};
use uvsim_model::uvc::{Command, InstalledCalls};
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, CPU_STORAGE_LENGTH, Reset,
};

/// A guest as the scenario wants it.
#[derive(Clone, Debug, Default)]
pub struct GuestPlan {
    /// Its name.
    pub name: String,
    /// Bytes of guest storage.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u16,
    /// What it starts from.
    pub image: SeImage,
}

/// What the kernel knows of a guest.
#[derive(Debug, Default)]
pub(super) struct GuestRecord {
    pub(super) plan: GuestPlan,
    pub(super) space: Space,
    /// 0 if never created; that of the last configuration otherwise.
    pub(super) handle: u64,
    pub(super) live: bool,
    pub(super) verified: bool,
    pub(super) vcpus: Vec<Vcpu>,
    donation: Option<Donation>,
    /// Page → frame.
    pub(super) mapped: BTreeMap<u64, FrameNumber>,
    /// Page → bytes.
    pub(super) swap: BTreeMap<u64, Box<PageBytes>>,
}

/// A vCPU as the kernel knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Vcpu {
    pub(super) handle: u64,
    pub(super) live: bool,
    ran: bool,
    storage: AbsoluteAddress,
    pub(super) state_description: AbsoluteAddress,
    sida: AbsoluteAddress,
}

/// What a configuration has been given.
#[derive(Clone, Debug)]
struct Donation {
    base: AbsoluteAddress,
    sca: AbsoluteAddress,
    variable: Vec<FrameNumber>,
    window: (VirtualAddress, u64),
}

const BASE_FRAMES: u64 = CONFIGURATION_BASE_LENGTH / PAGE_SIZE;
/// The extended system control area is a little longer than 16 KiB.
const SCA_FRAMES: u64 = 5;
const STATE_OPERATING: u64 = 1;
const STATE_STOPPED: u64 = 2;
pub(super) const STATE_LOAD: u64 = 5;

impl GuestRecord {
    pub(super) fn new(plan: GuestPlan) -> Self {
        Self { plan, ..Self::default() }
    }
}

impl Kernel<'_> {
    /// `host create`: INIT_UV if need be, CREATE_SEC_CONF, CREATE_SEC_CPU for each vCPU; undone if a call is
    /// refused.
    ///
    /// # Errors
    /// The first refused call, or storage that is too small.
    pub fn create(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.initialise_ultravisor(cpu)?;
        let donation = self.gather(guest)?;
        let memory = self.guests[guest].plan.memory;
        let asce = self.guests[guest].space.asce.0;
        let fields = [
            ("conf-base-stor-origin", donation.base.0),
            ("conf-virt-stor-origin", donation.window.0.0),
            ("guest-stor-len", memory),
            ("guest-sca", donation.sca.0),
            ("guest-asce", asce),
        ];
        let answer = self.call(cpu, Command::CreateSecConf, &fields)?;
        if answer.outcome != Outcome::Ok {
            if answer.rc.is_some_and(|rc| rc & 0x8000 != 0) {
                // The configuration exists all the same and must be destroyed (D17).
                let handle = self.output(cpu, Command::CreateSecConf, "guest-handle")?;
                self.must(cpu, Command::DestroySecConf, &[("handle", handle)])?;
            }
            self.scatter(&donation)?;
            return Err(Stop::Outcome(answer));
        }
        let handle = self.output(cpu, Command::CreateSecConf, "guest-handle")?;
        let record = &mut self.guests[guest];
        (record.handle, record.live, record.verified) = (handle, true, false);
        record.donation = Some(donation);
        let gone = core::mem::replace(&mut record.vcpus, vec![Vcpu::default(); usize::from(record.plan.vcpus)]);
        self.forget_vcpus(&gone);
        for number in 0..self.guests[guest].plan.vcpus {
            if let Err(stop) = self.create_vcpu(cpu, guest, number) {
                self.destroy_configuration(cpu, guest, Command::DestroySecConf)?;
                return Err(stop);
            }
        }
        Ok(answer)
    }

    fn create_vcpu(&mut self, cpu: u16, guest: usize, number: u16) -> Result<(), Stop> {
        let storage = self.allocate(CPU_STORAGE_LENGTH / PAGE_SIZE, 1, "CPU storage")?;
        let state_description = self.allocate_cleared("a state description")?;
        let sida = self.allocate_cleared("a secure-instruction data area")?;
        let handle = self.guests[guest].handle;
        let fields = [
            ("guest-handle", handle),
            ("stor-origin", storage.0),
            ("num", u64::from(number)),
            ("state-origin", state_description.0),
        ];
        if let Err(stop) = self.must(cpu, Command::CreateSecCpu, &fields) {
            [storage, state_description, sida].into_iter().for_each(|frame| self.free_frames(frame, 1));
            return Err(stop);
        }
        let vcpu = self.output(cpu, Command::CreateSecCpu, "cpu-handle")?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x10), vcpu)?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x18), handle)?;
        self.put(AbsoluteAddress(state_description.0 + 0x68), &[2])?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x180), sida.0)?;
        self.guests[guest].vcpus[usize::from(number)] =
            Vcpu { handle: vcpu, live: true, ran: false, storage, state_description, sida };
        Ok(())
    }

    pub(super) fn allocate_cleared(&mut self, what: &str) -> Result<AbsoluteAddress, Stop> {
        let frame = self.allocate(1, 1, what)?;
        self.put(frame, &[0; PAGE_SIZE as usize])?;
        Ok(frame)
    }

    /// What a configuration needs, taken from the free frames.
    fn gather(&mut self, guest: usize) -> Result<Donation, Stop> {
        let mebibytes = self.guests[guest].plan.memory / MEBIBYTE;
        let base = self.allocate(BASE_FRAMES, 4, "configuration base storage")?;
        let sca = self.allocate(SCA_FRAMES, 1, "the system control area")?;
        let bytes = CONFIGURATION_FIXED_LENGTH + mebibytes * CONFIGURATION_LENGTH_PER_MEBIBYTE;
        let variable = self.gather_variable(bytes / PAGE_SIZE)?;
        let window = self.map_window(&variable)?;
        Ok(Donation { base, sca, variable, window })
    }

    fn gather_variable(&mut self, count: u64) -> Result<Vec<FrameNumber>, Stop> {
        const WHOLE: u64 = MEBIBYTE / PAGE_SIZE;
        const WHAT: &str = "configuration variable storage";
        if count > self.free.total() {
            self.sweep();
        }
        if count > self.free.total() {
            return Err(Stop::OutOfStorage {
                what: WHAT.into(),
                needed: count * PAGE_SIZE,
                available: self.free.total() * PAGE_SIZE,
            });
        }
        let mut frames = Vec::new();
        while count - frames.len() as u64 >= WHOLE {
            let first = self.allocate(WHOLE, WHOLE, WHAT)?.frame().0;
            frames.extend((first..first + WHOLE).map(FrameNumber));
        }
        while (frames.len() as u64) < count {
            frames.push(self.allocate(1, 1, WHAT)?.frame());
        }
        Ok(frames)
    }

    fn scatter(&mut self, donation: &Donation) -> Result<(), Stop> {
        self.unmap_window(donation.window.0, donation.window.1)?;
        self.free_frames(donation.base, BASE_FRAMES);
        self.free_frames(donation.sca, SCA_FRAMES);
        donation.variable.iter().for_each(|&frame| self.release(frame));
        Ok(())
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
        for number in 0..self.guests[guest].vcpus.len() {
            if self.guests[guest].vcpus[number].ran {
                last = self.set_vcpu_state(cpu, guest, number, STATE_OPERATING)?;
            }
        }
        Ok(last)
    }

    pub(super) fn set_vcpu_state(
        &mut self,
        cpu: u16,
        guest: usize,
        number: usize,
        state: u64,
    ) -> Result<Observed, Stop> {
        let handle = self.guests[guest].vcpus.get(number).map_or(0, |vcpu| vcpu.handle);
        let answer = self.must(cpu, Command::CpuSetState, &[("cpu-handle", handle), ("state", state)])?;
        if let Some(vcpu) = self.guests[guest].vcpus.get_mut(number)
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
        for number in 0..self.guests[guest].plan.vcpus {
            last = self.set_vcpu_state(cpu, guest, usize::from(number), STATE_STOPPED)?;
        }
        Ok(last)
    }

    /// `host unshare-all`.
    ///
    /// # Errors
    /// A refusal.
    pub fn unshare_all(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let handle = self.guests[guest].handle;
        self.must(cpu, Command::SetUnsharedAll, &[("handle", handle)])
    }

    /// `host teardown`: the CPUs, the configuration, then each page with a frame is destroyed, else exported.
    /// `fast` leaves the pages, and without DESTROY_SEC_CONF_FAST the configuration as well (D83).
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
        let frames: Vec<FrameNumber> = self.guests[guest].mapped.values().copied().collect();
        for frame in frames {
            let destroyed = self.call(cpu, Command::DestrSecStor, &[("paddr", frame.address().0)])?;
            // The old machine calls a frame that is clean already by a code of its own (D66).
            let clean = destroyed.rc == Some(0x107) && destroyed.rrc == Some(0xd);
            if destroyed.outcome != Outcome::Ok && !clean {
                self.must(cpu, Command::ConvFromSecStor, &[("paddr", frame.address().0)])?;
            }
        }
        Ok(answer)
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

    fn destroy_vcpus(&mut self, cpu: u16, guest: usize) -> Result<(), Stop> {
        for number in 0..self.guests[guest].vcpus.len() {
            let vcpu = self.guests[guest].vcpus[number].clone();
            if vcpu.live {
                self.must(cpu, Command::DestroySecCpu, &[("handle", vcpu.handle)])?;
                self.guests[guest].vcpus[number].live = false;
                self.free_frames(vcpu.storage, 1);
                self.free_frames(vcpu.sida, 1);
            }
        }
        Ok(())
    }

    fn destroy_configuration(&mut self, cpu: u16, guest: usize, command: Command) -> Result<Observed, Stop> {
        self.destroy_vcpus(cpu, guest)?;
        let handle = self.guests[guest].handle;
        let answer = self.must(cpu, command, &[("handle", handle)])?;
        self.guests[guest].live = false;
        self.guests[guest].verified = false;
        if let Some(donation) = self.guests[guest].donation.take() {
            self.scatter(&donation)?;
        }
        Ok(answer)
    }

    /// `host reset-machine`: load-normal reset by this CPU, the others stop (T43). Guests fall back to none, mappings stay, the swap store
    /// is empty.
    ///
    /// # Errors
    /// Only an error of this program.
    pub fn reset_machine(&mut self, cpu: u16) -> Result<Observed, Stop> {
        for guest in 0..self.guests.len() {
            // Their frames are set aside now and free once the reset has made them non-secure.
            let vcpus = core::mem::take(&mut self.guests[guest].vcpus);
            self.forget_vcpus(&vcpus);
            if let Some(donation) = self.guests[guest].donation.take() {
                self.scatter(&donation)?;
            }
            let record = &mut self.guests[guest];
            (record.live, record.verified, record.handle) = (false, false, 0);
            record.swap.clear();
        }
        self.stop_others(cpu);
        self.cpu(cpu).reset_machine(Reset::LoadNormal).map_err(|error| Stop::Internal(error.to_string()))?;
        self.sweep();
        Ok(Observed { rule: "T43", ..Observed::OK })
    }

    /// Gives up what vCPUs that nobody will enter again have been given. A destroyed one has kept its state
    /// description, so that SIE can still be tried with it.
    fn forget_vcpus(&mut self, vcpus: &[Vcpu]) {
        for vcpu in vcpus {
            if vcpu.live {
                self.free_frames(vcpu.storage, 1);
                self.free_frames(vcpu.sida, 1);
            }
            if vcpu.state_description.0 != 0 {
                self.free_frames(vcpu.state_description, 1);
            }
        }
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
                    (record.live, record.verified) = (false, false);
                    if let Some(donation) = record.donation.take() {
                        self.scatter(&donation)?;
                    }
                }
                Command::VerifyImg if own => record.verified = true,
                Command::DestroySecCpu => {
                    let found = record.vcpus.iter_mut().find(|vcpu| vcpu.live && vcpu.handle == handle);
                    if let Some(vcpu) = found {
                        vcpu.live = false;
                        let freed = [vcpu.storage, vcpu.sida];
                        freed.into_iter().for_each(|frame| self.free_frames(frame, 1));
                    }
                }
                Command::CpuSetState if block.get(0x27).is_some_and(|&state| runs(state.into())) => {
                    let found = record.vcpus.iter_mut().find(|vcpu| vcpu.live && vcpu.handle == handle);
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
        self.guests[guest].vcpus.get(usize::from(number)).map_or(0, |vcpu| vcpu.handle)
    }

    /// Whether the guest has a configuration.
    #[must_use]
    pub fn is_live(&self, guest: usize) -> bool {
        self.guests[guest].live
    }
}

/// Whether a vCPU in this state runs.
const fn runs(state: u64) -> bool {
    matches!(state, STATE_OPERATING | STATE_LOAD)
}
