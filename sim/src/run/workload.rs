//! Workloads and replays of a file: begun, carried on, told of.

use super::{End, Failure, Runner, Status, WorkloadEnd, outcome, words};
use crate::paging::Resident;
use crate::pressure::{Drawn, Ended, Extent, LARGEST, Origin, Task};
use crate::scenario::{GuestId, Place, Scenario, Workload};
use uvsim_model::seed::{Purpose, Seed};

/// The item of a workload's sub-stream that its policy draws from.
pub(super) const POLICY: u16 = 1;

/// A workload or replay under way.
#[derive(Debug)]
pub(super) struct Exercise<'s> {
    /// "workload" or "replay".
    pub(super) event: &'static str,
    pub(super) place: Place,
    /// The text as written.
    pub(super) text: &'s str,
    pub(super) task: Task<'s>,
}

impl<'s> Runner<'s, '_, '_> {
    /// Does all of it.
    pub(super) fn run_exercise(&mut self, begun: Result<Exercise<'s>, End>) -> Result<(), End> {
        let mut exercise = begun?;
        let done = self.advance(&mut exercise, u64::MAX);
        self.told(&exercise);
        done.map(|_| ())
    }

    /// A workload from its first access.
    pub(super) fn begin_workload(&mut self, workload: &'s Workload) -> Result<Exercise<'s>, End> {
        if workload.working_set > LARGEST {
            let message = format!("a working set of {} pages: at most {LARGEST} can be watched", workload.working_set);
            return Err(End::Unusable(message));
        }
        let seed = Seed(workload.seed.unwrap_or(self.kernel.machine().config().seed));
        let number = self.workloads;
        self.workloads += 1;
        let stream = seed.item(Purpose::Workload, number, POLICY);
        let resident = Resident::new(workload.policy, workload.working_set as usize, workload.frames, stream);
        let resident = resident.with_window(workload.window);
        let extent = Extent {
            guest: workload.guest.0,
            first: workload.first,
            pages: workload.working_set,
            frames: workload.frames,
            goal: workload.accesses,
        };
        let drawn = Drawn::new(workload, seed.substream(Purpose::Workload, number));
        let task = Task::new(extent, resident, Origin::Drawn(Box::new(drawn)));
        Ok(Exercise { event: "workload", place: workload.place, text: &workload.text, task })
    }

    /// Does up to so many accesses; whether all are done now.
    pub(super) fn advance(&mut self, exercise: &mut Exercise<'_>, accesses: u64) -> Result<bool, End> {
        let watched = std::mem::replace(&mut self.kernel.watch, false);
        let report = &mut *self.report;
        let done = exercise.task.advance(&mut self.kernel, accesses, &mut |goal, done| report.progress(goal, done));
        self.kernel.watch = watched;
        let _ = self.kernel.take_transitions();
        done.map_err(|ended| self.ended(ended))
    }

    pub(super) fn ended(&self, ended: Ended) -> End {
        let (rule, message) = match ended {
            Ended::Mismatch { page, offset } => {
                ("I-14", format!("page {page} offset {offset:#x}: the guest does not read what it last wrote (I-14)"))
            }
            Ended::Stopped { what, stop } => match outcome(stop) {
                Ok(got) => (got.rule, format!("{what}: {}", words::detailed(&got))),
                Err(end) => return end,
            },
        };
        End::Failed(Box::new(Failure { page: None, rule, message, state: Vec::new() }), Status::Fail)
    }

    /// Reports what came of it.
    pub(super) fn told(&mut self, exercise: &Exercise<'s>) {
        self.report.workload(self.scenario, &exercise.end(self.scenario));
    }
}

impl<'s> Exercise<'s> {
    /// What came of it.
    pub(super) fn end(&self, scenario: &'s Scenario) -> WorkloadEnd<'s> {
        let Self { event, place, text, task } = self;
        WorkloadEnd {
            event,
            place: *place,
            text,
            guest: &scenario.guest(GuestId(task.extent.guest)).name,
            goal: task.extent.goal,
            counters: task.counters,
            working_set: task.working_set(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::super::setup::boot;
    use super::super::{Counters, Options, Status};
    use super::*;
    use crate::scenario::Node;
    use std::path::Path;
    use uvsim_model::Machine;

    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s {
        workload guest=a accesses=50 working-set=1 frames=1 first=9 writes=0
    }";

    /// Drives the workload of the text; `known` is the byte that the guest believes page 9 to be full of.
    fn drive(known: Option<u8>) -> (Result<bool, End>, Counters) {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        let mut report = Json::new(Vec::new());
        let mut runner = Runner::new(&scenario, kernel, Options::default(), &mut report);
        let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
        let Ok(mut begun) = runner.begin_workload(workload) else { panic!("not begun") };
        if let Some(byte) = known {
            begun.task.pretend(0, byte);
        }
        // In pieces, as lanes do.
        let end = loop {
            match runner.advance(&mut begun, 7) {
                Ok(false) => {}
                end => break end,
            }
        };
        (end, begun.task.counters)
    }

    #[test]
    fn a_read_that_gives_something_else_ends_the_workload() {
        let (end, counters) = drive(Some(7));
        let Err(End::Failed(failure, Status::Fail)) = end else { panic!("not noticed") };
        assert_eq!((failure.rule, counters.mismatches, counters.reads, counters.accesses), ("I-14", 1, 1, 1));
        let (end, counters) = drive(Some(0));
        assert!(end.is_ok());
        assert_eq!((counters.mismatches, counters.accesses), (0, 50));
        assert!(drive(None).0.is_ok());
    }
}
