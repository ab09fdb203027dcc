//! SIE: a guest CPU starts on a host CPU, and leaves.

use crate::cpu::{Station, on_cpu, shown, uvsim_cpu, uvsim_interruption};
use crate::result::{Fault, UVSIM_E_IN_SIE, UVSIM_E_NOT_IN_SIE, UVSIM_E_NULL, UVSIM_EXIT, UVSIM_OK};
use crate::storage::put;
use std::ffi::{c_int, c_void};
use uvsim_model::address::VirtualAddress;
use uvsim_model::cpu::{GuestCpu, SieExit};

/// The CPU has not left by itself.
pub const UVSIM_EXIT_NONE: u32 = 0;
/// A program interruption of the host: the guest has not noticed anything and will repeat.
pub const UVSIM_EXIT_INTERRUPTION: u32 = 1;
/// An interception, which the state description shows as well.
pub const UVSIM_EXIT_INTERCEPTION: u32 = 2;

/// Why a guest CPU has left SIE; or what the guest itself has been interrupted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_exit {
    /// One of `UVSIM_EXIT_NONE`, `UVSIM_EXIT_INTERRUPTION` and `UVSIM_EXIT_INTERCEPTION`.
    pub kind: u32,
    /// Interception: its code.
    pub code: u8,
    /// Zero.
    pub reserved: u8,
    /// Interception: the first halfword of the instruction, or 0.
    pub ipa: u16,
    /// Interception: the rest of the instruction, or the validity reason in the upper half.
    pub ipb: u32,
    /// Zero.
    pub reserved2: u32,
    /// The program interruption: the host's (`UVSIM_EXIT_INTERRUPTION`), or the guest's own where a guest action answers
    /// `UVSIM_INTERRUPTED` (then `kind` is `UVSIM_EXIT_NONE`).
    pub interruption: uvsim_interruption,
}

const _: () = assert!(size_of::<uvsim_exit>() == 32);

/// Plays a guest: it is called with a CPU that is in SIE and calls guest actions on it. It may call everything else as
/// well; host instructions on this CPU answer `UVSIM_E_IN_SIE`. It may leave by `longjmp`: then the CPU stays in SIE until
/// `uvsim_sie_leave`.
pub type uvsim_guest_fn = Option<unsafe extern "C-unwind" fn(cpu: *mut uvsim_cpu, user: *mut c_void) -> c_int>;

/// START INTERPRETIVE EXECUTION with the state description at a host virtual address. What the guest does then is said by
/// guest actions, until `uvsim_sie_leave`.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_EXIT` (the entry has ended before the guest could do anything:
/// the CPU is not in SIE); `UVSIM_OK` (it is in SIE).
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_sie_enter(cpu: *mut uvsim_cpu, state_description: u64, exit: *mut uvsim_exit) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    unsafe { begin(cpu, state_description, exit, &mut 0) }
}

/// Ends a stay in SIE. A guest CPU that has left by itself, as an action has answered, needs this all the same: until then
/// all its actions give the same answer again.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_EXIT` (it had left by itself: `exit` says why);
/// `UVSIM_OK` (it had not).
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_sie_leave(cpu: *mut uvsim_cpu, exit: *mut uvsim_exit) -> c_int {
    on_cpu(cpu, |station| {
        let left = station.leave()?;
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(exit, left.map_or_else(uvsim_exit::default, told)) };
        Ok(if left.is_some() { UVSIM_EXIT } else { UVSIM_OK })
    })
}

