//! Lanes on threads: they run at the same time, for load. Who comes first is up to the scheduler, so what a lane expects
//! of an outcome is not compared. What is: every load of a workload or replay, and afterwards the invariants and what
//! the guests last stored.

mod lane;

use super::contents::{Contents, Disturbed};
use super::{End, Failure, Runner, StatementEnd, Status, Turn, outcome, words};
use crate::kernel::{FaultAnswers, Observed, PageBytes, Stop};
use crate::scenario::{GuestId, Lane, Node, Outcome, Parallel, Place, Verb};
use lane::{LaneEnd, LaneRun, Shared, Told, What};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use uvsim_model::address::{GuestAddress, PAGE_SIZE, PageIndex};

/// Reports that may wait to be told.
const WAITING: usize = 1024;

impl<'s> Runner<'s, '_, '_> {
    /// Runs each lane on a thread of its own, until all are through or one fails.
    pub(super) fn run_threads(&mut self, parallel: &'s Parallel) -> Result<(), Status> {
        if let Some((place, message)) = parallel.lanes.iter().find_map(|lane| self.unfit(&lane.nodes)) {
            return self.settle(place, Err(End::Unusable(message)));
        }
        self.report.parallel(self.scenario, parallel, true);
        let watched = std::mem::replace(&mut self.kernel.watch, false);
        let done = self.at_once(parallel).and_then(|lanes| self.look_at_all(parallel, &lanes));
        self.kernel.watch = watched;
        let _ = self.kernel.take_transitions();
        self.report.joined();
        done
    }

    /// What cannot be done while other CPUs operate, and what devices do: they belong to one thread.
    fn unfit(&self, nodes: &[Node]) -> Option<(Place, String)> {
        nodes.iter().find_map(|node| match node {
            Node::Statement(statement) => {
                let why = match &statement.verb {
                    Verb::HostResetMachine => "all other CPUs would have to stop",
                    Verb::GuestIo { .. } | Verb::HostConsole { .. } | Verb::CheckIo { .. } => {
                        "devices do not run on threads"
                    }
                    Verb::HostStart { guest } if self.scenario.guest(*guest).devices.is_some() => {
                        "the guest has devices, and they do not run on threads"
                    }
                    _ => return None,
                };
                Some((statement.place, format!("not in a lane with --threads: {why}")))
            }
            Node::Repeat(repeat) => self.unfit(&repeat.nodes),
            Node::Workload(_) | Node::Replay(_) | Node::Parallel(_) => None,
        })
    }

    /// Runs the lanes; what each of them knows at the end.
    fn at_once(&mut self, parallel: &'s Parallel) -> Result<Vec<Contents>, Status> {
        let shared = Shared::new(self);
        let (sender, receiver) = sync_channel(WAITING);
        let (status, ends) = thread::scope(|scope| {
            let start = |(number, lane): (u16, &'s Lane)| {
                let lane_run = LaneRun { number, shared: &shared, told: sender.clone() };
                scope.spawn(move || lane_run.run(&lane.nodes))
            };
            let threads: Vec<_> = (0..).zip(&parallel.lanes).map(start).collect();
            // The channel ends with the last lane.
            drop(sender);
            let status = self.hear(&receiver);
            (status, threads.into_iter().map(|thread| thread.join().ok()).collect::<Vec<_>>())
        });
        let (crew, answers) = shared.into_crew();
        self.kernel.rejoin(crew);
        self.faults = answers;
        let Some(ends) = ends.into_iter().collect::<Option<Vec<LaneEnd>>>() else {
            let message = "error of the simulator: a lane has panicked".to_owned();
            return Err(
                status.worse(self.settle(parallel.place, Err(End::Unusable(message))).err().unwrap_or_default())
            );
        };
        let before = self.buffers.clone();
        let mut contents = Vec::new();
        for end in ends {
            self.workloads = self.workloads.wrapping_add(end.workloads);
            for (number, saved) in end.buffers.into_iter().enumerate().filter(|(at, saved)| *saved != before[*at]) {
                self.buffers[number] = saved;
            }
            contents.push(end.contents);
        }
        if status == Status::Pass { Ok(contents) } else { Err(status) }
    }

    /// Tells what lanes do, until all are through.
    fn hear(&mut self, receiver: &Receiver<Told<'s>>) -> Status {
        let mut status = Status::Pass;
        for Told { lane, again, what } in receiver {
            self.report.turn(Turn { lane, again });
            match what {
                What::Statement(statement, got) => {
                    self.counts.statements += 1;
                    let (transitions, note) = (Vec::new(), None);
                    let end = StatementEnd { statement, got, passed: true, compared: false, transitions, note };
                    self.report.statement(self.scenario, &end);
                }
                What::Exercise(end) => {
                    self.counts.statements += 1;
                    self.counts.checks += 1;
                    self.report.workload(self.scenario, &end);
                }
                What::Failed(place, end) => {
                    status = status.worse(self.settle(place, Err(end)).err().unwrap_or_default());
                }
            }
        }
        status
    }

