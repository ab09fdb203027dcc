//! The host's view: plain memory that faults.

use super::{Cpu, Machine, done, ended};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use model::address::AbsoluteAddress;
use model::storage::{ProgramCode, ProgramInterruption};
use uvsim_capi::cpu::{uvsim_interruption, uvsim_set_native};
use uvsim_capi::machine::uvsim_machine;
use uvsim_capi::raw::{
    UVSIM_DELIVER, UVSIM_HOST_VIEW, uvsim_fault, uvsim_on_secure_access, uvsim_pa, uvsim_try_copy, uvsim_va,
    uvsim_view_status,
};

/// Flag for a machine with a view.
pub(super) const FLAG: u32 = UVSIM_HOST_VIEW;

/// Touches of secure frames that the system has reported, counted by the callback of one machine.
#[derive(Debug, Default)]
pub(super) struct Faults(AtomicU64);

impl Machine {
    /// The pointer to a byte of storage.
    pub fn pointer(&self, address: AbsoluteAddress) -> NonNull<u8> {
        let view = self.view.expect("a machine with a view");
        view.map_addr(|at| at.saturating_add(address.0 as usize))
    }

    /// How often a plain access has touched a secure frame.
    pub fn faults(&self) -> u64 {
        self.faults.0.load(Ordering::Relaxed)
    }

    /// Whether secure frames are out of reach in the view, and pointers mean what they are meant to.
    pub fn check_view(&self) {
        let Some(view) = self.view else { return };
        done(uvsim_view_status(self.handle));
        let (last, mut absolute) = (self.behind().storage_size() - 1, 0);
        let pointer = self.pointer(AbsoluteAddress(last));
        assert_eq!(uvsim_va(self.handle, 0).cast(), view.as_ptr());
        assert_eq!(uvsim_va(self.handle, last).cast(), pointer.as_ptr());
        // SAFETY: the place is a local variable.
        done(unsafe { uvsim_pa(self.handle, pointer.as_ptr().cast(), &mut absolute) });
        assert_eq!(absolute, last);
    }
}

/// Lets the faults of a machine be counted. Comes back with the beginning of its view.
pub(super) fn open(machine: *mut uvsim_machine, faults: &Faults) -> NonNull<u8> {
    let user = core::ptr::from_ref(faults).cast_mut().cast::<c_void>();
    // SAFETY: the counter lives as long as the machine, and may be used by all threads, in a signal handler as well.
    done(unsafe { uvsim_on_secure_access(machine, Some(deliver), user) });
    NonNull::new(uvsim_va(machine, 0).cast()).expect("a machine with a view")
}

/// The callback: it counts, and has nothing to repair.
unsafe extern "C" fn deliver(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: the library calls this with the counter that was given to it, and a fault that is there meanwhile.
    let (faults, fault) = unsafe { (&*user.cast::<Faults>(), &*fault) };
    if fault.interruption.code == ProgramCode::SecureStorageAccess.number() && fault.attempt == 0 {
        faults.0.fetch_add(1, Ordering::Relaxed);
    }
    UVSIM_DELIVER
}

impl Cpu {
    pub fn set_native(&mut self, on: bool) {
        // SAFETY: the calls that follow name blocks that are on the stack of their caller, or storage.
        done(unsafe { uvsim_set_native(self.0, on.into()) });
    }

    /// Plain loads from storage; they survive a fault.
    pub fn copy_from_view(&mut self, from: NonNull<u8>, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        self.copy(bytes.as_mut_ptr(), from.as_ptr(), bytes.len())
    }

    /// Plain stores to storage; they survive a fault.
    pub fn copy_to_view(&mut self, to: NonNull<u8>, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        self.copy(to.as_ptr(), bytes.as_ptr(), bytes.len())
    }

    fn copy(&mut self, to: *mut u8, from: *const u8, length: usize) -> Result<(), ProgramInterruption> {
        let mut interruption = uvsim_interruption::default();
        // SAFETY: one side is a slice that nobody else uses now, the other one storage, which is nobody's object.
        let answer = unsafe { uvsim_try_copy(self.0, to.cast(), from.cast(), length, &mut interruption) };
        ended(answer, interruption)
    }
}
