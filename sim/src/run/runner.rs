//! One scenario on its machine, from the first step to the last.

use super::execute::Failed;
use super::io::Devices;
use super::report::{Failure, Report, StatementEnd};
use super::{Counts, Options, Status, setup};
use crate::kernel::{FaultAnswers, Kernel, Observed, Stop};
use crate::scenario::{Node, Place, Repeat, Scenario, Statement};
use std::sync::Arc;
use uvsim_verify::SideBySide;

/// One scenario on its machine.
pub(super) struct Runner<'s, 'm, 'r> {
    pub(super) scenario: &'s Scenario,
    pub(super) kernel: Kernel<'m>,
    pub(super) options: Options,
    pub(super) report: &'r mut dyn Report,
    pub(super) faults: FaultAnswers,
    /// Saved buffers, by number.
    pub(super) buffers: Vec<Vec<u8>>,
    pub(super) counts: Counts,
    /// Workloads and replays run so far: the number of the next one's random sub-stream.
    pub(super) workloads: u32,
    /// Times that lanes have run so far: the number of the next one's random sub-stream.
    pub(super) parallels: u32,
    /// Others act at the same time, so no outcome is compared with what was expected.
    pub(super) unordered: bool,
    /// Devices of the guests, and their drivers.
    pub(super) devices: Devices,
    /// Who compares the machine with the oracle, until they differ.
    pub(super) side: Option<Arc<SideBySide>>,
}

/// Why a file ends early.
pub(super) enum End {
    Failed(Box<Failure>, Status),
    /// A mistake of the file that shows only now.
    Unusable(String),
    TimeOut,
}

impl<'s, 'm, 'r> Runner<'s, 'm, 'r> {
    pub(super) fn new(
        scenario: &'s Scenario,
        mut kernel: Kernel<'m>,
        options: Options,
        report: &'r mut dyn Report,
    ) -> Self {
        kernel.deadline = options.deadline;
        let devices = Devices::new(scenario, kernel.machine());
        Self {
            scenario,
            kernel,
            options,
            report,
            faults: FaultAnswers::Linux,
            buffers: vec![Vec::new(); scenario.buffers.len()],
            counts: Counts::default(),
            workloads: 0,
            parallels: 0,
            unordered: false,
            devices,
            side: None,
        }
    }

    /// Runs all steps, or as many as go as expected. The invariants are looked at in either case.
    pub(super) fn run_all(&mut self) -> Status {
        let status = match self.bind_drivers() {
            Ok(()) => self.run_steps(),
            Err(status) => status,
        };
        let status = if self.counts.failed > 0 { status.worse(Status::Fail) } else { status };
        self.report_devices();
        let status = status.worse(self.compare_all());
        let Err(violation) = self.kernel.machine().check_invariants() else { return status };
        let failure = Failure {
            page: None,
            rule: violation.invariant,
            message: format!("at the end of the file: {violation}"),
            state: Vec::new(),
        };
        self.report.failure(self.scenario, self.scenario.place, &failure);
        Status::Broken
    }

    /// Compares all of the machine with the oracle, once more.
    fn compare_all(&mut self) -> Status {
        let Some(side) = self.side.take() else { return Status::Pass };
        let Some(difference) = side.finish(self.kernel.machine()) else { return Status::Pass };
        self.report.difference(self.scenario, self.scenario.place, &difference);
        Status::Broken
    }

    /// Ends the file at the first difference from the oracle.
    fn agree(&mut self, place: Place) -> Result<(), Status> {
        let Some(difference) = self.side.as_ref().and_then(|side| side.difference()) else { return Ok(()) };
        self.side = None;
        self.report.difference(self.scenario, place, &difference);
        Err(Status::Broken)
    }

    fn run_steps(&mut self) -> Status {
        for step in &self.scenario.steps {
            self.report.step(self.scenario, step);
            if let Err(status) = self.run_nodes(&step.nodes) {
                return status;
            }
        }
        Status::Pass
    }

    fn run_nodes(&mut self, nodes: &'s [Node]) -> Result<(), Status> {
        nodes.iter().try_for_each(|node| self.run_node(node))
    }

