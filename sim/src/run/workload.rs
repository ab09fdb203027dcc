//! Paging workloads: a guest touches pages, the host keeps only so many of them resident.

use super::{End, Failure, Runner, Status, WorkloadEnd, outcome};
use crate::kernel::{Observed, Stop};
use crate::scenario::{Pattern, Workload};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use uvsim_model::address::{GuestAddress, PAGE_SIZE};
use uvsim_model::cpu::{GuestCpu, GuestEvent, SieExit};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

/// What a workload counts.
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

const WORDS: usize = (PAGE_SIZE / 8) as usize;
/// Most pages of a working set: the runner keeps a byte for each doubleword of them.
const LARGEST: u64 = 1 << 24;
/// Accesses between two looks at the clock.
const STRIDE: u64 = 1 << 16;
/// Accesses that are planned and prefetched before they are done.
const AHEAD: usize = 16;
/// Faults in a row without a single access in between.
const PATIENCE: u32 = 16;

impl<'s> Runner<'s, '_, '_> {
    pub(super) fn run_workload(&mut self, workload: &'s Workload) -> Result<(), End> {
        if workload.working_set > LARGEST {
            let message = format!("a working set of {} pages: at most {LARGEST} can be watched", workload.working_set);
            return Err(End::Unusable(message));
        }
        let seed = Seed(workload.seed.unwrap_or(self.kernel.machine().config().seed));
        let stream = seed.substream(Purpose::Workload, self.workloads);
        self.workloads += 1;
        self.kernel.watch = false;
        let mut paging = Paging::new(workload, stream);
        let done = self.drive(workload, &mut paging);
        self.kernel.watch = true;
        let guest = &self.scenario.guest(workload.guest).name;
        let counters = paging.counters;
        self.report.workload(self.scenario, &WorkloadEnd { workload, guest, counters });
        let _ = self.kernel.take_transitions();
        done
    }

    fn drive(&mut self, workload: &'s Workload, paging: &mut Paging) -> Result<(), End> {
        let guest = workload.guest.0;
        self.adopt(guest, workload, paging)?;
        let mut stuck = 0;
        while paging.counters.accesses < workload.accesses {
            let before = paging.counters.accesses;
            let exit = match self.kernel.enter(guest, 0) {
                Ok(mut cpu) => loop {
                    if paging.counters.accesses.is_multiple_of(STRIDE) {
                        self.report.progress(workload, paging.counters.accesses);
                        if self.options.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                            return Err(End::TimeOut);
                        }
                    }
                    let next = paging.next(&mut cpu);
                    match paging.access(&mut cpu, &next) {
                        Ok(true) => {}
                        Ok(false) => {
                            let message = format!(
                                "page {} offset {:#x}: the guest does not read what it last wrote (I-14)",
                                next.page,
                                next.word * 8
                            );
                            let failure = Failure { page: None, rule: "I-14", message, state: Vec::new() };
                            return Err(End::Failed(Box::new(failure), Status::Fail));
                        }
                        Err(event) => break event,
                    }
                    if paging.counters.accesses == workload.accesses {
                        return Ok(());
                    }
                    paging.done();
                },
                Err(exit) => GuestEvent::Exit(exit),
            };
            stuck = if paging.counters.accesses == before { stuck + 1 } else { 0 };
            paging.counters.faults += 1;
            let got = self.relieve(guest, workload, paging, exit, stuck).or_else(outcome)?;
            if got.outcome != crate::scenario::Outcome::Ok {
                let message = format!("a guest fault cannot be answered: {}", super::words::detailed(&got));
                return Err(End::Failed(Box::new(self.failure(None, got.rule, message)), Status::Fail));
            }
        }
        Ok(())
    }

    /// Answers one exit as Linux does, within the limit of frames.
    fn relieve(
        &mut self,
        guest: usize,
        workload: &Workload,
        paging: &mut Paging,
        event: GuestEvent,
        stuck: u32,
    ) -> Result<Observed, Stop> {
        let GuestEvent::Exit(exit) = event else { return Err(Observed::event(event).into()) };
        if stuck > PATIENCE {
            return Err(Observed::exit(exit).into());
        }
        match exit {
            SieExit::HostInterruption(it)
                if it.code.is_translation_exception()
                    || it.code == uvsim_model::storage::ProgramCode::NonSecureStorageAccess =>
            {
                self.bring(guest, workload, paging, it.teid.address() / PAGE_SIZE)
            }
            SieExit::Interception(interception) if interception.code == 112 => {
                self.bring(guest, workload, paging, 0)?;
                self.bring(guest, workload, paging, 1)
            }
            SieExit::HostInterruption(_) | SieExit::Interception(_) => Err(Observed::exit(exit).into()),
        }
    }

    /// Pages one page in, and others out if too many are resident.
    fn bring(&mut self, guest: usize, workload: &Workload, paging: &mut Paging, page: u64) -> Result<Observed, Stop> {
        let counted = paging.resident.slot(page);
        if let Some(slot) = counted
            && !paging.resident.contains(slot)
        {
            self.make_room(guest, workload, paging, workload.frames - 1)?;
            paging.resident.insert(slot);
        }
        paging.counters.page_ins += 1;
        self.kernel.bring_in(0, guest, page)
    }

    fn make_room(&mut self, guest: usize, workload: &Workload, paging: &mut Paging, limit: u64) -> Result<(), Stop> {
        while paging.resident.len() > limit {
            let Some(slot) = paging.resident.oldest() else { return Ok(()) };
            self.kernel.page_out(0, guest, workload.first + slot as u64)?;
            paging.resident.remove(slot);
            paging.counters.page_outs += 1;
        }
        Ok(())
    }

    /// Pages of the working set that have a frame already count.
    fn adopt(&mut self, guest: usize, workload: &Workload, paging: &mut Paging) -> Result<(), End> {
        for slot in 0..workload.working_set {
            if self.kernel.mapped(guest, workload.first + slot).is_some() {
                paging.resident.insert(slot as usize);
            }
        }
        let got = self.make_room(guest, workload, paging, workload.frames).map(|()| Observed::OK).or_else(outcome)?;
        if got.outcome == crate::scenario::Outcome::Ok {
            return Ok(());
        }
        let message = format!("a page cannot be paged out: {}", super::words::detailed(&got));
        Err(End::Failed(Box::new(self.failure(None, got.rule, message)), Status::Fail))
    }
}

