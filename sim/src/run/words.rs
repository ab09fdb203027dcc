//! Expectations and outcomes in words.

use crate::explain;
use crate::kernel::Observed;
use crate::scenario::{Expectation, Outcome};

/// An expectation.
pub(super) fn described(expected: &Expectation) -> String {
    codes(expected.outcome, expected.rc, expected.rrc, expected.code)
}

/// An outcome, in short: an rc of `ok` and an rrc of 0 go without saying.
#[must_use]
pub(super) fn observed(got: &Observed) -> String {
    codes(got.outcome, got.rc.filter(|_| got.outcome != Outcome::Ok), got.rrc.filter(|&rrc| rrc != 0), got.code)
}

/// An outcome with all its codes, by number and name.
#[must_use]
pub(super) fn detailed(got: &Observed) -> String {
    let mut text = codes(got.outcome, got.rc, got.rrc, got.code);
    if let Some(interruption) = got.interruption {
        text.push_str(&format!(" (program interruption {:#04x})", interruption.code.number()));
    }
    if let Some(name) = got.code.and_then(explain::interception_name) {
        text.push_str(&format!(" ({name})"));
    }
    text
}

/// What a refusal means, as a row for a report.
pub(super) fn meaning(got: &Observed) -> Option<(String, String, String)> {
    let (command, rc) = (got.command?, got.rc?);
    let found = explain::response_meaning(command, rc, got.rrc.unwrap_or(0))?;
    Some((format!("rc {rc:#x} of {}", command.name()), String::new(), found))
}

fn codes(outcome: Outcome, rc: Option<u16>, rrc: Option<u16>, code: Option<u16>) -> String {
    let mut text = outcome.name().to_owned();
    for (name, value) in [("rc", rc), ("rrc", rrc)] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value:#x}"));
        }
    }
    if let Some(code) = code {
        text.push_str(&format!(" code={code}"));
    }
    text
}
