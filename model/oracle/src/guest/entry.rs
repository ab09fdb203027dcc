//! START INTERPRETIVE EXECUTION: whether a guest CPU may be entered, and what an entry does first.

use super::description::{self, offset};
use super::injection::{self, Injection};
use super::{Issuer, Notice, Site, Stop, access, after, keeping_buffer, timer};
use crate::call::Block;
use crate::host;
use crate::ids::{AbsoluteAddress, CpuNumber, GuestAddress, Handle, VirtualAddress};
use crate::reset;
use crate::state::{Boot, Outstanding, Run, State, Stay};
use crate::step::{Access, Outcome, Program};
use crate::world::World;
use crate::{After, Objection};

/// Reasons of validity interceptions, as the book numbers them (°).
pub(super) mod reason {
    pub(in super::super) const CONFIGURATION: u16 = 0x2001;
    pub(in super::super) const CPU: u16 = 0x2002;
    pub(in super::super) const FOREIGN_CPU: u16 = 0x2003;
    pub(in super::super) const SPACE: u16 = 0x2004;
    pub(in super::super) const DESCRIPTION: u16 = 0x2005;
    pub(in super::super) const IN_SIE: u16 = 0x2006;
    pub(in super::super) const TIMER: u16 = 0x2007;
    pub(in super::super) const NOT_VERIFIED: u16 = 0x2008;
    pub(in super::super) const NOT_OPERATING: u16 = 0x2009;
    pub(in super::super) const RESET: u16 = 0x200a;
    pub(in super::super) const INJECTION: u16 = 0x200b;
    pub(in super::super) const NO_INTERRUPTION: u16 = 0x200c;
    pub(in super::super) const NOT_ENABLED: u16 = 0x200d;
    pub(in super::super) const EXCEPTION: u16 = 0x200e;
    pub(in super::super) const INCOMPLETE: u16 = 0x200f;
}

/// START INTERPRETIVE EXECUTION (D80): checks in order, and nothing has changed if one fails. Then the PSW that a
/// load has left to be fetched, the instruction that the host was to complete, and what the host injects.
pub(crate) fn enter(
    state: &State,
    cpu: CpuNumber,
    description: VirtualAddress,
    world: &mut dyn World,
) -> Result<After, Objection> {
    let Some(host) = state.host.get(&cpu).filter(|host| host.operating && host.guest.is_none()) else {
        return Ok(crate::impossible(state));
    };
    if host.problem_state {
        // SIE is a privileged instruction.
        return Ok(after(state.clone(), Outcome::Program(Program { code: 0x02, teid: 0 }), "D80"));
    }
    let site = Site { host: cpu, description };
    let mut next = state.clone();
    let entered = match description::fetch(&mut next, site, world) {
        Ok((block, at)) => try_to_enter(&mut next, site, &block, at, world),
        Err((program, _)) => Err(Failure::Program(program, "D80")),
    };
    match entered {
        Ok(Entered::Runs(rule)) => Ok(after(next, Outcome::Done, rule)),
        Ok(Entered::Notified(notice)) => Ok(reported(next, site, &notice, "Q22", world)),
        Err(Failure::Invalid(reason, rule)) => {
            let unchanged = keeping_buffer(state, &next, cpu);
            Ok(reported(unchanged, site, &Notice::of(32, 0, u32::from(reason) << 16), rule, world))
        }
        Err(Failure::Prefix(issuer, given)) => {
            let exited = exited(keeping_buffer(state, &next, cpu), &issuer, given);
            Ok(reported(exited, site, &Notice::bare(112), "T20", world))
        }
        Err(Failure::Exit(issuer, given, program, rule)) => {
            let exited = exited(keeping_buffer(state, &next, cpu), &issuer, given);
            Ok(after(exited, Outcome::Program(program), rule))
        }
        Err(Failure::Program(program, rule)) => {
            Ok(after(keeping_buffer(state, &next, cpu), Outcome::Program(program), rule))
        }
        Err(Failure::Objection(objection)) => Err(objection),
    }
}