/// One access to come.
#[derive(Clone, Copy, Debug)]
struct Access {
    slot: usize,
    page: u64,
    word: usize,
    store: bool,
}

/// The guest's side of a workload, and the host's list of what is resident.
struct Paging {
    first: u64,
    counters: Counters,
    resident: Recency,
    /// What the guest knows its pages to hold.
    known: Known,
    /// Accesses planned, the next one first.
    planned: VecDeque<Access>,
    picker: Picker,
    stream: SeedStream,
    /// A store happens when 32 random bits are below this.
    stores_below: u64,
}

impl Paging {
    fn new(workload: &Workload, stream: SeedStream) -> Self {
        Self {
            first: workload.first,
            counters: Counters::default(),
            resident: Recency::new(workload),
            known: Known::new(workload.working_set as usize),
            planned: VecDeque::with_capacity(AHEAD),
            picker: Picker::new(workload),
            stream,
            stores_below: (workload.writes * 4_294_967_296.0) as u64,
        }
    }

    fn plan(&mut self) -> Access {
        let random = self.stream.next_u64();
        let slot = self.picker.pick(&mut self.stream);
        let word = (random & 0x1ff) as usize;
        Access { slot, page: self.first + slot as u64, word, store: random >> 32 < self.stores_below }
    }

    /// The next access. A few more are planned and prefetched, so that they do not wait for each other.
    fn next(&mut self, cpu: &mut GuestCpu<'_, '_>) -> Access {
        while self.planned.len() < AHEAD - 1 {
            let access = self.plan();
            cpu.prefetch(access.address());
            self.known.prefetch(&access);
            self.planned.push_back(access);
        }
        match self.planned.front() {
            Some(&access) => access,
            None => self.plan(),
        }
    }

    fn done(&mut self) {
        self.planned.pop_front();
    }

