//! The machine, seen as the oracle sees it, part by part. Each look compares one part and notes what differs.

use crate::bridge;
use crate::difference::Part;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::storage::{Domain, Donation, FrameState};
use uvsim_model::{GuestRegisters, Machine};
use uvsim_oracle::State;
use uvsim_oracle::ids::{FrameNumber, Handle, PageIndex};
use uvsim_oracle::state::{Boot, Configuration, Purpose, Record, Registered, Registers, Zone};

/// Parts that are written down at most. One step that goes wrong can change very many.
const MOST_PARTS: usize = 256;

/// A comparison of parts of a machine with a state.
pub(crate) struct Look<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) state: &'a State,
    pub(crate) parts: Vec<Part>,
    /// Owner of the zone entry that was looked at last.
    owner: Option<(Domain, Option<u64>)>,
}

/// What a frame is, as far as both sides can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plain {
    NonSecure,
    Base,
    ConfigurationBase(Option<u64>),
    Variable(Option<u64>),
    /// By the configuration of the CPU.
    Cpu(Option<u64>),
    Registered(Registered, Option<u64>, PageIndex),
}

impl<'a> Look<'a> {
    pub(crate) fn new(machine: &'a Machine, state: &'a State) -> Self {
        Self { machine, state, parts: Vec::new(), owner: None }
    }

    /// What is neither storage nor a configuration.
    pub(crate) fn machine(&mut self) {
        let (machine, state) = (self.machine, self.state);
        self.part(state.initialised, machine.is_initialised(), || vec!["initialised".into()]);
        self.part(state.clock, machine.clock(), || vec!["clock".into()]);
    }

    /// Zone entry and bytes of a frame.
    pub(crate) fn frame(&mut self, frame: FrameNumber) {
        if !matches!(self.state.zone(frame), Zone::Donated(_)) {
            let mut bytes = [0; PAGE_SIZE as usize];
            if self.machine.peek(frame.address(), &mut bytes) {
                self.bytes(frame, &bytes);
            }
        }
    }

    /// Bytes of a frame that is not donated.
    pub(crate) fn bytes(&mut self, frame: FrameNumber, found: &[u8; PAGE_SIZE as usize]) {
        const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
        let wanted = self.state.storage.get(&frame).map_or(&ZEROS, |bytes| &**bytes);
        if wanted == found {
            return;
        }
        let mut at = 0;
        while let Some(first) = (at..found.len()).find(|&at| wanted[at] != found[at]) {
            // Equal bytes between two that differ belong to the same field, mostly.
            let end = (first..found.len())
                .take_while(|&at| wanted[at..].iter().zip(&found[at..]).take(8).any(|(a, b)| a != b));
            let end = end.last().map_or(first, |last| last) + 1;
            let path = || vec!["storage".into(), format!("frame {frame}"), format!("+{first:#05x}")];
            self.note(path, shown(&wanted[first..end]), shown(&found[first..end]));
            at = end;
        }
    }

    /// Zone entry of a frame.
    pub(crate) fn zone(&mut self, frame: FrameNumber) {
        let (wanted, found) = (self.wanted_zone(frame), self.found_zone(self.machine.frame_state(frame)));
        self.part_shown(wanted, found, || vec!["zone".into(), format!("frame {frame}")]);
    }

    /// The same, with the entry at hand.
    pub(crate) fn zone_is(&mut self, frame: FrameNumber, state: FrameState) {
        let (wanted, found) = (self.wanted_zone(frame), self.found_zone(state));
        self.part_shown(wanted, found, || vec!["zone".into(), format!("frame {frame}")]);
    }

    /// The entries of a stretch that is, or was, donated as a whole.
    pub(crate) fn zones(&mut self, first: FrameNumber, count: u64) {
        let mut frame = first.0;
        while frame < first.0 + count {
            // Zone base storage has tens of thousands of frames, and they are alike.
            if self.machine.frame_state(FrameNumber(frame)) == FrameState::Donated(Donation::Base)
                && let Zone::Donated(Purpose::Base) = self.state.zone(FrameNumber(frame))
                && let Some((start, donated)) = self.state.donated.get_prev(&FrameNumber(frame))
            {
                let end = (start.0 + donated.count).min(first.0 + count);
                let base =
                    |frame: &u64| self.machine.frame_state(FrameNumber(*frame)) == FrameState::Donated(Donation::Base);
                frame = (frame..end).find(|frame| !base(frame)).unwrap_or(end);
            } else {
                self.zone(FrameNumber(frame));
                frame += 1;
            }
        }
    }

