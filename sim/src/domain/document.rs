//! What a domain definition says, with the places where it says so.

use std::path::PathBuf;
use std::sync::Arc;

use crate::scenario::Place;

/// A domain definition, as it is written. Parts that are missing are `None`; whether that is right is for
/// [`check`](super::check()) to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The whole text, for reports.
    pub text: Arc<str>,
    /// The start tag of `<domain>`.
    pub place: Place,
    /// Attribute `type`: the hypervisor.
    pub kind: Option<Given>,
    /// `<name>`.
    pub name: Option<Given>,
    /// `<memory>`.
    pub memory: Option<Quantity>,
    /// `<currentMemory>`.
    pub current_memory: Option<Quantity>,
    /// `<vcpu>`.
    pub vcpus: Option<Vcpus>,
    /// `<os>`.
    pub os: Option<Os>,
    /// `<cpu>`.
    pub cpu: Option<Cpu>,
    /// `<memoryBacking><hugepages>`.
    pub huge_pages: Option<Place>,
    /// `<launchSecurity>`, and its `type`.
    pub launch_security: Option<(Place, Option<Given>)>,
    /// `<devices>`.
    pub devices_place: Option<Place>,
    /// The devices, in file order.
    pub devices: Vec<Device>,
}

/// A text and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The text, unescaped.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// An amount of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quantity {
    /// Number and unit as they are written.
    pub written: Given,
    /// Bytes; none if it is no number with a unit that libvirt knows, or too large.
    pub bytes: Option<u64>,
}

/// The number of vCPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vcpus {
    /// As it is written.
    pub written: Given,
    /// The number, if it is one.
    pub count: Option<u64>,
}

/// `<os>`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Os {
    /// The start tag.
    pub place: Place,
    /// `<type>`: `hvm` under KVM.
    pub kind: Option<Given>,
    /// Attribute `arch` of `<type>`.
    pub arch: Option<Given>,
    /// Attribute `machine` of `<type>`.
    pub machine: Option<Given>,
    /// `<kernel>`.
    pub kernel: Option<Given>,
    /// `<initrd>`.
    pub initrd: Option<Given>,
    /// `<cmdline>`.
    pub cmdline: Option<Given>,
}

/// `<cpu>`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// The start tag.
    pub place: Place,
    /// Attribute `mode`.
    pub mode: Option<Given>,
    /// `<model>`.
    pub model: Option<Given>,
    /// `<feature>` elements.
    pub features: Vec<CpuFeature>,
}

/// `<feature policy='…' name='…'/>`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuFeature {
    /// The start tag.
    pub place: Place,
    /// Attribute `name`.
    pub name: String,
    /// Attribute `policy`; `require` if there is none.
    pub policy: String,
}

/// A child of `<devices>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Name of the element.
    pub element: String,
    /// The start tag.
    pub place: Place,
    /// What it is.
    pub kind: DeviceKind,
    /// How it reaches the guest.
    pub connection: Connection,
    /// `<driver>`.
    pub driver: Option<Driver>,
}

/// What a device is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// `<disk>`
    Disk {
        /// Name in the guest, such as `vda`.
        target: Option<String>,
        /// Attribute `bus` of the target, else what libvirt takes by the name.
        bus: String,
        /// File, block device, volume or the like.
        source: Option<String>,
    },
    /// `<interface>`
    Interface {
        /// Attribute `type`.
        kind: String,
        /// `<model type=…>`; virtio if there is none.
        model: String,
        /// Network, bridge or device of the host.
        source: Option<String>,
        /// Address.
        mac: Option<String>,
    },
    /// `<controller>`
    Controller {
        /// Attribute `type`.
        kind: String,
        /// Attribute `model`.
        model: Option<String>,
    },
    /// `<console>`, `<serial>`, `<channel>`, `<parallel>`, with the type of its target.
    Character(String),
    /// `<memballoon>`, with its model; virtio if there is none.
    Balloon(String),
    /// `<hostdev>`
    Host {
        /// Attribute `type`.
        kind: String,
        /// Attribute `model`.
        model: Option<String>,
    },
    /// `<memory>`, with its model.
    Memory(String),
    /// Anything else, with its model, bus or type if there is one.
    Other(Option<String>),
}

/// How a device reaches the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Connection {
    /// A virtio device of its own.
    Virtio,
    /// Through a virtio controller.
    Through(VirtioController),
    /// By a bus that the machine of s390x does not have, or that protected guests cannot use.
    Foreign,
    /// By a means that needs no storage shared with the host, or none of our concern.
    Other,
}

/// The controllers that carry devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum VirtioController {
    /// `<controller type='scsi'>`
    Scsi,
    /// `<controller type='virtio-serial'>`
    Serial,
}

impl VirtioController {
    /// Attribute `type` of the element.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Scsi => "scsi",
            Self::Serial => "virtio-serial",
        }
    }
}

/// `<driver>` of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// The start tag.
    pub place: Place,
    /// The start tag as it is written.
    pub tag: String,
    /// Attribute `iommu`.
    pub iommu: Option<Given>,
}

impl Domain {
    /// Bytes of memory as the guest gets them: whole MiB, rounded up.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        self.memory.as_ref()?.bytes.and_then(super::units::whole_mebibytes)
    }

    /// Number of vCPUs; 1 if nothing is said.
    #[must_use]
    pub fn vcpu_count(&self) -> Option<u64> {
        self.vcpus.as_ref().map_or(Some(1), |vcpus| vcpus.count)
    }

    /// The name, if it has one.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.name.as_ref().map(|name| name.value.as_str()).filter(|name| !name.is_empty())
    }

    /// The disks.
    pub fn disks(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| matches!(device.kind, DeviceKind::Disk { .. }))
    }

    /// The network interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| matches!(device.kind, DeviceKind::Interface { .. }))
    }

    /// Whether all virtio devices use bounce buffers by default.
    #[must_use]
    pub fn has_protected_launch(&self) -> bool {
        let kind = self.launch_security.as_ref().and_then(|(_, kind)| kind.as_ref());
        kind.is_some_and(|kind| kind.value == "s390-pv")
    }
}

impl Device {
    /// A line about the device, such as `disk vda (virtio) /var/lib/guest.qcow2`.
    #[must_use]
    pub fn summary(&self) -> String {
        let parts = match &self.kind {
            DeviceKind::Disk { target, bus, source } => [target.clone(), Some(format!("({bus})")), source.clone()],
            DeviceKind::Interface { kind, model, source, mac } => {
                let source = source.as_ref().map(|source| format!("{kind} {source}"));
                [Some(format!("({model})")), Some(source.unwrap_or_else(|| kind.clone())), mac.clone()]
            }
            DeviceKind::Controller { kind, model } => [Some(kind.clone()), model.clone(), None],
            DeviceKind::Character(kind) | DeviceKind::Balloon(kind) | DeviceKind::Memory(kind) => {
                [Some(kind.clone()), None, None]
            }
            DeviceKind::Host { kind, model } => [Some(kind.clone()), model.clone(), None],
            DeviceKind::Other(kind) => [kind.clone(), None, None],
        };
        let words: Vec<String> = std::iter::once(self.element.clone()).chain(parts.into_iter().flatten()).collect();
        crate::scenario::shown(&words.join(" "))
    }
}
