//! From a KDL document to a [`Scenario`]: names are resolved, rules are checked, all errors collected.

mod devices;
mod guest;
mod io;
mod life;
mod machine;
mod operand;
mod parallel;
mod replay;
mod step;
mod uvc;
mod verb;

#[cfg(test)]
pub(super) use uvc::RESERVED;
pub(crate) use verb::verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kdl::{KdlDocument, KdlNode};
use miette::SourceSpan;
use uvsim_model::config::MachineConfig;

use super::document::{BufferId, Guest, GuestId, Scenario, Step};
use super::error::{MAX_ERRORS, ScenarioError};
use super::files::DataFiles;
use super::place::Place;
use super::reader::{NodeReader, Reports};
use super::syntax::{self, shown};
use crate::domain::Domain;
use parallel::LaneReading;

/// The version of the language.
const VERSION: u64 = 1;

/// Decodes a text. On failure: the errors, and how many more there are.
pub(super) fn scenario(
    path: &Path,
    text: &Arc<str>,
    files: &mut dyn DataFiles,
    domain: Option<&Arc<Domain>>,
) -> Result<Scenario, (Vec<ScenarioError>, usize)> {
    let mut reports = Reports::new(text);
    let document = parsed(text, &mut reports)?;
    let mut decoder = Decoder::new(reports, files, domain.cloned());
    let head = decoder.document(&document);
    match head {
        Some((head, steps)) if decoder.reports.errors.is_empty() => Ok(Scenario {
            path: path.to_owned(),
            text: Arc::clone(text),
            name: head.name,
            place: head.place,
            version: 1,
            about: head.about,
            source: head.source,
            machine: decoder.machine,
            guests: decoder.guests,
            steps,
            buffers: decoder.buffers.into_iter().map(|buffer| buffer.name).collect(),
        }),
        _ => Err((decoder.reports.errors, decoder.reports.unreported)),
    }
}

/// Decodes a `machine` node, or what stands in one, alone. On failure: the errors, and how many more there are.
pub(super) fn machine(text: &str, files: &mut dyn DataFiles) -> Result<MachineConfig, (Vec<ScenarioError>, usize)> {
    let mut reports = Reports::new(text);
    let document = parsed(text, &mut reports)?;
    let mut decoder = Decoder { machine_alone: true, ..Decoder::new(reports, files, None) };
    match document.nodes() {
        [node] if node.name().value() == "machine" => decoder.machine(node),
        _ => {
            let mut node = KdlNode::new("machine");
            node.set_children(document);
            decoder.machine(&node);
        }
    }
    if decoder.reports.errors.is_empty() {
        return Ok(decoder.machine);
    }
    Err((decoder.reports.errors, decoder.reports.unreported))
}

fn parsed(text: &str, reports: &mut Reports<'_>) -> Result<KdlDocument, (Vec<ScenarioError>, usize)> {
    syntax::document(text, MAX_ERRORS).map_err(|errors| {
        for error in errors {
            reports.report(error.span, error.message, &error.label, error.help.unwrap_or_default().as_str());
        }
        (std::mem::take(&mut reports.errors), reports.unreported)
    })
}

struct Decoder<'a, 'f> {
    reports: Reports<'a>,
    files: &'f mut dyn DataFiles,
    /// What the first guest is set up by.
    domain: Option<Arc<Domain>>,
    machine: MachineConfig,
    guests: Vec<Guest>,
    guest_names: BTreeMap<String, GuestId>,
    buffers: Vec<Buffer>,
    buffer_names: BTreeMap<String, BufferId>,
    /// Accesses as long as a buffer, to be checked once all lengths are known.
    crossings: Vec<Crossing>,
    /// Something in the file checks something.
    checked: bool,
    /// vCPUs that an earlier line creates.
    added_vcpus: BTreeSet<(GuestId, u16)>,
    /// The lane that is being read.
    lane: Option<LaneReading>,
    /// Network devices that name another one, which may come later.
    links: Vec<devices::Link>,
    /// There is no scenario: the machine is for somebody else's host code.
    machine_alone: bool,
}

