//! Findings as one JSON object a line. Keys may be added to these, never taken away.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::document::{Device, Domain};
use super::error::DomainError;
use super::finding::{Finding, Fix, Severity};
use super::human::count;

/// Writes what has been found in a domain, then the domain.
pub fn findings(out: &mut dyn Write, domain: &Domain, findings: &[Finding]) {
    for finding in findings {
        let (fix, xml) = match &finding.fix {
            Some(Fix::Replace(xml)) => (Some("replace"), Some(xml)),
            Some(Fix::Add(xml)) => (Some("add"), Some(xml)),
            Some(Fix::Remove) => (Some("remove"), None),
            None => (None, None),
        };
        let rest = json!({
            "line": finding.place.line,
            "column": finding.place.column,
            "severity": finding.severity.name(),
            "rule": finding.rule.name(),
            "message": finding.message,
            "reason": finding.reason,
            "fix": fix,
            "xml": xml,
        });
        emit(out, "finding", Some(&domain.path), rest);
    }
    let mut rest = summary(domain);
    rest.extend([
        ("errors".to_owned(), count(findings, Severity::Error).into()),
        ("warnings".to_owned(), count(findings, Severity::Warning).into()),
        ("notes".to_owned(), count(findings, Severity::Note).into()),
    ]);
    emit(out, "domain", Some(&domain.path), Value::Object(rest));
}

/// Writes why a file is no domain.
pub fn unusable(out: &mut dyn Write, error: &DomainError) {
    let rest = json!({
        "line": error.place.map(|place| place.line),
        "column": error.place.map(|place| place.column),
        "message": error.message,
        "help": error.help,
    });
    emit(out, "error", Some(&error.path), rest);
}

/// Writes the end of a check: its exit status, and how many files were domains and how many were none.
pub fn verdict(out: &mut dyn Write, status: u8, domains: u64, unusable: u64) {
    let result = ["pass", "fail", "error"].get(usize::from(status)).copied().unwrap_or("error");
    let rest = json!({ "result": result, "status": status, "domains": domains, "unusable": unusable });
    emit(out, "verdict", None, rest);
}

/// What a domain defines, for events about it.
pub(crate) fn summary(domain: &Domain) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), domain.title().into());
    map.insert("memory".into(), domain.memory_bytes().into());
    map.insert("vcpus".into(), domain.vcpu_count().into());
    map.insert("disks".into(), Value::from_iter(domain.disks().map(Device::summary)));
    map.insert("interfaces".into(), Value::from_iter(domain.interfaces().map(Device::summary)));
    map
}

fn emit(out: &mut dyn Write, event: &str, path: Option<&Path>, rest: Value) {
    let mut object = Map::new();
    object.insert("event".into(), event.into());
    if let Some(path) = path {
        object.insert("file".into(), path.to_string_lossy().into());
    }
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    // A reader that has gone away is no reason to stop: the exit status still counts.
    let _ = writeln!(out, "{}", Value::Object(object));
}
