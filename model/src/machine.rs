//! The machine: storage, Ultravisor and CPUs, built from a configuration and one seed.

use crate::config::{ConfigError, MAX_CPUS, MAX_STORAGE, MachineConfig};
use crate::cpu::{Channel, CpuSlot, HostCpu};
use crate::crypto::PublicKey;
use crate::digest::DigestCache;
use crate::event::Observer;
use crate::firmware::{Injection, Reset, Ultravisor};
use crate::snapshot::Snapshot;
use crate::storage::arena::RequestorNumber;
use crate::storage::translation_buffer::Purge;
use crate::storage::{Asce, HostView, Storage, Translator};
use crate::uvc::Command;
use crate::witness::{HostStep, Outcome, Step, Watch};
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// A simulated machine. All of it is reached through `&self`; each CPU is operated by one thread at a time.
#[derive(Debug)]
pub struct Machine {
    pub(crate) storage: Storage,
    pub(crate) firmware: Ultravisor,
    config: MachineConfig,
    pub(crate) cpus: Box<[CpuSlot]>,
    operating: Mutex<Operating>,
    channel: Mutex<()>,
    pub(crate) clock: AtomicU64,
    pub(crate) snapshot: Mutex<Option<Snapshot>>,
    pub(crate) digests: Mutex<DigestCache>,
    pub(crate) watch: Watch,
}

/// Who accesses storage at the moment.
#[derive(Debug, Default)]
struct Operating {
    cpus: usize,
    channels: usize,
    thread: Option<ThreadId>,
}

impl Operating {
    /// Another requestor begins. Whether more than one thread accesses storage from now on.
    fn join(&mut self) -> bool {
        let here = thread::current().id();
        *self.thread.get_or_insert(here) != here
    }
}

/// A CPU cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CpuError {
    /// The machine has no CPU of this number.
    #[error("CPU {number}: the machine has {cpus} CPUs")]
    NoSuchCpu {
        /// Wanted number.
        number: u16,
        /// CPUs of the machine.
        cpus: u16,
    },
    /// The CPU operates already.
    #[error("CPU {0} operates already")]
    Operating(u16),
}

/// What concerns the whole machine needs all other CPUs stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a machine reset, a snapshot or a restore needs all CPUs but the one that asks for it stopped")]
pub struct OthersOperate;

impl Machine {
    /// Builds a machine; all of its storage is zero.
    ///
    /// # Errors
    /// A configuration that makes no sense, or one for which the system has no address space.
    pub fn new(config: MachineConfig) -> Result<Self, ConfigError> {
        if config.storage == 0
            || config.storage > MAX_STORAGE
            || !config.storage.is_multiple_of(crate::address::MEBIBYTE)
        {
            return Err(ConfigError::Storage(config.storage));
        }
        if config.cpus == 0 || config.cpus > MAX_CPUS {
            return Err(ConfigError::Cpus(config.cpus));
        }
        // One requestor per CPU and one for the channel subsystem.
        let (size, requestors, order) = (config.storage, config.cpus + 1, config.byte_order);
        let storage = if config.host_view {
            Storage::with_view(size, requestors, order).map_err(|refused| ConfigError::HostView(size, refused.0))
        } else {
            Storage::new(size, requestors, order).map_err(|refused| ConfigError::AddressSpace(size, refused.0))
        };
        Ok(Self {
            storage: storage?,
            firmware: Ultravisor::new(&config),
            cpus: (0..config.cpus).map(|_| CpuSlot::new()).collect(),
            config,
            operating: Mutex::default(),
            channel: Mutex::new(()),
            clock: AtomicU64::new(0),
            snapshot: Mutex::default(),
            digests: Mutex::default(),
            watch: Watch::default(),
        })
    }

    /// What the machine was built from.
    #[must_use]
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// The public half of the host key: what a host-key document holds, and what images are made for.
    #[must_use]
    pub fn host_public_key(&self) -> &PublicKey {
        self.firmware.host_keys().host.public()
    }

    /// The public half of the backup host key.
    #[must_use]
    pub fn backup_host_public_key(&self) -> &PublicKey {
        self.firmware.host_keys().backup.public()
    }

