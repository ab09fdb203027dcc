//! Policy: what the Ultravisor does. One file per capability, one function per command.
//!
//! Every function validates in the documented order, then commits; a refused call has changed nothing
//! (I-18). Locks are try-locks, taken in the order configuration (shared) → page row → frame; a
//! conflict is condition code 2.

mod boot;
mod configuration;
mod cpu;
mod donation;
mod handles;
mod injection;
mod journal;
mod paging;
mod query;
mod reset;
mod rows;
mod sharing;
mod snapshot;

pub(crate) use boot::Boot;
pub use boot::Image;
pub(crate) use configuration::{Configuration, Life};
pub(crate) use cpu::{CpuReset, CpuStatus, Outstanding, ResetProtocol, SecureCpu};
pub use cpu::{GuestRegisters, Psw, RunState};
pub(crate) use donation::Area;
pub(crate) use handles::{Objects, Recent};
pub use injection::Injection;
pub use query::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, CPU_STORAGE_LENGTH,
    MAX_CPU_NUMBER, MAX_GUEST_ADDRESS, UV_BASE_LENGTH,
};
pub use reset::Reset;
pub use rows::PageRecord;
pub(crate) use sharing::Unshared;
pub(crate) use snapshot::KeptFirmware;

use crate::address::{AbsoluteAddress, FrameNumber, VirtualAddress};
use crate::config::MachineConfig;
use crate::crypto::HostKeys;
use crate::event::{Event, Events};
use crate::seed::Seed;
use crate::storage::arena::{FrameLock, RequestorNumber};
use crate::storage::{FrameState, Storage};
use crate::uvc::{Block, Command, HandleKind, InstalledCalls, Refusal, Response};
use core::sync::atomic::{AtomicBool, Ordering};
use injection::{Injected, Injections};
use journal::Journal;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// The Ultravisor of one machine.
#[derive(Debug)]
pub(crate) struct Ultravisor {
    config: MachineConfig,
    host_calls: InstalledCalls,
    guest_calls: InstalledCalls,
    initialised: AtomicBool,
    base: Mutex<Area>,
    objects: Objects,
    injections: Injections,
    journal: Arc<Journal>,
    events: Events,
    /// Made when first needed: many machines never open a header.
    host_keys: OnceLock<HostKeys>,
}

/// What the Ultravisor asks of the CPU that issues a host call: its home space and its prefix.
pub(crate) trait HomeSpace {
    /// The frame behind a virtual operand, through the issuer's translation buffer (D57).
    ///
    /// # Errors
    /// 0x30 real-space ASCE, 0x31 translation exception, 0x32 outside storage.
    fn frame(&mut self, address: VirtualAddress) -> Result<FrameNumber, Refusal>;

    /// Reads an operand buffer as the issuer would. `false` if any byte is out of reach.
    fn read(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> bool;

    /// The issuer, for the accesses that the Ultravisor makes in its name.
    fn requestor(&self) -> RequestorNumber;

    /// Prefix of the issuer.
    fn prefix(&self) -> AbsoluteAddress;

    /// Whether another host CPU is in the operating state.
    fn others_operate(&self) -> bool;
}

/// One host call in progress.
pub(crate) struct Call<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) home: &'a mut dyn HomeSpace,
    pub(crate) block: &'a mut Block,
    /// The frames that hold the control block (D5). A block longer than a page never reaches a command
    /// that changes frames, so two are enough.
    pub(crate) block_frames: [FrameNumber; 2],
}

impl Call<'_> {
    fn block_lies_in(&self, frame: FrameNumber) -> bool {
        self.block_frames.contains(&frame)
    }
}

/// Why a call does not end with condition code 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Condition code 1; nothing has changed.
    Refused(Refusal),
    /// Condition code 1 with outputs: rc 0x0100, or the 0x8000 flag (D4).
    Remark(Refusal),
    /// Condition code 2.
    Busy,
    /// Condition code 3.
    Partial,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A finished call: the rule it followed.
pub(crate) type CallResult = Result<&'static str, Stop>;

fn refuse<T>(rc: u16, rule: &'static str) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::new(rc, rule)))
}

impl Ultravisor {
    pub(crate) fn new(config: &MachineConfig) -> Self {
        let (host_calls, guest_calls) = query::installed(config);
        Self {
            config: config.clone(),
            host_calls,
            guest_calls,
            initialised: AtomicBool::new(false),
            base: Mutex::new(Area::default()),
            objects: Objects::new(Seed(config.seed)),
            injections: Injections::default(),
            journal: Arc::default(),
            events: Events::default(),
            host_keys: OnceLock::new(),
        }
    }

    /// The keys under which this machine opens headers.
    pub(crate) fn host_keys(&self) -> &HostKeys {
        self.host_keys.get_or_init(|| self.config.host_keys())
    }

    pub(crate) fn misc(&self) -> bool {
        self.config.misc()
    }