    /// Does one access and compares it; `false` if it did not give what the guest last stored.
    fn access(&mut self, cpu: &mut GuestCpu<'_, '_>, access: &Access) -> Result<bool, GuestEvent> {
        if !self.known.seen[access.slot] {
            let mut bytes = [0; PAGE_SIZE as usize];
            cpu.load(GuestAddress(access.page * PAGE_SIZE), &mut bytes)?;
            self.known.see(access.slot, &bytes);
        }
        let genuine = if access.store {
            let turn = self.known.turn(access) % u8::MAX + 1;
            cpu.store(access.address(), &stamp(access.page, access.word, turn).to_be_bytes())?;
            self.known.turns[access.slot * WORDS + access.word] = turn;
            self.counters.writes += 1;
            true
        } else {
            let mut bytes = [0; 8];
            cpu.load(access.address(), &mut bytes)?;
            self.counters.reads += 1;
            u64::from_be_bytes(bytes) == self.known.word(access)
        };
        self.counters.accesses += 1;
        self.counters.mismatches += u64::from(!genuine);
        self.resident.touch(access.slot);
        Ok(genuine)
    }
}

impl Access {
    fn address(&self) -> GuestAddress {
        GuestAddress(self.page * PAGE_SIZE + self.word as u64 * 8)
    }
}

