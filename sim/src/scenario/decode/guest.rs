//! `guest NAME memory=SIZE ... { load ... }`, `guest NAME ... { image FILE }`, `guest NAME domain=FILE ... { load ... }`

use std::path::Path;
use std::sync::Arc;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE};
use uvsim_model::config::MAX_STORAGE;

use super::super::document::{Guest, GuestId, GuestState, Load, LoadData, MAX_VCPUS};
use super::super::files::MAX_DATA_LENGTH;
use super::super::reader::NodeReader;
use super::super::syntax::shown;
use super::Decoder;
use crate::domain::{self, Domain, MAX_DOMAIN_LENGTH};
use crate::image::{Component, SeImage, SeImageFile};

impl Decoder<'_, '_> {
    pub(super) fn guest(&mut self, node: &KdlNode) {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let name = reader.argument("a name", &mut self.reports).and_then(|entry| self.guest_name(entry));
        let definition = reader.property("domain");
        let written = definition.and_then(|entry| self.domain(entry));
        // What the command line says goes before what the file says.
        let given = self.domain.clone().filter(|_| self.guests.is_empty());
        let memory = match reader.property("memory") {
            Some(entry) => self.memory(entry),
            None if definition.is_some() || given.is_some() => None,
            None => reader.required("memory", &mut self.reports).and_then(|entry| self.memory(entry)),
        };
        let vcpus = reader.property("vcpus").and_then(|entry| self.reports.number16(entry, 1, MAX_VCPUS));
        let (memory, vcpus) = match (&given, &written) {
            (Some(given), _) => (given.memory_bytes(), vcpus_of(given)),
            (None, Some(written)) => (memory.or(written.memory_bytes()), vcpus.or(vcpus_of(written))),
            (None, None) => (memory, vcpus),
        };
        if let Some(memory) = memory.filter(|&memory| memory > MAX_STORAGE) {
            let message = format!("a guest of {memory} bytes is more than this simulator runs");
            self.reports.report(reader.span(), message, "too large", "at most 16 TiB");
        }
        let states = [("running", GuestState::Running), ("created", GuestState::Created), ("none", GuestState::None)];
        let state =
            reader.property("state").and_then(|entry| self.reports.choice(entry, "a state of a guest", &states));
        // Where the size is not known, nothing is outside.
        let memory = memory.unwrap_or(MAX_STORAGE);
        let mut loads = Vec::new();
        let mut image = None;
        let slots = reader.property("swiotlb");
        let mut devices = Vec::new();
        for child in reader.children().map(KdlDocument::nodes).unwrap_or_default() {
            match child.name().value() {
                "load" => loads.extend(self.load(child, memory)),
                "image" => {
                    let read = self.image(child, memory);
                    self.once(&mut image, child, read);
                }
                word if super::devices::NODES.contains(&word) => {
                    let domain = given.as_deref().or(written.as_deref());
                    devices.extend(self.guest_device(child, domain, &devices));
                }
                _ => self.unknown_child(child, &["load", "image", "disk", "net", "console", "rng"]),
            }
        }
        if let (Some((first, _)), Some(load)) = (&image, loads.first()) {
            let message = "a guest starts from its loads, or from an image file".to_owned();
            let help = "remove the loads, or the image";
            self.reports.report_with(
                load.place.span,
                message,
                "one too many",
                help,
                Some((*first, "the image is here")),
            );
        }
        self.overlaps(&loads);
        let read = image.as_ref().and_then(|(_, image)| image.clone());
        let devices = self.devices_of(slots, devices, memory, &loads, read.as_deref());
        let place = self.reports.place(reader.span());
        reader.finish(&mut self.reports);
        let Some(name) = name else { return };
        self.guest_names.insert(name.clone(), GuestId(self.guests.len()));
        self.guests.push(Guest {
            place,
            name,
            memory,
            vcpus: vcpus.unwrap_or(1),
            state: state.unwrap_or_default(),
            loads,
            image: image.and_then(|(_, image)| image),
            domain: given.or(written),
            devices,
        });
    }

