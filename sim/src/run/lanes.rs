//! Lanes take turns: the seed says whose turn it is, and a turn is one statement.

use super::runner::holds_statement;
use super::{Runner, Status, Turn};
use crate::scenario::{Node, Parallel};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

impl<'s> Runner<'s, '_, '_> {
    /// Runs lanes until none has anything left to do, or a statement fails.
    pub(super) fn run_parallel(&mut self, parallel: &'s Parallel) -> Result<(), Status> {
        let seed = Seed(self.kernel.machine().config().seed);
        let stream = seed.substream(Purpose::Lanes, self.parallels);
        self.parallels = self.parallels.wrapping_add(1);
        self.report.parallel(self.scenario, parallel);
        let done = self.take_turns(parallel, stream);
        self.kernel.serving = None;
        self.report.joined();
        done
    }

    fn take_turns(&mut self, parallel: &'s Parallel, mut stream: SeedStream) -> Result<(), Status> {
        let mut lanes: Vec<Course<'s>> =
            (0..).zip(&parallel.lanes).map(|(number, lane)| Course::new(number, &lane.nodes)).collect();
        loop {
            lanes.retain(|lane| lane.next.is_some());
            let chosen = (u128::from(stream.next_u64()) * lanes.len() as u128) >> 64;
            let Some(lane) = lanes.get_mut(chosen as usize) else { return Ok(()) };
            let Some((node, again)) = lane.step() else { continue };
            self.kernel.serving = Some(lane.number);
            self.report.turn(Turn { lane: lane.number, again });
            self.run_node(node)?;
        }
    }
}

/// How far a lane has come.
struct Course<'s> {
    number: u16,
    /// The turn to come, and whether it is a repetition; none at the end.
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
    fn new(number: u16, nodes: &'s [Node]) -> Self {
        let mut course = Self { number, next: None, levels: Vec::new() };
        course.enter(nodes, 1);
        course.next = course.find();
        course
    }

    /// The turn that is due; the one after it is looked for.
    fn step(&mut self) -> Option<(&'s Node, bool)> {
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
