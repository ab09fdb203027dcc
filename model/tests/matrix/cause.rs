//! Ways to bring about what the table lists.

use crate::stage::Stage;
use uvsim_model::config::MachineConfig;
use uvsim_model::uvc::Command;

/// What a cause takes for itself. Two causes that need the same thing cannot be there at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A field of the block.
    Field(u64),
    /// The length of the block.
    Length,
    /// The state of the CPU that issues the call.
    Problem,
    /// The immediate fields of the instruction.
    Immediate,
    /// The low bits of the block address.
    Skew,
    /// The page of the header.
    Header,
    /// The page behind the header.
    Rest,
    /// The frame of the block.
    Inside,
    /// Which commands are installed.
    Installed,
    /// A machine that lacks a command without which there are no objects.
    Bare,
    /// Who issues the call.
    Issuer,
    /// Other guests that run.
    Running,
    /// Whether the Ultravisor is initialised.
    Initialised,
    /// Other CPUs of the machine.
    OtherCpus,
    /// The home space.
    Home,
    /// The prefix register.
    Prefix,
    /// The kind of machine.
    Machine,
    /// The record of the page.
    Record,
    /// The frame that is mapped or named.
    Frame,
    /// The protection of its mapping.
    Protection,
    /// Whether a host reaches the frame.
    Access,
    /// CPUs of the configuration.
    Cpus,
    /// Whether a CPU is in SIE.
    Sie,
    /// How far the configuration has come.
    Boot,
    /// The tweak of the page before.
    Tweak,
    /// A frame of an area.
    Area(u8),
    /// Objects that a field names, or that make what it names unusable. Any number of causes may need them.
    Objects,
    /// An image that is being loaded. Any number of causes may need it.
    Loading,
    /// No image, or one that is verified.
    NotLoading,
    /// Bytes of the SE header.
    Bytes(u16),
    /// What an SE header or an image was made from.
    Made(u8),
}

impl Part {
    /// Why two causes that need this exclude each other.
    pub fn reason(self) -> String {
        match self {
            Self::Field(offset) => format!("the field at {offset:#x} has one value"),
            Self::Length => "a block has one length".into(),
            Self::Problem | Self::Immediate | Self::Skew | Self::Header | Self::Rest => {
                "there is one instruction".into()
            }
            Self::Inside => "the block lies in one place".into(),
            Self::Installed => "making the scene takes the command itself".into(),
            Self::Bare => "making the scene takes the command itself".into(),
            Self::Issuer => "a call has one issuer".into(),
            Self::Running => "no guest runs without this command, or before INIT_UV".into(),
            Self::Initialised => "nothing of the kind exists before INIT_UV".into(),
            Self::OtherCpus => "other CPUs operate or do not".into(),
            Self::Home => "there is one home space".into(),
            Self::Prefix => "there is one prefix".into(),
            Self::Machine => "a machine is of one kind".into(),
            Self::Record => "a page has one record".into(),
            Self::Frame => "a frame is in one state".into(),
            Self::Protection => "a mapping is there or not".into(),
            Self::Access => "the host cannot put a block into a frame that it does not reach".into(),
            Self::Cpus => "the CPUs are in one state".into(),
            Self::Sie => "a CPU in SIE belongs to a verified image".into(),
            Self::Boot => "the image is in one state".into(),
            Self::Tweak => "there is one last tweak".into(),
            Self::Area(_) => "the area is in one state".into(),
            Self::Objects => "there are no objects".into(),
            Self::Loading | Self::NotLoading => "only an image that is being loaded can differ from its header".into(),
            Self::Bytes(offset) => format!("the header has one value at {offset:#x}"),
            Self::Made(_) => "the header was made in one way".into(),
        }
    }

    /// Whether it is a state that only an Ultravisor which was initialised can bring about.
    pub fn needs_objects(self) -> bool {
        matches!(
            self,
            Self::Record
                | Self::Frame
                | Self::Cpus
                | Self::Sie
                | Self::Boot
                | Self::Tweak
                | Self::Area(_)
                | Self::Objects
        )
    }

    /// Whether there are no objects then.
    fn forbids_objects(self) -> bool {
        matches!(self, Self::Initialised | Self::Bare)
    }

    /// Rank in the order in which scenes are spoilt: pages, then their mappings, then the configuration.
    fn rank(self) -> u8 {
        match self {
            Self::Record => 0,
            Self::Frame | Self::Area(_) | Self::Tweak => 1,
            Self::Protection => 2,
            Self::Cpus | Self::Boot => 3,
            _ => 4,
        }
    }
}

/// One way to bring about one check.
#[derive(Clone)]
pub struct Cause {
    pub check: &'static str,
    pub parts: Vec<Part>,
    pub machine: fn(&mut MachineConfig),
    pub apply: fn(&mut Stage<'_>),
    /// Brings about this later check as well, though both need the same part.
    pub with: Option<&'static str>,
}

/// A cause that takes these parts.
pub fn cause(check: &'static str, parts: &[Part], apply: fn(&mut Stage<'_>)) -> Cause {
    Cause { check, parts: parts.to_vec(), machine: |_| {}, apply, with: None }
}

/// Two causes in one.
pub fn both(first: &'static str, second: &'static str, parts: &[Part], apply: fn(&mut Stage<'_>)) -> Cause {
    Cause { with: Some(second), ..cause(first, parts, apply) }
}

impl Cause {
    /// On another machine.
    pub fn on(mut self, machine: fn(&mut MachineConfig)) -> Self {
        self.machine = machine;
        self.parts.push(Part::Machine);
        self
    }

    pub fn rank(&self) -> u8 {
        self.parts.iter().map(|part| part.rank()).min().unwrap_or(u8::MAX)
    }

    /// The part that this cause and another both need.
    pub fn clash(&self, other: &Cause) -> Option<Part> {
        let needs = |cause: &Cause| cause.parts.iter().any(|part| part.needs_objects());
        for (without, cause) in [(self, other), (other, self)] {
            if let Some(&part) = without.parts.iter().find(|part| part.forbids_objects())
                && needs(cause)
            {
                return Some(part);
            }
            if without.parts.contains(&Part::NotLoading) && cause.parts.contains(&Part::Loading) {
                return Some(Part::Loading);
            }
        }
        let shared = [Part::Objects, Part::Loading];
        self.parts.iter().copied().find(|part| !shared.contains(part) && other.parts.contains(part))
    }
}

/// A command, a scene in which it succeeds, and ways to spoil that.
pub struct Subject {
    pub command: Command,
    /// Makes what the call needs.
    pub scene: fn(&mut Stage<'_>),
    /// The fields of the call.
    pub fields: fn(&Stage<'_>) -> Vec<crate::scene::Field>,
    /// The kind of machine.
    pub machine: fn(&mut MachineConfig),
    /// Makes what depends on the causes.
    pub finish: fn(&mut Stage<'_>),
    pub causes: Vec<Cause>,
}
