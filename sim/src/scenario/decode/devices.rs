//! `disk NAME [file=PATH] [size=SIZE]`, `net NAME [to="GUEST:NAME"]`, `console`, `rng` of a guest.

use std::path::Path;
use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};
use miette::SourceSpan;
use uvsim_model::address::PAGE_SIZE;

use super::super::document::{GuestId, Load};
use super::super::files::{FileError, MAX_DATA_LENGTH};
use super::super::io::{DEFAULT_SLOTS, DeviceKind, DiskContent, GuestDevice, GuestDevices, SECTOR};
use super::super::reader::NodeReader;
use super::super::syntax::shown;
use super::Decoder;
use super::verb::wanted;
use crate::domain::{self, Domain};
use crate::image::SeImage;

/// The nodes that are decoded here.
pub(super) const NODES: [&str; 5] = ["disk", "net", "console", "rng", "balloon"];
/// The low end of the guest, its prefix area, control block and program: nothing of it is given to devices.
const LOW_BYTES: u64 = 16 * PAGE_SIZE;

/// The other end of a network device, as it is written: the guest may come later.
pub(super) struct Link {
    guest: GuestId,
    device: usize,
    to: String,
    span: SourceSpan,
}

impl Decoder<'_, '_> {
    /// A device of the guest that is being decoded, which will be the next one.
    pub(super) fn guest_device(
        &mut self,
        node: &KdlNode,
        domain: Option<&Domain>,
        before: &[GuestDevice],
    ) -> Option<GuestDevice> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let word = node.name().value();
        if word == "balloon" {
            reader.accept_all();
            return self.reports.error(
                reader.span(),
                "a protected guest has no balloon".to_owned(),
                "not possible",
                "a page that the host takes and gives back would fail its integrity check (T26), so QEMU inhibits the \
                 balloon: remove it, in libvirt <memballoon model='none'/>",
            );
        }
        let place = self.reports.place(reader.span());
        let named = matches!(word, "disk" | "net");
        let name = match named {
            true => reader.argument("a name", &mut self.reports).and_then(|entry| self.device_name(entry)),
            false => Some(word.to_owned()),
        };
        let kind = match word {
            "disk" => self.disk(&mut reader),
            "net" => {
                let to = reader.property("to");
                if let Some((span, to)) = to.and_then(|entry| Some((entry.span(), self.device_path(entry)?))) {
                    self.links.push(Link { guest: GuestId(self.guests.len()), device: before.len(), to, span });
                }
                Some(DeviceKind::Net { to: None })
            }
            "console" => Some(DeviceKind::Console),
            _ => Some(DeviceKind::Entropy),
        };
        let iommu = match reader.property("iommu") {
            Some(entry) => self.reports.truth(entry),
            None => Some(domain.and_then(|domain| inherited(domain, name.as_deref()?)).unwrap_or(true)),
        };
        reader.finish(&mut self.reports);
        let (name, iommu, kind) = (name?, iommu?, kind?);
        if let Some(first) = before.iter().find(|device| device.name == name) {
            let (message, help) = match named {
                true => (format!("a second device named `{}`", shown(&name)), "devices have names of their own"),
                false => (format!("a second `{word}`"), "a guest has one of them at most"),
            };
            let first = Some((first.place, "first here"));
            self.reports.report_with(place.span, message, "again here", help, first);
            return None;
        }
        Some(GuestDevice { place, name, iommu, kind })
    }

    fn device_path(&mut self, entry: &KdlEntry) -> Option<String> {
        self.reports.text(entry, "a device of a guest").map(str::to_owned)
    }

    fn device_name(&mut self, entry: &KdlEntry) -> Option<String> {
        let name = self.reports.string(entry, "a name")?;
        let tail = name.strip_prefix(|c: char| c.is_ascii_alphabetic());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if tail.is_some_and(|tail| tail.chars().all(plain)) && !NODES.contains(&name) {
            return Some(name.to_owned());
        }
        let message = format!("`{}` is not a name for a device", shown(name));
        let help = "a letter, then letters, digits, `_` and `-`; not the word for a device";
        self.reports.error(entry.span(), message, "not a name", help)
    }

    fn disk(&mut self, reader: &mut NodeReader<'_>) -> Option<DeviceKind> {
        let (file, size) = (reader.property("file"), reader.property("size"));
        let read_only = self.switch(reader, "read-only", false);
        if let Some(entry) = reader.property("persist") {
            let message = "a run writes to a copy of a disk, never to its file".to_owned();
            let help = "remove it: so a run can be repeated. What is on the disk in the end shows `guest disk-read`";
            return self.reports.error(entry.span(), message, "not possible", help);
        }
        let size = size.map(|entry| self.disk_size(entry).map(|bytes| (entry, bytes)));
        let content = match (file, size) {
            (Some(file), size) => self.disk_file(file, wanted(size)?)?,
            (None, Some(size)) => DiskContent::Zeros(size?.1),
            (None, None) => {
                let (span, message) = (reader.span(), "`disk` lacks one of: file= size=".to_owned());
                return self.reports.error(span, message, "one of them expected", "");
            }
        };
        Some(DeviceKind::Disk { content, read_only: read_only? })
    }

    /// Whole sectors, at least one.
    fn disk_size(&mut self, entry: &KdlEntry) -> Option<u64> {
        let bytes = self.reports.size(entry)?;
        if bytes > MAX_DATA_LENGTH {
            let message = format!("a disk of {bytes} bytes is more than this simulator keeps");
            return self.reports.error(entry.span(), message, "too large", "at most 1 GiB");
        }
        if bytes < SECTOR {
            let message = format!("a disk has at least one sector of {SECTOR} bytes");
            return self.reports.error(entry.span(), message, "too small", "");
        }
        if !bytes.is_multiple_of(SECTOR) {
            let (below, above) = (bytes / SECTOR * SECTOR, bytes.next_multiple_of(SECTOR));
            let message = format!("a disk of {bytes} bytes has no whole number of sectors of {SECTOR} bytes");
            let help = format!("write \"{below}B\" or \"{above}B\"");
            return self.reports.error(entry.span(), message, "not a multiple", help);
        }
        Some(bytes)
    }

    /// A copy of a file, with zeros behind it: up to the size that is wanted, or, as QEMU does, to whole sectors.
    fn disk_file(&mut self, entry: &KdlEntry, size: Option<(&KdlEntry, u64)>) -> Option<DiskContent> {
        let path = self.reports.text(entry, "a path")?;
        let mut bytes = match self.files.read(Path::new(path), MAX_DATA_LENGTH) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("the disk `{}` cannot be read: {error}", shown(path));
                let help = match error {
                    FileError::TooLong { .. } => "a disk has at most 1 GiB",
                    _ => "paths are relative to the folder of the scenario",
                };
                return self.reports.error(entry.span(), message, "not usable", help);
            }
        };
        let length = bytes.len() as u64;
        match size {
            Some((size_entry, size)) if length > size => {
                let message = format!("`{}` has {length} bytes and does not fit on a disk of {size}", shown(path));
                let help = format!("size=\"{}B\" at least, or leave `size=` out", length.next_multiple_of(SECTOR));
                return self.reports.error(size_entry.span(), message, "too small", help);
            }
            None if length == 0 => {
                let message = format!("the disk `{}` is empty", shown(path));
                let help = format!("a disk has at least one sector of {SECTOR} bytes: give it a `size=` as well");
                return self.reports.error(entry.span(), message, "not usable", help);
            }
            _ => {}
        }
        let sectors = size.map_or(length.next_multiple_of(SECTOR), |(_, size)| size);
        bytes.resize(usize::try_from(sectors).ok()?, 0);
        Some(DiskContent::Bytes(Arc::from(bytes)))
    }

    /// What the devices need of the memory is there, and nothing is loaded into it.
    pub(super) fn devices_of(
        &mut self,
        slots: Option<&KdlEntry>,
        devices: Vec<GuestDevice>,
        memory: u64,
        loads: &[Load],
        image: Option<&SeImage>,
    ) -> Option<GuestDevices> {
        let number = slots.and_then(|entry| self.reports.number(entry, 0, u32::MAX.into()));
        let Some(first) = devices.first().map(|device| device.place) else {
            if let Some(entry) = slots {
                let message = "a bounce buffer without a device".to_owned();
                self.reports.report(entry.span(), message, "without a device", "give the guest a device as well");
            }
            return None;
        };
        let slots_given = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(DEFAULT_SLOTS);
        let found = GuestDevices { slots: slots_given, devices };
        let span = slots.map_or(first.span, KdlEntry::span);
        if found.pool_bytes() > memory / 2 {
            let message = format!("{} slots take more than half of the memory", found.slots);
            let most = memory / 2 / super::super::io::SLOT;
            return self.reports.error(span, message, "too many", format!("at most {most} in this guest"));
        }
        let start = memory.checked_sub(found.shared_bytes()).filter(|&start| start >= LOW_BYTES);
        let Some(start) = start else {
            let message = format!("the devices need {} bytes of the guest's memory", found.shared_bytes());
            return self.reports.error(span, message, "too large", "give the guest more memory, or fewer devices");
        };
        for load in loads.iter().filter(|load| load.address + load.data.len() > start) {
            self.reports.report_with(
                load.place.span,
                format!("the memory from {start:#x} on belongs to the devices"),
                "shared with the host",
                "load below it: rings and bounce buffer lie at the end of the guest",
                Some((first, "a device")),
            );
        }
        let reaches = |image: &&SeImage| {
            image.components.iter().any(|part| part.address.saturating_add(part.data.len() as u64) > start)
        };
        if image.filter(reaches).is_some() {
            let message = format!("the image reaches into the memory from {start:#x} on, which belongs to the devices");
            return self.reports.error(first.span, message, "shared with the host", "give the guest more memory");
        }
        Some(found)
    }

    /// Joins network devices, once all guests are known.
    pub(super) fn join(&mut self) {
        for link in std::mem::take(&mut self.links) {
            let Some((guest, device)) = self.other_end(&link) else { continue };
            let taken = self.net_to(guest, device).filter(|&back| back != (link.guest, link.device));
            if taken.is_some() {
                let message = format!("`{}` is joined to another device already", shown(&link.to));
                self.reports.report(link.span, message, "taken", "a network device has one other end");
                continue;
            }
            self.set_net_to((link.guest, link.device), (guest, device));
            self.set_net_to((guest, device), (link.guest, link.device));
        }
    }

    fn other_end(&mut self, link: &Link) -> Option<(GuestId, usize)> {
        let Some((guest, name)) = link.to.split_once(':') else {
            let message = format!("`{}` is not a device of a guest", shown(&link.to));
            return self.reports.error(link.span, message, "device expected", "write GUEST:NAME");
        };
        let Some(&guest) = self.guest_names.get(guest) else {
            let help = self.reports.suggestion(guest, self.guest_names.keys().map(String::as_str));
            return self.reports.error(
                link.span,
                format!("there is no guest `{}`", shown(guest)),
                "unknown guest",
                help,
            );
        };
        let nets = self.nets(guest);
        let Some((number, _)) = nets.iter().find(|(_, found)| found == name) else {
            let help = self.reports.suggestion(name, nets.iter().map(|(_, name)| name.as_str()));
            let message = format!("the guest has no network device `{}`", shown(name));
            return self.reports.error(link.span, message, "unknown device", help);
        };
        if let Some(other) = self.net_to(link.guest, link.device).filter(|&other| other != (guest, *number)) {
            let other = &self.guests[other.0.0].name;
            let message = format!("a device of `{other}` is joined to this one already");
            return self.reports.error(link.span, message, "taken", "a network device has one other end");
        }
        Some((guest, *number))
    }

    fn nets(&self, guest: GuestId) -> Vec<(usize, String)> {
        let devices = self.guests[guest.0].devices.iter().flat_map(|devices| devices.devices.iter().enumerate());
        let nets = devices.filter(|(_, device)| matches!(device.kind, DeviceKind::Net { .. }));
        nets.map(|(number, device)| (number, device.name.clone())).collect()
    }

    fn net_to(&self, guest: GuestId, device: usize) -> Option<(GuestId, usize)> {
        match self.guests.get(guest.0)?.devices.as_ref()?.devices.get(device)?.kind {
            DeviceKind::Net { to } => to,
            _ => None,
        }
    }

    fn set_net_to(&mut self, (guest, device): (GuestId, usize), other: (GuestId, usize)) {
        let devices = self.guests.get_mut(guest.0).and_then(|guest| guest.devices.as_mut());
        if let Some(GuestDevice { kind: DeviceKind::Net { to }, .. }) =
            devices.and_then(|devices| devices.devices.get_mut(device))
        {
            *to = Some(other);
        }
    }
}

/// What a domain definition says of a disk of this name.
fn inherited(domain: &Domain, name: &str) -> Option<bool> {
    let named = |device: &&domain::Device| match &device.kind {
        domain::DeviceKind::Disk { target, .. } => target.as_deref() == Some(name),
        _ => false,
    };
    let disk = domain.disks().find(named)?;
    let written = disk.driver.as_ref().and_then(|driver| driver.iommu.as_ref());
    // Launch security sets it where nothing is written.
    Some(written.map_or_else(|| domain.has_protected_launch(), |iommu| iommu.value == "on"))
}
