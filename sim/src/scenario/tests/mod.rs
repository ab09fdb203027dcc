//! Tests of the language as a whole: every rule, once kept and once broken.

mod files;
mod hostile;
mod lanes;
mod life;
mod reports;
mod rules;
mod uvc;
mod values;

use std::path::Path;

use super::{Node, Scenario, ScenarioErrors, Statement};

/// A text like those of the lecture notes; most tests put their statements into it.
const LESSON: &str = r#"// The counter stays behind.
scenario "A page survives a trip through untrusted storage" version=1 {
    about "Export encrypts; the counter and the integrity value stay behind."
    source "US11206128"
}
machine { storage "4GiB"; cpus 2; seed 7; generation z16; cipher gcm; change-detection digest }
guest alpha memory="1MiB" {
    load 0x3000 text="attack at dawn"
    load 0x4000 random=4096
}
guest beta memory="2MiB" vcpus=2 state=created
step "the host cannot look inside" {
    host read alpha:3 len=16 expect=secure-storage-access
}
step "page out, tamper, page in" {
    guest read alpha:3 len=14 save=plain
    host export alpha:3
    host read alpha:3 len=4096 save=cipher
    check differ plain cipher
    repeat 2 { host flip alpha:3 bit=77; }
    host flip   alpha:3   bit=77 // once more
    host import alpha:3 expect=refused rc=0x106
    host write alpha:3 from=cipher
    host import alpha:3
    guest read alpha:3 len=14 text="attack at dawn"
}
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioErrors> {
    Scenario::parse(Path::new("lesson.kdl"), text)
}

/// A scenario with these statements, on guests alpha (256 pages) and beta (512 pages, two vCPUs).
fn with(statements: &str) -> String {
    format!(
        "scenario \"s\"\nguest alpha memory=\"1MiB\"\nguest beta memory=\"2MiB\" vcpus=2\nstep \"t\" {{\n{statements}\ncheck invariants\n}}\n"
    )
}

/// The last of these statements, which must be good.
#[track_caller]
fn good(statements: &str) -> Statement {
    let scenario = parse(&with(statements)).unwrap_or_else(|errors| panic!("{statements}: {:?}", errors.errors()));
    let nodes = &scenario.steps[0].nodes;
    match &nodes[nodes.len() - 2] {
        Node::Statement(statement) => (**statement).clone(),
        other => panic!("{other:?}"),
    }
}

/// The text has exactly one error, with this message, at this stretch of the text.
#[track_caller]
fn rejects(text: &str, message: &str, at: &str) {
    let errors = parse(text).expect_err(text);
    let found: Vec<_> = errors.errors().iter().map(|error| error.message.as_str()).collect();
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    assert!(found[0].contains(message), "{text}: {found:?}");
    let span = errors.errors()[0].place.expect("it has a place").span;
    assert_eq!(&text[span.offset()..span.offset() + span.len()], at, "{text}: {found:?}");
}

/// The statements have exactly one error, with this message, at this stretch of the text.
#[track_caller]
fn bad(statements: &str, message: &str, at: &str) {
    rejects(&with(statements), message, at);
}
