//! A guest under memory pressure: it touches pages, the host keeps only so many of them resident. Workloads, replays
//! and the cells of sweeps are this, with touches from different places; done in pieces, several take turns.

mod drawn;
mod guest;
mod recorded;

pub(crate) use drawn::Drawn;
pub(crate) use recorded::Recorded;

use crate::kernel::{Kernel, Observed, PageBytes, Stop};
use crate::paging::{Resident, WorkingSetSize};
use guest::{Guest, Known, Leave, Turn};
use std::ops::Range;
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
/// The same where others may take a page away as soon as it is there.
const CONTENDED_PATIENCE: u32 = 1 << 14;

/// Who runs a guest and answers its faults: a kernel that has all to itself, or one among several on threads.
pub(crate) trait Host<'m> {
    /// Others act at the same time: what was right when a fault happened need not be right any more.
    const CONTENDED: bool;

    /// The kernel; what it knows of guests is there only in [`Host::hold`].
    fn kernel(&mut self) -> &mut Kernel<'m>;

    /// Does something to a guest.
    fn hold<R>(&mut self, guest: usize, act: impl FnOnce(&mut Kernel<'m>) -> R) -> R;

    /// vCPU 0 of a guest runs.
    fn run<R>(&mut self, guest: usize, act: impl FnOnce(&mut GuestCpu<'_, 'm>) -> R) -> Result<R, SieExit>;
}

impl<'m> Host<'m> for Kernel<'m> {
    const CONTENDED: bool = false;

    fn kernel(&mut self) -> &mut Self {
        self
    }

    fn hold<R>(&mut self, _guest: usize, act: impl FnOnce(&mut Self) -> R) -> R {
        act(self)
    }

    fn run<R>(&mut self, guest: usize, act: impl FnOnce(&mut GuestCpu<'_, 'm>) -> R) -> Result<R, SieExit> {
        Ok(act(&mut self.enter(guest, 0)?))
    }
}

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
    pub(crate) fn advance<'m, H: Host<'m>>(
        &mut self,
        host: &mut H,
        accesses: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, Ended> {
        let guest = self.extent.guest;
        let patience = if H::CONTENDED { CONTENDED_PATIENCE } else { PATIENCE };
        let until = self.counters.accesses.saturating_add(accesses).min(self.extent.goal);
        host.hold(guest, |kernel| self.follow(kernel))
            .map_err(|stop| Ended::Stopped { what: "a page cannot be paged out", stop })?;
        while self.counters.accesses < until {
            let before = self.counters.accesses;
            if before.is_multiple_of(STRIDE) {
                progress(self.extent.goal, before);
            }
            let unanswered = |stop| Ended::Stopped { what: "a guest fault cannot be answered", stop };
            host.kernel().in_time().map_err(unanswered)?;
            let stop = until.min((before / STRIDE + 1) * STRIDE);
            let left = match host.run(guest, |cpu| self.stay(cpu, stop)) {
                Ok(left) => left,
                Err(exit) => Err(Leave::Event(GuestEvent::Exit(exit))),
            };
            self.stuck = if self.counters.accesses == before { self.stuck + 1 } else { 0 };
            match left {
                Ok(()) => {}
                Err(Leave::Mismatch(touch)) => return Err(self.extent.mismatch(touch)),
                Err(Leave::Event(event)) => {
                    self.counters.faults += 1;
                    match host.hold(guest, |kernel| self.relieve(kernel, event, patience)) {
                        // Somebody else has been faster, perhaps: the guest tries again.
                        Err(Stop::Outcome(_)) if H::CONTENDED && self.stuck <= patience => {
                            std::thread::yield_now();
                        }
                        answered => answered.map_err(unanswered)?,
                    }
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
    fn relieve(&mut self, kernel: &mut Kernel<'_>, event: GuestEvent, patience: u32) -> Result<(), Stop> {
        let GuestEvent::Exit(exit) = event else { return Err(Observed::event(event).into()) };
        self.follow(kernel)?;
        if self.stuck > patience {
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

    /// What the guest last stored.
    pub(crate) fn into_memory(self) -> Memory<T> {
        Memory { extent: self.extent, known: self.known }
    }

    /// Has the guest believe that a page is full of this byte.
    #[cfg(test)]
    pub(crate) fn pretend(&mut self, slot: usize, byte: u8) {
        self.known.see(slot, &[byte; PAGE_SIZE as usize]);
    }
}

/// What a guest last stored into the pages of a task.
#[derive(Debug)]
pub(crate) struct Memory<T = u8> {
    extent: Extent,
    known: Known<T>,
}

impl<T: Turn> Memory<T> {
    /// Whose pages.
    pub(crate) fn guest(&self) -> usize {
        self.extent.guest
    }

    /// The pages whose content is known.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> {
        let first = self.extent.first;
        self.known.slots().map(move |slot| first + slot as u64)
    }

    /// The first byte of a doubleword that is not as the guest stored it.
    pub(crate) fn difference(&self, page: u64, bytes: &PageBytes) -> Option<u64> {
        let slot = self.extent.slot(page)?;
        let word = self.known.difference(page, slot, bytes)?;
        Some(word as u64 * 8)
    }

    /// Nothing is known any more of pages of a guest. Whether anything is known of others.
    pub(crate) fn forget(&mut self, guest: usize, pages: Range<u64>) -> bool {
        let Extent { first, pages: count, .. } = self.extent;
        if guest == self.extent.guest {
            let slots = pages.start.max(first)..pages.end.min(first + count);
            for page in slots {
                self.known.forget((page - first) as usize);
            }
        }
        self.known.slots().next().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::PolicyKind;
    use crate::run::boot;
    use crate::scenario::{Node, Scenario};
    use std::path::Path;
    use uvsim_model::Machine;
    use uvsim_model::seed::{Purpose, Seed};

    const FRAMES: u64 = 3;
    const PAGES: Range<u64> = 9..17;

    /// Does a workload in pieces; in between, something else is done to the guest.
    fn drive(policy: PolicyKind, mut meddle: impl FnMut(&mut Kernel<'_>, u64)) -> Counters {
        let text = "scenario s\nguest a memory=\"1MiB\"\nstep s {
            workload guest=a accesses=2000 working-set=8 frames=3 first=9
        }";
        let scenario = Scenario::parse(Path::new("s.kdl"), text).unwrap();
        let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(mut kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        let seed = Seed(5);
        let resident = Resident::new(policy, 8, FRAMES, seed.item(Purpose::Workload, 0, 1));
        let extent = Extent { guest: 0, first: 9, pages: 8, frames: FRAMES, goal: 2000 };
        let drawn = Drawn::new(workload, seed.substream(Purpose::Workload, 0));
        let mut task: Task<'_> = Task::new(extent, resident, Origin::Drawn(Box::new(drawn)));
        for turn in 0.. {
            let done = task.advance(&mut kernel, 7, &mut |_, _| ()).unwrap();
            let mapped: Vec<u64> = kernel.mapped_pages(0, PAGES).collect();
            assert!(mapped.len() as u64 <= FRAMES, "turn {turn}: {mapped:?}");
            let booked: Vec<u64> = PAGES.filter(|page| task.resident.contains(*page as usize - 9)).collect();
            assert_eq!(booked, mapped, "turn {turn}");
            if done {
                break;
            }
            meddle(&mut kernel, turn);
        }
        assert_eq!(task.counters.encrypted + task.counters.unchanged, task.counters.page_outs);
        task.counters
    }

    #[test]
    fn the_book_keeps_up_with_what_others_do() {
        for policy in PolicyKind::ALL {
            let counters = drive(policy, |kernel, turn| {
                let page = 9 + turn * 5 % 8;
                match (kernel.mapped(0, page), turn % 3) {
                    (Some(_), 0) => drop(kernel.export(1, 0, page).unwrap()),
                    (Some(_), _) => drop(kernel.page_out(1, 0, page).unwrap()),
                    (None, _) => drop(kernel.bring_in(1, 0, page).unwrap()),
                }
            });
            assert_eq!((counters.accesses, counters.mismatches), (2000, 0), "{}", policy.name());
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        let counters = drive(PolicyKind::Lru, |_, _| ());
        assert_eq!(counters, drive(PolicyKind::Lru, |kernel, _| kernel.machine().advance_clock(1)));
        // With 5 of 8 pages away, about 5 of 8 accesses miss.
        assert!((1100..1400).contains(&counters.page_ins), "{counters:?}");
        assert_eq!((counters.page_outs, counters.mismatches), (counters.page_ins - FRAMES, 0));
        assert!(counters.unchanged > 0 && counters.encrypted > 0);
    }

    #[test]
    fn a_number_that_runs_over_begins_again_with_one() {
        assert_eq!([0, 1, 254, 255].map(|turn: u8| turn.next()), [1, 2, 255, 1]);
        assert_eq!([0, u32::MAX].map(Turn::next), [1, 1]);
    }
}
