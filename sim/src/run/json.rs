//! A run as one JSON object a line. Keys may be added to these, never taken away.

use super::{Failure, IoEnd, Report, StatementEnd, Turn, Verdict, WorkloadEnd};
use crate::domain::{self, Domain};
use crate::kernel::Observed;
use crate::scenario::{Expectation, Guest, Outcome, Parallel, Place, Scenario, ScenarioErrors, Step};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use uvsim_model::config::MachineConfig;
use uvsim_verify::{Difference, Part};

/// Writes objects to `out`.
pub struct Json<W: Write> {
    out: W,
    /// Whose turn it is, among lanes.
    lane: Option<u16>,
}

impl<W: Write> Json<W> {
    /// A report on `out`.
    pub const fn new(out: W) -> Self {
        Self { out, lane: None }
    }

    fn emit(&mut self, event: &str, at: Option<(&Path, Option<usize>)>, rest: Value) {
        let mut object = Map::new();
        object.insert("event".into(), event.into());
        if let Some((path, line)) = at {
            object.insert("file".into(), path.to_string_lossy().into());
            object.insert("line".into(), line.into());
        }
        if let Value::Object(rest) = rest {
            object.extend(rest);
        }
        if let Some(lane) = self.lane {
            object.insert("lane".into(), lane.into());
        }
        // A reader that has gone away is no reason to stop: the exit status still counts.
        let _ = writeln!(self.out, "{}", Value::Object(object));
    }

    fn at(&mut self, event: &str, scenario: &Scenario, place: Place, rest: Value) {
        self.emit(event, Some((&scenario.path, Some(place.line))), rest);
    }
}

impl<W: Write> Report for Json<W> {
    fn scenario(&mut self, scenario: &Scenario, config: &MachineConfig) {
        self.at("scenario", scenario, scenario.place, json!({ "name": scenario.name, "seed": config.seed }));
    }

    fn domain(&mut self, scenario: &Scenario, guest: &Guest, domain: &Domain) {
        let mut rest = Map::new();
        rest.insert("guest".into(), guest.name.as_str().into());
        rest.insert("definition".into(), domain.path.to_string_lossy().into());
        rest.extend(domain::json::summary(domain));
        // What the scenario says of the size goes before the definition.
        rest.insert("memory".into(), guest.memory.into());
        rest.insert("vcpus".into(), guest.vcpus.into());
        self.at("domain", scenario, guest.place, Value::Object(rest));
    }

    fn step(&mut self, scenario: &Scenario, step: &Step) {
        self.at("step", scenario, step.place, json!({ "title": step.title }));
    }

    fn parallel(&mut self, scenario: &Scenario, parallel: &Parallel, threads: bool) {
        let mut rest = json!({ "lanes": parallel.lanes.len() });
        if threads {
            rest["threads"] = true.into();
        }
        self.at("parallel", scenario, parallel.place, rest);
    }

    fn contents(&mut self, scenario: &Scenario, parallel: &Parallel, pages: u64) {
        self.lane = None;
        self.at("contents", scenario, parallel.place, json!({ "pages": pages }));
    }

    fn turn(&mut self, turn: Turn) {
        self.lane = Some(turn.lane);
    }

    fn joined(&mut self) {
        self.lane = None;
    }

    fn statement(&mut self, scenario: &Scenario, end: &StatementEnd<'_>) {
        let statement = end.statement;
        let mut rest = json!({
            "text": statement.text,
            "expected": expected(&statement.expectation),
            "got": got(&end.got),
            "passed": end.passed,
            "rule": end.got.rule,
        });
        if !end.compared {
            rest["compared"] = false.into();
        }
        if let Some(note) = &end.note {
            rest["page"] = note.page.as_deref().into();
            rest["message"] = note.message.as_str().into();
            rest["help"] = note.help.as_deref().into();
        }
        self.at("statement", scenario, statement.place, rest);
    }

    fn failure(&mut self, scenario: &Scenario, place: Place, failure: &Failure) {
        let row = |(what, expected, found): &(String, String, String)| {
            let expected = if expected.is_empty() { Value::Null } else { expected.as_str().into() };
            json!({ "what": what, "expected": expected, "found": found })
        };
        let state: Vec<Value> = failure.state.iter().map(row).collect();
        let rest = json!({ "page": failure.page, "rule": failure.rule, "message": failure.message, "state": state });
        self.at("failure", scenario, place, rest);
    }

