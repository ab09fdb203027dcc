//! Entries in a folder: cases as bytes, or scenarios that cases stand for.

use super::case::Case;
use crate::scenario::Scenario;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Ending of the files of entries.
pub const ENTRY: &str = "case";

/// A folder or a file of a campaign cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// It cannot be read.
    #[error("`{}` cannot be read: {}", .0.display(), .1.kind())]
    Read(PathBuf, io::Error),
    /// It cannot be written.
    #[error("`{}` cannot be written: {}", .0.display(), .1.kind())]
    Write(PathBuf, io::Error),
    /// It is no folder.
    #[error("`{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    /// A scenario that is none.
    #[error("`{}` is no scenario: {}", .0.display(), .1)]
    NoScenario(PathBuf, String),
    /// A scenario that no case stands for.
    #[error(transparent)]
    NoCase(#[from] super::NoCase),
}

/// A case from a file: a scenario if its name ends in `.kdl`, else bytes.
///
/// # Errors
/// It cannot be read, or is a scenario that no case stands for.
pub fn read(path: &Path) -> Result<Case, CorpusError> {
    if path.extension().is_some_and(|extension| extension == "kdl") {
        let scenario = Scenario::read(path).map_err(|errors| {
            let told = errors.errors().first().map(ToString::to_string).unwrap_or_default();
            CorpusError::NoScenario(path.to_owned(), told)
        })?;
        return Ok(Case::from_scenario(&scenario)?);
    }
    let bytes = fs::read(path).map_err(|error| CorpusError::Read(path.to_owned(), error))?;
    Ok(Case::from_bytes(&bytes))
}

/// The cases in a folder, in order of their names.
pub(super) fn load(folder: &Path) -> Result<Vec<Case>, CorpusError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    if !folder.is_dir() {
        return Err(CorpusError::NoFolder(folder.to_owned()));
    }
    let read_error = |error| CorpusError::Read(folder.to_owned(), error);
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let path = entry.map_err(read_error)?.path();
        if path.is_file() {
            paths.insert(path);
        }
    }
    paths.iter().map(|path| read(path)).collect()
}

/// Makes a folder, if there is none.
pub(super) fn make_folder(folder: &Path) -> Result<(), CorpusError> {
    if folder.exists() && !folder.is_dir() {
        return Err(CorpusError::NoFolder(folder.to_owned()));
    }
    fs::create_dir_all(folder).map_err(|error| CorpusError::Write(folder.to_owned(), error))
}

/// Writes a case; the name tells its content.
pub(super) fn save(folder: &Path, case: &Case) -> Result<PathBuf, CorpusError> {
    let bytes = case.to_bytes();
    let path = folder.join(format!("{:016x}.{ENTRY}", xxh3_64(&bytes)));
    write(&path, &bytes)?;
    Ok(path)
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CorpusError> {
    fs::write(path, bytes).map_err(|error| CorpusError::Write(path.to_owned(), error))
}

/// Removes the entries of a folder that are not among these cases. Scenarios stay.
pub(super) fn retain(folder: &Path, kept: &[Case]) -> Result<(), CorpusError> {
    let names: BTreeSet<String> =
        kept.iter().map(|case| format!("{:016x}.{ENTRY}", xxh3_64(&case.to_bytes()))).collect();
    let read_error = |error| CorpusError::Read(folder.to_owned(), error);
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let path = entry.map_err(read_error)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(&format!(".{ENTRY}")) && !names.contains(name) {
            fs::remove_file(&path).map_err(|error| CorpusError::Write(path.clone(), error))?;
        }
    }
    Ok(())
}