/// A name that `save=` gives.
struct Buffer {
    name: String,
    /// The length, if all that save it agree.
    length: Option<u16>,
}

struct Crossing {
    buffer: BufferId,
    offset: u16,
    span: SourceSpan,
}

/// What the `scenario` node says.
struct Head {
    name: String,
    place: Place,
    about: Option<String>,
    source: Option<String>,
}

const TOP: [&str; 4] = ["scenario", "machine", "guest", "step"];

impl<'a, 'f> Decoder<'a, 'f> {
    fn new(reports: Reports<'a>, files: &'f mut dyn DataFiles, domain: Option<Arc<Domain>>) -> Self {
        Self {
            reports,
            files,
            domain,
            machine: MachineConfig::default(),
            guests: Vec::new(),
            guest_names: BTreeMap::new(),
            buffers: Vec::new(),
            buffer_names: BTreeMap::new(),
            crossings: Vec::new(),
            checked: false,
            added_vcpus: BTreeSet::new(),
            lane: None,
            links: Vec::new(),
            machine_alone: false,
        }
    }
}

impl Decoder<'_, '_> {
    fn document(&mut self, document: &KdlDocument) -> Option<(Head, Vec<Step>)> {
        self.order(document.nodes());
        let mut nodes: Vec<(usize, &KdlNode)> =
            document.nodes().iter().filter_map(|node| Some((rank(node)?, node))).collect();
        // Guests after a step are an error, but the steps may name them.
        nodes.sort_by_key(|(rank, _)| *rank);
        let mut head = None;
        let mut machine = None;
        let mut steps = Vec::new();
        for (rank, node) in nodes {
            match rank {
                0 if head.is_none() => head = Some(self.head(node)),
                0 => self.duplicate(node, document, "a file holds one scenario: put the second into a file of its own"),
                1 if machine.replace(node.span()).is_none() => self.machine(node),
                1 => self.duplicate(node, document, "put the children into one `machine` block"),
                2 => self.guest(node),
                _ => steps.extend(self.step(node)),
            }
        }
        self.join();
        self.crossings();
        if self.domain.is_some() && self.guests.is_empty() && self.reports.errors.is_empty() {
            let message = "the file has no guest that the domain could set up".to_owned();
            self.reports.report((0, 0).into(), message, "no guest", "run the domain without a scenario");
        }
        if self.reports.errors.is_empty() && !self.checked {
            let span = document.nodes().first().map_or((0, 0).into(), |node| node.name().span());
            self.reports.report(
                span,
                "nothing is checked in this file".to_owned(),
                "checks nothing",
                "write an `expect=`, a comparison in a read, a `check`, a `workload` or a `replay`",
            );
        }
        Some((head??, steps))
    }

    /// Reports nodes that are unknown or out of order, and a file without `scenario`.
    fn order(&mut self, nodes: &[KdlNode]) {
        let mut latest: Option<(usize, &KdlNode)> = None;
        for node in nodes {
            let Some(rank) = rank(node) else {
                self.unknown_node(node);
                continue;
            };
            match latest {
                Some((before, other)) if rank < before => {
                    let (name, place) = (other.name().value(), self.reports.place(other.name().span()));
                    self.reports.report_with(
                        node.name().span(),
                        format!("`{}` must stand before `{name}`", TOP[rank]),
                        "too late",
                        "the order is: scenario, machine, guests, steps",
                        Some((place, "must come after it")),
                    );
                }
                _ => latest = Some((rank, node)),
            }
        }
        if !nodes.iter().any(|node| rank(node) == Some(0)) {
            self.reports.report(
                (0, 0).into(),
                "the file has no `scenario` node".to_owned(),
                "expected first",
                "begin with: scenario \"What this shows\"",
            );
        }
    }