    fn difference(&mut self, scenario: &Scenario, place: Place, difference: &Difference) {
        let part = |part: &Part| json!({ "path": part.path, "oracle": part.oracle, "model": part.model });
        let rest = json!({
            "step": difference.step,
            "equal_since": difference.equal_since,
            "what": difference.what,
            "rules": difference.rules,
            "oracle": difference.expected,
            "model": difference.found,
            "parts": difference.parts.iter().map(part).collect::<Vec<Value>>(),
            "tree": anstream::adapter::strip_str(&difference.tree()).to_string(),
        });
        self.at("difference", scenario, place, rest);
    }

    fn workload(&mut self, scenario: &Scenario, end: &WorkloadEnd<'_>) {
        let c = &end.counters;
        let mut rest = json!({
            "guest": end.guest,
            "accesses": c.accesses,
            "reads": c.reads,
            "writes": c.writes,
            "faults": c.faults,
            "page_ins": c.page_ins,
            "page_outs": c.page_outs,
            "encrypted": c.encrypted,
            "unchanged": c.unchanged,
            "mismatches": c.mismatches,
            "miss_ratio": (c.miss_ratio() * 1e6).round() / 1e6,
        });
        if let Some(size) = end.working_set {
            rest["working_set_max"] = size.max.into();
            rest["working_set_mean"] = ((size.mean * 1e3).round() / 1e3).into();
        }
        self.at(end.event, scenario, end.place, rest);
    }

    fn io(&mut self, scenario: &Scenario, end: &IoEnd<'_>) {
        let c = &end.counters;
        let rest = json!({
            "guest": end.guest.name,
            "requests": c.requests,
            "bytes_read": c.bytes_read,
            "bytes_written": c.bytes_written,
            "bounce_copies": c.bounce_copies,
            "bounce_bytes": c.bounce_bytes,
            "slots": c.slots,
            "slots_peak": c.slots_peak,
            "slots_over_time": c.slots_over_time,
            "pins": c.pins,
            "unpins": c.unpins,
            "shares": c.shares,
            "unshares": c.unshares,
            "refusals": c.refusals,
            "no_slot": c.no_slot,
            "cost": { "copies": c.bounce_copies, "queue": c.notifications, "uv_calls": c.calls() },
        });
        self.at("io", scenario, end.guest.place, rest);
    }

    fn error(&mut self, scenario: &Scenario, place: Place, message: &str, help: Option<&str>) {
        self.at("error", scenario, place, json!({ "column": place.column, "message": message, "help": help }));
    }

    fn argument(&mut self, message: &str, help: Option<&str>) {
        let nowhere = json!({ "file": null, "line": null, "column": null, "message": message, "help": help });
        self.emit("error", None, nowhere);
    }

    fn unusable(&mut self, errors: &ScenarioErrors) {
        for error in errors.errors() {
            let (line, column) = (error.place.map(|place| place.line), error.place.map(|place| place.column));
            let rest = json!({ "column": column, "message": error.message, "help": error.help });
            self.emit("error", Some((errors.path(), line)), rest);
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let mut rest = json!({
            "result": verdict.status.result(),
            "status": verdict.status.code(),
            "scenarios": verdict.scenarios,
            "statements": verdict.counts.statements,
            "checks": verdict.counts.checks,
            "failed": verdict.counts.failed,
            "seed": verdict.seed.unwrap_or(0),
        });
        if let Some(threads) = verdict.threads {
            rest["threads"] = threads.into();
        }
        self.emit("verdict", None, rest);
    }
}

fn expected(expectation: &Expectation) -> Value {
    codes(expectation.outcome, expectation.rc, expectation.rrc, expectation.code)
}

fn got(observed: &Observed) -> Value {
    codes(observed.outcome, observed.rc, observed.rrc, observed.code)
}

fn codes(outcome: Outcome, rc: Option<u16>, rrc: Option<u16>, code: Option<u16>) -> Value {
    let mut object = Map::new();
    object.insert("outcome".into(), outcome.name().into());
    for (name, value) in [("rc", rc), ("rrc", rrc), ("code", code)] {
        if let Some(value) = value {
            object.insert(name.into(), value.into());
        }
    }
    Value::Object(object)
}

impl<W: Write> std::fmt::Debug for Json<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Json")
    }
}
