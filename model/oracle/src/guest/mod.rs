//! A CPU of a configuration, in SIE on a host CPU.
//!
//! It takes one action at a time, with guest DAT off (D18). What an action does, it does at its end: one that a page
//! refuses, or that the host must repair, leaves no more than translations in the buffer.

mod access;
mod call;
mod description;
mod entry;
mod injection;
mod instruction;
mod timer;

use crate::ids::{CpuNumber, Handle, VirtualAddress};
use crate::state::{Configuration, Exit, SecureCpu, State};
use crate::step::{GuestStep, Interception, Outcome, Program};
use crate::world::World;
use crate::{After, Objection};

pub(crate) use entry::enter;

/// The guest CPU in SIE on a host CPU takes a step. After an exit, until its client lets go of it, every action
/// reports that exit and does nothing.
pub(crate) fn step(state: &State, cpu: CpuNumber, step: &GuestStep, world: &mut dyn World) -> Result<After, Objection> {
    let Some((stay, issuer)) = in_sie(state, cpu) else {
        return Ok(crate::impossible(state));
    };
    if *step == GuestStep::Leave {
        return Ok(timer::leave(state, &issuer, world));
    }
    if let Some(exit) = stay {
        return Ok(after_exit(state, step, exit));
    }
    let mut next = state.clone();
    match act(&mut next, &issuer, step, world) {
        Ok(Acted::Stays(outcome, rule)) => Ok(after(next, outcome, rule)),
        Ok(Acted::Leaves(notice, rule)) => Ok(intercept(next, &issuer, &notice, rule, world)),
        Err(Stop::Guest(program, rule)) => {
            Ok(after(unchanged(state, &next, &issuer), Outcome::GuestProgram(program), rule))
        }
        Err(Stop::Host(program, rule)) => Ok(interrupted(state, &next, &issuer, program, rule, world)),
        Err(Stop::Objection(objection)) => Err(objection),
    }
}

/// Who acts: a guest CPU, and the host CPU that it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Issuer {
    site: Site,
    cpu: Handle,
    configuration: Handle,
}

/// Where SIE is executed: the host CPU, and the state description that it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Site {
    host: CpuNumber,
    description: VirtualAddress,
}

impl Issuer {
    /// What the Ultravisor keeps of the CPU. One in SIE exists: DESTROY_SEC_CPU is refused (D13).
    fn cpu<'a>(&self, state: &'a State) -> Result<&'a SecureCpu, Stop> {
        state.cpus.get(&self.cpu).ok_or_else(|| gone("its CPU"))
    }

    fn cpu_mut<'a>(&self, state: &'a mut State) -> Result<&'a mut SecureCpu, Stop> {
        state.cpus.get_mut(&self.cpu).ok_or_else(|| gone("its CPU"))
    }

    fn configuration<'a>(&self, state: &'a State) -> Result<&'a Configuration, Stop> {
        state.configurations.get(&self.configuration).ok_or_else(|| gone("its configuration"))
    }
}

fn gone(what: &str) -> Stop {
    Stop::Objection(Objection { rule: "D13", message: format!("a guest CPU is in SIE, but {what} is gone") })
}

