//! The host views of machines, as handlers see them.

#![allow(unsafe_code, reason = "handlers reach a machine through a pointer; see the SAFETY comments")]

use super::chain;
use super::registry::{Place, Registry, Window};
use crate::raw::uvsim_fault;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use std::io;
use uvsim_model::Machine;
use uvsim_model::address::AbsoluteAddress;
use uvsim_model::storage::FrameState;

/// All host views of the process.
pub(super) static WINDOWS: Registry<Behind> = Registry::new();

/// The host view of a machine. While it is there, touches of secure frames in it are secure-storage accesses.
#[derive(Debug)]
pub(crate) struct View {
    /// `None` only while it is dropped.
    place: Option<Place<Behind>>,
    behind: Behind,
    base: usize,
    size: usize,
}

/// What the host wants to be called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    pub(crate) function: unsafe extern "C" fn(*mut c_void, *const uvsim_fault) -> c_int,
    /// The host's own pointer, exposed.
    pub(crate) user: usize,
}

/// What lies behind a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    machine: NonNull<Machine>,
    handle: u64,
    misc: bool,
    callback: Option<Callback>,
}

// SAFETY: the machine may be used by all threads at once, and outlives the window (see `View::open`). The callback and
// the host's pointer are numbers to everybody but the thread that calls it.
unsafe impl Send for Behind {}
// SAFETY: as above.
unsafe impl Sync for Behind {}

impl View {
    /// Opens the view of a machine to the handler, which is installed if it is not yet.
    ///
    /// # Safety
    /// The machine outlives the view, and stays where it is.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub(crate) unsafe fn open(
        machine: &Machine,
        handle: u64,
        base: NonNull<u8>,
        size: u64,
    ) -> Result<Self, io::ErrorKind> {
        chain::install()?;
        let (base, size) = (base.as_ptr().expose_provenance(), size as usize);
        let misc = machine.config().misc();
        let behind = Behind { machine: NonNull::from(machine), handle, misc, callback: None };
        Ok(Self { place: Some(WINDOWS.enter(Window { base, size, behind })), behind, base, size })
    }

    /// Sets whom to ask about secure-storage accesses.
    pub(crate) fn set_callback(&self, callback: Option<Callback>) {
        if let Some(place) = &self.place {
            WINDOWS.replace(place, Behind { callback, ..self.behind });
        }
    }

    /// The pointer to an absolute address.
    pub(crate) fn pointer(&self, address: AbsoluteAddress) -> Option<*mut c_void> {
        let offset = usize::try_from(address.0).ok().filter(|&offset| offset < self.size)?;
        Some(core::ptr::with_exposed_provenance_mut(self.base + offset))
    }

    /// The absolute address behind a pointer.
    pub(crate) fn absolute(&self, pointer: *const c_void) -> Option<AbsoluteAddress> {
        let offset = pointer.addr().wrapping_sub(self.base);
        (offset < self.size).then_some(AbsoluteAddress(offset as u64))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            WINDOWS.leave(place);
        }
    }
}

/// What a handler sees of an address in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) machine: u64,
    pub(super) absolute: u64,
    /// The secure bit as an access sees it.
    pub(super) secure: bool,
    pub(super) state: FrameState,
    pub(super) misc: bool,
    pub(super) callback: Option<Callback>,
}

impl Look {
    /// Looks, without a lock: the zone table is one of atomics.
    pub(super) fn at(address: usize) -> Option<Self> {
        WINDOWS.at(address, |window| {
            let behind = window.behind;
            let absolute = AbsoluteAddress(window.offset(address).unwrap_or_default() as u64);
            // SAFETY: the machine outlives the window, which stays while this looks at it.
            let entry = unsafe { behind.machine.as_ref() }.zone_entry(absolute.frame());
            Self {
                machine: behind.handle,
                absolute: absolute.0,
                secure: entry.is_secure(),
                state: entry.state(),
                misc: behind.misc,
                callback: behind.callback,
            }
        })
    }
}

/// Whether none of `len` bytes from `pointer` on lies in a host view.
pub(crate) fn is_plain(pointer: *const c_void, len: usize) -> bool {
    WINDOWS.is_free(pointer.addr(), len)
}
