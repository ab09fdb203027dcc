//! The oracle's own tests are complete: every transition and every choice that it covers is in the name of a
//! test. And the oracle is independent: of the model it knows addresses and numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rows that no step of the oracle can reach, and why.
const EXEMPT: &[(&str, &str)] = &[
    ("t18", "there are no non-secure guests"),
    ("t19", "there are no non-secure guests; the sentence on secure ones is T15"),
    ("t78", "no dump calls"),
    ("t79", "no dump calls"),
    ("t80", "no dump calls"),
    ("t81", "no VERIFY_LARGE_FRAME"),
    ("q21", "no RETR_SECRET"),
    ("q31", "no dump calls"),
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of this package") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The ids in the names of all tests: `t26_t27_an_older_export` proves T26 and T27.
fn proven() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for file in rust_files(&package().join("tests")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" {
                continue;
            }
            let name = lines.find_map(|line| line.strip_prefix("fn ")).unwrap_or_default();
            let is_id = |part: &&str| {
                part.len() > 1
                    && part.starts_with(['t', 'q', 'd', 'c', 'i'])
                    && part[1..].bytes().all(|b| b.is_ascii_digit())
            };
            ids.extend(name.split(['_', '(']).take_while(is_id).map(str::to_owned));
        }
    }
    ids
}

#[test]
fn every_transition_and_every_choice_has_a_test() {
    let proven = proven();
    let exempt: BTreeSet<&str> = EXEMPT.iter().map(|(id, _)| *id).collect();
    let all = (1..=81).map(|row| format!("t{row}")).chain((1..=36).map(|row| format!("q{row}")));
    let (mut missing, mut needless) = (Vec::new(), Vec::new());
    for id in all {
        match (proven.contains(&id), exempt.contains(id.as_str())) {
            (false, false) => missing.push(id),
            (true, true) => needless.push(id),
            _ => {}
        }
    }
    assert!(missing.is_empty(), "no test has these rows in its name: {missing:?}");
    assert!(needless.is_empty(), "exempt, but there is a test: {needless:?}");
}

#[test]
fn only_one_file_knows_the_model() {
    for file in rust_files(&package().join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        if file.ends_with("ids.rs") {
            let shared: Vec<&str> = text.lines().filter(|line| line.contains("uvsim_model")).collect();
            assert_eq!(shared.len(), 1, "{shared:?}");
            assert!(shared[0].starts_with("pub use uvsim_model::address::{"), "more than addresses: {}", shared[0]);
        } else {
            assert!(!text.contains("uvsim_model"), "{} names the model", file.display());
        }
    }
}
