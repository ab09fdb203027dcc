//! The board: all devices of a run's guests, with the drivers that the guests have for them.
//!
//! A guest's driver works on mirrors. Around each notification the board brings the guest's storage in line through
//! the guest's own CPU, so that every byte takes the way that the machine checks.

mod guest;
mod hosted;
mod outcome;
#[cfg(test)]
mod tests;

use super::driver::block::{self, SECTOR, Transfer};
use super::driver::console::{self, Text};
use super::driver::entropy::{self, Draw};
use super::driver::network::Frame;
use crate::kernel::{FaultAnswers, Kernel, Stop};
use guest::GuestBoard;
use virtio_queue::Queue;

pub use super::driver::ring::Fault;
pub use hosted::{Hosted, WAITING, Wire};
pub use outcome::{IoOutcome, IoStatistics, Service};

/// A device as the board uses it: a model together with its way to the guest's storage.
pub trait HostDevice {
    /// The device type of the virtio specification.
    fn device_type(&self) -> u32;
    /// Feature bits that it offers, transport bits apart.
    fn features(&self) -> u64;
    /// The configuration space.
    fn config(&self) -> &[u8];
    /// Largest size of each queue; as many as it has queues.
    fn queue_sizes(&self) -> &[u16];
    /// Works on what a queue holds, after a notification.
    ///
    /// # Errors
    /// The host cannot go on. What the device makes of the guest's rings is no error but part of the answer.
    fn serve(&mut self, kernel: &mut Kernel<'_>, at: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop>;
    /// Takes what has been written to it, if it is a console.
    fn take_console_output(&mut self) -> Vec<u8> {
        Vec::new()
    }
    /// Text for the guest, if it is a console.
    fn console_input(&mut self, _text: &[u8]) {}
}

/// Who does I/O: a guest's vCPU, and what the host does about faults meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoAt {
    /// Number of the guest.
    pub guest: usize,
    /// The vCPU that drives the device.
    pub vcpu: u16,
    /// How faults are answered.
    pub faults: FaultAnswers,
}

/// A device and how it is attached.
#[derive(Clone, Debug)]
pub struct Attachment<D> {
    /// Its name.
    pub name: String,
    /// Whether it offers `VIRTIO_F_ACCESS_PLATFORM`: libvirt's `<driver iommu='on'/>`.
    pub iommu: bool,
    /// The device.
    pub device: D,
}

/// A guest's devices.
#[derive(Clone, Debug)]
pub struct GuestDevices<D> {
    /// Bytes of guest memory; the bounce buffer lies at its end.
    pub memory: u64,
    /// Slots of the bounce buffer, of 2 KiB each (Linux: `swiotlb=`).
    pub swiotlb: u64,
    /// Its devices.
    pub devices: Vec<Attachment<D>>,
}

/// All devices and drivers of the guests of one run. Devices are numbered as they are attached.
#[derive(Debug)]
pub struct Board<D> {
    guests: Vec<GuestBoard<D>>,
}

impl<D: HostDevice> Board<D> {
    /// A board; guests are numbered as those of the kernel. No driver is bound yet.
    #[must_use]
    pub fn new(guests: Vec<GuestDevices<D>>) -> Self {
        Self { guests: guests.into_iter().map(GuestBoard::new).collect() }
    }

    /// The guest's kernel comes up: the bounce buffer is shared, drivers are bound. A device that a protected guest
    /// does not use stays unbound, and requests to it tell why.
    ///
    /// # Errors
    /// A page that cannot be shared, or a fault that is not answered.
    pub fn boot(&mut self, kernel: &mut Kernel<'_>, at: IoAt) -> Result<(), Stop> {
        self.guests.get_mut(at.guest).map_or(Ok(()), |guest| guest.boot(kernel, at))
    }

    /// The guest lets its devices go: drivers are unbound, and the pages of their rings are taken back. The bounce
    /// buffer stays shared.
    ///
    /// # Errors
    /// A page that cannot be taken back, or a fault that is not answered.
    pub fn shutdown(&mut self, kernel: &mut Kernel<'_>, at: IoAt) -> Result<(), Stop> {
        self.guests.get_mut(at.guest).map_or(Ok(()), |guest| guest.shutdown(kernel, at))
    }

    /// The guest is gone, and what its drivers knew with it. Nothing is told to the machine.
    pub fn forget(&mut self, guest: usize) {
        if let Some(guest) = self.guests.get_mut(guest) {
            guest.forget();
        }
    }

