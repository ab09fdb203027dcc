//! The comparison, step by step.

use crate::bridge;
use crate::coverage::Coverage;
use crate::difference::{Difference, Part};
use crate::project::{Look, page_of, shown};
use crate::script::Script;
use crate::world::{Beside, Keys};
use imbl::ordmap::DiffItem;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::config::MachineConfig;
use uvsim_model::witness::{self, HostStep, Witness};
use uvsim_oracle::ids::FrameNumber;
use uvsim_oracle::{After, Objection, Outcome, State};

/// Ways of one step that are tried at most.
const MOST_ATTEMPTS: u32 = 256;
/// Steps between two looks at everything, at least.
const FEWEST_STEPS: u64 = 64;

/// A witness that lets the oracle take every step as well. One for each machine, from its first step on. Steps must
/// come one after the other: it is no use for a machine that several threads operate at once.
#[derive(Debug)]
pub struct SideBySide(Mutex<Comparison>);

/// What was compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Steps.
    pub steps: u64,
    /// Steps of which more than one way was tried.
    pub open_steps: u64,
    /// Looks at everything.
    pub sweeps: u64,
    /// Calls that both sides answer alike, but by different rules: the model's, the oracle's latest, and how often.
    pub other_rules: BTreeMap<(&'static str, &'static str), u64>,
}

#[derive(Debug)]
struct Comparison {
    state: State,
    /// At the snapshot of the machine.
    snapshot: Option<State>,
    keys: Keys,
    script: Script,
    statistics: Statistics,
    coverage: Coverage,
    /// Step after which everything was compared last.
    swept: u64,
    /// Step after which everything is compared again.
    next_sweep: u64,
    difference: Option<Difference>,
}

impl SideBySide {
    /// Begins with a machine that is as new.
    #[must_use]
    pub fn new(config: &MachineConfig) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Comparison {
            state: bridge::start(config),
            snapshot: None,
            keys: Keys::default(),
            script: Script::default(),
            statistics: Statistics::default(),
            coverage: Coverage::default(),
            swept: 0,
            next_sweep: FEWEST_STEPS,
            difference: None,
        })))
    }

    /// Watches a machine that is as new.
    #[must_use]
    pub fn watch(machine: &mut Machine) -> Arc<Self> {
        let side = Self::new(machine.config());
        machine.watch(side.clone());
        side
    }

    /// Looks at everything once more. The first difference, if there is one.
    pub fn finish(&self, machine: &Machine) -> Option<Difference> {
        let mut comparison = self.0.lock();
        if comparison.difference.is_none() {
            comparison.sweep(machine, "the end", true);
        }
        comparison.difference.clone()
    }

    /// The first difference so far.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        self.0.lock().difference.clone()
    }

    /// What was compared so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.0.lock().statistics.clone()
    }

    /// What the steps have met so far.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.0.lock().coverage.clone()
    }

    /// Changes what the oracle believes: to see that a difference is found.
    pub fn assume(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().state);
    }

    /// Makes the oracle believe that the snapshot is of this moment: likewise.
    pub fn remember(&self) {
        let mut comparison = self.0.lock();
        comparison.snapshot = Some(comparison.state.clone());
    }
}

impl Witness for SideBySide {
    fn witness(&self, machine: &Machine, step: &witness::Step<'_>, outcome: &witness::Outcome<'_>) {
        let mut comparison = self.0.lock();
        if comparison.difference.is_none() {
            comparison.take(machine, step, outcome);
        }
    }
}

/// One way of a step that the machine has not gone.
struct Miss {
    rules: Vec<&'static str>,
    expected: String,
    parts: Vec<Part>,
}

impl Comparison {
    fn take(&mut self, machine: &Machine, told: &witness::Step<'_>, ended: &witness::Outcome<'_>) {
        self.statistics.steps += 1;
        let found = bridge::outcome(ended);
        let Some(step) = bridge::step(told) else { return self.go_to_and_fro(machine, told, ended) };
        let answered = bridge::is_answered(&step);
        self.script.restart();
        let mut best: Option<Miss> = None;
        for attempt in 1..=MOST_ATTEMPTS {
            let mut world =
                Beside { machine, step: told, outcome: ended, script: &mut self.script, keys: &mut self.keys };
            let miss = match uvsim_oracle::step(&self.state, &step, &mut world) {
                Ok(after) => {
                    let parts = changes(machine, &self.state, &after.state, ended);
                    if parts.is_empty() && (!answered || after.outcome == found) {
                        self.statistics.open_steps += u64::from(attempt > 1);
                        self.accept(machine, told, ended, after);
                        return;
                    }
                    Miss { rules: after.rules, expected: words(&after.outcome, &found), parts }
                }
                Err(Objection { rule, message }) => {
                    Miss { rules: vec![rule], expected: format!("objects: {message}"), parts: Vec::new() }
                }
            };
            let found = words(&found, &found);
            let distance = |miss: &Miss| (miss.expected != found, miss.parts.len());
            if best.as_ref().is_none_or(|best| distance(&miss) < distance(best)) {
                best = Some(miss);
            }
            if !self.script.advance() {
                break;
            }
        }
        let Some(Miss { rules, expected, parts }) = best else { return };
        let (step, found) = (self.statistics.steps, words(&found, &found));
        self.difference =
            Some(Difference { step, equal_since: step - 1, what: step_words(told), rules, expected, found, parts });
    }

