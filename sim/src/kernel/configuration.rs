//! Configurations and their CPUs as the kernel keeps account of them: what was donated, and how it comes back.

use super::kvm::{Leaks, Leftovers};
use super::page_map::PageMap;
use super::qemu::{IplBlock, ResetRequest};
use super::space::Space;
use super::swap::Swap;
use super::{Kernel, Observed, Stop};
use crate::image::SeImage;
use crate::scenario::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, VirtualAddress};
use uvsim_model::uvc::Command;
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, CPU_STORAGE_LENGTH,
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
    /// The vCPUs of the virtual machine, secure or not.
    pub(super) vcpus: BTreeMap<u16, Vcpu>,
    pub(super) donation: Option<Donation>,
    /// The frames that pages have.
    pub(super) mapped: PageMap<FrameNumber>,
    /// How often `mapped` has changed.
    pub(super) remappings: u64,
    /// Pages that have no frame.
    pub(super) swap: Swap,
    /// Where the copy of the SE header lies, once there is one.
    pub(super) header: Option<AbsoluteAddress>,
    /// Pages of the image that have been put into memory for this life.
    pub(super) loaded: BTreeSet<u64>,
    /// The IPL parameter block that the guest has set.
    pub(super) ipl: Option<IplBlock>,
    /// What the guest has asked for by diagnose 0x308.
    pub(super) reset_request: Option<ResetRequest>,
    pub(super) leftovers: Leftovers,
    pub(super) leaks: Leaks,
}

/// A vCPU as the kernel knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Vcpu {
    pub(super) handle: u64,
    pub(super) live: bool,
    pub(super) ran: bool,
    /// Where its prefix area lies, as far as the kernel has been told.
    pub(super) prefix: u64,
    pub(super) storage: AbsoluteAddress,
    pub(super) state_description: AbsoluteAddress,
    pub(super) sida: AbsoluteAddress,
}

/// What a configuration has been given.
#[derive(Clone, Debug)]
pub(super) struct Donation {
    pub(super) base: AbsoluteAddress,
    pub(super) sca: AbsoluteAddress,
    pub(super) variable: Vec<FrameNumber>,
    window: (VirtualAddress, u64),
}

pub(super) const BASE_FRAMES: u64 = CONFIGURATION_BASE_LENGTH / PAGE_SIZE;
/// The extended system control area is a little longer than 16 KiB.
pub(super) const SCA_FRAMES: u64 = 5;

impl GuestPlan {
    /// The vCPUs of a virtual machine that is not secure.
    pub(super) fn plain_vcpus(&self) -> BTreeMap<u16, Vcpu> {
        (0..self.vcpus).map(|number| (number, Vcpu::default())).collect()
    }
}

impl GuestRecord {
    pub(super) fn new(plan: GuestPlan) -> Self {
        Self { vcpus: plan.plain_vcpus(), plan, ..Self::default() }
    }

    /// The configuration is no more, as far as the kernel is concerned.
    pub(super) fn forget_configuration(&mut self) -> Option<Donation> {
        (self.live, self.verified) = (false, false);
        self.loaded.clear();
        self.reset_request = None;
        self.donation.take()
    }
}

