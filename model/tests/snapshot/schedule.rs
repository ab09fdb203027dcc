//! A schedule that goes to and fro.

use crate::check;
use crate::reference::{Bytes, Owner, Reference};
use crate::run::{Checked, Run, ensure, run_with};
use crate::step::{Schedule, Step};
use crate::view::View;
use std::collections::{HashMap, HashSet};
use uvsim_model::StateDigest;

/// What the test knows of the machine at the snapshot.
struct Memory {
    reference: Reference,
    issued: HashSet<u64>,
    saved: Vec<Bytes>,
    seen: Vec<Option<(Bytes, bool)>>,
    ciphers: HashMap<Bytes, (Owner, u8, u64, usize)>,
    history: check::History,
    secrets: u32,
    public: u64,
    next_frame: usize,
}

impl Memory {
    fn of(run: &Run<'_, '_>) -> Self {
        Self {
            reference: run.reference.clone(),
            issued: run.issued.clone(),
            saved: run.saved.clone(),
            seen: run.seen.clone(),
            ciphers: run.ciphers.clone(),
            history: run.history.clone(),
            secrets: run.secrets,
            public: run.public,
            next_frame: run.next_frame,
        }
    }

    fn put_back(&self, run: &mut Run<'_, '_>) {
        run.reference = self.reference.clone();
        run.issued.clone_from(&self.issued);
        run.saved.clone_from(&self.saved);
        run.seen.clone_from(&self.seen);
        run.ciphers.clone_from(&self.ciphers);
        run.history = self.history.clone();
        (run.secrets, run.public, run.next_frame) = (self.secrets, self.public, self.next_frame);
        run.unchecked = true;
    }
}

/// Part of a schedule before the snapshot, the rest several times; then a part of the rest and the teardown.
/// `quarters` says how much of it comes before.
pub(crate) fn to_and_fro(schedule: &Schedule, quarters: usize) -> Checked {
    run_with(schedule.setup, 0, |run| {
        for guest in (0..schedule.ready.len()).filter(|&guest| schedule.ready[guest]) {
            run.start(guest)?;
        }
        let (before, after) = schedule.steps.split_at(schedule.steps.len() * quarters / 4);
        future(run, before)?;
        run.host.cpu.snapshot().map_err(|error| error.to_string())?;
        let (memory, view) = (Memory::of(run), View::of(&run.host.cpu));
        let first = future(run, after)?;
        for repetition in 1..=3 {
            go_back(run, &memory, &view).map_err(|error| format!("restore {repetition}: {error}"))?;
            // The last one goes on with a part only.
            let part = &after[..after.len() / if repetition == 3 { 2 } else { 1 }];
            for (number, (again, first)) in future(run, part)?.into_iter().zip(&first).enumerate() {
                ensure!(again == *first, "repetition {repetition}, step {number}: {again:?}, it was {first:?}");
            }
        }
        run.tear_down()
    })
    .map(drop)
}

/// What came of a step: the host's log of it, and the state after it.
type Came = (Vec<String>, StateDigest);

fn future(run: &mut Run<'_, '_>, steps: &[Step]) -> Checked<Vec<Came>> {
    let mut came = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let told = run.log.len();
        run.machine().advance_clock(1_000 + number as u64);
        run.step(step).and_then(|()| check::state(run)).map_err(|error| format!("step {number}, {step:?}: {error}"))?;
        came.push((run.log[told..].to_vec(), run.machine().state_digest(None)));
    }
    Ok(came)
}

fn go_back(run: &mut Run<'_, '_>, memory: &Memory, view: &View) -> Checked {
    run.host.cpu.restore().map_err(|error| error.to_string())?;
    let found = View::of(&run.host.cpu);
    if let Some(difference) = view.difference(&found) {
        return Err(format!("the machine is another one: {difference}"));
    }
    memory.put_back(run);
    check::state(run)
}
