//! A privileged look at a machine, without side effects: for tests and checks. No real software can do this.

use crate::machine::{Room, on_machine, room, uvsim_machine};
use crate::result::{Fault, UVSIM_INVARIANT, UVSIM_NONE, UVSIM_OK, UVSIM_OUTSIDE};
use crate::storage::{put, writable};
use core::ops::Deref;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use uvsim_model::address::{AbsoluteAddress, PageIndex};
use uvsim_model::storage::{Donation, FrameState};
use uvsim_model::{Machine, PageRecord};

/// An ordinary frame of the host.
pub const UVSIM_FRAME_NON_SECURE: u32 = 0;
/// Donated as base storage of the Ultravisor.
pub const UVSIM_FRAME_BASE: u32 = 1;
/// Donated as base storage of a configuration.
pub const UVSIM_FRAME_CONFIGURATION: u32 = 2;
/// Donated as variable storage of a configuration.
pub const UVSIM_FRAME_VARIABLE: u32 = 3;
/// Donated as storage of a CPU.
pub const UVSIM_FRAME_CPU: u32 = 4;
/// A secure frame with a page of a guest.
pub const UVSIM_FRAME_SECURE: u32 = 5;
/// A page that its guest shares with the host.
pub const UVSIM_FRAME_SHARED: u32 = 6;
/// A shared page that the host has pinned.
pub const UVSIM_FRAME_PINNED: u32 = 7;

/// The page was never there.
pub const UVSIM_PAGE_ABSENT: u32 = 0;
/// It is in a secure frame.
pub const UVSIM_PAGE_RESIDENT: u32 = 1;
/// The host has it, encrypted.
pub const UVSIM_PAGE_EXPORTED: u32 = 2;
/// Shared, in a frame.
pub const UVSIM_PAGE_SHARED: u32 = 3;
/// Shared, and in no frame.
pub const UVSIM_PAGE_SHARED_ABSENT: u32 = 4;
/// Shared and pinned.
pub const UVSIM_PAGE_PINNED: u32 = 5;
/// Its frame was destroyed.
pub const UVSIM_PAGE_DESTROYED: u32 = 6;

/// For `uvsim_state_digest`: there is no control block.
pub const UVSIM_NO_BLOCK: u64 = u64::MAX;

/// State of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_frame {
    /// One of `UVSIM_FRAME_NON_SECURE` … `UVSIM_FRAME_PINNED`.
    pub state: u32,
    /// 1 if the configuration that it belongs to has ended.
    pub orphaned: u32,
    /// Handle of the configuration that it belongs to; 0 if it belongs to none.
    pub configuration: u64,
    /// Secure, shared, pinned: number of the page. Variable storage: number of the host virtual page.
    pub page: u64,
}

/// What the Ultravisor knows of a page of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_page {
    /// One of `UVSIM_PAGE_ABSENT` … `UVSIM_PAGE_DESTROYED`.
    pub state: u32,
    /// Zero.
    pub reserved: u32,
    /// Absolute address of its frame; 0 if it has none.
    pub frame: u64,
    /// Counter of its latest encryption; 0 if it never was encrypted.
    pub counter: u64,
}

const _: () = assert!(size_of::<uvsim_frame>() == 24 && size_of::<uvsim_page>() == 24);

impl uvsim_frame {
    pub(crate) const NONE: Self = Self { state: UVSIM_FRAME_NON_SECURE, orphaned: 0, configuration: 0, page: 0 };
}

/// The state of the frame at an absolute address.
///
/// Answers: those of every function; `UVSIM_OUTSIDE` (there is no storage at this address); `UVSIM_OK`.
///
/// # Safety
/// `frame` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_frame_state(
    machine: *mut uvsim_machine,
    absolute: u64,
    frame: *mut uvsim_frame,
) -> c_int {
    on_machine(machine, |room| {
        if absolute >= room.machine.storage_size() {
            return Ok(UVSIM_OUTSIDE);
        }
        let state = room.machine.frame_state(AbsoluteAddress(absolute).frame());
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(frame, described(&room.machine, state)) };
        Ok(UVSIM_OK)
    })
}

