//! The scenario language, version 1: from text to a document in which everything is resolved.
//!
//! [`Scenario::read`] reads a file and the data files that it names, [`Scenario::parse`] takes a text
//! that names none. Both report every mistake at its place, at most [`MAX_ERRORS`] of them, as
//! [`ScenarioErrors`]; nothing is run. What comes out keeps all rules of the language, so that a
//! runner has only to match on [`Node`] and [`Verb`].

mod decode;
mod document;
pub(crate) mod effects;
mod error;
mod files;
mod io;
mod life;
mod outcome;
mod place;
mod reader;
mod statement;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::domain::Domain;
use uvsim_model::config::MachineConfig;

pub(crate) use decode::verbs;
pub use document::{
    BufferId, Guest, GuestId, GuestState, Lane, Load, LoadData, MAX_VCPUS, Node, Parallel, Pattern, Repeat, Replay,
    Scenario, Step, Workload,
};
pub use error::{LocatedError, MAX_ERRORS, ScenarioError, ScenarioErrors};
pub(crate) use files::read as read_file;
pub use files::{DataFiles, FileError, MAX_DATA_LENGTH, MAX_SCENARIO_LENGTH};
pub use io::{
    ConsoleText, DEFAULT_SLOTS, DeviceKind, DiskContent, DiskData, GuestDevice, GuestDevices, GuestIo, IoCheck,
    RING_PAGES, SECTOR, SLOT,
};
pub use life::{
    CpuCheck, CpuReset, CpuState, GuestDiagnose, ImagePart, LeakCheck, MpState, PV_COMMANDS, PvCommand, Unpack,
};
pub use outcome::{Expectation, Outcome};
pub(crate) use place::Lines;
pub use place::Place;
pub use statement::{
    FaultPolicy, FieldValue, FrameSecurity, Injection, PageCheck, Pages, Read, RecordState, Source, Statement, UvcCall,
    Verb, Write,
};
pub(crate) use syntax::shown;

/// Takes what a machine is made of from a text: a `machine` node of the scenario language, or what would stand
/// between its braces. Nothing but `machine` may be there. Besides the settings of scenarios there is `byte-order`,
/// `big` or `native`. Key files are read; their paths are relative to the working directory.
///
/// # Errors
/// The text is not KDL 2 or breaks a rule of the language, or a key file cannot be used.
pub fn machine_config(text: &str) -> Result<MachineConfig, ScenarioErrors> {
    let path = Path::new("machine");
    if text.len() as u64 > MAX_SCENARIO_LENGTH {
        return Err(ScenarioErrors::unusable(
            path,
            &format!("the text has more than {MAX_SCENARIO_LENGTH} bytes"),
            None,
        ));
    }
    decode::machine(text, &mut files::read)
        .map_err(|(errors, unreported)| ScenarioErrors::new(path, Arc::from(text), errors, unreported))
}

impl Scenario {
    /// Reads a scenario and its data files; their paths are relative to the folder of `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or KDL 2, or breaks a rule of the language.
    pub fn read(path: &Path) -> Result<Self, ScenarioErrors> {
        Self::read_as(path, path)
    }

    /// Reads a scenario whose first guest is set up by a domain definition, whatever the file says of its size.
    ///
    /// # Errors
    /// As [`Scenario::read`], and if the file has no guest.
    pub fn read_with_domain(path: &Path, domain: &Arc<Domain>) -> Result<Self, ScenarioErrors> {
        Self::read_file(path, path, Some(domain))
    }

    /// The same, with another name for the file in reports.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or KDL 2, or breaks a rule of the language.
    pub fn read_as(path: &Path, name: &Path) -> Result<Self, ScenarioErrors> {
        Self::read_file(path, name, None)
    }

    fn read_file(path: &Path, name: &Path, domain: Option<&Arc<Domain>>) -> Result<Self, ScenarioErrors> {
        let bytes = files::read(path, MAX_SCENARIO_LENGTH)
            .map_err(|error| ScenarioErrors::unusable(name, &format!("the file cannot be read: {error}"), None))?;
        let text = String::from_utf8(bytes).map_err(|error| ScenarioErrors::single(name, files::not_utf8(&error)))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = |file: &Path, limit: u64| files::read(&folder.join(file), limit);
        Self::decode(name, &text, &mut files, domain)
    }

    /// Takes a scenario from a text. Nothing is read: a data file in it is an error.
    ///
    /// # Errors
    /// The text is not KDL 2 or breaks a rule of the language.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioErrors> {
        Self::parse_with(path, text, &mut |_: &Path, _: u64| Err(FileError::Unavailable))
    }

    /// Takes a scenario from a text, and its data files from elsewhere: a function will do that is
    /// given the path as it is written and the most bytes that fit, and returns the content.
    ///
    /// # Errors
    /// The text is not KDL 2 or breaks a rule of the language, or `files` fails.
    pub fn parse_with(path: &Path, text: &str, files: &mut dyn DataFiles) -> Result<Self, ScenarioErrors> {
        Self::decode(path, text, files, None)
    }

    fn decode(
        path: &Path,
        text: &str,
        files: &mut dyn DataFiles,
        domain: Option<&Arc<Domain>>,
    ) -> Result<Self, ScenarioErrors> {
        let source: Arc<str> = Arc::from(text);
        decode::scenario(path, &source, files, domain)
            .map_err(|(errors, unreported)| ScenarioErrors::new(path, Arc::clone(&source), errors, unreported))
    }
}
