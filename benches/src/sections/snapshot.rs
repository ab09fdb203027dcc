//! Snapshots and restores beside a bare copy of the pages that were touched.

use super::Plan;
use crate::cases::Resident;
use crate::host::{Host, machine};
use crate::order::shuffled;
use crate::samples::Samples;
use crate::sets::Set;
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Target};
use core::hint::black_box;

const PAGE: usize = 4096;
const SET: Set = Set { name: "4 MiB", pages: 1024 };
const SNAPSHOT: &str = "snapshot, 64 touched pages since the last one";
const FIRST_STORE: &str = "first store to a page since a restore";
const COPY: &str = "bare copy of 4096 bytes";
const EXPORTED: &str = "restore, 64 pages exported";
const COPY_64: &str = "bare copy of 64 pages";

/// So many pages touched, under which names, how often a round.
const CASES: [(usize, &str, &str, usize); 3] = [
    (1, "restore, 1 touched page", "bare copy of 1 page", 512),
    (64, "restore, 64 touched pages", COPY_64, 64),
    (1024, "restore, 1024 touched pages", "bare copy of 1024 pages", 4),
];

/// Snapshots, and restores by touched pages.
#[must_use]
pub fn snapshot(plan: &Plan) -> Vec<Row> {
    let machine = machine(SET.mebibytes() * 2);
    let mut ours = Resident::new(Host::new(&machine), SET);
    let mut bare = Bare::new(SET.pages as usize);
    let pages = shuffled(SET.pages, 0x5eed);
    ours.snapshot();
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        for (count, restore, copy, repetitions) in CASES {
            for turn in 0..repetitions {
                let start = turn * count % (pages.len() - count + 1);
                let pages = &pages[start..start + count];
                samples.add(FIRST_STORE, ours.touch_host(pages), count);
                samples.add(restore, ours.restore(), 1);
                let time = bare.copy(pages);
                samples.add(copy, time, 1);
                samples.add(COPY, time, count);
            }
        }
        for _ in 0..16 {
            ours.export(&pages[..64]);
            samples.add(EXPORTED, ours.restore(), 1);
            ours.touch_host(&pages[..64]);
            samples.add(SNAPSHOT, ours.snapshot(), 1);
        }
        samples.end_round();
    }
    let row = |case, limit, target| Row::of(&samples, SET.name, case, limit, target);
    let mut rows: Vec<Row> = CASES
        .iter()
        .map(|&(count, restore, copy, _)| row(restore, copy, (count == 64).then_some(Target::Nanoseconds(50_000.0))))
        .collect();
    rows.push(row(EXPORTED, COPY_64, None));
    rows.push(row(SNAPSHOT, COPY_64, None));
    rows.push(row(FIRST_STORE, COPY, None));
    rows
}

/// Pages, and what they are to become again.
struct Bare {
    live: Vec<[u8; PAGE]>,
    kept: Vec<[u8; PAGE]>,
}

impl Bare {
    fn new(pages: usize) -> Self {
        Self { live: vec![[1; PAGE]; pages], kept: vec![[2; PAGE]; pages] }
    }

    fn copy(&mut self, pages: &[u64]) -> std::time::Duration {
        let start = Stopwatch::start();
        for (&page, kept) in pages.iter().zip(&self.kept) {
            self.live[page as usize] = *black_box(kept);
            black_box(&mut self.live);
        }
        start.elapsed()
    }
}
