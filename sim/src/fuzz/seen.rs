//! What is seen from outside: rows of the transition table that no event tells, and differences in words.

use crate::kernel::Kernel;
use crate::scenario::Verb;
use uvsim_model::PageRecord;
use uvsim_verify::Difference;

/// T7 or T8, if this is a host access to a frame that holds the export of the page which the host has mapped there.
pub(super) fn holds_export(kernel: &Kernel<'_>, verb: &Verb) -> Option<&'static str> {
    let (pages, row) = match verb {
        Verb::HostRead { pages, .. } => (pages, "T7"),
        Verb::HostWrite { pages, .. } | Verb::HostFlip { pages, .. } => (pages, "T8"),
        _ => return None,
    };
    let record = kernel.machine().page(kernel.handle(pages.guest.0), pages.first)?.record;
    let mapped = kernel.mapped(pages.guest.0, pages.first.0)?;
    (record == PageRecord::Exported && !kernel.machine().frame_state(mapped).is_secure()).then_some(row)
}

/// What tells a difference from another one by the same rule: names without numbers, which smaller cases change.
pub(super) fn class(difference: &Difference) -> String {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let names = words.filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()));
        names.take(3).map(str::to_owned).collect()
    };
    let paths = difference.parts.iter().map(|part| words(&part.path.join(" ")));
    let part = paths.min_by_key(|path| path.first().is_some_and(|first| first == "storage")).unwrap_or_default();
    let same = if difference.expected == difference.found { "state" } else { "outcome" };
    let verb = if difference.rules.is_empty() { Vec::new() } else { words(&difference.what) };
    format!("{}, {same} {}", verb.join(" "), part.join(" "))
}

/// A difference on one line, without colours.
pub(super) fn told(difference: &Difference) -> String {
    let mut text = format!("step {}: {}", difference.step, difference.what);
    if difference.expected != difference.found {
        text += &format!("; oracle: {}; model: {}", difference.expected, difference.found);
    }
    for part in difference.parts.iter().take(4) {
        text += &format!("; {}: oracle {}, model {}", part.path.join("/"), part.oracle, part.model);
    }
    text
}
