//! Host storage as plain memory that faults.
//!
//! A machine made with [`UVSIM_HOST_VIEW`] has a host view: real memory, in which host code loads and stores with plain
//! instructions. A touch of a secure frame there is a secure-storage access (0x3d): the library's handler of SIGSEGV asks
//! the host's callback to make the frame accessible, and the instruction is tried again; if that does not help, the
//! interruption is delivered: to [`uvsim_try_copy`], else to the newest landing of the thread, else the process dies, and a
//! line on standard error says of what.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod absent;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod engine;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
use absent as engine;

use crate::cpu::{interrupted, on_cpu, uvsim_cpu, uvsim_interruption};
use crate::machine::{Room, on_machine, uvsim_machine};
use crate::result::{Fault, UVSIM_E_NO_VIEW, UVSIM_E_SYSTEM, UVSIM_OK, answer};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use uvsim_model::address::AbsoluteAddress;

pub(crate) use engine::{View, cpu_started, cpu_stopped, inside, outside};

/// Flag of `uvsim_machine_create`: the machine has a host view.
pub const UVSIM_HOST_VIEW: u32 = 1;

/// Answer of a callback: the frame is accessible now, or was busy; the access is tried again.
pub const UVSIM_RETRY: c_int = 0;
/// Answer of a callback: the interruption is delivered.
pub const UVSIM_DELIVER: c_int = 1;

/// How often a callback is asked about one access before `UVSIM_RETRY` counts as `UVSIM_DELIVER`.
pub const UVSIM_MAX_ATTEMPTS: u32 = 10_000;

const _: () = assert!(engine::ATTEMPTS == UVSIM_MAX_ATTEMPTS || engine::ATTEMPTS == 0);

/// A touch of a secure frame.
#[repr(C)]
#[derive(Debug)]
pub struct uvsim_fault {
    /// The machine.
    pub machine: *mut uvsim_machine,
    /// The CPU of it that this thread has started; null if there is none. If there are several, one of them.
    pub cpu: *mut uvsim_cpu,
    /// The pointer that was used.
    pub address: *mut c_void,
    /// The absolute address behind it.
    pub absolute: u64,
    /// The interruption: 0x3d, with the TEID that `uvsim_load` or `uvsim_store` would give for this pointer.
    pub interruption: uvsim_interruption,
    /// 1: a store; 0: a load.
    pub is_store: u32,
    /// How often the callback has been asked about this access before.
    pub attempt: u32,
}

const _: () = assert!(size_of::<uvsim_fault>() == 56);

/// Is asked to make a frame accessible; answers `UVSIM_RETRY` or `UVSIM_DELIVER`.
pub type uvsim_secure_access_fn = Option<unsafe extern "C" fn(user: *mut c_void, fault: *const uvsim_fault) -> c_int>;

/// A place to which interruptions are delivered. In C, a `jmp_buf` named `buffer` follows, whose size only C knows.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct uvsim_landing {
    /// The library's own.
    pub previous: *mut uvsim_landing,
    /// The library's own.
    pub mark: usize,
    /// What was delivered.
    pub interruption: uvsim_interruption,
    /// The pointer that was used.
    pub address: *mut c_void,
    /// The absolute address behind it.
    pub absolute: u64,
    /// Zeros.
    pub reserved: [u64; 2],
}

const _: () = assert!(size_of::<uvsim_landing>() == 64);

/// The pointer to an absolute address in the host view. Null if there is no view, or no such storage; then the last
/// error says which. The view is one stretch: the pointer to another address lies as far away as that address.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_va(machine: *mut uvsim_machine, absolute: u64) -> *mut c_void {
    let mut pointer = null_mut();
    on_machine(machine, |room| {
        let found = view(room)?.pointer(AbsoluteAddress(absolute));
        pointer = found.ok_or_else(|| Fault::argument(format!("{absolute:#x} lies beyond the end of storage")))?;
        Ok(UVSIM_OK)
    });
    pointer
}

/// The absolute address behind a pointer.
///
/// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_E_ARGUMENT` (the pointer does not lead into the host view of
/// this machine); `UVSIM_OK`.
///
/// # Safety
/// `absolute` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_pa(machine: *mut uvsim_machine, pointer: *const c_void, absolute: *mut u64) -> c_int {
    on_machine(machine, |room| {
        let found = view(room)?.absolute(pointer);
        let found = found.ok_or_else(|| Fault::argument(format!("{pointer:p} does not lead into the host view")))?;
        if !absolute.is_null() {
            // SAFETY: it is not null, so the caller says that it is writable.
            unsafe { absolute.write_unaligned(found.0) };
        }
        Ok(UVSIM_OK)
    })
}

/// Asks `callback` about every touch of a secure frame in the host view from now on, in place of whom it asked before;
/// nobody if it is null.
///
/// The callback runs on the thread that has touched the frame, above the code that did, on the same stack. It may call
/// the library, with CPUs of this thread that are in the middle of nothing. It may touch secure frames itself; then it is
/// asked again before it has returned, eight times at most. It may leave by `longjmp`. What was interrupted may be
/// any function that was given a pointer into the view, such as `memcpy`; functions that must not be called in a signal
/// handler are safe to call unless it is one of them that was interrupted.
///
/// It is not asked about pointers that were given to the library itself, but for `uvsim_try_copy`.
///
/// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_OK`.
///
/// # Safety
/// `callback` can be called with `user`, on all threads that touch the view, until another one takes its place; and a
/// while longer on threads that are about to call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_on_secure_access(
    machine: *mut uvsim_machine,
    callback: uvsim_secure_access_fn,
    user: *mut c_void,
) -> c_int {
    on_machine(machine, |room| {
        let user = user.expose_provenance();
        view(room)?.set_callback(callback.map(|function| engine::Callback { function, user }));
        Ok(UVSIM_OK)
    })
}

