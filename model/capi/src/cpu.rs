//! CPUs: started, stopped, and their registers. A CPU belongs to the thread that has started it.

use crate::handle::{Kind, Slot, Table};
use crate::machine::{Room, on_machine, uvsim_machine};
use crate::raw;
use crate::result::{
    Fault, UVSIM_E_ARGUMENT, UVSIM_E_IN_SIE, UVSIM_E_INTERNAL, UVSIM_E_OPERATING, UVSIM_E_REENTERED, UVSIM_E_THREAD,
    UVSIM_INTERRUPTED, UVSIM_OK, answer, caught,
};
use crate::thread;
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::ffi::c_int;
use std::sync::Arc;
use uvsim_model::CpuError;
use uvsim_model::cpu::{GuestCpu, HostCpu, SieExit};
use uvsim_model::storage::{Asce, ProgramInterruption};

/// A host CPU. What a pointer to it holds is a number: it is never dereferenced.
#[derive(Debug)]
pub struct uvsim_cpu(());

/// Most CPUs that are started at one time, over all machines.
pub const UVSIM_MAX_STARTED: usize = 4096;

/// A program interruption.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_interruption {
    /// The interruption code.
    pub code: u16,
    /// Zeros.
    pub reserved: [u16; 3],
    /// The translation-exception identification; 0 where the code has none.
    pub teid: u64,
}

/// Registers of a host CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_registers {
    /// Control register 1.
    pub primary: u64,
    /// Control register 13.
    pub home: u64,
    /// Prefix register.
    pub prefix: u64,
    /// 1 in problem state.
    pub problem_state: u8,
    /// 1 if addresses are translated.
    pub translation: u8,
    /// Zeros.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<uvsim_interruption>() == 16 && size_of::<uvsim_registers>() == 32);

/// Starts a CPU of a machine. It operates until it is stopped, and belongs to this thread.
///
/// If the thread ends before, the CPU is stopped then. A CPU that is stopped keeps its registers and its translation buffer.
///
/// Answers: those of every function; `UVSIM_E_NULL` (`cpu` is null); `UVSIM_E_THREAD` (the thread is about to end);
/// `UVSIM_E_ARGUMENT` (the machine has no CPU of this number); `UVSIM_E_OPERATING` (it is started already);
/// `UVSIM_E_SYSTEM` (`UVSIM_MAX_STARTED` are); `UVSIM_OK`.
///
/// # Safety
/// `cpu` is null or leads to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_cpu_start(machine: *mut uvsim_machine, number: u16, cpu: *mut *mut uvsim_cpu) -> c_int {
    on_machine(machine, |room| {
        if cpu.is_null() {
            return Err(Fault::null("the place for the handle"));
        }
        thread::check_alive()?;
        let station = Station::start(Arc::clone(room), number)?;
        let claim = CPUS.claim()?;
        let place = claim.content();
        place.owner.store(thread::token(), Ordering::Relaxed);
        place.busy.store(false, Ordering::Relaxed);
        place.station.store(Box::into_raw(station), Ordering::Relaxed);
        let number = claim.open();
        thread::keep(number);
        raw::cpu_started(room.number, number);
        // SAFETY: it is not null, so the caller says that it is writable.
        unsafe { cpu.write_unaligned(without_provenance_mut(number as usize)) };
        Ok(UVSIM_OK)
    })
}

/// Stops a CPU. If it is in SIE, it leaves first. One of a lost machine is stopped as well; what it holds of memory stays
/// with the process.
///
/// Answers: those of every function but `UVSIM_E_LOST`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_cpu_stop(cpu: *mut uvsim_cpu) -> c_int {
    answer(|| {
        let number = cpu.addr() as u64;
        let place = own_place(number)?;
        // SAFETY: this thread is the owner, so nobody else uses the station or ends its life; it is not busy.
        unsafe { &*place.station.load(Ordering::Relaxed) }.room.check_walks()?;
        end(number, place);
        thread::forget(number);
        Ok(UVSIM_OK)
    })
}

/// Enters problem state (`on` is not 0) or leaves it.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_set_problem_state(cpu: *mut uvsim_cpu, on: c_int) -> c_int {
    on_host(cpu, |host| {
        host.set_problem_state(on != 0);
        Ok(UVSIM_OK)
    })
}

/// Switches translation in home space on (`on` is not 0) or off.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_set_translation(cpu: *mut uvsim_cpu, on: c_int) -> c_int {
    on_host(cpu, |host| {
        host.set_translation(on != 0);
        Ok(UVSIM_OK)
    })
}

