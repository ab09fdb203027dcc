//! Runs scenarios: each file on a machine of its own, statement by statement, against its expectations.

mod access;
mod calls;
mod checks;
mod compare;
mod contents;
mod execute;
mod files;
mod io;
mod lanes;
mod piecewise;
mod replay;
mod report;
mod runner;
mod setup;
mod threads;
mod words;
mod workload;

pub mod human;
pub mod json;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use compare::Difference;
pub use files::{check, collect, transcript};
pub(crate) use piecewise::{Piece, Piecewise};
pub use report::{Failure, FileEnd, IoCounters, IoEnd, Note, Report, StatementEnd, Turn, Verdict, WorkloadEnd};
pub(crate) use setup::{boot, image_of};

pub use crate::pressure::Counters;

use crate::domain::{self, Domain, Finding};
use crate::scenario::{Scenario, ScenarioErrors};
use runner::{End, Runner, outcome};
use uvsim_model::Machine;
use uvsim_verify::SideBySide;

/// How a run is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Replaces the seed of every file.
    pub seed: Option<u64>,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Lanes run at the same time, each on a thread of its own.
    pub threads: bool,
    /// The oracle takes every step as well, and must agree. Not together with `threads`: see [`Options::clash`].
    pub verify: bool,
    /// A statement that fails is told and counted, and what comes after it is run all the same.
    pub go_on: bool,
}

impl Options {
    /// Why these cannot be had together, if they cannot.
    #[must_use]
    pub const fn clash(&self) -> Option<&'static str> {
        if self.threads && self.verify {
            return Some(
                "--verify and --threads exclude each other: the oracle takes one step after the other, and on threads \
                 nobody knows their order",
            );
        }
        None
    }
}

/// What a file, or a whole run, comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// 0: everything was as expected.
    #[default]
    Pass,
    /// 1: an outcome, a code, a content or a check was not.
    Fail,
    /// 2: the file or the arguments cannot be used.
    Unusable,
    /// 3: the model broke an invariant, a refused call changed the state, or the oracle disagrees.
    Broken,
    /// 4: the time limit.
    TimeOut,
}

impl Status {
    /// The exit status of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unusable => 2,
            Self::Broken => 3,
            Self::TimeOut => 4,
        }
    }

    /// "pass", "fail" or "error".
    #[must_use]
    pub const fn result(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail | Self::Broken => "fail",
            Self::Unusable | Self::TimeOut => "error",
        }
    }

    /// The status that stands for both: the first that applies of 3, 2, 4, 1, 0.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Broken => 4,
            Self::Unusable => 3,
            Self::TimeOut => 2,
            Self::Fail => 1,
            Self::Pass => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Statements executed: a range once, a repeated one each time.
    pub statements: u64,
    /// Those of them that check something.
    pub checks: u64,
    /// Those that failed.
    pub failed: u64,
}

/// Runs files, a folder for its scenarios, in order; reports, and returns the verdict, which has been reported
/// as well.
pub fn run(paths: &[PathBuf], options: Options, report: &mut dyn Report) -> Verdict {
    let scenarios = collect(paths).into_iter().map(|file| Scenario::read(&file?));
    run_each(scenarios, options, report)
}

/// The same with a domain definition: the first guest of every scenario is set up by it. Without paths a scenario
/// is made for it ([`domain::scenario`]).
pub fn run_domain(definition: &Path, paths: &[PathBuf], options: Options, report: &mut dyn Report) -> Verdict {
    let domain = match usable_domain(definition) {
        Ok(domain) => Arc::new(domain),
        Err(errors) => return run_each(std::iter::once(Err(errors)), options, report),
    };
    if !paths.is_empty() {
        let files = collect(paths).into_iter();
        return run_each(files.map(|file| Scenario::read_with_domain(&file?, &domain)), options, report);
    }
    let text = domain::scenario(&domain, definition);
    let name = PathBuf::from(format!("{} (its scenario)", definition.display()));
    // The definition has been read already, by a path that need not be UTF-8.
    let mut files = |_: &Path, _: u64| Ok(domain.text.as_bytes().to_vec());
    run_each(std::iter::once(Scenario::parse_with(&name, &text, &mut files)), options, report)
}

/// A domain definition that a guest can be set up by.
///
/// # Errors
/// It cannot be read, or breaks a rule about the guest as a whole.
pub fn usable_domain(path: &Path) -> Result<Domain, ScenarioErrors> {
    let domain = Domain::read(path).map_err(|error| ScenarioErrors::from(*error))?;
    let mut findings = domain::check(&domain);
    findings.retain(Finding::rules_out_the_guest);
    if findings.is_empty() { Ok(domain) } else { Err(ScenarioErrors::of_findings(&domain, &findings)) }
}

fn run_each(
    scenarios: impl Iterator<Item = Result<Scenario, ScenarioErrors>>,
    options: Options,
    report: &mut dyn Report,
) -> Verdict {
    if let Some(message) = options.clash() {
        report.argument(message, None);
        let verdict = Verdict { status: Status::Unusable, ..Verdict::default() };
        report.verdict(&verdict);
        return verdict;
    }
    let mut verdict = Verdict { seed: options.seed, threads: options.threads.then_some(false), ..Verdict::default() };
    for scenario in scenarios {
        let status = match scenario {
            Ok(scenario) => {
                let seed = options.seed.unwrap_or(scenario.machine.seed);
                verdict.seed.get_or_insert(seed);
                verdict.scenarios += 1;
                if scenario.has_lanes() {
                    verdict.threads = verdict.threads.map(|_| true);
                }
                let (status, counts) = run_scenario(&scenario, options, report);
                verdict.counts.statements += counts.statements;
                verdict.counts.checks += counts.checks;
                verdict.counts.failed += counts.failed;
                status
            }
            Err(errors) => {
                report.unusable(&errors);
                verdict.unusable += 1;
                Status::Unusable
            }
        };
        verdict.status = verdict.status.worse(status);
    }
    report.verdict(&verdict);
    verdict
}

/// Runs one scenario.
pub fn run_scenario(scenario: &Scenario, options: Options, report: &mut dyn Report) -> (Status, Counts) {
    let mut config = scenario.machine.clone();
    config.seed = options.seed.unwrap_or(config.seed);
    report.scenario(scenario, &config);
    for guest in &scenario.guests {
        if let Some(domain) = &guest.domain {
            report.domain(scenario, guest, domain);
        }
    }
    let mut counts = Counts::default();
    let mut built = Machine::new(config);
    let side = match &mut built {
        Ok(machine) if options.verify => Some(SideBySide::watch(machine)),
        _ => None,
    };
    let built = built.as_ref().map_err(|error| setup::SetupError {
        place: scenario.place,
        message: error.to_string(),
        help: None,
    });
    let status = match built.and_then(|machine| boot(machine, scenario)) {
        Ok(kernel) => {
            let mut runner = Runner::new(scenario, kernel, options, report);
            runner.side = side;
            let status = runner.run_all();
            counts = runner.counts;
            status
        }
        Err(error) => {
            report.error(scenario, error.place, &error.message, error.help.as_deref());
            Status::Unusable
        }
    };
    report.end(&FileEnd { scenario, status, counts });
    (status, counts)
}
