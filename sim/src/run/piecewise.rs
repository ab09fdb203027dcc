//! Statements one by one, whatever they come to: nothing is expected, so nothing fails and ends the run.

use super::runner::{End, Runner};
use super::{Options, Report, Status};
use crate::kernel::{Kernel, Observed};
use crate::scenario::{Scenario, Statement};

/// A scenario on its machine, run statement by statement by somebody who chooses how it goes on.
pub(crate) struct Piecewise<'s, 'm, 'r>(Runner<'s, 'm, 'r>);

/// What a statement came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// It was carried out.
    Done(Observed),
    /// It could not be carried out, or what it compares was not equal.
    Undone(String),
    /// The model broke a rule.
    Broken {
        /// What the statement came to, if to anything.
        got: Option<Observed>,
        /// The rule.
        rule: &'static str,
        /// What was found.
        message: String,
    },
}

impl<'s, 'm, 'r> Piecewise<'s, 'm, 'r> {
    pub(crate) fn new(
        scenario: &'s Scenario,
        kernel: Kernel<'m>,
        options: Options,
        report: &'r mut dyn Report,
    ) -> Self {
        let mut runner = Runner::new(scenario, kernel, options, report);
        runner.unordered = true;
        Self(runner)
    }

    pub(crate) fn perform(&mut self, statement: &'s Statement) -> Piece {
        // D81
        self.0.kernel.machine().advance_clock(1000);
        let done = self.0.execute(statement);
        drop(self.0.kernel.take_transitions());
        if let Some(message) = self.0.kernel.take_changed() {
            let got = done.map_or_else(|(got, _)| got, Some);
            return Piece::Broken { got, rule: "I-18", message };
        }
        match done {
            Ok(got) => Piece::Done(got),
            Err((got, End::Failed(failure, Status::Broken))) => {
                Piece::Broken { got, rule: failure.rule, message: failure.message }
            }
            Err((_, End::Failed(failure, _))) => Piece::Undone(failure.message),
            Err((_, End::Unusable(message))) => Piece::Undone(message),
            Err((_, End::TimeOut)) => Piece::Undone("no time is left".to_owned()),
        }
    }

    pub(crate) fn kernel(&self) -> &Kernel<'m> {
        &self.0.kernel
    }
}
