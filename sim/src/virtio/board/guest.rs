//! One guest's devices and drivers.

use super::outcome::{IoOutcome, IoStatistics};
use super::{Attachment, Fault, GuestDevices, HostDevice, IoAt};
use crate::kernel::{Kernel, Stop};
use crate::scenario::Outcome;
use crate::virtio::device::ACCESS_PLATFORM;
use crate::virtio::driver::console::{self, Console};
use crate::virtio::driver::hal::{Change, DmaSpace};
use crate::virtio::driver::network::{self, BUFFER};
use crate::virtio::driver::ring::{Ring, Used};
use crate::virtio::driver::{Driver, Request};
use crate::virtio::port::{Port, QueueRegisters};
use uvsim_model::address::{GuestAddress, PAGE_SIZE};
use uvsim_model::storage::FrameState;
use uvsim_model::uvc::Command;
use virtio_drivers::{BufferDirection, Error};
use virtio_queue::{Queue, QueueT};

/// What a guest does without devices that do not offer `VIRTIO_F_ACCESS_PLATFORM`, in Linux's words.
const NO_PLATFORM: &str = "virtio: device must provide VIRTIO_F_ACCESS_PLATFORM";

/// Most buffers that are kept to be used again.
const SPARE: usize = 8;

/// Guest storage: an address, and bytes to store or a place for those to load.
type Piece = (u64, Vec<u8>);

#[derive(Debug)]
pub(super) struct GuestBoard<D> {
    memory: u64,
    slots: u64,
    // Drivers before the space that they live in.
    devices: Vec<Slot<D>>,
    space: DmaSpace,
    statistics: IoStatistics,
    /// Buffers for pieces, to be used again.
    spare: Vec<Vec<u8>>,
}

/// A device with what is on both sides of it.
#[derive(Debug)]
struct Slot<D> {
    name: String,
    iommu: bool,
    device: D,
    state: State,
}

#[derive(Debug)]
enum State {
    Unbound { message: String, help: Option<String> },
    Bound(Box<Bound>),
}

#[derive(Debug)]
struct Bound {
    driver: Driver,
    port: Port,
    queues: Vec<Queue>,
    rings: Vec<Ring>,
    broken: Option<Fault>,
}

impl<D: HostDevice> GuestBoard<D> {
    pub(super) fn new(guest: GuestDevices<D>) -> Self {
        let attach = |Attachment { name, iommu, device }| Slot { name, iommu, device, state: State::not_booted() };
        Self {
            memory: guest.memory,
            slots: guest.swiotlb,
            devices: guest.devices.into_iter().map(attach).collect(),
            space: DmaSpace::default(),
            statistics: IoStatistics::default(),
            spare: Vec::new(),
        }
    }

    pub(super) fn device(&self, device: usize) -> Option<&D> {
        self.devices.get(device).map(|slot| &slot.device)
    }

    pub(super) fn device_mut(&mut self, device: usize) -> Option<&mut D> {
        self.devices.get_mut(device).map(|slot| &mut slot.device)
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.devices.iter().position(|slot| slot.name == name)
    }

    pub(super) fn statistics(&self) -> IoStatistics {
        let counters = self.space.pool.counters();
        IoStatistics {
            bounce_in: counters.copies_in,
            bounce_in_bytes: counters.bytes_in,
            bounce_out: counters.copies_out,
            bounce_out_bytes: counters.bytes_out,
            slots: self.space.pool.total(),
            slots_peak: counters.peak,
            ..self.statistics.clone()
        }
    }

    pub(super) fn forget(&mut self) {
        self.devices.iter_mut().for_each(|slot| slot.state = State::not_booted());
        self.space = DmaSpace::default();
    }

