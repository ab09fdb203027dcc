//! A device model that works on the host's view of a guest, and the wires between network cards.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use virtio_queue::Queue;

use super::{HostDevice, IoAt, Service};
use crate::kernel::{Kernel, Stop};
use crate::virtio::device::{AnyDevice, Device};
use crate::virtio::view::{Copies, HostView};

/// Frames that wait on a wire, and those that a card takes off it.
pub const WAITING: usize = 64;

/// A device model with what it needs to see the storage that a guest shares.
#[derive(Debug)]
pub struct Hosted {
    /// The model.
    pub device: AnyDevice,
    /// What comes in, and what goes out, of a network card.
    wires: Option<(Wire, Wire)>,
    copies: Copies,
    notifications: u64,
}

impl Hosted {
    /// A device on its own.
    #[must_use]
    pub fn new(device: AnyDevice) -> Self {
        Self { device, wires: None, copies: Copies::default(), notifications: 0 }
    }

    /// A network card that hears what comes in on one wire and speaks on another.
    #[must_use]
    pub fn wired(device: AnyDevice, incoming: Wire, outgoing: Wire) -> Self {
        Self { wires: Some((incoming, outgoing)), ..Self::new(device) }
    }

    /// A network card that hears itself.
    #[must_use]
    pub fn loop_back(device: AnyDevice) -> Self {
        let wire = Wire::default();
        Self::wired(device, wire.clone(), wire)
    }

    /// How often a queue of it was looked at.
    #[must_use]
    pub fn notifications(&self) -> u64 {
        self.notifications
    }

    /// Takes frames off the wire, as many as the card keeps.
    fn listen(&mut self) {
        let (AnyDevice::Network(card), Some((incoming, _))) = (&mut self.device, &self.wires) else { return };
        let mut incoming = incoming.0.lock();
        while card.inbox().len() < WAITING
            && let Some(frame) = incoming.pop_front()
        {
            card.push(frame);
        }
    }

    /// Puts what the guest has sent on the wire. A full wire drops it, as wires do.
    fn speak(&mut self) {
        let (AnyDevice::Network(card), Some((_, outgoing))) = (&mut self.device, &self.wires) else { return };
        let mut outgoing = outgoing.0.lock();
        while let Some(frame) = card.pop() {
            if outgoing.len() < WAITING {
                outgoing.push_back(frame);
            }
        }
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
        self.notifications += 1;
        self.listen();
        let cpu = kernel.serving_cpu(at.vcpu);
        let view = HostView::new(kernel, at.guest, cpu, &mut self.copies);
        let done = self.device.notify(queue, queues, &view);
        if let Some(stop) = view.stopped() {
            return Err(stop);
        }
        let (refusals, statistics) = (view.take_refusals(), view.statistics());
        self.speak();
        let (served, error) = match done {
            Ok(served) => (served, None),
            Err(error) => (Default::default(), Some(error.to_string())),
        };
        Ok(Service { served, pins: statistics.pins, refusals, error })
    }

    fn take_console_output(&mut self) -> Vec<u8> {
        match &mut self.device {
            AnyDevice::Console(console) => console.take_output(),
            _ => Vec::new(),
        }
    }

    fn console_input(&mut self, text: &[u8]) {
        if let AnyDevice::Console(console) = &mut self.device {
            console.push(text);
        }
    }
}

/// Frames on their way to a card. Clones are the same wire.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<VecDeque<Vec<u8>>>>);
