//! SIE, and what guests do.

use super::cpu::condition_code;
use super::{Cpu, done, interruption_of};
use core::ffi::{c_int, c_void};
use model::address::{GuestAddress, VirtualAddress};
use model::cpu::{Diagnose, GuestEvent, Interception, ServiceCall, SieExit, Sigp, Uvc};
use model::uvc::ConditionCode;
use model::{GuestRegisters, Psw};
use uvsim_capi::guest::{
    uvsim_guest_diagnose, uvsim_guest_load, uvsim_guest_load_control, uvsim_guest_load_psw, uvsim_guest_registers,
    uvsim_guest_service_call, uvsim_guest_set_access, uvsim_guest_set_general, uvsim_guest_set_prefix,
    uvsim_guest_set_problem_state, uvsim_guest_sigp, uvsim_guest_store, uvsim_guest_uvc, uvsim_guest_uvc_with,
};
use uvsim_capi::result::{UVSIM_EXIT, UVSIM_INTERRUPTED, UVSIM_OK};
use uvsim_capi::sie::{
    UVSIM_EXIT_INTERCEPTION, UVSIM_EXIT_INTERRUPTION, UVSIM_EXIT_NONE, uvsim_exit, uvsim_sie_enter, uvsim_sie_leave,
};

/// A CPU in SIE.
pub struct Guest<'c>(&'c mut Cpu);

impl Cpu {
    pub fn enter(&mut self, description: VirtualAddress) -> Result<(), SieExit> {
        // SAFETY: the place is a local variable.
        let (answer, exit) = with_exit(|place| unsafe { uvsim_sie_enter(self.0, description.0, place) });
        if answer == UVSIM_EXIT {
            return Err(exit_of(exit));
        }
        done(answer);
        Ok(())
    }

    /// Comes back with the exit, if the guest CPU had left by itself.
    pub fn leave(&mut self) -> Option<SieExit> {
        // SAFETY: the place is a local variable.
        let (answer, exit) = with_exit(|place| unsafe { uvsim_sie_leave(self.0, place) });
        if answer == UVSIM_EXIT {
            return Some(exit_of(exit));
        }
        done(answer);
        assert_eq!(exit.kind, UVSIM_EXIT_NONE);
        None
    }

    pub fn guest(&mut self) -> Guest<'_> {
        Guest(self)
    }

    pub fn guest_registers(&self) -> GuestRegisters {
        let mut found = uvsim_guest_registers::default();
        // SAFETY: the place is a local variable.
        done(unsafe { uvsim_guest_registers(self.0, &mut found) });
        GuestRegisters {
            psw: Psw { mask: found.psw_mask, address: found.psw_address },
            prefix: found.prefix,
            general: found.general,
            control: found.control,
            access: found.access,
            cpu_timer: found.cpu_timer,
            clock_comparator: found.clock_comparator,
            floating_point_control: found.floating_point_control,
            tod_programmable: found.tod_programmable,
        }
    }
}

impl Guest<'_> {
    pub fn load(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        let (buffer, length) = (bytes.as_mut_ptr().cast::<c_void>(), bytes.len());
        // SAFETY: the buffer is a slice that nobody else uses now.
        acted(|place| unsafe { uvsim_guest_load(self.0.0, address.0, buffer, length, place) })
    }

    pub fn store(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        let (buffer, length) = (bytes.as_ptr().cast::<c_void>(), bytes.len());
        // SAFETY: the buffer is a slice.
        acted(|place| unsafe { uvsim_guest_store(self.0.0, address.0, buffer, length, place) })
    }

    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, GuestEvent> {
        let Uvc { r1, r2, m3, m4 } = instruction;
        let (answer, exit) = with_exit(|place| match (m3, m4) {
            // SAFETY: the place is a local variable.
            (0, 0) => unsafe { uvsim_guest_uvc(self.0.0, r1, r2, place) },
            // SAFETY: the same.
            _ => unsafe { uvsim_guest_uvc_with(self.0.0, r1, r2, m3, m4, place) },
        });
        match event_of(answer, exit) {
            Some(event) => Err(event),
            None => Ok(condition_code(answer)),
        }
    }

    pub fn diagnose(&mut self, diagnose: Diagnose) -> Result<(), GuestEvent> {
        let Diagnose { function, r1, r3 } = diagnose;
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_diagnose(self.0.0, function, r1, r3, place) })
    }

    pub fn sigp(&mut self, sigp: Sigp) -> Result<(), GuestEvent> {
        let Sigp { order, cpu, parameter } = sigp;
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_sigp(self.0.0, order, cpu, parameter, place) })
    }

    pub fn service_call(&mut self, call: ServiceCall) -> Result<(), GuestEvent> {
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_service_call(self.0.0, call.command, call.block.0, place) })
    }

    pub fn set_prefix(&mut self, prefix: u64) -> Result<(), GuestEvent> {
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_set_prefix(self.0.0, prefix, place) })
    }

    pub fn load_psw(&mut self, psw: Psw) -> Result<(), GuestEvent> {
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_load_psw(self.0.0, psw.mask, psw.address, place) })
    }

    pub fn load_control(&mut self, number: u8, value: u64) -> Result<(), GuestEvent> {
        // SAFETY: the place is a local variable.
        acted(|place| unsafe { uvsim_guest_load_control(self.0.0, number, value, place) })
    }

    pub fn set_general(&mut self, number: u8, value: u64) {
        done(uvsim_guest_set_general(self.0.0, number, value));
    }

    pub fn set_access(&mut self, number: u8, value: u32) {
        done(uvsim_guest_set_access(self.0.0, number, value));
    }

    pub fn set_problem_state(&mut self, on: bool) {
        done(uvsim_guest_set_problem_state(self.0.0, on.into()));
    }
}

/// Runs a call with a place for its exit.
fn with_exit(call: impl FnOnce(*mut uvsim_exit) -> c_int) -> (c_int, uvsim_exit) {
    let mut exit = uvsim_exit::default();
    (call(&mut exit), exit)
}

/// Runs a guest action that has no result but its end.
#[track_caller]
fn acted(call: impl FnOnce(*mut uvsim_exit) -> c_int) -> Result<(), GuestEvent> {
    let (answer, exit) = with_exit(call);
    if let Some(event) = event_of(answer, exit) {
        return Err(event);
    }
    assert_eq!((answer, exit), (UVSIM_OK, uvsim_exit::default()), "{}", super::told(answer));
    Ok(())
}

#[track_caller]
fn event_of(answer: c_int, exit: uvsim_exit) -> Option<GuestEvent> {
    match answer {
        UVSIM_EXIT => Some(GuestEvent::Exit(exit_of(exit))),
        UVSIM_INTERRUPTED => {
            assert_eq!(exit.kind, UVSIM_EXIT_NONE);
            Some(GuestEvent::Program(interruption_of(exit.interruption)))
        }
        _ => None,
    }
}

#[track_caller]
fn exit_of(exit: uvsim_exit) -> SieExit {
    assert_eq!((exit.reserved, exit.reserved2), (0, 0), "reserved bytes are zeros");
    match exit.kind {
        UVSIM_EXIT_INTERRUPTION => SieExit::HostInterruption(interruption_of(exit.interruption)),
        UVSIM_EXIT_INTERCEPTION => {
            SieExit::Interception(Interception { code: exit.code, ipa: exit.ipa, ipb: exit.ipb })
        }
        kind => panic!("an exit of kind {kind}"),
    }
}
