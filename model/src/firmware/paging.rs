//! Paging: import, export and destruction of pages.

use super::rows::RowLock;
use super::{Call, CallResult, Configuration, Life, PageRecord, Recent, Stop, Ultravisor, refuse};
use crate::address::{AbsoluteAddress, FrameNumber, PAGE_SIZE, PageIndex};
use crate::config::{ChangeDetection, Generation};
use crate::crypto::{ChangeHash, Counter, SealIndex};
use crate::storage::arena::{FrameLock, touch};
use crate::storage::{Domain, FrameState, Storage, dat};
use crate::uvc::Refusal;
use std::sync::Arc;

impl Ultravisor {
    /// CONV_TO_SEC_STOR: 0x103 range, 0x10a mapping, busy, success if already so, 0x104 frame taken,
    /// 0x105 page in another frame, 0x106 destroyed or not genuine (D7).
    pub(super) fn import(&self, call: &Call<'_>, configuration: &Configuration, address: u64) -> CallResult {
        if let Some(page) = configuration.page(address) {
            configuration.rows.fetch_ahead(page);
        }
        let life = configuration.hold()?;
        let Some(page) = configuration.page(address) else { return refuse(0x103, "Q2") };
        let target = Self::locate(call, configuration, page)?;
        call.storage.fetch_ahead(target);
        let mut row = configuration.rows.try_lock(page).ok_or(Stop::Busy)?;
        let mut frame = call.storage.try_lock(target).ok_or(Stop::Busy)?;
        if frame.state().registration() == Some((configuration.domain, page)) {
            return Ok("T31");
        }
        if call.block_lies_in(target) {
            return refuse(0x104, "D5");
        }
        let previous = self.check_frame(&frame, configuration)?;
        if row.record().frame().is_some() {
            return refuse(0x105, "T32");
        }
        let ((state, rule), former) =
            self.with_previous_owner(previous, || self.fill(&mut frame, &mut row, &life, configuration, page))?;
        let rule = if former.is_some() { "T35" } else { rule };
        configuration.frame_came();
        self.transition(frame, state, rule);
        self.retire(former);
        Ok(rule)
    }

