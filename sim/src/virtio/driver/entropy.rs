//! Entropy devices.

use super::hal::{GuestQueue, add_output, pop_output};
use super::ring::Used;
use super::{Driver, Request};
use crate::virtio::port::Port;
use virtio_drivers::device::common::Feature;
use virtio_drivers::transport::Transport;
use virtio_drivers::{Error, Result};

/// Descriptors of the queue.
const SIZE: usize = 8;
const QUEUE: u16 = 0;
/// Most bytes of a request.
pub(crate) const LARGEST: usize = 4096;

/// An entropy device's driver.
pub(crate) struct Entropy {
    port: Port,
    queue: GuestQueue<SIZE>,
}

impl Entropy {
    pub(super) fn bind(mut port: Port) -> Result<Self> {
        port.begin_init(Feature::VERSION_1);
        let queue = GuestQueue::new(&mut port, QUEUE, false, false)?;
        port.finish_init();
        Ok(Self { port, queue })
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        self.port.queue_unset(QUEUE);
    }
}

/// Random bytes wanted: at most [`LARGEST`], at least one. The device may give fewer.
pub(crate) struct Draw {
    pub(crate) bytes: Vec<u8>,
}

impl Draw {
    pub(crate) fn new(len: usize) -> Self {
        Self { bytes: vec![0; len] }
    }
}

impl Request for Draw {
    fn lengths(&self) -> Vec<u64> {
        vec![self.bytes.len() as u64]
    }

    fn queue(&self) -> u16 {
        QUEUE
    }

    fn payload(&self) -> (u64, u64) {
        (self.bytes.len() as u64, 0)
    }

    fn begin(&mut self, driver: &mut Driver) -> Result<u16> {
        let Driver::Entropy(entropy) = driver else { return Err(Error::Unsupported) };
        // The queue asserts it.
        if self.bytes.is_empty() {
            return Err(Error::InvalidParam);
        }
        let id = add_output(&mut entropy.queue, &mut self.bytes)?;
        if entropy.queue.should_notify() {
            entropy.port.notify(QUEUE);
        }
        Ok(id)
    }

    fn end(&mut self, driver: &mut Driver, used: Used) -> Result<Option<u8>> {
        let Driver::Entropy(entropy) = driver else { return Err(Error::Unsupported) };
        pop_output(&mut entropy.queue, used.id, &mut self.bytes)?;
        self.bytes.truncate(used.length as usize);
        Ok(None)
    }
}
