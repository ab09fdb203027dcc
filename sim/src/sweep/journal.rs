//! The journal: what is done is in it, line by line, whatever happens next.

use super::{Cell, CellResult, Grid, Shard, SweepError, file_of};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What journals are named, behind the prefix of a shard.
pub(super) const NAME: &str = "cells.jsonl";

/// The journal of one run. Its first line is the grid, each further one a finished cell.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// Results by cell.
pub(super) type Results = BTreeMap<Cell, CellResult>;

impl Journal {
    /// Begins a journal, or goes on with the one that is there.
    pub(super) fn open(out: &Path, shard: Shard, grid: &Grid, resume: bool) -> Result<(Self, Results), SweepError> {
        fs::create_dir_all(out).map_err(SweepError::io(out))?;
        let path = file_of(out, shard, NAME);
        let there = path.exists();
        if !there || !resume {
            refuse_occupied(out, shard)?;
        }
        let io = |error| SweepError::Io { path: path.clone(), error };
        // Not truncated: a journal is locked before it is looked at.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SweepError::Locked(path)),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let whole = whole_lines(&text);
        let mut found = Results::new();
        if whole.is_empty() {
            // Nothing, or a first line that was cut off: as good as new.
            file.set_len(0).map_err(io)?;
            file.rewind().map_err(io)?;
            file.write_all(line(&json!({ "grid": grid.to_json() })).as_bytes()).map_err(io)?;
        } else {
            let (other, results) = parse(&path, whole)?;
            if let Some(difference) = other.difference(grid) {
                return Err(SweepError::OtherGrid { path, difference });
            }
            let own = shard.of(&grid.cells());
            found.extend(results.into_iter().filter(|(cell, _)| own.contains(cell)));
            file.set_len(whole.len() as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        Ok((Self { path, file: Mutex::new(file) }, found))
    }

    /// Notes a cell. The line is with the system when this returns.
    pub(super) fn append(&self, grid: &Grid, cell: &Cell, result: &CellResult) -> Result<(), SweepError> {
        let line = line(&result.to_json(grid, cell));
        let mut file = self.file.lock();
        file.write_all(line.as_bytes()).and_then(|()| file.flush()).map_err(SweepError::io(&self.path))
    }
}

/// The journals in a folder, in the order of their names.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, SweepError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(SweepError::io(folder))? {
        let path = entry.map_err(SweepError::io(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == NAME || (name.starts_with("shard-") && name.ends_with(&format!(".{NAME}"))) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(SweepError::NoJournal(folder.into())) } else { Ok(found) }
}

/// A journal as it is; a last line that was cut off does not count.
pub(super) fn read(path: &Path) -> Result<(Grid, Results), SweepError> {
    let text = fs::read(path).map_err(SweepError::io(path))?;
    parse(path, whole_lines(&text))
}

/// A journal with all cells in their order, as a merge leaves it.
pub(super) fn text(grid: &Grid, results: &Results) -> String {
    let head = line(&json!({ "grid": grid.to_json() }));
    std::iter::once(head).chain(results.iter().map(|(cell, result)| line(&result.to_json(grid, cell)))).collect()
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    &text[..end]
}

fn parse(path: &Path, text: &[u8]) -> Result<(Grid, Results), SweepError> {
    let wrong = |line, message: &str| SweepError::Journal { path: path.into(), line, message: message.into() };
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).zip(1..);
    let head = lines.next().and_then(|(line, _)| serde_json::from_slice::<Value>(line).ok()).unwrap_or_default();
    let grid = Grid::from_json(&head["grid"]).ok_or_else(|| wrong(1, "not the grid of a sweep of this version"))?;
    let cells: BTreeMap<String, Cell> = grid.cells().into_iter().map(|cell| (grid.name_of(&cell), cell)).collect();
    let mut results = Results::new();
    for (line, number) in lines {
        let value: Value = serde_json::from_slice(line).map_err(|_| wrong(number, "not a JSON object"))?;
        let (name, result) = CellResult::from_json(&value).ok_or_else(|| wrong(number, "not the result of a cell"))?;
        let cell = cells.get(&name).ok_or_else(|| wrong(number, "a cell that is not in the grid"))?;
        if results.insert(cell.clone(), result.clone()).is_some_and(|old| old != result) {
            return Err(wrong(number, "a second, different result of a cell"));
        }
    }
    Ok((grid, results))
}

/// Only files of other shards may be in a folder that is to be written to.
pub(super) fn refuse_occupied(out: &Path, shard: Shard) -> Result<(), SweepError> {
    let own = shard.prefix();
    for entry in fs::read_dir(out).map_err(SweepError::io(out))? {
        let entry = entry.map_err(SweepError::io(out))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_another_shard = !own.is_empty() && name.starts_with("shard-") && !name.starts_with(&own);
        if !of_another_shard {
            return Err(SweepError::Occupied(entry.path()));
        }
    }
    Ok(())
}
