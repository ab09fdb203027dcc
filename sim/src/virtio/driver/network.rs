//! Network cards.

use super::hal::{NetworkDriver, begin_receive, begin_send, end_receive, end_send};
use super::ring::{Ring, Used};
use super::{Driver, Request};
use crate::virtio::port::Port;
use std::collections::VecDeque;
use virtio_drivers::{Error, Result};

/// Frames come in on this queue.
pub(crate) const RECEIVE: u16 = 0;
/// Frames go out on this one.
const TRANSMIT: u16 = 1;
/// Buffers that wait for frames, and the bytes of each: a slot of the bounce buffer.
pub(crate) const BUFFERS: usize = 8;
pub(crate) const BUFFER: usize = 2048;
/// Bytes of `virtio_net_hdr_v1`.
const HEADER: usize = 12;

/// A network card's driver with its waiting buffers.
pub(crate) struct Network {
    driver: NetworkDriver,
    waiting: Vec<(u16, Vec<u8>)>,
    received: VecDeque<Vec<u8>>,
}

impl Network {
    pub(super) fn bind(port: Port) -> Result<Self> {
        let driver = NetworkDriver::new(port)?;
        Ok(Self { driver, waiting: Vec::new(), received: VecDeque::new() })
    }

    /// The oldest frame that has come in.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.received.pop_front()
    }

    /// How many buffers are missing.
    pub(crate) fn missing(&self) -> usize {
        BUFFERS - self.waiting.len()
    }

    /// Offers another buffer. The caller has made sure that it can be mapped.
    pub(crate) fn offer(&mut self, ring: &mut Ring) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        let id = begin_receive(&mut self.driver, &mut buffer)?;
        ring.begin(id);
        self.waiting.push((id, buffer));
        Ok(())
    }

    /// Takes the frames that have come in; how many bytes they have. One that is shorter than its header is dropped.
    pub(crate) fn collect(&mut self, ring: &mut Ring) -> u64 {
        let mut bytes = 0;
        while let Some(used) = ring.next() {
            let Some(at) = self.waiting.iter().position(|(id, _)| *id == used.id) else { continue };
            let (id, mut buffer) = self.waiting.swap_remove(at);
            if let Ok((header, length)) = end_receive(&mut self.driver, id, &mut buffer) {
                let frame = buffer.get(header..header + length);
                bytes += frame.map_or(0, |frame| frame.len() as u64);
                self.received.extend(frame.map(<[u8]>::to_vec));
            }
        }
        bytes
    }
}

/// A frame to be sent.
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self([&[0; HEADER], bytes].concat())
    }
}

impl Request for Frame {
    fn lengths(&self) -> Vec<u64> {
        vec![self.0.len() as u64]
    }

    fn queue(&self) -> u16 {
        TRANSMIT
    }

    fn payload(&self) -> (u64, u64) {
        (0, (self.0.len() - HEADER) as u64)
    }

    fn begin(&mut self, driver: &mut Driver) -> Result<u16> {
        let Driver::Network(network) = driver else { return Err(Error::Unsupported) };
        begin_send(&mut network.driver, &self.0)
    }

    fn end(&mut self, driver: &mut Driver, used: Used) -> Result<Option<u8>> {
        let Driver::Network(network) = driver else { return Err(Error::Unsupported) };
        end_send(&mut network.driver, used.id, &self.0).map(|_| None)
    }
}
