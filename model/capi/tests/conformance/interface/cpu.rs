//! Host CPUs.

use super::{done, ended, interruption_of, told};
use core::ffi::{c_int, c_void};
use model::address::{AbsoluteAddress, VirtualAddress};
use model::cpu::{Registers, Uvc};
use model::storage::{Asce, ProgramInterruption};
use model::uvc::ConditionCode;
use model::{OthersOperate, Reset};
use uvsim_capi::call::{uvsim_uvc, uvsim_uvc_with};
use uvsim_capi::cpu::{
    uvsim_cpu, uvsim_cpu_stop, uvsim_interruption, uvsim_registers, uvsim_set_home, uvsim_set_prefix,
    uvsim_set_primary, uvsim_set_problem_state, uvsim_set_translation,
};
use uvsim_capi::purge::{
    UVSIM_RESET_CLEAR, UVSIM_RESET_LOAD_NORMAL, uvsim_idte_region, uvsim_idte_segment, uvsim_idte_space, uvsim_ipte,
    uvsim_ptlb, uvsim_reset,
};
use uvsim_capi::result::{UVSIM_E_OPERATING, UVSIM_INTERRUPTED};
use uvsim_capi::storage::{uvsim_fetch, uvsim_load, uvsim_load64, uvsim_store, uvsim_store64, uvsim_translate};

/// A started CPU of the C interface.
#[derive(Debug)]
pub struct Cpu(pub(super) *mut uvsim_cpu);

impl Drop for Cpu {
    fn drop(&mut self) {
        let answer = uvsim_cpu_stop(self.0);
        if !std::thread::panicking() {
            done(answer);
        }
    }
}

/// Runs a call with a place for its interruption.
fn with_interruption(call: impl FnOnce(*mut uvsim_interruption) -> c_int) -> (c_int, uvsim_interruption) {
    let mut interruption = uvsim_interruption::default();
    (call(&mut interruption), interruption)
}

impl Cpu {
    pub fn set_home(&mut self, asce: Asce) {
        done(uvsim_set_home(self.0, asce.0));
    }

    pub fn set_primary(&mut self, asce: Asce) {
        done(uvsim_set_primary(self.0, asce.0));
    }

    pub fn set_problem_state(&mut self, on: bool) {
        done(uvsim_set_problem_state(self.0, on.into()));
    }

    pub fn set_translation(&mut self, on: bool) {
        done(uvsim_set_translation(self.0, on.into()));
    }

    pub fn set_prefix(&mut self, prefix: u64) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_set_prefix(self.0, prefix, place) });
        ended(answer, found)
    }

    pub fn registers(&self) -> Registers {
        let mut found = uvsim_registers::default();
        // SAFETY: the place is a local variable.
        done(unsafe { uvsim_registers(self.0, &mut found) });
        assert_eq!(found.reserved, [0; 6], "reserved bytes are zeros");
        Registers {
            problem_state: found.problem_state == 1,
            translation: found.translation == 1,
            primary: Asce(found.primary),
            home: Asce(found.home),
            prefix: found.prefix,
        }
    }

    pub fn load(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        let (buffer, length) = (bytes.as_mut_ptr().cast::<c_void>(), bytes.len());
        // SAFETY: the buffer is a slice that nobody else uses now.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_load(self.0, address.0, buffer, length, place) });
        ended(answer, found)
    }

    pub fn fetch_instruction(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        let (buffer, length) = (bytes.as_mut_ptr().cast::<c_void>(), bytes.len());
        // SAFETY: the buffer is a slice that nobody else uses now.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_fetch(self.0, address.0, buffer, length, place) });
        ended(answer, found)
    }

    pub fn store(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        let (buffer, length) = (bytes.as_ptr().cast::<c_void>(), bytes.len());
        // SAFETY: the buffer is a slice.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_store(self.0, address.0, buffer, length, place) });
        ended(answer, found)
    }

    pub fn load_u64(&mut self, address: VirtualAddress) -> Result<u64, ProgramInterruption> {
        let mut value = 0;
        // SAFETY: both places are local variables.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_load64(self.0, address.0, &mut value, place) });
        ended(answer, found).map(|()| value)
    }

    pub fn store_u64(&mut self, address: VirtualAddress, value: u64) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_store64(self.0, address.0, value, place) });
        ended(answer, found)
    }

    pub fn translate(&mut self, address: VirtualAddress) -> Result<AbsoluteAddress, ProgramInterruption> {
        let mut value = 0;
        // SAFETY: both places are local variables.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_translate(self.0, address.0, &mut value, place) });
        ended(answer, found).map(|()| AbsoluteAddress(value))
    }

    pub fn ipte(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_ipte(self.0, table.0, address.0, place) });
        ended(answer, found)
    }

    pub fn idte_segment(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_idte_segment(self.0, table.0, address.0, place) });
        ended(answer, found)
    }

    pub fn idte_region(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) =
            with_interruption(|place| unsafe { uvsim_idte_region(self.0, table.0, address.0, place) });
        ended(answer, found)
    }

    pub fn idte_space(&mut self, asce: Asce) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_idte_space(self.0, asce.0, place) });
        ended(answer, found)
    }

    pub fn ptlb(&mut self) -> Result<(), ProgramInterruption> {
        // SAFETY: the place is a local variable.
        let (answer, found) = with_interruption(|place| unsafe { uvsim_ptlb(self.0, place) });
        ended(answer, found)
    }

    pub fn reset_machine(&mut self, reset: Reset) -> Result<(), OthersOperate> {
        let kind = match reset {
            Reset::LoadNormal => UVSIM_RESET_LOAD_NORMAL,
            Reset::Clear => UVSIM_RESET_CLEAR,
        };
        match uvsim_reset(self.0, kind) {
            UVSIM_E_OPERATING => Err(OthersOperate),
            answer => {
                done(answer);
                Ok(())
            }
        }
    }

    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, ProgramInterruption> {
        let Uvc { r1, r2, m3, m4 } = instruction;
        let (answer, found) = with_interruption(|place| match (m3, m4) {
            // SAFETY: the place is a local variable.
            (0, 0) => unsafe { uvsim_uvc(self.0, r1, r2, place) },
            // SAFETY: the same.
            _ => unsafe { uvsim_uvc_with(self.0, r1, r2, m3, m4, place) },
        });
        match answer {
            UVSIM_INTERRUPTED => Err(interruption_of(found)),
            _ => Ok(condition_code(answer)),
        }
    }
}

/// The condition code that an answer of a call stands for.
#[track_caller]
pub(super) fn condition_code(answer: c_int) -> ConditionCode {
    let all = [ConditionCode::Done, ConditionCode::Other, ConditionCode::Busy, ConditionCode::Partial];
    let found = usize::try_from(answer).ok().and_then(|cc| all.get(cc));
    *found.unwrap_or_else(|| panic!("{}", told(answer)))
}
