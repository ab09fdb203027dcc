//! Everything that has a name.

use super::codes::{self, Condition};
use super::commands::{self, Facts};
use super::diagnose;
use super::entry::{Entry, Heading, Kind};
use super::exceptions::{self, Exception};
use super::interceptions::{self, Interception};
use super::outcomes::{self, Outcome};
use super::rules::{self, Rule};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Command(&'static Facts),
    Condition(&'static Condition),
    Exception(&'static Exception),
    Interception(&'static Interception),
    Outcome(&'static Outcome),
    Diagnose,
    Rule(&'static Rule),
}

impl Subject {
    pub(super) fn entry(self) -> Entry {
        match self {
            Subject::Command(facts) => facts.entry(),
            Subject::Condition(condition) => condition.entry(),
            Subject::Exception(exception) => exception.entry(),
            Subject::Interception(interception) => interception.entry(),
            Subject::Outcome(outcome) => outcome.entry(),
            Subject::Diagnose => diagnose::entry(),
            Subject::Rule(rule) => rule.entry(),
        }
    }
}

/// All names but the ids of rules, with their subjects. A name may stand for several subjects.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Subject)> {
    let commands = commands::all().flat_map(|facts| facts.names().map(move |name| (name, Subject::Command(facts))));
    let conditions = codes::CONDITIONS.iter().map(|one| (one.name, Subject::Condition(one)));
    let exceptions = exceptions::ALL.iter().map(|one| (one.name, Subject::Exception(one)));
    let interceptions = interceptions::ALL.iter().map(|one| (one.name, Subject::Interception(one)));
    let outcomes = outcomes::ALL.iter().map(|one| (one.name, Subject::Outcome(one)));
    let diagnose = diagnose::NAMES.iter().map(|name| (*name, Subject::Diagnose));
    commands.chain(conditions).chain(exceptions).chain(interceptions).chain(outcomes).chain(diagnose)
}

/// What has this name, or is the rule of this id. Lower case, `-` for blanks and underscores.
pub(super) fn find(name: &str) -> Vec<Subject> {
    match rules::find(name) {
        Some(rule) => vec![Subject::Rule(rule)],
        None => all().filter(|(known, _)| *known == name).map(|(_, subject)| subject).collect(),
    }
}

/// The names most like this one, best first, at most five.
pub(super) fn near(name: &str) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = Vec::new();
    for (known, _) in all() {
        let score = strsim::jaro_winkler(name, known);
        let within = known.len() > 2 && name.len() > 2 && (known.contains(name) || name.contains(known));
        if (score >= 0.85 || within) && scored.iter().all(|(_, other)| *other != known) {
            scored.push((score, known));
        }
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(5).map(|(_, known)| known.to_owned()).collect()
}

/// The entry for no query: everything that can be asked for.
pub(super) fn index() -> Entry {
    let commands = commands::all().map(Facts::names).map(|mut names| {
        let name = names.next().unwrap_or_default();
        let aliases: Vec<&str> = names.collect();
        if aliases.is_empty() { name.to_owned() } else { format!("{name} ({})", aliases.join(", ")) }
    });
    let exceptions = exceptions::ALL.iter().map(|one| format!("{:#04x} {}", one.code, one.name));
    let interceptions = interceptions::ALL.iter().map(|one| format!("{} {}", one.code, one.name));
    let conditions = codes::CONDITIONS.iter().map(|one| format!("cc {} {}", one.code, one.name));
    let row = |label: &str, text: String| (label.to_owned(), text);
    let range = |label: &str, kind| row(label, rules::range(kind));
    Entry::new("What can be explained", Kind::Index)
        .text(
            Heading::Meaning,
            "Ask for a command, a code, an interruption, an interception, an outcome or a rule: `import`, `0x10a`, \
                `import 0x106`, \
             `verify-img 0x102/0x1b`, `cc 2`, `0x3d`, `intercept 108`, `T26`.",
        )
        .list(
            Heading::Topics,
            vec![
                row("commands", commands.collect::<Vec<_>>().join("; ")),
                row("codes", "0x0001 and up; alone, or after a command".to_owned()),
                row("conditions", conditions.collect::<Vec<_>>().join("; ")),
                row("interruptions", exceptions.collect::<Vec<_>>().join("; ")),
                row("interceptions", interceptions.collect::<Vec<_>>().join("; ")),
                row("outcomes", outcomes::NAMES.join("; ")),
                row("requests", "diagnose 0x308".to_owned()),
                range("transitions", Kind::Transition),
                range("invariants", Kind::Invariant),
                range("choices", Kind::Choice),
                range("decisions", Kind::Decision),
            ],
        )
}