/// How an entry ends that no check has refused.
enum Entered {
    /// The guest runs.
    Runs(&'static str),
    /// An instruction was completed, and SIE has ended with the notification of that.
    Notified(Notice),
}

/// Why there is no entry.
enum Failure {
    /// Interception 32, with this reason.
    Invalid(u16, &'static str),
    /// Interception 112 of this guest CPU, with this CPU timer.
    Prefix(Issuer, u64),
    /// A program interruption of the host.
    Program(Program, &'static str),
    /// The same behind the checks: likewise an exit.
    Exit(Issuer, u64, Program, &'static str),
    Objection(Objection),
}

/// Nothing has run, but unlike a validity this is an exit: the timer's window begins anew (C96).
fn exited(mut state: State, issuer: &Issuer, given: u64) -> State {
    let now = state.clock;
    if let Some(cpu) = state.cpus.get_mut(&issuer.cpu) {
        cpu.registers.cpu_timer = given;
    }
    timer::charge(&mut state, issuer, now);
    state
}

impl From<Stop> for Failure {
    /// On the way in, there is no guest yet to take an interruption.
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Guest(program, rule) | Stop::Host(program, rule) => Self::Program(program, rule),
            Stop::Objection(objection) => Self::Objection(objection),
        }
    }
}

/// The host finds the code in the state description.
fn reported(mut next: State, site: Site, notice: &Notice, rule: &'static str, world: &mut dyn World) -> After {
    description::report(&mut next, site, notice, world);
    after(next, Outcome::Interception(notice.interception), rule)
}

fn try_to_enter(
    next: &mut State,
    site: Site,
    block: &Block,
    at: AbsoluteAddress,
    world: &mut dyn World,
) -> Result<Entered, Failure> {
    let issuer = identified(next, site, block, at)?;
    ready(next, &issuer, block)?;
    prefix_pages(next, &issuer, block, world)?;
    begin(next, &issuer, block, world).map_err(|failure| match failure {
        Failure::Program(program, rule) => Failure::Exit(issuer, block.u64(offset::CPU_TIMER), program, rule),
        other => other,
    })
}

/// Row 2 of the book's table of entry checks: who is to run (C92, C93, C94, Q26).
fn identified(next: &State, site: Site, block: &Block, at: AbsoluteAddress) -> Result<Issuer, Failure> {
    let (configuration, cpu) = (Handle(block.u64(offset::CONFIGURATION_HANDLE)), Handle(block.u64(offset::CPU_HANDLE)));
    let Some(owner) = next.configurations.get(&configuration) else {
        return Err(Failure::Invalid(reason::CONFIGURATION, "C93"));
    };
    let Some(kept) = next.cpus.get(&cpu) else { return Err(Failure::Invalid(reason::CPU, "C93")) };
    if kept.configuration != configuration {
        return Err(Failure::Invalid(reason::FOREIGN_CPU, "C94"));
    }
    if next.host.get(&site.host).is_none_or(|host| host.primary != owner.asce) {
        return Err(Failure::Invalid(reason::SPACE, "C92"));
    }
    if kept.state_description != at {
        return Err(Failure::Invalid(reason::DESCRIPTION, "Q26"));
    }
    Ok(Issuer { site, cpu, configuration })
}

/// Rows 3 to 5: whether it may run (C95, C96, I-34, I-36).
fn ready(next: &State, issuer: &Issuer, block: &Block) -> Result<(), Failure> {
    let (cpu, configuration) = (issuer.cpu(next)?, issuer.configuration(next)?);
    let invalid = |reason, rule| Err(Failure::Invalid(reason, rule));
    if cpu.in_sie.is_some() {
        return invalid(reason::IN_SIE, "C95");
    }
    if !timer::in_window(cpu, block.u64(offset::CPU_TIMER), next.clock) {
        return invalid(reason::TIMER, "C96");
    }
    if !matches!(configuration.boot, Boot::Verified(_)) {
        return invalid(reason::NOT_VERIFIED, "I-34");
    }
    if reset::is_pending(next, issuer.cpu) {
        return invalid(reason::RESET, "I-36");
    }
    if cpu.run != Run::Operating {
        return invalid(reason::NOT_OPERATING, "D80");
    }
    Ok(())
}

/// Row 6, T20: both prefix pages are there, whatever it is that is in the way.
fn prefix_pages(next: &mut State, issuer: &Issuer, block: &Block, world: &mut dyn World) -> Result<(), Failure> {
    let prefix = issuer.cpu(next)?.registers.prefix;
    for page in [prefix, prefix.wrapping_add(0x1000)] {
        // Question: does a read-only mapping of a prefix page count as missing?
        match access::reach(next, issuer, GuestAddress(page), Access::Fetch, world) {
            Ok(_) => {}
            Err(Stop::Objection(objection)) => return Err(Failure::Objection(objection)),
            Err(_) => return Err(Failure::Prefix(*issuer, block.u64(offset::CPU_TIMER))),
        }
    }
    Ok(())
}

/// The guest CPU is in SIE: what comes before its own actions.
fn begin(next: &mut State, issuer: &Issuer, block: &Block, world: &mut dyn World) -> Result<Entered, Failure> {
    let cpu = issuer.cpu_mut(next)?;
    cpu.in_sie = Some(issuer.site.host);
    cpu.registers.cpu_timer = block.u64(offset::CPU_TIMER);
    if core::mem::take(&mut cpu.load_pending) {
        let psw = short_psw(fetch_psw(next, issuer, world)?);
        issuer.cpu_mut(next)?.registers.psw = psw;
    }
    let cpu = issuer.cpu(next)?;
    let injected = injection::asked(cpu, block).map_err(|reason| Failure::Invalid(reason, "C97"))?;
    let completes = !matches!(injected, Some(Injection::Program(_)));
    if let Some(outstanding) = issuer.cpu_mut(next)?.outstanding.take().filter(|_| completes) {
        complete(next, issuer, block, &outstanding, world)?;
        if outstanding.notifies {
            let now = next.clock;
            timer::charge(next, issuer, now);
            return Ok(Entered::Notified(Notice::of(108, outstanding.ipa, 0)));
        }
    }
    if let Some(injected) = injected {
        // If the prefix area is not there for it, the interruption stays pending with the host.
        injection::inject(next, issuer, block, injected, world).map_err(|stop| match stop {
            Stop::Objection(objection) => Failure::Objection(objection),
            Stop::Guest(..) | Stop::Host(..) => Failure::Prefix(*issuer, block.u64(offset::CPU_TIMER)),
        })?;
        description::clear_injection(next, issuer.site, world);
    }
    let (psw_mask, since) = (issuer.cpu(next)?.registers.psw.0, next.clock);
    let stay = Stay {
        cpu: issuer.cpu,
        description: issuer.site.description,
        problem_state: psw_mask & super::PROBLEM_STATE != 0,
        since,
        exit: None,
    };
    if let Some(host) = next.host.get_mut(&issuer.site.host) {
        host.guest = Some(stay);
    }
    Ok(Entered::Runs(if injected.is_some() { "C97" } else { "C65" }))
}

/// After a reset the CPU begins with the PSW at absolute 0, which is read now (CPU_SET_STATE, state 5).
fn fetch_psw(next: &mut State, issuer: &Issuer, world: &mut dyn World) -> Result<u64, Failure> {
    let place = access::Place::Absolute(GuestAddress(0));
    let parts = access::probe(next, issuer, place, 8, Access::Fetch, world)?;
    let block = Block { bytes: host::gather(next, &parts), big_endian: next.setup.big_endian };
    Ok(block.u64(0))
}

/// A short PSW as LOAD PSW takes it: bit 12 turns over, bits 33–63 are the address. A bad one is loaded all the same.
fn short_psw(short: u64) -> (u64, u64) {
    // Question: is bit 12 inverted, as LOAD PSW does, or switched off?
    ((short ^ 0x0008_0000_0000_0000) & 0xffff_ffff_8000_0000, short & 0x7fff_ffff)
}

/// The host has done its part of an instruction (interception 104): its data go to the guest, its result into a
/// register. A page that refuses stops all of it, and the next entry tries again.
fn complete(
    next: &mut State,
    issuer: &Issuer,
    block: &Block,
    outstanding: &Outstanding,
    world: &mut dyn World,
) -> Result<(), Failure> {
    if let Some((address, length)) = outstanding.write_back {
        let area = description::named_area(block);
        // What the data area does not hold stays as it is.
        let length = u64::from(length).min(area.length);
        let loaded = host::load(next, issuer.site.host, area.at, length, Access::Fetch, world);
        let bytes = loaded.map_err(|program| Failure::Program(program, "D80"))?;
        access::store(next, issuer, GuestAddress(address), &bytes, world)?;
    }
    if let Some((shown, guest)) = outstanding.result {
        let value = block.u64(offset::GENERAL + 8 * usize::from(shown & 15));
        issuer.cpu_mut(next)?.registers.general[usize::from(guest & 15)] = value;
    }
    Ok(())
}
