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

/// What tells a difference from another one by the same rule: no numbers, which smaller cases change.
pub(super) fn class(difference: &Difference) -> String {
    let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect::<String>();
    let verb = difference.what.split('(').take(3).collect::<Vec<_>>().join(" ");
    let mut parts: Vec<String> =
        difference.parts.iter().filter_map(|part| part.path.last()).map(|name| plain(name)).collect();
    parts.sort();
    parts.dedup();
    let same = difference.expected == difference.found;
    format!("{} {} {}", plain(&verb), if same { "state" } else { "outcome" }, parts.first().map_or("", |part| part))
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
