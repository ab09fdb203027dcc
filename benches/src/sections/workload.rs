//! A paging workload as `uvsim run` does it: scenario, runner, host kernel and machine together.

use super::Plan;
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Target};
use std::path::Path;
use uvsim::run::json::Json;
use uvsim::run::{Options, Status, run_scenario};
use uvsim::scenario::Scenario;

/// Pages of the 64 MiB set.
const PAGES: u64 = 16384;
/// Accesses of a resident run, beyond those that bring the pages in.
const RESIDENT: u64 = 4_000_000;
/// Accesses of a run under pressure.
const PRESSED: u64 = 100_000;
/// Wanted accesses a second while everything is resident.
const LEAST: f64 = 10e6;

/// A scenario with one workload over the first pages of a guest.
///
/// # Panics
/// If the scenario language no longer takes what stands here.
#[must_use]
pub fn scenario(accesses: u64, pages: u64, frames: u64) -> Scenario {
    let text = format!(
        "scenario \"workload\"\nguest alpha memory=\"{}MiB\"\nstep \"run\" {{\n    workload guest=alpha \
         accesses={accesses} working-set={pages} frames={frames} writes=0.3\n}}\n",
        pages / 256 + 1
    );
    Scenario::parse(Path::new("workload.kdl"), &text).expect("the scenario is well formed")
}

/// Runs a scenario without a word.
///
/// # Panics
/// If it does not pass.
pub fn play(scenario: &Scenario) {
    let (status, _) = run_scenario(scenario, Options::default(), &mut Json::new(std::io::sink()));
    assert_eq!(status, Status::Pass, "every load is compared");
}

/// Seconds of processor time that `more` accesses take beyond those of a run of `few`.
fn marginal(few: u64, more: u64, pages: u64, frames: u64) -> f64 {
    let time = |accesses| {
        let scenario = scenario(accesses, pages, frames);
        let watch = Stopwatch::start();
        play(&scenario);
        watch.elapsed().as_secs_f64()
    };
    let short = time(few);
    time(few + more) - short
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The rows: everything resident, and half of the pages resident.
#[must_use]
pub fn workload(plan: &Plan) -> Vec<Row> {
    let quick = plan.rounds == 1;
    let (pages, resident, set) = if quick { (64, 100_000, "256 KiB") } else { (PAGES, RESIDENT, "64 MiB") };
    let rounds = if quick { 1 } else { 5 };
    let sample = |few, more, frames| {
        let seconds = (0..rounds).map(|_| marginal(few, more, pages, frames)).collect();
        more as f64 / median(seconds)
    };
    let row = |operation: &str, rate: f64, target| Row {
        operation: operation.to_owned(),
        set,
        ours: format!("{:.1} million accesses/s", rate / 1e6),
        limit: String::new(),
        ratio: f64::NAN,
        target,
    };
    // Twelve accesses a page on average leave hardly a page untouched.
    let free = sample(pages * 12, resident, pages);
    let reached = free >= LEAST;
    let pressed = sample(pages * 2, PRESSED, pages / 2);
    vec![
        row("workload, everything resident", free, Some((Target::Other("≥ 10 million/s", reached), reached))),
        row("workload, half resident, uniform", pressed, None),
    ]
}
