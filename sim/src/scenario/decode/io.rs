//! What drivers of a guest do, and `check io`.

use kdl::KdlEntry;

use super::super::document::{BufferId, GuestId};
use super::super::io::{ConsoleText, DeviceKind, DiskData, GuestDevice, GuestDevices, GuestIo, IoCheck, SECTOR};
use super::super::outcome::Expectation;
use super::super::reader::NodeReader;
use super::super::statement::{Source, Verb};
use super::super::syntax::shown;
use super::Decoder;
use super::verb::wanted;

/// The verbs that are decoded here.
pub(super) const VERBS: [&str; 8] =
    ["disk-read", "disk-write", "send", "receive", "console-write", "console-read", "entropy", "remove-devices"];

/// The most sectors of a request, 32 MiB.
const MOST_SECTORS: u64 = 1 << 16;

impl Decoder<'_, '_> {
    pub(super) fn guest_io(
        &mut self,
        verb: &str,
        reader: &mut NodeReader<'_>,
        expectation: &Expectation,
    ) -> Option<Verb> {
        let guest = self.guest_with_devices(reader)?;
        let io = match verb {
            "disk-read" => self.disk_read(reader, guest, expectation),
            "disk-write" => self.disk_write(reader, guest, expectation),
            "send" => {
                let net = self.named_device(reader, guest, "net");
                let given = self.one_of(reader, &["text", "hex", "from"], true);
                let data = given.and_then(|given| self.source(given));
                Some(GuestIo::Send { net: net?, data: data? })
            }
            "receive" => {
                let net = self.named_device(reader, guest, "net");
                let (save, compare) = self.whole(reader, expectation);
                Some(GuestIo::Receive { net: net?, save, compare: wanted(compare)? })
            }
            "console-write" => {
                let (console, text) = self.console_text(reader, guest)?;
                Some(GuestIo::ConsoleWrite { console, text })
            }
            "console-read" => {
                let console = self.only_device(reader, guest, "console");
                let (save, compare) = self.whole(reader, expectation);
                Some(GuestIo::ConsoleRead { console: console?, save, compare: wanted(compare)? })
            }
            "entropy" => {
                let rng = self.only_device(reader, guest, "rng");
                let length = reader.required("len", &mut self.reports);
                let length = length.and_then(|entry| self.reports.number16(entry, 1, 4096));
                let save = self.save(reader, length);
                self.only_with_ok(reader, None, expectation);
                Some(GuestIo::Entropy { rng: rng?, length: length?, save })
            }
            _ => Some(GuestIo::RemoveDevices),
        };
        Some(Verb::GuestIo { guest, io: io? })
    }

    /// `host console-write GUEST text=`, `host console-read GUEST`
    pub(super) fn host_console(
        &mut self,
        verb: &str,
        reader: &mut NodeReader<'_>,
        expectation: &Expectation,
    ) -> Option<Verb> {
        let guest = self.guest_with_devices(reader)?;
        let (console, text) = if verb == "console-write" {
            let (console, text) = self.console_text(reader, guest)?;
            (console, ConsoleText::Write(text))
        } else {
            let console = self.only_device(reader, guest, "console");
            let (save, compare) = self.whole(reader, expectation);
            (console?, ConsoleText::Read { save, compare: wanted(compare)? })
        };
        Some(Verb::HostConsole { guest, console, text })
    }

    fn console_text(&mut self, reader: &mut NodeReader<'_>, guest: GuestId) -> Option<(usize, Vec<u8>)> {
        let console = self.only_device(reader, guest, "console");
        let text = reader.required("text", &mut self.reports);
        let text = text.and_then(|entry| self.reports.text(entry, "a text"));
        Some((console?, text?.as_bytes().to_vec()))
    }

    /// What is done with bytes of any length: they are saved, or compared as a whole.
    fn whole(
        &mut self,
        reader: &mut NodeReader<'_>,
        expectation: &Expectation,
    ) -> (Option<BufferId>, Option<Option<Source>>) {
        let compared = self.one_of(reader, &["text", "hex", "equals"], false);
        let compare = compared.map(|compared| self.source(compared));
        let save = self.save(reader, None);
        self.only_with_ok(reader, compared, expectation);
        (save, compare)
    }

