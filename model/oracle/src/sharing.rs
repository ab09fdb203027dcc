//! Guest pages that their owner lends to the host.

use crate::call::{Call, Ruling, refuse};
use crate::ids::{FrameNumber, Handle, PageIndex};
use crate::state::{Page, Record, Registered, Registration, Run, State, Zone};
use crate::storage::FRAME;
use crate::world::World;

/// PIN_PAGE_SHARED 0x0341: T64, T65, T69, D10, D28.
pub(crate) fn pin_page_shared(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let frame = state.operand_frame(call)?;
    let there = match state.zone(frame) {
        Zone::Registered(there) if there.kind != Registered::Secure => there,
        _ => return refuse(0x0102, 0, "T69"),
    };
    if !state.configurations.contains_key(&there.configuration) {
        return state.clone().done("D28");
    }
    if there.kind == Registered::Pinned {
        return state.clone().done("T65");
    }
    state.clone().repinned(frame, Registration { kind: Registered::Pinned, ..there }).done("T64")
}

/// UNPIN_PAGE_SHARED 0x0342: D9, T66–T68.
pub(crate) fn unpin_page_shared(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    let address = call.block.u64(0x20) & !(FRAME - 1); // D6
    let Some(page) = configuration.page_at(address) else { return refuse(0x0103, 0, "D9") };
    let Some(frame) = state.mapped(configuration, address) else { return refuse(0x010a, 0, "T68") };
    match configuration.row(page).record {
        Record::Pinned(there) if there != frame => refuse(0x0105, 0, "D9"),
        Record::Pinned(_) => {
            let registration = Registration { kind: Registered::Shared, configuration: owner, page };
            state.clone().repinned(frame, registration).done("T66")
        }
        _ => state.clone().done("T67"),
    }
}

/// SET_UNSHARED_ALL 0x0340: D5, Q15, T70–T72, D25.
pub(crate) fn set_unshared_all(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    if state.operates(owner) {
        return refuse(0x0101, 0, "Q15");
    }
    let holds_block = |page: &Page| match page.record {
        Record::Shared(Some(frame)) | Record::Pinned(frame) => call.frames.contains(&frame),
        _ => false,
    };
    if configuration.pages.values().any(holds_block) {
        return refuse(0x0102, 0, "D5");
    }
    let mut next = state.clone();
    let mut rule = "D25";
    for (&page, row) in &configuration.pages {
        let (frame, because) = match row.record {
            Record::Shared(frame) => (frame, if frame.is_some() { "T70" } else { "T72" }),
            Record::Pinned(frame) => (Some(frame), "T71"),
            Record::Absent | Record::Resident(_) | Record::Exported | Record::Destroyed => continue,
        };
        rule = because;
        match frame {
            Some(frame) => next.register(frame, Registration { kind: Registered::Secure, configuration: owner, page }),
            None => next.set_record(owner, page, Record::Absent),
        }
    }
    if let Some(configuration) = next.configurations.get_mut(&owner) {
        configuration.reset.unshared = true;
    }
    next.done(rule)
}

/// SET_SHARED_ACCESS 0x1000, behind the checks of D32: the page was found accessible in this frame. T56, T57, D22.
pub(crate) fn set_shared_access(state: &State, owner: Handle, page: PageIndex, frame: FrameNumber) -> Ruling {
    match state.configurations.get(&owner).map(|configuration| configuration.row(page).record) {
        Some(Record::Resident(there)) if there == frame => {
            let mut next = state.clone();
            next.register(frame, Registration { kind: Registered::Shared, configuration: owner, page });
            next.done("T56")
        }
        Some(Record::Shared(_) | Record::Pinned(_)) => state.clone().done("T57"),
        _ => refuse(0x0101, 0, "D32"),
    }
}

/// What REMOVE_SHARED_ACCESS 0x1001 leads to behind the checks of D32. `None`: the page is pinned, and the host
/// has to be told (interception 108, T60). Else T59, T61.
pub(crate) fn remove_shared_access(
    state: &State,
    owner: Handle,
    page: PageIndex,
    frame: FrameNumber,
) -> Option<Ruling> {
    Some(match state.configurations.get(&owner).map(|configuration| configuration.row(page).record) {
        Some(Record::Pinned(_)) => return None,
        Some(Record::Shared(Some(there))) if there == frame => {
            let mut next = state.clone();
            next.register(frame, Registration { kind: Registered::Secure, configuration: owner, page });
            next.done("T59")
        }
        Some(Record::Resident(_)) => state.clone().done("T61"),
        _ => refuse(0x0101, 0, "D32"),
    })
}

impl State {
    /// Whether a CPU of a configuration operates (Q15).
    pub(crate) fn operates(&self, owner: Handle) -> bool {
        let cpus = self.configurations.get(&owner).map(|configuration| configuration.cpus.values());
        cpus.into_iter().flatten().any(|cpu| self.cpus.get(cpu).is_some_and(|cpu| cpu.run == Run::Operating))
    }

    /// A shared frame is pinned or not any more. A pin is noted in the row, not in the zone-security table (D1), so
    /// no buffer loses a translation (D56).
    fn repinned(mut self, frame: FrameNumber, registration: Registration) -> State {
        let record = match registration.kind {
            Registered::Pinned => Record::Pinned(frame),
            _ => Record::Shared(Some(frame)),
        };
        self.set_record(registration.configuration, registration.page, record);
        self.registered.insert(frame, registration);
        self
    }
}
