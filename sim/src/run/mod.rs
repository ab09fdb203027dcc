//! Runs scenarios: each file on a machine of its own, statement by statement, against its expectations.

mod compare;
mod execute;
mod report;
mod setup;
mod workload;

pub mod human;
pub mod json;

use std::path::PathBuf;
use std::time::Instant;

pub use compare::Difference;
pub use report::{Failure, FileEnd, Report, StatementEnd, Verdict, WorkloadEnd};
pub use workload::Counters;

use crate::kernel::{FaultAnswers, Kernel, Observed, Stop};
use crate::scenario::{Node, Repeat, Scenario, ScenarioErrors, Statement};
use uvsim_model::Machine;

/// How a run is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Replaces the seed of every file.
    pub seed: Option<u64>,
    /// When to give up.
    pub deadline: Option<Instant>,
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
    /// 3: the model broke an invariant, or a refused call changed the state.
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

/// Runs files in order and reports; returns the verdict, which has been reported as well.
pub fn run(files: &[PathBuf], options: Options, report: &mut dyn Report) -> Verdict {
    let mut verdict = Verdict { seed: options.seed, ..Verdict::default() };
    for path in files {
        let status = match Scenario::read(path) {
            Ok(scenario) => {
                let seed = options.seed.unwrap_or(scenario.machine.seed);
                verdict.seed.get_or_insert(seed);
                verdict.scenarios += 1;
                let (status, counts) = run_scenario(&scenario, options, report);
                verdict.counts.statements += counts.statements;
                verdict.counts.checks += counts.checks;
                verdict.counts.failed += counts.failed;
                status
            }
            Err(errors) => {
                report.unusable(&errors);
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
    let mut counts = Counts::default();
    let status = match Machine::new(config.clone()) {
        Ok(machine) => match setup::boot(&machine, scenario) {
            Ok(kernel) => {
                let mut runner = Runner::new(scenario, kernel, options, report);
                let status = runner.run_all();
                counts = runner.counts;
                status
            }
            Err(error) => {
                report.error(scenario, scenario.place, &error.message, error.help.as_deref());
                Status::Unusable
            }
        },
        Err(error) => {
            report.error(scenario, scenario.place, &error.to_string(), None);
            Status::Unusable
        }
    };
    report.end(&FileEnd { scenario, status, counts });
    (status, counts)
}

/// One scenario on its machine.
struct Runner<'s, 'm, 'r> {
    scenario: &'s Scenario,
    kernel: Kernel<'m>,
    options: Options,
    report: &'r mut dyn Report,
    faults: FaultAnswers,
    /// Saved buffers, by number.
    buffers: Vec<Vec<u8>>,
    counts: Counts,
    /// Workloads run so far: the number of the next one's random sub-stream.
    workloads: u32,
}

/// Why a file ends early.
enum End {
    Failed(Failure, Status),
    /// A mistake of the file that shows only now.
    Unusable(String),
    TimeOut,
}

impl<'s, 'm, 'r> Runner<'s, 'm, 'r> {
    fn new(scenario: &'s Scenario, kernel: Kernel<'m>, options: Options, report: &'r mut dyn Report) -> Self {
        Self {
            scenario,
            kernel,
            options,
            report,
            faults: FaultAnswers::Linux,
            buffers: vec![Vec::new(); scenario.buffers.len()],
            counts: Counts::default(),
            workloads: 0,
        }
    }

    fn run_all(&mut self) -> Status {
        for step in &self.scenario.steps {
            self.report.step(self.scenario, step);
            if let Err(status) = self.run_nodes(&step.nodes) {
                return status;
            }
        }
        if let Err(violation) = self.kernel.machine().check_invariants() {
            let failure = Failure {
                page: None,
                rule: violation.invariant,
                message: format!("at the end of the file: {violation}"),
                state: Vec::new(),
            };
            self.report.failure(self.scenario, self.scenario.place, &failure);
            return Status::Broken;
        }
        Status::Pass
    }

    fn run_nodes(&mut self, nodes: &'s [Node]) -> Result<(), Status> {
        for node in nodes {
            match node {
                Node::Statement(statement) => self.run_statement(statement)?,
                Node::Repeat(repeat) => self.run_repeat(repeat)?,
                Node::Workload(workload) => {
                    self.counts.statements += 1;
                    self.counts.checks += 1;
                    let end = self.run_workload(workload);
                    self.settle(workload.place, end)?;
                }
            }
        }
        Ok(())
    }

    fn run_repeat(&mut self, repeat: &'s Repeat) -> Result<(), Status> {
        for pass in 0..repeat.count {
            self.report.repeat(repeat, pass);
            self.run_nodes(&repeat.nodes)?;
        }
        self.report.repeated(repeat);
        Ok(())
    }

    fn run_statement(&mut self, statement: &'s Statement) -> Result<(), Status> {
        self.counts.statements += 1;
        self.counts.checks += u64::from(statement.checks());
        self.kernel.machine().advance_clock(1000);
        let _ = self.kernel.take_transitions();
        let late = self.options.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let (got, end) = match if late { Err((None, End::TimeOut)) } else { self.perform(statement) } {
            Ok(got) => (Some(got), Ok(())),
            Err((got, end)) => (got, Err(end)),
        };
        let passed = end.is_ok();
        if let Some(got) = got {
            let transitions = self.kernel.take_transitions();
            self.report.statement(self.scenario, &StatementEnd { statement, got, passed, transitions });
        }
        self.settle(statement.place, end)
    }

    /// Runs a statement and compares; what came out is returned in either case.
    fn perform(&mut self, statement: &'s Statement) -> Result<Observed, (Option<Observed>, End)> {
        let done = self.execute(statement);
        if let Some(message) = self.kernel.take_changed() {
            let failure = Failure { page: None, rule: "I-18", message, state: Vec::new() };
            let got = done.as_ref().ok().copied();
            return Err((got, End::Failed(failure, Status::Broken)));
        }
        done
    }

    /// Reports how something ended, if it did not end well.
    fn settle(&mut self, place: crate::scenario::Place, end: Result<(), End>) -> Result<(), Status> {
        let status = match end {
            Ok(()) => return Ok(()),
            Err(End::Failed(failure, status)) => {
                self.counts.failed += 1;
                self.report.failure(self.scenario, place, &failure);
                status
            }
            Err(End::Unusable(message)) => {
                self.report.error(self.scenario, place, &message, None);
                Status::Unusable
            }
            Err(End::TimeOut) => {
                self.report.error(
                    self.scenario,
                    place,
                    "the time limit is reached",
                    Some("--time-limit SECONDS sets it"),
                );
                Status::TimeOut
            }
        };
        Err(status)
    }
}

/// What a stop of the kernel means for a statement: an outcome, or the end of the file.
fn outcome(stop: Stop) -> Result<Observed, End> {
    match stop {
        Stop::Outcome(observed) => Ok(observed),
        Stop::OutOfStorage { what, needed, available } => {
            Err(End::Unusable(setup::shortfall(&what, needed, available)))
        }
        Stop::Internal(message) => Err(End::Unusable(format!("error of the simulator: {message}"))),
    }
}

/// The files that the arguments name: a folder stands for its `*.kdl` files, in order of their paths.
///
/// # Errors
/// A path that cannot be read, or a folder without a scenario.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        let entries = std::fs::read_dir(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("`{}`: {error}", path.display()))?.path();
            if entry.extension().is_some_and(|extension| extension == "kdl") {
                found.push(entry);
            }
        }
        if found.is_empty() {
            return Err(format!("`{}` holds no *.kdl file", path.display()));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Checks files without running them.
pub fn check(files: &[PathBuf], report: &mut dyn Report) -> Verdict {
    let mut verdict = Verdict::default();
    for path in files {
        match Scenario::read(path) {
            Ok(scenario) => {
                verdict.seed.get_or_insert(scenario.machine.seed);
                verdict.scenarios += 1;
                report.checked(&scenario);
            }
            Err(errors) => {
                let errors: &ScenarioErrors = &errors;
                report.unusable(errors);
                verdict.status = verdict.status.worse(Status::Unusable);
            }
        }
    }
    report.verdict(&verdict);
    verdict
}

/// Width of the reports in a transcript.
const TRANSCRIPT_WIDTH: usize = 100;

/// What a run of one file prints for a person, without colour, and how it ends. The file goes by its bare
/// name, so that the text is the same wherever it is run.
#[must_use]
pub fn transcript(file: &std::path::Path) -> String {
    let mut out = Vec::new();
    let verdict = run(
        std::slice::from_ref(&file.to_path_buf()),
        Options::default(),
        &mut human::Human::new(&mut out, false, TRANSCRIPT_WIDTH),
    );
    let text = String::from_utf8_lossy(&anstream::adapter::strip_bytes(&out).into_vec()).into_owned();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = text.replace(&file.display().to_string(), &name);
    format!("{text}exit status {}\n", verdict.status.code())
}