    fn wanted_zone(&self, frame: FrameNumber) -> Plain {
        match self.state.zone(frame) {
            Zone::NonSecure => Plain::NonSecure,
            Zone::Donated(Purpose::Base) => Plain::Base,
            Zone::Donated(Purpose::ConfigurationBase(handle)) => Plain::ConfigurationBase(Some(handle.0)),
            Zone::Donated(Purpose::Variable(handle)) => Plain::Variable(Some(handle.0)),
            Zone::Donated(Purpose::Cpu(handle)) => {
                Plain::Cpu(self.state.cpus.get(&handle).map(|cpu| cpu.configuration.0))
            }
            Zone::Registered(it) => Plain::Registered(it.kind, Some(it.configuration.0), it.page),
        }
    }

    fn found_zone(&mut self, state: FrameState) -> Plain {
        match state {
            FrameState::NonSecure => Plain::NonSecure,
            FrameState::Donated(Donation::Base) => Plain::Base,
            FrameState::Donated(Donation::ConfigurationBase(domain)) => Plain::ConfigurationBase(self.owner(domain)),
            FrameState::Donated(Donation::ConfigurationVariable(domain, _)) => Plain::Variable(self.owner(domain)),
            FrameState::Donated(Donation::Cpu(domain)) => Plain::Cpu(self.owner(domain)),
            FrameState::Secure(domain, page) => Plain::Registered(Registered::Secure, self.owner(domain), page),
            FrameState::Shared(domain, page) => Plain::Registered(Registered::Shared, self.owner(domain), page),
            FrameState::Pinned(domain, page) => Plain::Registered(Registered::Pinned, self.owner(domain), page),
        }
    }

    fn owner(&mut self, domain: Domain) -> Option<u64> {
        match self.owner {
            Some((known, owner)) if known == domain => owner,
            _ => {
                let owner = self.machine.owner(domain);
                self.owner = Some((domain, owner));
                owner
            }
        }
    }

    /// A page of a live configuration.
    pub(crate) fn page(&mut self, handle: Handle, page: PageIndex) {
        let wanted = self.state.configurations.get(&handle).map(|configuration| page_of(configuration, page));
        let found = self.machine.page(handle.0, page).map(|view| (bridge::record(view.record), view.counter));
        if wanted != found {
            self.page_differs(handle, page, wanted, found);
        }
    }

    fn page_differs(
        &mut self,
        handle: Handle,
        page: PageIndex,
        wanted: Option<(Record, u64)>,
        found: Option<(Record, u64)>,
    ) {
        let path = |name: &str| vec![named("configuration", handle), format!("page {page}"), name.into()];
        let record = |of: Option<(Record, u64)>| of.map_or("none".into(), |(record, _)| record_words(record));
        let counter = |of: Option<(Record, u64)>| of.map_or("none".into(), |(_, counter)| counter.to_string());
        if wanted.map(|it| it.0) != found.map(|it| it.0) {
            self.note(|| path("record"), record(wanted), record(found));
        }
        if wanted.map(|it| it.1) != found.map(|it| it.1) {
            self.note(|| path("counter"), counter(wanted), counter(found));
        }
    }

    /// A configuration, pages apart.
    pub(crate) fn configuration(&mut self, handle: Handle) {
        let path = |name: &str| vec![named("configuration", handle), name.into()];
        let (wanted, view) = match (self.state.configurations.get(&handle), self.machine.configuration(handle.0)) {
            (Some(wanted), Some(view)) => (wanted, view),
            (wanted, view) => return self.part(wanted.is_some(), view.is_some(), || path("exists")),
        };
        self.part_shown(wanted.origin, view.origin, || path("origin"));
        self.part_shown(wanted.size, view.size, || path("size"));
        self.part_shown(wanted.asce, view.asce.0, || path("asce"));
        self.part_shown(wanted.sca, view.sca, || path("sca"));
        let same = wanted.cpus.len() == view.cpus.len()
            && wanted
                .cpus
                .iter()
                .zip(&view.cpus)
                .all(|(wanted, found)| *wanted.0 == *found.0 && wanted.1.0 == *found.1);
        if !same {
            let list = |cpus: &mut dyn Iterator<Item = (u16, u64)>| {
                cpus.map(|(number, handle)| format!("{number}: {handle:#x}")).collect::<Vec<_>>().join(", ")
            };
            let wanted = list(&mut wanted.cpus.iter().map(|(number, handle)| (*number, handle.0)));
            self.note(|| path("cpus"), wanted, list(&mut view.cpus.iter().map(|(number, handle)| (*number, *handle))));
        }
        let boot = match &wanted.boot {
            Boot::Created => (None, false),
            Boot::Loading(_, unpacked) => (Some(unpacked.pages.len() as u64), false),
            Boot::Verified(_) => (None, true),
        };
        let words = |(unpacked, verified): (Option<u64>, bool)| match (unpacked, verified) {
            (_, true) => "verified".into(),
            (Some(pages), _) => format!("{pages} pages unpacked"),
            (None, _) => "no header".to_string(),
        };
        let found = (view.unpacked, view.verified);
        if boot != found {
            self.note(|| path("boot"), words(boot), words(found));
        }
        self.part(wanted.reset.pending.is_some(), view.reset_pending, || path("reset pending"));
    }

