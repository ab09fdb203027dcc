//! What a guest does while its CPU is in SIE.
//!
//! Addresses are guest real ones. An action may end with an interruption of the guest itself, which stays in SIE
//! (`UVSIM_INTERRUPTED`), or with an exit (`UVSIM_EXIT`). After an exit every action gives the same answer, until
//! `uvsim_sie_leave`.

use crate::cpu::{Station, on_cpu, shown, uvsim_cpu};
use crate::event::deliver;
use crate::result::{Fault, UVSIM_EXIT, UVSIM_INTERRUPTED, UVSIM_OK};
use crate::sie::{told, uvsim_exit};
use crate::storage::{put, readable, writable};
use std::ffi::{c_int, c_void};
use uvsim_model::Psw;
use uvsim_model::address::GuestAddress;
use uvsim_model::cpu::{Diagnose, GuestCpu, GuestEvent, ServiceCall, Sigp, Uvc};

/// Registers of a guest CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_guest_registers {
    /// Mask of the PSW.
    pub psw_mask: u64,
    /// Address of the PSW.
    pub psw_address: u64,
    /// Prefix.
    pub prefix: u64,
    /// General registers.
    pub general: [u64; 16],
    /// Control registers.
    pub control: [u64; 16],
    /// Access registers.
    pub access: [u32; 16],
    /// CPU timer, in units of 1/4096 µs.
    pub cpu_timer: u64,
    /// Clock comparator.
    pub clock_comparator: u64,
    /// Floating-point control register.
    pub floating_point_control: u32,
    /// TOD programmable register.
    pub tod_programmable: u32,
    /// Number of the CPU in its configuration.
    pub number: u16,
    /// Zeros.
    pub reserved: [u16; 3],
}

const _: () = assert!(size_of::<uvsim_guest_registers>() == 376);

/// The guest loads `length` bytes.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_E_NULL` (`buffer` is null, though there is a length);
/// `UVSIM_E_ARGUMENT` (no object is as long, or it lies in a host view); `UVSIM_INTERRUPTED`, `UVSIM_EXIT` (nothing has been
/// loaded); `UVSIM_OK`.
///
/// # Safety
/// `buffer` leads to `length` writable bytes; `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_load(
    cpu: *mut uvsim_cpu,
    address: u64,
    buffer: *mut c_void,
    length: usize,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the buffer is writable, and the place null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.load(GuestAddress(address), writable(buffer, length)?))) }
}

/// The guest stores `length` bytes.
///
/// Answers: as `uvsim_guest_load`.
///
/// # Safety
/// `buffer` leads to `length` readable bytes; `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_store(
    cpu: *mut uvsim_cpu,
    address: u64,
    buffer: *const c_void,
    length: usize,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the buffer is readable, and the place null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.store(GuestAddress(address), readable(buffer, length)?))) }
}

/// PREFETCH DATA: may form a translation, and does nothing else.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_guest_prefetch(cpu: *mut uvsim_cpu, address: u64) -> c_int {
    on_cpu(cpu, |station| {
        station.guest()?.prefetch(GuestAddress(address));
        Ok(UVSIM_OK)
    })
}

/// ULTRAVISOR CALL of the guest, as `uvsim_uvc`.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (5); the condition code, 0 to 3.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn uvsim_guest_uvc(cpu: *mut uvsim_cpu, r1: u64, r2: u64, exit: *mut uvsim_exit) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    let ended = unsafe { call(cpu, Uvc { r1, r2, m3: 0, m4: 0 }, exit) };
    deliver();
    ended
}

/// The same with values in the two fields of the instruction that must be zero.
///
/// Answers: as `uvsim_guest_uvc`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn uvsim_guest_uvc_with(
    cpu: *mut uvsim_cpu,
    r1: u64,
    r2: u64,
    m3: u8,
    m4: u8,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: what the caller says of the place is passed on.
    let ended = unsafe { call(cpu, Uvc { r1, r2, m3, m4 }, exit) };
    deliver();
    ended
}

/// DIAGNOSE with a function code, on the general registers. `r1` and `r3` are numbers of registers.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_diagnose(
    cpu: *mut uvsim_cpu,
    function: u16,
    r1: u8,
    r3: u8,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.diagnose(Diagnose { function, r1, r3 }))) }
}

/// SIGNAL PROCESSOR: order, CPU address and parameter.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_sigp(
    cpu: *mut uvsim_cpu,
    order: u8,
    target: u16,
    parameter: u64,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.sigp(Sigp { order, cpu: target, parameter }))) }
}

/// SERVICE CALL: command word and the real address of the control block.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_service_call(
    cpu: *mut uvsim_cpu,
    command: u32,
    block: u64,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.service_call(ServiceCall { command, block: GuestAddress(block) }))) }
}

