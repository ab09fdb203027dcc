//! What I/O comes to.

use super::Fault;
use crate::virtio::device::Served;
use crate::virtio::view::Refusal;

/// What a request came to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IoOutcome {
    /// Done.
    Done,
    /// The device cannot or may not do it, or does not keep to the protocol.
    IoRefused {
        /// Why.
        message: String,
        /// The access that the host was refused, if that is why.
        refusal: Option<Refusal>,
    },
    /// The bounce buffer has no room, in Linux's words.
    NoBounceSlot {
        /// What Linux says.
        message: String,
    },
    /// There is no such device, or no driver for it.
    NoDevice {
        /// Why.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The device says that the request has failed.
    IoError {
        /// Its status byte: 1 is an I/O error, 2 an unsupported request.
        status: u8,
    },
    /// Beyond the end of the disk.
    OutOfRange {
        /// First sector.
        sector: u64,
        /// Number of sectors.
        count: u64,
        /// Sectors that there are.
        capacity: u64,
    },
}

impl IoOutcome {
    /// There is no device of this number.
    pub(super) fn nothing_there(device: usize) -> Self {
        Self::NoDevice { message: format!("the guest has no device {device}"), help: None }
    }
}

impl core::fmt::Display for IoOutcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::IoRefused { message, .. } | Self::NoBounceSlot { message } | Self::NoDevice { message, .. } => {
                f.write_str(message)
            }
            Self::IoError { status: 1 } => f.write_str("the device reports an I/O error (status 1)"),
            Self::IoError { status: 2 } => f.write_str("the device does not support the request (status 2)"),
            Self::IoError { status } => write!(f, "the device reports status {status}"),
            Self::OutOfRange { sector, count, capacity } => {
                let sectors = if *count == 1 { "1 sector" } else { &format!("{count} sectors") };
                write!(f, "{sectors} from {sector} on: the disk has {capacity}")
            }
        }
    }
}

/// What a notification came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// What the device has done.
    pub served: Served,
    /// Pages that the host has pinned.
    pub pins: u64,
    /// Accesses that the machine has refused to the device.
    pub refusals: Vec<Refusal>,
    /// Why the device has given up, if it has.
    pub error: Option<String>,
}

impl Service {
    /// Why the guest cannot go on with the device. A refused store may have no one to tell but this: a device that
    /// is refused its very last one takes everything for done.
    pub(super) fn fault(self) -> Option<Fault> {
        let refusal = self.refusals.first().copied();
        let reason = match (self.error, refusal) {
            (None, None) => return None,
            (None, Some(refusal)) => refusal.to_string(),
            (Some(error), Some(refusal)) if !error.contains(&refusal.to_string()) => format!("{error}: {refusal}"),
            (Some(error), _) => error,
        };
        Some(Fault::NeedsReset { reason, refusal })
    }
}

/// What a guest's I/O has come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoStatistics {
    /// Requests begun.
    pub requests: u64,
    /// Bytes that the guest has read from devices.
    pub bytes_read: u64,
    /// Bytes that the guest has written to devices.
    pub bytes_written: u64,
    /// Copies into the bounce buffer.
    pub bounce_in: u64,
    /// Bytes of them.
    pub bounce_in_bytes: u64,
    /// Copies out of the bounce buffer.
    pub bounce_out: u64,
    /// Bytes of them.
    pub bounce_out_bytes: u64,
    /// Slots that there are.
    pub slots: u64,
    /// Most slots in use at a time.
    pub slots_peak: u64,
    /// Number of a request, from 1, and slots in use while the device had it.
    pub slot_series: Vec<(u64, u64)>,
    /// Pages pinned by the host.
    pub pin_calls: u64,
    /// Pages unpinned because the guest takes them back.
    pub unpin_calls: u64,
    /// Pages shared.
    pub share_calls: u64,
    /// Pages taken back.
    pub unshare_calls: u64,
    /// Requests that found no slot.
    pub no_slot: u64,
    /// Accesses refused to devices.
    pub refusals: u64,
}
