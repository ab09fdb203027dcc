//! A guest under memory pressure: it touches pages, the host keeps only so many of them resident. Workloads, replays
//! and the cells of sweeps are this, with touches from different places; done in pieces, several take turns.

mod drawn;
mod guest;
mod recorded;

pub(crate) use drawn::Drawn;
pub(crate) use recorded::Recorded;

use crate::kernel::{Kernel, Observed, Stop};
use crate::paging::{Resident, WorkingSetSize};
use guest::{Guest, Known, Leave, Turn};
use uvsim_model::address::{GuestAddress, PAGE_SIZE, PageIndex};
use uvsim_model::cpu::{GuestCpu, GuestEvent, SieExit};
use uvsim_model::storage::ProgramCode;

/// What a guest under memory pressure counts.
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
    /// Exports that took a new counter: the content was new to the Ultravisor.
    pub encrypted: u64,
    /// Exports that did not: the bytes are those of the export before.
    pub unchanged: u64,
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

/// Most pages of a working set: a byte is kept for each doubleword of them.
pub(crate) const LARGEST: u64 = 1 << 24;
/// Accesses that are planned and prefetched before they are done.
const AHEAD: usize = 16;
const PAGE_WORDS: usize = (PAGE_SIZE / 8) as usize;
/// Accesses between two reports of progress.
const STRIDE: u64 = 1 << 16;
/// Faults in a row without a single access in between.
const PATIENCE: u32 = 16;

/// Which pages a task touches, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Whose pages.
    pub(crate) guest: usize,
    /// The guest page of slot 0.
    pub(crate) first: u64,
    /// Number of slots.
    pub(crate) pages: u64,
    /// Pages of them that may be resident.
    pub(crate) frames: u64,
    /// Accesses in all.
    pub(crate) goal: u64,
}

/// One access to come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touch {
    pub(crate) slot: usize,
    pub(crate) word: usize,
    pub(crate) store: bool,
}

/// Where touches come from. One that is past the goal is planned, perhaps, but never done.
trait Touches {
    /// The next one to be done.
    fn current(&self) -> Touch;
    /// The current one is done. Returns one that comes [`AHEAD`] accesses later, to be prefetched.
    fn advance(&mut self) -> Touch;
}

/// Touches of either kind.
#[derive(Debug)]
pub(crate) enum Origin<'s> {
    /// A workload's.
    Drawn(Box<Drawn>),
    /// A trace's.
    Recorded(Recorded<'s>),
}

/// Why a task ends early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The host cannot do what it must.
    Stopped { what: &'static str, stop: Stop },
    /// A load gave something else than the guest last stored there (I-14).
    Mismatch { page: u64, offset: u64 },
}

/// A task under way: the guest's side of it, and the host's list of what is resident. After as many stores as `T` can
/// number, a doubleword holds again what it held.
#[derive(Debug)]
pub(crate) struct Task<'s, T = u8> {
    pub(crate) extent: Extent,
    origin: Origin<'s>,
    pub(crate) counters: Counters,
    resident: Resident,
    known: Known<T>,
    /// Faults since the last access.
    stuck: u32,
    /// How often the kernel had changed mappings of the guest when `resident` was last right.
    as_of: Option<u64>,
}

impl<'s, T: Turn> Task<'s, T> {
    pub(crate) fn new(extent: Extent, resident: Resident, origin: Origin<'s>) -> Self {
        let known = Known::new(extent.pages as usize);
        Self { extent, origin, counters: Counters::default(), resident, known, stuck: 0, as_of: None }
    }

    pub(crate) fn working_set(&self) -> Option<WorkingSetSize> {
        self.resident.working_set_size()
    }

