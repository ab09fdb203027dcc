//! Donated storage: areas that go to the Ultravisor whole or not at all, and come back as zeros.

use super::{Call, CallResult, Stop, Ultravisor, refuse};
use crate::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, VirtualAddress};
use crate::event::{Event, Events};
use crate::storage::{Domain, Donation, FrameState, Storage};
use crate::uvc::Refusal;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Bytes of the lowcore, which no area may cover.
const LOWCORE: u64 = 0x2000;
const TWO_GIBIBYTES: u64 = 2 << 30;

/// A list of frames, kept as stretches of consecutive ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Area {
    stretches: Vec<Stretch>,
}

/// Consecutive frames, and for variable storage the host virtual page of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stretch {
    frames: Range<u64>,
    virtual_page: u64,
}

impl Area {
    /// The frames of `len` bytes at a page-aligned address.
    pub(super) fn absolute(origin: AbsoluteAddress, len: u64) -> Self {
        let first = origin.frame().0;
        Self { stretches: vec![Stretch { frames: first..first + len / PAGE_SIZE, virtual_page: 0 }] }
    }

    fn push(&mut self, frame: FrameNumber, virtual_page: u64) {
        if let Some(last) = self.stretches.last_mut()
            && last.frames.end == frame.0
        {
            last.frames.end += 1;
            return;
        }
        self.stretches.push(Stretch { frames: frame.0..frame.0 + 1, virtual_page });
    }

    /// All frames, each with its virtual page.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (FrameNumber, u64)> {
        self.stretches.iter().flat_map(|stretch| {
            let first = stretch.frames.start;
            stretch.frames.clone().map(move |frame| (FrameNumber(frame), stretch.virtual_page + (frame - first)))
        })
    }

    /// All frames, rising.
    fn rising(&self) -> impl Iterator<Item = FrameNumber> {
        let mut stretches: Vec<Range<u64>> = self.stretches.iter().map(|stretch| stretch.frames.clone()).collect();
        stretches.sort_unstable_by_key(|frames| frames.start);
        stretches.into_iter().flatten().map(FrameNumber)
    }

    /// The stretches: first frame, number of frames, virtual page of the first.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.stretches
            .iter()
            .map(|stretch| (stretch.frames.start, stretch.frames.end - stretch.frames.start, stretch.virtual_page))
    }

    pub(crate) fn contains(&self, frame: FrameNumber) -> bool {
        self.stretches.iter().any(|stretch| stretch.frames.contains(&frame.0))
    }

    fn overlaps(&self, other: &Area) -> bool {
        self.stretches.iter().any(|mine| {
            other
                .stretches
                .iter()
                .any(|theirs| mine.frames.start < theirs.frames.end && theirs.frames.start < mine.frames.end)
        })
    }

    fn meets_lowcore(&self, prefix: AbsoluteAddress) -> bool {
        [0, 0x1000, prefix.0, prefix.0 + 0x1000].iter().any(|&address| self.contains(AbsoluteAddress(address).frame()))
    }
}

/// Why an area cannot be locked.
pub(super) enum AreaFault {
    /// Another call holds a frame of it.
    Busy,
    /// A frame is not in the wanted state.
    WrongState,
}

/// All frames of an area, locked. Dropped without being committed, it leaves them as they were.
pub(super) struct AreaLock<'a> {
    storage: &'a Storage,
    area: &'a Area,
    locked: u64,
}

impl<'a> AreaLock<'a> {
    /// Locks the frames of an area, each of which must satisfy `wanted`.
    pub(super) fn take(
        storage: &'a Storage,
        area: &'a Area,
        wanted: impl Fn(FrameState) -> bool,
    ) -> Result<Self, AreaFault> {
        let mut lock = Self { storage, area, locked: 0 };
        for (frame, _) in area.frames() {
            if !wanted(storage.zone(frame).state()) {
                return Err(AreaFault::WrongState);
            }
            let taken = storage.try_lock(frame).ok_or(AreaFault::Busy)?;
            let state = taken.state();
            taken.suspend();
            lock.locked += 1;
            if !wanted(state) {
                return Err(AreaFault::WrongState);
            }
        }
        Ok(lock)
    }

    /// Gives every frame a new state, cleared if `clear` says so.
    pub(super) fn commit(
        mut self,
        events: &Events,
        rule: &'static str,
        clear: bool,
        state: impl Fn(FrameNumber, u64) -> FrameState,
    ) {
        for (frame, _) in self.area.frames() {
            let lock = self.storage.resume(frame);
            lock.close();
            lock.suspend();
        }
        self.storage.settle(self.area.rising());
        self.storage.drain_all();
        for (frame, virtual_page) in self.area.frames() {
            let mut lock = self.storage.resume(frame);
            if clear {
                lock.clear();
            }
            let (from, to) = (lock.state(), state(frame, virtual_page));
            lock.commit(to);
            events.emit(|| Event::Transition { frame, from, to, rule });
        }
        self.locked = 0;
        self.storage.settle(self.area.rising());
    }
}

impl Drop for AreaLock<'_> {
    fn drop(&mut self) {
        for (frame, _) in self.area.frames().take(self.locked as usize) {
            drop(self.storage.resume(frame));
        }
    }
}

