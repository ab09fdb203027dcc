//! What a reader sees.

use super::super::ScenarioErrors;
use super::{parse, with};

fn rendered(errors: &ScenarioErrors) -> String {
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut report = String::new();
    handler.render_report(&mut report, errors).unwrap();
    report.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn report(text: &str) -> String {
    rendered(&parse(text).unwrap_err())
}

#[test]
fn a_misspelt_verb_among_other_scripts() {
    insta::assert_snapshot!(report(&with(
        "// scénario: é ü 日本\nhost exprt alpha:3 /* 日本 */ ; host export alhpa:3"
    )));
}

#[test]
fn several_errors_at_once() {
    insta::assert_snapshot!(report(&with(
        "host read alpha:3 len=16 len=17\nhost import alpha:3 expct=refused\ncheck zero cipher"
    )));
}

#[test]
fn an_unquoted_size() {
    insta::assert_snapshot!(report("scenario s\nguest alpha memory=1MiB\nstep t { check invariants; }"));
}

#[test]
fn unbalanced_braces() {
    insta::assert_snapshot!(report("scenario s\nstep t {\n    check invariants\n"));
}

#[test]
fn order() {
    insta::assert_snapshot!(report("scenario s\nstep t { check invariants; }\nmachine { cpus 3; }"));
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(report(""));
}

#[test]
fn more_errors_than_are_reported() {
    let errors = parse(&with(&"host oops\n".repeat(50))).unwrap_err();
    assert_eq!((errors.errors().len(), errors.unreported()), (20, 30));
    assert_eq!(errors.to_string(), "lesson.kdl: 50 errors, of which 20 are reported");
}

#[test]
fn a_narrated_report_names_line_and_column() {
    let errors = parse(&with("host exprt alpha:3")).unwrap_err();
    let mut report = String::new();
    miette::NarratableReportHandler::new().render_report(&mut report, &errors).unwrap();
    insta::assert_snapshot!(report);
}
