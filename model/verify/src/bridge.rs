//! From the words of the model to those of the oracle.

use uvsim_model::config::{ByteOrder, ChangeDetection, Generation, MachineConfig};
use uvsim_model::cpu::{ChannelRefusal, GuestEvent, SieExit};
use uvsim_model::storage::{AccessKind, ProgramInterruption};
use uvsim_model::witness;
use uvsim_model::{Injection, PageRecord, Reset, RunState};
use uvsim_oracle::ids::CpuNumber;
use uvsim_oracle::state::{Record, Run, Setup, State};
use uvsim_oracle::step::{
    self, Access, GuestStep, HostStep, Interception, MachineReset, Outcome, Program, Step, Table,
};

/// The machine as it is built.
pub(crate) fn start(config: &MachineConfig) -> State {
    State::new(setup(config))
}

fn setup(config: &MachineConfig) -> Setup {
    Setup {
        storage: config.storage,
        cpus: config.cpus,
        generation: match config.generation {
            Generation::Z15 => 15,
            Generation::Z16 => 16,
            Generation::Z17 => 17,
        },
        misc: config.misc(),
        without: config.without.iter().map(|command| command.code()).collect(),
        strict_tweaks: config.strict_tweaks,
        always_count: config.change_detection == ChangeDetection::Always,
        big_endian: config.byte_order == ByteOrder::Big || cfg!(target_endian = "big"),
    }
}

/// A step. `None` for snapshots, of which the oracle knows nothing.
pub(crate) fn step(step: &witness::Step<'_>) -> Option<Step> {
    Some(match *step {
        witness::Step::Start(number) => Step::Start(CpuNumber(number)),
        witness::Step::Stop(number) => Step::Stop(CpuNumber(number)),
        witness::Step::Host(number, step) => Step::Host(CpuNumber(number), host(step)?),
        witness::Step::Guest(number, step) => Step::Guest(CpuNumber(number), guest(step)),
        witness::Step::ChannelRead(address, length) => Step::ChannelRead { address, length },
        witness::Step::ChannelWrite(address, bytes) => Step::ChannelWrite { address, bytes: bytes.to_vec() },
        witness::Step::Clock(nanoseconds) => Step::Clock { nanoseconds },
        witness::Step::Inject(command, injection) => {
            let injection = match injection {
                Injection::Busy(count) => step::Injection::Busy(count),
                Injection::Partial(count) => step::Injection::Partial(count),
                Injection::LateFailure => step::Injection::LateFailure,
            };
            Step::Inject { command: command.code(), injection }
        }
        witness::Step::PresetCounter(configuration, page, counter) => {
            Step::PresetCounter { configuration, page, counter: counter.value() }
        }
    })
}

fn host(step: witness::HostStep<'_>) -> Option<HostStep> {
    Some(match step {
        witness::HostStep::Registers(registers) => HostStep::Registers {
            problem_state: registers.problem_state,
            translation: registers.translation,
            primary: registers.primary.0,
            home: registers.home.0,
        },
        witness::HostStep::SetPrefix(prefix) => HostStep::SetPrefix(prefix),
        witness::HostStep::Load(address, length, kind) => {
            let kind = match kind {
                AccessKind::Fetch => Access::Fetch,
                AccessKind::Store => Access::Store,
                AccessKind::Instruction => Access::Instruction,
            };
            HostStep::Load { address, length, kind }
        }
        witness::HostStep::Store(address, bytes) => HostStep::Store { address, bytes: bytes.to_vec() },
        witness::HostStep::Translate(address) => HostStep::Translate(address),
        witness::HostStep::Ipte(table, address) => HostStep::Ipte { table, address },
        witness::HostStep::IdteSegment(table, address) => HostStep::Idte { level: Table::Segment, table, address },
        witness::HostStep::IdteRegion(table, address) => HostStep::Idte { level: Table::RegionThird, table, address },
        witness::HostStep::IdteSpace(asce) => HostStep::IdteSpace(asce.0),
        witness::HostStep::Ptlb => HostStep::Ptlb,
        witness::HostStep::Uvc(instruction) => HostStep::Uvc(uvc(instruction)),
        witness::HostStep::Enter(description) => HostStep::Enter(description),
        witness::HostStep::ResetMachine(Reset::LoadNormal) => HostStep::ResetMachine(MachineReset::Normal),
        witness::HostStep::ResetMachine(Reset::Clear) => HostStep::ResetMachine(MachineReset::Clear),
        witness::HostStep::Snapshot | witness::HostStep::Restore => return None,
    })
}

