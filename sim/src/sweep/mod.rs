//! Sweeps: traces replayed on fresh machines, once for each policy, number of frames and generation.
//!
//! A [`Grid`] says what there is to do; its [`Cell`]s depend on nothing but themselves, so they may run in any order,
//! on any number of threads and, as [`Shard`]s, on any number of hosts. What comes out is the same, byte for byte.

mod cell;
mod chart;
mod error;
mod frames;
mod grid;
mod journal;
mod merge;
mod output;
mod traces;

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use cell::CellResult;
pub use error::SweepError;
pub use frames::{FrameList, FrameListError};
pub use grid::{Cell, Grid, NoShard, Settings, Shard, TraceEntry, generation_named};
pub use merge::merge;

use journal::Journal;
use output::Outcome;

/// What to sweep, and where to leave it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The trace files.
    pub traces: Vec<PathBuf>,
    /// The axes of the grid.
    pub settings: Settings,
    /// The folder for the results.
    pub out: PathBuf,
    /// Threads; none for one per CPU.
    pub jobs: Option<usize>,
    /// The part to do.
    pub shard: Shard,
    /// Go on where an earlier run stopped.
    pub resume: bool,
    /// Write how long each cell took, in a file of its own.
    pub measure: bool,
}

/// What a sweep came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Cells run now.
    pub run: usize,
    /// Cells found done.
    pub found: usize,
    /// Files written, besides the journal.
    pub files: Vec<PathBuf>,
}

/// Hears how a sweep gets on; called from many threads.
pub trait Progress: Sync {
    /// The sweep begins: so many cells are done of so many.
    fn begins(&self, done: usize, of: usize);
    /// One more cell is done.
    fn cell_done(&self);
}

/// Runs what the request asks for.
///
/// # Errors
/// Unusable traces, grid or folder; a cell whose guest reads what it has not written, or whose machine breaks an
/// invariant. Finished cells stay in the journal.
pub fn sweep(request: &Request, progress: &dyn Progress) -> Result<Summary, SweepError> {
    let (grid, traces) = traces::read(&request.traces, &request.settings)?;
    let cells = request.shard.of(&grid.cells());
    if cells.is_empty() {
        return Err(SweepError::EmptyGrid { shard: request.shard, cells: grid.cells().len() });
    }
    let (journal, found) = Journal::open(&request.out, request.shard, &grid, request.resume)?;
    let open: Vec<&Cell> = cells.iter().filter(|cell| !found.contains_key(cell)).collect();
    progress.begins(found.len(), cells.len());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(request.jobs.unwrap_or(0));
    let pool = pool.build().map_err(|error| SweepError::Threads(error.to_string()))?;
    let one = |cell: &&Cell| -> Result<(Cell, CellResult, Duration), SweepError> {
        let start = Instant::now();
        let result = cell::run(&grid, cell, &traces[cell.trace])?;
        journal.append(&grid, cell, &result)?;
        progress.cell_done();
        Ok(((*cell).clone(), result, start.elapsed()))
    };
    let done: Vec<_> = pool.install(|| open.par_iter().map(one).collect::<Result<_, _>>())?;
    let mut results = found.clone();
    results.extend(done.iter().map(|(cell, result, _)| (cell.clone(), result.clone())));
    let mut files = Outcome { grid: &grid, results: &results }.write(&request.out, request.shard)?;
    if request.measure {
        let times: Vec<_> = done.iter().map(|(cell, _, time)| (cell, *time)).collect();
        files.push(output::write_times(&grid, &times, &request.out, request.shard)?);
    }
    Ok(Summary { run: done.len(), found: found.len(), files })
}

/// The name of a file of a run: those of a shard begin with its number.
fn file_of(out: &Path, shard: Shard, name: &str) -> PathBuf {
    out.join(format!("{}{name}", shard.prefix()))
}