/// Makes the process itself home space (`on` is not 0), or ends that; a CPU starts without. While it lasts, virtual operands of
/// this CPU are pointers, whatever its registers say: addresses of loads and stores, control blocks, headers, areas. Pointers
/// into the host view name absolute storage and are checked; others are plain memory of the process. A bad pointer is a
/// page-translation exception. What is donated, and a state description, must lie in the host view.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
///
/// # Safety
/// As long as it is on, what this CPU is told to load from or store to is memory that may be used so, or that the system
/// refuses to touch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_set_native(cpu: *mut uvsim_cpu, on: c_int) -> c_int {
    on_cpu(cpu, |station| {
        // SAFETY: the caller says so.
        unsafe { station.host()?.set_native(on != 0) };
        station.native = on != 0;
        Ok(UVSIM_OK)
    })
}

/// Loads control register 1: in SIE the space of the guest.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_set_primary(cpu: *mut uvsim_cpu, asce: u64) -> c_int {
    on_host(cpu, |host| {
        host.set_primary(Asce(asce));
        Ok(UVSIM_OK)
    })
}

/// Loads control register 13: the space of the host itself.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_set_home(cpu: *mut uvsim_cpu, asce: u64) -> c_int {
    on_host(cpu, |host| {
        host.set_home(Asce(asce));
        Ok(UVSIM_OK)
    })
}

/// SET PREFIX. Bits 33 to 50 of the operand count.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED` (0x05, addressing); `UVSIM_OK`.
///
/// # Safety
/// `interruption` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_set_prefix(
    cpu: *mut uvsim_cpu,
    prefix: u64,
    interruption: *mut uvsim_interruption,
) -> c_int {
    // SAFETY: the caller says that the place is null or writable.
    on_host(cpu, |host| Ok(unsafe { ended(host.set_prefix(prefix), interruption) }))
}

/// The registers.
///
/// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_NULL` (`registers` is null); `UVSIM_OK`.
///
/// # Safety
/// `registers` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_registers(cpu: *mut uvsim_cpu, registers: *mut uvsim_registers) -> c_int {
    on_host(cpu, |host| {
        if registers.is_null() {
            return Err(Fault::null("the place for the registers"));
        }
        let found = host.registers();
        let shown = uvsim_registers {
            primary: found.primary.0,
            home: found.home.0,
            prefix: found.prefix,
            problem_state: found.problem_state.into(),
            translation: found.translation.into(),
            reserved: [0; 6],
        };
        // SAFETY: it is not null, so the caller says that it is writable.
        unsafe { registers.write_unaligned(shown) };
        Ok(UVSIM_OK)
    })
}

/// A started CPU.
pub(crate) struct Station {
    /// In SIE. It borrows `host`: while it is there, nobody else touches that.
    pub(crate) guest: Option<GuestCpu<'static, 'static>>,
    /// Why the guest has left by itself.
    pub(crate) left: Option<SieExit>,
    /// Home space is the process.
    pub(crate) native: bool,
    /// Counts stays in SIE.
    pub(crate) stay: u64,
    /// From a box that this owns. It borrows the machine in `room`.
    pub(crate) host: *mut HostCpu<'static>,
    pub(crate) room: Arc<Room>,
}

/// A slot. Only the owner looks at the station; all others look at the owner only.
struct Place {
    /// Token of the thread that has started the CPU.
    owner: AtomicU64,
    /// A call is being worked on.
    busy: AtomicBool,
    station: AtomicPtr<Station>,
}

static CPUS: Table<Place, UVSIM_MAX_STARTED> =
    Table::new(Kind::Cpu, [const { Slot::new(Place::new()) }; UVSIM_MAX_STARTED]);

impl Place {
    const fn new() -> Self {
        Self { owner: AtomicU64::new(0), busy: AtomicBool::new(false), station: AtomicPtr::new(null_mut()) }
    }
}

impl Station {
    fn start(room: Arc<Room>, number: u16) -> Result<Box<Self>, Fault> {
        room.join()?;
        // SAFETY: the machine lies in an `Arc` that this station holds until after `host` is gone.
        let kept: &'static Room = unsafe { &*Arc::as_ptr(&room) };
        match kept.machine.cpu(number) {
            Ok(host) => {
                let host = Box::into_raw(Box::new(host));
                Ok(Box::new(Self { guest: None, left: None, native: false, stay: 0, host, room }))
            }
            Err(error) => {
                room.part();
                let code = match error {
                    CpuError::NoSuchCpu { .. } => UVSIM_E_ARGUMENT,
                    CpuError::Operating(_) => UVSIM_E_OPERATING,
                };
                Err(Fault::new(code, error.to_string()))
            }
        }
    }

