//! Secure configurations: CREATE_SEC_CONF, DESTROY_SEC_CONF and DESTROY_SEC_CONF_FAST.

use super::donation::{base_state, variable_state};
use super::handles::{ConfigurationSecrets, INVALID_CONFIGURATION};
use super::journal::{Journal, Since};
use super::rows::{RowLock, Rows};
use super::{Area, Boot, Call, CallResult, PageRecord, ResetProtocol, Stop, Ultravisor, refuse};
use crate::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, PageIndex, VirtualAddress};
use crate::crypto::PageCipher;
use crate::storage::arena::FrameLock;
use crate::storage::{Asce, Domain, FrameState, Storage};
use crate::uvc::{Command, Refusal, Response};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use parking_lot::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A secure configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) handle: u64,
    pub(crate) domain: Domain,
    /// Configuration unique id.
    pub(crate) uid: [u8; 16],
    /// Main-storage origin: where guest absolute 0 lies in the space of the ASCE.
    pub(crate) origin: u64,
    /// Pages of guest storage.
    pub(crate) pages: u64,
    pub(crate) asce: Asce,
    pub(crate) sca: AbsoluteAddress,
    pub(crate) rows: Rows,
    /// How far it is with a reset. Not part of its life: a guest CPU must never find it taken for long.
    reset: Mutex<ResetProtocol>,
    /// Frames registered to this configuration.
    frames: AtomicU64,
    gone: AtomicBool,
    life: RwLock<Option<Life>>,
    pub(super) journal: Arc<Journal>,
    since: Since,
    kept: Mutex<Option<KeptConfiguration>>,
}

/// A configuration as it was at the snapshot, rows apart.
#[derive(Debug)]
struct KeptConfiguration {
    reset: ResetProtocol,
    frames: u64,
    gone: bool,
    life: KeptLife,
}

#[derive(Debug)]
enum KeptLife {
    /// As it is now.
    Same,
    /// These parts are others now.
    Changed { boot: Boot, cpus: BTreeMap<u16, u64> },
    /// It has ended since.
    Ended(Box<Life>),
}

/// What ends with the configuration.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) cipher: PageCipher,
    pub(crate) boot: Boot,
    /// CPU number → handle.
    pub(crate) cpus: BTreeMap<u16, u64>,
    pub(crate) base: Area,
    pub(crate) variable: Area,
}

impl Configuration {
    /// Destroyed; frames may still name its domain.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Frames that are registered to it.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    pub(super) fn frame_came(&self) {
        self.keep();
        self.frames.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn frame_went(&self) {
        self.keep();
        self.frames.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes of guest storage.
    pub(crate) fn size(&self) -> u64 {
        self.pages * PAGE_SIZE
    }

    /// The page at an address of the ASCE's space; its low 12 bits are ignored (D6).
    pub(super) fn page(&self, address: u64) -> Option<PageIndex> {
        let index = (address & !(PAGE_SIZE - 1)).checked_sub(self.origin)? / PAGE_SIZE;
        (index < self.pages).then_some(PageIndex(index))
    }

    /// Where a page lies in the space of the ASCE.
    pub(crate) fn virtual_address(&self, page: PageIndex) -> VirtualAddress {
        VirtualAddress(self.origin + page.0 * PAGE_SIZE)
    }

    /// Holds the configuration for a call that changes pages. Busy while another call changes the
    /// configuration itself; 0x0020 if that other call has ended it.
    pub(super) fn hold(&self) -> Result<MappedRwLockReadGuard<'_, Life>, Stop> {
        let guard = self.life.try_read().ok_or(Stop::Busy)?;
        RwLockReadGuard::try_map(guard, Option::as_ref).map_err(|_| Stop::Refused(INVALID_CONFIGURATION))
    }

