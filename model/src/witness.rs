//! A witness is told every step that a machine takes at its surface, when it has ended. It may look at the machine
//! without side effects. When nobody watches, a step costs nothing more.
//!
//! Steps that another one takes on its way are not told: a call that fetches its own block is one step.

use crate::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use crate::cpu::{ChannelRefusal, Diagnose, GuestEvent, Registers, ServiceCall, SieExit, Sigp, Uvc};
use crate::crypto::Counter;
use crate::firmware::{Injection, Psw, Reset};
use crate::machine::Machine;
use crate::storage::{AccessKind, Asce, ProgramInterruption};
use crate::uvc::{Command, ConditionCode};
use std::sync::Arc;

/// Is told the steps of a machine.
pub trait Witness: Send + Sync {
    /// A step has ended. The steps of one CPU come in order; those of CPUs on several threads come from several
    /// threads, and the machine may have gone on.
    fn witness(&self, machine: &Machine, step: &Step<'_>, outcome: &Outcome<'_>);
}

/// One thing that a host, a guest or a device did. Numbers are those of host CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// [`Machine::cpu`]
    Start(u16),
    /// A host CPU was dropped.
    Stop(u16),
    /// A host CPU executed something.
    Host(u16, HostStep<'a>),
    /// The guest CPU in SIE on a host CPU executed something.
    Guest(u16, GuestStep<'a>),
    /// A device read so many bytes.
    ChannelRead(AbsoluteAddress, u64),
    /// A device wrote these bytes.
    ChannelWrite(AbsoluteAddress, &'a [u8]),
    /// [`Machine::advance_clock`], nanoseconds.
    Clock(u64),
    /// [`Machine::inject`]
    Inject(Command, Injection),
    /// [`Machine::preset_counter`]
    PresetCounter(u64, PageIndex, Counter),
}

/// What a host CPU executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostStep<'a> {
    /// Registers were loaded; these are all of them.
    Registers(Registers),
    /// SET PREFIX, the operand as given.
    SetPrefix(u64),
    /// Loaded so many bytes.
    Load(VirtualAddress, u64, AccessKind),
    /// Stored these bytes.
    Store(VirtualAddress, &'a [u8]),
    /// Where a fetch would go.
    Translate(VirtualAddress),
    /// IPTE: table, address.
    Ipte(AbsoluteAddress, VirtualAddress),
    /// IDTE of a segment-table entry: table, address.
    IdteSegment(AbsoluteAddress, VirtualAddress),
    /// IDTE of a region-third-table entry: table, address.
    IdteRegion(AbsoluteAddress, VirtualAddress),
    /// IDTE of a space.
    IdteSpace(Asce),
    /// PTLB.
    Ptlb,
    /// ULTRAVISOR CALL.
    Uvc(Uvc),
    /// START INTERPRETIVE EXECUTION with this state description.
    Enter(VirtualAddress),
    /// [`crate::cpu::HostCpu::reset_machine`]
    ResetMachine(Reset),
    /// [`crate::cpu::HostCpu::snapshot`]
    Snapshot,
    /// [`crate::cpu::HostCpu::restore`]
    Restore,
}

/// What a guest CPU executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestStep<'a> {
    /// It was dropped.
    Leave,
    /// Loaded so many bytes.
    Load(GuestAddress, u64),
    /// Stored these bytes.
    Store(GuestAddress, &'a [u8]),
    /// PREFETCH DATA.
    Prefetch(GuestAddress),
    /// ULTRAVISOR CALL.
    Uvc(Uvc),
    /// DIAGNOSE.
    Diagnose(Diagnose),
    /// SET PREFIX, the operand as given.
    SetPrefix(u64),
    /// SERVICE CALL.
    ServiceCall(ServiceCall),
    /// SIGNAL PROCESSOR.
    Sigp(Sigp),
    /// LOAD PSW EXTENDED.
    LoadPsw(Psw),
    /// LOAD CONTROL, number as given.
    LoadControl(u8, u64),
    /// A general register got a value, number as given.
    General(u8, u64),
    /// An access register got a value, number as given.
    AccessRegister(u8, u32),
    /// Problem state.
    ProblemState(bool),
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome<'a> {
    /// It is done, or it was one that tells nothing.
    Done,
    /// It is done; these bytes were loaded.
    Loaded(&'a [u8]),
    /// The absolute address.
    Translated(AbsoluteAddress),
    /// A call ended with a condition code.
    Answered(Answered),
    /// Program interruption of a host CPU.
    Program(ProgramInterruption),
    /// A guest action did not simply succeed.
    Guest(GuestEvent),
    /// An entry failed, or ended before the guest did anything.
    Exit(SieExit),
    /// The channel subsystem refused.
    Refused(ChannelRefusal),
    /// No such CPU, it operates already, others operate during a reset or a snapshot, or there is no snapshot.
    Impossible,
}

/// How a call ended, and what of it stands where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// Command code as found in the block.
    pub command: u16,
    /// Condition code.
    pub cc: ConditionCode,
    /// Response code, as stored; 0 if none was.
    pub rc: u16,
    /// Reason code, likewise.
    pub rrc: u16,
    /// The rule that decided.
    pub rule: &'static str,
    /// The frames where the block began and ended. The second is the first for a block within a page, and for one
    /// that a guest has across pages.
    pub frames: [FrameNumber; 2],
}

/// Who watches a machine.
#[derive(Default)]
pub(crate) struct Watch(Option<Arc<dyn Witness>>);

impl core::fmt::Debug for Watch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(somebody)" } else { "Watch(nobody)" })
    }
}

impl Machine {
    /// Tells a witness every step from now on, in place of whoever was told before. Watched accesses are slow.
    pub fn watch(&mut self, witness: Arc<dyn Witness>) {
        self.watch.0 = Some(witness);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.0.is_some()
    }

    /// Tells the witness, if there is one.
    #[inline]
    pub(crate) fn tell(&self, step: Step<'_>, outcome: Outcome<'_>) {
        if let Some(witness) = &self.watch.0 {
            witness.witness(self, &step, &outcome);
        }
    }
}

impl Outcome<'_> {
    /// Of a step of a host CPU that yields nothing.
    #[inline]
    pub(crate) fn of_host<T>(result: &Result<T, ProgramInterruption>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(interruption) => Self::Program(*interruption),
        }
    }

    /// Of a step of a guest CPU that yields nothing.
    #[inline]
    pub(crate) fn of_guest<T>(result: &Result<T, GuestEvent>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(event) => Self::Guest(*event),
        }
    }
}
