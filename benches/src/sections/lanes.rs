//! Lanes on threads: two guests on two CPUs at the same time, beside one guest that does the same work alone.

use super::Plan;
use crate::table::{Row, Target};
use std::path::Path;
use std::time::Instant;
use uvsim::run::json::Json;
use uvsim::run::{Options, Status, run_scenario};
use uvsim::scenario::Scenario;

/// Pages of a set that stays in the caches of a core, and of one that does not.
const SETS: [(u64, &str); 2] = [(256, "1 MiB"), (4096, "16 MiB")];
/// Accesses that count while everything is resident.
const RESIDENT: u64 = 4_000_000;
/// Accesses that count under pressure.
const PRESSED: u64 = 60_000;
/// How much more two guests on two threads do.
const LEAST: f64 = 1.8;

/// A scenario in which so many guests each do a workload, in lanes if there are several.
///
/// # Panics
/// If the scenario language no longer takes what stands here.
#[must_use]
pub fn scenario(guests: usize, accesses: u64, pages: u64, frames: u64) -> Scenario {
    let names = &["alpha", "beta"][..guests];
    let workload = |name: &str| {
        format!("workload guest={name} accesses={accesses} working-set={pages} frames={frames} writes=0.3")
    };
    let declared = |name: &&str| format!("guest {name} memory=\"{}MiB\"\n", pages / 256 + 1);
    let guests: String = names.iter().map(declared).collect();
    let lanes: String = names.iter().map(|name| format!("lane {{ {}; }}; ", workload(name))).collect();
    let body = if names.len() == 1 { workload(names[0]) } else { format!("parallel {{ {lanes} }}") };
    let text = format!("scenario \"lanes\"\n{guests}step \"run\" {{\n    {body}\n}}\n");
    Scenario::parse(Path::new("lanes.kdl"), &text).expect("the scenario is well formed")
}

/// Seconds on the wall: what threads do at the same time counts once.
fn seconds(scenario: &Scenario) -> f64 {
    let options = Options { threads: true, ..Options::default() };
    let start = Instant::now();
    let (status, _) = run_scenario(scenario, options, &mut Json::new(std::io::sink()));
    assert_eq!(status, Status::Pass, "every load is compared");
    start.elapsed().as_secs_f64()
}

/// Seconds that `more` accesses of each guest take beyond those of a run of `few`.
fn marginal(guests: usize, few: u64, more: u64, pages: u64, frames: u64) -> f64 {
    let short = seconds(&scenario(guests, few, pages, frames));
    seconds(&scenario(guests, few + more, pages, frames)) - short
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The rows: everything resident, and half of the pages resident. The limit is the rate of one guest alone, the ratio
/// that of both together by it.
#[must_use]
pub fn lanes(plan: &Plan) -> Vec<Row> {
    let quick = plan.rounds == 1;
    let (resident, pressed) = if quick { (200_000, 20_000) } else { (RESIDENT, PRESSED) };
    let sets = if quick { &[(64, "256 KiB")][..] } else { &SETS[..] };
    let rounds = if quick { 1 } else { 7 };
    let row = |(pages, set): (u64, &'static str), operation: &str, few, more, frames| {
        let pairs: Vec<(f64, f64)> = (0..rounds)
            .map(|_| (marginal(1, few, more, pages, frames), marginal(2, few, more, pages, frames)))
            .collect();
        let rate = |guests: f64, seconds: Vec<f64>| guests * more as f64 / median(seconds) / 1e6;
        let one = rate(1.0, pairs.iter().map(|pair| pair.0).collect());
        let two = rate(2.0, pairs.iter().map(|pair| pair.1).collect());
        let ratio = median(pairs.iter().map(|(one, two)| 2.0 * one / two).collect());
        let reached = ratio >= LEAST;
        Row {
            operation: operation.to_owned(),
            set,
            ours: format!("{two:.2} million accesses/s"),
            limit: format!("one guest {one:.2} million accesses/s"),
            ratio,
            target: Some((Target::Other("≥ 1.8", reached), reached)),
        }
    };
    let rows = sets.iter().flat_map(|&(pages, set)| {
        let set = (pages, set);
        [
            row(set, "two guests on two threads, everything resident", pages * 12, resident, pages),
            row(set, "two guests on two threads, half resident", pages * 2, pressed, pages / 2),
        ]
    });
    rows.collect()
}