    /// A snapshot or a restore. The state is a value, so there is nothing to it but to keep one, and to take it up
    /// again. Whether somebody uses the channel nobody tells, so the machine may refuse more than need be.
    fn go_to_and_fro(&mut self, machine: &Machine, told: &witness::Step<'_>, ended: &witness::Outcome<'_>) {
        self.coverage.add(told, ended, &["snapshot"]);
        let (&witness::Step::Host(number, step), witness::Outcome::Done) = (told, ended) else { return };
        let alone = self.state.host.iter().all(|(cpu, host)| host.operating == (cpu.0 == number));
        match (step, self.snapshot.clone()) {
            (HostStep::Snapshot, _) if alone => self.snapshot = Some(self.state.clone()),
            (HostStep::Restore, Some(mut state)) if alone => {
                // Whoever goes back goes on operating, whoever it was that took the snapshot.
                let cpus: Vec<_> = state.host.keys().copied().collect();
                for cpu in cpus {
                    if let Some(host) = state.host.get_mut(&cpu) {
                        host.operating = cpu.0 == number;
                    }
                }
                self.state = state;
                self.sweep(machine, &step_words(told), false);
            }
            _ => {
                let step = self.statistics.steps;
                self.difference = Some(Difference {
                    step,
                    equal_since: step - 1,
                    what: step_words(told),
                    rules: Vec::new(),
                    expected: "Impossible".into(),
                    found: "Done".into(),
                    parts: Vec::new(),
                });
            }
        }
    }

    fn accept(&mut self, machine: &Machine, step: &witness::Step<'_>, outcome: &witness::Outcome<'_>, after: After) {
        self.state = after.state;
        self.coverage.add(step, outcome, &after.rules);
        if let witness::Outcome::Answered(answered) = outcome
            && !after.rules.contains(&answered.rule)
        {
            let rules = (answered.rule, after.rules.last().copied().unwrap_or("none"));
            *self.statistics.other_rules.entry(rules).or_default() += 1;
        }
        if self.statistics.steps >= self.next_sweep {
            self.sweep(machine, &step_words(step), false);
        } else if matches!(step, witness::Step::Host(_, HostStep::Uvc(_))) {
            let mut look = Look::new(machine, &self.state);
            look.machine();
            look.objects();
            let parts = look.parts;
            self.note(parts, &step_words(step), self.statistics.steps - 1);
        }
    }

    /// Compares everything.
    fn sweep(&mut self, machine: &Machine, what: &str, thorough: bool) {
        let mut look = Look::new(machine, &self.state);
        let work = look.all();
        if thorough {
            look.guest_pages();
        }
        let parts = look.parts;
        self.statistics.sweeps += 1;
        self.note(parts, what, self.swept);
        self.swept = self.statistics.steps;
        self.next_sweep = self.statistics.steps + work.max(FEWEST_STEPS);
    }

    fn note(&mut self, parts: Vec<Part>, what: &str, equal_since: u64) {
        if parts.is_empty() {
            return;
        }
        let agreed = "the outcome of the step";
        self.difference = Some(Difference {
            step: self.statistics.steps,
            equal_since,
            what: what.into(),
            rules: Vec::new(),
            expected: agreed.into(),
            found: agreed.into(),
            parts,
        });
    }
}

/// Compares what a step has changed, says the oracle.
fn changes(machine: &Machine, before: &State, after: &State, outcome: &witness::Outcome<'_>) -> Vec<Part> {
    let mut look = Look::new(machine, after);
    look.machine();
    for item in before.storage.diff(&after.storage) {
        look.frame(*key(&item));
    }
    if let witness::Outcome::Answered(answered) = outcome {
        let [first, last] = answered.frames;
        look.frame(first);
        if last != first {
            look.frame(last);
        }
    }
    for item in before.registered.diff(&after.registered) {
        look.zone(*key(&item));
        look.frame(*key(&item));
    }
    for item in before.donated.diff(&after.donated) {
        let (first, count) = match &item {
            DiffItem::Add(first, donated) | DiffItem::Remove(first, donated) => (first.0, donated.count),
            DiffItem::Update { old, new } => (new.0.0, old.1.count.max(new.1.count)),
        };
        look.zones(FrameNumber(first), count);
    }
    for item in before.configurations.diff(&after.configurations) {
        let handle = *key(&item);
        look.configuration(handle);
        if let DiffItem::Update { old, new } = item
            && !old.1.pages.ptr_eq(&new.1.pages)
        {
            for page in old.1.pages.diff(&new.1.pages) {
                let page = *key(&page);
                if page_of(old.1, page) != page_of(new.1, page) {
                    look.page(handle, page);
                }
            }
        }
    }
    for item in before.cpus.diff(&after.cpus) {
        look.cpu(*key(&item));
    }
    look.parts
}

fn key<'a, K, V>(item: &DiffItem<'a, 'a, K, V>) -> &'a K {
    match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
        DiffItem::Update { new, .. } => new.0,
    }
}

/// A step, without too many bytes.
fn step_words(step: &witness::Step<'_>) -> String {
    use witness::{GuestStep, Step};
    match step {
        Step::Host(cpu, HostStep::Store(address, bytes)) => {
            format!("Host({cpu}, Store({address:?}, {}))", shown(bytes))
        }
        Step::Guest(cpu, GuestStep::Store(address, bytes)) => {
            format!("Guest({cpu}, Store({address:?}, {}))", shown(bytes))
        }
        Step::ChannelWrite(address, bytes) => format!("ChannelWrite({address:?}, {})", shown(bytes)),
        step => format!("{step:x?}"),
    }
}

/// An outcome, without too many bytes: from where on it differs from another one.
fn words(outcome: &Outcome, other: &Outcome) -> String {
    let Outcome::Loaded(bytes) = outcome else { return format!("{outcome:x?}") };
    let Outcome::Loaded(others) = other else { return format!("Loaded({})", shown(bytes)) };
    match bytes.iter().zip(others).position(|(one, other)| one != other) {
        Some(at) => format!("Loaded(+{at:#x}: {})", shown(&bytes[at..])),
        None => format!("Loaded({})", shown(bytes)),
    }
}
