//! What fuzzers have found, and what they have kept because it reaches something: replayed, file by file.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use uvsim::fuzz::targets::{TARGETS, Target};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fuzz/regressions")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A find: a fault, or a panic.
fn wrong(target: &Target, input: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(Ok(())) => None,
        Ok(Err(fault)) => Some(fault.to_string()),
        Err(_) => Some("it panics".to_owned()),
    }
}

fn replay(name: &str) {
    let target = uvsim::fuzz::targets::target(name).expect("a target");
    let files = files(&folder().join(name));
    assert!(!files.is_empty(), "nothing to replay for `{name}`");
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.display(), wrong(target, &fs::read(file).unwrap())?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! replays {
    ($($name:ident),*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays!(scenario, actions, blocks, images, recipes, domain, traces, lanes, threads);

#[test]
fn every_target_is_replayed_and_nothing_else_is_there() {
    let known: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(known, REPLAYED.iter().copied().collect());
    let there = files(&folder());
    let there: BTreeSet<&str> = there.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(there, known);
}

#[test]
fn a_fault_and_a_panic_are_both_seen() {
    fn panics(_: &[u8]) -> Result<(), uvsim::fuzz::targets::Fault> {
        panic!("on purpose")
    }
    fn faulty(_: &[u8]) -> Result<(), uvsim::fuzz::targets::Fault> {
        Err(uvsim::fuzz::targets::Fault { message: "on purpose".into(), shown: String::new() })
    }
    let target = |run| Target { name: "", about: "", run, seeds: Vec::new, words: Vec::new };
    assert_eq!(wrong(&target(panics), b""), Some("it panics".into()));
    assert_eq!(wrong(&target(faulty), b""), Some("on purpose\n".into()));
}

/// The dictionaries come from the tables of the program.
#[test]
fn dictionaries_are_those_of_this_program() {
    const RENEW: &str = "renew it with `cargo run --example fuzz-seeds -- --dictionaries model/fuzz/dict`";
    for target in TARGETS {
        let file = folder().join(format!("../dict/{}.dict", target.name));
        let there = fs::read_to_string(&file).unwrap_or_default();
        assert!(there == target.dictionary(), "{}: {RENEW}", file.display());
    }
}

/// A word that the catalogue uses and the dictionary does not know is one that a fuzzer would have to guess.
#[test]
fn the_dictionary_knows_what_the_catalogue_says() {
    let known: BTreeSet<Vec<u8>> = (uvsim::fuzz::targets::target("scenario").unwrap().words)().into_iter().collect();
    let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut missing = BTreeSet::new();
    for file in uvsim::run::collect(&[catalogue]) {
        let text = fs::read_to_string(file.unwrap()).unwrap();
        let document: kdl::KdlDocument = text.parse().unwrap();
        words_of(&document, &mut |word| {
            if !known.contains(word.as_bytes()) {
                missing.insert(word.to_owned());
            }
        });
    }
    assert_eq!(missing, BTreeSet::new());
}

/// Names of nodes and properties, and the first argument of a statement: the verb.
fn words_of(document: &kdl::KdlDocument, take: &mut impl FnMut(&str)) {
    for node in document.nodes() {
        take(node.name().value());
        for entry in node.entries() {
            match (entry.name(), entry.ty()) {
                (Some(name), _) => take(&format!("{}=", name.value())),
                (None, Some(kind)) => take(&format!("({})", kind.value())),
                _ => {}
            }
        }
        let declared = node.get("memory").is_some() || node.get("domain").is_some();
        let statement = matches!(node.name().value(), "host" | "guest" | "device" | "check") && !declared;
        if let Some(verb) = node.get(0).and_then(|value| value.as_string()).filter(|_| statement) {
            take(verb);
        }
        if let Some(children) = node.children() {
            words_of(children, take);
        }
    }
}

/// Small enough to live in the repository.
#[test]
fn they_are_small() {
    let all = files(&folder()).iter().flat_map(|folder| files(folder)).collect::<Vec<_>>();
    let bytes: u64 = all.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes < 500_000, "{bytes} bytes in {} files", all.len());
}
