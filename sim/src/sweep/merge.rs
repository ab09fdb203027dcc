//! The shards of a grid, joined.

use super::journal::{self, Results};
use super::output::{Outcome, write_whole};
use super::{Grid, Shard, Summary, SweepError, file_of};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// So many missing cells are named.
const NAMED: usize = 8;

/// Joins the journals in these folders, and writes what the undivided sweep would have written.
///
/// # Errors
/// Journals that cannot be read, belong to different grids, disagree about a cell or lack one; a folder that is not
/// empty.
pub fn merge(folders: &[PathBuf], out: &Path) -> Result<Summary, SweepError> {
    let mut grid: Option<Grid> = None;
    let mut results = Results::new();
    let mut origin = BTreeMap::new();
    for folder in folders {
        for path in journal::of_folder(folder)? {
            let (other, cells) = journal::read(&path)?;
            let wanted = grid.get_or_insert_with(|| other.clone());
            if let Some(difference) = other.difference(wanted) {
                return Err(SweepError::OtherGrid { path, difference });
            }
            for (cell, result) in cells {
                let first: &PathBuf = origin.entry(cell.clone()).or_insert_with(|| path.clone());
                if results.get(&cell).is_some_and(|old| *old != result) {
                    return Err(SweepError::Disagreement {
                        cell: wanted.name_of(&cell),
                        first: first.clone(),
                        second: path,
                    });
                }
                results.insert(cell, result);
            }
        }
    }
    let Some(grid) = grid else { return Err(SweepError::NoJournal(out.into())) };
    let cells = grid.cells();
    let missing: Vec<String> =
        cells.iter().filter(|cell| !results.contains_key(cell)).map(|cell| grid.name_of(cell)).collect();
    if !missing.is_empty() {
        let names = missing.iter().take(NAMED).cloned().collect();
        return Err(SweepError::Missing { count: missing.len(), of: cells.len(), names });
    }
    fs::create_dir_all(out).map_err(SweepError::io(out))?;
    journal::refuse_occupied(out, Shard::WHOLE)?;
    write_whole(&file_of(out, Shard::WHOLE, journal::NAME), &journal::text(&grid, &results))?;
    let files = Outcome { grid: &grid, results: &results }.write(out, Shard::WHOLE)?;
    Ok(Summary { run: 0, found: results.len(), files })
}
