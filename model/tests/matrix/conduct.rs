//! Conducts the calls: every cause alone, every pair, and a record of the pairs that cannot be.

use crate::cause::{Cause, Part, Subject, cause};
use crate::stage::{Ending, Stage, Trace};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use uvsim_model::uvc::{Check, Command, HandleKind, Issuer, Length, Reach, Reply};
use uvsim_model::{Injection, Machine};

/// Commands without which no guest runs.
const NEEDED_TO_RUN: [Command; 7] = [
    Command::InitUv,
    Command::CreateSecConf,
    Command::CreateSecCpu,
    Command::ConvToSecStor,
    Command::SetSecConfParams,
    Command::VerifyImg,
    Command::CpuSetState,
];
/// Those of them that a scene of their own needs.
const NEEDED_AT_ALL: [Command; 5] =
    [Command::InitUv, Command::CreateSecConf, Command::CreateSecCpu, Command::ConvToSecStor, Command::CpuSetState];

/// Tries everything that the table says of a command, and compares the pairs with those on record.
pub fn conduct(subject: &Subject, issuer: Issuer) {
    let checks = subject.command.checks();
    let causes = all_causes(subject);
    expect_success(subject, issuer);
    let mut report = Report::default();
    for check in &checks {
        let of = |cause: &&Cause| cause.check == check.id && cause.with.is_none();
        let found = causes.iter().filter(of).count();
        let last = check.id == "done";
        assert_eq!(found != 0, is_reachable(check) && !last, "{}: {}", subject.command.name(), check.id);
        for cause in causes.iter().filter(of) {
            assert!(try_one(subject, issuer, check, &[cause]), "{}: {}", subject.command.name(), check.id);
            report.alone += 1;
        }
    }
    let unknown = causes.iter().find(|cause| checks.iter().all(|check| check.id != cause.check));
    assert!(unknown.is_none(), "{:?}", unknown.map(|cause| cause.check));
    let reachable: Vec<&Check> = checks.iter().filter(|check| is_reachable(check) && check.id != "done").collect();
    for (number, first) in reachable.iter().enumerate() {
        for second in &reachable[number + 1..] {
            try_pair(subject, issuer, first, second, &causes, &mut report);
        }
    }
    report.compare(subject.command, issuer);
}

fn shortest(command: Command) -> u16 {
    match command.row().length {
        Length::Exact(length) | Length::AtLeast(length) => length,
    }
}

fn is_reachable(check: &Check) -> bool {
    matches!(check.reach, Reach::Call | Reach::Injection)
}

fn all_causes(subject: &Subject) -> Vec<Cause> {
    let row = subject.command.row();
    let mut causes = vec![
        cause("problem-state", &[Part::Problem], |stage| stage.around.problem = true),
        cause("immediate-fields", &[Part::Immediate], |stage| stage.around.immediate = true),
        cause("alignment", &[Part::Skew], |stage| stage.around.skew = true),
        cause("header-access", &[Part::Header], |stage| stage.around.header = true),
        cause("length", &[Part::Length], |stage| stage.around.length = Some(shortest(stage.command) - 8)),
        cause("block-access", &[Part::Rest], |stage| stage.around.rest = true),
        cause("injected-busy", &[], |stage| stage.around.inject.push(Injection::Busy(1))),
        cause("injected-partial", &[], |stage| stage.around.inject.push(Injection::Partial(1))),
    ];
    let mut absent = cause("not-installed", &[Part::Installed], |_| {});
    if NEEDED_TO_RUN.contains(&subject.command) {
        absent.parts.push(Part::Running);
    }
    if NEEDED_AT_ALL.contains(&subject.command) {
        absent.parts.push(Part::Bare);
    }
    causes.push(absent);
    match row.issuer {
        Issuer::Host => causes.push(cause("issuer", &[Part::Issuer, Part::Running], |stage| {
            stage.other();
            stage.around.foreign = true;
        })),
        Issuer::Guest => causes.push(cause("issuer", &[Part::Issuer], |stage| stage.around.foreign = true)),
        Issuer::Both => {}
    }
    if row.needs_init {
        let parts = [Part::Initialised, Part::Running];
        causes.push(cause("uninitialised", &parts, |stage| stage.around.reset = true));
    }
    if let HandleKind::Configuration(offset) | HandleKind::Cpu(offset) = row.handle {
        causes.push(cause("handle", &[Part::Field(offset.into())], |stage| {
            let (HandleKind::Configuration(offset) | HandleKind::Cpu(offset)) = stage.command.row().handle else {
                return;
            };
            let handle = stage.field(offset.into());
            stage.set(offset.into(), 8, handle ^ 1);
        }));
    }
    causes.extend(subject.causes.iter().cloned());
    causes
}

fn try_pair(subject: &Subject, issuer: Issuer, first: &Check, second: &Check, all: &[Cause], report: &mut Report) {
    let of = |check: &Check| {
        let id = check.id;
        all.iter().filter(move |cause| cause.check == id && cause.with.is_none())
    };
    let general = subject.command.own_checks().iter().all(|check| check.id != first.id);
    let (mut runs, mut reason) = (0, None);
    for one in of(first) {
        for other in of(second) {
            // How the second comes about cannot matter to a check that all commands share.
            if general && runs > 0 {
                continue;
            }
            match one.clash(other) {
                Some(part) => reason = reason.or(Some(part.reason())),
                None if try_one(subject, issuer, first, &[one, other]) => runs += 1,
                None => reason = reason.or(Some(Part::Machine.reason())),
            }
        }
    }
    for cause in all.iter().filter(|cause| cause.check == first.id && cause.with == Some(second.id)) {
        assert!(try_one(subject, issuer, first, &[cause]));
        runs += 1;
    }
    report.runs += runs;
    match (runs, reason) {
        (0, Some(reason)) => report.excluded.entry(reason).or_default().push(format!("{} + {}", first.id, second.id)),
        (0, None) => panic!("{}: {} + {} was not tried", subject.command.name(), first.id, second.id),
        _ => report.pairs += 1,
    }
}