    /// Does up to so many accesses; whether all are done now. vCPU 0 of the guest makes them, on the host CPU that
    /// serves it, and the same CPU answers the faults. `progress` hears the goal and how many accesses are done.
    pub(crate) fn advance(
        &mut self,
        kernel: &mut Kernel<'_>,
        accesses: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, Ended> {
        let until = self.counters.accesses.saturating_add(accesses).min(self.extent.goal);
        self.follow(kernel).map_err(|stop| Ended::Stopped { what: "a page cannot be paged out", stop })?;
        while self.counters.accesses < until {
            let before = self.counters.accesses;
            if before.is_multiple_of(STRIDE) {
                progress(self.extent.goal, before);
            }
            let unanswered = |stop| Ended::Stopped { what: "a guest fault cannot be answered", stop };
            kernel.in_time().map_err(unanswered)?;
            let stop = until.min((before / STRIDE + 1) * STRIDE);
            let left = match kernel.enter(self.extent.guest, 0) {
                Ok(mut cpu) => self.stay(&mut cpu, stop),
                Err(exit) => Err(Leave::Event(GuestEvent::Exit(exit))),
            };
            self.stuck = if self.counters.accesses == before { self.stuck + 1 } else { 0 };
            match left {
                Ok(()) => {}
                Err(Leave::Mismatch(touch)) => return Err(self.extent.mismatch(touch)),
                Err(Leave::Event(event)) => {
                    self.counters.faults += 1;
                    self.relieve(kernel, event).map_err(unanswered)?;
                }
            }
        }
        Ok(self.counters.accesses == self.extent.goal)
    }

    /// Accesses until so many are done, or something happens.
    fn stay(&mut self, cpu: &mut GuestCpu<'_, '_>, until: u64) -> Result<(), Leave> {
        let Self { extent, origin, counters, resident, known, .. } = self;
        let mut guest = Guest { extent, counters, resident, known };
        match origin {
            Origin::Drawn(drawn) => guest.run(cpu, drawn.as_mut(), until),
            Origin::Recorded(recorded) => guest.run(cpu, recorded, until),
        }
    }

    /// Answers one exit as Linux does, within the limit of frames.
    fn relieve(&mut self, kernel: &mut Kernel<'_>, event: GuestEvent) -> Result<(), Stop> {
        let GuestEvent::Exit(exit) = event else { return Err(Observed::event(event).into()) };
        if self.stuck > PATIENCE {
            return Err(Observed::exit(exit).into());
        }
        match exit {
            SieExit::HostInterruption(it)
                if it.code.is_translation_exception() || it.code == ProgramCode::NonSecureStorageAccess =>
            {
                self.bring(kernel, it.teid.address() / PAGE_SIZE)
            }
            SieExit::Interception(interception) if interception.code == 112 => {
                self.bring(kernel, 0)?;
                self.bring(kernel, 1)
            }
            SieExit::HostInterruption(_) | SieExit::Interception(_) => Err(Observed::exit(exit).into()),
        }
    }

    /// Pages one page in, and others out if too many are resident.
    fn bring(&mut self, kernel: &mut Kernel<'_>, page: u64) -> Result<(), Stop> {
        if let Some(slot) = self.extent.slot(page)
            && !self.resident.contains(slot)
        {
            self.make_room(kernel, self.extent.frames - 1)?;
            self.resident.insert(slot);
        }
        self.counters.page_ins += 1;
        kernel.bring_in(kernel.serving_cpu(0), self.extent.guest, page)?;
        self.as_of = Some(kernel.remappings(self.extent.guest));
        Ok(())
    }

    fn make_room(&mut self, kernel: &mut Kernel<'_>, limit: u64) -> Result<(), Stop> {
        while self.resident.len() > limit {
            let Some(slot) = self.resident.victim() else { return Ok(()) };
            let page = self.extent.first + slot as u64;
            let before = self.exports(kernel, page);
            kernel.page_out(kernel.serving_cpu(0), self.extent.guest, page)?;
            self.resident.remove(slot);
            self.counters.page_outs += 1;
            if self.exports(kernel, page) == before {
                self.counters.unchanged += 1;
            } else {
                self.counters.encrypted += 1;
            }
        }
        Ok(())
    }

    /// How often a page has been exported with new content.
    fn exports(&self, kernel: &Kernel<'_>, page: u64) -> u64 {
        let view = kernel.machine().page(kernel.handle(self.extent.guest), PageIndex(page));
        view.map_or(0, |view| view.counter)
    }

    /// Pages that have a frame already count, and so do those that others have brought in or taken away since.
    fn follow(&mut self, kernel: &mut Kernel<'_>) -> Result<(), Stop> {
        let guest = self.extent.guest;
        if self.as_of == Some(kernel.remappings(guest)) {
            return Ok(());
        }
        let Extent { first, pages, .. } = self.extent;
        let mut mapped = kernel.mapped_pages(guest, first..first + pages).peekable();
        for slot in 0..pages as usize {
            if mapped.next_if_eq(&(first + slot as u64)).is_some() {
                self.resident.insert(slot);
            } else {
                self.resident.remove(slot);
            }
        }
        drop(mapped);
        self.make_room(kernel, self.extent.frames)?;
        self.as_of = Some(kernel.remappings(guest));
        Ok(())
    }

    /// Has the guest believe that a page is full of this byte.
    #[cfg(test)]
    pub(crate) fn pretend(&mut self, slot: usize, byte: u8) {
        self.known.see(slot, &[byte; PAGE_SIZE as usize]);
    }
}

impl Extent {
    fn slot(&self, page: u64) -> Option<usize> {
        let slot = page.checked_sub(self.first)?;
        (slot < self.pages).then_some(slot as usize)
    }

    fn address(&self, touch: Touch) -> GuestAddress {
        GuestAddress((self.first + touch.slot as u64) * PAGE_SIZE + touch.word as u64 * 8)
    }

    fn mismatch(&self, touch: Touch) -> Ended {
        Ended::Mismatch { page: self.first + touch.slot as u64, offset: touch.word as u64 * 8 }
    }
}
