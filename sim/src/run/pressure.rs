//! A guest under memory pressure: it touches pages, the host keeps only so many of them resident. Where the touches
//! come from is the business of workloads and replays; done in pieces, several can take turns.

use super::replay::Recorded;
use super::workload::Drawn;
use super::{End, Failure, Runner, Status, outcome};
use crate::kernel::{Observed, Stop};
use crate::paging::{Resident, WorkingSetSize};
use crate::scenario::{Outcome, Place};
use std::collections::BTreeMap;
use std::time::Instant;
use uvsim_model::address::{GuestAddress, PAGE_SIZE};
use uvsim_model::cpu::{GuestCpu, GuestEvent, SieExit};

/// What a workload or a replay counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Guest accesses done.
    pub accesses: u64,
    /// Loads among them.
    pub reads: u64,
    /// Stores among them.
    pub writes: u64,
    /// Exits that the host answered.
    pub faults: u64,
    /// Pages imported.
    pub page_ins: u64,
    /// Pages exported.
    pub page_outs: u64,
    /// Loads that did not give what the guest last stored.
    pub mismatches: u64,
}

impl Counters {
    /// Pages imported for each access.
    #[must_use]
    pub fn miss_ratio(&self) -> f64 {
        self.page_ins as f64 / self.accesses.max(1) as f64
    }
}

const WORDS: usize = (PAGE_SIZE / 8) as usize;
/// Most pages of a working set: the runner keeps a byte for each doubleword of them.
pub(super) const LARGEST: u64 = 1 << 24;
/// Accesses between two looks at the clock.
const STRIDE: u64 = 1 << 16;
/// Accesses that are planned and prefetched before they are done.
pub(super) const AHEAD: usize = 16;
/// Faults in a row without a single access in between.
const PATIENCE: u32 = 16;

/// Which pages a task touches, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) place: Place,
    pub(super) guest: usize,
    pub(super) first: u64,
    pub(super) pages: u64,
    pub(super) frames: u64,
    /// Accesses in all.
    pub(super) goal: u64,
}

/// One access to come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touch {
    pub(super) slot: usize,
    pub(super) word: usize,
    pub(super) store: bool,
}

/// Where touches come from. One that is past the goal is planned, perhaps, but never done.
pub(super) trait Touches {
    /// The next one to be done.
    fn current(&self) -> Touch;
    /// The current one is done. Returns one that comes [`AHEAD`] accesses later, to be prefetched.
    fn advance(&mut self) -> Touch;
}

/// Touches of either kind.
#[derive(Debug)]
pub(super) enum Origin<'s> {
    /// A workload's.
    Drawn(Box<Drawn>),
    /// A replay's.
    Recorded(Recorded<'s>),
}

/// A workload or replay under way: the guest's side of it, and the host's list of what is resident.
#[derive(Debug)]
pub(super) struct Task<'s> {
    pub(super) extent: Extent,
    origin: Origin<'s>,
    pub(super) counters: Counters,
    resident: Resident,
    known: Known,
    /// Faults since the last access.
    stuck: u32,
    adopted: bool,
}

impl<'s> Task<'s> {
    pub(super) fn new(extent: Extent, resident: Resident, origin: Origin<'s>) -> Self {
        let known = Known::new(extent.pages as usize);
        Self { extent, origin, counters: Counters::default(), resident, known, stuck: 0, adopted: false }
    }

    pub(super) fn working_set(&self) -> Option<WorkingSetSize> {
        self.resident.working_set_size()
    }

    /// Has the guest believe that a page is full of this byte.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, slot: usize, byte: u8) {
        self.known.see(slot, &[byte; PAGE_SIZE as usize]);
    }
}

