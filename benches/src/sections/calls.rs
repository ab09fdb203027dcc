//! Calls that move no page: sharing, and a call that finds nothing to do.

use super::Plan;
use crate::cases::Resident;
use crate::host::{Host, machine};
use crate::limits::{MappedPages, States};
use crate::samples::Samples;
use crate::sets::{LARGE, MIDDLE, Set};
use crate::table::{Row, Target};

const SHARE: &str = "share + unshare";
const SWAPS: &str = "four atomic exchanges";
const NOTHING: &str = "UVC with nothing to do";
const TRAFFIC: &str = "its block by vm-memory";

/// Sharing and dispatch.
#[must_use]
pub fn calls(plan: &Plan) -> Vec<Row> {
    plan.sets.iter().filter(|&&set| set != LARGE).flat_map(|&set| calls_of(plan, set)).collect()
}

fn calls_of(plan: &Plan, set: Set) -> Vec<Row> {
    let machine = machine(set.mebibytes() * 2);
    let mut ours = Resident::new(Host::new(&machine), set);
    let (states, mut mapped) = (States::new(set.pages), MappedPages::new(1));
    let passes = set.page_passes();
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        for repetition in 0..set.passes() {
            let pages = &passes[(round as u64 * set.passes() + repetition) as usize % passes.len()];
            samples.add(SHARE, ours.share_and_unshare(pages), pages.len());
            samples.time(SWAPS, pages, |page| states.change_twice(page));
            samples.add(NOTHING, ours.export_nothing(pages), pages.len());
            samples.time(TRAFFIC, pages, |_| mapped.call_traffic(0x100));
        }
        samples.end_round();
    }
    let target = (set == MIDDLE).then_some(Target::Nanoseconds(300.0));
    vec![Row::of(&samples, set.name, SHARE, SWAPS, target), Row::of(&samples, set.name, NOTHING, TRAFFIC, None)]
}
