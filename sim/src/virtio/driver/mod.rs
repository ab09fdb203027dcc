//! The guest's drivers: those of virtio-drivers for disks and network cards, small ones of the same kind for consoles
//! and entropy. None of them waits: a request is begun, the board lets the device work, and the request is ended.

pub(crate) mod block;
pub(crate) mod console;
pub(crate) mod entropy;
pub(crate) mod hal;
pub(crate) mod network;
pub(crate) mod pool;
pub(crate) mod ring;

use super::port::Port;
use block::Block;
use console::Console;
use entropy::Entropy;
use network::Network;
use ring::Used;
use virtio_drivers::transport::{DeviceType, Transport};

/// A bound driver.
pub(crate) enum Driver {
    Block(Block),
    Network(Box<Network>),
    Console(Console),
    Entropy(Entropy),
}

impl Driver {
    /// Binds the driver for a device.
    ///
    /// # Errors
    /// What the driver says.
    pub(crate) fn bind(port: Port) -> virtio_drivers::Result<Self> {
        match port.device_type() {
            DeviceType::Block => Block::bind(port).map(Self::Block),
            DeviceType::Network => Network::bind(port).map(|network| Self::Network(Box::new(network))),
            DeviceType::Console => Console::bind(port).map(Self::Console),
            DeviceType::EntropySource => Entropy::bind(port).map(Self::Entropy),
            _ => Err(virtio_drivers::Error::Unsupported),
        }
    }
}

impl core::fmt::Debug for Driver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Block(_) => "Block",
            Self::Network(_) => "Network",
            Self::Console(_) => "Console",
            Self::Entropy(_) => "Entropy",
        })
    }
}

/// One request to a device.
pub(crate) trait Request {
    /// Lengths of its buffers, each of which needs a mapping.
    fn lengths(&self) -> Vec<u64>;
    /// The queue that it goes to.
    fn queue(&self) -> u16;
    /// Bytes that it carries, by direction: from the device, to the device.
    fn payload(&self) -> (u64, u64);
    /// Puts it in the queue; the id of its chain.
    ///
    /// # Errors
    /// What the driver says; [`virtio_drivers::Error::Unsupported`] if this is no driver for it.
    fn begin(&mut self, driver: &mut Driver) -> virtio_drivers::Result<u16>;
    /// Takes it out of the queue again, the device having used it; the status byte if the device says that it failed.
    ///
    /// # Errors
    /// What the driver says.
    fn end(&mut self, driver: &mut Driver, used: Used) -> virtio_drivers::Result<Option<u8>>;
}
