//! CPU states and resets: CPU_SET_STATE, CPU_RESET, CPU_RESET_INITIAL, CPU_RESET_CLEAR, PREPARE_RESET.

use super::protocol::PswSource;
use super::{Boot, CallResult, Configuration, CpuReset, RunState, SecureCpu, Stop, Ultravisor, refuse};
use crate::firmware::handles::INVALID_CPU;

impl Ultravisor {
    /// CPU_SET_STATE: 0x102 for an undefined value (Q14), 0x103 for a CPU in SIE, 0x104 for a load before
    /// VERIFY_IMG or before the CPU reset of a pending reset, 0x103 for a load into a CPU that is not
    /// stopped (D13).
    ///
    /// A load takes the PSW of the image header, and from the first reset after that the short PSW at guest
    /// absolute 0. That one is read at the next entry into SIE, right after the check of the prefix pages:
    /// the prefix is 0 then, so page 0 is there, or the entry ends with interception 112. To read it here
    /// would mean to refuse hosts that have paged page 0 out (°). Whatever it says is loaded: a bad PSW is the
    /// guest's own affair.
    pub(in crate::firmware) fn set_cpu_state(&self, cpu: &SecureCpu, state: u8) -> CallResult {
        let life = cpu.configuration.hold()?;
        if !matches!(state, 1 | 2 | 3 | 5) {
            return refuse(0x102, "Q14");
        }
        Self::out_of_sie(cpu, || match state {
            1 => {
                cpu.configuration.change_reset().operates();
                cpu.change(|status| status.state = RunState::Operating);
                Ok("Q14")
            }
            2 => {
                cpu.change(|status| status.state = RunState::Stopped);
                Ok("Q14")
            }
            3 => {
                cpu.change(|status| status.state = RunState::CheckStop);
                Ok("Q14")
            }
            _ => Self::load_cpu(cpu, &life.boot),
        })
    }

    fn load_cpu(cpu: &SecureCpu, boot: &Boot) -> CallResult {
        let mut protocol = cpu.configuration.change_reset();
        cpu.change(|status| {
            let Some(psw) = boot.psw() else { return refuse(0x104, "D13") };
            let Some(source) = protocol.may_load(status.mark) else { return refuse(0x104, "I-36") };
            if status.state != RunState::Stopped {
                return refuse(0x103, "D13");
            }
            let rule = match source {
                PswSource::Header => {
                    status.registers.psw = psw;
                    "Q14"
                }
                PswSource::AbsoluteZero => {
                    status.load_pending = true;
                    "I-36"
                }
            };
            status.outstanding = None;
            status.mark = None;
            status.state = RunState::Operating;
            protocol.loaded();
            Ok(rule)
        })
    }

    /// CPU_RESET, CPU_RESET_INITIAL and CPU_RESET_CLEAR: 0x103° for a CPU in SIE or not stopped (Q14). In a
    /// prepared configuration the reset also counts for the protocol (I-36). No guest storage is cleared (D43).
    pub(in crate::firmware) fn reset_cpu(&self, cpu: &SecureCpu, kind: CpuReset) -> CallResult {
        let _life = cpu.configuration.hold()?;
        Self::out_of_sie(cpu, || {
            cpu.change(|status| {
                if status.state != RunState::Stopped {
                    return refuse(0x103, "Q14");
                }
                status.reset(kind);
                Ok("Q14")
            })
        })
    }

    /// PREPARE_RESET: 0x101 while a CPU operates (Q15), 0x102° without SET_UNSHARED_ALL since the CPUs
    /// stopped (D13). No CPU can be entered until one was reset and loaded (D79).
    pub(in crate::firmware) fn prepare_reset(&self, configuration: &Configuration) -> CallResult {
        let life = configuration.hold_alone()?;
        if !self.all_stopped(&life) {
            return refuse(0x101, "Q15");
        }
        let Some(mark) = configuration.change_reset().prepare() else { return refuse(0x102, "D13") };
        for cpu in life.cpus.values().filter_map(|&handle| self.objects.cpu(handle)) {
            cpu.change(|status| status.mark = Some(mark));
        }
        Ok("D79")
    }

    /// Runs a change that needs the CPU outside SIE, and keeps it out meanwhile: 0x103 if it is inside (D13).
    fn out_of_sie(cpu: &SecureCpu, change: impl FnOnce() -> CallResult) -> CallResult {
        if !cpu.try_enter() {
            return refuse(0x103, "D13");
        }
        let result = if cpu.is_gone() { Err(Stop::Refused(INVALID_CPU)) } else { change() };
        cpu.leave();
        result
    }
}
