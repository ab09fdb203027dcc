//! What is run: a machine with guests, and a list of statements.

use crate::scenario::{GuestState, Verb};
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};
use uvsim_model::uvc::Command;

/// An input: a machine with its guests, and what is done to them.
///
/// A case is always settled: every number names something that there is, so that it can be run and written as a
/// scenario. [`Case::new`] and all that makes cases see to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    pub(super) setup: Setup,
    pub(super) statements: Vec<Deed>,
}

/// The machine and the guests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The machine's seed.
    pub seed: u64,
    /// MiB of storage.
    pub storage: u64,
    /// Host CPUs.
    pub cpus: u16,
    /// The generation.
    pub generation: Generation,
    /// The page cipher.
    pub cipher: CipherProfile,
    /// When an export counts up.
    pub change_detection: ChangeDetection,
    /// Feature "misc", if it is not that of the generation.
    pub misc: Option<bool>,
    /// Refuse image tweaks that do not rise.
    pub strict_tweaks: bool,
    /// Commands that are taken away.
    pub without: Vec<Command>,
    /// The guests, at least one.
    pub guests: Vec<GuestSetup>,
}

/// A guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestSetup {
    /// MiB of memory.
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u16,
    /// What is done before the first statement.
    pub state: GuestState,
    /// What its image holds.
    pub loads: Vec<LoadSetup>,
}

/// A part of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadSetup {
    /// First byte, from the start of guest storage.
    pub address: u64,
    /// The content.
    pub data: LoadContent,
}

/// The content of a part of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoadContent {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many random ones.
    Random(u64),
}

/// A statement: who acts, and what is done to at most one page.
#[derive(Clone, PartialEq, Debug)]
pub struct Deed {
    /// The host CPU or the vCPU that acts.
    pub cpu: u16,
    /// What is done.
    pub verb: Verb,
}

/// The most guests.
pub const MOST_GUESTS: usize = 4;
/// The most vCPUs that a guest begins with.
pub const MOST_VCPUS: u16 = 4;
/// The most host CPUs.
pub const MOST_CPUS: u16 = 8;
/// The most MiB of a guest.
pub const MOST_MEMORY: u64 = 1024;
/// MiB that hold the base area of the Ultravisor at 2 GiB, and little more.
pub const LEAST_STORAGE: u64 = 2200;
/// MiB of storage unless something else is said: twice 2 GiB, for which the host's tables are made fastest.
pub const USUAL_STORAGE: u64 = 4096;
/// The most MiB of storage.
pub const MOST_STORAGE: u64 = 8192;
/// The most statements.
pub const MOST_STATEMENTS: usize = 4096;
/// The most bytes of the image of a guest.
pub(super) const MOST_IMAGE: u64 = 1 << 20;
/// Names for buffers.
pub(super) const BUFFERS: usize = 16;

impl Case {
    /// A case of these parts, with what cannot be so changed to something near.
    #[must_use]
    pub fn new(setup: Setup, statements: Vec<Deed>) -> Self {
        let mut case = Self { setup, statements };
        case.settle();
        case
    }

    /// The machine and the guests.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What is done, in order.
    #[must_use]
    pub fn statements(&self) -> &[Deed] {
        &self.statements
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            storage: USUAL_STORAGE,
            cpus: 2,
            generation: Generation::Z16,
            cipher: CipherProfile::Gcm,
            change_detection: ChangeDetection::Digest,
            misc: None,
            strict_tweaks: false,
            without: Vec::new(),
            guests: vec![GuestSetup::default()],
        }
    }
}

impl Default for GuestSetup {
    fn default() -> Self {
        Self { memory: 1, vcpus: 1, state: GuestState::Running, loads: Vec::new() }
    }
}

impl LoadContent {
    /// Number of bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Random(length) => *length,
        }
    }
}
