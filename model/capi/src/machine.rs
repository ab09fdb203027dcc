//! Machines: made, asked, destroyed. All of this may be called from any thread.

use crate::event::Listener;
use crate::handle::{Kind, Slot, Table};
use crate::raw::{self, UVSIM_HOST_VIEW};
use crate::result::{
    Fault, UVSIM_E_CONFIG, UVSIM_E_DESTROYED, UVSIM_E_INTERNAL, UVSIM_E_LOST, UVSIM_E_OPERATING, UVSIM_E_REENTERED,
    UVSIM_OK, answer, caught,
};
use crate::translator::Walks;
use core::ptr::without_provenance_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::{Mutex, RwLock};
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Arc, OnceLock};
use uvsim::scenario::{ScenarioErrors, machine_config};
use uvsim_model::Machine;
use uvsim_model::config::MachineConfig;

/// A machine. What a pointer to it holds is a number: it is never dereferenced.
#[derive(Debug)]
pub struct uvsim_machine(());

/// Most machines that exist at one time.
pub const UVSIM_MAX_MACHINES: usize = 1024;

/// Makes a machine.
///
/// `config` is the `machine` node of the scenario language, or what stands between its braces, for example
/// `"storage \"1GiB\"; seed 7"`. Besides the settings of scenarios there is `byte-order`, `big` or `native`. Null stands
/// for a machine with all defaults. Key files that it names are read, relative to the working directory. `flags` is 0 or
/// `UVSIM_HOST_VIEW`.
///
/// Answers: `UVSIM_E_NULL` (`machine` is null); `UVSIM_E_ARGUMENT` (undefined flags, or `config` is not UTF-8);
/// `UVSIM_E_CONFIG` (the last error tells all that is wrong); `UVSIM_E_SYSTEM` (there are `UVSIM_MAX_MACHINES`);
/// `UVSIM_OK`.
///
/// # Safety
/// `config` is null or ends with a zero byte; `machine` is null or leads to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_machine_create(
    config: *const c_char,
    flags: u32,
    machine: *mut *mut uvsim_machine,
) -> c_int {
    answer(|| {
        if machine.is_null() {
            return Err(Fault::null("the place for the handle"));
        }
        if flags & !UVSIM_HOST_VIEW != 0 {
            return Err(Fault::argument(format!("{flags:#x} has flags that mean nothing")));
        }
        // SAFETY: the caller says that a configuration that is there ends with a zero byte.
        let config = (!config.is_null()).then(|| unsafe { CStr::from_ptr(config) });
        let host_view = flags & UVSIM_HOST_VIEW != 0;
        let config = MachineConfig { host_view, ..configuration(config)? };
        let made = Machine::new(config).map_err(|error| Fault::new(UVSIM_E_CONFIG, error.to_string()))?;
        let claim = MACHINES.claim()?;
        let number = claim.number();
        let room = Arc::new(Room::new(number, made));
        raw::open(&room)?;
        *claim.content().write() = Some(room);
        claim.open();
        // SAFETY: it is not null, so the caller says that it is writable.
        unsafe { machine.write_unaligned(without_provenance_mut(number as usize)) };
        Ok(UVSIM_OK)
    })
}

/// Destroys a machine. Other threads that are in the middle of a call on it come to their end undisturbed.
///
/// A machine that is lost can be destroyed as well; what it holds of memory stays with the process.
///
/// Answers: those of every function but `UVSIM_E_LOST`; `UVSIM_E_OPERATING` (a CPU is started); `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_machine_destroy(machine: *mut uvsim_machine) -> c_int {
    answer(|| {
        let number = machine.addr() as u64;
        let content = MACHINES.find(number)?;
        let Some(room) = content.read().clone().filter(|room| room.number == number) else {
            return Err(gone(number));
        };
        room.check_walks()?;
        room.close()?;
        MACHINES.close(number);
        let last = content.write().take();
        MACHINES.give_back(number);
        if room.lost.load(Ordering::Acquire) {
            core::mem::forget(last);
        }
        Ok(UVSIM_OK)
    })
}

/// Bytes of absolute storage.
///
/// Answers: those of every function; `UVSIM_OK`.
///
/// # Safety
/// `size` is null or writable. It may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_storage_size(machine: *mut uvsim_machine, size: *mut u64) -> c_int {
    on_machine(machine, |room| {
        if !size.is_null() {
            // SAFETY: it is not null, so the caller says that it is writable.
            unsafe { size.write_unaligned(room.machine.storage_size()) };
        }
        Ok(UVSIM_OK)
    })
}

/// Lets time pass on the clock of the machine, which nothing else moves. Guests pay for it with their CPU timers.
///
/// Answers: those of every function; `UVSIM_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn uvsim_clock_advance(machine: *mut uvsim_machine, nanoseconds: u64) -> c_int {
    on_machine(machine, |room| {
        room.machine.advance_clock(nanoseconds);
        Ok(UVSIM_OK)
    })
}