    pub(super) fn boot(&mut self, kernel: &mut Kernel<'_>, at: IoAt) -> Result<(), Stop> {
        self.forget();
        self.space = DmaSpace::new(self.memory, self.slots);
        if self.space.pool.total() > 0 {
            for page in self.space.pool.first() / PAGE_SIZE..self.memory.div_ceil(PAGE_SIZE) {
                self.share(kernel, at, page, Command::SetSharedAccess)?;
            }
        }
        for device in 0..self.devices.len() {
            self.bind(kernel, at, device)?;
        }
        Ok(())
    }

    pub(super) fn shutdown(&mut self, kernel: &mut Kernel<'_>, at: IoAt) -> Result<(), Stop> {
        let (devices, space) = (&mut self.devices, &mut self.space);
        let gone = || State::unbound("the guest has let its devices go".into());
        space.enter(|| devices.iter_mut().for_each(|slot| slot.state = gone()));
        self.settle(kernel, at)
    }

    /// Sectors of a disk.
    pub(super) fn capacity(&self, device: usize) -> Result<u64, IoOutcome> {
        let slot = self.devices.get(device).ok_or_else(|| IoOutcome::nothing_there(device))?;
        match &slot.bound()?.driver {
            Driver::Block(block) => Ok(block.capacity()),
            _ => Err(wrong_kind(&slot.name)),
        }
    }

    /// One request, from its mapping to its end.
    pub(super) fn request(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        request: &mut dyn Request,
    ) -> Result<IoOutcome, Stop> {
        let Some(slot) = self.devices.get_mut(device) else { return Ok(IoOutcome::nothing_there(device)) };
        let bound = match slot.usable() {
            Ok(bound) => bound,
            Err(outcome) => return Ok(outcome),
        };
        if let Err(full) = self.space.pool.would_fit(&request.lengths()) {
            self.statistics.no_slot += 1;
            return Ok(IoOutcome::NoBounceSlot { message: full.to_string() });
        }
        let id = match self.space.enter(|| request.begin(&mut bound.driver)) {
            Ok(id) => id,
            Err(Error::Unsupported) => return Ok(wrong_kind(&slot.name)),
            Err(error) => return Ok(IoOutcome::IoRefused { message: error.to_string(), refusal: None }),
        };
        let queue = request.queue();
        if let Some(ring) = bound.rings.get_mut(usize::from(queue)) {
            ring.begin(id);
        }
        self.statistics.requests += 1;
        self.statistics.slot_series.push((self.statistics.requests, self.space.pool.used()));
        let done = match self.work(kernel, at, device, &[]) {
            Ok(Ok(())) => self.end(device, request),
            Ok(Err(fault)) => Err(fault),
            // Its answer could not be told from that of the next.
            Err(stop) => {
                self.fail(device, Fault::Interrupted);
                return Err(stop);
            }
        };
        match done {
            Ok(outcome) => {
                self.receive_frames(device);
                Ok(outcome)
            }
            Err(fault) => Ok(self.fail(device, fault)),
        }
    }

    /// Takes frames that the host may have for the guest.
    pub(super) fn receive(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
    ) -> Result<(IoOutcome, Option<Vec<u8>>), Stop> {
        let Some(slot) = self.devices.get_mut(device) else { return Ok((IoOutcome::nothing_there(device), None)) };
        match slot.usable().map(|bound| &mut bound.driver) {
            Ok(Driver::Network(network)) => {
                if let Some(frame) = network.take() {
                    return Ok((IoOutcome::Done, Some(frame)));
                }
            }
            Ok(_) => return Ok((wrong_kind(&slot.name), None)),
            Err(outcome) => return Ok((outcome, None)),
        }
        self.receive_frames(device);
        if let (Some((network, _)), Err(full)) =
            (self.devices[device].network(), self.space.pool.would_fit(&[BUFFER as u64]))
            && network.missing() == network::BUFFERS
        {
            self.statistics.no_slot += 1;
            return Ok((IoOutcome::NoBounceSlot { message: full.to_string() }, None));
        }
        if let Err(fault) = self.work(kernel, at, device, &[network::RECEIVE])? {
            return Ok((self.fail(device, fault), None));
        }
        self.receive_frames(device);
        let frame = self.devices[device].network().and_then(|(network, _)| network.take());
        Ok((IoOutcome::Done, frame))
    }

