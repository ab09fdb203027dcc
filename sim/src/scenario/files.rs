//! Reading of files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::string::FromUtf8Error;

use super::error::ScenarioError;

/// The longest scenario, bytes.
pub const MAX_SCENARIO_LENGTH: u64 = 64 << 20;
/// The longest data file, bytes.
pub const MAX_DATA_LENGTH: u64 = 1 << 30;

/// Why a file cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is a directory.
    #[error("it is a directory")]
    Directory,
    /// It is a pipe, a device or the like.
    #[error("it is not a regular file")]
    Special,
    /// It is longer than allowed.
    #[error("it is longer than the {limit} bytes that fit")]
    TooLong {
        /// The most bytes that it might have.
        limit: u64,
    },
    /// The operating system refuses.
    #[error("{0}")]
    Unreadable(String),
    /// The scenario was not read from a file, so there is nothing to find data files by.
    #[error("data files are not available here")]
    Unavailable,
}

/// Where data files come from.
pub trait DataFiles {
    /// The content of the file that the scenario calls `path`, at most `limit` bytes.
    ///
    /// # Errors
    /// There is no such content.
    fn read(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, FileError>;
}

impl<F: FnMut(&Path, u64) -> Result<Vec<u8>, FileError>> DataFiles for F {
    fn read(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
        self(path, limit)
    }
}

/// The content of a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let metadata = fs::metadata(path).map_err(|error| refused(&error))?;
    if metadata.is_dir() {
        return Err(FileError::Directory);
    }
    if !metadata.is_file() {
        return Err(FileError::Special);
    }
    if metadata.len() > limit {
        return Err(FileError::TooLong { limit });
    }
    let mut bytes = Vec::new();
    // The file may grow in between, or be one that states no length.
    let file = File::open(path).map_err(|error| refused(&error))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
    if bytes.len() as u64 > limit { Err(FileError::TooLong { limit }) } else { Ok(bytes) }
}

fn refused(error: &io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing,
        kind => FileError::Unreadable(kind.to_string()),
    }
}

/// The error for a scenario that is not UTF-8.
pub(super) fn not_utf8(error: &FromUtf8Error) -> ScenarioError {
    let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let start = valid.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&valid[start..]).chars().count() + 1;
    let byte = error.as_bytes().get(valid.len()).copied().unwrap_or_default();
    let message = format!("the file is not UTF-8: byte {byte:#04x} at line {line}, column {column}");
    ScenarioError::without_place(message, Some("a scenario is a UTF-8 text".to_owned()))
}
