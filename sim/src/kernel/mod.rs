//! The host kernel: what Linux and KVM do for protected guests, as an actor on a machine.
//!
//! It knows the machine only through its CPUs: it builds its tables in absolute storage, issues
//! Ultravisor calls with blocks in storage, maps and unmaps guest pages, answers guest faults and keeps a
//! swap store. Where a scenario makes it do something foolish, it does it.

mod boot;
mod calls;
mod configuration;
mod crew;
mod faults;
mod frames;
mod intervals;
mod kvm;
mod life;
mod observed;
mod page_map;
mod pages;
mod qemu;
mod sharing;
mod space;
mod swap;
mod trail;
mod user;
mod vcpu;

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

use uvsim_model::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, VirtualAddress};
use uvsim_model::cpu::HostCpu;
use uvsim_model::storage::ProgramInterruption;
use uvsim_model::{CpuError, Machine, UV_BASE_LENGTH};

pub use calls::Fields;
pub use configuration::GuestPlan;
pub(crate) use crew::{Crew, Operates};
pub use faults::FaultAnswers;
pub use kvm::Leaks;
pub use observed::{Observed, Stop};
pub use pages::PageBytes;
pub use qemu::Diagnosed;
pub use trail::Transition;
pub use vcpu::GuestCall;

use configuration::GuestRecord;
use frames::Frames;
use space::Home;
use trail::Trail;

/// Where the base area lies (D75).
const UV_BASE: u64 = 2 << 30;
/// First address of the window in which variable areas are contiguous (D61).
const WINDOW: u64 = 0x4000_0000_0000;
/// Size of that window, MiB: up to the highest address that the Ultravisor accepts.
const WINDOW_MEBIBYTES: u64 = (uvsim_model::MAX_GUEST_ADDRESS - WINDOW) / MEBIBYTE;
/// Frames that a lane on a thread takes, or keeps, for itself.
const BATCH: u64 = 64;
/// Frames of a CPU's lowcore.
const LOWCORE_FRAMES: u64 = 2;

/// The host kernel on a machine. It operates all CPUs of it.
#[derive(Debug)]
pub struct Kernel<'m> {
    machine: &'m Machine,
    cpus: Vec<Option<HostCpu<'m>>>,
    frames: Arc<Mutex<Frames>>,
    home: Arc<Mutex<Home>>,
    /// One block page per CPU; the page behind it is mapped as well (D73).
    blocks: Vec<AbsoluteAddress>,
    lowcores: Vec<AbsoluteAddress>,
    guests: Vec<GuestRecord>,
    /// Compare the state around every call that the Ultravisor may refuse.
    pub watch: bool,
    /// When to give up repeating a call that stays busy.
    pub deadline: Option<Instant>,
    /// The host CPU that serves all vCPUs for now: that of a lane. Else each has its own.
    pub serving: Option<u16>,
    /// The other CPUs are those of other kernels.
    alone: bool,
    /// Frames that a lane on a thread has taken for itself, and nobody uses.
    spare: Vec<FrameNumber>,
    /// What the last comparison found.
    changed: Option<String>,
    /// The rule behind the last answer.
    rule: &'static str,
    trail: Arc<Trail>,
}

impl<'m> Kernel<'m> {
    /// Brings the host up: home space on CPU 0, INIT_UV with only that CPU operating, then the others.
    ///
    /// # Errors
    /// Storage that is too small, or a call that the Ultravisor refuses.
    pub fn boot(machine: &'m Machine, plans: Vec<GuestPlan>) -> Result<Self, Stop> {
        let frames = machine.storage_size() / PAGE_SIZE;
        let base = UV_BASE / PAGE_SIZE..(UV_BASE + UV_BASE_LENGTH) / PAGE_SIZE;
        if base.end > frames {
            return Err(Stop::OutOfStorage {
                what: "the base storage of the Ultravisor at 2 GiB".into(),
                needed: base.end * PAGE_SIZE,
                available: machine.storage_size(),
            });
        }
        let mut kernel = Self {
            machine,
            cpus: (0..machine.config().cpus).map(|_| None).collect(),
            frames: Arc::new(Mutex::new(Frames::new(LOWCORE_FRAMES..frames, base))),
            home: Arc::default(),
            blocks: Vec::new(),
            lowcores: Vec::new(),
            guests: Vec::new(),
            watch: true,
            deadline: None,
            serving: None,
            alone: false,
            spare: Vec::new(),
            changed: None,
            rule: "",
            trail: Trail::new(machine.config().cpus),
        };
        machine.subscribe(kernel.trail.clone());
        kernel.start_cpu(0)?;
        kernel.build_home()?;
        for number in 0..machine.config().cpus {
            let block = kernel.allocate(2, 1, "control blocks")?;
            kernel.blocks.push(block);
            let lowcore =
                if number == 0 { AbsoluteAddress(0) } else { kernel.allocate(LOWCORE_FRAMES, 2, "a lowcore")? };
            kernel.lowcores.push(lowcore);
        }
        kernel.enter_home(0)?;
        kernel.guests = plans.into_iter().map(GuestRecord::new).collect();
        for guest in 0..kernel.guests.len() {
            kernel.build_guest_space(guest)?;
        }
        kernel.initialise_ultravisor(0)?;
        Ok(kernel)
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'m Machine {
        self.machine
    }

