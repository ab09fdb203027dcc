//! The transport: registers that a driver and its device share. It is no channel device; a notification is a flag
//! that the board looks at.

use super::device::{ACCESS_PLATFORM, VERSION_1};
use parking_lot::Mutex;
use std::sync::Arc;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Ring features that this transport does not pass on: indirect descriptors and event indexes.
const NOT_OFFERED: u64 = 1 << 28 | 1 << 29;

/// Registers of one device. The driver holds one end, the board the other.
#[derive(Clone, Debug)]
pub(crate) struct Port(Arc<Mutex<Registers>>);

#[derive(Debug)]
struct Registers {
    device_type: DeviceType,
    offered: u64,
    accepted: u64,
    status: DeviceStatus,
    config: Vec<u8>,
    queues: Vec<QueueRegisters>,
}

/// What a driver has said about a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct QueueRegisters {
    /// The largest size that the device takes.
    pub(crate) largest: u16,
    /// Descriptors; 0 while the queue is not set up.
    pub(crate) size: u16,
    /// Guest absolute address of the descriptor table.
    pub(crate) descriptors: u64,
    /// Guest absolute address of the available ring.
    pub(crate) available: u64,
    /// Guest absolute address of the used ring.
    pub(crate) used: u64,
    /// Whether the driver has notified the device since the board last looked.
    pub(crate) notified: bool,
}

impl QueueRegisters {
    /// Bytes of the descriptor table.
    #[must_use]
    pub(crate) fn descriptors_length(&self) -> usize {
        16 * usize::from(self.size)
    }

    /// Bytes of the available ring.
    #[must_use]
    pub(crate) fn available_length(&self) -> usize {
        6 + 2 * usize::from(self.size)
    }

    /// Bytes of the used ring.
    #[must_use]
    pub(crate) fn used_length(&self) -> usize {
        6 + 8 * usize::from(self.size)
    }
}

impl Port {
    /// The registers of a device; `None` if no driver knows the type. `iommu` is libvirt's `<driver iommu='on'/>`.
    #[must_use]
    pub(crate) fn new(
        device_type: u32,
        features: u64,
        iommu: bool,
        config: &[u8],
        queue_sizes: &[u16],
    ) -> Option<Self> {
        let device_type = DeviceType::try_from(device_type).ok()?;
        let platform = if iommu { ACCESS_PLATFORM } else { 0 };
        let offered = (features & !NOT_OFFERED & !ACCESS_PLATFORM) | VERSION_1 | platform;
        let queues = queue_sizes.iter().map(|&largest| QueueRegisters { largest, ..QueueRegisters::default() });
        Some(Self(Arc::new(Mutex::new(Registers {
            device_type,
            offered,
            accepted: 0,
            status: DeviceStatus::empty(),
            config: config.to_vec(),
            queues: queues.collect(),
        }))))
    }

    /// Feature bits that the device offers.
    #[must_use]
    pub(crate) fn offered(&self) -> u64 {
        self.0.lock().offered
    }

    /// Feature bits that the driver has accepted.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn accepted(&self) -> u64 {
        self.0.lock().accepted
    }

    /// The queues as the driver has set them up.
    #[must_use]
    pub(crate) fn queues(&self) -> Vec<QueueRegisters> {
        self.0.lock().queues.clone()
    }

    /// The queues that the driver has notified, lowest first; each is told once.
    #[must_use]
    pub(crate) fn take_notified(&self) -> Vec<u16> {
        let mut registers = self.0.lock();
        let queues = (0u16..).zip(&mut registers.queues);
        queues.filter_map(|(number, queue)| core::mem::take(&mut queue.notified).then_some(number)).collect()
    }

    /// The device gives up.
    pub(crate) fn needs_reset(&self) {
        self.0.lock().status |= DeviceStatus::DEVICE_NEEDS_RESET;
    }
}

impl Transport for Port {
    fn device_type(&self) -> DeviceType {
        self.0.lock().device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.offered()
    }

