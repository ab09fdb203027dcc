//! A device model that works on the host's view of a guest.

use super::{HostDevice, IoAt, Service};
use crate::kernel::{Kernel, Stop};
use crate::virtio::device::{AnyDevice, Device};
use crate::virtio::view::HostView;
use bumpalo::Bump;
use virtio_queue::Queue;

/// A device model with what it needs to see the storage that a guest shares.
#[derive(Debug)]
pub struct Hosted {
    /// The model.
    pub device: AnyDevice,
    /// What a network card sends comes back to it.
    pub loop_back: bool,
    copies: Bump,
}

impl Hosted {
    /// A device on its own.
    #[must_use]
    pub fn new(device: AnyDevice) -> Self {
        Self { device, loop_back: false, copies: Bump::new() }
    }

    /// A network card that hears itself.
    #[must_use]
    pub fn loop_back(device: AnyDevice) -> Self {
        Self { loop_back: true, ..Self::new(device) }
    }
}

impl HostDevice for Hosted {
    fn device_type(&self) -> u32 {
        self.device.device_type()
    }

    fn features(&self) -> u64 {
        self.device.features()
    }

    fn config(&self) -> &[u8] {
        self.device.config()
    }

    fn queue_sizes(&self) -> &[u16] {
        self.device.queue_sizes()
    }

    fn serve(&mut self, kernel: &mut Kernel<'_>, at: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop> {
        let cpu = at.vcpu % kernel.machine().config().cpus;
        let view = HostView::new(kernel, at.guest, cpu, &mut self.copies);
        let done = self.device.notify(queue, queues, &view);
        if let Some(stop) = view.stopped() {
            return Err(stop);
        }
        let (refusals, statistics) = (view.take_refusals(), view.statistics());
        // A refused write has no one else to tell.
        let refused = refusals.first().map(ToString::to_string);
        let (served, error) = match done {
            Ok(served) => (served, refused),
            Err(error) => (Default::default(), Some(error.to_string())),
        };
        if let AnyDevice::Network(card) = &mut self.device
            && self.loop_back
        {
            while let Some(frame) = card.pop() {
                card.push(frame);
            }
        }
        Ok(Service { served, pins: statistics.pins, refusals: statistics.refusals, error })
    }

    fn console_output(&self) -> &[u8] {
        match &self.device {
            AnyDevice::Console(console) => console.output(),
            _ => &[],
        }
    }
}