    pub(super) fn run_node(&mut self, node: &'s Node) -> Result<(), Status> {
        let (place, ended) = match node {
            Node::Statement(statement) => (statement.place, self.run_statement(statement)),
            Node::Repeat(repeat) => (repeat.place, self.run_repeat(repeat)),
            Node::Workload(workload) => {
                self.counts.statements += 1;
                self.counts.checks += 1;
                let begun = self.begin_workload(workload);
                let end = self.run_exercise(begun);
                (workload.place, self.settle(workload.place, end))
            }
            Node::Replay(replay) => {
                self.counts.statements += 1;
                self.counts.checks += 1;
                let begun = self.begin_replay(replay);
                let end = self.run_exercise(Ok(begun));
                (replay.place, self.settle(replay.place, end))
            }
            Node::Parallel(parallel) if self.options.threads => (parallel.place, self.run_threads(parallel)),
            Node::Parallel(parallel) => (parallel.place, self.run_parallel(parallel)),
        };
        self.agree(place).and(ended)
    }

    fn run_repeat(&mut self, repeat: &'s Repeat) -> Result<(), Status> {
        if !holds_statement(&repeat.nodes) {
            return Ok(());
        }
        for pass in 0..repeat.count {
            self.report.repeat(repeat, pass);
            self.run_nodes(&repeat.nodes)?;
        }
        self.report.repeated(repeat);
        Ok(())
    }

    fn run_statement(&mut self, statement: &'s Statement) -> Result<(), Status> {
        if let Err((_, end)) = self.in_time() {
            return self.settle(statement.place, Err(end));
        }
        self.counts.statements += 1;
        self.counts.checks += u64::from(statement.checks());
        // D81
        self.kernel.machine().advance_clock(1000);
        let _ = self.kernel.take_transitions();
        let (got, end) = match self.perform(statement) {
            Ok(got) => (Some(got), Ok(())),
            Err((got, end)) => (got, Err(end)),
        };
        let passed = end.is_ok();
        if let Some(got) = got {
            let transitions = self.kernel.take_transitions();
            let note = self.devices.take_note();
            self.report
                .statement(self.scenario, &StatementEnd { statement, got, passed, compared: true, transitions, note });
        }
        self.settle(statement.place, end)
    }

    /// Runs a statement and compares; what came out is returned in either case.
    fn perform(&mut self, statement: &'s Statement) -> Result<Observed, Failed> {
        let done = self.execute(statement).and_then(|got| self.follow(statement, got));
        match self.kernel.take_changed() {
            None => done,
            Some(message) => {
                let failure = Failure { page: None, rule: "I-18", message, state: Vec::new() };
                let got = done.map_or_else(|(got, _)| got, Some);
                Err((got, End::Failed(Box::new(failure), Status::Broken)))
            }
        }
    }

    /// Reports how something ended, if it did not end well.
    pub(super) fn settle(&mut self, place: Place, end: Result<(), End>) -> Result<(), Status> {
        let status = match end {
            Ok(()) => return Ok(()),
            Err(End::Failed(failure, status)) => {
                self.counts.failed += 1;
                self.report.failure(self.scenario, place, &failure);
                if self.options.go_on && status == Status::Fail {
                    return Ok(());
                }
                status
            }
            Err(End::Unusable(message)) => {
                self.report.error(self.scenario, place, &message, None);
                Status::Unusable
            }
            Err(End::TimeOut) => {
                self.report.error(
                    self.scenario,
                    place,
                    "the time limit is reached",
                    Some("--time-limit SECONDS sets it"),
                );
                Status::TimeOut
            }
        };
        Err(status)
    }
}

/// What a stop of the kernel means for a statement: an outcome, or the end of the file.
pub(super) fn outcome(stop: Stop) -> Result<Observed, End> {
    match stop {
        Stop::Outcome(observed) => Ok(observed),
        Stop::OutOfStorage { what, needed, available } => {
            Err(End::Unusable(setup::shortfall(&what, needed, available)))
        }
        Stop::TimeOut => Err(End::TimeOut),
        Stop::Internal(message) => Err(End::Unusable(format!("error of the simulator: {message}"))),
    }
}

