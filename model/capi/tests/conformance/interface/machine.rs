//! Machines, events and the channel subsystem.

use super::super::events::{Queue, Told};
use super::{Cpu, done, told};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use model::address::AbsoluteAddress;
use model::cpu::ChannelRefusal;
use model::uvc::Command;
use model::{CpuError, Injection};
use std::ffi::{CStr, CString};
use std::sync::Arc;
use uvsim_capi::channel::{uvsim_channel_read, uvsim_channel_write};
use uvsim_capi::cpu::uvsim_cpu_start;
use uvsim_capi::event::{uvsim_event, uvsim_on_event};
use uvsim_capi::inject::{UVSIM_INJECT_BUSY, UVSIM_INJECT_LATE_FAILURE, UVSIM_INJECT_PARTIAL, uvsim_inject};
use uvsim_capi::inspect::Behind;
use uvsim_capi::machine::{uvsim_clock_advance, uvsim_machine, uvsim_machine_create, uvsim_machine_destroy};
use uvsim_capi::result::{UVSIM_E_ARGUMENT, UVSIM_E_OPERATING, UVSIM_OK, UVSIM_OUTSIDE, UVSIM_REFUSED};

/// A machine of the C interface.
#[derive(Debug)]
pub struct Machine {
    handle: *mut uvsim_machine,
    behind: Behind,
    /// What the callback adds to: it stays where it is as long as the machine.
    _events: Arc<Queue<Told>>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let answer = uvsim_machine_destroy(self.handle);
        if !std::thread::panicking() {
            done(answer);
        }
    }
}

impl Machine {
    /// Makes one from the text of its configuration. Its events go to `events`.
    pub fn create(config: &str, host_view: bool, events: Arc<Queue<Told>>) -> Self {
        let config = CString::new(config).expect("a text without zero bytes");
        let mut handle = null_mut();
        // SAFETY: the text ends with a zero byte; the place is a local variable.
        done(unsafe { uvsim_machine_create(config.as_ptr(), u32::from(host_view), &mut handle) });
        let behind = Behind::of(handle).expect("the handle is new");
        let user = Arc::as_ptr(&events).cast_mut().cast::<c_void>();
        // SAFETY: the callback gets a queue that lives as long as the machine, and may be used by all threads.
        done(unsafe { uvsim_on_event(handle, Some(add), user) });
        Self { handle, behind, _events: events }
    }

    /// The machine itself, to look at.
    pub fn behind(&self) -> &model::Machine {
        &self.behind
    }

    pub fn cpu(&self, number: u16) -> Result<Cpu, CpuError> {
        let mut cpu = null_mut();
        // SAFETY: the place is a local variable.
        match unsafe { uvsim_cpu_start(self.handle, number, &mut cpu) } {
            UVSIM_OK => Ok(Cpu(cpu)),
            UVSIM_E_ARGUMENT => Err(CpuError::NoSuchCpu { number, cpus: self.behind.config().cpus }),
            UVSIM_E_OPERATING => Err(CpuError::Operating(number)),
            other => panic!("{}", told(other)),
        }
    }

    pub fn advance_clock(&self, nanoseconds: u64) {
        done(uvsim_clock_advance(self.handle, nanoseconds));
    }

    pub fn inject(&self, command: Command, injection: Injection) {
        let (kind, count) = match injection {
            Injection::Busy(count) => (UVSIM_INJECT_BUSY, count),
            Injection::Partial(count) => (UVSIM_INJECT_PARTIAL, count),
            Injection::LateFailure => (UVSIM_INJECT_LATE_FAILURE, 0),
        };
        done(uvsim_inject(self.handle, command.code(), kind, count));
    }

    pub fn channel_read(&self, address: AbsoluteAddress, bytes: &mut [u8]) -> Result<(), ChannelRefusal> {
        let (mut failing, buffer) = (0, bytes.as_mut_ptr().cast::<c_void>());
        // SAFETY: the buffer is a slice that nobody else uses now; the place is a local variable.
        transferred(unsafe { uvsim_channel_read(self.handle, address.0, buffer, bytes.len(), &mut failing) }, failing)
    }

    pub fn channel_write(&self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), ChannelRefusal> {
        let (mut failing, buffer) = (0, bytes.as_ptr().cast::<c_void>());
        // SAFETY: the buffer is a slice; the place is a local variable.
        transferred(unsafe { uvsim_channel_write(self.handle, address.0, buffer, bytes.len(), &mut failing) }, failing)
    }
}

#[track_caller]
fn transferred(answer: c_int, failing: u64) -> Result<(), ChannelRefusal> {
    match answer {
        UVSIM_REFUSED => Err(ChannelRefusal::SecureFrame(AbsoluteAddress(failing))),
        UVSIM_OUTSIDE => Err(ChannelRefusal::OutsideStorage(AbsoluteAddress(failing))),
        _ => {
            done(answer);
            Ok(())
        }
    }
}

/// The event callback.
unsafe extern "C-unwind" fn add(user: *mut c_void, event: *const uvsim_event) {
    // SAFETY: the library calls this with the queue that was given to it, and an event that is there meanwhile.
    let (events, event) = unsafe { (&*user.cast::<Queue<Told>>(), &*event) };
    // SAFETY: rules are texts that end with a zero byte.
    let rule = unsafe { CStr::from_ptr(event.rule) }.to_owned();
    let uvsim_event { kind, command, rc, rrc, cpu, cc, guest, frame, from, to, lost, .. } = *event;
    events.add(Told { rule, kind, command, rc, rrc, cpu, cc, guest, frame, from, to, lost });
}
