//! A machine behind the C interface, and its twin.

use super::events::Reports;
use super::host::HostCpu;
use super::{Mode, equal, interface};
use core::fmt;
use model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use model::config::{ConfigError, MachineConfig};
use model::cpu::ChannelRefusal;
use model::crypto::{Counter, PublicKey};
use model::event::Observer;
use model::storage::{Domain, FrameState};
use model::uvc::Command;
use model::{CpuError, GuestRegisters, Image, Injection, PageView, RunState, StateDigest, Violation};
use std::sync::{Arc, PoisonError};

/// Of the same shape as the machine of the model.
pub struct Machine {
    pub(super) through_c: interface::Machine,
    pub(super) twin: model::Machine,
    pub(super) reports: Reports,
}

impl Machine {
    pub fn new(config: MachineConfig) -> Result<Self, ConfigError> {
        let reports = Reports::default();
        let host_view = crate::MODE == Mode::Raw;
        let through_c = interface::Machine::create(&text(&config), host_view, reports.through_c.clone());
        let expected = MachineConfig { host_view, ..config.clone() };
        assert_eq!(through_c.behind().config(), &expected, "the text says all that the case has asked for");
        let twin = model::Machine::new(config)?;
        twin.subscribe(reports.direct.clone());
        Ok(Self { through_c, twin, reports })
    }

    pub fn cpu(&self, number: u16) -> Result<HostCpu<'_>, CpuError> {
        HostCpu::start(self, number)
    }

    pub fn channel(&self) -> Channel<'_> {
        Channel { machine: self, twin: self.twin.channel() }
    }

    pub fn inject(&self, command: Command, injection: Injection) {
        self.through_c.inject(command, injection);
        self.twin.inject(command, injection);
    }

    pub fn advance_clock(&self, nanoseconds: u64) {
        self.through_c.advance_clock(nanoseconds);
        self.twin.advance_clock(nanoseconds);
    }

    pub fn subscribe(&self, observer: Arc<dyn Observer>) {
        self.reports.observers.lock().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// What is different now between the two machines.
    fn difference(&self) -> Option<String> {
        let digests = [self.through_c.behind(), &self.twin].map(|machine| machine.state_digest(None));
        if digests[0] != digests[1] {
            return Some(format!("the states differ: {digests:x?}"));
        }
        let looks = [self.through_c.behind(), &self.twin].map(|machine| (machine.configurations(), machine.clock()));
        (looks[0] != looks[1]).then(|| format!("configurations or clocks differ: {looks:x?}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.settle("the end");
            assert_eq!(self.difference(), None);
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({:?})", self.twin)
    }
}

/// Looks at both machines.
macro_rules! inspections {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Machine {
            $(
                #[track_caller]
                pub fn $name(&self, $($argument: $type),*) -> $result {
                    let through_c = self.through_c.behind().$name($($argument),*);
                    equal(stringify!($name), through_c, self.twin.$name($($argument),*))
                }
            )*
        }
    };
}

inspections! {
    backup_host_public_key() -> &PublicKey;
    check_invariants() -> Result<(), Violation>;
    cpu_registers(handle: u64) -> Option<GuestRegisters>;
    cpu_state(handle: u64) -> Option<RunState>;
    domain(handle: u64) -> Option<Domain>;
    frame_state(frame: FrameNumber) -> FrameState;
    host_public_key() -> &PublicKey;
    image(handle: u64) -> Option<Image>;
    is_discarded(domain: Domain) -> bool;
    is_initialised() -> bool;
    is_reset_pending(handle: u64) -> Option<bool>;
    page(handle: u64, page: PageIndex) -> Option<PageView>;
    preset_counter(handle: u64, page: PageIndex, counter: Counter) -> bool;
    state_digest(block: Option<AbsoluteAddress>) -> StateDigest;
    unique_id(handle: u64) -> Option<[u8; 16]>;
}

impl Machine {
    #[track_caller]
    pub fn peek(&self, address: AbsoluteAddress, bytes: &mut [u8]) -> bool {
        let mut direct = bytes.to_vec();
        let done = self.through_c.behind().peek(address, bytes);
        equal("peek", (done, &*bytes), (self.twin.peek(address, &mut direct), &*direct)).0
    }
}

/// The channel subsystem of both machines.
#[derive(Debug)]
pub struct Channel<'m> {
    machine: &'m Machine,
    twin: model::cpu::Channel<'m>,
}

impl Channel<'_> {
    #[track_caller]
    pub fn read(&mut self, address: AbsoluteAddress, bytes: &mut [u8]) -> Result<(), ChannelRefusal> {
        let mut direct = bytes.to_vec();
        let done = self.machine.through_c.channel_read(address, bytes);
        equal("channel read", (done, &*bytes), (self.twin.read(address, &mut direct), &*direct)).0
    }

    #[track_caller]
    pub fn write(&mut self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), ChannelRefusal> {
        let done = self.machine.through_c.channel_write(address, bytes);
        equal("channel write", done, self.twin.write(address, bytes))
    }
}

/// Stands where the other runs have the oracle: here the twin is the judge, act by act and at the end.
#[derive(Debug)]
pub struct SideBySide;

impl SideBySide {
    pub fn watch(_: &mut Machine) -> Arc<Self> {
        Arc::new(Self)
    }

    pub fn finish(&self, machine: &Machine) -> Option<String> {
        machine.difference()
    }
}

/// The machine node of a scenario. What it cannot say, no case asks for: [`Machine::new`] compares.
fn text(config: &MachineConfig) -> String {
    let mut text = format!("machine {{\n    storage {:?}\n", format!("{}MiB", config.storage >> 20));
    text += &format!("    cpus {}\n    seed {}\n", config.cpus, config.seed);
    text += &format!("    generation {}\n", format!("{:?}", config.generation).to_lowercase());
    text += &format!("    cipher {}\n", format!("{:?}", config.cipher).to_lowercase());
    text += &format!("    change-detection {}\n", format!("{:?}", config.change_detection).to_lowercase());
    if let Some(misc) = config.feature_misc {
        text += &format!("    feature misc=#{misc}\n");
    }
    text += &format!("    strict-tweaks #{}\n", config.strict_tweaks);
    config.without.iter().for_each(|command| text += &format!("    without {}\n", command.name()));
    text + "}\n"
}