    /// INIT_UV by a CPU if it is due, with only that one operating; afterwards all CPUs operate.
    fn initialise_ultravisor(&mut self, cpu: u16) -> Result<(), Stop> {
        if !self.machine.is_initialised() {
            self.stop_others(cpu);
            self.enter_home(cpu)?;
            let fields = [("stor-origin", UV_BASE), ("stor-len", UV_BASE_LENGTH)];
            self.must(cpu, uvsim_model::uvc::Command::InitUv, &fields)?;
        }
        // In a lane on a thread the others have been there before.
        let cpus = if self.alone { cpu..cpu + 1 } else { 0..self.machine.config().cpus };
        for number in cpus {
            self.enter_home(number)?;
        }
        Ok(())
    }

    /// Stops all CPUs but one.
    fn stop_others(&mut self, cpu: u16) {
        for (number, slot) in (0u16..).zip(&mut self.cpus) {
            if number != cpu {
                *slot = None;
            }
        }
    }

    fn start_cpu(&mut self, number: u16) -> Result<(), Stop> {
        let slot = &mut self.cpus[usize::from(number)];
        if slot.is_none() {
            *slot = Some(self.machine.cpu(number).map_err(|error: CpuError| Stop::Internal(error.to_string()))?);
        }
        Ok(())
    }

    /// Starts a CPU in home space with its own lowcore.
    fn enter_home(&mut self, number: u16) -> Result<(), Stop> {
        self.start_cpu(number)?;
        let (lowcore, home) = (self.lowcores[usize::from(number)], self.home.lock().space.asce);
        let cpu = self.cpu(number);
        if cpu.registers().prefix != lowcore.0 {
            cpu.set_prefix(lowcore.0)?;
        }
        cpu.set_home(home);
        cpu.set_translation(true);
        Ok(())
    }

    /// A CPU of the machine; scenarios name only those that exist.
    pub fn cpu(&mut self, number: u16) -> &mut HostCpu<'m> {
        let machine = self.machine;
        self.cpus[usize::from(number)]
            .get_or_insert_with(|| machine.cpu(number).expect("the kernel alone operates the CPUs of its machine"))
    }

    /// `count` consecutive frames, aligned to `align` frames, lowest first.
    fn allocate(&mut self, count: u64, align: u64, what: &str) -> Result<AbsoluteAddress, Stop> {
        if let Some(frame) = self.spare_frame(count) {
            return Ok(frame.address());
        }
        let mut frames = self.frames.lock();
        match frames.take(self.machine, count, align) {
            Some(first) => Ok(first.address()),
            None => Err(Stop::OutOfStorage {
                what: what.into(),
                needed: count * PAGE_SIZE,
                available: frames.total() * PAGE_SIZE,
            }),
        }
    }

    fn free_frames(&mut self, first: AbsoluteAddress, count: u64) {
        for frame in first.frame().0..first.frame().0 + count {
            self.release(FrameNumber(frame));
        }
    }

    /// A single frame for a lane on a thread, from a batch of its own: the machine keeps what it knows of frames side
    /// by side, and two threads that write there would wait for each other.
    fn spare_frame(&mut self, count: u64) -> Option<FrameNumber> {
        if !self.alone || count != 1 {
            return None;
        }
        if self.spare.is_empty() {
            let first = self.frames.lock().take(self.machine, BATCH, BATCH)?;
            self.spare.extend((first.0..first.0 + BATCH).rev().map(FrameNumber));
        }
        let machine = self.machine;
        while let Some(frame) = self.spare.pop() {
            if machine.frame_state(frame) == uvsim_model::storage::FrameState::NonSecure {
                return Some(frame);
            }
            self.frames.lock().release(machine, frame);
        }
        None
    }

    /// Gives a frame up.
    fn release(&mut self, frame: FrameNumber) {
        if self.alone
            && (self.spare.len() as u64) < BATCH
            && self.machine.frame_state(frame) == uvsim_model::storage::FrameState::NonSecure
        {
            self.spare.push(frame);
            return;
        }
        self.frames.lock().release(self.machine, frame);
    }

    /// Frees what was set aside and has become non-secure.
    fn sweep(&mut self) {
        self.frames.lock().sweep(self.machine);
    }

    /// The CPU by which the kernel acts where nobody says which: that of the lane, else CPU 0.
    pub(crate) fn own_cpu(&self) -> u16 {
        self.serving.unwrap_or(0)
    }

    /// Stores into the kernel's own storage: virtual = real (D61), outside of lowcores absolute as well.
    fn put(&mut self, address: AbsoluteAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        self.cpu(self.own_cpu()).store(VirtualAddress(address.0), bytes)
    }

    fn put_u64(&mut self, address: AbsoluteAddress, value: u64) -> Result<(), ProgramInterruption> {
        self.cpu(self.own_cpu()).store_u64(VirtualAddress(address.0), value)
    }

    /// What a comparison of states around a refused call has found, once (D64).
    pub fn take_changed(&mut self) -> Option<String> {
        self.changed.take()
    }

    /// Whether there is time left.
    ///
    /// # Errors
    /// There is none.
    pub fn in_time(&self) -> Result<(), Stop> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) { Err(Stop::TimeOut) } else { Ok(()) }
    }

    /// As if a refused call had changed the state: no model that is right does.
    #[cfg(test)]
    pub(crate) fn pretend_change(&mut self) {
        self.changed = Some("pretended".into());
    }

    fn rule_of_last_call(&self) -> &'static str {
        self.trail.rule()
    }

    /// The transitions of frames since they were last asked for.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        self.trail.take()
    }

    /// The rule that the last answer followed, `""` if none is known.
    #[must_use]
    pub fn last_rule(&self) -> &'static str {
        self.rule
    }
}
