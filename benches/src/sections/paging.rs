//! Export and import beside the bare cipher; first import and destruction beside clearing.

use super::Plan;
use crate::cases::{Arriving, Resident};
use crate::host::{Host, machine};
use crate::limits::BarePages;
use crate::samples::Samples;
use crate::sets::{MIDDLE, Set};
use crate::table::{Row, Target};

const CLEAN: &str = "export, untouched since import";
const SAME: &str = "export, stored to but unchanged";
const CHANGED: &str = "export, changed";
const IMPORT: &str = "import";
const SEAL: &str = "bare seal";
const HASH_AND_SEAL: &str = "bare hash + seal";
const OPEN: &str = "bare open";
const FIRST: &str = "first import";
const DESTROY: &str = "destroy";
const CLEAR: &str = "clear 4096 bytes";

/// Exports of each kind, and imports.
#[must_use]
pub fn paging(plan: &Plan) -> Vec<Row> {
    plan.sets.iter().flat_map(|&set| paging_of(plan, set)).collect()
}

fn paging_of(plan: &Plan, set: Set) -> Vec<Row> {
    let machine = machine(set.mebibytes() * 2);
    let mut ours = Resident::new(Host::new(&machine), set);
    let mut bare = BarePages::new(set.pages);
    let passes = set.page_passes();
    // Once out and in, so that every page has a verified import behind it.
    for pages in &passes {
        ours.export(pages);
        ours.import(pages);
    }
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        for repetition in 0..set.passes() {
            let pages = &passes[(round as u64 * set.passes() + repetition) as usize % passes.len()];
            paging_pass(&mut samples, &mut ours, &mut bare, pages);
        }
        samples.end_round();
    }
    let target = (set == MIDDLE).then_some(Target::Ratio(1.15));
    [(CLEAN, SEAL), (SAME, HASH_AND_SEAL), (CHANGED, HASH_AND_SEAL), (IMPORT, OPEN)]
        .map(|(case, limit)| Row::of(&samples, set.name, case, limit, target))
        .into()
}

fn paging_pass(samples: &mut Samples, ours: &mut Resident<'_>, bare: &mut BarePages, pages: &[u64]) {
    let count = pages.len();
    samples.add(CLEAN, ours.export(pages), count);
    samples.time(SEAL, pages, |page| bare.seal(page));
    samples.add(IMPORT, ours.import(pages), count);
    samples.time(OPEN, pages, |page| bare.open(page));
    ours.touch(pages);
    samples.add(SAME, ours.export(pages), count);
    samples.time(HASH_AND_SEAL, pages, |page| {
        bare.polyval(page);
        bare.seal(page);
    });
    samples.add(IMPORT, ours.import(pages), count);
    samples.time(OPEN, pages, |page| bare.open(page));
    ours.change(pages);
    samples.add(CHANGED, ours.export(pages), count);
    ours.import(pages);
}

/// First imports and destructions.
#[must_use]
pub fn arrival(plan: &Plan) -> Vec<Row> {
    plan.sets.iter().flat_map(|&set| arrival_of(plan, set)).collect()
}

fn arrival_of(plan: &Plan, set: Set) -> Vec<Row> {
    let passes = set.page_passes();
    let rounds = plan.rounds as u64 + 1;
    let guest_mebibytes = (rounds * set.passes() * set.pass()).div_ceil(256);
    let machine = machine(set.mebibytes() + guest_mebibytes / 64);
    let mut ours = Arriving::new(Host::new(&machine), set, rounds * set.passes());
    let mut bare = BarePages::new(set.pages);
    let mut samples = Samples::default();
    for round in 0..rounds {
        if round == 1 {
            samples.forget();
        }
        for repetition in 0..set.passes() {
            let pages = &passes[(round * set.passes() + repetition) as usize % passes.len()];
            samples.add(FIRST, ours.first_import(pages), pages.len());
            samples.time(CLEAR, pages, |page| bare.clear(page));
            samples.add(DESTROY, ours.destroy(pages), pages.len());
            samples.time(CLEAR, pages, |page| bare.clear(page));
        }
        samples.end_round();
    }
    [FIRST, DESTROY].map(|case| Row::of(&samples, set.name, case, CLEAR, None)).into()
}
