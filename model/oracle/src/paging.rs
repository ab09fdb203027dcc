//! Guest pages come and go.

use crate::Objection;
use crate::call::{Call, Ruling, Stop, refuse};
use crate::ids::{AbsoluteAddress, FrameNumber, Handle, PageIndex, VirtualAddress};
use crate::state::{Bytes, Configuration, Digest, Page, Record, Registered, Registration, Sealed, State, Zone};
use crate::storage::{FRAME, digest};
use crate::translation;
use crate::world::World;
use std::sync::Arc;

/// The last counter of a page (D42).
const LAST_COUNTER: u64 = (1 << 56) - 1;

/// CONV_TO_SEC_STOR 0x0200 (import): D7, T23–T39, T55.
pub(crate) fn conv_to_sec_stor(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    let address = call.block.u64(0x20) & !(FRAME - 1); // D6
    let Some(page) = configuration.page_at(address) else { return refuse(0x0103, 0, "Q2") };
    let Some(frame) = state.mapped(configuration, address) else { return refuse(0x010a, 0, "T23") };
    let claim = state.claim(call, frame, owner, page)?;
    if claim == Claim::Already {
        return state.clone().done("T31");
    }
    let row = configuration.row(page);
    let (kind, bytes, rule) = match row.record {
        Record::Resident(_) | Record::Shared(Some(_)) | Record::Pinned(_) => return refuse(0x0105, 0, "T32"),
        Record::Destroyed => return refuse(0x0106, 0, "T55"),
        Record::Absent => (Registered::Secure, zeros(), "T24"),
        Record::Exported => (Registered::Secure, state.opened(frame, owner, page, &row)?, "T25"),
        Record::Shared(None) => (Registered::Shared, state.frame(frame), "T37"),
    };
    let mut next = state.clone();
    let rule = if next.settle(claim) { "T35" } else { rule };
    next.set_frame(frame, bytes);
    next.register(frame, Registration { kind, configuration: owner, page });
    next.done(rule)
}

/// CONV_FROM_SEC_STOR 0x0201 (export): T44–T49, D10, D24, D28.
pub(crate) fn conv_from_sec_stor(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let frame = state.operand_frame(call)?;
    let registration = match state.zone(frame) {
        Zone::NonSecure => return state.clone().done("T47"),
        Zone::Donated(_) => return refuse(0x0103, 0, "T49"),
        Zone::Registered(registration) => registration,
    };
    let owner = state.configurations.get(&registration.configuration);
    match (registration.kind, owner) {
        (Registered::Secure, Some(owner)) => state.seal(frame, registration, owner.row(registration.page), world),
        (Registered::Secure, None) => state.released(frame, Some(zeros()), Record::Exported).done("T48"),
        (Registered::Shared, Some(_)) => state.released(frame, None, Record::Shared(None)).done("T45"),
        (Registered::Pinned, Some(_)) => state.released(frame, None, Record::Shared(None)).done("T46"),
        (Registered::Shared | Registered::Pinned, None) => {
            state.released(frame, None, Record::Shared(None)).done("D28")
        }
    }
}

/// DESTR_SEC_STOR 0x0202: T50–T54, D10, D26, D28.
pub(crate) fn destr_sec_stor(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let frame = state.operand_frame(call)?;
    let registration = match state.zone(frame) {
        Zone::NonSecure if state.setup.generation == 15 => return refuse(0x0107, 0xd, "T53"),
        Zone::NonSecure => return state.clone().done("T53"),
        Zone::Donated(_) => return refuse(0x0103, 0, "T54"),
        Zone::Registered(registration) => registration,
    };
    let owner = state.configurations.get(&registration.configuration);
    if owner.is_some_and(|owner| !owner.cpus.is_empty()) {
        return refuse(0x0104, 0, "D26");
    }
    let rule = match (registration.kind, owner) {
        (Registered::Secure, Some(_)) => "T50",
        (Registered::Shared | Registered::Pinned, Some(_)) => "T51",
        (Registered::Secure, None) => "T52",
        (Registered::Shared | Registered::Pinned, None) => "D28",
    };
    state.released(frame, Some(zeros()), Record::Destroyed).done(rule)
}