/// What the Ultravisor knows of a page of the live configuration behind a handle of the Ultravisor.
///
/// Answers: those of every function; `UVSIM_NONE` (no such configuration or page); `UVSIM_OK`.
///
/// # Safety
/// `state` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_page_state(
    machine: *mut uvsim_machine,
    configuration: u64,
    page: u64,
    state: *mut uvsim_page,
) -> c_int {
    on_machine(machine, |room| {
        let Some(view) = room.machine.page(configuration, PageIndex(page)) else { return Ok(UVSIM_NONE) };
        let found = uvsim_page {
            state: match view.record {
                PageRecord::Absent => UVSIM_PAGE_ABSENT,
                PageRecord::Resident(_) => UVSIM_PAGE_RESIDENT,
                PageRecord::Exported => UVSIM_PAGE_EXPORTED,
                PageRecord::Shared(Some(_)) => UVSIM_PAGE_SHARED,
                PageRecord::Shared(None) => UVSIM_PAGE_SHARED_ABSENT,
                PageRecord::Pinned(_) => UVSIM_PAGE_PINNED,
                PageRecord::Destroyed => UVSIM_PAGE_DESTROYED,
            },
            reserved: 0,
            frame: view.record.frame().map_or(0, |frame| frame.address().0),
            counter: view.counter,
        };
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(state, found) };
        Ok(UVSIM_OK)
    })
}

/// Reads storage past all access control.
///
/// Answers: those of every function; `UVSIM_E_NULL` (`buffer` is null, though there is a length); `UVSIM_E_ARGUMENT` (no
/// object is as long, or it lies in a host view); `UVSIM_OUTSIDE` (nothing has been read); `UVSIM_OK`.
///
/// # Safety
/// `buffer` leads to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_peek(
    machine: *mut uvsim_machine,
    absolute: u64,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    on_machine(machine, |room| {
        // SAFETY: the caller says that it is writable.
        let bytes = unsafe { writable(buffer, length)? };
        Ok(if room.machine.peek(AbsoluteAddress(absolute), bytes) { UVSIM_OK } else { UVSIM_OUTSIDE })
    })
}

/// Checks what must always be true of a machine. No other thread may use it: what is in the middle of a change could look
/// wrong.
///
/// Answers: those of every function; `UVSIM_INVARIANT` (an error of the library: the last error says which, and what was
/// found); `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_check_invariants(machine: *mut uvsim_machine) -> c_int {
    on_machine(machine, |room| {
        room.machine.check_invariants().map_err(|found| Fault::new(UVSIM_INVARIANT, found.to_string()))?;
        Ok(UVSIM_OK)
    })
}

/// A digest of all that a refused call must leave alone: storage, zone table, configurations, CPUs, rows of pages. The four
/// bytes of response and reason code of a control block at the absolute address `block` count as zeros; there is none if
/// that is `UVSIM_NO_BLOCK`. No other thread may use the machine.
///
/// Answers: those of every function; `UVSIM_OK`.
///
/// # Safety
/// `digest` is null or leads to four writable doublewords. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_state_digest(machine: *mut uvsim_machine, block: u64, digest: *mut u64) -> c_int {
    on_machine(machine, |room| {
        let block = (block != UVSIM_NO_BLOCK).then_some(AbsoluteAddress(block));
        let found = room.machine.state_digest(block).words();
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(digest.cast(), found) };
        Ok(UVSIM_OK)
    })
}

/// A state as a caller sees it.
pub(crate) fn described(machine: &Machine, state: FrameState) -> uvsim_frame {
    let (state, domain, page) = match state {
        FrameState::NonSecure => (UVSIM_FRAME_NON_SECURE, None, 0),
        FrameState::Donated(Donation::Base) => (UVSIM_FRAME_BASE, None, 0),
        FrameState::Donated(Donation::ConfigurationBase(domain)) => (UVSIM_FRAME_CONFIGURATION, Some(domain), 0),
        FrameState::Donated(Donation::ConfigurationVariable(domain, page)) => {
            (UVSIM_FRAME_VARIABLE, Some(domain), page)
        }
        FrameState::Donated(Donation::Cpu(domain)) => (UVSIM_FRAME_CPU, Some(domain), 0),
        FrameState::Secure(domain, page) => (UVSIM_FRAME_SECURE, Some(domain), page.0),
        FrameState::Shared(domain, page) => (UVSIM_FRAME_SHARED, Some(domain), page.0),
        FrameState::Pinned(domain, page) => (UVSIM_FRAME_PINNED, Some(domain), page.0),
    };
    uvsim_frame {
        state,
        orphaned: domain.is_some_and(|domain| machine.is_discarded(domain)).into(),
        configuration: domain.and_then(|domain| machine.owner(domain)).unwrap_or(0),
        page,
    }
}

/// For Rust code that stands beside C code, such as its tests: the machine behind a handle, as the Rust interface shows it.
/// It outlives the handle, as long as this is kept.
///
/// It is meant for looking: what it does to a machine, the C interface does not hear of. A CPU that is started here, say,
/// does not keep the machine from being destroyed.
#[derive(Clone, Debug)]
pub struct Behind(Arc<Room>);

impl Behind {
    /// `None` if the handle is not that of a machine, or the machine is gone or lost.
    #[must_use]
    pub fn of(machine: *mut uvsim_machine) -> Option<Self> {
        room(machine).ok().map(Self)
    }
}

impl Deref for Behind {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.0.machine
    }
}
