//! What is found in a domain definition.

use crate::scenario::Place;

/// Something that its author should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// What is found, in one sentence.
    pub message: String,
    /// What is said under the caret.
    pub label: &'static str,
    /// Why it matters.
    pub reason: String,
    /// What to do about it, where the definition can be changed.
    pub fix: Option<Fix>,
    /// Where.
    pub place: Place,
}

impl Finding {
    /// Whether a guest of this definition would never become protected.
    #[must_use]
    pub fn rules_out_the_guest(&self) -> bool {
        self.severity == Severity::Error && self.rule.concerns_the_guest()
    }
}

/// A change of the definition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fix {
    /// Write this instead.
    Replace(String),
    /// Write this in addition, into the element.
    Add(String),
    /// Take the element out.
    Remove,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// May disappoint, depending on what the definition does not tell.
    Warning,
    /// Keeps the guest, or one of its devices, from working.
    Error,
}

impl Severity {
    /// "error", "warning" or "note".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a domain of a protected guest has to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Rule {
    /// The domain has a name.
    Name,
    /// Its memory is an amount that a guest can have.
    Memory,
    /// Its number of vCPUs is one that a protected guest can have.
    Vcpus,
    /// The hypervisor is KVM.
    Hypervisor,
    /// The architecture is s390x.
    Architecture,
    /// The machine is `s390-ccw-virtio`.
    Machine,
    /// The CPU model has the unpack facility.
    CpuModel,
    /// Memory is not backed by huge pages.
    HugePages,
    /// Launch security, where there is any, is that of s390x.
    LaunchSecurity,
    /// Virtio devices use bounce buffers.
    BounceBuffers,
    /// There is no memory balloon.
    Balloon,
    /// No memory is left to a balloon.
    CurrentMemory,
    /// Devices are virtio devices.
    VirtioOnly,
    /// No device of the host is passed through that a protected guest cannot use.
    PassThrough,
    /// No memory is plugged by virtio.
    MemoryDevice,
    /// The guest's kernel has a pool of bounce buffers.
    Swiotlb,
}

impl Rule {
    /// All rules.
    pub const ALL: [Rule; 16] = [
        Self::Name,
        Self::Memory,
        Self::Vcpus,
        Self::Hypervisor,
        Self::Architecture,
        Self::Machine,
        Self::CpuModel,
        Self::HugePages,
        Self::LaunchSecurity,
        Self::BounceBuffers,
        Self::Balloon,
        Self::CurrentMemory,
        Self::VirtioOnly,
        Self::PassThrough,
        Self::MemoryDevice,
        Self::Swiotlb,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Memory => "memory",
            Self::Vcpus => "vcpus",
            Self::Hypervisor => "hypervisor",
            Self::Architecture => "architecture",
            Self::Machine => "machine",
            Self::CpuModel => "cpu-model",
            Self::HugePages => "huge-pages",
            Self::LaunchSecurity => "launch-security",
            Self::BounceBuffers => "bounce-buffers",
            Self::Balloon => "balloon",
            Self::CurrentMemory => "current-memory",
            Self::VirtioOnly => "virtio-only",
            Self::PassThrough => "pass-through",
            Self::MemoryDevice => "memory-device",
            Self::Swiotlb => "swiotlb",
        }
    }

    /// Whether an error against it keeps the guest as a whole from becoming protected, and not just a device from
    /// working.
    #[must_use]
    pub const fn concerns_the_guest(self) -> bool {
        match self {
            Self::Name
            | Self::Memory
            | Self::Vcpus
            | Self::Hypervisor
            | Self::Architecture
            | Self::Machine
            | Self::CpuModel
            | Self::HugePages
            | Self::LaunchSecurity => true,
            Self::BounceBuffers
            | Self::Balloon
            | Self::CurrentMemory
            | Self::VirtioOnly
            | Self::PassThrough
            | Self::MemoryDevice
            | Self::Swiotlb => false,
        }
    }
}