/// Enters SIE, calls `guest`, and leaves SIE.
///
/// If the callback itself leaves (`uvsim_sie_leave`), that counts as the end of the stay, and the answer is what it returns.
///
/// Answers: those of every function; `UVSIM_E_NULL` (`guest` is null); `UVSIM_E_IN_SIE`; `UVSIM_EXIT` (the entry has ended at
/// once and the callback was not called, or the CPU has left by itself: `exit` says why); what the callback has returned.
/// After the callback also `UVSIM_E_IN_SIE` (it has left and entered anew: that stay goes on) and `UVSIM_E_DESTROYED` (it has
/// stopped the CPU).
///
/// # Safety
/// `exit` is null or writable. It may be null. `guest` can be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn uvsim_sie(
    cpu: *mut uvsim_cpu,
    state_description: u64,
    guest: uvsim_guest_fn,
    user: *mut c_void,
    exit: *mut uvsim_exit,
) -> c_int {
    let Some(play) = guest else { return without_guest(cpu) };
    let mut stay = 0;
    // SAFETY: what the caller says of the place is passed on.
    let entered = unsafe { begin(cpu, state_description, exit, &mut stay) };
    if entered != UVSIM_OK {
        return entered;
    }
    // Nothing here has to be dropped: the callback may never return.
    // SAFETY: the caller says that it can be called with this.
    let played = unsafe { play(cpu, user) };
    // SAFETY: what the caller says of the place is passed on.
    unsafe { finish(cpu, stay, played, exit) }
}

#[cold]
fn without_guest(cpu: *mut uvsim_cpu) -> c_int {
    on_cpu(cpu, |_| Err(Fault::new(UVSIM_E_NULL, "the callback that plays the guest is null")))
}

/// # Safety
/// `exit` is null or writable.
unsafe fn begin(cpu: *mut uvsim_cpu, description: u64, exit: *mut uvsim_exit, stay: &mut u64) -> c_int {
    on_cpu(cpu, |station| {
        let entered = station.enter(VirtualAddress(description))?;
        *stay = station.stay;
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(exit, entered.map_or_else(told, |()| uvsim_exit::default())) };
        Ok(if entered.is_err() { UVSIM_EXIT } else { UVSIM_OK })
    })
}

/// # Safety
/// `exit` is null or writable.
unsafe fn finish(cpu: *mut uvsim_cpu, stay: u64, played: c_int, exit: *mut uvsim_exit) -> c_int {
    on_cpu(cpu, |station| {
        if station.stay != stay && station.guest.is_some() {
            return Err(Fault::new(UVSIM_E_IN_SIE, "the callback has left SIE and entered anew"));
        }
        let left = if station.guest.is_some() { station.leave()? } else { None };
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(exit, left.map_or_else(uvsim_exit::default, told)) };
        Ok(if left.is_some() { UVSIM_EXIT } else { played })
    })
}

impl Station {
    /// Begins a stay in SIE.
    fn enter(&mut self, description: VirtualAddress) -> Result<Result<(), SieExit>, Fault> {
        self.host()?;
        // SAFETY: the box lives as long as this station. The guest that borrows it is dropped before, or when it leaves;
        // until then `host` lets nobody else have it.
        let host = unsafe { &mut *self.host };
        Ok(host.enter(description).map(|guest| {
            self.guest = Some(guest);
            self.left = None;
            self.stay += 1;
        }))
    }

    /// Ends a stay in SIE. Why the CPU had left by itself, if it had.
    fn leave(&mut self) -> Result<Option<SieExit>, Fault> {
        match self.guest.take() {
            Some(_) => Ok(self.left.take()),
            None => Err(out_of_sie()),
        }
    }

    /// The guest CPU.
    #[inline]
    pub(crate) fn guest(&mut self) -> Result<&mut GuestCpu<'static, 'static>, Fault> {
        self.guest.as_mut().ok_or_else(out_of_sie)
    }
}

#[cold]
fn out_of_sie() -> Fault {
    Fault::new(UVSIM_E_NOT_IN_SIE, "the CPU is not in SIE: first comes uvsim_sie_enter")
}

/// As a caller sees it.
pub(crate) fn told(exit: SieExit) -> uvsim_exit {
    match exit {
        SieExit::HostInterruption(found) => {
            uvsim_exit { kind: UVSIM_EXIT_INTERRUPTION, interruption: shown(found), ..uvsim_exit::default() }
        }
        SieExit::Interception(found) => uvsim_exit {
            kind: UVSIM_EXIT_INTERCEPTION,
            code: found.code,
            ipa: found.ipa,
            ipb: found.ipb,
            ..uvsim_exit::default()
        },
    }
}
