//! The scenario language as a contract: small scenarios for each sentence of it, with what must come out.

mod calls;
mod faults;
mod frames;
mod images;
mod json;
mod kvm;
mod lanes;
mod life;
mod pages;
mod random;
mod resets;
mod running;
mod threads;
mod workloads;

use serde_json::Value;
use std::path::Path;
use uvsim::run::{self, Options, Status, human::Human, json::Json};
use uvsim::scenario::Scenario;

/// The guests of most cases: alpha has something to say, beta has two vCPUs, gamma is not created.
const GUESTS: &str = r#"
guest alpha memory="1MiB" { load 0x3000 text="attack at dawn"; }
guest beta memory="1MiB" vcpus=2 { load 0x3000 text="beta's own"; }
guest gamma memory="1MiB" state=none { load 0x2000 text="gamma"; }
"#;

/// A scenario with these statements on a machine with these properties.
fn document(machine: &str, statements: &str) -> String {
    format!("scenario \"case\"\nmachine {{ {machine} }}\n{GUESTS}\nstep \"s\" {{\n{statements}\ncheck invariants\n}}\n")
}

fn parse(text: &str) -> Scenario {
    Scenario::parse(Path::new("case.kdl"), text).unwrap_or_else(|errors| panic!("{text}\n{:?}", errors.errors()))
}

/// What a person reads of a run.
fn told(scenario: &Scenario) -> String {
    let mut out = Vec::new();
    run::run_scenario(scenario, Options::default(), &mut Human::new(&mut out, false, 100));
    String::from_utf8_lossy(&anstream::adapter::strip_bytes(&out).into_vec()).into_owned()
}

/// The end of a run, and its events.
fn events(text: &str, options: Options) -> (Status, Vec<Value>) {
    let mut out = Vec::new();
    let (status, _) = run::run_scenario(&parse(text), options, &mut Json::new(&mut out));
    let lines = String::from_utf8(out).unwrap();
    (status, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Each case, a sentence and the statements that show it, passes on a machine with these properties.
#[track_caller]
fn pass_on(machine: &str, cases: &[(&str, &str)]) {
    let mut failed = Vec::new();
    for (sentence, statements) in cases {
        let scenario = parse(&document(machine, statements));
        let mut out = Vec::new();
        let (status, _) = run::run_scenario(&scenario, Options::default(), &mut Json::new(&mut out));
        if status != Status::Pass {
            failed.push(format!("## {sentence}: status {}\n{}", status.code(), told(&scenario)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[track_caller]
fn pass(cases: &[(&str, &str)]) {
    pass_on("", cases);
}

/// Each case fails with status 1 at its last statement but `check invariants`, with this in its report.
#[track_caller]
fn fail(cases: &[(&str, &str, &str)]) {
    for (sentence, statements, report) in cases {
        let text = document("", statements);
        let (status, events) = events(&text, Options::default());
        let told = told(&parse(&text));
        assert_eq!(status, Status::Fail, "{sentence}\n{told}");
        assert!(told.contains(report), "{sentence}: `{report}` is missing\n{told}");
        let done = events.iter().filter(|event| event["event"] == "statement").count();
        assert_eq!(done, statements.trim().lines().count(), "{sentence}\n{told}");
    }
}

/// The bytes that a last statement finds where it wants something else, as the report shows them.
fn found(text: &str, options: Options) -> String {
    let (status, events) = events(text, options);
    assert_eq!(status, Status::Fail, "{text}");
    let failure = events.iter().find(|event| event["event"] == "failure").unwrap();
    failure["state"][0]["found"].as_str().unwrap().to_owned()
}