/// Whether the host view keeps the host away from secure frames.
///
/// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_E_SYSTEM` (the system has refused a change, most likely because
/// the process has too many mappings: since then touches of secure frames go unseen in this view; all else works);
/// `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_view_status(machine: *mut uvsim_machine) -> c_int {
    on_machine(machine, |room| {
        view(room)?;
        match room.machine.host_view_failed() {
            Some(kind) => {
                Err(Fault::new(UVSIM_E_SYSTEM, format!("the system has refused to change the host view: {kind}")))
            }
            None => Ok(UVSIM_OK),
        }
    })
}

/// Copies `length` bytes, as `memcpy` does, but comes back from whatever it meets. Both pointers may lead into a host view,
/// of the same machine or of two, or be plain memory of the process. For secure frames the callback is asked first.
///
/// Every page of the source and then of the destination is touched before a byte is copied. So a copy that was stopped has
/// changed nothing, unless another thread took a page away while it ran; then a first part of it has been copied.
///
/// `cpu` is null, or a CPU of this thread; it is checked and has no other meaning.
///
/// Answers: those of every function if `cpu` is not null; `UVSIM_E_NO_VIEW` (not on this system); `UVSIM_E_SYSTEM` (no handler
/// could be installed); `UVSIM_E_ARGUMENT` (a pointer leads to no memory, or to memory that cannot be read or written);
/// `UVSIM_INTERRUPTED` (0x3d); `UVSIM_OK`.
///
/// # Safety
/// What `destination` leads to may be stored to, if it can be. `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_try_copy(
    cpu: *mut uvsim_cpu,
    destination: *mut c_void,
    source: *const c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    if !cpu.is_null() {
        let checked = on_cpu(cpu, |_| Ok(UVSIM_OK));
        if checked != UVSIM_OK {
            return checked;
        }
    }
    if let Err(kind) = engine::prepare() {
        let code = if kind == std::io::ErrorKind::Unsupported { UVSIM_E_NO_VIEW } else { UVSIM_E_SYSTEM };
        return answer(|| Err(Fault::new(code, format!("no handler of faults: {kind}"))));
    }
    // Not in `answer`: the callback may call in.
    // SAFETY: the caller vouches for the destination; whether it is there, the copy finds out.
    match unsafe { engine::copy(destination.cast(), source.cast(), length) } {
        Ok(()) => UVSIM_OK,
        // SAFETY: the caller says that the place is null or writable.
        Err(engine::Stop::Interruption(found)) => unsafe { interrupted(found, interruption) },
        Err(engine::Stop::BadPointer) => answer(|| {
            let detail = format!("cannot copy {length} bytes from {source:p} to {destination:p}");
            Err(Fault::argument(detail))
        }),
    }
}

/// Makes a landing the newest of this thread, and returns it; use the macro `UVSIM_TRY`. From now on until `uvsim_landing_pop`,
/// or until something was delivered to it, it must stay where it is.
///
/// # Safety
/// `landing` leads to a `uvsim_landing`. Its `buffer` is filled by `setjmp` before the host view is touched next.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_landing_push(landing: *mut uvsim_landing) -> *mut uvsim_landing {
    // SAFETY: the caller vouches for it.
    unsafe { engine::push(landing) };
    landing
}

/// Takes a landing, and all that are newer, out of use. One that something was delivered to is out of use already.
///
/// Answers: `UVSIM_E_ARGUMENT` (it is not in use on this thread); `UVSIM_OK`.
///
/// # Safety
/// Landings that are in use on this thread are still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_landing_pop(landing: *mut uvsim_landing) -> c_int {
    // SAFETY: the caller vouches for them.
    let found = unsafe { engine::pop(landing) };
    answer(|| if found { Ok(UVSIM_OK) } else { Err(Fault::argument("the landing is not in use on this thread")) })
}

/// Whether no byte of a stretch lies in a host view, so that touching it is no access to storage.
#[must_use]
pub fn is_plain(pointer: *const c_void, length: usize) -> bool {
    engine::is_plain(pointer, length)
}

/// Opens the host view of a machine to the handler, if it has one.
pub(crate) fn open(room: &Room) -> Result<(), Fault> {
    let Some(host_view) = room.machine.host_view() else { return Ok(()) };
    // SAFETY: the machine lies in the room, which does not move any more and drops the view first.
    let view = unsafe { View::open(&room.machine, room.number, host_view.base, host_view.size) };
    let view = view.map_err(|kind| Fault::new(UVSIM_E_SYSTEM, format!("no handler of faults: {kind}")))?;
    // There was none before.
    let _ = room.view.set(view);
    Ok(())
}

fn view(room: &Room) -> Result<&View, Fault> {
    room.view.get().ok_or_else(|| Fault::new(UVSIM_E_NO_VIEW, "the machine was made without UVSIM_HOST_VIEW"))
}
