//! Devices of a guest, and what its drivers do with them.

use std::sync::Arc;

use uvsim_model::address::PAGE_SIZE;

use super::document::{BufferId, GuestId};
use super::place::Place;
use super::statement::Source;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Bytes of a slot of the bounce buffer.
pub const SLOT: u64 = 2048;
/// Slots of the bounce buffer of a guest with devices, unless it says otherwise.
pub const DEFAULT_SLOTS: u32 = 64;
/// Pages that hold the rings of a queue.
pub const RING_PAGES: u64 = 2;

/// The devices of a guest and the memory that their drivers share with the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestDevices {
    /// Slots of 2 KiB that data bounce through; there may be none.
    pub slots: u32,
    /// In file order.
    pub devices: Vec<GuestDevice>,
}

impl GuestDevices {
    /// Bytes at the end of guest memory that the drivers share: the bounce buffer, and the rings below it.
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        let queues: u64 = self.devices.iter().map(|device| device.kind.queues()).sum();
        self.pool_bytes() + queues * RING_PAGES * PAGE_SIZE
    }

    /// Bytes of the bounce buffer, whole pages.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        (u64::from(self.slots) * SLOT).next_multiple_of(PAGE_SIZE)
    }
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestDevice {
    /// Where it stands.
    pub place: Place,
    /// The name, unique among the devices of the guest; consoles and entropy sources go by their kind.
    pub name: String,
    /// Whether it offers `VIRTIO_F_ACCESS_PLATFORM`. The drivers of a protected guest use no other.
    pub iommu: bool,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// `disk`: a copy of a file, or zeros. Whole sectors, at least one.
    Disk {
        /// What lies on it at first.
        content: DiskContent,
        /// It refuses writes.
        read_only: bool,
    },
    /// `net`; what it sends comes to `to`, or back to itself.
    Net {
        /// Guest and number of the device at the other end.
        to: Option<(GuestId, usize)>,
    },
    /// `console`
    Console,
    /// `rng`
    Entropy,
}

impl DeviceKind {
    /// How many queues it has.
    #[must_use]
    pub const fn queues(&self) -> u64 {
        match self {
            Self::Disk { .. } | Self::Entropy => 1,
            Self::Net { .. } | Self::Console => 2,
        }
    }

    /// The node in the language.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "disk",
            Self::Net { .. } => "net",
            Self::Console => "console",
            Self::Entropy => "rng",
        }
    }
}

/// What lies on a disk at first. Runs write to a copy of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskContent {
    /// The content of a file, filled up with zeros.
    Bytes(Arc<[u8]>),
    /// This many zeros.
    Zeros(u64),
}

impl DiskContent {
    /// Sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        };
        bytes / SECTOR
    }
}

/// What a driver of a guest does. Devices are numbers in [`GuestDevices::devices`], and of the right kind.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are the operands of the language, under their names")]
pub enum GuestIo {
    /// `guest disk-read`; `to` is where the guest stores the data, inside its own memory.
    DiskRead { disk: usize, sector: u64, count: u32, to: Option<u64>, save: Option<BufferId>, compare: Option<Source> },
    /// `guest disk-write`
    DiskWrite { disk: usize, sector: u64, data: DiskData },
    /// `guest send`
    Send { net: usize, data: Source },
    /// `guest receive`
    Receive { net: usize, save: Option<BufferId>, compare: Option<Source> },
    /// `guest console-write`
    ConsoleWrite { console: usize, text: Vec<u8> },
    /// `guest console-read`
    ConsoleRead { console: usize, save: Option<BufferId>, compare: Option<Source> },
    /// `guest entropy`
    Entropy { rng: usize, length: u16, save: Option<BufferId> },
    /// `guest remove-devices`
    RemoveDevices,
}

impl GuestIo {
    /// Whether bytes are compared.
    #[must_use]
    pub const fn compares(&self) -> bool {
        matches!(
            self,
            Self::DiskRead { compare: Some(_), .. }
                | Self::Receive { compare: Some(_), .. }
                | Self::ConsoleRead { compare: Some(_), .. }
        )
    }
}

/// What the host does at its end of a console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsoleText {
    /// Has text for the guest, which reads it by a [`GuestIo::ConsoleRead`].
    Write(Vec<u8>),
    /// Takes what the guest has written by [`GuestIo::ConsoleWrite`].
    Read {
        /// Where it is kept.
        save: Option<BufferId>,
        /// What it is to be.
        compare: Option<Source>,
    },
}

/// What a disk is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskData {
    /// These bytes, filled up with zeros to whole sectors.
    Given(Source),
    /// What lies in the guest's own memory.
    Memory {
        /// From where on.
        address: u64,
        /// How many sectors.
        count: u32,
    },
}

/// What `check io` looks at; at least one is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IoCheck {
    /// Requests begun.
    pub requests: Option<u64>,
    /// Bytes copied into and out of the bounce buffer.
    pub bounced: Option<u64>,
    /// The most slots that were in use at a time.
    pub slots: Option<u64>,
    /// Pages that the host has pinned for its devices.
    pub pins: Option<u64>,
}