    /// Holds the configuration for a call that changes it.
    pub(super) fn hold_alone(&self) -> Result<MappedRwLockWriteGuard<'_, Life>, Stop> {
        let guard = self.life.try_write().ok_or(Stop::Busy)?;
        let life =
            RwLockWriteGuard::try_map(guard, Option::as_mut).map_err(|_| Stop::Refused(INVALID_CONFIGURATION))?;
        self.keep_life(&life);
        Ok(life)
    }

    /// What it is made of, for inspection. `None` once it is gone.
    pub(crate) fn life(&self) -> Option<MappedRwLockReadGuard<'_, Life>> {
        RwLockReadGuard::try_map(self.life.read(), Option::as_ref).ok()
    }

    /// How far it is with a reset.
    pub(crate) fn reset(&self) -> ResetProtocol {
        *self.reset.lock()
    }

    /// Holds the reset protocol for a change.
    pub(crate) fn change_reset(&self) -> MutexGuard<'_, ResetProtocol> {
        self.keep();
        self.reset.lock()
    }

    /// Holds the configuration for the call that ends it.
    fn hold_to_end(&self) -> Result<RwLockWriteGuard<'_, Option<Life>>, Stop> {
        let guard = self.life.try_write().ok_or(Stop::Busy)?;
        if guard.is_none() {
            return Err(Stop::Refused(INVALID_CONFIGURATION));
        }
        self.keep();
        Ok(guard)
    }

    /// Ends it. What was its life goes, unless a snapshot needs it.
    fn end(&self, mut life: RwLockWriteGuard<'_, Option<Life>>) {
        self.gone.store(true, Ordering::Release);
        let ended = life.take();
        if let (Some(kept), Some(ended)) = (&mut *self.kept.lock(), ended) {
            let life = match core::mem::replace(&mut kept.life, KeptLife::Same) {
                KeptLife::Changed { boot, cpus } => Life { boot, cpus, ..ended },
                KeptLife::Same | KeptLife::Ended(_) => ended,
            };
            kept.life = KeptLife::Ended(Box::new(life));
        }
    }

    /// To be called before every change.
    #[inline]
    fn keep(&self) {
        if self.journal.is_due(&self.since) {
            self.keep_first();
        }
    }

    #[cold]
    fn keep_first(&self) {
        let mut kept = self.kept.lock();
        // Another CPU may have been faster.
        if self.journal.is_due(&self.since) {
            *kept = Some(KeptConfiguration {
                reset: self.reset(),
                frames: self.frames(),
                gone: self.is_gone(),
                life: KeptLife::Same,
            });
            self.journal.note(|changed| changed.configurations.push(self.domain));
            self.journal.done(&self.since);
        }
    }

    fn keep_life(&self, life: &Life) {
        self.keep();
        if let Some(kept) = &mut *self.kept.lock()
            && matches!(kept.life, KeptLife::Same)
        {
            kept.life = KeptLife::Changed { boot: life.boot.clone(), cpus: life.cpus.clone() };
        }
    }

    /// Forgets what it was at the last snapshot.
    pub(super) fn forget_kept(&self) {
        *self.kept.lock() = None;
    }

    /// Becomes what it was at the snapshot, rows apart. No call may run.
    pub(super) fn restore(&self) {
        let Some(kept) = self.kept.lock().take() else { return };
        *self.reset.lock() = kept.reset;
        self.frames.store(kept.frames, Ordering::Release);
        self.gone.store(kept.gone, Ordering::Release);
        let mut life = self.life.write();
        match (kept.life, &mut *life) {
            (KeptLife::Ended(before), life) => *life = Some(*before),
            (KeptLife::Changed { boot, cpus }, Some(life)) => (life.boot, life.cpus) = (boot, cpus),
            (KeptLife::Changed { .. }, None) | (KeptLife::Same, _) => {}
        }
    }

    /// Locks every page that has a frame, with its frame.
    pub(super) fn lock_placed<'a>(
        &'a self,
        storage: &'a Storage,
        which: impl Fn(PageRecord) -> bool,
    ) -> Result<Vec<(RowLock<'a>, Option<FrameLock<'a>>)>, Stop> {
        let mut placed = Vec::new();
        for (first, chunk) in self.rows.chunks() {
            for (offset, view) in chunk.views().enumerate() {
                if !which(view.record) {
                    continue;
                }
                let row = self.rows.try_lock(PageIndex(first.0 + offset as u64)).ok_or(Stop::Busy)?;
                let frame = match row.record().frame() {
                    Some(frame) => {
                        let mut lock = storage.try_lock(frame).ok_or(Stop::Busy)?;
                        lock.batch();
                        Some(lock)
                    }
                    None => None,
                };
                placed.push((row, frame));
            }
        }
        Ok(placed)
    }
}

/// The frames of [`Configuration::lock_placed`], rising; none if the host has no view that must be settled.
pub(super) fn frames_to_settle(storage: &Storage, placed: &[(RowLock<'_>, Option<FrameLock<'_>>)]) -> Vec<FrameNumber> {
    if !storage.has_view() {
        return Vec::new();
    }
    let mut frames: Vec<FrameNumber> =
        placed.iter().filter_map(|(_, frame)| frame.as_ref().map(FrameLock::frame)).collect();
    frames.sort_unstable();
    frames
}

/// The fields of CREATE_SEC_CONF that are checked before storage is looked at.
struct Shape {
    origin: u64,
    len: u64,
    asce: Asce,
}