fn configuration(text: Option<&CStr>) -> Result<MachineConfig, Fault> {
    let Some(text) = text else { return Ok(MachineConfig::default()) };
    let text = text.to_str().map_err(|error| Fault::argument(format!("the configuration is not UTF-8: {error}")))?;
    machine_config(text).map_err(|errors| Fault::new(UVSIM_E_CONFIG, told(&errors)))
}

/// All errors, one a line.
fn told(errors: &ScenarioErrors) -> String {
    let line = |error: &uvsim::scenario::ScenarioError| {
        let place = error.place.map(|place| format!("line {}, column {}: ", place.line, place.column));
        let help = error.help.as_ref().map(|help| format!(" ({help})"));
        format!("{}{}{}", place.unwrap_or_default(), error.message, help.unwrap_or_default())
    };
    errors.errors().iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A machine, and what the interface keeps of it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) number: u64,
    /// The host view, as handlers see it. Before the machine: it goes first.
    pub(crate) view: OnceLock<raw::View>,
    pub(crate) machine: Machine,
    /// An internal error has left it in an unknown state.
    pub(crate) lost: AtomicBool,
    started: Mutex<Started>,
    pub(crate) listener: Listener,
    pub(crate) walks: Arc<Walks>,
}

#[derive(Debug, Default)]
struct Started {
    cpus: usize,
    closed: bool,
}

static MACHINES: Table<RwLock<Option<Arc<Room>>>, UVSIM_MAX_MACHINES> =
    Table::new(Kind::Machine, [const { Slot::new(RwLock::new(None)) }; UVSIM_MAX_MACHINES]);

impl Room {
    fn new(number: u64, machine: Machine) -> Self {
        let (started, listener, walks) = (Mutex::default(), Listener::default(), Arc::default());
        Self { number, view: OnceLock::new(), machine, lost: AtomicBool::new(false), started, listener, walks }
    }

    /// Another CPU is started.
    pub(crate) fn join(&self) -> Result<(), Fault> {
        let mut started = self.started.lock();
        if started.closed {
            return Err(gone(self.number));
        }
        started.cpus += 1;
        Ok(())
    }

    /// A CPU is stopped.
    pub(crate) fn part(&self) {
        self.started.lock().cpus -= 1;
    }

    /// No CPU is started from now on.
    fn close(&self) -> Result<(), Fault> {
        let mut started = self.started.lock();
        match started.cpus {
            _ if started.closed => Err(gone(self.number)),
            0 => {
                started.closed = true;
                Ok(())
            }
            cpus => Err(Fault::new(UVSIM_E_OPERATING, format!("{cpus} CPUs of the machine are started"))),
        }
    }

    /// Whether calls on the machine can be worked on.
    #[inline]
    pub(crate) fn check_usable(&self) -> Result<(), Fault> {
        self.check_walks()?;
        if self.lost.load(Ordering::Acquire) {
            return Err(Fault::new(UVSIM_E_LOST, "an internal error has left the machine in an unknown state"));
        }
        Ok(())
    }

    /// Whether this thread is not in the middle of a call on the machine.
    #[inline]
    pub(crate) fn check_walks(&self) -> Result<(), Fault> {
        if self.walks.are_here() {
            let detail = "a translator of the machine calls in, or has never returned";
            return Err(Fault::new(UVSIM_E_REENTERED, detail));
        }
        Ok(())
    }
}

/// The machine behind a handle. It stays as long as somebody has it.
pub(crate) fn room(machine: *mut uvsim_machine) -> Result<Arc<Room>, Fault> {
    let number = machine.addr() as u64;
    let found = MACHINES.find(number)?.read().clone();
    // The slot may have become another machine's in between.
    let room = found.filter(|room| room.number == number).ok_or_else(|| gone(number))?;
    room.check_usable()?;
    Ok(room)
}

/// Runs what stands behind a function of machines.
pub(crate) fn on_machine(machine: *mut uvsim_machine, work: impl FnOnce(&Arc<Room>) -> Result<c_int, Fault>) -> c_int {
    let room = match caught(|| room(machine)) {
        Some(Ok(room)) => room,
        Some(Err(fault)) => return fault.tell(),
        None => return UVSIM_E_INTERNAL,
    };
    match caught(|| work(&room)) {
        Some(Ok(code)) => code,
        Some(Err(fault)) => fault.tell(),
        None => {
            room.lost.store(true, Ordering::Release);
            UVSIM_E_INTERNAL
        }
    }
}

fn gone(number: u64) -> Fault {
    Fault::new(UVSIM_E_DESTROYED, format!("the machine behind handle {number:#x} is gone"))
}