impl Ultravisor {
    /// INIT_UV. Codes in order: 0x101 initialised already, 0x103 length, 0x104 origin outside storage,
    /// 0x105 end outside storage, 0x108 below 2 GiB, 0x102 another CPU operates, 0x105 block in the area or
    /// a frame not free (D5, T77).
    pub(super) fn init(&self, call: &mut Call<'_>) -> CallResult {
        let origin = AbsoluteAddress(call.block.u64(0x18) & !(MEBIBYTE - 1));
        let len = call.block.u64(0x20) & !(PAGE_SIZE - 1);
        if self.is_initialised() {
            return refuse(0x101, "I-31");
        }
        if len != super::UV_BASE_LENGTH {
            return refuse(0x103, "C24");
        }
        if !call.storage.contains(origin, 1) {
            return refuse(0x104, "Q30");
        }
        if !call.storage.contains(origin, len) {
            return refuse(0x105, "C27");
        }
        if origin.0 < TWO_GIBIBYTES {
            return refuse(0x108, "C28");
        }
        if call.home.others_operate() {
            return refuse(0x102, "C29");
        }
        let area = Area::absolute(origin, len);
        if call.block_frames.iter().any(|&frame| area.contains(frame)) {
            return refuse(0x105, "D5");
        }
        let lock = self.lock_non_secure(call.storage, &area, Refusal::new(0x105, "T77"))?;
        lock.commit(&self.events, "T76", true, |_, _| FrameState::Donated(Donation::Base));
        *self.base.lock() = area;
        self.initialised.store(true, Ordering::Release);
        Ok("T76")
    }

    /// Locks an area of frames that all must be non-secure (I-30, D37).
    pub(super) fn lock_non_secure<'a>(
        &self,
        storage: &'a Storage,
        area: &'a Area,
        refusal: Refusal,
    ) -> Result<AreaLock<'a>, Stop> {
        AreaLock::take(storage, area, |state| state == FrameState::NonSecure).map_err(|fault| match fault {
            AreaFault::Busy => Stop::Busy,
            AreaFault::WrongState => Stop::Refused(refusal),
        })
    }

    /// Locks areas that are to be given back.
    pub(super) fn lock_donated<'a>(&self, storage: &'a Storage, area: &'a Area) -> Result<AreaLock<'a>, Stop> {
        AreaLock::take(storage, area, |state| matches!(state, FrameState::Donated(_))).map_err(|_| Stop::Busy)
    }

    /// The base area that a CREATE_SEC_CONF names: 0x108, 0x106, 0x109 (D11).
    pub(super) fn base_donation(&self, call: &Call<'_>, origin: u64) -> Result<Area, Stop> {
        let len = super::CONFIGURATION_BASE_LENGTH;
        if !call.storage.contains(AbsoluteAddress(origin), len) {
            return refuse(0x108, "D11");
        }
        let area = Area::absolute(AbsoluteAddress(origin), len);
        // An unaligned area reaches one frame further; all of it must be free before 0x106 shows.
        let touched = Area::absolute(AbsoluteAddress(origin), (len + origin % PAGE_SIZE).next_multiple_of(PAGE_SIZE));
        if call.block_frames.iter().any(|&frame| touched.contains(frame)) {
            return refuse(0x108, "D5");
        }
        if touched.frames().any(|(frame, _)| call.storage.zone(frame).state() != FrameState::NonSecure) {
            return refuse(0x108, "T77");
        }
        if !origin.is_multiple_of(PAGE_SIZE) {
            return refuse(0x106, "D11");
        }
        if area.meets_lowcore(call.home.prefix()) {
            return refuse(0x109, "D11");
        }
        Ok(area)
    }

    /// The variable area of a configuration, translated once (D16): 0x30 to 0x32, 0x10a, 0x10e, 0x10b (D11).
    pub(super) fn variable_donation(
        &self,
        call: &mut Call<'_>,
        origin: u64,
        len: u64,
        base: &Area,
    ) -> Result<Area, Stop> {
        let mut area = Area::default();
        let mut at = origin & !(PAGE_SIZE - 1);
        let end = origin.checked_add(len).ok_or(Stop::Refused(Refusal::new(0x31, "D11")))?;
        while at < end {
            area.push(call.home.frame(VirtualAddress(at))?, at / PAGE_SIZE);
            at += PAGE_SIZE;
        }
        if !origin.is_multiple_of(PAGE_SIZE) {
            return refuse(0x10a, "D11");
        }
        if area.meets_lowcore(call.home.prefix()) {
            return refuse(0x10e, "Q25");
        }
        let twice = {
            let mut sorted: Vec<_> = area.stretches.iter().map(|stretch| stretch.frames.clone()).collect();
            sorted.sort_unstable_by_key(|frames| frames.start);
            sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
        };
        if twice || area.overlaps(base) || call.block_frames.iter().any(|&frame| area.contains(frame)) {
            return refuse(0x10b, "D11");
        }
        Ok(area)
    }

    /// The storage of a CPU: 0x106, 0x105 (D12).
    pub(super) fn cpu_donation(&self, call: &Call<'_>, origin: u64) -> Result<Area, Stop> {
        let len = super::CPU_STORAGE_LENGTH;
        let meets = |start: u64| origin < start + LOWCORE && start < origin.saturating_add(len);
        if meets(0) || meets(call.home.prefix().0) {
            return refuse(0x106, "D12");
        }
        if !call.storage.contains(AbsoluteAddress(origin), len) || !origin.is_multiple_of(PAGE_SIZE) {
            return refuse(0x105, "D12");
        }
        let area = Area::absolute(AbsoluteAddress(origin), len);
        if call.block_frames.iter().any(|&frame| area.contains(frame)) {
            return refuse(0x105, "D5");
        }
        Ok(area)
    }
}

/// State of the frames of a configuration's base area.
pub(super) fn base_state(domain: Domain) -> impl Fn(FrameNumber, u64) -> FrameState {
    move |_, _| FrameState::Donated(Donation::ConfigurationBase(domain))
}

/// State of the frames of a configuration's variable area.
pub(super) fn variable_state(domain: Domain) -> impl Fn(FrameNumber, u64) -> FrameState {
    move |_, page| FrameState::Donated(Donation::ConfigurationVariable(domain, page))
}