    /// The guest that a statement about devices is for.
    fn guest_with_devices(&mut self, reader: &mut NodeReader<'_>) -> Option<GuestId> {
        let entry = reader.argument("a guest", &mut self.reports);
        let guest = entry.and_then(|entry| Some((entry, self.guest_of(entry)?)));
        let guest = guest.and_then(|(entry, guest)| self.with_devices(entry, guest));
        if guest.is_none() {
            // Without the guest its devices are not known.
            reader.accept_all();
        }
        guest
    }

    fn with_devices(&mut self, entry: &KdlEntry, guest: GuestId) -> Option<GuestId> {
        let found = &self.guests[guest.0];
        if found.devices.is_some() {
            return Some(guest);
        }
        let message = format!("guest `{}` has no devices", found.name);
        let help = "give it one where it is declared: disk, net, console, rng";
        self.reports.error(entry.span(), message, "without devices", help)
    }

    /// The device that `disk=` or `net=` names.
    fn named_device(&mut self, reader: &mut NodeReader<'_>, guest: GuestId, word: &'static str) -> Option<usize> {
        let entry = reader.required(word, &mut self.reports)?;
        let name = self.reports.text(entry, "a device")?;
        let devices = self.devices(guest);
        if let Some(number) = devices.iter().position(|device| device.name == name && device.kind.word() == word) {
            return Some(number);
        }
        let names = devices.iter().filter(|device| device.kind.word() == word).map(|device| device.name.as_str());
        let help = self.reports.suggestion(name, names);
        let message = format!("the guest has no {word} `{}`", shown(name));
        self.reports.error(entry.span(), message, "unknown device", help)
    }

    /// The console, the entropy source.
    fn only_device(&mut self, reader: &NodeReader<'_>, guest: GuestId, word: &str) -> Option<usize> {
        let found = self.devices(guest).iter().position(|device| device.kind.word() == word);
        if found.is_none() {
            let message = format!("the guest has no {word}");
            let help = format!("give it one where it is declared: {word}");
            return self.reports.error(reader.span(), message, "without its device", help);
        }
        found
    }

    fn devices(&self, guest: GuestId) -> &[GuestDevice] {
        self.guests[guest.0].devices.as_ref().map_or(&[], |devices: &GuestDevices| &devices.devices)
    }

    fn disk_read(&mut self, reader: &mut NodeReader<'_>, guest: GuestId, expectation: &Expectation) -> Option<GuestIo> {
        let disk = self.named_device(reader, guest, "disk");
        let sector = self.sector(reader);
        let count = self.count(reader);
        let to = reader.property("to").map(|entry| self.reports.number(entry, 0, u64::MAX).map(|to| (entry, to)));
        let compared = self.one_of(reader, &["text", "hex", "equals", "file"], false);
        let compare = compared.map(|compared| self.disk_source(compared));
        let save = self.save(reader, count.and_then(|count| u16::try_from(u64::from(count) * SECTOR).ok()));
        self.only_with_ok(reader, compared, expectation);
        let (disk, sector, count, to, compare) = (disk?, sector?, count?, wanted(to)?, wanted(compare)?);
        self.on_disk(reader, guest, disk, (sector, count.into()), expectation)?;
        if let Some((entry, to)) = to {
            self.own_memory(entry, guest, to, u64::from(count) * SECTOR)?;
        }
        Some(GuestIo::DiskRead { disk, sector, count, to: to.map(|(_, to)| to), save, compare })
    }

