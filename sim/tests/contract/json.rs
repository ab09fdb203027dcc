//! Events for programs: their keys, and the last line.

use super::{document, events};
use serde_json::Value;
use uvsim::run::{self, Options, json::Json};

fn keys(event: &Value) -> Vec<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn keys_of_events() {
    let text =
        document("", "workload guest=alpha accesses=9 working-set=1 frames=1\nguest read alpha:3 text=\"x\" cpu=0");
    let (_, events) = events(&text, Options::default());
    let of = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    assert_eq!(keys(of("scenario")), ["event", "file", "line", "name", "seed"]);
    assert_eq!(keys(of("step")), ["event", "file", "line", "title"]);
    assert_eq!(keys(of("statement"))[..7], ["event", "file", "line", "text", "expected", "got", "passed"]);
    assert_eq!(keys(of("failure")), ["event", "file", "line", "page", "rule", "message", "state"]);
    assert_eq!(
        keys(of("workload")),
        [
            "event",
            "file",
            "line",
            "guest",
            "accesses",
            "reads",
            "writes",
            "faults",
            "page_ins",
            "page_outs",
            "encrypted",
            "unchanged",
            "mismatches",
            "miss_ratio"
        ]
    );
    assert_eq!(of("scenario")["file"], "case.kdl");
    assert_eq!(of("scenario")["line"], 1);
    assert_eq!(of("failure")["page"], "alpha:3");
    assert_eq!(of("statement")["text"], "guest read alpha:3 text=\"x\" cpu=0");
}

#[test]
fn codes_where_there_are_any() {
    let text = document(
        "",
        "host export alpha:3
         host import alpha:200 expect=refused rc=0x10a
         host read alpha:0 expect=secure-storage-access
         guest read alpha:3 cpu=5 len=1 expect=intercept code=32",
    );
    let (_, events) = events(&text, Options::default());
    let said: Vec<String> = events
        .iter()
        .filter(|event| event["event"] == "statement")
        .map(|event| format!("{} {}", event["expected"], event["got"]))
        .collect();
    assert_eq!(
        said,
        [
            r#"{"outcome":"ok"} {"outcome":"ok","rc":1,"rrc":0}"#,
            r#"{"outcome":"refused","rc":266} {"outcome":"refused","rc":266,"rrc":0}"#,
            r#"{"outcome":"secure-storage-access"} {"outcome":"secure-storage-access"}"#,
            r#"{"outcome":"intercept","code":32} {"outcome":"intercept","code":32}"#,
            r#"{"outcome":"ok"} {"outcome":"ok"}"#,
        ]
    );
}

#[test]
fn a_verdict_is_the_last_line_whatever_comes() {
    let mut out = Vec::new();
    run::run(&["/nonexistent/x.kdl".into()], Options::default(), &mut Json::new(&mut out));
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(keys(&lines[0]), ["event", "file", "line", "column", "message", "help"]);
    assert_eq!(
        text.lines().last().unwrap(),
        r#"{"event":"verdict","result":"error","status":2,"scenarios":0,"statements":0,"checks":0,"failed":0,"seed":0}"#
    );
}