impl Runner<'_, '_, '_> {
    /// Does up to so many accesses of a task; whether all are done now.
    pub(super) fn advance(&mut self, task: &mut Task<'_>, accesses: u64) -> Result<bool, End> {
        let watched = std::mem::replace(&mut self.kernel.watch, false);
        let done = self.drive(task, accesses);
        self.kernel.watch = watched;
        let _ = self.kernel.take_transitions();
        done
    }

    fn drive(&mut self, task: &mut Task<'_>, accesses: u64) -> Result<bool, End> {
        if !task.adopted {
            self.adopt(task)?;
            task.adopted = true;
        }
        let until = task.counters.accesses.saturating_add(accesses).min(task.extent.goal);
        while task.counters.accesses < until {
            let before = task.counters.accesses;
            if before.is_multiple_of(STRIDE) {
                self.report.progress(task.extent.goal, before);
            }
            if self.options.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(End::TimeOut);
            }
            let stop = until.min((before / STRIDE + 1) * STRIDE);
            let left = match self.kernel.enter(task.extent.guest, 0) {
                Ok(mut cpu) => task.stay(&mut cpu, stop),
                Err(exit) => Err(Leave::Event(GuestEvent::Exit(exit))),
            };
            task.stuck = if task.counters.accesses == before { task.stuck + 1 } else { 0 };
            match left {
                Ok(()) => {}
                Err(Leave::Mismatch(touch)) => return Err(mismatch(&task.extent, touch)),
                Err(Leave::Event(event)) => {
                    task.counters.faults += 1;
                    let got = self.relieve(task, event).or_else(outcome)?;
                    self.demand_ok(&got, "a guest fault cannot be answered")?;
                }
            }
        }
        Ok(task.counters.accesses == task.extent.goal)
    }

    fn demand_ok(&self, got: &Observed, what: &str) -> Result<(), End> {
        if got.outcome == Outcome::Ok {
            return Ok(());
        }
        let message = format!("{what}: {}", super::words::detailed(got));
        Err(End::Failed(Box::new(self.failure(None, got.rule, message)), Status::Fail))
    }

    /// Answers one exit as Linux does, within the limit of frames.
    fn relieve(&mut self, task: &mut Task<'_>, event: GuestEvent) -> Result<Observed, Stop> {
        let GuestEvent::Exit(exit) = event else { return Err(Observed::event(event).into()) };
        if task.stuck > PATIENCE {
            return Err(Observed::exit(exit).into());
        }
        match exit {
            SieExit::HostInterruption(it)
                if it.code.is_translation_exception()
                    || it.code == uvsim_model::storage::ProgramCode::NonSecureStorageAccess =>
            {
                self.bring(task, it.teid.address() / PAGE_SIZE)
            }
            SieExit::Interception(interception) if interception.code == 112 => {
                self.bring(task, 0)?;
                self.bring(task, 1)
            }
            SieExit::HostInterruption(_) | SieExit::Interception(_) => Err(Observed::exit(exit).into()),
        }
    }

    /// Pages one page in, and others out if too many are resident.
    fn bring(&mut self, task: &mut Task<'_>, page: u64) -> Result<Observed, Stop> {
        if let Some(slot) = task.extent.slot(page)
            && !task.resident.contains(slot)
        {
            self.make_room(task, task.extent.frames - 1)?;
            task.resident.insert(slot);
        }
        task.counters.page_ins += 1;
        self.kernel.bring_in(0, task.extent.guest, page)
    }

    fn make_room(&mut self, task: &mut Task<'_>, limit: u64) -> Result<(), Stop> {
        while task.resident.len() > limit {
            let Some(slot) = task.resident.victim() else { return Ok(()) };
            self.kernel.page_out(0, task.extent.guest, task.extent.first + slot as u64)?;
            task.resident.remove(slot);
            task.counters.page_outs += 1;
        }
        Ok(())
    }

    /// Pages of the task that have a frame already count.
    fn adopt(&mut self, task: &mut Task<'_>) -> Result<(), End> {
        for slot in 0..task.extent.pages {
            if self.kernel.mapped(task.extent.guest, task.extent.first + slot).is_some() {
                task.resident.insert(slot as usize);
            }
        }
        let got = self.make_room(task, task.extent.frames).map(|()| Observed::OK).or_else(outcome)?;
        self.demand_ok(&got, "a page cannot be paged out")
    }
}

fn mismatch(extent: &Extent, touch: Touch) -> End {
    let (page, offset) = (extent.first + touch.slot as u64, touch.word * 8);
    let message = format!("page {page} offset {offset:#x}: the guest does not read what it last wrote (I-14)");
    End::Failed(Box::new(Failure { page: None, rule: "I-14", message, state: Vec::new() }), Status::Fail)
}

impl Extent {
    fn slot(&self, page: u64) -> Option<usize> {
        let slot = page.checked_sub(self.first)?;
        (slot < self.pages).then_some(slot as usize)
    }

    fn address(&self, touch: Touch) -> GuestAddress {
        GuestAddress((self.first + touch.slot as u64) * PAGE_SIZE + touch.word as u64 * 8)
    }
}

/// Why a stay in the guest ends early.
enum Leave {
    Event(GuestEvent),
    Mismatch(Touch),
}

