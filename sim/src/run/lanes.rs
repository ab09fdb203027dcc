//! Lanes take turns: the seed says whose turn it is, and a turn is one statement, or a slice of a workload or replay.

use super::runner::holds_statement;
use super::workload::Exercise;
use super::{Runner, Status, Turn};
use crate::scenario::{Node, Parallel};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

/// Accesses of a workload or replay in one turn.
const SLICE: u64 = 256;

impl<'s> Runner<'s, '_, '_> {
    /// Runs lanes until none has anything left to do, or a statement fails.
    pub(super) fn run_parallel(&mut self, parallel: &'s Parallel) -> Result<(), Status> {
        let seed = Seed(self.kernel.machine().config().seed);
        let stream = seed.substream(Purpose::Lanes, self.parallels);
        self.parallels = self.parallels.wrapping_add(1);
        self.report.parallel(self.scenario, parallel, false);
        let done = self.take_turns(parallel, stream);
        self.kernel.serving = None;
        self.report.joined();
        done
    }

    fn take_turns(&mut self, parallel: &'s Parallel, mut stream: SeedStream) -> Result<(), Status> {
        let mut lanes: Vec<TurnTaker<'s>> =
            (0..).zip(&parallel.lanes).map(|(number, lane)| TurnTaker::new(number, &lane.nodes)).collect();
        loop {
            lanes.retain(|lane| !lane.is_done());
            let chosen = (u128::from(stream.next_u64()) * lanes.len() as u128) >> 64;
            let Some(lane) = lanes.get_mut(chosen as usize) else { return Ok(()) };
            self.kernel.serving = Some(lane.number);
            self.take_turn(lane)?;
        }
    }

    fn take_turn(&mut self, lane: &mut TurnTaker<'s>) -> Result<(), Status> {
        let exercise = match lane.under_way.take() {
            Some(exercise) => exercise,
            None => {
                let Some((node, again)) = lane.course.step() else { return Ok(()) };
                lane.again = again;
                self.report.turn(lane.turn());
                let (place, begun) = match node {
                    Node::Workload(workload) => (workload.place, self.begin_workload(workload)),
                    Node::Replay(replay) => (replay.place, Ok(self.begin_replay(replay))),
                    other => return self.run_node(other),
                };
                self.counts.statements += 1;
                self.counts.checks += 1;
                match begun {
                    Ok(exercise) => exercise,
                    Err(end) => return self.settle(place, Err(end)),
                }
            }
        };
        self.report.turn(lane.turn());
        self.take_slice(lane, exercise)
    }

    fn take_slice(&mut self, lane: &mut TurnTaker<'s>, mut exercise: Exercise<'s>) -> Result<(), Status> {
        let done = self.advance(&mut exercise, SLICE);
        if let Ok(false) = done {
            lane.under_way = Some(exercise);
            return Ok(());
        }
        self.told(&exercise);
        self.settle(exercise.place, done.map(drop))
    }
}

/// A lane that takes turns.
struct TurnTaker<'s> {
    number: u16,
    course: Course<'s>,
    /// A workload or replay that is not done, and whether what is under way is a repetition.
    under_way: Option<Exercise<'s>>,
    again: bool,
}

impl<'s> TurnTaker<'s> {
    fn new(number: u16, nodes: &'s [Node]) -> Self {
        Self { number, course: Course::new(nodes), under_way: None, again: false }
    }

    fn is_done(&self) -> bool {
        self.under_way.is_none() && self.course.is_over()
    }

    fn turn(&self) -> Turn {
        Turn { lane: self.number, again: self.again }
    }
}

/// How far a lane has come.
pub(super) struct Course<'s> {
    /// The node to come, and whether it is a repetition; none at the end.
    next: Option<(&'s Node, bool)>,
    /// Where in the lane, and in the loops of it.
    levels: Vec<Level<'s>>,
}

/// The nodes of a lane or loop.
struct Level<'s> {
    nodes: &'s [Node],
    at: usize,
    /// Passes after this one.
    left: u64,
    again: bool,
}

impl<'s> Course<'s> {
    pub(super) fn new(nodes: &'s [Node]) -> Self {
        let mut course = Self { next: None, levels: Vec::new() };
        course.enter(nodes, 1);
        course.next = course.find();
        course
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The node that is due, and whether it is a repetition; the one after it is looked for.
    pub(super) fn step(&mut self) -> Option<(&'s Node, bool)> {
        let due = self.next.take();
        self.next = self.find();
        due
    }

    fn find(&mut self) -> Option<(&'s Node, bool)> {
        loop {
            let level = self.levels.last_mut()?;
            match level.nodes.get(level.at) {
                None if level.left > 0 => {
                    level.left -= 1;
                    level.at = 0;
                    level.again = true;
                }
                None => {
                    self.levels.pop();
                }
                Some(Node::Repeat(repeat)) => {
                    level.at += 1;
                    self.enter(&repeat.nodes, repeat.count);
                }
                Some(node) => {
                    level.at += 1;
                    return Some((node, self.levels.iter().any(|level| level.again)));
                }
            }
        }
    }

    /// Loops may be long; those around nothing need no time.
    fn enter(&mut self, nodes: &'s [Node], count: u64) {
        if holds_statement(nodes) {
            self.levels.push(Level { nodes, at: 0, left: count.saturating_sub(1), again: false });
        }
    }
}
