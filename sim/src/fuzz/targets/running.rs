//! Runs of scenarios that a fuzzer has come up with: how large they may be, and what must hold for every one.

use super::{Fault, ensure};
use crate::fuzz::convert::pages;
use crate::run::human::Human;
use crate::run::json::Json;
use crate::run::{self, Counts, Options, Status};
use crate::scenario::{DeviceKind, DiskContent, Guest, Node, Scenario, Verb};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Beyond this much work a scenario is not run: a fuzzer learns more from many small ones.
const MOST_WORK: u64 = 4_000;
const MOST_STORAGE: u64 = 16 << 30;
const MOST_MEMORY: u64 = 256 << 20;
const MOST_LOADED: u64 = 1 << 20;
const MOST_VCPUS: u64 = 16;
/// What is slower all the same is cut short, and then nothing is compared.
const TIME: Duration = Duration::from_secs(5);

/// Whether a run takes little time and memory, as far as the text tells.
pub(super) fn is_small(scenario: &Scenario) -> bool {
    let sum = |part: fn(&Guest) -> u64| scenario.guests.iter().map(part).fold(0, u64::saturating_add);
    scenario.machine.storage <= MOST_STORAGE
        && sum(|guest| guest.memory) <= MOST_MEMORY
        && sum(|guest| guest.vcpus.into()) <= MOST_VCPUS
        && sum(loaded) <= MOST_LOADED
        && scenario.steps.iter().map(|step| work(&step.nodes)).fold(0, u64::saturating_add) <= MOST_WORK
}

/// Runs a scenario twice; both runs must end alike, and no run may break the model or this program.
pub(super) fn twice(scenario: &Scenario, options: Options) -> Result<(), Fault> {
    let (ended, told) = once(scenario, options)?;
    let (again, told_again) = once(scenario, options)?;
    if ended.0 == Status::TimeOut || again.0 == Status::TimeOut {
        return Ok(());
    }
    let fault = |message: String| Err(Fault::in_text(message, &scenario.text));
    if ended != again {
        return fault(format!("one run ends with {ended:?}, another with {again:?}"));
    }
    match told.lines().zip(told_again.lines()).find(|(one, other)| one != other) {
        Some((one, other)) => fault(format!("two runs differ:\n{one}\n{other}")),
        None => Ok(()),
    }
}

/// Runs a scenario once. What is told is JSON, line by line.
pub(super) fn once(scenario: &Scenario, options: Options) -> Result<((Status, Counts), String), Fault> {
    let options = Options { deadline: Instant::now().checked_add(TIME), ..options };
    let mut out = Vec::new();
    let ended = run::run_scenario(scenario, options, &mut Json::new(&mut out));
    let told = String::from_utf8(out).map_err(|error| Fault::in_text(error.to_string(), &scenario.text))?;
    let fault = |message: String| Fault::in_text(message, &scenario.text);
    if ended.0 == Status::Broken {
        return Err(fault(told));
    }
    for line in told.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| fault(format!("{error}: {line}")))?;
        let message = event["message"].as_str().unwrap_or_default();
        if event["event"] == "error" && message.contains("error of the simulator") {
            return Err(fault(message.to_owned()));
        }
    }
    Ok((ended, told))
}

/// What a person reads of a run. It is not compared, but there is some.
pub(super) fn told(scenario: &Scenario, options: Options) -> Result<(), Fault> {
    let mut out = Vec::new();
    let options = Options { deadline: Instant::now().checked_add(TIME), ..options };
    run::run_scenario(scenario, options, &mut Human::new(&mut out, false, 100));
    ensure(!out.is_empty(), || "a run says nothing".to_owned())
}

fn loaded(guest: &Guest) -> u64 {
    let loads = guest.loads.iter().map(|load| load.data.len()).fold(0, u64::saturating_add);
    let image = guest.image.iter().flat_map(|image| &image.components).map(|one| one.data.len() as u64).sum::<u64>();
    let disks = guest.devices.iter().flat_map(|devices| &devices.devices).map(|device| match &device.kind {
        DeviceKind::Disk { content: DiskContent::Zeros(bytes), .. } => *bytes,
        DeviceKind::Disk { content: DiskContent::Bytes(bytes), .. } => bytes.len() as u64,
        _ => 0,
    });
    disks.fold(loads.saturating_add(image), u64::saturating_add)
}

fn work(nodes: &[Node]) -> u64 {
    let one = |node: &Node| match node {
        Node::Statement(statement) => of_verb(&statement.verb),
        Node::Repeat(repeat) => work(&repeat.nodes).saturating_mul(repeat.count),
        Node::Workload(workload) => workload.accesses.saturating_add(workload.working_set),
        Node::Replay(replay) => replay.trace.touches.len() as u64,
        Node::Parallel(parallel) => parallel.lanes.iter().map(|lane| work(&lane.nodes)).fold(0, u64::saturating_add),
    };
    nodes.iter().map(one).fold(0, u64::saturating_add)
}

fn of_verb(verb: &Verb) -> u64 {
    /// A call, or a few.
    const CALL: u64 = 4;
    /// All that a guest has.
    const GUEST: u64 = 256;
    if let Some(pages) = pages(verb) {
        return pages.len();
    }
    match verb {
        Verb::CheckPage { pages, .. } => pages.len(),
        Verb::HostCreate { .. }
        | Verb::HostStart { .. }
        | Verb::HostTeardown { .. }
        | Verb::HostReset { .. }
        | Verb::HostPv { .. }
        | Verb::HostResetMachine => GUEST,
        Verb::HostInject { injection, .. } => injection.calls(),
        Verb::GuestVerify { data, .. } => 1 + data.len() as u64 / 64,
        _ => CALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn scenario(guest: &str, statements: &str) -> Scenario {
        let text = format!("scenario s\nguest a {guest}\nstep t {{\n{statements}\ncheck invariants\n}}");
        Scenario::parse(Path::new("s.kdl"), &text).unwrap_or_else(|errors| panic!("{:?}", errors.errors()))
    }

    #[test]
    fn what_is_large_is_not_run() {
        let small = |guest: &str, statements: &str| is_small(&scenario(guest, statements));
        assert!(small("memory=\"1MiB\"", "host page-out a:0..255"));
        assert!(!small("memory=\"512MiB\"", ""));
        assert!(!small("memory=\"1MiB\" vcpus=17", ""));
        assert!(!small("memory=\"1MiB\"", "repeat 1000000 { host read a:0 len=1; }"));
        assert!(!small("memory=\"1MiB\"", "repeat 1000000 { repeat 100000000000000 { host read a:0 len=1; }; }"));
        assert!(!small("memory=\"128MiB\"", "host import a:0..32767"));
        assert!(!small("memory=\"1MiB\"", "host inject conv-from-sec-stor busy=1000000"));
        assert!(!small("memory=\"8MiB\" { disk d size=\"2MiB\"; }", ""));
        assert!(!small("memory=\"1MiB\"", "workload guest=a accesses=30000 working-set=4 frames=2"));
    }

    #[test]
    fn a_run_that_ends_alike_is_no_fault() {
        let scenario = scenario("memory=\"1MiB\"", "host read a:0 len=1\nhost page-out a:0");
        let options = Options { go_on: true, ..Options::default() };
        assert_eq!(twice(&scenario, options), Ok(()));
        let ((status, counts), _) = once(&scenario, options).unwrap();
        assert_eq!((status, counts.statements, counts.failed), (Status::Fail, 3, 1), "it goes on behind the failure");
        assert_eq!(once(&scenario, Options::default()).unwrap().0.1.statements, 1);
    }
}