    /// Runs the last step of a call that puts a page into a frame. If another configuration shares the frame,
    /// its row changes together with the success of that step, or not at all (D30). What comes back is to be
    /// retired once the frame has its new state.
    pub(super) fn with_previous_owner<T>(
        &self,
        previous: Option<(Arc<Configuration>, PageIndex)>,
        step: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<(T, Option<Arc<Configuration>>), Stop> {
        let Some((owner, page)) = previous else { return Ok((step()?, None)) };
        // If it is ending right now, that is a conflict, not a bad handle of ours.
        let life = if owner.is_gone() { None } else { Some(owner.hold().map_err(|_| Stop::Busy)?) };
        let mut row = match &life {
            Some(_) => Some(owner.rows.try_lock(page).ok_or(Stop::Busy)?),
            None => None,
        };
        let done = step()?;
        if let Some(row) = &mut row {
            row.set(PageRecord::Shared(None), false);
        }
        owner.frame_went();
        drop(row);
        drop(life);
        Ok((done, Some(owner)))
    }

    /// Gives the domain of a former owner free if it is dead and this was its last frame.
    pub(super) fn retire(&self, former: Option<Arc<Configuration>>) {
        if let Some(former) = former {
            self.objects.retire(&former);
        }
    }

    /// Where the host has mapped a page: always a fresh walk (D57); any trouble is 0x10a (D59).
    pub(super) fn locate(call: &Call<'_>, configuration: &Configuration, page: PageIndex) -> Result<FrameNumber, Stop> {
        let unmapped = Stop::Refused(Refusal::new(0x10a, "T23"));
        let (requestor, at) = (call.home.requestor(), configuration.virtual_address(page));
        let found = dat::walk(call.storage, requestor, configuration.asce, at).map_err(|_| unmapped)?;
        if found.protected || !call.storage.contains(AbsoluteAddress(found.address), PAGE_SIZE) {
            return Err(unmapped);
        }
        Ok(AbsoluteAddress(found.address).frame())
    }

    /// Whether a page may move into a frame: 0x104 unless it is non-secure, or shared by another
    /// configuration where feature "misc" lets the import take it over.
    pub(super) fn check_frame(
        &self,
        frame: &FrameLock<'_>,
        configuration: &Configuration,
    ) -> Result<Option<(Arc<Configuration>, PageIndex)>, Stop> {
        match frame.state() {
            FrameState::NonSecure => Ok(None),
            FrameState::Donated(_) => refuse(0x104, "T38"),
            FrameState::Secure(domain, _) if domain == configuration.domain => refuse(0x104, "T33"),
            FrameState::Secure(domain, _) if self.is_discarded(domain) => refuse(0x104, "T39"),
            FrameState::Secure(..) => refuse(0x104, "T34"),
            FrameState::Shared(domain, _) | FrameState::Pinned(domain, _) if domain == configuration.domain => {
                refuse(0x104, "D22")
            }
            FrameState::Pinned(domain, _) if !self.is_discarded(domain) => refuse(0x104, "T36"),
            FrameState::Shared(domain, page) | FrameState::Pinned(domain, page) => {
                if !self.config.misc() {
                    return refuse(0x104, "T35");
                }
                Ok(Some((self.objects.domain(domain).ok_or(Stop::Busy)?, page)))
            }
        }
    }

    fn is_discarded(&self, domain: Domain) -> bool {
        self.objects.domain(domain).is_none_or(|configuration| configuration.is_gone())
    }

    /// Gives the frame the content that the row asks for, and the row its new record. Last step of an
    /// import that can fail: nothing has changed if it does.
    fn fill(
        &self,
        frame: &mut FrameLock<'_>,
        row: &mut RowLock<'_>,
        life: &Life,
        configuration: &Configuration,
        page: PageIndex,
    ) -> Result<(FrameState, &'static str), Stop> {
        let resident = FrameState::Secure(configuration.domain, page);
        match row.record() {
            PageRecord::Shared(_) => {
                row.set(PageRecord::Shared(Some(frame.frame())), false);
                Ok((FrameState::Shared(configuration.domain, page), "T37"))
            }
            PageRecord::Destroyed => refuse(0x106, "T55"),
            PageRecord::Exported => {
                let (Ok(index), Ok(counter)) = (SealIndex::try_from(page), Counter::new(row.counter())) else {
                    return refuse(0x106, "T26");
                };
                let tag = row.tag();
                if life.cipher.open(index, counter, frame.bytes_mut(), &tag).is_err() {
                    return refuse(0x106, "T26");
                }
                frame.set_touched(touch::SINCE_DIGEST | touch::NOT_ZERO);
                row.set(PageRecord::Resident(frame.frame()), true);
                Ok((resident, "T25"))
            }
            PageRecord::Absent | PageRecord::Resident(_) | PageRecord::Pinned(_) => {
                frame.clear();
                row.set(PageRecord::Resident(frame.frame()), false);
                Ok((resident, "T24"))
            }
        }
    }

    /// CONV_FROM_SEC_STOR: 0x101 outside storage, 0x103 donated, 0x105 counter at its end (D10).
    pub(super) fn export(&self, storage: &Storage, recent: &mut Recent, address: u64) -> CallResult {
        let number = Self::frame_in_storage(storage, address)?;
        let seen = storage.zone(number);
        if seen.is_locked() {
            return Err(Stop::Busy);
        }
        let (domain, page) = match seen.state() {
            FrameState::NonSecure => return Ok("T47"),
            FrameState::Donated(_) => return refuse(0x103, "T49"),
            FrameState::Secure(domain, page) | FrameState::Shared(domain, page) | FrameState::Pinned(domain, page) => {
                (domain, page)
            }
        };
        let owner = self.objects.recent_domain(recent, domain).ok_or(Stop::Busy)?;
        if owner.is_gone() {
            return self.reclaim(storage, number, seen.state(), owner, "T48");
        }
        owner.rows.fetch_ahead(page);
        storage.fetch_ahead(number);
        let life = owner.hold().map_err(|_| Stop::Busy)?;
        let (mut row, mut frame) = Self::lock_registered(storage, owner, page, number, seen.state())?;
        let (record, rule) = match seen.state() {
            FrameState::Secure(..) => {
                self.seal(&mut frame, &mut row, &life, page)?;
                (PageRecord::Exported, "T44")
            }
            FrameState::Pinned(..) => (PageRecord::Shared(None), "T46"),
            _ => (PageRecord::Shared(None), "T45"),
        };
        row.set(record, false);
        owner.frame_went();
        self.transition(frame, FrameState::NonSecure, rule);
        Ok(rule)
    }

    /// Encrypts a resident page in its frame and brings the row up to date. The counter counts up only
    /// if the content may have changed (T44, D39–D42).
    fn seal(&self, frame: &mut FrameLock<'_>, row: &mut RowLock<'_>, life: &Life, page: PageIndex) -> Result<(), Stop> {
        let end = Stop::Refused(Refusal::new(0x105, "D42"));
        let index = SealIndex::try_from(page).map_err(|_| end)?;
        let last = Counter::new(row.counter()).ok();
        let detect = self.config.change_detection == ChangeDetection::Digest;
        let untouched = row.is_verified() && frame.touched() & touch::SINCE_IMPORT == 0;
        let mut hash: Option<ChangeHash> = None;
        let unchanged = detect
            && last.is_some()
            && (untouched || {
                let found = life.cipher.change_hash(index, frame.bytes());
                hash = Some(found);
                found.ct_eq(&row.hash())
            });
        let counter = match last {
            Some(last) if unchanged => last,
            Some(last) => last.next().ok_or(end)?,
            None => Counter::FIRST,
        };
        if !unchanged && detect && hash.is_none() {
            hash = Some(life.cipher.change_hash(index, frame.bytes()));
        }
        let tag = life.cipher.seal(index, counter, frame.bytes_mut());
        frame.set_touched(touch::ALL);
        debug_assert!(!unchanged || tag.ct_eq(&row.tag()), "equal content under an equal nonce");
        row.seal(counter.value(), hash, tag);
        Ok(())
    }

    /// DESTR_SEC_STOR: 0x101 outside storage, 0x103 donated, 0x104 while the owner has a CPU, 0x107/0xd
    /// for a non-secure frame on the old machine (D10, D26).
    pub(super) fn destroy_page(&self, storage: &Storage, recent: &mut Recent, address: u64) -> CallResult {
        let number = Self::frame_in_storage(storage, address)?;
        let seen = storage.zone(number);
        if seen.is_locked() {
            return Err(Stop::Busy);
        }
        let (domain, page) = match seen.state() {
            FrameState::NonSecure if self.config.generation == Generation::Z15 => {
                return Err(Stop::Refused(Refusal::with_reason(0x107, 0xd, "T53")));
            }
            FrameState::NonSecure => return Ok("T53"),
            FrameState::Donated(_) => return refuse(0x103, "T54"),
            FrameState::Secure(domain, page) | FrameState::Shared(domain, page) | FrameState::Pinned(domain, page) => {
                (domain, page)
            }
        };
        let owner = self.objects.recent_domain(recent, domain).ok_or(Stop::Busy)?;
        if owner.is_gone() {
            return self.reclaim(storage, number, seen.state(), owner, "T52");
        }
        owner.rows.fetch_ahead(page);
        storage.fetch_ahead(number);
        let life = owner.hold().map_err(|_| Stop::Busy)?;
        if !life.cpus.is_empty() {
            return refuse(0x104, "D26");
        }
        let (mut row, mut frame) = Self::lock_registered(storage, owner, page, number, seen.state())?;
        let rule = if matches!(seen.state(), FrameState::Secure(..)) { "T50" } else { "T51" };
        frame.clear();
        row.set(PageRecord::Destroyed, false);
        owner.frame_went();
        self.transition(frame, FrameState::NonSecure, rule);
        Ok(rule)
    }

    /// Takes a frame back whose owner is gone: cleared if it was secure, or if it is being destroyed;
    /// the content of a shared one was the host's all along (T48, T52, D28).
    fn reclaim(
        &self,
        storage: &Storage,
        number: FrameNumber,
        seen: FrameState,
        owner: &Configuration,
        rule: &'static str,
    ) -> CallResult {
        let mut frame = storage.try_lock(number).ok_or(Stop::Busy)?;
        // Another call may have taken the frame back already, and the number of the dead configuration
        // may have gone to a new one, which has the same page in the same frame.
        let same = self.objects.domain(owner.domain).is_some_and(|found| found.handle == owner.handle);
        if frame.state() != seen || !same {
            return Err(Stop::Busy);
        }
        if seen.is_secure() || rule == "T52" {
            frame.clear();
        }
        owner.frame_went();
        self.transition(frame, FrameState::NonSecure, rule);
        self.objects.retire(owner);
        Ok(rule)
    }

    /// Locks the row and the frame of a registered page, and makes sure that the registration still holds
    /// (D34).
    pub(super) fn lock_registered<'a>(
        storage: &'a Storage,
        owner: &'a Configuration,
        page: PageIndex,
        number: FrameNumber,
        seen: FrameState,
    ) -> Result<(RowLock<'a>, FrameLock<'a>), Stop> {
        let row = owner.rows.try_lock(page).ok_or(Stop::Busy)?;
        let frame = storage.try_lock(number).ok_or(Stop::Busy)?;
        if frame.state() != seen || row.record().frame() != Some(number) {
            return Err(Stop::Busy);
        }
        Ok((row, frame))
    }

