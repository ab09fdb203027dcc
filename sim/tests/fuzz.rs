//! `uvsim fuzz`, as a library and as a program.

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use uvsim::fuzz::{
    Case, Deed, FindKind, GoalKind, Planted, RunOptions, Settings, Setup, campaign, run_case, run_case_with, seeds,
    shrunk, tally,
};
use uvsim::run::{self, Options, json::Json};
use uvsim::scenario::{Outcome, Scenario};

fn parsed(text: &str) -> Scenario {
    Scenario::parse(Path::new("case.kdl"), text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn catalogue() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = std::fs::read_dir(folder).expect("the catalogue").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "kdl")).collect();
    files.sort();
    files
}

/// Runs a text; the status, and what the run tells.
fn status_of(text: &str) -> (u8, String) {
    let mut out = Vec::new();
    let (status, _) = run::run_scenario(&parsed(text), Options::default(), &mut Json::new(&mut out));
    (status.code(), String::from_utf8_lossy(&out).into_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_case_that_goes_through_bytes_and_text(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let case = Case::from_bytes(&bytes);
        prop_assert_eq!(&Case::from_bytes(&case.to_bytes()), &case);
        let text = case.to_scenario();
        let again = Case::from_scenario(&parsed(&text)).expect("a case's own scenario");
        let kept: Vec<&Deed> = case.statements().iter().collect();
        let expected: Vec<&Deed> = again.statements().iter().collect();
        if !case.statements().is_empty() {
            prop_assert_eq!(kept, expected, "{}", text);
        }
        prop_assert_eq!(case.setup(), again.setup());
    }
}

#[test]
fn scenarios_of_the_catalogue_are_cases_that_do_the_same() {
    let mut converted = 0;
    for path in catalogue() {
        let scenario = Scenario::read(&path).expect("a scenario of the catalogue");
        let case = match Case::from_scenario(&scenario) {
            Ok(case) => case,
            Err(error) => {
                assert!(error.to_string().contains(".kdl:"), "{error}");
                continue;
            }
        };
        assert_eq!(Case::from_bytes(&case.to_bytes()), case, "{}", path.display());
        if case.statements().len() > 300 {
            continue;
        }
        converted += 1;
        let report = run_case_with(&case, RunOptions { watch: true, ..RunOptions::default() });
        assert_eq!((&report.find, &report.no_setup), (&None, &None), "{}", path.display());
        let text = case.to_scenario_with("again", &[], &report.outcomes);
        let (status, told) = status_of(&text);
        assert_eq!(status, 0, "{}\n{text}\n{told}", path.display());
    }
    assert!(converted > 80, "{converted}");
}

#[test]
fn what_no_case_holds_is_named() {
    let text = "scenario s\nguest a memory=\"1MiB\"\nstep t {\n  host export a:0 expect=ok\n  workload guest=a accesses=3 working-set=2 frames=1\n}";
    let error = Case::from_scenario(&parsed(text)).expect_err("a workload");
    assert_eq!(error.to_string(), "case.kdl:5: a workload, which no case holds");
}

#[test]
fn statements_go_on_after_a_refusal() {
    let text =
        "scenario s\nguest a memory=\"1MiB\"\nstep t {\n  host import a:300 expect=refused\n  host export a:0\n}";
    let case = Case::from_scenario(&parsed(text)).expect("a case");
    let report = run_case(&case);
    let outcomes: Vec<_> = report.outcomes.iter().map(|got| got.map(|got| got.outcome)).collect();
    assert_eq!(outcomes, [Some(Outcome::Refused), Some(Outcome::Ok)]);
    assert!(report.steps > 4 && report.coverage.len() > 5);
}

#[test]
fn the_empty_case_runs() {
    let report = run_case(&Case::new(Setup::default(), Vec::new()));
    assert_eq!((report.find, report.no_setup), (None, None));
}

fn settings(runs: u64, seed: u64) -> Settings {
    Settings {
        seed,
        jobs: 1,
        runs: Some(runs),
        time: None,
        corpus: None,
        finds: None,
        minimise: false,
        run: RunOptions { verify: true, ..RunOptions::default() },
    }
}

#[test]
fn the_same_seed_does_the_same_with_several_jobs_as_well() {
    let run = |jobs, seed| {
        let settings = Settings { jobs, ..settings(44, seed) };
        let summary = campaign(&settings, &()).expect("no folder");
        (summary.runs, summary.steps, summary.coverage, summary.entries)
    };
    assert_eq!(run(1, 3), run(1, 3));
    assert_eq!(run(2, 3), run(2, 3));
    assert_ne!(run(1, 3).1, run(1, 4).1);
}

#[test]
fn a_short_run_finds_nothing() {
    let summary = campaign(&settings(40, 1), &()).expect("no folder");
    let told: Vec<_> = summary.finds.iter().map(|found| (&found.find, &found.scenario)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn the_seeds_reach_what_can_be_reached() {
    let summary = campaign(&settings(seeds::all().len() as u64, 1), &()).expect("no folder");
    let missing: Vec<&str> = summary
        .goals
        .iter()
        .filter(|goal| goal.exempt.is_none() && goal.count == 0)
        .map(|goal| goal.id.as_str())
        .collect();
    assert!(missing.is_empty(), "not reached: {missing:?}");
    let reached_all_the_same: Vec<_> =
        summary.goals.iter().filter(|goal| goal.exempt.is_some() && goal.count > 0).collect();
    assert!(reached_all_the_same.is_empty(), "exempt without reason: {reached_all_the_same:?}");
    let (_, answers) = tally(&summary.goals, GoalKind::Answer);
    let (_, rows) = tally(&summary.goals, GoalKind::Transition);
    assert!(answers > 120 && rows == 73, "{answers} {rows}");
}

#[test]
fn every_seed_is_a_case() {
    for (name, text) in seeds::SEEDS {
        let case = Case::from_scenario(&parsed(text)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!case.statements().is_empty(), "{name}");
    }
    assert!(seeds::all().len() >= seeds::SEEDS.len() + 3);
}

/// A case with much in it that has nothing to do with the fault.
fn long_case() -> Case {
    let text = r#"scenario s
machine { storage "2200MiB"; cpus 3; generation z17; cipher xts }
guest alpha memory="1MiB" vcpus=2 { load 0x3000 text="attack at dawn"; }
guest beta memory="2MiB"
step t {
    guest write beta:3 text="x"
    guest share beta:3
    host pin beta:4
    guest write beta:7 offset=16 text="long and of no use"
    host export beta:7 cpu=2
    host page-out alpha:3
    guest read beta:2 len=7
    host page-in alpha:3
    guest share alpha:5
    host pin alpha:5
    guest read alpha:3 len=14
    host inject qui busy=3
    host stop beta
    guest write alpha:9 text="y"
    check invariants
}"#;
    Case::from_scenario(&parsed(text)).expect("a case")
}

#[test]
fn a_planted_panic_is_found_and_made_small() {
    let options = RunOptions { planted: Some(Planted::Panic), ..RunOptions::default() };
    let case = long_case();
    let find = run_case_with(&case, options).find.expect("the planted panic");
    assert_eq!((find.kind, find.message.as_str()), (FindKind::Panic, "planted"));
    let (small, report) = shrunk(&case, &find, options);
    assert!(report.find.is_some_and(|small| small.is_like(&find)));
    let said: Vec<String> = small.statements().iter().map(ToString::to_string).collect();
    assert_eq!(said, ["guest share alpha:5", "host pin alpha:5"]);
    assert_eq!((small.setup().guests.len(), small.setup().cpus, small.setup().guests[0].loads.len()), (1, 1, 0));
}

#[test]
fn a_planted_difference_is_found_made_small_and_shown_by_its_scenario() {
    let options = RunOptions { verify: true, planted: Some(Planted::OracleForgets), ..RunOptions::default() };
    let case = long_case();
    let find = run_case_with(&case, options).find.expect("the planted difference");
    assert_eq!(find.kind, FindKind::Difference);
    let (small, report) = shrunk(&case, &find, options);
    assert!(small.statements().len() <= 4, "{}", small.to_scenario());
    // The scenario passes but for the fault: nothing fails that the fuzzer has not seen.
    let text = small.to_scenario_with("a find", &["seed 1".to_owned()], &report.outcomes);
    let (status, told) = status_of(&text);
    assert_eq!(status, 0, "{text}\n{told}");
    // Read again, it shows the fault again.
    let again = Case::from_scenario(&parsed(&text)).expect("a case");
    assert!(run_case_with(&again, options).find.is_some_and(|other| other.is_like(&find)), "{text}");
}

fn uvsim(arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_uvsim")).args(arguments).output().expect("uvsim runs");
    (done.status.code(), done.stdout, String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let folder = tempfile("fuzz-mistakes");
    let file = folder.join("file");
    std::fs::write(&file, "x").expect("a file");
    let file = file.to_str().expect("UTF-8");
    for (arguments, told) in [
        (&["fuzz", "--runs", "0"][..], "0 is not in"),
        (&["fuzz", "--time", "3d"], "`d` is no unit of time"),
        (&["fuzz", "--runs", "1", "--minimise"], "--corpus"),
        (&["fuzz", "--runs", "1", "--corpus", file], "is no folder"),
        (&["fuzz", "--runs", "1", "--finds", file], "is no folder"),
        (&["fuzz", "--to-scenario", "nowhere.case"], "`nowhere.case` cannot be read"),
        (&["fuzz", "--to-entry", "nowhere.kdl"], "`nowhere.kdl` is no scenario"),
        (&["fuzz", "--runs", "1", "--coverage", "/nowhere/at/all"], "cannot be written"),
    ] {
        let (status, _, error) = uvsim(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}

#[test]
fn the_program_keeps_a_corpus_writes_coverage_and_translates_both_ways() {
    let folder = tempfile("fuzz-program");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (corpus, coverage) = (path("corpus"), path("coverage.json"));
    let (status, out, error) =
        uvsim(&["fuzz", "--runs", "40", "--corpus", &corpus, "--coverage", &coverage, "--minimise"]);
    assert_eq!(status, Some(0), "{error}");
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.contains("40 cases in") && out.contains("nothing found"), "{out}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&coverage).expect("a file")).expect("JSON");
    assert!(json["transitions"]["tally"]["reached"].as_u64() > Some(50), "{json}");
    let entries: Vec<_> = std::fs::read_dir(&corpus).expect("a folder").collect();
    assert!(entries.len() > 5);
    let entry = entries.into_iter().flatten().next().expect("an entry").path();
    let (status, text, error) = uvsim(&["fuzz", "--to-scenario", entry.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(0), "{error}");
    let scenario = folder.join("entry.kdl");
    std::fs::write(&scenario, &text).expect("a file");
    let (status, told, _) = uvsim(&["run", scenario.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(0), "{}", String::from_utf8_lossy(&told));
    let (status, bytes, error) = uvsim(&["fuzz", "--to-entry", scenario.to_str().expect("UTF-8")]);
    assert_eq!(status, Some(0), "{error}");
    let back = Case::from_bytes(&bytes);
    assert_eq!(Case::from_scenario(&parsed(&String::from_utf8_lossy(&text))).expect("a case"), back);
}

/// An empty folder for this test.
fn tempfile(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