/// Loops may be long; those around nothing need no time.
pub(super) fn holds_statement(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Statement(_) | Node::Workload(_) | Node::Replay(_) => true,
        Node::Repeat(repeat) => holds_statement(&repeat.nodes),
        Node::Parallel(parallel) => parallel.lanes.iter().any(|lane| holds_statement(&lane.nodes)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::human::Human;
    use super::super::json::Json;
    use super::super::setup::boot;
    use super::*;
    use std::path::Path;
    use uvsim_model::Machine;

    const TEXT: &str =
        "scenario s\nguest a memory=\"1MiB\"\nstep s { host import a:9 expect=refused; host export a:0; }";

    /// Runs the text after something has been done to the kernel; the status and what is told.
    fn run(report: &mut dyn Report, meddle: impl FnOnce(&mut Kernel<'_>)) -> (Status, Counts) {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(mut kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        meddle(&mut kernel);
        let mut runner = Runner::new(&scenario, kernel, Options::default(), report);
        (runner.run_all(), runner.counts)
    }

    #[test]
    fn a_state_that_a_refusal_has_changed_is_status_3() {
        let mut out = Vec::new();
        let (status, counts) = run(&mut Json::new(&mut out), |kernel| kernel.pretend_change());
        assert_eq!(status, Status::Broken);
        assert_eq!((counts.statements, counts.checks, counts.failed), (1, 1, 1));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"passed\":false,\"rule\":"), "the statement is reported: {text}");
        assert!(text.contains("\"rule\":\"I-18\",\"message\":\"pretended\""), "{text}");
        let mut out = Vec::new();
        run(&mut Human::new(&mut out, false, 80), |kernel| kernel.pretend_change());
        assert!(String::from_utf8(out).unwrap().contains("I-18"));
    }

    /// Runs the text beside an oracle that has been talked into something.
    fn run_beside(report: &mut dyn Report, mislead: impl FnOnce(&SideBySide)) -> Status {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let mut machine = Machine::new(scenario.machine.clone()).unwrap();
        let side = SideBySide::watch(&mut machine);
        let Ok(kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        mislead(&side);
        let mut runner = Runner::new(&scenario, kernel, Options { verify: true, ..Options::default() }, report);
        runner.side = Some(side);
        runner.run_all()
    }

    #[test]
    fn an_oracle_that_agrees_changes_nothing() {
        let mut out = Vec::new();
        assert_eq!(run_beside(&mut Json::new(&mut out), |_| {}), Status::Pass);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("\"difference\""), "{text}");
    }

    #[test]
    fn an_oracle_that_disagrees_is_status_3_and_shows_both_states() {
        let mislead = |side: &SideBySide| side.assume(|state| state.clock += 1);
        let mut out = Vec::new();
        assert_eq!(run_beside(&mut Json::new(&mut out), mislead), Status::Broken);
        let text = String::from_utf8(out).unwrap();
        let event: serde_json::Value = text
            .lines()
            .find(|line| line.contains("\"difference\""))
            .map(|line| serde_json::from_str(line).unwrap())
            .unwrap();
        assert_eq!(
            (&event["event"], &event["line"], &event["rules"]),
            (&"difference".into(), &3.into(), &serde_json::json!(["D81"]))
        );
        assert_eq!(event["parts"][0]["path"], serde_json::json!(["clock"]));
        assert!(event["tree"].as_str().unwrap().starts_with("└─ clock: oracle "), "{event}");
        assert!(!text.contains("u001b"), "no colours: {text}");
        let mut out = Vec::new();
        run_beside(&mut Human::new(&mut out, false, 80), mislead);
        assert!(String::from_utf8(out).unwrap().contains("the model and its oracle differ"));
    }

    /// What no step has to do with shows at the end.
    #[test]
    fn a_frame_that_the_oracle_has_otherwise_is_found_at_the_end() {
        let mut out = Vec::new();
        let frame = uvsim_model::address::FrameNumber(0x7_0000);
        let mislead = |side: &SideBySide| {
            side.assume(|state| drop(state.storage.insert(frame, Arc::new([1; 4096]))));
        };
        assert_eq!(run_beside(&mut Json::new(&mut out), mislead), Status::Broken);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("frame 0x70000"), "{text}");
    }

    #[test]
    fn without_it_all_is_well() {
        let (status, counts) = run(&mut Json::new(Vec::new()), |_| {});
        assert_eq!((status, counts.statements, counts.checks, counts.failed), (Status::Pass, 2, 1, 0));
    }
}