    /// A CPU of a configuration.
    pub(crate) fn cpu(&mut self, handle: Handle) {
        let path = |name: &str| vec![named("cpu", handle), name.into()];
        let (wanted, view) = match (self.state.cpus.get(&handle), self.machine.secure_cpu(handle.0)) {
            (Some(wanted), Some(view)) => (wanted, view),
            (wanted, view) => return self.part(wanted.is_some(), view.is_some(), || path("exists")),
        };
        self.part_shown(wanted.configuration.0, view.configuration, || path("configuration"));
        self.part(wanted.number, view.number, || path("number"));
        self.part_shown(wanted.state_description, view.state_description, || path("state description"));
        self.part_shown(wanted.run, bridge::run(view.state), || path("state"));
        self.part(wanted.in_sie.is_some(), view.in_sie, || path("in SIE"));
        self.part(wanted.load_pending, view.load_pending, || path("load pending"));
        self.part_shown(wanted.outstanding.as_ref().map(|it| it.ipa), view.outstanding, || path("outstanding"));
        // During a stay each side keeps it where it likes.
        if !view.in_sie {
            self.part_shown(wanted.last_exit, view.last_exit, || path("latest exit"));
        }
        if let Some(found) = self.machine.cpu_registers(handle.0) {
            self.registers(handle, &wanted.registers, &found, view.in_sie);
        }
    }

    fn registers(&mut self, handle: Handle, wanted: &Registers, found: &GuestRegisters, in_sie: bool) {
        let path = |name: String| vec![named("cpu", handle), "registers".into(), name];
        let psw = (found.psw.mask, found.psw.address);
        self.part_shown(wanted.psw, psw, || path("psw".into()));
        let single = [
            ("prefix", wanted.prefix, found.prefix),
            ("clock comparator", wanted.clock_comparator, found.clock_comparator),
            ("fpc", wanted.floating_point_control.into(), found.floating_point_control.into()),
            ("tod programmable", wanted.tod_programmable.into(), found.tod_programmable.into()),
        ];
        for (name, wanted, found) in single {
            self.part_shown(wanted, found, || path(name.into()));
        }
        // During a stay each side keeps it where it likes.
        if !in_sie {
            self.part_shown(wanted.cpu_timer, found.cpu_timer, || path("cpu timer".into()));
        }
        for number in 0..16 {
            let of = |name: &str| path(format!("{name} {number}"));
            self.part_shown(wanted.general[number], found.general[number], || of("general"));
            self.part_shown(wanted.control[number], found.control[number], || of("control"));
            self.part_shown(wanted.access[number], found.access[number], || of("access"));
        }
    }

    fn part<T: PartialEq + ToString>(&mut self, wanted: T, found: T, path: impl FnOnce() -> Vec<String>) {
        if wanted != found {
            self.note(path, wanted.to_string(), found.to_string());
        }
    }

    fn part_shown<T: PartialEq + core::fmt::Debug>(&mut self, wanted: T, found: T, path: impl FnOnce() -> Vec<String>) {
        if wanted != found {
            self.note(path, format!("{wanted:x?}"), format!("{found:x?}"));
        }
    }

    #[cold]
    fn note(&mut self, path: impl FnOnce() -> Vec<String>, oracle: String, model: String) {
        if self.parts.len() < MOST_PARTS {
            self.parts.push(Part { path: path(), oracle, model });
        }
    }
}

pub(crate) fn page_of(configuration: &Configuration, page: PageIndex) -> (Record, u64) {
    configuration.pages.get(&page).map_or((Record::Absent, 0), |page| (page.record, page.counter))
}

fn named(kind: &str, handle: Handle) -> String {
    format!("{kind} {:#x}", handle.0)
}

fn record_words(record: Record) -> String {
    match record {
        Record::Absent => "absent".into(),
        Record::Resident(frame) => format!("resident in frame {frame}"),
        Record::Exported => "exported".into(),
        Record::Shared(Some(frame)) => format!("shared in frame {frame}"),
        Record::Shared(None) => "shared, without a frame".into(),
        Record::Pinned(frame) => format!("shared and pinned in frame {frame}"),
        Record::Destroyed => "destroyed".into(),
    }
}

/// Bytes, not too many of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 16;
    let mut text: String = bytes.iter().take(MOST).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > MOST {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}