    /// Reads sectors. What was read before a request failed is given as well.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn disk_read(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        sector: u64,
        count: u32,
    ) -> Result<(IoOutcome, Vec<u8>), Stop> {
        let guest = match self.disk(at.guest, device, sector, count.into()) {
            Ok(guest) => guest,
            Err(outcome) => return Ok((outcome, Vec::new())),
        };
        let (mut bytes, mut left) = (Vec::new(), count as usize * SECTOR);
        while left > 0 {
            let mut data = vec![0; left.min(block::LARGEST)];
            let next = sector + (bytes.len() / SECTOR) as u64;
            let done = guest.request(kernel, at, device, &mut Transfer::read(next, &mut data))?;
            if done != IoOutcome::Done {
                return Ok((done, bytes));
            }
            left -= data.len();
            match bytes.is_empty() {
                true => bytes = data,
                false => bytes.append(&mut data),
            }
        }
        Ok((IoOutcome::Done, bytes))
    }

    /// Writes sectors; the last is filled up with zeros.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn disk_write(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        sector: u64,
        bytes: &[u8],
    ) -> Result<IoOutcome, Stop> {
        let guest = match self.disk(at.guest, device, sector, bytes.len().div_ceil(SECTOR) as u64) {
            Ok(guest) => guest,
            Err(outcome) => return Ok(outcome),
        };
        for (number, part) in (0u64..).zip(bytes.chunks(block::LARGEST)) {
            let mut part = part.to_vec();
            part.resize(part.len().next_multiple_of(SECTOR), 0);
            let next = sector + number * (block::LARGEST / SECTOR) as u64;
            let done = guest.request(kernel, at, device, &mut Transfer::write(next, &part))?;
            if done != IoOutcome::Done {
                return Ok(done);
            }
        }
        Ok(IoOutcome::Done)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn send(&mut self, kernel: &mut Kernel<'_>, at: IoAt, device: usize, bytes: &[u8]) -> Result<IoOutcome, Stop> {
        self.on(kernel, at, device, &mut Frame::new(bytes))
    }

    /// Takes the oldest frame that has come in, if there is one.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn receive(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
    ) -> Result<(IoOutcome, Option<Vec<u8>>), Stop> {
        match self.guests.get_mut(at.guest) {
            Some(guest) => guest.receive(kernel, at, device),
            None => Ok((IoOutcome::nothing_there(device), None)),
        }
    }

    /// Writes to a console.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn console_write(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        text: &[u8],
    ) -> Result<IoOutcome, Stop> {
        for part in text.chunks(console::LARGEST) {
            let done = self.on(kernel, at, device, &mut Text(part))?;
            if done != IoOutcome::Done {
                return Ok(done);
            }
        }
        Ok(IoOutcome::Done)
    }

    /// Takes all that the host has for a console. What came before a failure is given as well.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn console_read(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
    ) -> Result<(IoOutcome, Vec<u8>), Stop> {
        match self.guests.get_mut(at.guest) {
            Some(guest) => guest.console_read(kernel, at, device),
            None => Ok((IoOutcome::nothing_there(device), Vec::new())),
        }
    }

    /// The host has text for a console. It waits in the device until the guest reads.
    pub fn console_input(&mut self, guest: usize, device: usize, text: &[u8]) {
        if let Some(console) = self.guests.get_mut(guest).and_then(|guest| guest.device_mut(device)) {
            console.console_input(text);
        }
    }

    /// Takes what has been written to a console, as the host has it.
    pub fn take_console_output(&mut self, guest: usize, device: usize) -> Vec<u8> {
        let console = self.guests.get_mut(guest).and_then(|guest| guest.device_mut(device));
        console.map(HostDevice::take_console_output).unwrap_or_default()
    }

    /// Asks an entropy device for so many bytes; it may give fewer.
    ///
    /// # Errors
    /// The host cannot go on, or a fault of the guest is not answered.
    pub fn entropy(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        len: usize,
    ) -> Result<(IoOutcome, Vec<u8>), Stop> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let mut draw = Draw::new((len - bytes.len()).min(entropy::LARGEST));
            let done = self.on(kernel, at, device, &mut draw)?;
            if done != IoOutcome::Done || draw.bytes.is_empty() {
                return Ok((done, bytes));
            }
            bytes.append(&mut draw.bytes);
        }
        Ok((IoOutcome::Done, bytes))
    }

    /// What a guest's I/O has come to so far.
    #[must_use]
    pub fn statistics(&self, guest: usize) -> IoStatistics {
        self.guests.get(guest).map(GuestBoard::statistics).unwrap_or_default()
    }

    /// The device itself.
    #[must_use]
    pub fn device(&self, guest: usize, device: usize) -> Option<&D> {
        self.guests.get(guest).and_then(|guest| guest.device(device))
    }

    /// The number of a device by its name.
    #[must_use]
    pub fn named(&self, guest: usize, name: &str) -> Option<usize> {
        self.guests.get(guest).and_then(|guest| guest.named(name))
    }

    fn on(
        &mut self,
        kernel: &mut Kernel<'_>,
        at: IoAt,
        device: usize,
        request: &mut dyn super::driver::Request,
    ) -> Result<IoOutcome, Stop> {
        match self.guests.get_mut(at.guest) {
            Some(guest) => guest.request(kernel, at, device, request),
            None => Ok(IoOutcome::nothing_there(device)),
        }
    }

    /// The guest, if it has such sectors.
    fn disk(&mut self, guest: usize, device: usize, sector: u64, count: u64) -> Result<&mut GuestBoard<D>, IoOutcome> {
        let guest = self.guests.get_mut(guest).ok_or_else(|| IoOutcome::nothing_there(device))?;
        let capacity = guest.capacity(device)?;
        if sector.checked_add(count).is_none_or(|end| end > capacity) {
            return Err(IoOutcome::OutOfRange { sector, count, capacity });
        }
        Ok(guest)
    }
}
