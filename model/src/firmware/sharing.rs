//! Sharing: the guest opens and closes pages, the host pins what it works on.

use super::configuration::frames_to_settle;
use super::{Call, CallResult, Configuration, PageRecord, Stop, Ultravisor, refuse};
use crate::address::{FrameNumber, PageIndex};
use crate::storage::arena::FrameLock;
use crate::storage::{FrameState, Storage};

/// How REMOVE_SHARED_ACCESS ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unshared {
    /// Done, by this rule.
    Done(&'static str),
    /// The host has pinned the page: interception 108, and the guest repeats (T60).
    Pinned,
}

impl Ultravisor {
    /// SET_SHARED_ACCESS on a page that the guest has just been found to have access to in `number`.
    pub(crate) fn share(
        &self,
        storage: &Storage,
        configuration: &Configuration,
        page: PageIndex,
        number: FrameNumber,
    ) -> CallResult {
        configuration.rows.fetch_ahead(page);
        let _life = configuration.hold()?;
        let seen = storage.zone(number).state();
        let (mut row, frame) = Self::lock_registered(storage, configuration, page, number, seen)?;
        if !matches!(seen, FrameState::Secure(..)) {
            return Ok("T57");
        }
        row.set(PageRecord::Shared(Some(number)), false);
        self.transition(frame, FrameState::Shared(configuration.domain, page), "T56");
        Ok("T56")
    }

    /// REMOVE_SHARED_ACCESS on a page that the guest has just been found to have access to in `number`.
    pub(crate) fn unshare(
        &self,
        storage: &Storage,
        configuration: &Configuration,
        page: PageIndex,
        number: FrameNumber,
    ) -> Result<Unshared, Stop> {
        configuration.rows.fetch_ahead(page);
        let _life = configuration.hold()?;
        let seen = storage.zone(number).state();
        let (mut row, frame) = Self::lock_registered(storage, configuration, page, number, seen)?;
        match seen {
            FrameState::Shared(..) => {
                row.set(PageRecord::Resident(number), false);
                self.transition(frame, FrameState::Secure(configuration.domain, page), "T59");
                Ok(Unshared::Done("T59"))
            }
            FrameState::Pinned(..) => Ok(Unshared::Pinned),
            _ => Ok(Unshared::Done("T61")),
        }
    }

    /// PIN_PAGE_SHARED: 0x101 outside storage (D10), 0x102 for anything that is not shared (Q7).
    pub(super) fn pin(&self, storage: &Storage, address: u64) -> CallResult {
        let number = Self::frame_in_storage(storage, address)?;
        let seen = storage.zone(number);
        if seen.is_locked() {
            return Err(Stop::Busy);
        }
        let (domain, page) = match seen.state() {
            FrameState::Shared(domain, page) => (domain, page),
            FrameState::Pinned(..) => return Ok("T65"),
            _ => return refuse(0x102, "T69"),
        };
        let owner = self.objects.domain(domain).ok_or(Stop::Busy)?;
        if owner.is_gone() {
            return Ok("D28");
        }
        let _life = owner.hold().map_err(|_| Stop::Busy)?;
        let (mut row, frame) = Self::lock_registered(storage, &owner, page, number, seen.state())?;
        row.set(PageRecord::Pinned(number), false);
        self.transition(frame, FrameState::Pinned(domain, page), "T64");
        Ok("T64")
    }

    /// UNPIN_PAGE_SHARED: 0x103 range, 0x10a mapping, busy, 0x105 pinned in another frame than the mapped
    /// one; success if there is nothing to undo (D9).
    pub(super) fn unpin(&self, call: &Call<'_>, configuration: &Configuration, address: u64) -> CallResult {
        let _life = configuration.hold()?;
        let Some(page) = configuration.page(address) else { return refuse(0x103, "D9") };
        let target = match Self::locate(call, configuration, page) {
            Err(Stop::Refused(refusal)) => return refuse(refusal.rc, "T68"),
            other => other?,
        };
        let mut row = configuration.rows.try_lock(page).ok_or(Stop::Busy)?;
        let PageRecord::Pinned(number) = row.record() else { return Ok("T67") };
        if number != target {
            return refuse(0x105, "D9");
        }
        let frame = call.storage.try_lock(number).ok_or(Stop::Busy)?;
        row.set(PageRecord::Shared(Some(number)), false);
        self.transition(frame, FrameState::Shared(configuration.domain, page), "T66");
        Ok("T66")
    }

    /// SET_UNSHARED_ALL: 0x101 while a CPU operates (Q15). Shared and pinned pages become secure again,
    /// pages shared without a frame start anew (T70–T72, D25).
    pub(super) fn unshare_all(&self, call: &Call<'_>, configuration: &Configuration) -> CallResult {
        let life = configuration.hold_alone()?;
        if !self.all_stopped(&life) {
            return refuse(0x101, "Q15");
        }
        let shared = |record| matches!(record, PageRecord::Shared(_) | PageRecord::Pinned(_));
        let placed = configuration.lock_placed(call.storage, shared)?;
        if placed.iter().filter_map(|(_, frame)| frame.as_ref()).any(|frame| call.block_lies_in(frame.frame())) {
            return refuse(0x102, "D5");
        }
        let frames = frames_to_settle(call.storage, &placed);
        if !frames.is_empty() {
            // The host's view must be shut before a frame is secure, and one change does it for many.
            placed.iter().filter_map(|(_, frame)| frame.as_ref()).for_each(FrameLock::close);
            call.storage.settle(frames.into_iter());
        }
        for (mut row, frame) in placed {
            let Some(frame) = frame else {
                row.set(PageRecord::Absent, false);
                continue;
            };
            let Some((domain, page)) = frame.state().registration() else { continue };
            let rule = if matches!(row.record(), PageRecord::Pinned(_)) { "T71" } else { "T70" };
            row.set(PageRecord::Resident(frame.frame()), false);
            self.transition(frame, FrameState::Secure(domain, page), rule);
        }
        configuration.change_reset().unshared();
        Ok("T70")
    }
}
