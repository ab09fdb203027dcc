//! The scenarios of this repository: each passes, says twice the same, and what was committed beside it.

use std::path::{Path, PathBuf};
use uvsim::run::{self, Options, Status, human::Human};

/// At least so many scenarios there are.
const MINIMUM: usize = 40;
const RENEW: &str = "renew it with `cargo run -- bless scenarios` and look at the difference";

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    run::collect(&[folder]).into_iter().map(|file| file.expect("the folder can be read")).collect()
}

#[test]
fn there_are_enough() {
    let found = scenarios().len();
    assert!(found >= MINIMUM, "{found} scenarios, not {MINIMUM}");
}

#[test]
fn each_passes_and_prints_what_is_committed() {
    let mut wrong = Vec::new();
    for file in scenarios() {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (first, second) = (run::transcript(&file), run::transcript(&file));
        if first != second {
            wrong.push(format!("{name}: two runs differ: {}", difference(&first, &second)));
        }
        if !first.ends_with("exit status 0\n") {
            wrong.push(format!("{name} does not pass:\n{first}"));
        }
        match std::fs::read_to_string(file.with_extension("out")) {
            Ok(committed) if committed == first => {}
            Ok(committed) => {
                wrong.push(format!("{name}: not what is committed: {}\n{RENEW}", difference(&committed, &first)));
            }
            Err(error) => wrong.push(format!("{name}: its .out file: {error}\n{RENEW}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The oracle takes every step of every scenario as well, and agrees.
#[test]
fn each_passes_beside_the_oracle() {
    let options = Options { verify: true, ..Options::default() };
    let mut wrong = Vec::new();
    for file in scenarios() {
        let mut out = Vec::new();
        let verdict = run::run(std::slice::from_ref(&file), options, &mut Human::new(&mut out, false, 100).quiet(true));
        if verdict.status != Status::Pass {
            let text = String::from_utf8_lossy(&anstream::adapter::strip_bytes(&out).into_vec()).into_owned();
            wrong.push(format!("{}:\n{text}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_index_names_each() {
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/README.md");
    let index = std::fs::read_to_string(index).unwrap();
    for file in scenarios() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let rows = index.matches(&format!("| [{stem}]({stem}.kdl) |")).count();
        assert_eq!(rows, 1, "{stem} has {rows} rows in scenarios/README.md");
    }
}

#[test]
fn no_output_is_left_over() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let outputs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "out"));
    let orphans: Vec<PathBuf> = outputs.filter(|path| !path.with_extension("kdl").is_file()).collect();
    assert!(orphans.is_empty(), "{orphans:?} have no scenario");
}

/// The first line that differs.
fn difference(expected: &str, found: &str) -> String {
    let lines = expected.lines().zip(found.lines()).enumerate();
    match lines.into_iter().find(|(_, (expected, found))| expected != found) {
        Some((number, (expected, found))) => format!("line {}\n  - {expected}\n  + {found}", number + 1),
        None => "one is longer than the other".to_owned(),
    }
}
