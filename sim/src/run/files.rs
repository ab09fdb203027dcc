//! Files and folders as arguments, and what is done with files besides running them.

use super::human::Human;
use super::{Options, Report, Status, Verdict, run_each};
use crate::scenario::{Scenario, ScenarioErrors};
use std::path::{Path, PathBuf};

/// The files that the arguments name: a folder stands for its `*.kdl` files, in order of their paths. A folder
/// that cannot be read or holds none is an error in its place.
#[must_use]
pub fn collect(paths: &[PathBuf]) -> Vec<Result<PathBuf, ScenarioErrors>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(Ok(path.clone()));
            continue;
        }
        match scenarios_of(path) {
            Ok(found) if found.is_empty() => {
                let help = "a scenario is a file whose name ends in `.kdl`; subfolders are not searched";
                files.push(Err(ScenarioErrors::unusable(path, "the folder holds no `*.kdl` file", Some(help))));
            }
            Ok(found) => files.extend(found.into_iter().map(Ok)),
            Err(error) => {
                let message = format!("the folder cannot be read: {}", error.kind());
                files.push(Err(ScenarioErrors::unusable(path, &message, None)));
            }
        }
    }
    files
}

fn scenarios_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "kdl") && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Checks files without running them.
pub fn check(paths: &[PathBuf], report: &mut dyn Report) -> Verdict {
    let mut verdict = Verdict::default();
    for file in collect(paths) {
        match file.and_then(|file| Scenario::read(&file)) {
            Ok(scenario) => {
                verdict.seed.get_or_insert(scenario.machine.seed);
                verdict.scenarios += 1;
                report.checked(&scenario);
            }
            Err(errors) => {
                report.unusable(&errors);
                verdict.unusable += 1;
                verdict.status = verdict.status.worse(Status::Unusable);
            }
        }
    }
    report.verdict(&verdict);
    verdict
}

/// Width of the reports in a transcript.
const TRANSCRIPT_WIDTH: usize = 100;

/// What a run of one file prints for a person, without colour, and how it ends. The file goes by its bare
/// name, so that the text is the same wherever it is run.
#[must_use]
pub fn transcript(file: &Path) -> String {
    let name = file.file_name().map_or(file, Path::new);
    let mut out = Vec::new();
    let mut report = Human::new(&mut out, false, TRANSCRIPT_WIDTH);
    let verdict = run_each(std::iter::once(Scenario::read_as(file, name)), Options::default(), &mut report);
    let text = String::from_utf8_lossy(&anstream::adapter::strip_bytes(&out).into_vec()).into_owned();
    format!("{text}exit status {}\n", verdict.status.code())
}
