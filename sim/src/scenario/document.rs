//! A scenario, resolved: guests and buffers are numbers, data files are bytes, defaults are filled in.

use std::path::PathBuf;
use std::sync::Arc;

use uvsim_model::config::MachineConfig;

use super::io::GuestDevices;
use super::place::Place;
use super::statement::Statement;
use crate::domain::Domain;
use crate::image::SeImage;
use crate::paging::PolicyKind;
use crate::trace::PageTrace;

/// The number of a guest in [`Scenario::guests`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct GuestId(pub usize);

/// The number of a saved buffer in [`Scenario::buffers`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BufferId(pub usize);

/// One scenario. Whatever is in here keeps the rules of the language: nothing needs a second check.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The whole text, for reports.
    pub text: Arc<str>,
    /// NAME of the scenario node.
    pub name: String,
    /// Where the scenario node stands.
    pub place: Place,
    /// Version of the language.
    pub version: u32,
    /// Child `about`.
    pub about: Option<String>,
    /// Child `source`.
    pub source: Option<String>,
    /// The machine; its seed is that of the file.
    pub machine: MachineConfig,
    /// The guests, in file order.
    pub guests: Vec<Guest>,
    /// The steps, in file order.
    pub steps: Vec<Step>,
    /// The names that `save=` gives, by [`BufferId`].
    pub buffers: Vec<String>,
}

impl Scenario {
    /// A guest of this scenario.
    #[must_use]
    pub fn guest(&self, id: GuestId) -> &Guest {
        &self.guests[id.0]
    }

    /// The name of a buffer of this scenario.
    #[must_use]
    pub fn buffer(&self, id: BufferId) -> &str {
        &self.buffers[id.0]
    }
}

/// How far a guest is brought before the first step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum GuestState {
    /// Created, loaded, verified and started.
    #[default]
    Running,
    /// A configuration with its CPUs.
    Created,
    /// Nothing yet.
    None,
}

/// A guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Where it stands.
    pub place: Place,
    /// The name, unique.
    pub name: String,
    /// Bytes of guest storage: a multiple of 1 MiB.
    pub memory: u64,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u16,
    /// What is done before the first step.
    pub state: GuestState,
    /// What its image holds, in file order; inside the guest, not overlapping, never empty.
    pub loads: Vec<Load>,
    /// The image that it starts from, instead of one that is made from the loads.
    pub image: Option<Arc<SeImage>>,
    /// The domain definition that it is set up by.
    pub domain: Option<Arc<Domain>>,
    /// Its devices, if it has any.
    pub devices: Option<GuestDevices>,
}

/// The most vCPUs that a guest may have: CPU numbers end at 256.
pub const MAX_VCPUS: u16 = 257;

impl Guest {
    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.memory / uvsim_model::address::PAGE_SIZE
    }
}

/// A part of a guest's image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Where it stands.
    pub place: Place,
    /// First byte, from the start of guest storage.
    pub address: u64,
    /// The content.
    pub data: LoadData,
}

/// The content of a load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoadData {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This many bytes of random stream 6 (D77).
    Random(u64),
}

impl LoadData {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Random(length) => *length,
        }
    }

    /// Never: the language has no empty load.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A step.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Where it stands.
    pub place: Place,
    /// The title.
    pub title: String,
    /// What is run, in order.
    pub nodes: Vec<Node>,
}

/// What a step or a `repeat` consists of.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// A single statement; boxed, since most of a scenario is statements of very different sizes.
    Statement(Box<Statement>),
    /// A loop.
    Repeat(Repeat),
    /// A paging workload.
    Workload(Workload),
    /// A recorded trace.
    Replay(Replay),
    /// Lanes that take turns.
    Parallel(Parallel),
}

/// `parallel { lane { ... } lane { ... } }`. Lane k acts by host CPU k, which exists. There is none in a lane, and no
/// lane names a buffer that another one saves.
#[derive(Clone, PartialEq, Debug)]
pub struct Parallel {
    /// Where it stands.
    pub place: Place,
    /// The lanes, at least one; none is empty.
    pub lanes: Vec<Lane>,
}

/// A lane: its nodes are run in order, but other lanes have turns in between.
#[derive(Clone, PartialEq, Debug)]
pub struct Lane {
    /// Where it stands.
    pub place: Place,
    /// What is run, in order.
    pub nodes: Vec<Node>,
}

impl Scenario {
    /// Whether there are lanes anywhere.
    #[must_use]
    pub fn has_lanes(&self) -> bool {
        self.steps.iter().any(|step| hold_lanes(&step.nodes))
    }
}

fn hold_lanes(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Parallel(_) => true,
        Node::Repeat(repeat) => hold_lanes(&repeat.nodes),
        Node::Statement(_) | Node::Workload(_) | Node::Replay(_) => false,
    })
}

/// `repeat N { ... }`
#[derive(Clone, PartialEq, Debug)]
pub struct Repeat {
    /// Where it stands.
    pub place: Place,
    /// How often, at least once.
    pub count: u64,
    /// What is repeated.
    pub nodes: Vec<Node>,
}

/// The order in which a workload touches its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Pattern {
    /// All pages alike.
    #[default]
    Uniform,
    /// Zipf's law with exponent 1.
    Zipf,
    /// One after the other.
    Sequential,
    /// Sequential and zipf passes in turn.
    Scan,
}

/// A paging workload.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// Where it stands.
    pub place: Place,
    /// The text as written, single-spaced.
    pub text: String,
    /// Who accesses.
    pub guest: GuestId,
    /// Number of accesses, at least 1.
    pub accesses: u64,
    /// Pages touched, at least 1; `first + working_set` lies in the guest.
    pub working_set: u64,
    /// Pages of them that the host keeps resident, at least 1.
    pub frames: u64,
    /// The first page.
    pub first: u64,
    /// Share of writes, 0 to 1.
    pub writes: f64,
    /// The order.
    pub pattern: Pattern,
    /// Its own seed; else that of the machine.
    pub seed: Option<u64>,
    /// Who goes when a frame is wanted.
    pub policy: PolicyKind,
    /// Accesses within which a page of the working set was touched last.
    pub window: u64,
}

/// A recorded trace of memory accesses that a guest repeats.
#[derive(Clone, PartialEq, Debug)]
pub struct Replay {
    /// Where it stands.
    pub place: Place,
    /// The text as written, single-spaced.
    pub text: String,
    /// Who accesses.
    pub guest: GuestId,
    /// The trace; never empty. All its pages, from `first` on, lie in the guest.
    pub trace: Arc<PageTrace>,
    /// Pages of them that the host keeps resident, at least 1.
    pub frames: u64,
    /// The page that stands for the trace's first.
    pub first: u64,
    /// Who goes when a frame is wanted.
    pub policy: PolicyKind,
    /// Accesses within which a page of the working set was touched last.
    pub window: u64,
}
