//! One cell: a fresh machine, a protected guest that does what the trace says, a host with few frames.

use super::{Cell, Grid, SweepError};
use crate::kernel::Stop;
use crate::paging::Resident;
use crate::pressure::{Counters, Ended, Extent, Origin, Recorded, Task};
use crate::run::boot;
use crate::scenario::Scenario;
use crate::trace::PageTrace;
use serde_json::{Value, json};
use std::path::Path;
use uvsim_model::Machine;
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE};
use uvsim_model::seed::{Purpose, Seed};

/// What a cell counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellResult {
    /// Guest accesses done.
    pub accesses: u64,
    /// Different pages among them.
    pub pages: u64,
    /// Accesses that found their page not resident.
    pub faults: u64,
    /// Pages imported.
    pub page_ins: u64,
    /// Pages exported.
    pub page_outs: u64,
    /// Exports that took a new counter: the content was new to the Ultravisor.
    pub encrypted: u64,
    /// Exports that did not: the bytes are those of the export before.
    pub unchanged: u64,
}

/// The guest page of slot 0: the pages before hold the prefix area.
const FIRST: u64 = 256;

/// Runs a cell.
pub(super) fn run(grid: &Grid, cell: &Cell, trace: &PageTrace) -> Result<CellResult, SweepError> {
    let failed = |message: String| SweepError::Cell { cell: grid.name_of(cell), message };
    let pages = trace.pages.len() as u64;
    let size = (FIRST + pages).next_multiple_of(MEBIBYTE / PAGE_SIZE) * PAGE_SIZE;
    let scenario =
        format!("scenario cell\nguest a memory=\"{}MiB\" vcpus=1\nstep s {{\n check invariants\n}}\n", size / MEBIBYTE);
    let scenario = Scenario::parse(Path::new("cell"), &scenario)
        .map_err(|errors| failed(errors.errors().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let mut config = grid.machine(cell.generation);
    // The guest, what a configuration of its size donates, and what the host itself needs.
    config.storage = config.storage.saturating_add(size.saturating_mul(2));
    let machine = Machine::new(config).map_err(|error| failed(error.to_string()))?;
    let mut kernel = boot(&machine, &scenario).map_err(|error| failed(error.message))?;
    kernel.watch = false;
    let mut task = task(grid, cell, trace);
    let done = task.advance(&mut kernel, u64::MAX, &mut |_, _| ());
    let counters = task.counters;
    done.map_err(|ended| match ended {
        Ended::Stopped { what, stop } => failed(format!("access {}: {what}: {}", counters.accesses, told(stop))),
        // The access has been counted.
        Ended::Mismatch { page, .. } => {
            SweepError::Mismatch { cell: grid.name_of(cell), access: counters.accesses - 1, page }
        }
    })?;
    let broken = |violation: String| SweepError::Broken { cell: grid.name_of(cell), message: violation };
    machine.check_invariants().map_err(|violation| broken(violation.to_string()))?;
    Ok(CellResult::new(pages, &counters))
}

/// The trace from its first access. No store is like the one before it: traces have fewer than 32 bits can number.
fn task<'t>(grid: &Grid, cell: &Cell, trace: &'t PageTrace) -> Task<'t, u32> {
    let stream = Seed(grid.seed).substream(Purpose::Workload, 0);
    let resident = Resident::new(cell.kind(), trace.pages.len(), cell.frames, stream).with_window(grid.window);
    let extent = Extent {
        guest: 0,
        first: FIRST,
        pages: trace.pages.len() as u64,
        frames: cell.frames,
        goal: trace.touches.len() as u64,
    };
    Task::new(extent, resident, Origin::Recorded(Recorded::new(&trace.touches)))
}

