//! Device models: rust-vmm's queues over whatever guest memory they are given.

mod block;
mod console;
mod entropy;
mod network;
mod ring;

use std::io;

use virtio_queue::Queue;
use vm_memory::{GuestMemory, GuestMemoryError};

pub use block::{Block, BlockError};
pub use console::Console;
pub use entropy::Entropy;
pub use network::Network;

/// `VIRTIO_F_VERSION_1`.
pub const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_ACCESS_PLATFORM`, in QEMU and libvirt `iommu_platform` or `iommu='on'`: the device reaches memory as
/// the platform lets it. A protected guest uses no device without it.
pub const ACCESS_PLATFORM: u64 = 1 << 33;

/// A device model. It knows its queues, its configuration space and the memory that it is handed, nothing of a guest.
pub trait Device {
    /// The device type of the virtio specification: 1 network, 2 block, 3 console, 4 entropy.
    fn device_type(&self) -> u32;
    /// Feature bits that it offers, transport bits apart.
    fn features(&self) -> u64;
    /// The configuration space.
    fn config(&self) -> &[u8];
    /// Largest size of each queue; as many as it has queues.
    fn queue_sizes(&self) -> &[u16];
    /// Works on what a queue holds, after a notification: at most as many chains as the queue has entries.
    ///
    /// # Errors
    /// The driver's rings or buffers cannot be used. The device needs a reset then.
    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError>;
}

/// Any of the device models.
#[derive(Debug)]
pub enum AnyDevice {
    /// A disk.
    Block(Block),
    /// A network card.
    Network(Network),
    /// A console.
    Console(Console),
    /// A source of random numbers.
    Entropy(Entropy),
}

/// The same expression for whatever device it is.
macro_rules! each {
    ($device:expr, $name:ident => $done:expr) => {
        match $device {
            AnyDevice::Block($name) => $done,
            AnyDevice::Network($name) => $done,
            AnyDevice::Console($name) => $done,
            AnyDevice::Entropy($name) => $done,
        }
    };
}

impl Device for AnyDevice {
    fn device_type(&self) -> u32 {
        each!(self, device => device.device_type())
    }

    fn features(&self) -> u64 {
        each!(self, device => device.features())
    }

    fn config(&self) -> &[u8] {
        each!(self, device => device.config())
    }

    fn queue_sizes(&self) -> &[u16] {
        each!(self, device => device.queue_sizes())
    }

    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        each!(self, device => device.notify(queue, queues, memory))
    }
}

/// What a notification came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Requests answered.
    pub requests: u64,
    /// Bytes that the device has read from buffers.
    pub bytes_read: u64,
    /// Bytes that the device has written to buffers.
    pub bytes_written: u64,
}

/// A device gives up: it sets `DEVICE_NEEDS_RESET`.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A ring cannot be read or written.
    #[error("the device cannot use ring {queue}: {}", reason(source))]
    Ring {
        /// Number of the queue.
        queue: u16,
        /// What the queue says.
        source: virtio_queue::Error,
    },
    /// A buffer cannot be read or written.
    #[error("the device cannot use a buffer of ring {queue}: {source}")]
    Buffer {
        /// Number of the queue.
        queue: u16,
        /// What the access came to.
        source: io::Error,
    },
    /// The driver gave buffers that make no request.
    #[error("a chain of ring {queue} makes no request: {reason}")]
    Malformed {
        /// Number of the queue.
        queue: u16,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What lies behind an error of a queue, which does not tell of accesses what they came to.
fn reason(error: &virtio_queue::Error) -> String {
    use virtio_queue::Error::{GuestMemory, GuestMemoryError as Buffer};
    match error {
        GuestMemory(GuestMemoryError::IOError(error)) | Buffer(GuestMemoryError::IOError(error)) => error.to_string(),
        GuestMemory(error) | Buffer(error) => error.to_string(),
        error => error.to_string(),
    }
}
