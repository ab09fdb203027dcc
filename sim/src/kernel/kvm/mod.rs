//! The protected-virtualization commands of KVM (`KVM_S390_PV_COMMAND` and the vCPU ioctls), one Linux function
//! each, with what Linux does when a call is refused: it reports, and leaks what it can no longer use.

mod leftover;
mod vcpu;

pub(super) use leftover::Leftovers;

use super::configuration::{BASE_FRAMES, Donation, SCA_FRAMES};
use super::{Kernel, Observed, Stop};
use crate::scenario::{Outcome, PvCommand};
use uvsim_model::address::{AbsoluteAddress, PAGE_SIZE, VirtualAddress};
use uvsim_model::uvc::Command;
use uvsim_model::{CPU_STORAGE_LENGTH, storage::Asce};

/// KVM takes headers up to this long.
const LONGEST_HEADER: u64 = 2 * PAGE_SIZE;
/// Length of the answer of INFO about the virtual machine.
const INFO_LENGTH: usize = 64;

/// What a guest's virtual machine has lost for good: Ultravisor objects that could not be destroyed keep what was
/// donated to them, and a host must never use it again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leaks {
    /// Configurations that could not be destroyed.
    pub configurations: u64,
    /// CPUs that could not be destroyed.
    pub cpus: u64,
    /// Frames: first, how many.
    frames: Vec<(AbsoluteAddress, u64)>,
}

impl Leaks {
    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.iter().map(|(_, count)| count).sum()
    }
}

