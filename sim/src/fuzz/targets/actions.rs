//! Any bytes as a machine with guests, and what a host and they do to it.

use super::Fault;
use crate::fuzz::{self, Case, run_case};

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let case = Case::from_bytes(data);
    let Some(find) = run_case(&case).find else { return Ok(()) };
    let at = find.statement.map_or_else(String::new, |number| format!(", statement {}", number + 1));
    let message = format!("{} {}{at}: {}", find.kind.name(), find.rule, find.message);
    Err(Fault::in_text(message, &case.to_scenario()))
}

/// Those of `uvsim fuzz`.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    (0..)
        .zip(fuzz::seeds::all())
        .map(|(number, case): (u32, Case)| (format!("seed-{number}"), case.to_bytes()))
        .collect()
}