    /// Takes what the host has for a console: all of it, unless that never ends. What came before a failure is given
    /// as well.
    pub(super) fn console_read(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
    ) -> Result<(IoOutcome, Vec<u8>), Stop> {
        let mut text = Vec::new();
        for _ in 0..console::BUFFERS_A_READ {
            if let Err(outcome) = self.listen(device) {
                return Ok((outcome, text));
            }
            if let Err(fault) = self.work(kernel, at, device, &[console::INPUT])? {
                return Ok((self.fail(device, fault), text));
            }
            let (space, slot) = (&mut self.space, &mut self.devices[device]);
            let come = slot.console().map_or(Vec::new(), |(console, ring)| space.enter(|| console.collect(ring)));
            if come.is_empty() {
                break;
            }
            self.statistics.bytes_read += come.len() as u64;
            text.extend(come);
        }
        Ok((IoOutcome::Done, text))
    }

    /// Has a buffer of a console wait for input, unless one does.
    fn listen(&mut self, device: usize) -> Result<(), IoOutcome> {
        let slot = self.devices.get_mut(device).ok_or_else(|| IoOutcome::nothing_there(device))?;
        slot.usable()?;
        let name = slot.name.clone();
        let (console, ring) = slot.console().ok_or_else(|| wrong_kind(&name))?;
        if console.listens() {
            return Ok(());
        }
        if let Err(full) = self.space.pool.would_fit(&[console::BUFFER as u64]) {
            self.statistics.no_slot += 1;
            return Err(IoOutcome::NoBounceSlot { message: full.to_string() });
        }
        let listening = self.space.enter(|| console.listen(ring));
        listening.map_err(|error| IoOutcome::IoRefused { message: error.to_string(), refusal: None })
    }

    /// Binds the driver, unless the guest refuses the device.
    fn bind(&mut self, kernel: &mut Kernel<'_>, at: IoAt, device: usize) -> Result<(), Stop> {
        let slot = &mut self.devices[device];
        let model = &slot.device;
        let port = Port::new(model.device_type(), model.features(), slot.iommu, model.config(), model.queue_sizes());
        let Some(port) = port else {
            slot.state = State::unbound(format!("virtio: no driver for device type {}", model.device_type()));
            return Ok(());
        };
        if port.offered() & ACCESS_PLATFORM == 0 {
            slot.state = State::Unbound { message: NO_PLATFORM.into(), help: Some(platform_help(model.device_type())) };
            return Ok(());
        }
        let registers = port.clone();
        let driver = match self.space.enter(|| Driver::bind(port)) {
            Ok(driver) => driver,
            Err(error) => {
                slot.state = State::unbound(format!("virtio: the driver of `{}` gives up: {error}", slot.name));
                return self.settle(kernel, at);
            }
        };
        self.settle(kernel, at)?;
        let rings = registers.queues();
        let pieces = rings.iter().flat_map(|queue| ring_pieces(&self.space, queue, true)).collect();
        self.access(kernel, at, pieces, Direction::Store)?;
        let queues: Option<Vec<Queue>> = rings.iter().map(device_queue).collect();
        let slot = &mut self.devices[device];
        let Some(queues) = queues else {
            self.space.enter(|| drop(driver));
            slot.state = State::unbound(format!("virtio: `{}` has a queue of impossible size", slot.name));
            return self.settle(kernel, at);
        };
        let rings = rings.iter().map(|_| Ring::default()).collect();
        slot.state = State::Bound(Box::new(Bound { driver, port: registers, queues, rings, broken: None }));
        self.receive_frames(device);
        let worked = self.work(kernel, at, device, &[])?;
        if let Err(fault) = worked {
            self.fail(device, fault);
        }
        Ok(())
    }

