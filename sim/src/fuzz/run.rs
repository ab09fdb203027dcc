//! A case is run.

use super::case::Case;
use super::coverage::{Coverage, Listener, Reached};
use super::seen;
use super::silent::Silent;
use super::verbs;
use super::workshop::{self, Workshop};
use crate::kernel::{Kernel, Observed};
use crate::run::{Options, Piece, Piecewise, boot};
use crate::scenario::{Outcome, Scenario, Statement, Verb};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_verify::SideBySide;

/// How a case is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// The invariants are looked at after so many statements each, not only at the end.
    pub invariants_every: Option<usize>,
    /// The state is compared around every call that is not done. The oracle finds what this does.
    pub watch: bool,
    /// The oracle runs beside the model.
    pub verify: bool,
    /// Something goes wrong that the oracle does not know of.
    #[doc(hidden)]
    pub planted: Option<Planted>,
}

/// A fault for tests, which have to see that one is found.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Once a page has come back from an export, the oracle believes the Ultravisor uninitialised.
    OracleForgets,
    /// The program panics once a page has been pinned.
    Panic,
}

/// What a run of a case came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CaseReport {
    /// What each statement came to; none if it could not be carried out, or was never reached.
    pub outcomes: Vec<Option<Observed>>,
    /// What was reached.
    pub coverage: Coverage,
    /// Steps at the surface of the machine; without an oracle, calls and statements.
    pub steps: u64,
    /// What is wrong, if anything is.
    pub find: Option<Find>,
    /// Why there was nothing to run, if so.
    pub no_setup: Option<String>,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// What it is.
    pub kind: FindKind,
    /// The statement that showed it; none for the setup, or the end.
    pub statement: Option<usize>,
    /// The rule that is broken, `""` if none is known.
    pub rule: String,
    /// Code of the command, where a call is in question.
    pub command: Option<u16>,
    /// What else tells it from others.
    pub class: String,
    /// What was found.
    pub message: String,
}

/// A kind of find.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum FindKind {
    /// The program panicked.
    Panic,
    /// An invariant does not hold.
    Invariant,
    /// A refused call has changed the state.
    ChangedState,
    /// Model and oracle disagree.
    Difference,
}

impl FindKind {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Invariant => "invariant",
            Self::ChangedState => "changed-state",
            Self::Difference => "difference",
        }
    }
}

impl Find {
    /// Whether two finds are of one class: a smaller case that shows the other shows this one.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.rule, self.command, &self.class) == (other.kind, &other.rule, other.command, &other.class)
    }
}

/// Runs a case with the oracle beside the model; the invariants are looked at in the end.
#[must_use]
pub fn run_case(case: &Case) -> CaseReport {
    run_case_with(case, RunOptions { verify: true, ..RunOptions::default() })
}

/// The same, with other checks.
#[must_use]
pub fn run_case_with(case: &Case, options: RunOptions) -> CaseReport {
    thread_local! {
        static WORKSHOP: RefCell<Workshop> = RefCell::default();
    }
    // Taken out, so that a panic leaves no broken one behind.
    let mut workshop = WORKSHOP.take();
    let mut report = CaseReport::default();
    let run = || Run { case, options, report: &mut report }.run(&mut workshop);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        let statement = report.outcomes.len();
        report.find = Some(Find {
            kind: FindKind::Panic,
            statement: Some(statement),
            rule: String::new(),
            command: None,
            class: PANICKED.take().unwrap_or_default(),
            message: told(&*payload),
        });
    }
    report.outcomes.resize(case.statements.len(), None);
    WORKSHOP.set(workshop);
    report
}

/// Panics are told by finds, not on standard error, from now on in this process.
pub fn quietly() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
        PANICKED.set(place);
    }));
}

thread_local! {
    /// Where this thread panicked last.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Run<'c, 'r> {
    case: &'c Case,
    options: RunOptions,
    report: &'r mut CaseReport,
}