impl Kernel<'_> {
    /// One command.
    ///
    /// # Errors
    /// What stops it: a refused call with its rc and rrc, or [`Outcome::Invalid`] where KVM issues no call.
    pub fn pv(&mut self, cpu: u16, guest: usize, command: &PvCommand) -> Result<Observed, Stop> {
        let handle = self.guests[guest].handle;
        match command {
            PvCommand::Enable if self.guests[guest].live => Err(INVALID.into()),
            PvCommand::Enable => self.make_configuration(cpu, guest),
            PvCommand::AsyncCleanupPerform { pages, signal } => self.perform_cleanup(cpu, guest, *pages, *signal),
            PvCommand::Info { .. } => Ok(Observed::OK),
            _ if !self.guests[guest].live => Err(INVALID.into()),
            PvCommand::Disable => self.disable(cpu, guest),
            PvCommand::SetSecParms { length } => match length {
                Some(length) if u64::from(*length) > LONGEST_HEADER => Err(INVALID.into()),
                _ => self.set_parameters(cpu, guest, *length),
            },
            PvCommand::Unpack(unpack) => self.unpack(cpu, guest, unpack),
            PvCommand::Verify => {
                let answer = self.must(cpu, Command::VerifyImg, &[("handle", handle)])?;
                self.guests[guest].verified = true;
                Ok(answer)
            }
            PvCommand::PrepReset => self.must(cpu, Command::PrepareReset, &[("handle", handle)]),
            PvCommand::UnshareAll => self.unshare_all(cpu, guest),
            // No dump call is installed on any machine here (D14).
            PvCommand::Dump => Err(Observed { rule: "D14", ..INVALID }.into()),
            PvCommand::AsyncCleanupPrepare => self.prepare_cleanup(cpu, guest),
        }
    }

    /// The answer of INFO: installed calls (four doublewords), highest CPU number, most configurations, highest
    /// guest address, features.
    ///
    /// # Errors
    /// Only an error of this program.
    pub fn pv_info(&mut self, cpu: u16) -> Result<Vec<u8>, Stop> {
        let mut info = vec![0; INFO_LENGTH];
        let calls = self.installed(cpu)?;
        let at = self.block_address(cpu).0;
        let mut word = |offset: u64| self.cpu(cpu).load_u64(VirtualAddress(at + offset));
        let (cpus, configurations) = (word(0x98)? & 0xffff, word(0x78)? & 0xffff_ffff);
        let words = calls.0.into_iter().chain([cpus, configurations, word(0x80)?, word(0xa0)?]);
        for (slot, word) in info.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        Ok(info)
    }

    /// What has leaked on account of a guest.
    #[must_use]
    pub fn leaks(&self, guest: usize) -> &Leaks {
        &self.guests[guest].leaks
    }

    /// DISABLE: the CPUs, all of them even if one is refused; the configuration and those set aside before; each
    /// page that has a frame.
    fn disable(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.release_vcpus(cpu, guest)?;
        let mut answer = self.end_configuration(cpu, guest)?;
        let disposed = self.dispose_leftovers(cpu, guest)?;
        // Only the first error is returned.
        if let (Outcome::Ok, Some(refused)) = (answer.outcome, disposed) {
            answer = refused;
        }
        // What cannot be cleaned is left to whoever unmaps it.
        self.clean_all_pages(cpu, guest)?;
        if answer.outcome == Outcome::Ok { Ok(answer) } else { Err(answer.into()) }
    }

    /// Makes all vCPUs plain ones. Where one could not be destroyed the others are, and the first refusal is
    /// returned.
    fn release_vcpus(&mut self, cpu: u16, guest: usize) -> Result<(), Stop> {
        match self.forget_all_vcpus(cpu, guest)? {
            None => Ok(()),
            Some(refused) => Err(refused.into()),
        }
    }

    /// DESTROY_SEC_CPU for each. One that is refused is forgotten as well, and its storage leaks.
    pub(super) fn forget_all_vcpus(&mut self, cpu: u16, guest: usize) -> Result<Option<Observed>, Stop> {
        let mut first = None;
        let numbers: Vec<u16> = self.guests[guest].vcpus.keys().copied().collect();
        for number in numbers {
            let vcpu = self.vcpu_mut(guest, number).clone();
            if !vcpu.live {
                continue;
            }
            let answer = self.call(cpu, Command::DestroySecCpu, &[("handle", vcpu.handle)])?;
            self.vcpu_mut(guest, number).live = false;
            self.free_frames(vcpu.sida, 1);
            let frames = CPU_STORAGE_LENGTH / PAGE_SIZE;
            if answer.outcome == Outcome::Ok {
                self.free_frames(vcpu.storage, frames);
            } else {
                let leaks = &mut self.guests[guest].leaks;
                leaks.cpus += 1;
                leaks.frames.push((vcpu.storage, frames));
                first.get_or_insert(answer);
            }
        }
        Ok(first)
    }

    /// DESTROY_SEC_CONF. The virtual machine is a plain one afterwards, whatever comes out; what could not be
    /// destroyed leaks.
    pub(super) fn end_configuration(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let handle = self.guests[guest].handle;
        let donation = self.guests[guest].forget_configuration();
        self.dispose(cpu, guest, handle, donation)
    }

    /// DESTROY_SEC_CONF of the configuration that runs under the guest's address-space-control element. If it is
    /// refused, its donation and the table that the element names leak: the Ultravisor takes that element for no
    /// other configuration.
    pub(super) fn dispose(
        &mut self,
        cpu: u16,
        guest: usize,
        handle: u64,
        donation: Option<Donation>,
    ) -> Result<Observed, Stop> {
        let answer = self.call(cpu, Command::DestroySecConf, &[("handle", handle)])?;
        match donation {
            Some(donation) if answer.outcome == Outcome::Ok => self.scatter(&donation)?,
            Some(donation) => {
                let old = self.replace_asce(cpu, guest)?;
                self.leak(guest, &donation, old);
            }
            None => {}
        }
        Ok(answer)
    }

    fn leak(&mut self, guest: usize, donation: &Donation, root: Asce) {
        let leaks = &mut self.guests[guest].leaks;
        leaks.configurations += 1;
        leaks.frames.push((donation.base, BASE_FRAMES));
        leaks.frames.push((donation.sca, SCA_FRAMES));
        leaks.frames.extend(donation.variable.iter().map(|frame| (frame.address(), 1)));
        leaks.frames.push((root.origin(), super::space::TABLE_FRAMES));
    }

    /// A machine reset brings back what has leaked.
    pub(super) fn recover_leaks(&mut self, guest: usize) {
        for (first, count) in core::mem::take(&mut self.guests[guest].leaks).frames {
            self.free_frames(first, count);
        }
    }
}

/// KVM answers without a call: -EINVAL and its like.
const INVALID: Observed = Observed::plain(Outcome::Invalid, "");