    /// Shares the pages that drivers have allocated and takes back those that they have freed.
    fn settle(&mut self, kernel: &mut Kernel<'_>, at: IoAt) -> Result<(), Stop> {
        for change in self.space.take_changes() {
            let (address, pages, command) = match change {
                Change::Allocated(address, pages) => (address, pages, Command::SetSharedAccess),
                Change::Freed(address, pages) => (address, pages, Command::RemoveSharedAccess),
            };
            for page in 0..pages as u64 {
                self.share(kernel, at, address / PAGE_SIZE + page, command)?;
            }
        }
        Ok(())
    }

    /// Shares a page, or takes it back.
    fn share(&mut self, kernel: &mut Kernel<'_>, at: IoAt, page: u64, command: Command) -> Result<(), Stop> {
        let pinned = is_pinned(kernel, at.guest, page);
        let done = kernel.share(at.guest, at.vcpu, at.faults, page, command)?;
        if done.outcome != Outcome::Ok {
            return Err(done.into());
        }
        if command == Command::SetSharedAccess {
            self.statistics.share_calls += 1;
        } else {
            self.statistics.unshare_calls += 1;
            self.statistics.unpin_calls += u64::from(pinned);
        }
        Ok(())
    }

    /// Brings the guest's storage in line, lets the device work on what it was notified of and on `also`, and brings
    /// the mirrors in line.
    fn work(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        also: &[u16],
    ) -> Result<Result<(), Fault>, Stop> {
        let (slot, space) = (&mut self.devices[device], &mut self.space);
        let State::Bound(bound) = &mut slot.state else { return Ok(Ok(())) };
        if space.take_poisoned() {
            return Ok(Err(Fault::Unmapped));
        }
        let rings = bound.port.queues();
        let mut pieces: Vec<Piece> = Vec::new();
        for (address, length) in space.pool.take_changed() {
            let Some(bytes) = space.pool.bytes(address, length) else { continue };
            let mut piece = self.spare.pop().unwrap_or_default();
            piece.extend_from_slice(bytes);
            pieces.push((address, piece));
        }
        pieces.extend(rings.iter().flat_map(|queue| ring_pieces(space, queue, false)));
        let mut notified = bound.port.take_notified();
        for &queue in also {
            if !notified.contains(&queue) {
                notified.push(queue);
            }
        }
        let stored = self.access(kernel, at, pieces, Direction::Store)?;
        stored.into_iter().for_each(|(_, bytes)| self.recycle(bytes));
        let (slot, statistics) = (&mut self.devices[device], &mut self.statistics);
        let State::Bound(bound) = &mut slot.state else { return Ok(Ok(())) };
        for queue in notified {
            let service = slot.device.serve(kernel, at, queue, &mut bound.queues)?;
            statistics.pin_calls += service.pins;
            statistics.refusals += service.refusals.len() as u64;
            if let Some(fault) = service.fault() {
                bound.port.needs_reset();
                return Ok(Err(fault));
            }
        }
        self.load_back(kernel, at, device, &rings)
    }

