//! What can go wrong with a sweep.

use super::Shard;
use crate::run::Status;
use std::io;
use std::path::PathBuf;

/// A sweep that cannot be done, or must not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A trace file cannot be used.
    #[error("trace `{}`: {message}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Two traces go by one name, and so would their results.
    #[error("two traces are named `{0}`: the results are filed by the name of the file, rename one")]
    SameName(String),
    /// Nothing to do.
    #[error("no cells to run: the grid has {cells}, of which shard {shard} takes none")]
    EmptyGrid {
        /// The part asked for.
        shard: Shard,
        /// Cells of the whole grid.
        cells: usize,
    },
    /// The folder, or a file in it, cannot be read or written.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Something is in the folder that is not to be overwritten.
    #[error("`{}` is there already: choose another folder, or say --resume to go on with a sweep", .0.display())]
    Occupied(PathBuf),
    /// Another process is at it.
    #[error("`{}` is being written by another sweep", .0.display())]
    Locked(PathBuf),
    /// A journal that is none.
    #[error("`{}`, line {line}: {message}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The results belong to a different grid.
    #[error("`{}` belongs to another sweep: {difference}", path.display())]
    OtherGrid {
        /// The journal.
        path: PathBuf,
        /// What is different.
        difference: String,
    },
    /// Two shards have the same cell with different results.
    #[error("cell {cell} has one result in `{}` and another in `{}`", first.display(), second.display())]
    Disagreement {
        /// The cell.
        cell: String,
        /// A journal.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// A merge lacks cells.
    #[error("{count} of {of} cells are missing: {}", listed(names, *count))]
    Missing {
        /// How many.
        count: usize,
        /// Cells of the grid.
        of: usize,
        /// The first of them.
        names: Vec<String>,
    },
    /// There is nothing to merge.
    #[error("`{}` has no journal of a sweep (`*cells.jsonl`)", .0.display())]
    NoJournal(PathBuf),
    /// No threads.
    #[error("no threads: {0}")]
    Threads(String),
    /// The machine of a cell cannot be set up, or a fault cannot be answered.
    #[error("cell {cell}: {message}")]
    Cell {
        /// The cell.
        cell: String,
        /// What happened.
        message: String,
    },
    /// The guest of a cell has read something else than it has stored (I-14).
    #[error("cell {cell}: access {access}: page {page} does not hold what the guest last stored (I-14)")]
    Mismatch {
        /// The cell.
        cell: String,
        /// Number of the access, from 0.
        access: u64,
        /// Guest page.
        page: u64,
    },
    /// The machine of a cell has broken an invariant.
    #[error("cell {cell}: {message}")]
    Broken {
        /// The cell.
        cell: String,
        /// The invariant.
        message: String,
    },
    /// A chart cannot be drawn.
    #[error("chart `{name}`: {message}")]
    Chart {
        /// The file.
        name: String,
        /// What the drawing library says.
        message: String,
    },
}

impl SweepError {
    /// What the program exits with.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Mismatch { .. } => Status::Fail,
            Self::Broken { .. } => Status::Broken,
            _ => Status::Unusable,
        }
    }

    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |error| Self::Io { path, error }
    }
}

fn listed(names: &[String], count: usize) -> String {
    let more = if count > names.len() { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}
