//! A source of random numbers: `virtio-rng`. It gives a stream of the machine's seed, so that runs repeat.

use uvsim_model::seed::SeedStream;
use virtio_queue::Queue;
use vm_memory::GuestMemory;

use super::ring::Ring;
use super::{Device, DeviceError, Served};

/// Bytes given to one request at most; the driver asks again.
const MOST: usize = 4096;

/// A source of random numbers.
#[derive(Debug)]
pub struct Entropy {
    stream: SeedStream,
}

impl Entropy {
    /// A source that gives the bytes of this stream.
    #[must_use]
    pub fn new(stream: SeedStream) -> Self {
        Self { stream }
    }
}

impl Device for Entropy {
    fn device_type(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(queue, queues, memory)?;
        while let Some(mut chain) = ring.take()? {
            let mut bytes = [0; MOST];
            let len = MOST.min(usize::try_from(chain.writable()).unwrap_or(usize::MAX));
            let bytes = &mut bytes[..len];
            self.stream.fill(bytes);
            chain.write(bytes)?;
            ring.give(&chain)?;
        }
        Ok(ring.served())
    }
}
