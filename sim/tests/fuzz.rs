//! `uvsim fuzz`, as a library and as a program.

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use uvsim::fuzz::{Case, Deed, Setup, run_case};
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
        let report = run_case(&case);
        assert_eq!((&report.find, &report.no_setup), (&None, &None), "{}", path.display());
        let text = case.to_scenario_with("again", &[], &report.outcomes);
        let (status, told) = status_of(&text);
        assert_eq!(status, 0, "{}\n{text}\n{told}", path.display());
    }
    assert!(converted > 80, "{converted}");
}

#[test]
fn what_no_case_holds_is_named() {
    let text = "scenario s\nguest a memory=\"1MiB\"\nstep t {\n  host export a:0\n  workload guest=a accesses=3 working-set=2 frames=1\n}";
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
