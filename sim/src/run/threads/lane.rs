//! One lane on its thread.

use super::super::contents::Contents;
use super::super::execute::Failed;
use super::super::io::Devices;
use super::super::lanes::Course;
use super::super::workload::Exercise;
use super::super::{Counts, End, Options, Report, Runner, StatementEnd, Status, Verdict, WorkloadEnd, outcome};
use crate::kernel::{Crew, FaultAnswers, Kernel, Observed, Operates};
use crate::pressure::Host;
use crate::run::Failure;
use crate::scenario::effects::Guests;
use crate::scenario::{GuestId, Node, Outcome, Pages, Place, Scenario, ScenarioErrors, Statement, Step, Verb, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestCpu, SieExit};
use uvsim_verify::Difference;

/// Accesses of a workload or replay before its lane looks whether it is to stop.
const SLICE: u64 = 4096;
/// Workloads and replays of a lane before their random sub-streams could be those of the next lane.
const NUMBERS: u32 = 1 << 20;

/// What all lanes share.
pub(super) struct Shared<'s, 'm> {
    crew: Crew<'m>,
    scenario: &'s Scenario,
    options: Options,
    buffers: Vec<Vec<u8>>,
    workloads: u32,
    /// A lane has failed: the others end before their next statement.
    stop: AtomicBool,
    /// Nobody answers guest faults: `host faults stop` holds for all lanes.
    unanswered: AtomicBool,
}

/// What a lane tells.
pub(super) struct Told<'s> {
    pub(super) lane: u16,
    pub(super) again: bool,
    pub(super) what: What<'s>,
}

pub(super) enum What<'s> {
    Statement(&'s Statement, Observed),
    Exercise(WorkloadEnd<'s>),
    Failed(Place, End),
}

/// How a lane has ended.
#[derive(Default)]
pub(super) struct LaneEnd {
    pub(super) buffers: Vec<Vec<u8>>,
    pub(super) contents: Contents,
    /// Workloads and replays begun.
    pub(super) workloads: u32,
}

/// A lane that is to run.
pub(super) struct LaneRun<'c, 's, 'm> {
    pub(super) number: u16,
    pub(super) shared: &'c Shared<'s, 'm>,
    pub(super) told: SyncSender<Told<'s>>,
}

impl<'s, 'm> Shared<'s, 'm> {
    /// Takes the guests from the runner.
    pub(super) fn new(runner: &mut Runner<'s, 'm, '_>) -> Self {
        Self {
            crew: runner.kernel.split(),
            scenario: runner.scenario,
            options: runner.options,
            buffers: runner.buffers.clone(),
            workloads: runner.workloads,
            stop: AtomicBool::new(false),
            unanswered: AtomicBool::new(runner.faults == FaultAnswers::Stop),
        }
    }

    /// The guests, and what is to be done about their faults.
    pub(super) fn into_crew(self) -> (Crew<'m>, FaultAnswers) {
        let answers = self.answers();
        (self.crew, answers)
    }

    fn answers(&self) -> FaultAnswers {
        if self.unanswered.load(Ordering::Relaxed) { FaultAnswers::Stop } else { FaultAnswers::Linux }
    }
}