impl Task<'_> {
    /// Accesses until so many are done, or something happens.
    fn stay(&mut self, cpu: &mut GuestCpu<'_, '_>, until: u64) -> Result<(), Leave> {
        let Self { extent, origin, counters, resident, known, .. } = self;
        let mut guest = Guest { extent, counters, resident, known };
        match origin {
            Origin::Drawn(drawn) => guest.run(cpu, drawn.as_mut(), until),
            Origin::Recorded(recorded) => guest.run(cpu, recorded, until),
        }
    }
}

/// What changes while the guest runs.
struct Guest<'t> {
    extent: &'t Extent,
    counters: &'t mut Counters,
    resident: &'t mut Resident,
    known: &'t mut Known,
}

impl Guest<'_> {
    fn run(&mut self, cpu: &mut GuestCpu<'_, '_>, touches: &mut impl Touches, until: u64) -> Result<(), Leave> {
        while self.counters.accesses < until {
            let touch = touches.current();
            if !self.access(cpu, touch).map_err(Leave::Event)? {
                return Err(Leave::Mismatch(touch));
            }
            let later = touches.advance();
            cpu.prefetch(self.extent.address(later));
            self.known.prefetch(later);
        }
        Ok(())
    }

    /// Does one access and compares it; `false` if it did not give what the guest last stored.
    #[inline(always)]
    fn access(&mut self, cpu: &mut GuestCpu<'_, '_>, touch: Touch) -> Result<bool, GuestEvent> {
        if !self.known.seen[touch.slot] {
            self.look(cpu, touch.slot)?;
        }
        let address = self.extent.address(touch);
        let page = self.extent.first + touch.slot as u64;
        let genuine = if touch.store {
            let turn = self.known.turn(touch) % u8::MAX + 1;
            cpu.store(address, &stamp(page, touch.word, turn).to_be_bytes())?;
            self.known.turns[touch.slot * WORDS + touch.word] = turn;
            self.counters.writes += 1;
            true
        } else {
            let mut bytes = [0; 8];
            cpu.load(address, &mut bytes)?;
            self.counters.reads += 1;
            u64::from_be_bytes(bytes) == self.known.word(page, touch)
        };
        self.counters.accesses += 1;
        self.counters.mismatches += u64::from(!genuine);
        self.resident.touch(touch.slot);
        Ok(genuine)
    }

    /// Looks at what a page holds that has not been touched before.
    #[inline(never)]
    fn look(&mut self, cpu: &mut GuestCpu<'_, '_>, slot: usize) -> Result<(), GuestEvent> {
        let mut bytes = [0; PAGE_SIZE as usize];
        cpu.load(self.extent.address(Touch { slot, ..Touch::default() }), &mut bytes)?;
        self.known.see(slot, &bytes);
        Ok(())
    }
}

/// What a guest knows its pages to hold.
#[derive(Debug)]
struct Known {
    /// The turn of the last store to each word, page by page; 0 for none.
    turns: Vec<u8>,
    /// Pages that have been looked at.
    seen: Vec<bool>,
    /// What pages held at first that did not hold zeros.
    first: BTreeMap<usize, Box<[u64; WORDS]>>,
}

impl Known {
    fn new(pages: usize) -> Self {
        Self { turns: vec![0; pages * WORDS], seen: vec![false; pages], first: BTreeMap::new() }
    }

    fn see(&mut self, slot: usize, bytes: &[u8; PAGE_SIZE as usize]) {
        self.seen[slot] = true;
        if bytes.iter().any(|&byte| byte != 0) {
            self.first.insert(slot, words(bytes));
        }
    }

    fn turn(&self, touch: Touch) -> u8 {
        self.turns[touch.slot * WORDS + touch.word]
    }

    /// Looks at what will be compared, so that it is near by then.
    fn prefetch(&self, touch: Touch) {
        std::hint::black_box(self.turn(touch));
    }

    fn word(&self, page: u64, touch: Touch) -> u64 {
        match self.turn(touch) {
            0 => self.first.get(&touch.slot).map_or(0, |first| first[touch.word]),
            turn => stamp(page, touch.word, turn),
        }
    }
}

/// What a guest stores: where it stores it, and a number that changes with every store.
fn stamp(page: u64, word: usize, turn: u8) -> u64 {
    page << 17 | (word as u64) << 8 | u64::from(turn)
}

/// A page as big-endian doublewords.
fn words(bytes: &[u8; PAGE_SIZE as usize]) -> Box<[u64; WORDS]> {
    let mut words = Box::new([0; WORDS]);
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = part.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}