    /// All lanes are through: the invariants, and what the guests last stored.
    fn look_at_all(&mut self, parallel: &'s Parallel, lanes: &[Contents]) -> Result<(), Status> {
        if let Err(violation) = self.kernel.machine().check_invariants() {
            let (rule, message) = (violation.invariant, violation.to_string());
            let failure = Failure { page: None, rule, message, state: Vec::new() };
            return self.settle(parallel.place, Err(End::Failed(Box::new(failure), Status::Broken)));
        }
        let disturbed: Vec<Disturbed> = parallel.lanes.iter().map(|lane| Disturbed::by(&lane.nodes)).collect();
        let mut pages = 0;
        for (number, contents) in lanes.iter().enumerate() {
            let others = disturbed.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, by)| by);
            self.report.turn(Turn { lane: number as u16, again: false });
            for known in contents.pages().filter(|known| others.clone().all(|by| !by.touches(known))) {
                pages += 1;
                let compared = self.compare(&known);
                self.settle(known.place, compared)?;
            }
        }
        self.counts.checks += pages;
        self.report.contents(self.scenario, parallel, pages);
        Ok(())
    }

    fn compare(&mut self, known: &super::contents::KnownPage<'_>) -> Result<(), End> {
        let mut bytes = Box::new([0; PAGE_SIZE as usize]);
        let got = self.read_back(known.guest, known.page, &mut bytes).or_else(outcome)?;
        let page = Some((GuestId(known.guest), PageIndex(known.page)));
        let (rule, message) = if got.outcome != Outcome::Ok {
            (got.rule, format!("the guest cannot read the page back: {}", words::detailed(&got)))
        } else if let Some(offset) = known.difference(&bytes) {
            ("I-14", format!("offset {offset:#x}: not what the guest last wrote"))
        } else {
            return Ok(());
        };
        Err(End::Failed(Box::new(self.failure(page, rule, message)), Status::Fail))
    }

    /// The guest loads a page. One that had no frame has none afterwards.
    fn read_back(&mut self, guest: usize, page: u64, bytes: &mut PageBytes) -> Result<Observed, Stop> {
        self.kernel.in_time()?;
        let resident = self.kernel.mapped(guest, page).is_some();
        let at = GuestAddress(page * PAGE_SIZE);
        self.kernel.with_faults(guest, 0, FaultAnswers::Linux, None, |kernel| {
            kernel.act(guest, 0, |cpu| cpu.load(at, &mut bytes[..]))
        })?;
        if !resident {
            self.kernel.page_out(self.kernel.own_cpu(), guest, page)?;
        }
        Ok(Observed::OK)
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::super::setup::boot;
    use super::super::{Options, Runner};
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;
    use uvsim_model::Machine;

    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s {
        parallel { lane { guest write a:9 text=abc; }; lane { host export a:10; host write a:11 text=x; }; }
        check invariants
    }";

    /// What looking at the contents comes to, after the guest has stored `abc` into page 9, and what is told.
    fn look(known: impl FnOnce(&mut Contents, Place)) -> (Result<(), Status>, String) {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        let mut out = Vec::new();
        let mut report = Json::new(&mut out);
        let mut runner = Runner::new(&scenario, kernel, Options::default(), &mut report);
        runner.guest_store(0, 0, 9, 0, b"abc").unwrap();
        runner.kernel.page_out(0, 0, 9).unwrap();
        let Node::Parallel(parallel) = &scenario.steps[0].nodes[0] else { panic!("no lanes") };
        let mut contents = Contents::default();
        known(&mut contents, parallel.place);
        let done = runner.look_at_all(parallel, &[contents, Contents::default()]);
        assert_eq!(runner.kernel.mapped(0, 9), None, "the page has gone back to where it was");
        (done, String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_a_guest_has_stored_is_read_back() {
        let (done, told) = look(|contents, place| contents.stored(0, 9, 0, b"abc", place));
        assert_eq!(done, Ok(()));
        assert!(told.contains("\"event\":\"contents\"") && told.contains("\"pages\":1"), "{told}");
    }

    #[test]
    fn something_else_is_a_failure() {
        let (done, told) = look(|contents, place| {
            contents.stored(0, 9, 16, b"xyz", place);
        });
        assert_eq!(done, Err(Status::Fail));
        assert!(told.contains("\"page\":\"a:9\",\"rule\":\"I-14\"") && told.contains("offset 0x10"), "{told}");
    }

    #[test]
    fn what_another_lane_may_have_changed_is_not_compared() {
        let (done, told) = look(|contents, place| contents.stored(0, 11, 0, b"abc", place));
        assert_eq!(done, Ok(()));
        assert!(told.contains("\"pages\":0"), "{told}");
    }
}
