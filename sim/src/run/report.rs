//! What a run tells, and to whom.

use super::{Counters, Counts, Status};
use crate::domain::Domain;
use crate::kernel::{Observed, Transition};
use crate::paging::WorkingSetSize;
use crate::scenario::{Guest, Parallel, Place, Repeat, Scenario, ScenarioErrors, Statement, Step};
use uvsim_model::config::MachineConfig;
use uvsim_verify::Difference;

/// Receives a run as it happens.
pub trait Report {
    /// A file begins.
    fn scenario(&mut self, scenario: &Scenario, config: &MachineConfig);
    /// A guest is set up by a domain definition; follows [`Report::scenario`].
    fn domain(&mut self, _scenario: &Scenario, _guest: &Guest, _domain: &Domain) {}
    /// A step begins.
    fn step(&mut self, scenario: &Scenario, step: &Step);
    /// A pass of a loop begins; the first is 0.
    fn repeat(&mut self, _repeat: &Repeat, _pass: u64) {}
    /// A loop is over.
    fn repeated(&mut self, _repeat: &Repeat) {}
    /// Lanes begin: up to [`Report::joined`] all that is told belongs to the [`Report::turn`] before it.
    /// `_threads`: at the same time, each on a thread of its own.
    fn parallel(&mut self, _scenario: &Scenario, _parallel: &Parallel, _threads: bool) {}
    /// A turn of a lane begins.
    fn turn(&mut self, _turn: Turn) {}
    /// Lanes on threads are through, and so many pages hold what the guests last stored.
    fn contents(&mut self, _scenario: &Scenario, _parallel: &Parallel, _pages: u64) {}
    /// The lanes are over.
    fn joined(&mut self) {}
    /// A statement has ended.
    fn statement(&mut self, scenario: &Scenario, end: &StatementEnd<'_>);
    /// A statement has failed; follows [`Report::statement`].
    fn failure(&mut self, scenario: &Scenario, place: Place, failure: &Failure);
    /// The machine is not what its oracle says; the last thing before the end of the file.
    fn difference(&mut self, scenario: &Scenario, place: Place, difference: &Difference);
    /// A workload or replay of `_goal` accesses is under way.
    fn progress(&mut self, _goal: u64, _accesses: u64) {}
    /// A workload or replay has ended.
    fn workload(&mut self, scenario: &Scenario, end: &WorkloadEnd<'_>);
    /// The file is over; what the devices of a guest have done.
    fn io(&mut self, _scenario: &Scenario, _end: &IoEnd<'_>) {}
    /// A mistake of the file that shows only when it runs.
    fn error(&mut self, scenario: &Scenario, place: Place, message: &str, help: Option<&str>);
    /// Arguments that cannot be used; nothing but [`Report::verdict`] follows.
    fn argument(&mut self, message: &str, help: Option<&str>);
    /// A file that cannot be used.
    fn unusable(&mut self, errors: &ScenarioErrors);
    /// A file that was only checked is in order.
    fn checked(&mut self, _scenario: &Scenario) {}
    /// A file ends.
    fn end(&mut self, _end: &FileEnd<'_>) {}
    /// Everything has ended.
    fn verdict(&mut self, verdict: &Verdict);
}

/// A turn of a lane: one statement, or a slice of a workload or replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The lane, which is the host CPU as well.
    pub lane: u16,
    /// It is in a loop of the lane, and not in the first pass.
    pub again: bool,
}

/// A statement that has ended.
#[derive(Debug)]
pub struct StatementEnd<'a> {
    /// The statement.
    pub statement: &'a Statement,
    /// What it came to; for a range of pages, at the last one tried.
    pub got: Observed,
    /// Whether that was expected, as far as it was compared.
    pub passed: bool,
    /// Whether it was compared with what was expected: not in lanes on threads.
    pub compared: bool,
    /// Frames that changed their state.
    pub transitions: Vec<Transition>,
    /// What there is to say of a request to a device that was not done.
    pub note: Option<Note>,
}

/// Why a request to a device was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The guest's page that the host could not reach, as `alpha:222`.
    pub page: Option<String>,
    /// Why.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A failed expectation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The page concerned, as `alpha:3`.
    pub page: Option<String>,
    /// The rule that the machine followed, `""` if none is known.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What differs: what, expected, found.
    pub state: Vec<(String, String, String)>,
}

/// A workload or replay that has ended.
#[derive(Debug)]
pub struct WorkloadEnd<'a> {
    /// "workload" or "replay".
    pub event: &'static str,
    /// Where it stands.
    pub place: Place,
    /// The text as written.
    pub text: &'a str,
    /// Name of the guest.
    pub guest: &'a str,
    /// How many accesses it has.
    pub goal: u64,
    /// What was counted.
    pub counters: Counters,
    /// How large its working set was, if the policy knows.
    pub working_set: Option<WorkingSetSize>,
}

/// What the devices of a guest have done.
#[derive(Debug)]
pub struct IoEnd<'a> {
    /// The guest.
    pub guest: &'a Guest,
    /// What was counted.
    pub counters: IoCounters,
}

/// Counters of a guest's devices, over all of its lives. Deterministic: none of them is a time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoCounters {
    /// Requests begun.
    pub requests: u64,
    /// Bytes that the guest has read from its devices.
    pub bytes_read: u64,
    /// Bytes that it has written to them.
    pub bytes_written: u64,
    /// Copies into and out of the bounce buffer.
    pub bounce_copies: u64,
    /// Bytes copied so.
    pub bounce_bytes: u64,
    /// Slots of the bounce buffer.
    pub slots: u64,
    /// The most of them in use at a time.
    pub slots_peak: u64,
    /// Number of a request, from 1, and slots in use while the device had it; at most 64 points.
    pub slots_over_time: Vec<(u64, u64)>,
    /// Requests that found no slot, and never reached their device.
    pub no_slot: u64,
    /// Pages that the host pinned for its devices.
    pub pins: u64,
    /// Pages that it released.
    pub unpins: u64,
    /// Pages that the drivers shared.
    pub shares: u64,
    /// Pages that they took back.
    pub unshares: u64,
    /// Accesses of devices that the channel refused.
    pub refusals: u64,
    /// Notifications of queues.
    pub notifications: u64,
}

impl IoCounters {
    /// Ultravisor calls on account of the devices.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.pins + self.unpins + self.shares + self.unshares
    }
}

/// A file that has ended.
#[derive(Debug)]
pub struct FileEnd<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// What it came to.
    pub status: Status,
    /// What was counted.
    pub counts: Counts,
}

/// The end of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// What it came to.
    pub status: Status,
    /// Files run, or found in order where they are only checked.
    pub scenarios: u64,
    /// Files that cannot be read or are no scenarios.
    pub unusable: u64,
    /// What was counted.
    pub counts: Counts,
    /// The seed of the command line, else of the first scenario.
    pub seed: Option<u64>,
    /// If lanes were to run on threads: whether there were any.
    pub threads: Option<bool>,
}
