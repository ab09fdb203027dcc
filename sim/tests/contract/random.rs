//! Random statements of every verb: the program never panics, and the model never breaks a rule.

use super::{document, parse, told};
use proptest::prelude::*;
use uvsim::run::{self, Options, Status, json::Json};

/// The oracle takes every step as well.
const VERIFIED: Options = Options { seed: None, deadline: None, threads: false, verify: true, go_on: false };

/// Every outcome is somebody's, so a random statement that goes wrong is a failure of the file (status 1), and
/// what comes after it is not run: most files would end at once. So each is tried in a file that holds what went
/// well before.
fn run_kept(statements: &[String]) -> Status {
    let mut kept: Vec<&str> = Vec::new();
    let mut worst = Status::Pass;
    for statement in statements {
        let mut tried = kept.clone();
        tried.push(statement);
        let scenario = parse(&document("storage \"2200MiB\"", &tried.join("\n")));
        let mut json = Json::new(Vec::new());
        let (status, _) = run::run_scenario(&scenario, VERIFIED, &mut json);
        if matches!(status, Status::Broken | Status::TimeOut | Status::Unusable) {
            panic!("status {}:\n{}\n{}", status.code(), tried.join("\n"), told(&scenario));
        }
        if status == Status::Pass {
            kept = tried;
        }
        worst = worst.worse(status);
    }
    worst
}

fn page() -> impl Strategy<Value = String> {
    let guest = prop_oneof![4 => Just("alpha"), 3 => Just("beta"), 1 => Just("gamma")];
    (guest, 0u64..8, prop::option::weighted(0.2, 1u64..3)).prop_map(|(guest, first, more)| match more {
        None => format!("{guest}:{first}"),
        Some(more) => format!("{guest}:{first}..{}", first + more),
    })
}

fn one_page() -> impl Strategy<Value = String> {
    (prop_oneof![Just("alpha"), Just("beta"), Just("gamma")], 0u64..8)
        .prop_map(|(guest, page)| format!("{guest}:{page}"))
}

fn guest() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("alpha"), Just("beta"), Just("gamma")]
}

fn host() -> impl Strategy<Value = String> {
    let verbs = prop_oneof![
        Just("read"),
        Just("export"),
        Just("import"),
        Just("destroy"),
        Just("pin"),
        Just("unpin"),
        Just("make-accessible"),
        Just("page-out"),
        Just("page-in"),
        Just("move"),
        Just("unmap"),
        Just("move purge=#false"),
        Just("unmap purge=#false"),
    ];
    prop_oneof![
        6 => (verbs, page(), 0u16..2).prop_map(|(verb, page, cpu)| {
            let (verb, rest) = verb.split_once(' ').unwrap_or((verb, ""));
            format!("host {verb} {page} cpu={cpu} {rest}")
        }),
        1 => (page(), 0u16..4090).prop_map(|(page, at)| format!("host write {page} offset={at} hex=\"5a5a\"")),
        1 => (page(), 0u16..32768).prop_map(|(page, bit)| format!("host flip {page} bit={bit}")),
        2 => (one_page(), one_page(), any::<bool>()).prop_map(|(a, b, purge)| format!("host remap {a} to={b} purge=#{purge}")),
        1 => (one_page(), one_page()).prop_map(|(a, b)| format!("host copy {a} to={b}")),
        1 => page().prop_map(|page| format!("device read {page}")),
        1 => page().prop_map(|page| format!("device write {page} text=\"io\"")),
    ]
}

fn life() -> impl Strategy<Value = String> {
    prop_oneof![
        (guest(), 0u16..2).prop_map(|(guest, cpu)| format!("host start {guest} cpu={cpu}")),
        guest().prop_map(|guest| format!("host create {guest}")),
        guest().prop_map(|guest| format!("host stop {guest}")),
        guest().prop_map(|guest| format!("host unshare-all {guest}")),
        (guest(), any::<bool>()).prop_map(|(guest, fast)| format!("host teardown {guest} fast=#{fast}")),
        (0u16..2).prop_map(|cpu| format!("host reset-machine cpu={cpu}")),
        any::<bool>().prop_map(|stop| format!("host faults {}", if stop { "stop" } else { "linux" })),
        (command(), 1u64..3).prop_map(|(command, count)| format!("host inject {command} busy={count}")),
        (command(), 1u64..3).prop_map(|(command, count)| format!("host inject {command} partial={count}")),
        Just("host inject create-sec-conf late-failure=#true".to_owned()),
    ]
}

fn command() -> impl Strategy<Value = &'static str> {
    prop::sample::select(uvsim_model::uvc::Command::ALL).prop_map(|command| command.name())
}

fn raw() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        one_page().prop_map(|page| format!("conv-from-sec-stor paddr=(frame){page}")),
        one_page().prop_map(|page| format!("destr-sec-stor paddr=(frame){page}")),
        (guest(), one_page())
            .prop_map(|(guest, page)| format!("conv-to-sec-stor guest-handle=(handle){guest} gaddr=(page){page}")),
        guest().prop_map(|guest| format!("destroy-sec-cpu handle=(cpu){guest}:0")),
        guest().prop_map(|guest| format!("destroy-sec-conf handle=(handle){guest}")),
        guest().prop_map(|guest| format!("destroy-sec-conf-fast handle=(handle){guest}")),
        guest().prop_map(|guest| format!("verify-img handle=(handle){guest}")),
        (guest(), 0u8..7).prop_map(|(guest, state)| format!("cpu-set-state cpu-handle=(cpu){guest}:0 state={state}")),
        (guest(), 0u64..0x8900).prop_map(|(guest, frame)| format!(
            "create-sec-cpu guest-handle=(handle){guest} stor-origin={} num=7 state-origin={}",
            frame << 12,
            (frame + 1) << 12
        )),
    ];
    prop_oneof![
        3 => (host, 0u16..2).prop_map(|(call, cpu)| format!("host uvc {call} cpu={cpu}")),
        1 => (command(), prop::collection::vec(any::<u8>(), 1..64), prop::sample::select(vec![0u16, 4, 8, 4088]), 0u16..0x140).prop_map(
            |(command, bytes, skew, len)| format!("host uvc {command} bytes=\"{}\" skew={skew} len={len}", hex(&bytes))
        ),
        1 => (guest(), command(), prop::collection::vec(any::<u8>(), 1..32), any::<bool>()).prop_map(
            |(guest, command, bytes, problem)| format!("guest uvc {guest} {command} bytes=\"{}\" problem-state=#{problem}", hex(&bytes))
        ),
        1 => any::<u16>().prop_map(|number| format!("host uvc {number} immediate=3")),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn guests() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (page(), 0u16..3).prop_map(|(page, cpu)| format!("guest read {page} cpu={cpu}")),
        3 => (page(), 0u16..4090).prop_map(|(page, at)| format!("guest write {page} offset={at} text=\"secret\"")),
        2 => page().prop_map(|page| format!("guest share {page}")),
        2 => page().prop_map(|page| format!("guest unshare {page}")),
        1 => (guest(), 1u64..6, 1u64..4).prop_map(|(guest, pages, frames)| format!(
            "workload guest={guest} accesses=60 working-set={pages} frames={frames} writes=0.5"
        )),
        1 => guest().prop_map(|guest| format!("guest verify {guest} 0x3ff0 hex=\"{}\" frames=1", "00".repeat(32))),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![6 => host(), 5 => guests(), 2 => life(), 2 => raw()]
}

/// PROPTEST_CASES, else so many that some hundred files are run.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_statement_breaks_the_model(statements in prop::collection::vec(statement(), 1..30)) {
        run_kept(&statements);
    }
}
