//! A case is run.

use super::case::Case;
use super::coverage::{Coverage, Listener, Reached};
use super::silent::Silent;
use super::verbs;
use super::workshop::{self, Workshop};
use crate::kernel::Observed;
use crate::run::{Options, Piece, Piecewise, boot};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How a case is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// The invariants are looked at after so many statements each, not only at the end.
    pub invariants_every: Option<usize>,
    /// The state is compared around every call that is not done.
    pub watch: bool,
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
        let place = |find: &Self| match find.kind {
            // Where it panicked; numbers in the message may differ.
            FindKind::Panic => find.message.split(": ").next().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        (self.kind, &self.rule, self.command, place(self)) == (other.kind, &other.rule, other.command, place(other))
    }
}

/// Runs a case: the invariants are looked at in the end, the state around every call that is not done.
#[must_use]
pub fn run_case(case: &Case) -> CaseReport {
    run_case_with(case, RunOptions { watch: true, invariants_every: None })
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
            message: told(&*payload),
        });
    }
    report.outcomes.resize(case.statements.len(), None);
    WORKSHOP.set(workshop);
    report
}

struct Run<'c, 'r> {
    case: &'c Case,
    options: RunOptions,
    report: &'r mut CaseReport,
}

impl Run<'_, '_> {
    fn run(mut self, workshop: &mut Workshop) {
        let (scenario, machine) = match workshop.prepare(self.case) {
            Ok(made) => made,
            Err(error) => {
                self.report.no_setup = Some(error.to_string());
                return;
            }
        };
        let listener = Arc::new(Listener::default());
        machine.subscribe(listener.clone());
        let mut kernel = match boot(&machine, &scenario) {
            Ok(kernel) => kernel,
            Err(error) => {
                self.report.no_setup = Some(error.message);
                return;
            }
        };
        kernel.watch = self.options.watch;
        let statements = workshop::statements(self.case);
        let mut silent = Silent;
        let mut pieces = Piecewise::new(&scenario, kernel, Options::default(), &mut silent);
        for (number, statement) in statements.iter().enumerate() {
            let piece = pieces.perform(statement);
            let broken = self.note(number, piece);
            let due = self.options.invariants_every.is_some_and(|every| (number + 1) % every.max(1) == 0);
            if broken || due && !self.invariants(pieces.kernel().machine(), Some(number)) {
                break;
            }
        }
        if self.report.find.is_none() {
            let _ = self.invariants(&machine, None);
        }
        let heard = listener.take();
        self.report.coverage.join(&heard.coverage);
        self.report.steps += heard.calls + self.report.outcomes.len() as u64;
        if let Some(find) = self.report.find.as_mut().filter(|find| find.kind == FindKind::ChangedState) {
            find.command = Some(heard.command);
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
    fn invariants(&mut self, machine: &uvsim_model::Machine, statement: Option<usize>) -> bool {
        let Err(violation) = machine.check_invariants() else { return true };
        self.find(FindKind::Invariant, statement, violation.invariant, violation.message);
        false
    }

    fn find(&mut self, kind: FindKind, statement: Option<usize>, rule: &str, message: String) {
        self.report.find = Some(Find { kind, statement, rule: rule.to_owned(), command: None, message });
    }
}

/// The message of a panic.
fn told(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