/// Issues the call with these causes, of which the first has the answer. `false` if no machine knows them all.
fn try_one(subject: &Subject, issuer: Issuer, check: &Check, causes: &[&Cause]) -> bool {
    let mut config = crate::stage::config();
    (subject.machine)(&mut config);
    causes.iter().for_each(|cause| (cause.machine)(&mut config));
    let table = subject.command.checks();
    let known = |cause: &Cause| table.iter().any(|check| check.id == cause.check && check.machines.include(&config));
    if !causes.iter().all(|cause| known(cause)) {
        return false;
    }
    let names: Vec<&str> = causes.iter().map(|cause| cause.check).collect();
    let absent = causes.iter().find(|cause| cause.check == "not-installed");
    if absent.is_some() {
        config.without.push(subject.command);
    }
    let bare = absent.is_some_and(|cause| cause.parts.contains(&Part::Bare));
    let machine = crate::support::machine(config);
    let mut stage = set(subject, issuer, &machine, bare);
    let mut sorted = causes.to_vec();
    sorted.sort_by_key(|cause| cause.rank());
    sorted.iter().for_each(|cause| (cause.apply)(&mut stage));
    if !bare {
        (subject.finish)(&mut stage);
    }
    let trace = stage.issue();
    judge(&format!("{} {}", subject.command.name(), names.join(" + ")), check, &trace);
    true
}

fn set<'m>(subject: &Subject, issuer: Issuer, machine: &'m Machine, bare: bool) -> Stage<'m> {
    let mut stage = Stage::new(machine, subject.command, issuer);
    if !bare {
        (subject.scene)(&mut stage);
    }
    stage.fields = (subject.fields)(&stage);
    stage
}

fn expect_success(subject: &Subject, issuer: Issuer) {
    let mut config = crate::stage::config();
    (subject.machine)(&mut config);
    let machine = crate::support::machine(config);
    let mut stage = set(subject, issuer, &machine, false);
    (subject.finish)(&mut stage);
    let trace = stage.issue();
    let rules = subject.command.checks().last().map_or("", |check| check.rules);
    assert_eq!(trace.ending, Ending::Code(0, 1, 0), "{}", subject.command.name());
    let rule = trace.rule.expect("a call");
    assert!(rules.split_whitespace().any(|known| known == rule), "{}: {rule}", subject.command.name());
}

/// Whether a call has ended as the table says, and has changed nothing that it must not.
fn judge(what: &str, check: &Check, trace: &Trace) {
    let expected = match check.answer {
        Reply::Done => Ending::Code(0, 1, 0),
        Reply::Refused { rc, rrc } => Ending::Code(1, rc, rrc),
        Reply::Remark { rc } => Ending::Code(1, rc, 0),
        Reply::Busy => Ending::Code(2, 0, 0),
        Reply::Partial => Ending::Code(3, 0, 0),
        Reply::Interception(code) => Ending::Interception(code),
        Reply::Interruption(codes) => {
            let Ending::Interruption(code) = trace.ending else {
                panic!("{what}: {:x?} instead of an interruption", trace.ending);
            };
            assert!(codes.contains(&code), "{what}: {code:#x}");
            let access = matches!(check.id, "header-access" | "block-access");
            Ending::Interruption(if access { trace.access } else { code })
        }
    };
    assert_eq!(trace.ending, expected, "{what}");
    let rules: Vec<&str> = check.rules.split_whitespace().collect();
    assert!(trace.rule.is_none_or(|rule| rules.contains(&rule)), "{what}: {:?} is none of {rules:?}", trace.rule);
    match check.answer {
        Reply::Remark { .. } | Reply::Interception(_) => {}
        // Not even rc and rrc.
        Reply::Busy | Reply::Partial | Reply::Interruption(_) => assert_eq!(trace.before[0], trace.after[0], "{what}"),
        Reply::Done | Reply::Refused { .. } => assert_eq!(trace.before[1], trace.after[1], "{what}"),
    }
}

/// What was tried.
#[derive(Default)]
struct Report {
    alone: usize,
    pairs: usize,
    runs: usize,
    excluded: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// Compares with the record in the folder `pairs`. With `UVSIM_RENEW` in the environment the record is
    /// written anew.
    fn compare(&self, command: Command, issuer: Issuer) {
        let excluded: usize = self.excluded.values().map(Vec::len).sum();
        let mut text = format!(
            "{} causes alone; {} pairs of checks in {} calls; {} pairs cannot be\n",
            self.alone, self.pairs, self.runs, excluded
        );
        for (reason, pairs) in &self.excluded {
            let _ = write!(text, "\n{reason}:\n");
            for pair in pairs {
                let _ = writeln!(text, "  {pair}");
            }
        }
        let by = if command.row().issuer == Issuer::Both && issuer == Issuer::Guest { "-by-guest" } else { "" };
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/matrix/pairs");
        let path = folder.join(format!("{}{by}.txt", command.name()));
        if std::env::var_os("UVSIM_RENEW").is_some() {
            std::fs::write(&path, &text).expect("the record can be written");
        }
        let record = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(record, text, "{}: set UVSIM_RENEW=1 to renew it", path.display());
    }
}
