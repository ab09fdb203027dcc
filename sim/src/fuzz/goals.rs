//! What there is to reach: the answers of every call that is built, and the rows of the transition table.

use super::coverage::{Coverage, Reached};
use crate::refusals;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uvsim_model::uvc::{Check, Command, Reach, Reply};

/// Something to reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goal {
    /// Such as `conv-to-sec-stor 0x0106` or `T26`.
    pub id: String,
    /// What it is for.
    pub kind: GoalKind,
    /// Why it cannot be reached, if so.
    pub exempt: Option<&'static str>,
    /// How often it was reached.
    pub count: u64,
}

/// A kind of goal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum GoalKind {
    /// An answer of a call.
    Answer,
    /// A row of the transition table.
    Transition,
}

/// The transition table ends with this row.
const LAST_ROW: u8 = 81;

/// Rows that no statement reaches, and why.
const EXEMPT_ROWS: [(&str, &str); 8] = [
    ("T4", "host CPUs fetch no instructions"),
    ("T18", "there are no guests that are not protected"),
    ("T19", "there are no guests that are not protected"),
    ("T21", "the host of a scenario maps pages of 4 KiB only"),
    ("T78", "DUMP_CONF_STOR_STATE is not built"),
    ("T79", "DUMP_CONF_STOR_STATE is not built"),
    ("T80", "DUMP_CONF_STOR_STATE is not built"),
    ("T81", "VERIFY_LARGE_FRAME is not built"),
];

/// Answers that no statement gets, and why.
const EXEMPT_ANSWERS: [(&str, &str); 5] = [
    ("create-sec-conf 0x0030", "the host of a scenario has tables in its home space"),
    ("create-sec-conf 0x0032", "the host of a scenario maps nothing that lies outside storage"),
    ("set-unshared-all 0x0102", "the host of a scenario keeps its control blocks in frames of its own"),
    ("destroy-sec-cpu 0x0103", "every guest statement leaves SIE before the next one"),
    ("conv-from-sec-stor 0x0105", "a counter comes to its end after 2^56 exports"),
];

/// All goals, and how far this coverage reaches.
#[must_use]
pub fn goals(coverage: &Coverage) -> Vec<Goal> {
    let found = Found::of(coverage);
    let mut goals = Vec::new();
    for command in refusals::built() {
        let mut answers: BTreeMap<String, Vec<Check>> = BTreeMap::new();
        for check in command.checks() {
            if let Some(answer) = answer(&check) {
                answers.entry(answer).or_default().push(check);
            }
        }
        for (answer, checks) in answers {
            let id = format!("{} {answer}", command.name());
            let listed = EXEMPT_ANSWERS.iter().find(|(exempt, _)| *exempt == id).map(|(_, why)| *why);
            let count = found.answers.get(&id).copied().unwrap_or(0);
            goals.push(Goal { kind: GoalKind::Answer, exempt: listed.or_else(|| unreachable(&checks)), count, id });
        }
    }
    for row in 1..=LAST_ROW {
        let id = format!("T{row}");
        let exempt = EXEMPT_ROWS.iter().find(|(exempt, _)| *exempt == id).map(|(_, why)| *why);
        let count = found.rules.get(id.as_str()).copied().unwrap_or(0);
        goals.push(Goal { kind: GoalKind::Transition, exempt, count, id });
    }
    goals
}

/// How many goals of a kind are reached, and how many can be.
#[must_use]
pub fn tally(goals: &[Goal], kind: GoalKind) -> (usize, usize) {
    let wanted = || goals.iter().filter(|goal| goal.kind == kind && goal.exempt.is_none());
    (wanted().filter(|goal| goal.count > 0).count(), wanted().count())
}

/// The goals as JSON.
#[must_use]
pub fn to_json(goals: &[Goal]) -> Value {
    let list = |kind: GoalKind| -> Value {
        let of_kind = goals.iter().filter(|goal| goal.kind == kind);
        of_kind.map(|goal| json!({ "id": goal.id, "count": goal.count, "exempt": goal.exempt })).collect()
    };
    let sum = |kind: GoalKind| {
        let (reached, of) = tally(goals, kind);
        json!({ "reached": reached, "of": of })
    };
    json!({
        "answers": { "tally": sum(GoalKind::Answer), "goals": list(GoalKind::Answer) },
        "transitions": { "tally": sum(GoalKind::Transition), "goals": list(GoalKind::Transition) },
    })
}

/// The answer as part of an id; none for interruptions, which name no call.
fn answer(check: &Check) -> Option<String> {
    match check.answer {
        Reply::Busy => Some("busy".to_owned()),
        Reply::Partial => Some("partial".to_owned()),
        Reply::Interruption(_) | Reply::Interception(_) => None,
        Reply::Done | Reply::Refused { .. } | Reply::Remark { .. } => check.codes().map(codes),
    }
}

fn codes((rc, rrc): (u16, u16)) -> String {
    if rrc == 0 { format!("{rc:#06x}") } else { format!("{rc:#06x}/{rrc:#x}") }
}

/// Why none of these checks can be met by one CPU after the other.
fn unreachable(checks: &[Check]) -> Option<&'static str> {
    let why = |check: &Check| match check.reach {
        Reach::Call | Reach::Injection => None,
        Reach::Race => Some("only while another CPU is at work on the same things"),
        Reach::Never(why) => Some(why),
    };
    checks.iter().map(why).collect::<Option<Vec<_>>>().and_then(|reasons| reasons.first().copied())
}

/// What a coverage comes to, by the ids of goals.
#[derive(Default)]
struct Found {
    answers: BTreeMap<String, u64>,
    rules: BTreeMap<&'static str, u64>,
}

impl Found {
    fn of(coverage: &Coverage) -> Self {
        let mut found = Self::default();
        for (reached, count) in coverage.iter() {
            let rule = match *reached {
                Reached::Call { command, cc, codes: pair, rule, .. } => {
                    if let Some(command) = Command::from_code(command) {
                        let answer = match cc {
                            2 => "busy".to_owned(),
                            3 => "partial".to_owned(),
                            _ => codes(pair),
                        };
                        *found.answers.entry(format!("{} {answer}", command.name())).or_default() += count;
                    }
                    rule
                }
                Reached::Transition(rule) | Reached::Row(rule) | Reached::Statement { rule, .. } => rule,
                Reached::Step(covered) => covered.rule,
            };
            for rule in rule.split(' ') {
                *found.rules.entry(rule).or_default() += count;
            }
        }
        found
    }
}
