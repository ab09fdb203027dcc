//! The rules, executable: what a machine with an Ultravisor has to answer to every step, and what it is
//! afterwards. Short, slow, obviously right.
//!
//! A [`State`] is a value; [`step`](fn@step) is a function from a state and a [`Step`] to the next state and what
//! whoever took the step gets to see. There are no locks, no caches and no cryptography: an exported page is
//! the value `sealed(configuration, page, counter, content)`. What the rules leave open, or what only the
//! other side can know (the bits of a ciphertext, the number of a handle), is asked of the [`World`], which is
//! thereby the complete list of what the oracle is loose about.
//!
//! This is the second statement of the rules, and it is worth something only as long as it is independent of
//! the first: of the model it knows the types of addresses and numbers (`ids`), nothing else, and a test holds
//! it to that. It was written from the tables of the book and their public sources.
//!
//! Ids (T26, I-15, Q2, D11, C70) are rows of those tables.

mod access;
mod boot;
mod call;
mod channel;
mod command;
mod configuration;
mod cpu;
mod guest;
mod host;
pub mod ids;
mod machine;
mod paging;
mod query;
mod reset;
mod sharing;
pub mod state;
pub mod step;
mod storage;
mod translation;
pub mod world;

use ids::{CpuNumber, FrameNumber, Handle, PageIndex};
use imbl::ordmap::DiffItem;
use state::{Record, Registered, Registration};
use step::Injection;

pub use state::State;
pub use step::{Outcome, Step};
pub use world::World;

/// What became of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct After {
    /// The state that follows.
    pub state: State,
    /// What whoever took the step gets to see.
    pub outcome: Outcome,
    /// The rows that decided, in the order in which they did.
    pub rules: Vec<&'static str>,
}

/// The world has shown something that no rule admits: a handle used twice, a ciphertext that stands for something
/// else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Objection {
    /// The rule.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Takes a step.
///
/// # Errors
/// The world has shown something that no rule admits.
pub fn step(before: &State, step: &Step, world: &mut dyn World) -> Result<After, Objection> {
    let mut after = match step {
        Step::Start(cpu) => operate(before, *cpu, true),
        Step::Stop(cpu) => operate(before, *cpu, false),
        Step::Host(cpu, _) | Step::Guest(cpu, _) if !before.host.contains_key(cpu) => impossible(before),
        Step::Host(cpu, what) => host::step(before, *cpu, what, world)?,
        Step::Guest(cpu, what) => guest::step(before, *cpu, what, world)?,
        Step::ChannelRead { address, length } => channel::read(before, *address, *length),
        Step::ChannelWrite { address, bytes } => channel::write(before, *address, bytes),
        Step::Clock { nanoseconds } => {
            done(State { clock: before.clock.wrapping_add(*nanoseconds), ..before.clone() }, "D81")
        }
        Step::Inject { command, injection } => inject(before, *command, *injection),
        Step::PresetCounter { configuration, page, counter } => preset(before, Handle(*configuration), *page, *counter),
    };
    purge_changed(before, &mut after.state);
    Ok(after)
}

fn done(state: State, rule: &'static str) -> After {
    After { state, outcome: Outcome::Done, rules: vec![rule] }
}

fn impossible(before: &State) -> After {
    After { state: before.clone(), outcome: Outcome::Impossible, rules: vec![] }
}

/// A host CPU begins to operate, or stops. It must be there, in the other state, and not run a guest.
fn operate(before: &State, cpu: CpuNumber, operating: bool) -> After {
    let mut next = before.clone();
    match next.host.get_mut(&cpu) {
        Some(host) if host.operating != operating && host.guest.is_none() => host.operating = operating,
        _ => return impossible(before),
    }
    done(next, "D17")
}

/// The next calls of a command end differently (Q19, D17). Counts add up.
fn inject(before: &State, command: u16, injection: Injection) -> After {
    let mut next = before.clone();
    let (mut busy, mut partial, mut late) = before.injected.get(&command).copied().unwrap_or_default();
    match injection {
        Injection::Busy(count) => busy = busy.saturating_add(count),
        Injection::Partial(count) => partial = partial.saturating_add(count),
        Injection::LateFailure => late = true,
    }
    next.injected.insert(command, (busy, partial, late));
    done(next, "Q19")
}

/// The latest export of a resident page was under this counter (D42).
fn preset(before: &State, configuration: Handle, page: PageIndex, counter: u64) -> After {
    let mut next = before.clone();
    let pages = next.configurations.get_mut(&configuration).map(|configuration| &mut configuration.pages);
    if let Some(page) = pages.and_then(|pages| pages.get_mut(&page))
        && let Record::Resident(frame) = page.record
    {
        page.counter = counter;
        page.sealed = Some(before.frame(frame));
    }
    done(next, "D42")
}

/// Whatever a step changed in what frames are, no translation that yields such a frame stays (D56, I-43). That a
/// page is pinned is a matter of its row, not of the zone entry (D1).
fn purge_changed(before: &State, after: &mut State) {
    if after.host.values().all(|host| host.buffer.is_empty() && host.operands.is_empty()) {
        return;
    }
    let mut frames: Vec<FrameNumber> = Vec::new();
    if !before.registered.ptr_eq(&after.registered) {
        frames.extend(before.registered.diff(&after.registered).filter_map(|change| match change {
            DiffItem::Add(&frame, _) | DiffItem::Remove(&frame, _) => Some(frame),
            DiffItem::Update { old: (&frame, old), new: (_, new) } => {
                (zone_entry(old) != zone_entry(new)).then_some(frame)
            }
        }));
    }
    if !before.donated.ptr_eq(&after.donated) {
        let donated = after.donated.clone();
        for change in before.donated.diff(&donated) {
            match change {
                DiffItem::Add(first, donated) | DiffItem::Remove(first, donated) => {
                    after.purge_frames(*first, donated.count);
                }
                DiffItem::Update { old, new } => after.purge_frames(*old.0, old.1.count.max(new.1.count)),
            }
        }
    }
    for frame in frames {
        after.purge_frame(frame);
    }
}

fn zone_entry(registration: &Registration) -> (bool, Handle, PageIndex) {
    (registration.kind == Registered::Secure, registration.configuration, registration.page)
}