    /// The CPU, which is not in SIE.
    #[inline]
    pub(crate) fn host(&mut self) -> Result<&mut HostCpu<'static>, Fault> {
        if self.guest.is_some() {
            return Err(Fault::new(UVSIM_E_IN_SIE, "the CPU is in SIE: first comes uvsim_sie_leave"));
        }
        // SAFETY: the box lives as long as this; there is no guest that borrows it, and `self` is borrowed mutably.
        Ok(unsafe { &mut *self.host })
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.guest = None;
        // SAFETY: it comes from a box, is dropped once, and nobody borrows it any more.
        drop(unsafe { Box::from_raw(self.host) });
        self.room.part();
    }
}

/// Runs what stands behind a function of CPUs.
#[inline(always)]
pub(crate) fn on_cpu(cpu: *mut uvsim_cpu, work: impl FnOnce(&mut Station) -> Result<c_int, Fault>) -> c_int {
    let place = match own_place(cpu.addr() as u64) {
        Ok(place) => place,
        Err(fault) => return fault.tell(),
    };
    // SAFETY: this thread is the owner, so nobody else uses the station or ends its life; it is not busy, so neither does
    // a caller of this function.
    let station = unsafe { &mut *place.station.load(Ordering::Relaxed) };
    if let Err(fault) = station.room.check_usable() {
        return fault.tell();
    }
    place.busy.store(true, Ordering::Relaxed);
    let done = caught(|| work(station));
    place.busy.store(false, Ordering::Relaxed);
    match done {
        Some(Ok(code)) => code,
        Some(Err(fault)) => fault.tell(),
        None => {
            station.room.lost.store(true, Ordering::Release);
            UVSIM_E_INTERNAL
        }
    }
}

/// Runs what stands behind a function of CPUs that are not in SIE.
#[inline(always)]
pub(crate) fn on_host(cpu: *mut uvsim_cpu, work: impl FnOnce(&mut HostCpu<'static>) -> Result<c_int, Fault>) -> c_int {
    on_cpu(cpu, |station| work(station.host()?))
}

/// The slot of a CPU of this thread that is in the middle of nothing.
#[inline]
fn own_place(number: u64) -> Result<&'static Place, Fault> {
    let place = CPUS.find(number)?;
    if place.owner.load(Ordering::Relaxed) != thread::token() {
        return Err(Fault::new(UVSIM_E_THREAD, "another thread has started the CPU"));
    }
    // Another CPU of the machine may be the one whose call has not ended: `Room::check_usable`.
    if place.busy.load(Ordering::Relaxed) {
        return Err(Fault::new(
            UVSIM_E_REENTERED,
            "a call on the CPU has not ended: this one comes from a callback in it",
        ));
    }
    Ok(place)
}

/// Ends a CPU of this thread.
fn end(number: u64, place: &Place) {
    let station = place.station.load(Ordering::Relaxed);
    CPUS.close(number);
    raw::cpu_stopped(number);
    // SAFETY: it comes from a box; the owner, and nobody else, comes here once, for its handle is closed now.
    let station = unsafe { Box::from_raw(station) };
    if station.room.lost.load(Ordering::Acquire) {
        // Its state is unknown. That it is gone is all that counts.
        station.room.part();
        core::mem::forget(station);
    } else {
        drop(station);
    }
    CPUS.give_back(number);
}

/// The thread of this CPU ends.
pub(crate) fn abandon(number: u64) {
    // In the middle of a call that has never ended nothing can be taken down.
    let _ = caught(|| {
        let place = own_place(number)?;
        // SAFETY: this thread is the owner, so nobody else uses the station or ends its life; it is not busy.
        unsafe { &*place.station.load(Ordering::Relaxed) }.room.check_walks()?;
        end(number, place);
        Ok::<_, Fault>(())
    });
}

/// What an instruction has ended with.
///
/// # Safety
/// `interruption` is null or writable.
#[inline]
pub(crate) unsafe fn ended<T>(done: Result<T, ProgramInterruption>, interruption: *mut uvsim_interruption) -> c_int {
    match done {
        Ok(_) => UVSIM_OK,
        // SAFETY: passed on.
        Err(found) => unsafe { interrupted(found, interruption) },
    }
}

/// Fills in an interruption.
///
/// # Safety
/// `interruption` is null or writable.
#[cold]
pub(crate) unsafe fn interrupted(found: ProgramInterruption, interruption: *mut uvsim_interruption) -> c_int {
    if !interruption.is_null() {
        // SAFETY: it is not null, so the caller says that it is writable.
        unsafe { interruption.write_unaligned(shown(found)) };
    }
    UVSIM_INTERRUPTED
}

/// As a caller sees it.
pub(crate) fn shown(found: ProgramInterruption) -> uvsim_interruption {
    uvsim_interruption { code: found.code.number(), reserved: [0; 3], teid: found.teid.0 }
}