impl Kernel<'_> {
    /// CREATE_SEC_CONF, then CREATE_SEC_CPU for each vCPU. If a call is refused, what has been made is destroyed
    /// again, and leaked where that is refused as well.
    pub(super) fn make_configuration(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let answer = self.create_configuration(cpu, guest)?;
        let numbers: Vec<u16> = self.guests[guest].vcpus.keys().copied().collect();
        for number in numbers {
            if let Err(stop) = self.create_vcpu(cpu, guest, number) {
                // What undoing comes to is not told.
                self.forget_all_vcpus(cpu, guest)?;
                self.end_configuration(cpu, guest)?;
                return Err(stop);
            }
        }
        Ok(answer)
    }

    fn create_configuration(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
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
        let late = answer.rc.is_some_and(|rc| rc & 0x8000 != 0);
        if answer.outcome != Outcome::Ok && !late {
            self.scatter(&donation)?;
            return Err(Stop::Outcome(answer));
        }
        let handle = self.output(cpu, Command::CreateSecConf, "guest-handle")?;
        if late {
            // The configuration exists all the same and must be destroyed (D17). Nobody gets its handle.
            self.dispose(cpu, guest, handle, Some(donation))?;
            return Err(Stop::Outcome(answer));
        }
        let record = &mut self.guests[guest];
        (record.handle, record.live, record.verified) = (handle, true, false);
        record.donation = Some(donation);
        let gone: Vec<Vcpu> = record.vcpus.values_mut().map(core::mem::take).collect();
        self.forget_vcpus(&gone);
        Ok(answer)
    }

    /// CREATE_SEC_CPU for a vCPU that the virtual machine has.
    pub(super) fn create_vcpu(&mut self, cpu: u16, guest: usize, number: u16) -> Result<Observed, Stop> {
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
        let answer = match self.must(cpu, Command::CreateSecCpu, &fields) {
            Ok(answer) => answer,
            Err(stop) => {
                [storage, state_description, sida].into_iter().for_each(|frame| self.free_frames(frame, 1));
                return Err(stop);
            }
        };
        let vcpu = self.output(cpu, Command::CreateSecCpu, "cpu-handle")?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x10), vcpu)?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x18), handle)?;
        self.put(AbsoluteAddress(state_description.0 + 0x68), &[2])?;
        self.put_u64(AbsoluteAddress(state_description.0 + 0x180), sida.0)?;
        let made = Vcpu { handle: vcpu, live: true, ran: false, prefix: 0, storage, state_description, sida };
        if let Some(before) = self.guests[guest].vcpus.insert(number, made) {
            self.forget_vcpus(&[before]);
        }
        Ok(answer)
    }

    /// DESTROY_SEC_CPU for each, up to the first that is refused.
    pub(super) fn destroy_vcpus(&mut self, cpu: u16, guest: usize) -> Result<(), Stop> {
        let live = self.guests[guest].vcpus.iter().filter(|(_, vcpu)| vcpu.live);
        let live: Vec<(u16, Vcpu)> = live.map(|(&number, vcpu)| (number, vcpu.clone())).collect();
        for (number, vcpu) in live {
            self.must(cpu, Command::DestroySecCpu, &[("handle", vcpu.handle)])?;
            self.vcpu_mut(guest, number).live = false;
            self.free_frames(vcpu.storage, 1);
            self.free_frames(vcpu.sida, 1);
        }
        Ok(())
    }

    /// The configuration after its CPUs.
    pub(super) fn destroy_configuration(&mut self, cpu: u16, guest: usize, command: Command) -> Result<Observed, Stop> {
        self.destroy_vcpus(cpu, guest)?;
        let handle = self.guests[guest].handle;
        let answer = self.must(cpu, command, &[("handle", handle)])?;
        if let Some(donation) = self.guests[guest].forget_configuration() {
            self.scatter(&donation)?;
        }
        Ok(answer)
    }

    pub(super) fn vcpu_mut(&mut self, guest: usize, number: u16) -> &mut Vcpu {
        self.guests[guest].vcpus.entry(number).or_default()
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
        let free = |kernel: &Self| kernel.frames.lock().total();
        if count > free(self) {
            self.sweep();
        }
        let total = free(self);
        if count > total {
            return Err(Stop::OutOfStorage {
                what: WHAT.into(),
                needed: count * PAGE_SIZE,
                available: total * PAGE_SIZE,
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

    pub(super) fn scatter(&mut self, donation: &Donation) -> Result<(), Stop> {
        self.unmap_window(donation.window.0, donation.window.1)?;
        self.free_frames(donation.base, BASE_FRAMES);
        self.free_frames(donation.sca, SCA_FRAMES);
        donation.variable.iter().for_each(|&frame| self.release(frame));
        Ok(())
    }

    /// Gives up what vCPUs that nobody will enter again have been given. A destroyed one has kept its state
    /// description, so that SIE can still be tried with it.
    pub(super) fn forget_vcpus(&mut self, vcpus: &[Vcpu]) {
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
}