    /// Starts a CPU. It operates until what comes back is dropped.
    ///
    /// # Errors
    /// There is no such CPU, or it operates already.
    pub fn cpu(&self, number: u16) -> Result<HostCpu<'_>, CpuError> {
        let started = self.start(number);
        self.tell(Step::Start(number), if started.is_ok() { Outcome::Done } else { Outcome::Impossible });
        started
    }

    fn start(&self, number: u16) -> Result<HostCpu<'_>, CpuError> {
        let slot = self.cpus.get(usize::from(number)).ok_or(CpuError::NoSuchCpu { number, cpus: self.config.cpus })?;
        let state = slot.state.try_lock().ok_or(CpuError::Operating(number))?;
        self.join(|operating| operating.cpus += 1);
        Ok(HostCpu::new(self, number, slot, state))
    }

    /// The channel subsystem. Waits while another thread uses it.
    pub fn channel(&self) -> Channel<'_> {
        let turn = self.channel.lock();
        self.join(|operating| operating.channels += 1);
        Channel::new(self, turn)
    }

    /// Bytes of absolute storage.
    #[must_use]
    pub fn storage_size(&self) -> u64 {
        self.storage.size()
    }

    /// Where the host sees absolute storage, on a machine that was built so ([`MachineConfig::host_view`]): frames that
    /// are secure to a host, or that a call is at work on, cannot be touched there.
    #[must_use]
    pub fn host_view(&self) -> Option<HostView> {
        self.storage.host_view()
    }

    /// Why the system has refused to shut or open a frame of the host's view, most likely because the process has too
    /// many mappings. From then on nothing of the view is shut, so a touch of a secure frame goes unseen there; all
    /// else works.
    #[must_use]
    pub fn host_view_failed(&self) -> Option<std::io::ErrorKind> {
        self.storage.view_failed()
    }

    /// Has a translator answer in place of the tables of a space from now on, in every walk: that of a host CPU in home
    /// space, of a guest CPU, and of calls that look for a guest page. `None` gives the space its tables back. Purges
    /// nothing: that is for the host, with [`HostCpu::purge_page`] or [`HostCpu::idte_space`]. Real spaces have neither. A
    /// witness is not told.
    pub fn set_translator(&self, asce: Asce, translator: Option<Arc<dyn Translator>>) {
        self.storage.translators().set(asce, translator);
    }

    /// Nanoseconds on the machine's clock, which only [`Machine::advance_clock`] moves (D81).
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock.load(Ordering::Acquire)
    }

    /// Lets time pass.
    pub fn advance_clock(&self, nanoseconds: u64) {
        self.clock.fetch_add(nanoseconds, Ordering::AcqRel);
        self.tell(Step::Clock(nanoseconds), Outcome::Done);
    }

    /// Subscribes to what happens.
    pub fn subscribe(&self, observer: Arc<dyn Observer>) {
        self.firmware.events().subscribe(observer);
    }

    /// Test hook: makes the next calls of a command end busy, partially, or late (Q19, D17).
    pub fn inject(&self, command: Command, injection: Injection) {
        self.firmware.inject(command, injection);
        self.tell(Step::Inject(command, injection), Outcome::Done);
    }

    pub(crate) fn stopped(&self, number: u16) {
        self.part(|operating| operating.cpus -= 1);
        self.tell(Step::Stop(number), Outcome::Done);
    }

    pub(crate) fn channel_released(&self) {
        self.part(|operating| operating.channels -= 1);
    }

    /// Whether a CPU besides the one that asks operates.
    pub(crate) fn others_operate(&self) -> bool {
        self.operating.lock().cpus > 1
    }

    /// Runs something while nobody else accesses storage, nor can begin to. `None` if somebody does.
    pub(crate) fn alone<T>(&self, run: impl FnOnce() -> T) -> Option<T> {
        let operating = self.operating.lock();
        (operating.cpus <= 1 && operating.channels == 0).then(run)
    }

    fn join(&self, count: impl FnOnce(&mut Operating)) {
        let mut operating = self.operating.lock();
        count(&mut operating);
        if operating.join() {
            self.storage.set_concurrent(true);
        }
    }

    fn part(&self, count: impl FnOnce(&mut Operating)) {
        let mut operating = self.operating.lock();
        count(&mut operating);
        if operating.cpus + operating.channels == 0 {
            operating.thread = None;
            self.storage.set_concurrent(false);
        }
    }

    pub(crate) fn ask_others_to_purge(&self, number: u16, purge: Purge) {
        for (other, slot) in self.cpus.iter().enumerate() {
            if other != usize::from(number) {
                slot.ask(purge);
            }
        }
    }

    pub(crate) fn channel_requestor(&self) -> RequestorNumber {
        RequestorNumber(self.config.cpus)
    }
}

impl HostCpu<'_> {
    /// Resets the whole machine (T43, D29). The registers of this CPU stay; all translation buffers are empty.
    ///
    /// # Errors
    /// Another CPU operates.
    pub fn reset_machine(&mut self, reset: Reset) -> Result<(), OthersOperate> {
        let machine = self.machine;
        let possible = !machine.others_operate();
        if possible {
            machine.firmware.reset(&machine.storage, reset);
            self.purge_own(Purge::All);
            machine.ask_others_to_purge(self.number, Purge::All);
        }
        let outcome = if possible { Outcome::Done } else { Outcome::Impossible };
        machine.tell(Step::Host(self.number, HostStep::ResetMachine(reset)), outcome);
        if possible { Ok(()) } else { Err(OthersOperate) }
    }
}
