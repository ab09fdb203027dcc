//! What a case says is changed until it names only things that there are.

use super::case::{
    Case, Deed, GuestSetup, LEAST_STORAGE, LoadContent, MOST_CPUS, MOST_GUESTS, MOST_IMAGE, MOST_MEMORY,
    MOST_STATEMENTS, MOST_STORAGE, MOST_VCPUS, Setup, USUAL_STORAGE,
};
use crate::scenario::{
    BufferId, FieldValue, GuestId, GuestState, ImagePart, Injection, MAX_VCPUS, Pages, PvCommand, Read, Source,
    UvcCall, Verb,
};
use std::collections::BTreeSet;
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE, PageIndex};
use uvsim_model::uvc::{Command, HEADER_LENGTH};

/// Pages that 64-bit addresses reach.
const ALL_PAGES: u64 = 1 << 52;
/// A call that stays busy longer only takes time.
const MOST_INJECTED: u64 = 64;
/// The host makes a copy as long as this before anybody looks at it.
const MOST_PARAMETERS: u32 = 1 << 20;
/// The most bytes that a guest reads back at once.
const MOST_VERIFIED: usize = 0x1_0000;
/// Calls that bring a host up.
const TO_BOOT: [Command; 1] = [Command::InitUv];
/// Calls that bring a guest up.
const TO_START: [Command; 8] = [
    Command::CreateSecConf,
    Command::CreateSecCpu,
    Command::SetSecConfParams,
    Command::UnpackImg,
    Command::VerifyImg,
    Command::CpuSetState,
    Command::ConvToSecStor,
    Command::DestroySecConf,
];

impl Case {
    pub(super) fn settle(&mut self) {
        self.setup.settle();
        self.statements.truncate(MOST_STATEMENTS);
        let mut settler = Settler { setup: &self.setup, saved: Vec::new(), added: BTreeSet::new() };
        self.statements.retain_mut(|deed| settler.settle(deed));
        // The end of a case looks at the invariants anyway.
        while self.statements.last().is_some_and(|deed| deed.verb == Verb::CheckInvariants) {
            self.statements.pop();
        }
    }
}

impl Setup {
    fn settle(&mut self) {
        let storage = if self.storage == 0 { USUAL_STORAGE } else { self.storage };
        self.storage = storage.clamp(LEAST_STORAGE, MOST_STORAGE);
        self.cpus = self.cpus.clamp(1, MOST_CPUS);
        self.guests.truncate(MOST_GUESTS);
        if self.guests.is_empty() {
            self.guests.push(GuestSetup::default());
        }
        let mut seen = BTreeSet::new();
        self.without.retain(|command| !TO_BOOT.contains(command) && seen.insert(*command));
        let startable = !TO_START.iter().any(|command| self.without.contains(command));
        for guest in &mut self.guests {
            guest.settle();
            if !startable {
                guest.state = GuestState::None;
            }
        }
    }
}

impl GuestSetup {
    fn settle(&mut self) {
        self.memory = self.memory.clamp(1, MOST_MEMORY);
        self.vcpus = self.vcpus.clamp(1, MOST_VCPUS);
        let memory = self.memory * MEBIBYTE;
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut left = MOST_IMAGE;
        self.loads.retain_mut(|load| {
            load.address %= memory;
            let room = left.min(memory - load.address);
            match &mut load.data {
                LoadContent::Bytes(bytes) => bytes.truncate(room as usize),
                LoadContent::Random(length) => *length = (*length).min(room),
            }
            let length = load.data.length();
            let (start, end) = (load.address, load.address + length);
            let free = taken.iter().all(|&(other, other_end)| end <= other || other_end <= start);
            if length == 0 || !free {
                return false;
            }
            left -= length;
            taken.push((start, end));
            true
        });
    }
}

struct Settler<'a> {
    setup: &'a Setup,
    /// Buffers in the order in which they are saved first, which is that of their numbers in a scenario.
    saved: Vec<BufferId>,
    added: BTreeSet<(GuestId, u16)>,
}