/// What a guest knows its pages to hold.
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

    fn turn(&self, access: &Access) -> u8 {
        self.turns[access.slot * WORDS + access.word]
    }

    /// Looks at what will be compared, so that it is near by then.
    fn prefetch(&self, access: &Access) {
        std::hint::black_box(self.turn(access));
    }

    fn word(&self, access: &Access) -> u64 {
        match self.turn(access) {
            0 => self.first.get(&access.slot).map_or(0, |first| first[access.word]),
            turn => stamp(access.page, access.word, turn),
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

/// The resident pages of a working set, least recently used first: a doubly linked list in two arrays.
struct Recency {
    first: u64,
    next: Vec<u32>,
    previous: Vec<u32>,
    present: Vec<bool>,
    len: u64,
    /// Every page fits: the order does not matter.
    roomy: bool,
}

impl Recency {
    /// The list's own element, behind the pages.
    fn head(&self) -> usize {
        self.present.len()
    }

    fn new(workload: &Workload) -> Self {
        let pages = workload.working_set as usize;
        let head = pages as u32;
        Self {
            first: workload.first,
            next: vec![head; pages + 1],
            previous: vec![head; pages + 1],
            present: vec![false; pages],
            len: 0,
            roomy: workload.frames >= workload.working_set,
        }
    }

    fn slot(&self, page: u64) -> Option<usize> {
        let slot = usize::try_from(page.checked_sub(self.first)?).ok()?;
        (slot < self.present.len()).then_some(slot)
    }

    fn contains(&self, slot: usize) -> bool {
        self.present[slot]
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn oldest(&self) -> Option<usize> {
        let oldest = self.next[self.head()] as usize;
        (oldest != self.head()).then_some(oldest)
    }

    fn insert(&mut self, slot: usize) {
        if !self.present[slot] {
            self.present[slot] = true;
            self.len += 1;
            self.link(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        if self.present[slot] {
            self.present[slot] = false;
            self.len -= 1;
            self.unlink(slot);
        }
    }

    fn touch(&mut self, slot: usize) {
        if !self.roomy && self.present[slot] && self.next[slot] as usize != self.head() {
            self.unlink(slot);
            self.link(slot);
        }
    }

    fn link(&mut self, slot: usize) {
        let head = self.head();
        let last = self.previous[head];
        self.next[last as usize] = slot as u32;
        self.previous[slot] = last;
        self.next[slot] = head as u32;
        self.previous[head] = slot as u32;
    }

    fn unlink(&mut self, slot: usize) {
        let (before, after) = (self.previous[slot], self.next[slot]);
        self.next[before as usize] = after;
        self.previous[after as usize] = before;
    }
}

/// Chooses the next page.
struct Picker {
    pattern: Pattern,
    pages: u64,
    turn: u64,
    /// Zipf's law: sums of 1/rank, scaled to 2^64.
    sums: Vec<u64>,
}

impl Picker {
    fn new(workload: &Workload) -> Self {
        let pages = workload.working_set;
        let mut sums = Vec::new();
        if matches!(workload.pattern, Pattern::Zipf | Pattern::Scan) {
            let total: f64 = (1..=pages).map(|rank| 1.0 / rank as f64).sum();
            let mut sum = 0.0;
            for rank in 1..=pages {
                sum += 1.0 / rank as f64;
                sums.push((sum / total * 18_446_744_073_709_551_615.0) as u64);
            }
        }
        Self { pattern: workload.pattern, pages, turn: 0, sums }
    }

    fn pick(&mut self, stream: &mut SeedStream) -> usize {
        let turn = self.turn;
        self.turn += 1;
        let page = match self.pattern {
            Pattern::Uniform => ((u128::from(stream.next_u64()) * u128::from(self.pages)) >> 64) as u64,
            Pattern::Zipf => self.zipf(stream),
            Pattern::Sequential => turn % self.pages,
            Pattern::Scan if (turn / self.pages).is_multiple_of(2) => turn % self.pages,
            Pattern::Scan => self.zipf(stream),
        };
        page as usize
    }

    fn zipf(&self, stream: &mut SeedStream) -> u64 {
        let random = stream.next_u64();
        (self.sums.partition_point(|&sum| sum < random) as u64).min(self.pages - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::super::setup::boot;
    use super::super::{Options, Status};
    use super::*;
    use crate::scenario::{Node, Scenario};
    use std::path::Path;
    use uvsim_model::Machine;

    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s {
        workload guest=a accesses=50 working-set=1 frames=1 first=9 writes=0
    }";

    /// Drives the workload of the text; `known` is the byte that the guest believes page 9 to be full of.
    fn drive(known: Option<u8>) -> (Result<(), End>, Counters) {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        let mut report = Json::new(Vec::new());
        let mut runner = Runner::new(&scenario, kernel, Options::default(), &mut report);
        let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
        let mut paging = Paging::new(workload, Seed(1).substream(Purpose::Workload, 0));
        if let Some(byte) = known {
            paging.known.see(0, &[byte; PAGE_SIZE as usize]);
        }
        (runner.drive(workload, &mut paging), paging.counters)
    }

    #[test]
    fn a_read_that_gives_something_else_ends_the_workload() {
        let (end, counters) = drive(Some(7));
        let Err(End::Failed(failure, Status::Fail)) = end else { panic!("not noticed") };
        assert_eq!((failure.rule, counters.mismatches, counters.reads, counters.accesses), ("I-14", 1, 1, 1));
        let (end, counters) = drive(Some(0));
        assert!(end.is_ok());
        assert_eq!((counters.mismatches, counters.accesses), (0, 50));
        assert!(drive(None).0.is_ok());
    }

    #[test]
    fn the_least_recently_used_page_goes_first() {
        let scenario = Scenario::parse(Path::new("s.kdl"), &TEXT.replace("working-set=1", "working-set=4")).unwrap();
        let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
        let mut recency = Recency::new(workload);
        for slot in [2, 0, 3] {
            recency.insert(slot);
        }
        assert_eq!(
            (recency.slot(8), recency.slot(9), recency.slot(12), recency.slot(13)),
            (None, Some(0), Some(3), None)
        );
        recency.touch(2);
        assert_eq!((recency.len(), recency.oldest()), (3, Some(0)));
        recency.remove(0);
        assert_eq!((recency.len(), recency.oldest()), (2, Some(3)));
        recency.remove(3);
        recency.remove(2);
        assert_eq!((recency.len(), recency.oldest()), (0, None));
    }

    #[test]
    fn patterns_choose_as_they_are_called() {
        let picks = |pattern: &str| -> Vec<usize> {
            let set = format!("working-set=8 pattern={pattern}");
            let scenario = Scenario::parse(Path::new("s.kdl"), &TEXT.replace("working-set=1", &set)).unwrap();
            let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
            let mut picker = Picker::new(workload);
            let mut stream = Seed(1).substream(Purpose::Workload, 0);
            (0..8000).map(|_| picker.pick(&mut stream)).collect()
        };
        let count = |picks: &[usize], page| picks.iter().filter(|&&pick| pick == page).count();
        assert_eq!(picks("sequential")[..10], [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
        let uniform = picks("uniform");
        assert!((0..8).all(|page| (800..1200).contains(&count(&uniform, page))));
        // Of 1 + 1/2 + ... + 1/8 = 2.718, page 0 has the share 1, page 7 an eighth.
        let zipf = picks("zipf");
        assert!((2700..3200).contains(&count(&zipf, 0)) && (250..500).contains(&count(&zipf, 7)));
        let scan = picks("scan");
        assert_eq!(scan[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(scan[16..24], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_ne!(scan[8..16], [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