/// How an action ends that was not stopped.
enum Acted {
    /// The guest goes on.
    Stays(Outcome, &'static str),
    /// SIE ends with an interception.
    Leaves(Notice, &'static str),
}

/// What stops an action, so that nothing has been done.
enum Stop {
    /// The guest takes the interruption, staying in SIE.
    Guest(Program, &'static str),
    /// The host takes it, SIE has ended.
    Host(Program, &'static str),
    /// The world is wrong.
    Objection(Objection),
}

/// What the host gets to see at an interception.
struct Notice {
    /// Code and instruction text.
    interception: Interception,
    /// General registers of the save area.
    registers: Vec<(u8, u64)>,
    /// Contents of the instruction data area.
    data: Vec<u8>,
}

impl Notice {
    /// An interception that shows nothing of the guest.
    fn bare(code: u8) -> Self {
        Self::of(code, 0, 0)
    }

    fn of(code: u8, ipa: u16, ipb: u32) -> Self {
        Self { interception: Interception { code, ipa, ipb }, registers: Vec::new(), data: Vec::new() }
    }
}

fn in_sie(state: &State, cpu: CpuNumber) -> Option<(Option<Exit>, Issuer)> {
    let stay = state.host.get(&cpu)?.guest.as_ref()?;
    let configuration = state.cpus.get(&stay.cpu)?.configuration;
    let site = Site { host: cpu, description: stay.description };
    let issuer = Issuer { site, cpu: stay.cpu, configuration };
    Some((stay.exit, issuer))
}

fn act(next: &mut State, issuer: &Issuer, step: &GuestStep, world: &mut dyn World) -> Result<Acted, Stop> {
    let quiet = || Ok(Acted::Stays(Outcome::Done, "D18"));
    match step {
        GuestStep::Load { address, length } => {
            let bytes = access::load(next, issuer, *address, *length, world)?;
            Ok(Acted::Stays(Outcome::Loaded(bytes), "T12"))
        }
        GuestStep::Store { address, bytes } => {
            access::store(next, issuer, *address, bytes, world)?;
            Ok(Acted::Stays(Outcome::Done, "T12"))
        }
        GuestStep::Prefetch(address) => {
            access::prefetch(next, issuer, *address, world)?;
            quiet()
        }
        GuestStep::Uvc(uvc) => call::uvc(next, issuer, uvc, world),
        GuestStep::General(number, value) => {
            issuer.cpu_mut(next)?.registers.general[usize::from(number & 15)] = *value;
            quiet()
        }
        GuestStep::AccessRegister(number, value) => {
            issuer.cpu_mut(next)?.registers.access[usize::from(number & 15)] = *value;
            quiet()
        }
        GuestStep::ProblemState(problem) => {
            set_problem_state(next, issuer, *problem);
            quiet()
        }
        _ => instruction::execute(next, issuer, step, world),
    }
}

/// The exit has happened; actions report it, settings of registers have nothing to say.
fn after_exit(state: &State, step: &GuestStep, exit: Exit) -> After {
    let outcome = match step {
        GuestStep::General(..)
        | GuestStep::AccessRegister(..)
        | GuestStep::ProblemState(_)
        | GuestStep::Prefetch(_) => Outcome::Done,
        _ => outcome_of(exit),
    };
    after(state.clone(), outcome, "D32")
}

fn outcome_of(exit: Exit) -> Outcome {
    match exit {
        Exit::Program(program) => Outcome::Program(program),
        Exit::Interception(interception) => Outcome::Interception(interception),
    }
}

/// The host takes a program interruption out of SIE; no interception code is stored.
fn interrupted(
    before: &State,
    next: &State,
    issuer: &Issuer,
    program: Program,
    rule: &'static str,
    world: &mut dyn World,
) -> After {
    let mut state = unchanged(before, next, issuer);
    timer::end_stay(&mut state, issuer, world);
    set_exit(&mut state, issuer, Exit::Program(program));
    after(state, Outcome::Program(program), rule)
}

/// SIE ends with an interception: the host finds it in the state description.
fn intercept(mut next: State, issuer: &Issuer, notice: &Notice, rule: &'static str, world: &mut dyn World) -> After {
    description::report(&mut next, issuer.site, notice, world);
    timer::end_stay(&mut next, issuer, world);
    set_exit(&mut next, issuer, Exit::Interception(notice.interception));
    after(next, Outcome::Interception(notice.interception), rule)
}

fn set_exit(state: &mut State, issuer: &Issuer, exit: Exit) {
    if let Some(stay) = state.host.get_mut(&issuer.site.host).and_then(|host| host.guest.as_mut()) {
        stay.exit = Some(exit);
    }
}

fn set_problem_state(state: &mut State, issuer: &Issuer, problem: bool) {
    if let Some(stay) = state.host.get_mut(&issuer.site.host).and_then(|host| host.guest.as_mut()) {
        stay.problem_state = problem;
    }
}

fn problem_state(state: &State, issuer: &Issuer) -> bool {
    state.host.get(&issuer.site.host).and_then(|host| host.guest.as_ref()).is_some_and(|stay| stay.problem_state)
}

/// The state before an action that was stopped: all of it, but for what the buffer of the host CPU has learnt.
fn unchanged(before: &State, next: &State, issuer: &Issuer) -> State {
    keeping_buffer(before, next, issuer.site.host)
}

fn keeping_buffer(before: &State, next: &State, cpu: CpuNumber) -> State {
    let mut state = before.clone();
    if let (Some(host), Some(learnt)) = (state.host.get_mut(&cpu), next.host.get(&cpu)) {
        host.buffer = learnt.buffer.clone();
    }
    state
}

fn after(state: State, outcome: Outcome, rule: &'static str) -> After {
    After { state, outcome, rules: vec![rule] }
}

/// PSW bit 6.
const IO: u64 = 1 << (63 - 6);
/// PSW bit 7.
const EXTERNAL: u64 = 1 << (63 - 7);
/// PSW bit 13.
const MACHINE_CHECKS: u64 = 1 << (63 - 13);
/// PSW bit 15.
const PROBLEM_STATE: u64 = 1 << (63 - 15);
