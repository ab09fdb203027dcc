//! CPUs of a configuration: CREATE_SEC_CPU, DESTROY_SEC_CPU, CPU_SET_STATE.

use super::donation::AreaLock;
use super::handles::INVALID_CPU;
use super::{Area, Boot, Call, CallResult, Configuration, Stop, Ultravisor, refuse};
use crate::address::AbsoluteAddress;
use crate::storage::{Donation, FrameState, Storage};
use crate::uvc::Refusal;
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::Mutex;
use std::sync::Arc;

/// A program-status word, as an image header gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Psw {
    /// Mask half.
    pub mask: u64,
    /// Address half.
    pub address: u64,
}

/// State of a CPU of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum RunState {
    /// As after creation.
    #[default]
    Stopped,
    /// May be entered.
    Operating,
    /// Check-stop.
    CheckStop,
}

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
}

/// Registers and states that the Ultravisor keeps for a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuStatus {
    pub(crate) state: RunState,
    pub(crate) psw: Psw,
    pub(crate) prefix: u64,
    /// CPU timer and clock, nanoseconds, at the last exit from SIE. `None` before the first.
    pub(crate) last_exit: Option<(u64, u64)>,
}

impl SecureCpu {
    /// The registers.
    pub(crate) fn status(&self) -> CpuStatus {
        self.status.lock().clone()
    }

    /// Changes the registers.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut CpuStatus) -> T) -> T {
        change(&mut self.status.lock())
    }

    /// Enters SIE, unless it is in SIE on another CPU (C95).
    pub(crate) fn try_enter(&self) -> bool {
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
}

impl Ultravisor {
    /// CREATE_SEC_CPU: 0x103 number, 0x104 defined already, 0x106 lowcore, 0x105 storage, 0x107 state
    /// description (D12).
    pub(super) fn create_cpu(&self, call: &mut Call<'_>, configuration: &Arc<Configuration>) -> CallResult {
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
            status: Mutex::default(),
            in_sie: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        life.cpus.insert(number, cpu.handle);
        let domain = configuration.domain;
        lock.commit(&self.events, "T76", true, |_, _| FrameState::Donated(Donation::Cpu(domain)));
        call.block.set_u64(0x18, cpu.handle);
        Ok("T76")
    }

    /// DESTROY_SEC_CPU: 0x103 while the CPU is in SIE (D13). Its storage comes back as zeros (T42).
    pub(super) fn destroy_cpu(&self, storage: &Storage, cpu: &SecureCpu) -> CallResult {
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

    /// CPU_SET_STATE: 0x102 for an undefined value (Q14), 0x103 for a CPU in SIE or a load into one that
    /// is not stopped, 0x104 for a load before VERIFY_IMG (D13).
    pub(super) fn set_cpu_state(&self, cpu: &SecureCpu, state: u8) -> CallResult {
        let life = cpu.configuration.hold()?;
        if !matches!(state, 1 | 2 | 3 | 5) {
            return refuse(0x102, "Q14");
        }
        // SIE entry is refused while this call is on, and the other way round.
        if !cpu.try_enter() {
            return refuse(0x103, "D13");
        }
        let result = Self::change_cpu_state(cpu, state, &life.boot);
        cpu.leave();
        result
    }

    fn change_cpu_state(cpu: &SecureCpu, state: u8, boot: &Boot) -> CallResult {
        if cpu.is_gone() {
            return Err(Stop::Refused(INVALID_CPU));
        }
        cpu.change(|status| {
            match state {
                1 => status.state = RunState::Operating,
                2 => status.state = RunState::Stopped,
                3 => status.state = RunState::CheckStop,
                _ => {
                    let Some(psw) = boot.psw() else { return refuse(0x104, "D13") };
                    if status.state != RunState::Stopped {
                        return refuse(0x103, "D13");
                    }
                    status.psw = psw;
                    status.state = RunState::Operating;
                }
            }
            Ok("Q14")
        })
    }

    /// Whether no CPU of the configuration operates (Q15).
    pub(super) fn all_stopped(&self, life: &super::Life) -> bool {
        life.cpus
            .values()
            .filter_map(|&handle| self.objects.cpu(handle))
            .all(|cpu| !cpu.is_in_sie() && cpu.status().state != RunState::Operating)
    }
}
