//! Lanes, and what they must not have in common.

use std::collections::BTreeMap;

use kdl::{KdlDocument, KdlEntry, KdlNode};
use miette::SourceSpan;

use super::super::document::{BufferId, Lane, Node, Parallel, Replay, Workload};
use super::super::effects::{Stretch, overlap};
use super::super::place::Place;
use super::super::reader::NodeReader;
use super::super::syntax::shown;
use super::Decoder;

/// How lanes are written.
pub(super) const LANES: &str = "write: parallel { lane { ... }; lane { ... }; }";

/// A lane while it is being read.
pub(super) struct LaneReading {
    cpu: u16,
    uses: Vec<BufferUse>,
}

/// A buffer that a lane names.
struct BufferUse {
    buffer: BufferId,
    span: SourceSpan,
    saves: bool,
}

impl LaneReading {
    /// The host CPU of the lane.
    pub(super) const fn cpu(&self) -> u16 {
        self.cpu
    }
}

impl Decoder<'_, '_> {
    /// `parallel { lane { ... } ... }`
    pub(super) fn parallel(&mut self, node: &KdlNode) -> Option<Parallel> {
        if self.lane.is_some() {
            let help = "lanes are not nested: give `parallel` more lanes";
            return self.reports.error(node.name().span(), "`parallel` inside a lane".to_owned(), "nested", help);
        }
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let children = reader.children().map(KdlDocument::nodes).unwrap_or_default();
        if children.is_empty() {
            self.reports.report(reader.span(), "`parallel` has no lanes".to_owned(), "lanes expected", LANES);
        }
        reader.finish(&mut self.reports);
        let mut lanes = Vec::new();
        let mut read = Vec::new();
        for child in children {
            if child.name().value() != "lane" {
                let message = format!("`{}` belongs into a lane", shown(child.name().value()));
                self.reports.report(child.name().span(), message, "outside of a lane", LANES);
                continue;
            }
            let cpu = u16::try_from(read.len()).unwrap_or(u16::MAX);
            if cpu >= self.machine.cpus {
                self.too_many(child, cpu);
                break;
            }
            self.lane = Some(LaneReading { cpu, uses: Vec::new() });
            lanes.extend(self.lane(child));
            read.extend(self.lane.take());
        }
        self.shared_buffers(&read);
        self.shared_pages(&lanes);
        Some(Parallel { place, lanes })
    }

    fn lane(&mut self, node: &KdlNode) -> Option<Lane> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let nodes = self.body(&mut reader);
        reader.finish(&mut self.reports);
        if node.children().is_some_and(|children| children.nodes().is_empty()) {
            let help = "remove it, or give it something to do";
            return self.reports.error(node.name().span(), "an empty lane".to_owned(), "nothing to do", help);
        }
        Some(Lane { place, nodes: nodes? })
    }

    fn too_many(&mut self, node: &KdlNode, lane: u16) {
        self.reports.report(
            node.name().span(),
            format!("the machine has no CPU {lane} for this lane"),
            "one too many",
            format!("lane k runs on host CPU k, and `machine` has `cpus {}`", self.machine.cpus),
        );
    }

    /// Notes that the lane being read, if any, names a buffer.
    pub(super) fn note_use(&mut self, buffer: BufferId, entry: &KdlEntry, saves: bool) {
        if let Some(lane) = &mut self.lane {
            lane.uses.push(BufferUse { buffer, span: entry.span(), saves });
        }
    }

    /// A workload or replay compares what it loads with what it has stored: no other lane may have the guest store into
    /// its pages.
    fn shared_pages(&mut self, lanes: &[Lane]) {
        let effects: Vec<Effects> = lanes.iter().map(|lane| Effects::of(&lane.nodes)).collect();
        for (number, lane) in effects.iter().enumerate() {
            for (other_number, other) in effects.iter().enumerate().filter(|(other, _)| *other != number) {
                // Of two that meet, the later one is wrong.
                let read_back = other.read_back.iter().filter(|_| other_number < number);
                for (pages, place) in &lane.read_back {
                    if let Some((_, first)) = read_back.clone().find(|(theirs, _)| overlap(pages, theirs)) {
                        self.meet(*place, *first);
                    }
                }
                for (pages, place) in &lane.stored {
                    if let Some((_, first)) = other.read_back.iter().find(|(theirs, _)| overlap(pages, theirs)) {
                        self.meet(*place, *first);
                    }
                }
            }
        }
    }

    fn meet(&mut self, place: Place, other: Place) {
        self.reports.report_with(
            place.span,
            "another lane reads these pages back".to_owned(),
            "stores into them",
            "a workload or replay compares what it loads with what it has stored: take other pages, or the same lane",
            Some((other, "read back here")),
        );
    }

    /// What one lane saves, no other may name: what is in it would depend on the order.
    fn shared_buffers(&mut self, lanes: &[LaneReading]) {
        let mut saved: BTreeMap<BufferId, BTreeMap<u16, SourceSpan>> = BTreeMap::new();
        for lane in lanes {
            for named in lane.uses.iter().filter(|named| named.saves) {
                saved.entry(named.buffer).or_default().entry(lane.cpu).or_insert(named.span);
            }
        }
        for lane in lanes {
            for named in &lane.uses {
                let others = saved.get(&named.buffer).into_iter().flatten().filter(|(cpu, _)| **cpu != lane.cpu);
                // Where both save, the later one is wrong.
                let wrong = |span: &&SourceSpan| !named.saves || span.offset() < named.span.offset();
                let Some(&other) = others.map(|(_, span)| span).find(wrong) else { continue };
                let message = format!("another lane saves `{}`", shown(&self.buffers[named.buffer.0].name));
                let place = self.reports.place(other);
                self.reports.report_with(
                    named.span,
                    message,
                    "whose bytes?",
                    "what they are would depend on the order: use another name, or look at it behind the lanes",
                    Some((place, "saved here")),
                );
            }
        }
    }
}

/// What a lane does to the memory of guests.
#[derive(Default)]
struct Effects {
    /// Workloads and replays.
    read_back: Vec<(Stretch, Place)>,
    /// Statements by which guests store.
    stored: Vec<(Stretch, Place)>,
}

impl Effects {
    fn of(nodes: &[Node]) -> Self {
        let mut effects = Self::default();
        effects.add(nodes);
        effects
    }

    fn add(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Statement(statement) => {
                    self.stored.extend(statement.verb.guest_stores().map(|pages| (pages, statement.place)));
                }
                Node::Repeat(repeat) => self.add(&repeat.nodes),
                Node::Workload(Workload { place, .. }) | Node::Replay(Replay { place, .. }) => {
                    self.read_back.extend(node.exercised().map(|pages| (pages, *place)));
                }
                Node::Parallel(_) => {}
            }
        }
    }
}