/// A lane that ends in a panic stops the others as well.
struct Alarm<'c>(&'c AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl<'s, 'm> LaneRun<'_, 's, 'm> {
    /// Runs the lane on the calling thread.
    pub(super) fn run(self, nodes: &'s [Node]) -> LaneEnd {
        let shared = self.shared;
        let _alarm = Alarm(&shared.stop);
        let kernel = match shared.crew.kernel(self.number) {
            Ok(kernel) => kernel,
            Err(stop) => {
                self.fail(false, shared.scenario.place, outcome(stop).map_or_else(|end| end, |_| End::TimeOut));
                return LaneEnd { buffers: shared.buffers.clone(), ..LaneEnd::default() };
            }
        };
        let first = shared.workloads.wrapping_add((u32::from(self.number) + 1).wrapping_mul(NUMBERS));
        let mut nobody = Nobody;
        let mut runner = Runner {
            scenario: shared.scenario,
            kernel,
            options: shared.options,
            report: &mut nobody,
            faults: FaultAnswers::Linux,
            buffers: shared.buffers.clone(),
            counts: Counts::default(),
            workloads: first,
            parallels: 0,
            devices: Devices::none(),
            unordered: true,
            side: None,
        };
        let mut contents = Contents::default();
        let mut course = Course::new(nodes);
        while let Some((node, again)) = course.step() {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            if let Err((place, end)) = self.node(&mut runner, &mut contents, node, again) {
                self.fail(again, place, end);
                break;
            }
        }
        let workloads = runner.workloads.wrapping_sub(first);
        LaneEnd { buffers: runner.buffers, contents, workloads }
    }

    fn node(
        &self,
        runner: &mut Runner<'s, 'm, '_>,
        contents: &mut Contents,
        node: &'s Node,
        again: bool,
    ) -> Result<(), (Place, End)> {
        match node {
            Node::Statement(statement) => {
                let got = self.statement(runner, contents, statement).map_err(|end| (statement.place, end))?;
                self.tell(again, What::Statement(statement, got));
                Ok(())
            }
            Node::Workload(workload) => {
                let done = runner.begin_workload(workload);
                let done = done.and_then(|exercise| self.exercise(runner, contents, exercise, again));
                done.map_err(|end| (workload.place, end))
            }
            Node::Replay(replay) => {
                let exercise = runner.begin_replay(replay);
                self.exercise(runner, contents, exercise, again).map_err(|end| (replay.place, end))
            }
            // Loops are unrolled, and lanes are not nested.
            Node::Repeat(_) | Node::Parallel(_) => Ok(()),
        }
    }

    /// Whoever waits for the guest of a long statement gets it between two pages of a write alone.
    fn statement(
        &self,
        runner: &mut Runner<'s, 'm, '_>,
        contents: &mut Contents,
        statement: &'s Statement,
    ) -> Result<Observed, End> {
        runner.kernel.in_time().or_else(|stop| outcome(stop).map(drop))?;
        runner.kernel.machine().advance_clock(1000);
        runner.faults = self.shared.answers();
        let done = match &statement.verb {
            Verb::GuestWrite { pages, write } => self.write(runner, contents, statement, *pages, write),
            // The machine is at rest when all lanes are through: then.
            Verb::CheckInvariants => Ok(Observed::OK),
            verb => {
                let done = self.hold(runner, statement, |runner| runner.execute(statement));
                contents.disturbed(verb);
                done
            }
        };
        let _ = runner.kernel.take_transitions();
        if let Verb::HostFaults { .. } = statement.verb {
            self.shared.unanswered.store(runner.faults == FaultAnswers::Stop, Ordering::Relaxed);
        }
        match done {
            Ok(got) => Ok(got),
            // What it should have come to is not compared.
            Err((got, End::Failed(_, Status::Fail))) => Ok(got.unwrap_or(Observed::OK)),
            Err((_, end)) => Err(end),
        }
    }

    /// `guest write`, page by page.
    fn write(
        &self,
        runner: &mut Runner<'s, 'm, '_>,
        contents: &mut Contents,
        statement: &Statement,
        pages: Pages,
        write: &Write,
    ) -> Result<Observed, Failed> {
        let bytes = runner.bytes(&write.data).to_vec();
        runner.fits(write.offset, bytes.len())?;
        let mut last = Observed::OK;
        for page in pages.iter() {
            runner.in_time()?;
            let (guest, vcpu) = (pages.guest.0, statement.cpu);
            let stored = self
                .hold(runner, statement, |runner| runner.guest_store(guest, vcpu, page.0, write.offset.into(), &bytes));
            last = stored.or_else(outcome).map_err(|end| (None, end))?;
            match last.outcome {
                Outcome::Ok => contents.stored(guest, page.0, write.offset.into(), &bytes, statement.place),
                _ => contents.forget(&(pages.guest, page.0..page.0.saturating_add(1))),
            }
        }
        Ok(last)
    }

    /// Does something to the guests that a statement is about, by the vCPU that acts.
    fn hold<R>(
        &self,
        runner: &mut Runner<'s, 'm, '_>,
        statement: &Statement,
        act: impl FnOnce(&mut Runner<'s, 'm, '_>) -> R,
    ) -> R {
        let crew = &self.shared.crew;
        let guests = match statement.verb.guests() {
            Guests::Some(guests) => guests,
            Guests::All => (0..crew.guests()).collect(),
        };
        match statement.verb.acting_guest() {
            Some(GuestId(guest)) => crew.hold_vcpu(runner, (guest, statement.cpu), &guests, act),
            None => crew.hold(runner, &guests, act),
        }
    }

    fn exercise(
        &self,
        runner: &mut Runner<'s, 'm, '_>,
        contents: &mut Contents,
        mut exercise: Exercise<'s>,
        again: bool,
    ) -> Result<(), End> {
        let mut host = LaneHost { crew: &self.shared.crew, kernel: &mut runner.kernel };
        let done = loop {
            match exercise.task.advance(&mut host, SLICE, &mut |_, _| ()) {
                Ok(false) if self.shared.stop.load(Ordering::Relaxed) => return Ok(()),
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(ended) => break Err(ended),
            }
        };
        let _ = runner.kernel.take_transitions();
        self.tell(again, What::Exercise(exercise.end(self.shared.scenario)));
        done.map_err(|ended| runner.ended(ended))?;
        let extent = exercise.task.extent;
        let pages = (GuestId(extent.guest), extent.first..extent.first + extent.pages);
        contents.exercised(exercise.place, &pages, exercise.task.into_memory());
        Ok(())
    }

    fn fail(&self, again: bool, place: Place, end: End) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.tell(again, What::Failed(place, end));
    }

    fn tell(&self, again: bool, what: What<'s>) {
        // Somebody hears until the last lane is through.
        let _ = self.told.send(Told { lane: self.number, again, what });
    }
}