impl Run<'_, '_> {
    fn run(mut self, workshop: &mut Workshop) {
        let (scenario, mut machine) = match workshop.prepare(self.case) {
            Ok(made) => made,
            Err(error) => {
                self.report.no_setup = Some(error.to_string());
                return;
            }
        };
        let side = self.options.verify.then(|| SideBySide::watch(&mut machine));
        let side = side.as_deref();
        let listener = Arc::new(Listener::default());
        match boot(&machine, &scenario) {
            Ok(mut kernel) => {
                kernel.watch = self.options.watch;
                // What it takes to come up is always the same, and INIT_UV alone changes thousands of frames.
                machine.subscribe(listener.clone());
                self.perform(&scenario, kernel, side);
            }
            Err(error) => self.report.no_setup = Some(error.message),
        }
        if self.report.find.is_none() {
            let _ = self.invariants(&machine, None);
        }
        let heard = listener.take();
        let changed = self.report.find.as_mut().filter(|find| find.kind == FindKind::ChangedState);
        if let Some(find) = changed {
            find.command = Some(heard.command);
        }
        self.report.coverage.join(&heard.coverage);
        match side {
            None => self.report.steps += heard.calls + self.report.outcomes.len() as u64,
            Some(side) => self.finish(side, &machine, heard.command),
        }
    }

    fn perform(&mut self, scenario: &Scenario, kernel: Kernel<'_>, side: Option<&SideBySide>) {
        let statements = workshop::statements(self.case);
        let mut silent = Silent;
        let mut pieces = Piecewise::new(scenario, kernel, Options::default(), &mut silent);
        for (number, statement) in statements.iter().enumerate() {
            let holds_export = seen::holds_export(pieces.kernel(), &statement.verb);
            let piece = pieces.perform(statement);
            if let (Some(row), Piece::Done(got)) = (holds_export, &piece)
                && got.outcome == Outcome::Ok
            {
                self.report.coverage.note(Reached::Row(row));
            }
            let broken = self.note(number, piece);
            let due = self.options.invariants_every.is_some_and(|every| (number + 1) % every.max(1) == 0);
            let broken = broken || due && !self.invariants(pieces.kernel().machine(), Some(number));
            if broken || side.is_some_and(|side| side.difference().is_some()) {
                break;
            }
            self.plant(side, statement);
        }
    }

    /// What the oracle has to say in the end.
    fn finish(&mut self, side: &SideBySide, machine: &Machine, command: u16) {
        let statement = self.report.outcomes.len().checked_sub(1);
        if let Some(difference) = side.finish(machine) {
            let is_call = difference.what.contains("Uvc") && !difference.rules.is_empty();
            self.report.find = Some(Find {
                kind: FindKind::Difference,
                statement,
                rule: difference.rules.last().copied().unwrap_or_default().to_owned(),
                command: is_call.then_some(command),
                class: seen::class(&difference),
                message: seen::told(&difference),
            });
        }
        self.report.steps += side.statistics().steps;
        self.report.coverage.add_steps(&side.coverage());
    }

    /// The fault of a test, if it is due.
    fn plant(&self, side: Option<&SideBySide>, statement: &Statement) {
        let done = self.report.outcomes.last().copied().flatten().is_some_and(|got| got.outcome == Outcome::Ok);
        match (self.options.planted, &statement.verb, side) {
            (Some(Planted::OracleForgets), Verb::HostImport { .. } | Verb::HostPageIn { .. }, Some(side)) if done => {
                side.assume(|state| state.initialised = false);
            }
            (Some(Planted::Panic), Verb::HostPin { .. }, _) if done => panic!("planted"),
            _ => {}
        }
    }

    /// Notes what a statement came to. Whether that is a find.
    fn note(&mut self, number: usize, piece: Piece) -> bool {
        let got = match piece {
            Piece::Done(got) => Some(got),
            Piece::Undone(_) => None,
            Piece::Broken { got, rule, message } => {
                let kind = if rule == "I-18" { FindKind::ChangedState } else { FindKind::Invariant };
                self.find(kind, Some(number), rule, message);
                got
            }
        };
        self.report.outcomes.push(got);
        if let (Some(got), Some(verb)) = (got, verbs::number(&self.case.statements[number].verb)) {
            let reached = Reached::Statement { verb: verb as u8, outcome: got.outcome, rule: got.rule };
            self.report.coverage.note(reached);
        }
        self.report.find.is_some()
    }

    /// Whether the invariants hold.
    fn invariants(&mut self, machine: &Machine, statement: Option<usize>) -> bool {
        let Err(violation) = machine.check_invariants() else { return true };
        self.find(FindKind::Invariant, statement, violation.invariant, violation.message);
        false
    }

    fn find(&mut self, kind: FindKind, statement: Option<usize>, rule: &str, message: String) {
        self.report.find =
            Some(Find { kind, statement, rule: rule.to_owned(), command: None, class: String::new(), message });
    }
}

/// The message of a panic.
fn told(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