impl Settler<'_> {
    /// Whether the statement stays.
    fn settle(&mut self, deed: &mut Deed) -> bool {
        if super::verbs::number(&deed.verb).is_none() {
            return false;
        }
        let host_cpus = match &deed.verb {
            Verb::DeviceRead { .. }
            | Verb::DeviceWrite { .. }
            | Verb::HostFaults { .. }
            | Verb::HostInject { .. }
            | Verb::CheckInvariants => 1,
            verb if is_guests(verb) => MOST_VCPUS + 1,
            _ => self.setup.cpus,
        };
        deed.cpu %= host_cpus;
        match &mut deed.verb {
            Verb::HostRead { pages, read } | Verb::DeviceRead { pages, read } => {
                self.page(pages, false);
                self.read(read);
            }
            Verb::GuestRead { pages, read } => {
                self.page(pages, true);
                self.read(read);
            }
            Verb::HostWrite { pages, write } | Verb::DeviceWrite { pages, write } => {
                self.page(pages, false);
                return self.source(&mut write.offset, &mut write.data);
            }
            Verb::GuestWrite { pages, write } => {
                self.page(pages, true);
                return self.source(&mut write.offset, &mut write.data);
            }
            Verb::HostImport { pages }
            | Verb::HostUnpin { pages }
            | Verb::GuestShare { pages }
            | Verb::GuestUnshare { pages } => self.page(pages, true),
            Verb::HostFlip { pages, .. }
            | Verb::HostExport { pages }
            | Verb::HostDestroy { pages }
            | Verb::HostPin { pages }
            | Verb::HostMakeAccessible { pages }
            | Verb::HostPageOut { pages }
            | Verb::HostPageIn { pages }
            | Verb::HostMove { pages, .. }
            | Verb::HostUnmap { pages, .. } => self.page(pages, false),
            Verb::HostRemap { pages, to, .. } | Verb::HostCopy { pages, to } => {
                self.page(pages, false);
                self.page(to, false);
            }
            other => return self.life(other),
        }
        true
    }

    fn life(&mut self, verb: &mut Verb) -> bool {
        match verb {
            Verb::HostCreate { guest }
            | Verb::HostStart { guest }
            | Verb::HostStop { guest }
            | Verb::HostUnshareAll { guest }
            | Verb::HostTeardown { guest, .. }
            | Verb::HostReset { guest }
            | Verb::HostLoadImage { guest, .. }
            | Verb::HostFlipHeader { guest, .. }
            | Verb::GuestDiagnose { guest, .. }
            | Verb::GuestSetPrefix { guest, .. } => self.guest(guest),
            Verb::HostPv { guest, command } => {
                self.guest(guest);
                self.pv(command);
            }
            Verb::HostCreateCpu { guest, vcpu } => {
                self.guest(guest);
                *vcpu %= MAX_VCPUS;
                self.added.insert((*guest, *vcpu));
            }
            Verb::HostCpuReset { guest, vcpu, .. } | Verb::HostCpuState { guest, vcpu, .. } => {
                self.guest(guest);
                *vcpu %= MAX_VCPUS;
            }
            Verb::HostWriteHeader { guest, offset, data } => {
                self.guest(guest);
                return self.source(offset, data);
            }
            Verb::HostInject { command, injection } => match injection {
                Injection::Busy(count) | Injection::Partial(count) => *count = (*count).clamp(1, MOST_INJECTED),
                Injection::LateFailure => *command = Command::CreateSecConf,
            },
            Verb::HostUvc { call } => self.call(call, PAGE_SIZE as usize),
            Verb::GuestUvc { guest, call } => {
                self.guest(guest);
                self.call(call, 512);
            }
            Verb::GuestVerify { guest, address, data, frames } => {
                self.guest(guest);
                let memory = self.setup.guests[guest.0].memory * MEBIBYTE;
                *address %= memory;
                data.truncate(MOST_VERIFIED.min((memory - *address) as usize));
                if let Some(frames) = frames {
                    *frames = (*frames).max(1);
                }
                return !data.is_empty();
            }
            _ => {}
        }
        true
    }

    fn guest(&self, guest: &mut GuestId) {
        guest.0 %= self.setup.guests.len();
    }

    fn pages_of(&self, guest: GuestId) -> u64 {
        self.setup.guests[guest.0].memory * MEBIBYTE / PAGE_SIZE
    }

    fn page(&self, pages: &mut Pages, outside: bool) {
        self.guest(&mut pages.guest);
        let limit = if outside { ALL_PAGES } else { self.pages_of(pages.guest) };
        pages.first.0 %= limit;
        pages.last = pages.first;
    }

    fn save(&mut self, buffer: &mut Option<BufferId>) {
        let Some(buffer) = buffer else { return };
        let known = self.saved.iter().position(|saved| saved == buffer);
        let number = known.unwrap_or_else(|| {
            self.saved.push(*buffer);
            self.saved.len() - 1
        });
        buffer.0 = number;
    }

    fn read(&mut self, read: &mut Read) {
        read.offset %= PAGE_SIZE as u16;
        let room = PAGE_SIZE as u16 - read.offset;
        read.length = Some(read.length.unwrap_or(room).clamp(1, room));
        read.compare = None;
        self.save(&mut read.save);
    }

    /// Whether there is anything to write. A buffer fits wherever it comes from only from the first byte on.
    fn source(&self, offset: &mut u16, data: &mut Source) -> bool {
        *offset %= PAGE_SIZE as u16;
        match data {
            Source::Bytes(bytes) => {
                bytes.truncate(usize::from(PAGE_SIZE as u16 - *offset));
                !bytes.is_empty()
            }
            Source::Buffer(buffer) => {
                *offset = 0;
                let number = self.saved.iter().position(|saved| saved == buffer);
                buffer.0 = number.unwrap_or(0);
                number.is_some()
            }
        }
    }

    fn pv(&mut self, command: &mut PvCommand) {
        match command {
            PvCommand::SetSecParms { length: Some(length) } => *length = (*length).min(MOST_PARAMETERS),
            PvCommand::Unpack(unpack) if !matches!(unpack.part, ImagePart::Component(_)) => {
                (unpack.address, unpack.size, unpack.tweak) = (None, None, None);
            }
            PvCommand::Info { save } => self.save(save),
            PvCommand::AsyncCleanupPerform { pages: None, signal } => *signal = false,
            _ => {}
        }
    }

    fn call(&mut self, call: &mut UvcCall, room: usize) {
        call.command = Command::from_code(call.code);
        call.skew %= PAGE_SIZE as u16;
        call.bytes.truncate(room - HEADER_LENGTH);
        if call.command.is_none() {
            call.fields.clear();
        }
        let known = call.command.map_or(&[][..], |command| command.row().fields);
        let mut fields: Vec<_> = core::mem::take(&mut call.fields);
        fields.retain(|(field, _)| known.contains(field));
        fields.sort_by_key(|(field, _)| known.iter().position(|one| one == field));
        fields.dedup_by_key(|(field, _)| *field);
        for (field, value) in &mut fields {
            self.value(field.size, value);
        }
        call.fields = fields;
        self.save(&mut call.save);
    }

    fn value(&self, size: u8, value: &mut FieldValue) {
        let fits = match value {
            FieldValue::Number(_) => true,
            FieldValue::HeaderLength(_) => size >= 4,
            _ => size == 8,
        };
        if !fits {
            *value = FieldValue::Number(0);
        }
        match value {
            FieldValue::Number(number) => *number &= u64::MAX >> (64 - 8 * u32::from(size)),
            FieldValue::Handle(guest) | FieldValue::Header(guest) | FieldValue::HeaderLength(guest) => {
                self.guest(guest);
            }
            FieldValue::Cpu(guest, vcpu) => {
                self.guest(guest);
                if !self.added.contains(&(*guest, *vcpu)) {
                    *vcpu %= self.setup.guests[guest.0].vcpus;
                }
            }
            FieldValue::Frame(guest, PageIndex(page))
            | FieldValue::Page(guest, PageIndex(page))
            | FieldValue::TweakPrefix(guest, PageIndex(page))
            | FieldValue::TweakOffset(guest, PageIndex(page)) => {
                self.guest(guest);
                *page %= self.pages_of(*guest);
            }
        }
    }
}

/// Whether a guest acts.
pub(super) const fn is_guests(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::GuestRead { .. }
            | Verb::GuestWrite { .. }
            | Verb::GuestShare { .. }
            | Verb::GuestUnshare { .. }
            | Verb::GuestDiagnose { .. }
            | Verb::GuestSetPrefix { .. }
            | Verb::GuestUvc { .. }
            | Verb::GuestVerify { .. }
    )
}
