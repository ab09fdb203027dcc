//! A device model with its way to the guest's storage, and the wires between network cards.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bumpalo::Bump;
use uvsim_model::Machine;
use uvsim_model::seed::{Purpose, Seed};
use virtio_queue::Queue;

use crate::kernel::{Kernel, Stop};
use crate::scenario::{self, DeviceKind, DiskContent, GuestId};
use crate::virtio::board::{HostDevice, IoAt, Service};
use crate::virtio::device::{AnyDevice, Block, Console, Device, Entropy, Network};
use crate::virtio::view::HostView;

/// The CPU of the host that works for devices.
const CPU: u16 = 0;
/// Frames that wait in a card, or on a wire.
const WAITING: usize = 64;
/// Bytes that a console keeps.
const CONSOLE: usize = 1 << 20;

/// Frames on their way to a card.
pub(super) type Wire = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// A device of a scenario.
#[derive(Debug)]
pub(super) struct Attached {
    model: AnyDevice,
    /// What comes in, and what goes out.
    wires: Option<(Wire, Wire)>,
    copies: Rc<RefCell<Bump>>,
    notifications: Cell<u64>,
}

impl Attached {
    /// The device that a scenario describes; none if it has no whole sector, which no scenario has.
    pub(super) fn new(
        machine: &Machine,
        (guest, number): (GuestId, usize),
        device: &scenario::GuestDevice,
        wires: Option<(Wire, Wire)>,
        copies: &Rc<RefCell<Bump>>,
    ) -> Option<Self> {
        let model = match &device.kind {
            DeviceKind::Disk { content, read_only } => {
                let bytes = match content {
                    DiskContent::Bytes(bytes) => bytes.to_vec(),
                    DiskContent::Zeros(length) => vec![0; usize::try_from(*length).ok()?],
                };
                AnyDevice::Block(Block::of_memory(bytes, *read_only, &device.name).ok()?)
            }
            DeviceKind::Net { .. } => {
                // Locally administered, so that it is nobody's.
                let address = [0x02, 0, 0, 0, guest.0 as u8, number as u8];
                AnyDevice::Network(Network::new(address, WAITING))
            }
            DeviceKind::Console => AnyDevice::Console(Console::new(CONSOLE)),
            DeviceKind::Entropy => {
                // Files have far fewer guests than this field can number.
                let stream = Seed(machine.config().seed).substream(Purpose::Entropy, guest.0 as u32);
                AnyDevice::Entropy(Entropy::new(stream))
            }
        };
        Some(Self { model, wires, copies: Rc::clone(copies), notifications: Cell::new(0) })
    }

    /// How often a queue of it was looked at.
    pub(super) fn notifications(&self) -> u64 {
        self.notifications.get()
    }

    /// Takes frames off the wire, as many as the card keeps.
    fn listen(&mut self) {
        let (AnyDevice::Network(card), Some((incoming, _))) = (&mut self.model, &self.wires) else { return };
        let mut incoming = incoming.borrow_mut();
        while card.inbox().len() < WAITING
            && let Some(frame) = incoming.pop_front()
        {
            card.push(frame);
        }
    }

    /// Puts what the guest has sent on the wire. A full wire drops it, as wires do.
    fn speak(&mut self) {
        let (AnyDevice::Network(card), Some((_, outgoing))) = (&mut self.model, &self.wires) else { return };
        let mut outgoing = outgoing.borrow_mut();
        while let Some(frame) = card.pop() {
            if outgoing.len() < WAITING {
                outgoing.push_back(frame);
            }
        }
    }
}

impl HostDevice for Attached {
    fn device_type(&self) -> u32 {
        self.model.device_type()
    }

    fn features(&self) -> u64 {
        self.model.features()
    }

    fn config(&self) -> &[u8] {
        self.model.config()
    }

    fn queue_sizes(&self) -> &[u16] {
        self.model.queue_sizes()
    }

    fn serve(&mut self, kernel: &mut Kernel<'_>, at: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop> {
        self.notifications.set(self.notifications.get() + 1);
        self.listen();
        let copies = Rc::clone(&self.copies);
        let mut copies = copies.borrow_mut();
        let view = HostView::new(kernel, at.guest, CPU, &mut copies);
        let done = self.model.notify(queue, queues, &view);
        if let Some(stop) = view.stopped() {
            return Err(stop);
        }
        let statistics = view.statistics();
        let refused = view.take_refusals().first().map(ToString::to_string);
        drop(view);
        self.speak();
        let (served, error) = match done {
            Ok(served) => (served, None),
            Err(error) => (Default::default(), Some(refused.unwrap_or_else(|| error.to_string()))),
        };
        Ok(Service { served, pins: statistics.pins, refusals: statistics.refusals, error })
    }

    fn console_output(&self) -> &[u8] {
        match &self.model {
            AnyDevice::Console(console) => console.output(),
            _ => &[],
        }
    }
}