fn guest(step: witness::GuestStep<'_>) -> GuestStep {
    match step {
        witness::GuestStep::Leave => GuestStep::Leave,
        witness::GuestStep::Load(address, length) => GuestStep::Load { address, length },
        witness::GuestStep::Store(address, bytes) => GuestStep::Store { address, bytes: bytes.to_vec() },
        witness::GuestStep::Prefetch(address) => GuestStep::Prefetch(address),
        witness::GuestStep::Uvc(instruction) => GuestStep::Uvc(uvc(instruction)),
        witness::GuestStep::Diagnose(it) => GuestStep::Diagnose { function: it.function, r1: it.r1, r3: it.r3 },
        witness::GuestStep::SetPrefix(prefix) => GuestStep::SetPrefix(prefix),
        witness::GuestStep::ServiceCall(call) => GuestStep::ServiceCall { command: call.command, block: call.block },
        witness::GuestStep::Sigp(sigp) => {
            GuestStep::Sigp { order: sigp.order, cpu: sigp.cpu, parameter: sigp.parameter }
        }
        witness::GuestStep::LoadPsw(psw) => GuestStep::LoadPsw { mask: psw.mask, address: psw.address },
        witness::GuestStep::LoadControl(number, value) => GuestStep::LoadControl { number, value },
        witness::GuestStep::General(number, value) => GuestStep::General(number, value),
        witness::GuestStep::AccessRegister(number, value) => GuestStep::AccessRegister(number, value),
        witness::GuestStep::ProblemState(on) => GuestStep::ProblemState(on),
    }
}

fn uvc(instruction: uvsim_model::cpu::Uvc) -> step::Uvc {
    step::Uvc { r1: instruction.r1, r2: instruction.r2, m3: instruction.m3, m4: instruction.m4 }
}

/// Whether whoever takes a step gets an answer. One that gets none may end in any way.
pub(crate) fn is_answered(step: &Step) -> bool {
    !matches!(
        step,
        Step::PresetCounter { .. }
            | Step::Guest(
                _,
                GuestStep::Leave
                    | GuestStep::Prefetch(_)
                    | GuestStep::General(..)
                    | GuestStep::AccessRegister(..)
                    | GuestStep::ProblemState(_)
            )
    )
}

/// How a step ended.
pub(crate) fn outcome(outcome: &witness::Outcome<'_>) -> Outcome {
    match *outcome {
        witness::Outcome::Done => Outcome::Done,
        witness::Outcome::Loaded(bytes) => Outcome::Loaded(bytes.to_vec()),
        witness::Outcome::Translated(address) => Outcome::Translated(address),
        witness::Outcome::Answered(answered) => Outcome::Condition(answered.cc as u8),
        witness::Outcome::Program(interruption) => Outcome::Program(program(interruption)),
        witness::Outcome::Guest(GuestEvent::Program(interruption)) => Outcome::GuestProgram(program(interruption)),
        witness::Outcome::Guest(GuestEvent::Exit(exit)) | witness::Outcome::Exit(exit) => match exit {
            SieExit::HostInterruption(interruption) => Outcome::Program(program(interruption)),
            SieExit::Interception(it) => {
                Outcome::Interception(Interception { code: it.code, ipa: it.ipa, ipb: it.ipb })
            }
        },
        witness::Outcome::Refused(ChannelRefusal::SecureFrame(address)) => Outcome::ChannelSecure(address),
        witness::Outcome::Refused(ChannelRefusal::OutsideStorage(address)) => Outcome::ChannelOutside(address),
        witness::Outcome::Impossible => Outcome::Impossible,
    }
}

fn program(interruption: ProgramInterruption) -> Program {
    Program { code: interruption.code.number(), teid: interruption.teid.0 }
}

/// Where a page is.
pub(crate) fn record(record: PageRecord) -> Record {
    match record {
        PageRecord::Absent => Record::Absent,
        PageRecord::Resident(frame) => Record::Resident(frame),
        PageRecord::Exported => Record::Exported,
        PageRecord::Shared(frame) => Record::Shared(frame),
        PageRecord::Pinned(frame) => Record::Pinned(frame),
        PageRecord::Destroyed => Record::Destroyed,
    }
}

/// State of a CPU of a configuration.
pub(crate) fn run(state: RunState) -> Run {
    match state {
        RunState::Stopped => Run::Stopped,
        RunState::Operating => Run::Operating,
        RunState::CheckStop => Run::CheckStop,
    }
}