    fn disk_write(
        &mut self,
        reader: &mut NodeReader<'_>,
        guest: GuestId,
        expectation: &Expectation,
    ) -> Option<GuestIo> {
        let disk = self.named_device(reader, guest, "disk");
        let sector = self.sector(reader);
        let given = self.one_of(reader, &["text", "hex", "from", "file", "at"], true);
        let data = match given? {
            ("at", entry) => {
                let address = self.reports.number(entry, 0, u64::MAX);
                let count = self.count(reader)?;
                let address = address?;
                self.own_memory(entry, guest, address, u64::from(count) * SECTOR)?;
                DiskData::Memory { address, count }
            }
            ("from", entry) => DiskData::Given(Source::Buffer(self.buffer(entry)?)),
            given => DiskData::Given(self.disk_source(given)?),
        };
        let (disk, sector) = (disk?, sector?);
        let count = match &data {
            DiskData::Memory { count, .. } => u64::from(*count),
            DiskData::Given(Source::Bytes(bytes)) => (bytes.len() as u64).div_ceil(SECTOR),
            // How much a buffer holds shows when the statement runs.
            DiskData::Given(Source::Buffer(_)) => 1,
        };
        self.on_disk(reader, guest, disk, (sector, count), expectation)?;
        Some(GuestIo::DiskWrite { disk, sector, data })
    }

    fn sector(&mut self, reader: &mut NodeReader<'_>) -> Option<u64> {
        let entry = reader.required("sector", &mut self.reports)?;
        self.reports.number(entry, 0, u64::MAX / SECTOR)
    }

    fn count(&mut self, reader: &mut NodeReader<'_>) -> Option<u32> {
        let entry = reader.required("count", &mut self.reports)?;
        self.reports.number(entry, 1, MOST_SECTORS).and_then(|count| u32::try_from(count).ok())
    }

    /// As other sources; `file=` is read here.
    fn disk_source(&mut self, (kind, entry): (&str, &KdlEntry)) -> Option<Source> {
        match kind {
            "file" => self.file(entry, MOST_SECTORS * SECTOR).map(Source::Bytes),
            _ => self.source((kind, entry)),
        }
    }

    /// Sectors behind the end of a disk are asked for on purpose only.
    fn on_disk(
        &mut self,
        reader: &mut NodeReader<'_>,
        guest: GuestId,
        disk: usize,
        (sector, count): (u64, u64),
        expectation: &Expectation,
    ) -> Option<()> {
        let DeviceKind::Disk { content, .. } = &self.devices(guest)[disk].kind else { return None };
        let sectors = content.sectors();
        if expectation.explicit || sector.checked_add(count).is_some_and(|end| end <= sectors) {
            return Some(());
        }
        let span = reader.property("sector").map_or(reader.span(), KdlEntry::span);
        self.reports.error(
            span,
            format!("{count} sectors from {sector} on are not all on the disk"),
            "outside",
            format!("its sectors are 0 to {}; to go beyond, say what is expected with `expect=`", sectors - 1),
        )
    }

    /// A stretch of memory that the guest shares with nobody.
    fn own_memory(&mut self, entry: &KdlEntry, guest: GuestId, address: u64, length: u64) -> Option<()> {
        let found = &self.guests[guest.0];
        let shared = found.devices.as_ref().map_or(0, GuestDevices::shared_bytes);
        let end = found.memory.saturating_sub(shared);
        if address.checked_add(length).is_some_and(|last| last <= end) {
            return Some(());
        }
        self.reports.error(
            entry.span(),
            format!("{length} bytes from {address:#x} on do not lie in the guest's own memory"),
            "outside",
            format!("it ends at {end:#x}, where rings and bounce buffer begin"),
        )
    }

    /// `check io GUEST [requests=N] [bounced=N] [slots=N] [pins=N]`
    pub(super) fn check_io(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let entry = reader.argument("a guest", &mut self.reports);
        let guest = entry.and_then(|entry| Some((entry, self.guest_of(entry)?)));
        let guest = guest.and_then(|(entry, guest)| self.with_devices(entry, guest));
        let given = ["requests", "bounced", "slots", "pins"].map(|name| reader.property(name));
        if given == [None; 4] {
            return self.reports.error(
                reader.span(),
                "`check io` checks nothing".to_owned(),
                "incomplete",
                "give at least one of: requests= bounced= slots= pins=",
            );
        }
        let [requests, bounced, slots, pins] =
            given.map(|entry| entry.map(|entry| self.reports.number(entry, 0, u64::MAX)));
        let check = IoCheck {
            requests: wanted(requests)?,
            bounced: wanted(bounced)?,
            slots: wanted(slots)?,
            pins: wanted(pins)?,
        };
        Some(Verb::CheckIo { guest: guest?, check })
    }
}