    pub(crate) fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::Acquire)
    }

    pub(crate) fn host_calls(&self) -> &InstalledCalls {
        &self.host_calls
    }

    pub(crate) fn guest_calls(&self) -> &InstalledCalls {
        &self.guest_calls
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn inject(&self, command: Command, injection: Injection) {
        self.injections.add(command, injection);
    }

    /// Frames of the zone base storage.
    pub(crate) fn base_area(&self) -> Area {
        self.base.lock().clone()
    }

    /// Runs one host command whose general checks are done, handles included. `recent` is what the CPU
    /// remembers.
    pub(crate) fn host_call(&self, command: Command, call: &mut Call<'_>, recent: &mut Recent) -> CallResult {
        if self.injections.is_any() {
            self.find_object(command, call.block)?;
            if let Some(stop) = self.injected_stop(command) {
                return Err(stop);
            }
        }
        if matches!(command, Command::DestroySecConf | Command::DestroySecConfFast) {
            // Nobody keeps what may be about to end.
            *recent = Recent::default();
        }
        let (storage, handle) = (call.storage, |offset| call.block.u64(offset));
        match command {
            Command::QueryUvInformation => self.query(call.block, &self.host_calls, true),
            Command::QueryKeys => self.query_keys(call.block),
            Command::InitUv => self.init(call),
            Command::CreateSecConf => self.create_configuration(call),
            Command::DestroySecConf => self.destroy_configuration(storage, &*self.configuration(handle(0x18))?),
            Command::DestroySecConfFast => {
                self.destroy_configuration_fast(storage, &*self.configuration(handle(0x18))?)
            }
            Command::CreateSecCpu => {
                let configuration = self.configuration(handle(0x20))?;
                self.create_cpu(call, &configuration)
            }
            Command::DestroySecCpu => self.destroy_cpu(storage, &*self.cpu(handle(0x18))?),
            Command::ConvToSecStor => {
                let configuration = self.objects.recent_configuration(recent, handle(0x18));
                self.import(call, configuration.ok_or(Stop::Refused(handles::INVALID_CONFIGURATION))?, handle(0x20))
            }
            Command::ConvFromSecStor => self.export(storage, recent, handle(0x18)),
            Command::DestrSecStor => self.destroy_page(storage, recent, handle(0x18)),
            Command::PinPageShared => self.pin(storage, handle(0x18)),
            Command::UnpinPageShared => self.unpin(call, &*self.configuration(handle(0x18))?, handle(0x20)),
            Command::SetUnsharedAll => self.unshare_all(call, &*self.configuration(handle(0x18))?),
            Command::SetSecConfParams => {
                let configuration = self.configuration(handle(0x18))?;
                self.set_parameters(call, &configuration)
            }
            Command::UnpackImg => self.unpack(call, &*self.configuration(handle(0x18))?),
            Command::VerifyImg => self.verify(&*self.configuration(handle(0x18))?),
            Command::CpuSetState => self.set_cpu_state(&*self.cpu(handle(0x18))?, call.block.u8(0x27)),
            Command::CpuReset => self.reset_cpu(&*self.cpu(handle(0x18))?, CpuReset::Normal),
            Command::CpuResetInitial => self.reset_cpu(&*self.cpu(handle(0x18))?, CpuReset::Initial),
            Command::CpuResetClear => self.reset_cpu(&*self.cpu(handle(0x18))?, CpuReset::Clear),
            Command::PrepareReset => self.prepare_reset(&*self.configuration(handle(0x18))?),
            Command::VerifyLargeFrame
            | Command::DumpInit
            | Command::DumpConfStorState
            | Command::DumpCpu
            | Command::DumpComplete
            | Command::SetSharedAccess
            | Command::RemoveSharedAccess
            | Command::RetrAttest
            | Command::AddSecret
            | Command::ListSecrets
            | Command::LockSecrets
            | Command::RetrSecret => refuse(Response::INVALID_COMMAND, "D14"),
        }
    }

    /// Runs one guest query; sharing needs the CPU and goes through [`Ultravisor::share`].
    pub(crate) fn guest_query(&self, command: Command, block: &mut Block) -> CallResult {
        match command {
            Command::QueryUvInformation => self.query(block, &self.guest_calls, false),
            Command::QueryKeys => self.query_keys(block),
            _ => refuse(Response::INVALID_COMMAND, "D14"),
        }
    }

    /// The answer that a test hook has asked for, if any (Q19).
    pub(crate) fn injected_stop(&self, command: Command) -> Option<Stop> {
        self.injections.take(command).map(|injected| match injected {
            Injected::Busy => Stop::Busy,
            Injected::Partial => Stop::Partial,
        })
    }

    /// The handle check on its own: 0x0020 or 0x0021 win over an injected answer (D2).
    fn find_object(&self, command: Command, block: &Block) -> Result<(), Stop> {
        match command.row().handle {
            HandleKind::None => Ok(()),
            HandleKind::Configuration(offset) => self.configuration(block.u64(offset)).map(|_| ()),
            HandleKind::Cpu(offset) => self.cpu(block.u64(offset)).map(|_| ()),
        }
    }

    fn configuration(&self, handle: u64) -> Result<Arc<Configuration>, Stop> {
        self.objects.configuration(handle).ok_or(Stop::Refused(handles::INVALID_CONFIGURATION))
    }

    fn cpu(&self, handle: u64) -> Result<Arc<SecureCpu>, Stop> {
        self.objects.cpu(handle).ok_or(Stop::Refused(handles::INVALID_CPU))
    }

    /// Commits a frame's new state and tells the observers.
    fn transition(&self, lock: FrameLock<'_>, to: FrameState, rule: &'static str) {
        let (frame, from) = (lock.frame(), lock.state());
        lock.commit(to);
        self.events.emit(|| Event::Transition { frame, from, to, rule });
    }
}