/// SET PREFIX.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_set_prefix(cpu: *mut uvsim_cpu, prefix: u64, exit: *mut uvsim_exit) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.set_prefix(prefix))) }
}

/// LOAD PSW EXTENDED.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (the PSW is loaded); `UVSIM_OK`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_load_psw(
    cpu: *mut uvsim_cpu,
    mask: u64,
    address: u64,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.load_psw(Psw { mask, address }))) }
}

/// LOAD CONTROL on one register; of its number the low four bits count.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (the register is loaded);
/// `UVSIM_OK`.
///
/// # Safety
/// `exit` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_load_control(
    cpu: *mut uvsim_cpu,
    number: u8,
    value: u64,
    exit: *mut uvsim_exit,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    unsafe { act(cpu, exit, |guest| Ok(guest.load_control(number, value))) }
}

/// Loads a general register; of its number the low four bits count. After an exit nothing is loaded.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_guest_set_general(cpu: *mut uvsim_cpu, number: u8, value: u64) -> c_int {
    on_cpu(cpu, |station| {
        station.guest()?.set_general(number, value);
        Ok(UVSIM_OK)
    })
}

/// Loads an access register, as `uvsim_guest_set_general`.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_guest_set_access(cpu: *mut uvsim_cpu, number: u8, value: u32) -> c_int {
    on_cpu(cpu, |station| {
        station.guest()?.set_access(number, value);
        Ok(UVSIM_OK)
    })
}

/// The guest enters problem state (`on` is not 0) or leaves it, for this stay in SIE.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_guest_set_problem_state(cpu: *mut uvsim_cpu, on: c_int) -> c_int {
    on_cpu(cpu, |station| {
        station.guest()?.set_problem_state(on != 0);
        Ok(UVSIM_OK)
    })
}

/// The registers of the guest CPU.
///
/// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_E_NULL` (`registers` is null); `UVSIM_OK`.
///
/// # Safety
/// `registers` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_guest_registers(cpu: *mut uvsim_cpu, registers: *mut uvsim_guest_registers) -> c_int {
    on_cpu(cpu, |station| {
        let guest = station.guest()?;
        if registers.is_null() {
            return Err(Fault::null("the place for the registers"));
        }
        let (found, number) = (guest.registers(), guest.number());
        let shown = uvsim_guest_registers {
            psw_mask: found.psw.mask,
            psw_address: found.psw.address,
            prefix: found.prefix,
            general: found.general,
            control: found.control,
            access: found.access,
            cpu_timer: found.cpu_timer,
            clock_comparator: found.clock_comparator,
            floating_point_control: found.floating_point_control,
            tod_programmable: found.tod_programmable,
            number,
            reserved: [0; 3],
        };
        // SAFETY: the caller says that the place is null or writable.
        unsafe { put(registers, shown) };
        Ok(UVSIM_OK)
    })
}

/// # Safety
/// `exit` is null or writable.
unsafe fn call(cpu: *mut uvsim_cpu, instruction: Uvc, exit: *mut uvsim_exit) -> c_int {
    on_cpu(cpu, |station| match station.guest()?.uvc(instruction) {
        Ok(cc) => Ok(cc as c_int),
        // SAFETY: the caller says that the place is null or writable.
        Err(event) => Ok(unsafe { ended(station, event, exit) }),
    })
}

/// Lets the guest do one thing.
///
/// # Safety
/// `exit` is null or writable.
#[inline(always)]
unsafe fn act(
    cpu: *mut uvsim_cpu,
    exit: *mut uvsim_exit,
    action: impl FnOnce(&mut GuestCpu<'static, 'static>) -> Result<Result<(), GuestEvent>, Fault>,
) -> c_int {
    on_cpu(cpu, |station| match action(station.guest()?)? {
        Ok(()) => Ok(UVSIM_OK),
        // SAFETY: the caller says that the place is null or writable.
        Err(event) => Ok(unsafe { ended(station, event, exit) }),
    })
}

/// # Safety
/// `exit` is null or writable.
#[cold]
unsafe fn ended(station: &mut Station, event: GuestEvent, exit: *mut uvsim_exit) -> c_int {
    let (answer, found) = match event {
        GuestEvent::Program(found) => {
            (UVSIM_INTERRUPTED, uvsim_exit { interruption: shown(found), ..uvsim_exit::default() })
        }
        GuestEvent::Exit(found) => {
            station.left = Some(found);
            (UVSIM_EXIT, told(found))
        }
    };
    // SAFETY: the caller says that the place is null or writable.
    unsafe { put(exit, found) };
    answer
}
