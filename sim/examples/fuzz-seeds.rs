//! Writes inputs for fuzzers to begin with: `cargo run --example fuzz-seeds -- FOLDER [SCENARIOS]`.
//!
//! Or dictionaries, with the words of the program as it is: `cargo run --example fuzz-seeds -- --dictionaries FOLDER`.
//!
//! Each target gets a folder of its own. The files of SCENARIOS (`scenarios`, if nothing is said) are inputs of the
//! targets `scenario` and, as far as they can be, `actions`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uvsim::fuzz::Case;
use uvsim::fuzz::targets::TARGETS;
use uvsim::run::collect;
use uvsim::scenario::Scenario;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: fuzz-seeds FOLDER [SCENARIOS]");
        return ExitCode::from(2);
    };
    if folder.as_os_str() == "--dictionaries" {
        return told(dictionaries(&arguments.next().unwrap_or_default()));
    }
    let scenarios = arguments.next().unwrap_or_else(|| PathBuf::from("scenarios"));
    told(write(&folder, &scenarios))
}

fn told(written: io::Result<usize>) -> ExitCode {
    match written {
        Ok(count) => {
            println!("{count} files");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn dictionaries(folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let mut count = 0;
    for target in TARGETS {
        let dictionary = target.dictionary();
        // An empty one would be an error to libFuzzer.
        if !dictionary.is_empty() {
            fs::write(folder.join(format!("{}.dict", target.name)), dictionary)?;
            count += 1;
        }
    }
    Ok(count)
}

fn write(folder: &Path, scenarios: &Path) -> io::Result<usize> {
    let mut count = 0;
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, data) in (target.seeds)() {
            fs::write(folder.join(name), data)?;
            count += 1;
        }
    }
    for file in collect(&[scenarios.to_owned()]) {
        let file = file.map_err(|error| io::Error::other(error.to_string()))?;
        let name = file.file_name().unwrap_or_default();
        fs::copy(&file, folder.join("scenario").join(name))?;
        count += 1;
        let case = Scenario::read(&file).ok().and_then(|scenario| Case::from_scenario(&scenario).ok());
        if let Some(case) = case {
            fs::write(folder.join("actions").join(name).with_extension(""), case.to_bytes())?;
            count += 1;
        }
    }
    Ok(count)
}