    /// Loads used rings, and then what the device has written according to them.
    fn load_back(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        rings: &[QueueRegisters],
    ) -> Result<Result<(), Fault>, Stop> {
        let set_up = rings.iter().filter(|queue| queue.size > 0);
        let spare = &mut self.spare;
        let used = set_up.map(|queue| (queue.used, zeros(spare, queue.used_length()))).collect();
        for (address, bytes) in self.access(kernel, at, used, Direction::Load)? {
            self.space.write_ring(address, &bytes);
            self.recycle(bytes);
        }
        let State::Bound(bound) = &mut self.devices[device].state else { return Ok(Ok(())) };
        let mut written = Vec::new();
        for (ring, queue) in bound.rings.iter_mut().zip(rings) {
            match ring.harvest(&self.space, queue) {
                Ok(buffers) => written.extend(buffers),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let spare = &mut self.spare;
        let places = written.into_iter().map(|(address, length)| (address, zeros(spare, length as usize))).collect();
        for (address, bytes) in self.access(kernel, at, places, Direction::Load)? {
            self.space.pool.write(address, &bytes);
            self.recycle(bytes);
        }
        Ok(Ok(()))
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Ends a request that the device has used.
    fn end(&mut self, device: usize, request: &mut dyn Request) -> Result<IoOutcome, Fault> {
        let State::Bound(bound) = &mut self.devices[device].state else { return Err(Fault::NoAnswer) };
        let ring = bound.rings.get_mut(usize::from(request.queue()));
        let used: Used = ring.and_then(Ring::next).ok_or(Fault::NoAnswer)?;
        let done = self.space.enter(|| request.end(&mut bound.driver, used));
        match done {
            Ok(None) => {
                let (read, written) = request.payload();
                self.statistics.bytes_read += read;
                self.statistics.bytes_written += written;
                Ok(IoOutcome::Done)
            }
            Ok(Some(status)) => Ok(IoOutcome::IoError { status }),
            Err(error) => Err(Fault::NeedsReset { reason: error.to_string(), refusal: None }),
        }
    }

    /// Takes frames that have come in and offers buffers for more, as far as there are slots.
    fn receive_frames(&mut self, device: usize) {
        let Some((network, ring)) = self.devices[device].network() else { return };
        let pool_has_room = |space: &mut DmaSpace| space.pool.would_fit(&[BUFFER as u64]).is_ok();
        self.statistics.bytes_read += self.space.enter(|| network.collect(ring));
        while network.missing() > 0 && pool_has_room(&mut self.space) {
            if self.space.enter(|| network.offer(ring)).is_err() {
                break;
            }
        }
    }

    /// The driver gives the device up. As Linux resets the device then, the slots that it had are free again.
    fn fail(&mut self, device: usize, fault: Fault) -> IoOutcome {
        let (message, refusal) = (fault.to_string(), fault.refusal());
        if let State::Bound(bound) = &mut self.devices[device].state {
            for (ring, queue) in bound.rings.iter_mut().zip(bound.port.queues()) {
                for address in ring.abandon(&self.space, &queue) {
                    self.space.pool.unmap(address, &mut [], BufferDirection::DriverToDevice);
                }
            }
            bound.broken = Some(fault);
        }
        IoOutcome::IoRefused { message, refusal }
    }

    /// Guest accesses, in one entry of SIE unless there are faults. Page by page, as faults are answered by the page.
    fn access(
        &self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        mut pieces: Vec<Piece>,
        direction: Direction,
    ) -> Result<Vec<Piece>, Stop> {
        let (mut piece, mut offset) = (0, 0);
        while piece < pieces.len() {
            let before = (piece, offset);
            let done = kernel.with_faults(at.guest, at.vcpu, at.faults, None, |kernel| {
                kernel.act(at.guest, at.vcpu, |cpu| {
                    while let Some((address, bytes)) = pieces.get_mut(piece) {
                        let next = *address + offset as u64;
                        let length = (bytes.len() - offset).min((PAGE_SIZE - next % PAGE_SIZE) as usize);
                        let part = &mut bytes[offset..offset + length];
                        match direction {
                            Direction::Store => cpu.store(GuestAddress(next), part)?,
                            Direction::Load => cpu.load(GuestAddress(next), part)?,
                        }
                        offset += length;
                        if offset == bytes.len() {
                            (piece, offset) = (piece + 1, 0);
                        }
                    }
                    Ok(())
                })
            });
            match done {
                Ok(()) => break,
                // So many faults are not answered for one action, but this is many.
                Err(_) if (piece, offset) != before => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(pieces)
    }
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Store,
    Load,
}

impl State {
    fn not_booted() -> Self {
        Self::unbound("the guest has not brought up its devices".into())
    }

    fn unbound(message: String) -> Self {
        Self::Unbound { message, help: None }
    }
}

impl<D> Slot<D> {
    fn bound(&self) -> Result<&Bound, IoOutcome> {
        match &self.state {
            State::Bound(bound) => Ok(bound),
            State::Unbound { message, help } => {
                Err(IoOutcome::NoDevice { message: message.clone(), help: help.clone() })
            }
        }
    }

    /// The driver, unless it has given the device up.
    fn usable(&mut self) -> Result<&mut Bound, IoOutcome> {
        match &mut self.state {
            State::Bound(bound) => match &bound.broken {
                Some(fault) => Err(IoOutcome::IoRefused {
                    message: format!("the driver has given the device up: {fault}"),
                    refusal: fault.refusal(),
                }),
                None => Ok(bound),
            },
            State::Unbound { message, help } => {
                Err(IoOutcome::NoDevice { message: message.clone(), help: help.clone() })
            }
        }
    }

    fn network(&mut self) -> Option<(&mut network::Network, &mut Ring)> {
        let State::Bound(bound) = &mut self.state else { return None };
        let Bound { driver: Driver::Network(network), rings, .. } = &mut **bound else { return None };
        Some((&mut **network, rings.get_mut(usize::from(network::RECEIVE))?))
    }

    fn console(&mut self) -> Option<(&mut Console, &mut Ring)> {
        let State::Bound(bound) = &mut self.state else { return None };
        let Bound { driver: Driver::Console(console), rings, .. } = &mut **bound else { return None };
        Some((console, rings.get_mut(usize::from(console::INPUT))?))
    }
}

/// Where to say that a device shall offer `VIRTIO_F_ACCESS_PLATFORM`.
fn platform_help(device_type: u32) -> String {
    let device = match device_type {
        1 => "virtio-net-ccw",
        2 => "virtio-blk-ccw",
        3 => "virtio-serial-ccw",
        _ => "virtio-rng-ccw",
    };
    format!(
        "without it a device takes for granted that it reaches all of the guest's memory: write iommu=#true in a \
         scenario, <driver iommu='on'/> in libvirt, -device {device},iommu_platform=on for QEMU"
    )
}

fn wrong_kind(name: &str) -> IoOutcome {
    IoOutcome::NoDevice { message: format!("`{name}` is a device of another kind"), help: None }
}

fn is_pinned(kernel: &Kernel<'_>, guest: usize, page: u64) -> bool {
    let state = kernel.mapped(guest, page).map(|frame| kernel.machine().frame_state(frame));
    matches!(state, Some(FrameState::Pinned(..)))
}

fn zeros(spare: &mut Vec<Vec<u8>>, length: usize) -> Vec<u8> {
    let mut bytes = spare.pop().unwrap_or_default();
    bytes.resize(length, 0);
    bytes
}

/// What of a queue the driver writes; at first also what the device writes, which is to begin as zeros.
fn ring_pieces(space: &DmaSpace, queue: &QueueRegisters, used: bool) -> Vec<Piece> {
    let mut parts = vec![(queue.descriptors, queue.descriptors_length()), (queue.available, queue.available_length())];
    if used {
        parts.push((queue.used, queue.used_length()));
    }
    let pieces = parts.into_iter().filter_map(|(address, length)| Some((address, space.ring(address, length)?)));
    if queue.size > 0 { pieces.collect() } else { Vec::new() }
}

/// The device's end of a queue.
fn device_queue(registers: &QueueRegisters) -> Option<Queue> {
    let mut queue = Queue::new(registers.largest).ok()?;
    if registers.size > 0 {
        let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
        let (low, high) = halves(registers.descriptors);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(registers.available);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(registers.used);
        queue.set_used_ring_address(low, high);
        queue.set_size(registers.size);
        queue.set_ready(true);
    }
    Some(queue)
}
