//! A replay as `uvsim run` does it: a recorded trace, scenario, runner, host kernel and machine together. Decoding of
//! the trace is not part of it.

use super::Plan;
use super::workload::play;
use crate::cases::Resident;
use crate::host::{Host, machine};
use crate::limits::{BarePages, PAGE};
use crate::samples::Samples;
use crate::sets::{MIDDLE, SMALL, Set};
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Target};
use core::hint::black_box;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use uvsim::scenario::Scenario;
use uvsim::trace::{Kind, PageTrace, Trace, page_trace};

/// What gzip did to its 54 pages.
const RECORDED: &[u8] = include_bytes!("../../../scenarios/data/gzip.uvtrace.gz");
/// Wanted accesses a second while everything is resident.
const LEAST: f64 = 20e6;

const FREE: &str = "replay of gzip, everything resident";
const LOOP: &str = "unchecked loop";
const MISS: &str = "replay, each access a miss";
const PAIR: &str = "export, changed + import";

/// A scenario that replays a trace.
///
/// # Panics
/// If the scenario language no longer takes what stands here.
#[must_use]
pub fn scenario(trace: &[u8], pages: u64, frames: u64) -> Scenario {
    let text = format!(
        "scenario replay\nguest alpha memory=\"{}MiB\"\nstep run {{\n    replay guest=alpha file=t frames={frames}\n}}\n",
        pages / 256 + 1
    );
    let mut files = |_: &Path, _: u64| Ok(trace.to_vec());
    Scenario::parse_with(Path::new("replay.kdl"), &text, &mut files).expect("the scenario is well formed")
}

/// The recorded trace so many times over, as text.
///
/// # Panics
/// If the file is no trace.
#[must_use]
pub fn recorded(times: usize) -> Vec<u8> {
    let trace = Trace::from_bytes(RECORDED.to_vec()).expect("a trace");
    let mut text = String::new();
    for access in trace.accesses().expect("it is in storage") {
        let access = access.expect("it is whole");
        let kind = match access.kind {
            Kind::Fetch => "I ",
            Kind::Load => " L",
            Kind::Store => " S",
            Kind::Modify => " M",
        };
        let _ = writeln!(text, "{kind} {:x},{}", access.address, access.size);
    }
    text.repeat(times).into_bytes()
}

/// Round and round in a random order, a store to each page.
fn rounds(set: Set, times: usize) -> Vec<u8> {
    let mut text = String::new();
    for page in set.page_passes().concat() {
        let _ = writeln!(text, " S {:x},8", page * PAGE as u64);
    }
    text.repeat(times).into_bytes()
}

fn time(scenario: &Scenario) -> Duration {
    let watch = Stopwatch::start();
    play(scenario);
    watch.elapsed()
}

/// The rows: everything resident, and every access a miss.
#[must_use]
pub fn replay(plan: &Plan) -> Vec<Row> {
    let quick = plan.rounds == 1;
    let repeats = if quick { 1 } else { 7 };
    let mut samples = Samples::default();
    resident(&mut samples, if quick { 1 } else { 10 }, repeats);
    thrashing(&mut samples, if quick { SMALL } else { MIDDLE }, repeats);
    let rate = 1e9 / samples.median(FREE);
    let mut free = Row::of(&samples, "216 KiB", FREE, LOOP, Some(Target::Other("≥ 20 million/s", rate >= LEAST)));
    free.ours = format!("{:.1} million accesses/s", rate / 1e6);
    let set = if quick { SMALL.name } else { MIDDLE.name };
    vec![free, Row::of(&samples, set, MISS, PAIR, Some(Target::Ratio(1.25)))]
}

/// What `times` passes of the trace take beyond one, beside a loop that loads and stores and looks at nothing.
fn resident(samples: &mut Samples, times: usize, repeats: usize) {
    let once = page_trace(&Trace::from_bytes(RECORDED.to_vec()).expect("a trace")).expect("it is whole");
    let pages = once.pages.len() as u64;
    let few = scenario(&recorded(1), pages, pages);
    let more = scenario(&recorded(1 + times), pages, pages);
    let mut bare = BarePages::new(pages);
    for _ in 0..repeats {
        let short = time(&few);
        samples.add(FREE, time(&more).saturating_sub(short), times * once.touches.len());
        let watch = Stopwatch::start();
        (0..times).for_each(|_| unchecked(&once, &mut bare));
        samples.add(LOOP, watch.elapsed(), times * once.touches.len());
        samples.end_round();
    }
}

fn unchecked(trace: &PageTrace, pages: &mut BarePages) {
    for (number, touch) in (0..).zip(&trace.touches) {
        let at = (touch.slot() * PAGE + touch.word() * 8) as u64;
        if touch.is_store() {
            pages.store(at, number);
        } else {
            black_box(pages.load(at));
        }
    }
}

/// What a miss takes, beside a page that goes out, changed, and comes in, by Ultravisor calls alone.
fn thrashing(samples: &mut Samples, set: Set, repeats: usize) {
    let times = set.passes() as usize * 4;
    let few = scenario(&rounds(set, 2), set.pages, set.pages / 2);
    let more = scenario(&rounds(set, 2 + times), set.pages, set.pages / 2);
    let machine = machine(set.mebibytes() * 2);
    let mut pair = Resident::new(Host::new(&machine), set);
    let pages = set.page_passes().concat();
    for _ in 0..repeats {
        let short = time(&few);
        samples.add(MISS, time(&more).saturating_sub(short), times * pages.len());
        for _ in 0..times {
            pair.change(&pages);
            let (export, import) = (pair.export(&pages), pair.import(&pages));
            samples.add(PAIR, export + import, pages.len());
        }
        samples.end_round();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_pressure_every_access_misses() {
        let counters = |trace: &[u8], pages, frames| {
            let mut out = Vec::new();
            let mut report = uvsim::run::json::Json::new(&mut out);
            let _ =
                uvsim::run::run_scenario(&scenario(trace, pages, frames), uvsim::run::Options::default(), &mut report);
            String::from_utf8(out).expect("JSON is UTF-8")
        };
        let pressed = counters(&rounds(SMALL, 3), SMALL.pages, SMALL.pages / 2);
        assert!(pressed.contains("\"accesses\":192") && pressed.contains("\"page_ins\":192"), "{pressed}");
        let free = counters(&recorded(2), 54, 54);
        assert!(free.contains("\"page_ins\":54,"), "{free}");
    }
}