    /// The frame at an absolute address, whose low 12 bits are ignored (D6); 0x101 outside storage (D10).
    pub(super) fn frame_in_storage(storage: &Storage, address: u64) -> Result<FrameNumber, Stop> {
        let address = AbsoluteAddress(address & !(PAGE_SIZE - 1));
        if !storage.contains(address, PAGE_SIZE) {
            return refuse(0x101, "D10");
        }
        Ok(address.frame())
    }

    /// Test hook (D42): makes a resident page look as if its latest export had been under `counter`.
    /// `false` if the page is not resident or a call holds it.
    pub(crate) fn preset_counter(&self, storage: &Storage, handle: u64, page: PageIndex, counter: Counter) -> bool {
        let Some(configuration) = self.objects.configuration(handle) else { return false };
        let (Ok(life), Ok(index)) = (configuration.hold(), SealIndex::try_from(page)) else { return false };
        let Some(mut row) = configuration.rows.try_lock(page) else { return false };
        let PageRecord::Resident(number) = row.record() else { return false };
        let Some(mut frame) = storage.try_lock(number) else { return false };
        let hash = life.cipher.change_hash(index, frame.bytes());
        let mut copy = *frame.bytes();
        let tag = life.cipher.seal(index, counter, &mut copy);
        row.seal(counter.value(), Some(hash), tag);
        true
    }
}