impl Ultravisor {
    /// CREATE_SEC_CONF, codes in the order of D11.
    pub(super) fn create_configuration(&self, call: &mut Call<'_>) -> CallResult {
        let shape = self.check_shape(call)?;
        let base = self.base_donation(call, call.block.u64(0x20))?;
        let mebibytes = shape.len / MEBIBYTE;
        let variable_len = super::CONFIGURATION_FIXED_LENGTH + mebibytes * super::CONFIGURATION_LENGTH_PER_MEBIBYTE;
        let variable = self.variable_donation(call, call.block.u64(0x28), variable_len, &base)?;
        let base_lock = self.lock_non_secure(call.storage, &base, Refusal::new(0x108, "T77"))?;
        let variable_lock = self.lock_non_secure(call.storage, &variable, Refusal::new(0x10b, "T77"))?;
        let sca = self.check_sca(call, &base, &variable)?;
        if self.objects.is_full() {
            return refuse(0x10f, "D11");
        }
        let make = |handle, domain, secrets: &ConfigurationSecrets| Configuration {
            handle,
            domain,
            uid: secrets.uid,
            origin: shape.origin,
            pages: shape.len / PAGE_SIZE,
            asce: shape.asce,
            sca,
            rows: Rows::new(domain, shape.len / PAGE_SIZE, self.journal.clone()),
            reset: Mutex::default(),
            frames: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            life: RwLock::new(Some(Life {
                cipher: PageCipher::derive(self.config.cipher, &secrets.seed, &secrets.uid),
                boot: Boot::default(),
                cpus: BTreeMap::new(),
                base: base.clone(),
                variable: variable.clone(),
            })),
            since: self.journal.now(),
            kept: Mutex::new(None),
            journal: self.journal.clone(),
        };
        let fixed = self.config.fixed_page_keys;
        let Some(configuration) = self.objects.add_configuration(shape.asce, fixed, make) else {
            return refuse(0x104, "Q35");
        };
        base_lock.commit(&self.events, "T76", true, base_state(configuration.domain));
        variable_lock.commit(&self.events, "T76", true, variable_state(configuration.domain));
        call.block.set_u64(0x18, configuration.handle);
        if self.injections.take_late_failure(Command::CreateSecConf) {
            return Err(Stop::Remark(Refusal::new(Response::DESTROY_NEEDED | 0x10f, "D17")));
        }
        Ok("T76")
    }

    fn check_shape(&self, call: &Call<'_>) -> Result<Shape, Stop> {
        let (origin, len) = (call.block.u64(0x38), call.block.u64(0x40));
        let asce = Asce(call.block.u64(0x50));
        if origin > super::MAX_GUEST_ADDRESS {
            return refuse(0x101, "D11");
        }
        if origin.checked_add(len).is_none_or(|end| end > super::MAX_GUEST_ADDRESS) {
            return refuse(0x102, "D11");
        }
        if origin % MEBIBYTE != 0 || len % MEBIBYTE != 0 || len == 0 {
            return refuse(0x103, "D11");
        }
        if !asce.is_private() || asce.is_real_space() {
            return refuse(0x105, "D11");
        }
        if self.objects.asce_in_use(asce) {
            return refuse(0x104, "Q35");
        }
        Ok(Shape { origin, len, asce })
    }

    /// The system control area: 0x10c, 0x10d (D11). Its first frame stands for all of it.
    fn check_sca(&self, call: &Call<'_>, base: &Area, variable: &Area) -> Result<AbsoluteAddress, Stop> {
        let sca = AbsoluteAddress(call.block.u64(0x48) & !0x3f);
        if sca.0 == 0 {
            return refuse(0x10c, "D11");
        }
        if !call.storage.contains(sca, 1) {
            return refuse(0x10d, "D11");
        }
        let frame = sca.frame();
        if base.contains(frame) || variable.contains(frame) || call.storage.zone(frame).is_secure() {
            return refuse(0x10d, "D11");
        }
        Ok(sca)
    }

    /// DESTROY_SEC_CONF: secure frames come back as zeros, shared ones as they are (T40, T42, D27).
    /// 0x105 while it has CPUs (Q12).
    pub(super) fn destroy_configuration(&self, storage: &Storage, configuration: &Configuration) -> CallResult {
        self.end(storage, configuration, || {
            let placed = configuration.lock_placed(storage, |record| record.frame().is_some())?;
            let frames = frames_to_settle(storage, &placed);
            for (row, frame) in placed {
                let Some(mut frame) = frame else { continue };
                if matches!(row.record(), PageRecord::Resident(_)) {
                    frame.clear();
                }
                configuration.frame_went();
                self.transition(frame, FrameState::NonSecure, "T40");
            }
            storage.settle(frames.into_iter());
            Ok(())
        })?;
        Ok("T40")
    }

    /// DESTROY_SEC_CONF_FAST: the configuration ends, its guest frames stay as they are (T41, D28).
    pub(super) fn destroy_configuration_fast(&self, storage: &Storage, configuration: &Configuration) -> CallResult {
        self.end(storage, configuration, || Ok(()))?;
        Ok("T41")
    }

    /// Ends a configuration: `settle` sees to the frames of its pages, all or none; the donated ones come
    /// back as zeros (T42).
    fn end(
        &self,
        storage: &Storage,
        configuration: &Configuration,
        settle: impl FnOnce() -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let guard = configuration.hold_to_end()?;
        let Some(life) = guard.as_ref() else { return Err(Stop::Refused(INVALID_CONFIGURATION)) };
        if !life.cpus.is_empty() {
            return refuse(0x105, "Q12");
        }
        let (base, variable) = (life.base.clone(), life.variable.clone());
        let base_lock = self.lock_donated(storage, &base)?;
        let variable_lock = self.lock_donated(storage, &variable)?;
        settle()?;
        self.objects.remove(configuration.handle);
        configuration.end(guard);
        base_lock.commit(&self.events, "T42", true, |_, _| FrameState::NonSecure);
        variable_lock.commit(&self.events, "T42", true, |_, _| FrameState::NonSecure);
        self.objects.retire(configuration);
        Ok(())
    }
}