    fn unknown_node(&mut self, node: &KdlNode) {
        let (name, span) = (node.name().value(), node.name().span());
        if step::INSIDE.contains(&name) {
            self.reports.report(
                span,
                format!("`{name}` belongs inside a step"),
                "outside of a step",
                "put it into: step \"What happens\" { ... }",
            );
            return;
        }
        let help = self.reports.suggestion(name, TOP);
        self.reports.report(span, format!("unknown node `{}`", shown(name)), "unknown", help);
    }

    fn duplicate(&mut self, node: &KdlNode, document: &KdlDocument, help: &str) {
        let name = node.name().value();
        let first = document.nodes().iter().find(|first| first.name().value() == name);
        let first = first.map(|first| (self.reports.place(first.name().span()), "first here"));
        self.reports.report_with(node.name().span(), format!("a second `{name}` node"), "again here", help, first);
    }

    fn head(&mut self, node: &KdlNode) -> Option<Head> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let name = reader.argument("a name", &mut self.reports);
        let name = name.and_then(|entry| self.reports.text(entry, "a name"));
        if let Some(entry) = reader.property("version")
            && let Some(version) = self.reports.number(entry, 0, u64::MAX)
            && version != VERSION
        {
            self.reports.report(
                entry.span(),
                format!("version {version} of the scenario language is not known here"),
                "unknown version",
                "this program reads version 1",
            );
        }
        let mut texts = [None, None];
        for child in reader.children().map(KdlDocument::nodes).unwrap_or_default() {
            let names = ["about", "source"];
            let Some(which) = names.iter().position(|name| *name == child.name().value()) else {
                self.unknown_child(child, &names);
                continue;
            };
            let text = self.single(child, "a text").and_then(|entry| self.reports.text(entry, "a text"));
            self.once(&mut texts[which], child, text);
        }
        reader.finish(&mut self.reports);
        let [about, source] = texts.map(|text| text.and_then(|(_, text)| text.map(str::to_owned)));
        Some(Head { name: name?.to_owned(), place: self.reports.place(node.name().span()), about, source })
    }

    /// The one argument of a child that has nothing else.
    fn single<'k>(&mut self, child: &'k KdlNode, what: &str) -> Option<&'k kdl::KdlEntry> {
        let mut reader = NodeReader::new(child, &mut self.reports);
        let entry = reader.argument(what, &mut self.reports);
        reader.finish(&mut self.reports);
        entry
    }

    /// Keeps the value of a child that may be given once.
    fn once<T>(&mut self, slot: &mut Option<(Place, T)>, child: &KdlNode, value: T) {
        let span = child.name().span();
        match slot {
            Some((first, _)) => {
                let message = format!("`{}` is given twice", child.name().value());
                self.reports.report_with(
                    span,
                    message,
                    "again here",
                    "remove one of them",
                    Some((*first, "first here")),
                );
            }
            None => *slot = Some((self.reports.place(span), value)),
        }
    }

    fn unknown_child(&mut self, child: &KdlNode, names: &[&str]) {
        let name = child.name().value();
        let help = self.reports.suggestion(name, names.iter().copied());
        self.reports.report(child.name().span(), format!("`{}` is not known here", shown(name)), "unknown", help);
    }

    /// Accesses that take their length from a buffer must not cross the page.
    fn crossings(&mut self) {
        for crossing in std::mem::take(&mut self.crossings) {
            if let Some(length) = self.buffers[crossing.buffer.0].length
                && u32::from(crossing.offset) + u32::from(length) > operand::PAGE
            {
                self.reports.report(
                    crossing.span,
                    format!("{length} bytes from offset {} on cross the end of the page", crossing.offset),
                    "crosses the page",
                    "a page has 4096 bytes",
                );
            }
        }
    }
}

fn rank(node: &KdlNode) -> Option<usize> {
    TOP.iter().position(|name| *name == node.name().value())
}