/// Whether a page may have a frame (import and UNPACK).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// It has it already.
    Already,
    /// It is \[N\].
    Free,
    /// It is shared by someone else, whose it ceases to be (T35).
    TakeOver(Registration),
}

impl Configuration {
    /// The page at an address of the configuration's space; `None` outside of guest storage.
    pub(crate) fn page_at(&self, address: u64) -> Option<PageIndex> {
        let offset = address.checked_sub(self.origin)?;
        (offset < self.size).then_some(PageIndex(offset / FRAME))
    }

    /// What is known of a page.
    pub(crate) fn row(&self, page: PageIndex) -> Page {
        self.pages.get(&page).cloned().unwrap_or_default()
    }
}

impl State {
    /// The frame that the host maps for writing at an address of a configuration's space, by a fresh walk (D57,
    /// D59). `None`: 0x10a.
    pub(crate) fn mapped(&self, configuration: &Configuration, address: u64) -> Option<FrameNumber> {
        let translation = translation::walk(self, configuration.asce, VirtualAddress(address)).ok()?;
        let usable = !translation.protected && translation.frame.0 < self.setup.storage / FRAME;
        usable.then_some(translation.frame)
    }

    /// Whether a page may have a frame: T31, T33–T36, T38, T39, D5, D22, D28.
    pub(crate) fn claim(&self, call: &Call, frame: FrameNumber, owner: Handle, page: PageIndex) -> Result<Claim, Stop> {
        let zone = self.zone(frame);
        if let Zone::Registered(there) = zone
            && (there.configuration, there.page) == (owner, page)
        {
            return Ok(Claim::Already);
        }
        if call.frames.contains(&frame) {
            return refuse(0x0104, 0, "D5");
        }
        let there = match zone {
            Zone::NonSecure => return Ok(Claim::Free),
            Zone::Donated(_) => return refuse(0x0104, 0, "T38"),
            Zone::Registered(there) => there,
        };
        let alive = self.configurations.contains_key(&there.configuration);
        match there.kind {
            _ if there.configuration == owner => refuse(0x0104, 0, "T33"),
            Registered::Secure => refuse(0x0104, 0, if alive { "T34" } else { "T39" }),
            Registered::Pinned if alive => refuse(0x0104, 0, "T36"),
            Registered::Shared | Registered::Pinned if !self.setup.misc => refuse(0x0104, 0, "T35"),
            Registered::Shared | Registered::Pinned => Ok(Claim::TakeOver(there)),
        }
    }

    /// The former owner of a claimed frame loses it (T35, D30). Tells whether there was one.
    pub(crate) fn settle(&mut self, claim: Claim) -> bool {
        let Claim::TakeOver(from) = claim else { return false };
        self.set_record(from.configuration, from.page, Record::Shared(None));
        true
    }

    /// A page gets a frame, in the zone-security table and in its row (I-03).
    pub(crate) fn register(&mut self, frame: FrameNumber, registration: Registration) {
        let record = match registration.kind {
            Registered::Secure => Record::Resident(frame),
            Registered::Shared => Record::Shared(Some(frame)),
            Registered::Pinned => Record::Pinned(frame),
        };
        self.set_record(registration.configuration, registration.page, record);
        self.registered.insert(frame, registration);
    }

    /// Notes where a page is; an owner that has ended has no rows.
    pub(crate) fn set_record(&mut self, owner: Handle, page: PageIndex, record: Record) {
        if let Some(configuration) = self.configurations.get_mut(&owner) {
            let row = Page { record, ..configuration.row(page) };
            if row == Page::default() {
                configuration.pages.remove(&page);
            } else {
                configuration.pages.insert(page, row);
            }
        }
    }

