//! Consoles.

use super::hal::{GuestQueue, add_input, add_output, pop_input, pop_output};
use super::ring::{Ring, Used};
use super::{Driver, Request};
use crate::virtio::port::Port;
use virtio_drivers::device::common::Feature;
use virtio_drivers::transport::Transport;
use virtio_drivers::{Error, Result};

/// Descriptors of each queue.
const SIZE: usize = 8;
/// What the host has for the guest comes in on this queue.
pub(crate) const INPUT: u16 = 0;
const OUTPUT: u16 = 1;
/// Most bytes of a request.
pub(crate) const LARGEST: usize = 4096;
/// Bytes of the buffer that waits for input: a slot of the bounce buffer.
pub(crate) const BUFFER: usize = 2048;
/// The most buffers of input that are taken at once: a host may go on for ever.
pub(crate) const BUFFERS_A_READ: usize = 1024;

/// A console's driver.
pub(crate) struct Console {
    port: Port,
    output: GuestQueue<SIZE>,
    input: GuestQueue<SIZE>,
    /// The buffer that waits for input. None does before the guest reads.
    waiting: Option<(u16, Vec<u8>)>,
}

impl Console {
    pub(super) fn bind(mut port: Port) -> Result<Self> {
        port.begin_init(Feature::VERSION_1);
        let input = GuestQueue::new(&mut port, INPUT, false, false)?;
        let output = GuestQueue::new(&mut port, OUTPUT, false, false)?;
        port.finish_init();
        Ok(Self { port, output, input, waiting: None })
    }

    /// Whether a buffer waits for input.
    pub(crate) fn listens(&self) -> bool {
        self.waiting.is_some()
    }

    /// Has a buffer wait for input. The caller has made sure that it can be mapped.
    pub(crate) fn listen(&mut self, ring: &mut Ring) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        let id = add_output(&mut self.input, &mut buffer)?;
        ring.begin(id);
        self.waiting = Some((id, buffer));
        Ok(())
    }

    /// Takes what has come in.
    pub(crate) fn collect(&mut self, ring: &mut Ring) -> Vec<u8> {
        let Some(used) = ring.next() else { return Vec::new() };
        let Some((id, mut buffer)) = self.waiting.take() else { return Vec::new() };
        match pop_output(&mut self.input, id, &mut buffer) {
            Ok(_) => buffer.truncate(used.length as usize),
            Err(_) => buffer.clear(),
        }
        buffer
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.port.queue_unset(INPUT);
        self.port.queue_unset(OUTPUT);
    }
}

/// Text to be written, at most [`LARGEST`] bytes, at least one.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl Request for Text<'_> {
    fn lengths(&self) -> Vec<u64> {
        vec![self.0.len() as u64]
    }

    fn queue(&self) -> u16 {
        OUTPUT
    }

    fn payload(&self) -> (u64, u64) {
        (0, self.0.len() as u64)
    }

    fn begin(&mut self, driver: &mut Driver) -> Result<u16> {
        let Driver::Console(console) = driver else { return Err(Error::Unsupported) };
        // The queue asserts it.
        if self.0.is_empty() {
            return Err(Error::InvalidParam);
        }
        let id = add_input(&mut console.output, self.0)?;
        if console.output.should_notify() {
            console.port.notify(OUTPUT);
        }
        Ok(id)
    }

    fn end(&mut self, driver: &mut Driver, used: Used) -> Result<Option<u8>> {
        let Driver::Console(console) = driver else { return Err(Error::Unsupported) };
        pop_input(&mut console.output, used.id, self.0).map(|_| None)
    }
}
