//! A network card: `virtio-net`, one pair of queues. Where its frames go is its owner's business.

use std::collections::VecDeque;

use virtio_bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP};
use virtio_queue::Queue;
use vm_memory::GuestMemory;

use super::ring::Ring;
use super::{Device, DeviceError, Served};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// `virtio_net_hdr_v1`, of which the last field is the number of buffers.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// Address, status, pairs of queues, largest unit.
const CONFIG: usize = 12;
/// The longest frame without offloads.
const LONGEST: usize = 1514;

/// A network card.
#[derive(Debug)]
pub struct Network {
    config: [u8; CONFIG],
    waiting: usize,
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl Network {
    /// A card with this address. At most `waiting` frames wait in each direction.
    #[must_use]
    pub fn new(address: [u8; 6], waiting: usize) -> Self {
        let mut config = [0; CONFIG];
        config[..6].copy_from_slice(&address);
        config[6..8].copy_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        config[8..10].copy_from_slice(&1u16.to_le_bytes());
        Self { config, waiting, inbox: VecDeque::new(), outbox: VecDeque::new(), dropped: 0 }
    }

    /// A frame for the guest; [`Self::deliver`] puts it into a buffer. Returns false if it is dropped.
    pub fn push(&mut self, frame: Vec<u8>) -> bool {
        let room = self.inbox.len() < self.waiting && frame.len() <= LONGEST;
        if room {
            self.inbox.push_back(frame);
        } else {
            self.dropped += 1;
        }
        room
    }

    /// The first of the frames that the guest has sent.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// What the guest has sent.
    #[must_use]
    pub fn outbox(&self) -> &VecDeque<Vec<u8>> {
        &self.outbox
    }

    /// Frames that wait for a buffer of the guest.
    #[must_use]
    pub fn inbox(&self) -> &VecDeque<Vec<u8>> {
        &self.inbox
    }

    /// Frames lost: too long, or too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Puts waiting frames into buffers of the guest, as far as there are any.
    ///
    /// # Errors
    /// The driver's ring or buffers cannot be used.
    pub fn deliver<M: GuestMemory>(&mut self, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(RECEIVE, queues, memory)?;
        while let Some(frame) = self.inbox.front() {
            let Some(mut chain) = ring.take()? else { break };
            let fits = chain.writable() >= (HEADER.len() + frame.len()) as u64;
            if fits {
                chain.write(&HEADER)?;
                chain.write(frame)?;
                ring.give(&chain)?;
            } else {
                ring.put_back();
                self.dropped += 1;
            }
            self.inbox.pop_front();
        }
        Ok(ring.served())
    }

    fn transmit<M: GuestMemory>(&mut self, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(TRANSMIT, queues, memory)?;
        while let Some(mut chain) = ring.take()? {
            let mut header = HEADER;
            if chain.read(&mut header)?.len() < HEADER.len() {
                return Err(chain.malformed("its header is shorter than 12 bytes"));
            }
            if chain.readable() <= LONGEST as u64 && self.outbox.len() < self.waiting {
                let mut frame = vec![0; chain.readable() as usize];
                chain.read(&mut frame)?;
                self.outbox.push_back(frame);
            } else {
                self.dropped += 1;
            }
            ring.give(&chain)?;
        }
        Ok(ring.served())
    }
}

impl Device for Network {
    fn device_type(&self) -> u32 {
        1
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256, 256]
    }

    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        match queue {
            RECEIVE => self.deliver(queues, memory),
            TRANSMIT => self.transmit(queues, memory),
            queue => Err(DeviceError::Ring { queue, source: virtio_queue::Error::QueueNotReady }),
        }
    }
}