    /// The frame that a call names by its absolute address, low bits ignored (D6, D10).
    pub(crate) fn operand_frame(&self, call: &Call) -> Result<FrameNumber, Stop> {
        let frame = FrameNumber(call.block.u64(0x18) / FRAME);
        if !self.has_storage(AbsoluteAddress(frame.0 * FRAME), FRAME) {
            return refuse(0x0101, 0, "D10");
        }
        Ok(frame)
    }

    /// A registered frame is the host's again: with other bytes if there are any, and with what its page is now.
    fn released(&self, frame: FrameNumber, bytes: Option<Bytes>, record: Record) -> State {
        let mut next = self.clone();
        if let Some(there) = next.registered.remove(&frame) {
            next.set_record(there.configuration, there.page, record);
        }
        if let Some(bytes) = bytes {
            next.set_frame(frame, bytes);
        }
        next
    }

    /// A page leaves sealed (T44, I-20–I-24, D42).
    fn seal(&self, frame: FrameNumber, there: Registration, row: Page, world: &mut dyn World) -> Ruling {
        let content = self.frame(frame);
        let changed = self.setup.always_count || row.sealed.as_ref() != Some(&content);
        if changed && row.counter >= LAST_COUNTER {
            return refuse(0x0105, 0, "D42");
        }
        let counter = row.counter + u64::from(changed);
        let Registration { configuration, page, .. } = there;
        let sealed = Sealed { configuration, page, counter, content: digest(&content) };
        let bytes = world.ciphertext(frame);
        let ciphertext = digest(&bytes);
        let expected =
            row.ciphertext.filter(|&(under, _)| !changed && under == counter).map(|(_, ciphertext)| ciphertext);
        self.admit(&sealed, bytes == content, ciphertext, expected).map_err(Stop::Objection)?;

        let mut next = self.released(frame, Some(bytes), Record::Exported);
        next.sealed.insert(ciphertext, sealed);
        if let Some(owner) = next.configurations.get_mut(&configuration) {
            let row = Page {
                record: Record::Exported,
                counter,
                sealed: Some(content),
                ciphertext: Some((counter, ciphertext)),
            };
            owner.pages.insert(page, row);
        }
        next.done("T44")
    }

    /// Whether bytes may stand for what was sealed.
    fn admit(&self, sealed: &Sealed, plain: bool, bytes: Digest, expected: Option<Digest>) -> Result<(), Objection> {
        let object = |rule, what: &str| Err(Objection { rule, message: format!("export as {sealed:?}: {what}") });
        if plain {
            return object("I-10", "the frame still holds the plaintext");
        }
        match self.sealed.get(&bytes) {
            Some(other) if other.configuration != sealed.configuration => {
                object("I-12", &format!("the same bytes as {other:?}"))
            }
            Some(other) if other != sealed => object("I-22", &format!("the same bytes as {other:?}")),
            _ if expected.is_some_and(|expected| expected != bytes) => {
                object("I-23", "the page has not changed, but its ciphertext has")
            }
            _ => Ok(()),
        }
    }

    /// What the bytes in a frame open to, if they are those of the latest export of this page (I-15).
    fn opened(&self, frame: FrameNumber, owner: Handle, page: PageIndex, row: &Page) -> Result<Bytes, Stop> {
        let rule = match (self.sealed.get(&digest(&self.frame(frame))), &row.sealed) {
            (None, _) => "T26",
            (Some(sealed), _) if sealed.configuration != owner => "T29",
            (Some(sealed), _) if sealed.page != page => "T28",
            (Some(sealed), Some(content)) if sealed.counter == row.counter && sealed.content == digest(content) => {
                return Ok(content.clone());
            }
            _ => "T27",
        };
        refuse(0x0106, 0, rule)
    }
}

/// A cleared frame.
pub(crate) fn zeros() -> Bytes {
    Arc::new([0; FRAME as usize])
}
