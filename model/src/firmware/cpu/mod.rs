//! CPUs of a configuration: CREATE_SEC_CPU and DESTROY_SEC_CPU; their states and resets are in `state`.

mod protocol;
mod registers;
mod state;
mod status;

pub(crate) use protocol::ResetProtocol;
pub(crate) use registers::CpuReset;
pub use registers::{GuestRegisters, Psw};
pub use status::RunState;
pub(crate) use status::{CpuStatus, Outstanding};

use super::donation::AreaLock;
use super::handles::INVALID_CPU;
use super::journal::Since;
use super::{Area, Boot, Call, CallResult, Configuration, Stop, Ultravisor, refuse};
use crate::address::AbsoluteAddress;
use crate::storage::{Donation, FrameState, Storage};
use crate::uvc::Refusal;
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::Mutex;
use std::sync::Arc;

/// A CPU of a secure configuration.
#[derive(Debug)]
pub(crate) struct SecureCpu {
    pub(crate) handle: u64,
    pub(crate) number: u16,
    pub(crate) configuration: Arc<Configuration>,
    /// The state description that SIE must name (Q26).
    pub(crate) state_description: AbsoluteAddress,
    pub(crate) area: Area,
    status: Mutex<CpuStatus>,
    in_sie: AtomicBool,
    gone: AtomicBool,
    since: Since,
    kept: Mutex<Option<KeptCpu>>,
}

/// A CPU as it was at the snapshot.
#[derive(Debug)]
struct KeptCpu {
    status: CpuStatus,
    in_sie: bool,
    gone: bool,
}

impl SecureCpu {
    /// Looks at the status.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&CpuStatus) -> T) -> T {
        look(&self.status.lock())
    }

    /// Changes the status.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut CpuStatus) -> T) -> T {
        self.keep();
        change(&mut self.status.lock())
    }

    /// Enters SIE, unless it is in SIE on another CPU (C95).
    pub(crate) fn try_enter(&self) -> bool {
        self.keep();
        !self.in_sie.swap(true, Ordering::AcqRel)
    }

    /// Leaves SIE.
    pub(crate) fn leave(&self) {
        self.in_sie.store(false, Ordering::Release);
    }

    pub(crate) fn is_in_sie(&self) -> bool {
        self.in_sie.load(Ordering::Acquire)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// To be called before every change; to leave SIE is none that is not one to enter it before.
    #[inline]
    fn keep(&self) {
        if self.configuration.journal.is_due(&self.since) {
            self.keep_first();
        }
    }

    #[cold]
    fn keep_first(&self) {
        let (mut kept, journal) = (self.kept.lock(), &self.configuration.journal);
        // Another CPU may have been faster.
        if journal.is_due(&self.since) {
            let status = self.status.lock().clone();
            *kept = Some(KeptCpu { status, in_sie: self.is_in_sie(), gone: self.is_gone() });
            journal.note(|changed| changed.cpus.push(self.handle));
            journal.done(&self.since);
        }
    }

    /// Forgets what it was at the last snapshot.
    pub(in crate::firmware) fn forget_kept(&self) {
        *self.kept.lock() = None;
    }

    /// Becomes what it was at the snapshot. No call may run, and nobody may be in SIE.
    pub(in crate::firmware) fn restore(&self) {
        let Some(kept) = self.kept.lock().take() else { return };
        *self.status.lock() = kept.status;
        self.in_sie.store(kept.in_sie, Ordering::Release);
        self.gone.store(kept.gone, Ordering::Release);
    }
}

impl Ultravisor {
    /// CREATE_SEC_CPU: 0x103 number, 0x104 defined already, 0x106 lowcore, 0x105 storage, 0x107 state
    /// description (D12).
    pub(in crate::firmware) fn create_cpu(
        &self,
        call: &mut Call<'_>,
        configuration: &Arc<Configuration>,
    ) -> CallResult {
        let number = call.block.u16(0x36);
        let mut life = configuration.hold_alone()?;
        if number > super::MAX_CPU_NUMBER {
            return refuse(0x103, "D12");
        }
        if life.cpus.contains_key(&number) {
            return refuse(0x104, "C40");
        }
        let area = self.cpu_donation(call, call.block.u64(0x28))?;
        let lock = self.lock_non_secure(call.storage, &area, Refusal::new(0x105, "C42"))?;
        let state_description = AbsoluteAddress(call.block.u64(0x38));
        let reachable = state_description.0.is_multiple_of(512) && call.storage.contains(state_description, 512);
        let frame = state_description.frame();
        if !reachable || area.contains(frame) || call.storage.zone(frame).is_secure() {
            return refuse(0x107, "D12");
        }
        let cpu = self.objects.add_cpu(|handle| SecureCpu {
            handle,
            number,
            configuration: configuration.clone(),
            state_description,
            area: area.clone(),
            status: Mutex::new(CpuStatus { mark: configuration.reset().mark_of_new_cpu(), ..CpuStatus::default() }),
            in_sie: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            since: self.journal.now(),
            kept: Mutex::new(None),
        });
        life.cpus.insert(number, cpu.handle);
        let domain = configuration.domain;
        lock.commit(&self.events, "T76", true, |_, _| FrameState::Donated(Donation::Cpu(domain)));
        call.block.set_u64(0x18, cpu.handle);
        Ok("T76")
    }

    /// DESTROY_SEC_CPU: 0x103 while the CPU is in SIE (D13). Its storage comes back as zeros (T42).
    pub(in crate::firmware) fn destroy_cpu(&self, storage: &Storage, cpu: &SecureCpu) -> CallResult {
        let mut life = cpu.configuration.hold_alone()?;
        if cpu.is_gone() {
            return Err(Stop::Refused(INVALID_CPU));
        }
        let area: AreaLock<'_> = self.lock_donated(storage, &cpu.area)?;
        if !cpu.try_enter() {
            return refuse(0x103, "D13");
        }
        cpu.gone.store(true, Ordering::Release);
        life.cpus.remove(&cpu.number);
        self.objects.remove(cpu.handle);
        area.commit(&self.events, "T42", true, |_, _| FrameState::NonSecure);
        Ok("T42")
    }

    /// Whether no CPU of the configuration operates (Q15).
    pub(in crate::firmware) fn all_stopped(&self, life: &super::Life) -> bool {
        life.cpus
            .values()
            .filter_map(|&handle| self.objects.cpu(handle))
            .all(|cpu| !cpu.is_in_sie() && cpu.look(|status| status.state) != RunState::Operating)
    }
}
