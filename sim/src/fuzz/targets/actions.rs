//! Any bytes as a machine with guests, and what a host and they do to it.

use super::Fault;
use crate::fuzz::{Case, run_case};
use crate::scenario::Scenario;
use std::path::Path;

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let case = Case::from_bytes(data);
    let Some(find) = run_case(&case).find else { return Ok(()) };
    let at = find.statement.map_or_else(String::new, |number| format!(", statement {}", number + 1));
    let message = format!("{} {}{at}: {}", find.kind.name(), find.rule, find.message);
    Err(Fault::in_text(message, &case.to_scenario()))
}

/// The catalogue is the corpus; this is one to begin with.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep t {\nguest write a:4 text=x\nhost page-out a:4\n\
        guest share a:4\nhost pin a:4\nhost export a:5\nhost teardown a\ncheck invariants\n}\n";
    of_scenario("paging", TEXT).into_iter().collect()
}

/// A scenario as an input, if it does nothing that cases do not know.
fn of_scenario(name: &str, text: &str) -> Option<(String, Vec<u8>)> {
    let scenario = Scenario::parse(Path::new("seed.kdl"), text).ok()?;
    Some((name.to_owned(), Case::from_scenario(&scenario).ok()?.to_bytes()))
}