/// A kernel among others, and what they share.
struct LaneHost<'c, 'k, 'm> {
    crew: &'c Crew<'m>,
    kernel: &'k mut Kernel<'m>,
}

impl<'m> Host<'m> for LaneHost<'_, '_, 'm> {
    const CONTENDED: bool = true;

    fn kernel(&mut self) -> &mut Kernel<'m> {
        self.kernel
    }

    fn hold<R>(&mut self, guest: usize, act: impl FnOnce(&mut Kernel<'m>) -> R) -> R {
        self.crew.hold(self.kernel, &[guest], act)
    }

    fn run<R>(&mut self, guest: usize, act: impl FnOnce(&mut GuestCpu<'_, 'm>) -> R) -> Result<R, SieExit> {
        self.crew.run(self.kernel, guest, act)
    }
}

impl Operates for Runner<'_, '_, '_> {
    fn with_kernel(&mut self, act: &mut dyn FnMut(&mut Kernel<'_>)) {
        act(&mut self.kernel);
    }
}

/// Hears nothing: lanes tell the thread that started them.
struct Nobody;

impl Report for Nobody {
    fn scenario(&mut self, _: &Scenario, _: &MachineConfig) {}
    fn step(&mut self, _: &Scenario, _: &Step) {}
    fn statement(&mut self, _: &Scenario, _: &StatementEnd<'_>) {}
    fn failure(&mut self, _: &Scenario, _: Place, _: &Failure) {}
    fn difference(&mut self, _: &Scenario, _: Place, _: &Difference) {}
    fn workload(&mut self, _: &Scenario, _: &WorkloadEnd<'_>) {}
    fn error(&mut self, _: &Scenario, _: Place, _: &str, _: Option<&str>) {}
    fn argument(&mut self, _: &str, _: Option<&str>) {}
    fn unusable(&mut self, _: &ScenarioErrors) {}
    fn verdict(&mut self, _: &Verdict) {}
}
