//! Loads and stores of guest and host beside a guest-memory library and raw memory.

use super::Plan;
use crate::cases::Resident;
use crate::host::{Host, machine};
use crate::limits::{BarePages, MappedPages};
use crate::samples::Samples;
use crate::sets::{SMALL, Set};
use crate::table::{Row, Target};
use core::hint::black_box;

const GUEST_LOAD: &str = "guest load, 8 bytes";
const GUEST_STORE: &str = "guest store, 8 bytes";
const HOST_LOAD: &str = "host load, 8 bytes";
const HOST_STORE: &str = "host store, 8 bytes";
const READ_OBJ: &str = "vm-memory read_obj";
const WRITE_OBJ: &str = "vm-memory write_obj";
const READ_OBJ_SHARED: &str = "vm-memory read_obj, code shared by all lengths";
const WRITE_OBJ_SHARED: &str = "vm-memory write_obj, code shared by all lengths";
const RAW_LOAD: &str = "raw load";
const RAW_STORE: &str = "raw store";
const GUEST_LOAD_PAGE: &str = "guest load, 4096 bytes";
const GUEST_STORE_PAGE: &str = "guest store, 4096 bytes";
const HOST_LOAD_PAGE: &str = "host load, 4096 bytes";
const HOST_STORE_PAGE: &str = "host store, 4096 bytes";
const READ_SLICE: &str = "vm-memory read_slice";
const WRITE_SLICE: &str = "vm-memory write_slice";
const COPY_OUT: &str = "bare copy out";
const COPY_IN: &str = "bare copy in";

/// Loads and stores, of words and of pages.
#[must_use]
pub fn access(plan: &Plan) -> Vec<Row> {
    plan.sets.iter().flat_map(|&set| access_of(plan, set)).collect()
}

fn access_of(plan: &Plan, set: Set) -> Vec<Row> {
    let machine = machine(set.mebibytes() * 2);
    let mut ours = Resident::new(Host::new(&machine), set);
    let (mut bare, mut mapped) = (BarePages::new(set.pages), MappedPages::new(set.pages));
    let (words, passes) = (set.words(), set.page_passes());
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        for repetition in 0..set.passes() {
            word_pass(&mut samples, &mut ours, &mut bare, &mapped, &words);
            let pages = &passes[(round as u64 * set.passes() + repetition) as usize % passes.len()];
            page_pass(&mut samples, &mut ours, &mut bare, &mut mapped, pages);
        }
        samples.end_round();
    }
    let target = (set == SMALL).then_some(Target::Ratio(0.7));
    let row = |case, limit, target| Row::of(&samples, set.name, case, limit, target);
    vec![
        row(GUEST_LOAD, READ_OBJ, target),
        row(GUEST_STORE, WRITE_OBJ, target),
        row(GUEST_LOAD, READ_OBJ_SHARED, target),
        row(GUEST_STORE, WRITE_OBJ_SHARED, target),
        row(GUEST_LOAD, RAW_LOAD, None),
        row(GUEST_STORE, RAW_STORE, None),
        row(HOST_LOAD, READ_OBJ, None),
        row(HOST_STORE, WRITE_OBJ, None),
        row(GUEST_LOAD_PAGE, READ_SLICE, None),
        row(GUEST_STORE_PAGE, WRITE_SLICE, None),
        row(HOST_LOAD_PAGE, READ_SLICE, None),
        row(HOST_STORE_PAGE, WRITE_SLICE, None),
        row(GUEST_LOAD_PAGE, COPY_OUT, None),
        row(GUEST_STORE_PAGE, COPY_IN, None),
    ]
}

fn word_pass(
    samples: &mut Samples,
    ours: &mut Resident<'_>,
    bare: &mut BarePages,
    mapped: &MappedPages,
    words: &[u32],
) {
    let count = words.len();
    samples.add(GUEST_LOAD, ours.guest_load(words), count);
    samples.time(READ_OBJ, words, |at| {
        black_box(mapped.read_obj(u64::from(at)));
    });
    samples.time(READ_OBJ_SHARED, words, |at| {
        black_box(mapped.read_obj_shared(u64::from(at)));
    });
    samples.add(HOST_LOAD, ours.host_load(words), count);
    samples.time(RAW_LOAD, words, |at| {
        black_box(bare.load(u64::from(at)));
    });
    samples.add(GUEST_STORE, ours.guest_store(words), count);
    samples.time(WRITE_OBJ, words, |at| mapped.write_obj(u64::from(at), u64::from(at)));
    samples.time(WRITE_OBJ_SHARED, words, |at| mapped.write_obj_shared(u64::from(at), u64::from(at)));
    samples.add(HOST_STORE, ours.host_store(words), count);
    samples.time(RAW_STORE, words, |at| bare.store(u64::from(at), u64::from(at)));
}

fn page_pass(
    samples: &mut Samples,
    ours: &mut Resident<'_>,
    bare: &mut BarePages,
    mapped: &mut MappedPages,
    pages: &[u64],
) {
    let count = pages.len();
    samples.add(GUEST_LOAD_PAGE, ours.guest_load_pages(pages), count);
    samples.time(READ_SLICE, pages, |page| mapped.read_slice(page));
    samples.add(HOST_LOAD_PAGE, ours.host_load_pages(pages), count);
    samples.time(COPY_OUT, pages, |page| bare.copy_out(page));
    samples.add(GUEST_STORE_PAGE, ours.guest_store_pages(pages), count);
    samples.time(WRITE_SLICE, pages, |page| mapped.write_slice(page));
    samples.add(HOST_STORE_PAGE, ours.host_store_pages(pages), count);
    samples.time(COPY_IN, pages, |page| bare.copy_in(page));
}