/// Why the host stops.
fn told(stop: Stop) -> String {
    match stop {
        Stop::Outcome(observed) => {
            let codes = observed.rc.map(|rc| format!(" rc={rc:#x} rrc={:#x}", observed.rrc.unwrap_or(0)));
            format!("the host meets {}{}", observed.outcome, codes.unwrap_or_default())
        }
        Stop::OutOfStorage { what, needed, available } => {
            format!("storage is too small for {what}: {needed} bytes wanted, {available} there")
        }
        Stop::TimeOut => "no time is left".into(),
        Stop::Internal(message) => message,
    }
}

impl CellResult {
    fn new(pages: u64, counters: &Counters) -> Self {
        Self {
            accesses: counters.accesses,
            pages,
            faults: counters.faults,
            page_ins: counters.page_ins,
            page_outs: counters.page_outs,
            encrypted: counters.encrypted,
            unchanged: counters.unchanged,
        }
    }

    /// The values, by their names in all files.
    pub(super) fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("accesses", self.accesses),
            ("pages", self.pages),
            ("faults", self.faults),
            ("page_ins", self.page_ins),
            ("page_outs", self.page_outs),
            ("encrypted", self.encrypted),
            ("unchanged", self.unchanged),
        ]
    }

    pub(super) fn to_json(&self, grid: &Grid, cell: &Cell) -> Value {
        let mut value = json!({ "cell": grid.name_of(cell) });
        for (name, number) in self.fields() {
            value[name] = number.into();
        }
        value
    }

    /// The name of the cell, and its result.
    pub(super) fn from_json(value: &Value) -> Option<(String, Self)> {
        let number = |name: &str| value[name].as_u64();
        let result = Self {
            accesses: number("accesses")?,
            pages: number("pages")?,
            faults: number("faults")?,
            page_ins: number("page_ins")?,
            page_outs: number("page_outs")?,
            encrypted: number("encrypted")?,
            unchanged: number("unchanged")?,
        };
        Some((value["cell"].as_str()?.to_owned(), result))
    }

    /// So many events for each access, scaled.
    pub(super) fn per_access(&self, events: u64, scale: f64) -> f64 {
        events as f64 * scale / self.accesses.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::tests::grid;
    use super::super::traces::tests::trace;
    use super::*;

    fn of(touches: &[(u64, bool)], frames: u64) -> CellResult {
        let grid = grid();
        run(&grid, &Cell { frames, ..grid.cells()[0].clone() }, &trace(touches)).unwrap()
    }

    #[test]
    fn counts_are_those_of_least_recently_used() {
        // LRU in 2 frames: 0 1 | 0 hits | 2 evicts 1 | 1 evicts 0 | 0 evicts 2.
        let touches = [(0, true), (1, false), (0, false), (2, false), (1, false), (0, false)];
        let counted = of(&touches, 2);
        let wanted = CellResult {
            accesses: 6,
            pages: 3,
            faults: 5,
            page_ins: 5,
            page_outs: 3,
            encrypted: counted.encrypted,
            unchanged: 3 - counted.encrypted,
        };
        assert_eq!(counted, wanted);
        assert_eq!(of(&touches, 3).page_outs, 0);
    }

    #[test]
    fn a_page_that_is_not_stored_into_is_encrypted_once() {
        // Every page leaves three times; only page 0 changes in between.
        let touches: Vec<(u64, bool)> = (0..8).map(|turn| (turn % 2, turn % 2 == 0)).collect();
        let counted = of(&touches, 1);
        assert_eq!((counted.faults, counted.page_outs), (8, 7));
        assert_eq!((counted.encrypted, counted.unchanged), (4 + 1, 2));
    }

    #[test]
    fn a_result_survives_its_json() {
        let grid = grid();
        let result = CellResult { accesses: u64::MAX, faults: 3, ..CellResult::default() };
        let (name, again) = CellResult::from_json(&result.to_json(&grid, &grid.cells()[1])).unwrap();
        assert_eq!((&*name, again), ("a b/z15/lru/8", result));
        assert_eq!(CellResult::from_json(&json!({ "cell": "a", "accesses": 1 })), None);
    }
}