    /// The transport's own bits are its own business, as in Linux: what is offered of them is accepted.
    fn write_driver_features(&mut self, driver_features: u64) {
        let mut registers = self.0.lock();
        registers.accepted = (driver_features | VERSION_1 | ACCESS_PLATFORM) & registers.offered;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.0.lock().queues.get(usize::from(queue)).map_or(0, |queue| queue.largest.into())
    }

    fn notify(&mut self, queue: u16) {
        if let Some(queue) = self.0.lock().queues.get_mut(usize::from(queue)) {
            queue.notified = true;
        }
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.lock().status
    }

    /// A status of 0 resets the device.
    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.lock();
        registers.status = status;
        if status.is_empty() {
            registers.accepted = 0;
            for queue in &mut registers.queues {
                *queue = QueueRegisters { largest: queue.largest, ..QueueRegisters::default() };
            }
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: PhysAddr, available: PhysAddr, used: PhysAddr) {
        if let Some(queue) = self.0.lock().queues.get_mut(usize::from(queue)) {
            let size = u16::try_from(size).unwrap_or(queue.largest);
            *queue = QueueRegisters { largest: queue.largest, size, descriptors, available, used, notified: false };
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        if let Some(queue) = self.0.lock().queues.get_mut(usize::from(queue)) {
            *queue = QueueRegisters { largest: queue.largest, ..QueueRegisters::default() };
        }
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.lock().queues.get(usize::from(queue)).is_some_and(|queue| queue.size != 0)
    }

    /// There are no interrupts: the board returns to the driver when the device has worked.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        let registers = self.0.lock();
        let bytes = offset.checked_add(size_of::<T>()).and_then(|end| registers.config.get(offset..end));
        bytes.and_then(|bytes| T::read_from_bytes(bytes).ok()).ok_or(Error::ConfigSpaceTooSmall)
    }

    /// No driver here writes it.
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> virtio_drivers::Result<()> {
        Err(Error::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_accepts_its_own_bits_and_offers_no_ring_extras() {
        let mut port = Port::new(2, NOT_OFFERED | 1 << 9, true, &[], &[16]).unwrap();
        assert_eq!(port.read_device_features(), VERSION_1 | ACCESS_PLATFORM | 1 << 9);
        port.write_driver_features(1 << 9 | 1 << 28);
        assert_eq!(port.accepted(), VERSION_1 | ACCESS_PLATFORM | 1 << 9);
        let mut port = Port::new(2, ACCESS_PLATFORM, false, &[], &[16]).unwrap();
        port.write_driver_features(0);
        assert_eq!(port.accepted(), VERSION_1);
    }

    #[test]
    fn a_reset_forgets_queues_and_a_notification_is_told_once() {
        let mut port = Port::new(2, 0, true, &[], &[16, 8]).unwrap();
        port.queue_set(1, 8, 0x1000, 0x1080, 0x2000);
        port.notify(1);
        port.notify(7);
        assert!(port.queue_used(1) && !port.queue_used(0) && !port.queue_used(9));
        assert_eq!((port.take_notified(), port.take_notified()), (vec![1], vec![]));
        port.set_status(DeviceStatus::empty());
        assert!(!port.queue_used(1));
        assert_eq!((port.max_queue_size(1), port.max_queue_size(2)), (8, 0));
    }

    #[test]
    fn configuration_space_ends_where_it_ends() {
        let port = Port::new(2, 0, true, &[1, 0, 0, 0, 2], &[]).unwrap();
        assert_eq!(port.read_config_space::<u32>(0), Ok(u32::from_ne_bytes([1, 0, 0, 0])));
        assert_eq!(port.read_config_space::<u32>(2), Err(Error::ConfigSpaceTooSmall));
        assert_eq!(port.read_config_space::<u8>(usize::MAX), Err(Error::ConfigSpaceTooSmall));
        assert!(Port::new(99, 0, true, &[], &[]).is_none());
    }
}
