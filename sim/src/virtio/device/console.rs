//! A console: `virtio-console` with one port.

use std::collections::VecDeque;

use virtio_queue::Queue;
use vm_memory::GuestMemory;

use super::ring::Ring;
use super::{Device, DeviceError, Served};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Columns, rows, ports, a word for emergencies: all of features that are not offered.
const CONFIG: [u8; 12] = [0; 12];
/// Bytes moved at once.
const PIECE: usize = 4096;

/// A console.
#[derive(Debug)]
pub struct Console {
    input: VecDeque<u8>,
    output: Vec<u8>,
    limit: usize,
    lost: u64,
}

impl Console {
    /// A console that keeps `limit` bytes in each direction.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { input: VecDeque::new(), output: Vec::new(), limit, lost: 0 }
    }

    /// Bytes for the guest; [`Self::deliver`] puts them into buffers.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.limit - self.input.len());
        self.input.extend(&bytes[..kept]);
        self.lost += (bytes.len() - kept) as u64;
    }

    /// What the guest has written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// What the guest has written since this was last taken.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Bytes for which there was no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Puts waiting bytes into buffers of the guest, as far as there are any.
    ///
    /// # Errors
    /// The driver's ring or buffers cannot be used.
    pub fn deliver<M: GuestMemory>(&mut self, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(RECEIVE, queues, memory)?;
        while !self.input.is_empty() {
            let Some(mut chain) = ring.take()? else { break };
            let len = self.input.len().min(usize::try_from(chain.writable()).unwrap_or(usize::MAX));
            chain.write(&self.input.make_contiguous()[..len])?;
            ring.give(&chain)?;
            self.input.drain(..len);
        }
        Ok(ring.served())
    }

    fn transmit<M: GuestMemory>(&mut self, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(TRANSMIT, queues, memory)?;
        while let Some(mut chain) = ring.take()? {
            let mut piece = [0; PIECE];
            loop {
                let room = PIECE.min(self.limit.saturating_sub(self.output.len()));
                let bytes = chain.read(&mut piece[..room])?;
                if bytes.is_empty() {
                    break;
                }
                self.output.extend_from_slice(bytes);
            }
            self.lost += chain.readable();
            ring.give(&chain)?;
        }
        Ok(ring.served())
    }
}

impl Device for Console {
    fn device_type(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &CONFIG
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64, 64]
    }

    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        match queue {
            RECEIVE => self.deliver(queues, memory),
            TRANSMIT => self.transmit(queues, memory),
            queue => Err(DeviceError::Ring { queue, source: virtio_queue::Error::QueueNotReady }),
        }
    }
}
