//! The devices that a scenario describes.

use std::collections::BTreeMap;

use uvsim_model::Machine;
use uvsim_model::seed::{Purpose, Seed};

use crate::scenario::{DeviceKind, DiskContent, Guest, GuestDevice, GuestId, Scenario};
use crate::virtio::board::{Attachment, GuestDevices, Hosted, WAITING, Wire};
use crate::virtio::device::{AnyDevice, Block, Console, Entropy, Network};

/// Bytes that a console keeps.
const CONSOLE: usize = 1 << 20;

/// A device: its guest, and its number there.
type DeviceId = (GuestId, usize);

/// The devices of all guests, joined by wires.
pub(super) fn attached(scenario: &Scenario, machine: &Machine) -> Vec<GuestDevices<Hosted>> {
    // What comes to a device, by its number; a device speaks on the wire of the other end.
    let mut wires: BTreeMap<DeviceId, Wire> = BTreeMap::new();
    let mut wire = |to: DeviceId| wires.entry(to).or_default().clone();
    let mut attach = |(number, guest): (usize, &Guest)| {
        let each = guest.devices.iter().flat_map(|found| &found.devices).enumerate();
        let devices = each.filter_map(|(place, device)| {
            let own = (GuestId(number), place);
            let model = model(machine, own, device)?;
            let hosted = match device.kind {
                DeviceKind::Net { to } => Hosted::wired(model, wire(own), wire(to.unwrap_or(own))),
                _ => Hosted::new(model),
            };
            Some(Attachment { name: device.name.clone(), iommu: device.iommu, device: hosted })
        });
        GuestDevices {
            memory: guest.memory,
            swiotlb: guest.devices.as_ref().map_or(0, |found| found.slots.into()),
            devices: devices.collect(),
        }
    };
    scenario.guests.iter().enumerate().map(&mut attach).collect()
}

/// None if the device has no whole sector, which no scenario has.
fn model(machine: &Machine, (guest, number): DeviceId, device: &GuestDevice) -> Option<AnyDevice> {
    Some(match &device.kind {
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
    })
}