    /// `image FILE`: a complete image file or a bare header.
    fn image(&mut self, node: &KdlNode, memory: u64) -> Option<Arc<SeImage>> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let entry = reader.argument("a path", &mut self.reports);
        reader.finish(&mut self.reports);
        let entry = entry?;
        let path = self.reports.text(entry, "a path")?;
        let bytes = match self.files.read(Path::new(path), MAX_DATA_LENGTH) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("the image `{}` cannot be read: {error}", shown(path));
                let help = "paths are relative to the folder of the scenario";
                return self.reports.error(entry.span(), message, "not usable", help);
            }
        };
        let image = match SeImageFile::parse(&bytes) {
            Ok(file) => file.image,
            Err(error) => {
                let message = format!("`{}` is no image: {error}", shown(path));
                return self.reports.error(entry.span(), message, "not usable", "`uvsim image` makes and shows images");
            }
        };
        let fits = |component: &Component| {
            let end = component.address.checked_add(component.data.len() as u64);
            component.address.is_multiple_of(PAGE_SIZE) && end.is_some_and(|end| end <= memory)
        };
        if let Some(component) = image.components.iter().find(|component| !fits(component)) {
            let (address, length) = (component.address, component.data.len());
            let message = format!("a component of {length:#x} bytes at {address:#x} does not fit into the guest");
            return self.reports.error(
                entry.span(),
                message,
                "does not fit",
                "components take whole pages of the guest",
            );
        }
        Some(Arc::new(image))
    }

    /// A domain definition that a guest can be set up by.
    fn domain(&mut self, entry: &KdlEntry) -> Option<Arc<Domain>> {
        let path = self.reports.text(entry, "a path")?;
        let help = "paths are relative to the folder of the scenario";
        let bytes = match self.files.read(Path::new(path), MAX_DOMAIN_LENGTH) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("the domain `{}` cannot be read: {error}", shown(path));
                return self.reports.error(entry.span(), message, "not usable", help);
            }
        };
        let domain = match Domain::from_bytes(Path::new(path), bytes) {
            Ok(domain) => domain,
            Err(error) => {
                let message = format!("the domain `{}` cannot be used: {}", shown(path), error.on_one_line());
                return self.reports.error(entry.span(), message, "not usable", error.help.unwrap_or_default());
            }
        };
        let findings = domain::check(&domain);
        if let Some(finding) = findings.iter().find(|finding| finding.rules_out_the_guest()) {
            let (message, place) = (&finding.message, finding.place);
            let message = format!("`{}` defines no protected guest: {message} (line {})", shown(path), place.line);
            let help = "`uvsim check-domain` tells what to write";
            return self.reports.error(entry.span(), message, "not usable", help);
        }
        Some(Arc::new(domain))
    }

    fn guest_name(&mut self, entry: &KdlEntry) -> Option<String> {
        let name = self.reports.string(entry, "a name")?;
        let tail = name.strip_prefix(|c: char| c.is_ascii_alphabetic());
        if tail.is_none_or(|tail| tail.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')) {
            let message = format!("`{}` is not a name for a guest", shown(name));
            return self.reports.error(
                entry.span(),
                message,
                "not a name",
                "a letter, then letters, digits, `_` and `-`",
            );
        }
        if let Some(first) = self.guest_names.get(name) {
            let first = self.guests[first.0].place;
            self.reports.report_with(
                entry.span(),
                format!("a second guest named `{}`", shown(name)),
                "again here",
                "guests have names of their own",
                Some((first, "first here")),
            );
            return None;
        }
        Some(name.to_owned())
    }

    fn memory(&mut self, entry: &KdlEntry) -> Option<u64> {
        let memory = self.reports.size(entry)?;
        if memory == 0 || memory % MEBIBYTE != 0 || memory > MAX_STORAGE {
            return self.reports.error(
                entry.span(),
                "no guest has this much memory".to_owned(),
                "out of range",
                "a multiple of 1 MiB, from 1 MiB to 16 TiB",
            );
        }
        Some(memory)
    }

    fn load(&mut self, node: &KdlNode, memory: u64) -> Option<Load> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let entry = reader.argument("an address", &mut self.reports);
        let address = entry.and_then(|entry| self.reports.number(entry, 0, u64::MAX));
        let given = self.one_of(&mut reader, &["text", "hex", "file", "random"], true);
        reader.finish(&mut self.reports);
        let (address, entry, given) = (address?, entry?, given?);
        let data = self.content(entry, address, given, memory)?;
        Some(Load { place, address, data })
    }

    /// Bytes that lie at an address of a guest, all of them inside.
    pub(super) fn content(
        &mut self,
        entry: &KdlEntry,
        address: u64,
        (kind, content): (&str, &KdlEntry),
        memory: u64,
    ) -> Option<LoadData> {
        if address >= memory {
            return self.reports.error(
                entry.span(),
                format!("address {address:#x} is outside of the guest"),
                "outside",
                format!("the guest has {memory:#x} bytes"),
            );
        }
        let room = memory - address;
        let data = match kind {
            "text" => LoadData::Bytes(self.reports.text(content, "a text")?.as_bytes().to_vec()),
            "hex" => LoadData::Bytes(self.reports.hex(content)?),
            "file" => LoadData::Bytes(self.file(content, room)?),
            _ => LoadData::Random(self.random(content)?),
        };
        if data.len() > room {
            let message = format!("{} bytes from {address:#x} on do not fit into the guest", data.len());
            return self.reports.error(content.span(), message, "too long", format!("{room} bytes are left there"));
        }
        Some(data)
    }

    pub(super) fn file(&mut self, entry: &KdlEntry, room: u64) -> Option<Vec<u8>> {
        let path = self.reports.text(entry, "a path")?;
        match self.files.read(Path::new(path), room.min(MAX_DATA_LENGTH)) {
            Ok(bytes) if bytes.is_empty() => {
                self.reports.error(entry.span(), format!("the file `{}` is empty", shown(path)), "empty", "")
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("the file `{}` cannot be loaded: {error}", shown(path));
                self.reports.error(
                    entry.span(),
                    message,
                    "not usable",
                    "paths are relative to the folder of the scenario",
                )
            }
        }
    }

    /// A length in bytes, as a number or as a size.
    fn random(&mut self, entry: &KdlEntry) -> Option<u64> {
        if !matches!(entry.value(), KdlValue::String(_)) {
            return self.reports.number(entry, 1, u64::MAX);
        }
        let size = self.reports.size(entry)?;
        if size == 0 {
            return self.reports.error(entry.span(), "nothing to load".to_owned(), "empty", "");
        }
        Some(size)
    }

    fn overlaps(&mut self, loads: &[Load]) {
        let mut sorted: Vec<&Load> = loads.iter().collect();
        sorted.sort_by_key(|load| load.address);
        let mut widest: Option<&Load> = None;
        for load in sorted {
            if let Some(before) = widest
                && load.address - before.address < before.data.len()
            {
                let (later, earlier) =
                    if load.place.span.offset() > before.place.span.offset() { (load, before) } else { (before, load) };
                self.reports.report_with(
                    later.place.span,
                    "this load overlaps another".to_owned(),
                    "overlaps",
                    "a byte is loaded once",
                    Some((earlier.place, "with this one")),
                );
            }
            if widest.is_none_or(|before| before.address + before.data.len() < load.address + load.data.len()) {
                widest = Some(load);
            }
        }
    }
}

fn vcpus_of(domain: &Domain) -> Option<u16> {
    domain.vcpu_count().and_then(|count| u16::try_from(count).ok())
}
