//! The refusal matrix: what every Ultravisor call looks at, in order, for people, programs and the book.

use serde_json::{Value, json};
use std::fmt::Write;
use uvsim_model::uvc::{Check, Command, Issuer, Reach, Reply};

/// The commands that some machine installs, by rising code.
pub fn built() -> impl Iterator<Item = Command> {
    Command::ALL.iter().copied().filter(|command| command.is_built())
}

/// A command as a title and lines of text, at most `width` columns wide where words allow it.
#[must_use]
pub fn human(command: Command, width: usize) -> String {
    let mut text = format!("{}, command {:#06x}, issued by {}\n", command.name(), command.code(), issuer(command));
    for (number, check) in (1..).zip(command.checks()) {
        let mut words = format!("{}: {}", check.id, check.cause);
        if let Some(remark) = remark(&check) {
            let _ = write!(words, " ({remark})");
        }
        let rules: Vec<&str> = check.rules.split_whitespace().collect();
        let _ = write!(words, " [{}] {}", rules.join(", "), check.evidence.mark());
        let label = format!("{number:3}  {:22}", answer(&check));
        let indent = label.chars().count().min(27);
        let mut lines = crate::explain::wrap(&words, width.saturating_sub(indent).max(20)).into_iter();
        let _ = writeln!(text, "{label}{}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }
    text
}

/// A command as a JSON object.
#[must_use]
pub fn json(command: Command) -> Value {
    let checks: Vec<Value> = command.checks().iter().map(check_json).collect();
    json!({
        "command": command.name(),
        "code": command.code(),
        "issuer": issuer(command),
        "checks": checks,
    })
}

fn check_json(check: &Check) -> Value {
    let (kind, details) = match check.answer {
        Reply::Done => ("done", json!({ "cc": 0, "rc": 1 })),
        Reply::Refused { rc, rrc } => ("refused", json!({ "cc": 1, "rc": rc, "rrc": rrc })),
        Reply::Remark { rc } => ("remark", json!({ "cc": 1, "rc": rc })),
        Reply::Busy => ("busy", json!({ "cc": 2 })),
        Reply::Partial => ("partial", json!({ "cc": 3 })),
        Reply::Interruption(codes) => ("interruption", json!({ "codes": codes })),
        Reply::Interception(code) => ("interception", json!({ "code": code })),
    };
    let rules: Vec<&str> = check.rules.split_whitespace().collect();
    json!({
        "id": check.id,
        "cause": check.cause,
        "ends": kind,
        "answer": details,
        "rules": rules,
        "evidence": check.evidence.mark(),
        "remark": remark(check),
    })
}

/// The whole matrix as a page of the book.
#[must_use]
pub fn markdown() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for command in built() {
        let _ = writeln!(page, "\n## {}\n", command.name());
        let general = command.checks().len() - command.own_checks().len();
        let before: Vec<String> = command.checks()[..general]
            .iter()
            .map(|check| match check.codes() {
                Some((rc, _)) => format!("{} {rc:#06x}", check.id),
                None => check.id.to_owned(),
            })
            .collect();
        let _ = writeln!(page, "{}\n", crate::explain::wrap(&format!("First: {}.", before.join(", ")), 110).join("\n"));
        page.push_str("| # | check | if so | answer | rules | evidence |\n| --- | --- | --- | --- | --- | --- |\n");
        for (number, check) in (general + 1..).zip(command.own_checks()) {
            row(&mut page, number, check);
        }
    }
    page
}

const PAGE_HEAD: &str = "<!-- Made by `uvsim refusals --format markdown`; do not edit. -->

# Refusal matrix

Every call looks at these things in this order, and the first that is so decides. The tests of the model go
through the whole table: each cause alone, and every pair of causes that can be there at once, of which the
first must win. A refusal changes nothing but rc and rrc ([I-18](invariants.md#i-18)).

An answer is a response code with its reason code behind a stroke if it has one, or a condition code without
codes. Evidence as in the [command reference](../commands/index.md): t public test, c caller's code or document,
i inferred, ° our choice. Where a row says success, the call is done at once and without effect, except in
the last row. *Race* means that only another CPU at work on the same things can bring it about, *hook* that
only a test hook of the machine can.

What comes first is the same for all ([general checks](../commands/general-checks.md)); each section names it
in one line.
";

fn row(page: &mut String, number: usize, check: &Check) {
    let remark = remark(check).map_or_else(String::new, |remark| format!(" (*{remark}*)"));
    let rules: Vec<String> = check.rules.split_whitespace().map(link).collect();
    let _ = writeln!(
        page,
        "| {number} | {} | {}{remark} | {} | {} | {} |",
        check.id,
        check.cause,
        answer(check),
        rules.join(", "),
        check.evidence.mark()
    );
}

/// A rule as a link into the tables.
fn link(rule: &str) -> String {
    let page = match rule.as_bytes().first() {
        Some(b'T') => "transitions",
        Some(b'I') => "invariants",
        Some(b'Q') => "choices",
        Some(b'C') => "cases",
        _ => "decisions",
    };
    format!("[{rule}]({page}.md#{})", rule.to_lowercase())
}

fn answer(check: &Check) -> String {
    match check.answer {
        Reply::Done => "success".to_owned(),
        Reply::Refused { rc, rrc: 0 } => format!("{rc:#06x}"),
        Reply::Refused { rc, rrc } => format!("{rc:#06x}/{rrc:#x}"),
        Reply::Remark { rc } => format!("{rc:#06x}, done"),
        Reply::Busy => "cc 2".to_owned(),
        Reply::Partial => "cc 3".to_owned(),
        Reply::Interruption(&[code]) => format!("interruption {code:#04x}"),
        Reply::Interruption(_) => "interruption".to_owned(),
        Reply::Interception(code) => format!("interception {code}"),
    }
}

fn remark(check: &Check) -> Option<&'static str> {
    match check.reach {
        Reach::Call => Some(check.machines.name()).filter(|name| !name.is_empty()),
        Reach::Race => Some("race"),
        Reach::Injection => Some("hook"),
        Reach::Never(why) => Some(why),
    }
}

fn issuer(command: Command) -> &'static str {
    match command.row().issuer {
        Issuer::Host => "host",
        Issuer::Guest => "guest",
        Issuer::Both => "host or guest",
    }
}
