//! Which page goes when a frame is wanted: replacement policies over a set of pages.
//!
//! [`Resident`] is a host's book of the pages that have a frame. It knows pages by small numbers, their slots, and
//! neither the machine nor the guest: workloads, replays and sweeps share it.

mod book;
#[cfg(test)]
mod tests;

use book::{Frames, List, Pool};
use uvsim_model::seed::SeedStream;

/// Accesses that a page of the working set was last touched within, unless something else is said.
pub const DEFAULT_WINDOW: u64 = 10_000;

/// How a victim is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum PolicyKind {
    /// The least recently used page.
    #[default]
    Lru,
    /// Round and round; a page that was used since the hand last came by is passed over once.
    Clock,
    /// The page that came first.
    Fifo,
    /// Any page, by lot.
    Random,
    /// A page outside of the working set, searched frame by frame from where the last search ended; if there is none,
    /// the least recently used one.
    WorkingSet,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lru, Self::Clock, Self::Fifo, Self::Random, Self::WorkingSet];

    /// The name in scenarios and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Clock => "clock",
            Self::Fifo => "fifo",
            Self::Random => "random",
            Self::WorkingSet => "working-set",
        }
    }

    /// The policy of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How many different pages were touched in windows of as many accesses, one window after the other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkingSetSize {
    /// In the window that touched most.
    pub max: u64,
    /// On average over the windows; one that is not full counts only if there is no other.
    pub mean: f64,
}

/// The pages that are resident, and which of them goes next.
#[derive(Debug)]
pub struct Resident {
    kind: PolicyKind,
    /// Touches matter: not everything fits, and the policy looks at them.
    tracks: bool,
    len: u64,
    present: Vec<bool>,
    /// By last touch (lru, working-set), by arrival (fifo), or in the order of the hand (clock).
    list: List,
    /// Clock: touched since the hand came by.
    referenced: Vec<bool>,
    pool: Pool,
    stream: SeedStream,
    working_set: WorkingSet,
}

impl Resident {
    /// None of `slots` pages is resident; at most `frames` of them are to be. The stream is drawn from by
    /// [`PolicyKind::Random`] alone.
    #[must_use]
    pub fn new(kind: PolicyKind, slots: usize, frames: u64, stream: SeedStream) -> Self {
        let roomy = frames >= slots as u64;
        let tracks = match kind {
            PolicyKind::Lru | PolicyKind::Clock => !roomy,
            PolicyKind::Fifo | PolicyKind::Random => false,
            // The size of the working set is told in any case.
            PolicyKind::WorkingSet => true,
        };
        let slots_if = |wanted: PolicyKind| if kind == wanted { slots } else { 0 };
        Self {
            kind,
            tracks,
            len: 0,
            present: vec![false; slots],
            list: List::new(if kind == PolicyKind::Random { 0 } else { slots }),
            referenced: vec![false; slots_if(PolicyKind::Clock)],
            pool: Pool::new(slots_if(PolicyKind::Random)),
            stream,
            working_set: WorkingSet::new(slots_if(PolicyKind::WorkingSet)),
        }
    }

    /// The same with another window: a page is in the working set while less than `accesses` touches of any page have
    /// followed its last one. Only [`PolicyKind::WorkingSet`] has one.
    #[must_use]
    pub fn with_window(mut self, accesses: u64) -> Self {
        self.working_set.window = accesses.max(1);
        self
    }

    /// A page was accessed; it must be resident.
    #[inline]
    pub fn touch(&mut self, slot: usize) {
        if self.tracks {
            self.note(slot);
        }
    }

    fn note(&mut self, slot: usize) {
        match self.kind {
            PolicyKind::Lru => {
                if self.present[slot] {
                    self.list.renew(slot);
                }
            }
            PolicyKind::Clock => self.referenced[slot] = true,
            PolicyKind::WorkingSet => {
                if self.present[slot] {
                    self.list.renew(slot);
                }
                self.working_set.touch(slot);
            }
            PolicyKind::Fifo | PolicyKind::Random => {}
        }
    }

    /// A page has become resident.
    pub fn insert(&mut self, slot: usize) {
        if self.present[slot] {
            return;
        }
        self.present[slot] = true;
        self.len += 1;
        match self.kind {
            PolicyKind::Random => self.pool.insert(slot),
            PolicyKind::Clock => {
                self.referenced[slot] = false;
                self.list.append(slot);
            }
            PolicyKind::WorkingSet => {
                self.list.append(slot);
                self.working_set.frames.occupy(slot);
            }
            PolicyKind::Lru | PolicyKind::Fifo => self.list.append(slot),
        }
    }

    /// A page is no longer resident.
    pub fn remove(&mut self, slot: usize) {
        if !self.present[slot] {
            return;
        }
        self.present[slot] = false;
        self.len -= 1;
        match self.kind {
            PolicyKind::Random => self.pool.remove(slot),
            PolicyKind::WorkingSet => {
                self.list.remove(slot);
                self.working_set.frames.vacate(slot);
            }
            PolicyKind::Lru | PolicyKind::Clock | PolicyKind::Fifo => self.list.remove(slot),
        }
    }

    /// Whether a page is resident.
    #[must_use]
    #[inline]
    pub fn contains(&self, slot: usize) -> bool {
        self.present[slot]
    }

    /// How many pages are resident.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no page is resident.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The page to go next. It stays resident until it is removed; asked again, a policy may name another one.
    pub fn victim(&mut self) -> Option<usize> {
        match self.kind {
            PolicyKind::Lru | PolicyKind::Fifo => self.list.first(),
            PolicyKind::Random => self.pool.draw(&mut self.stream),
            PolicyKind::Clock => {
                let mut candidate = self.list.first()?;
                while std::mem::take(&mut self.referenced[candidate]) {
                    self.list.renew(candidate);
                    candidate = self.list.first()?;
                }
                Some(candidate)
            }
            PolicyKind::WorkingSet => {
                let oldest = self.list.first()?;
                if self.working_set.holds(oldest) {
                    // Then it holds every page.
                    return Some(oldest);
                }
                self.working_set.outsider().or(Some(oldest))
            }
        }
    }

    /// The size of the working set, which only [`PolicyKind::WorkingSet`] knows.
    #[must_use]
    pub fn working_set_size(&self) -> Option<WorkingSetSize> {
        (self.kind == PolicyKind::WorkingSet).then(|| self.working_set.size())
    }
}

/// Who was touched within the window, and how many at a time.
#[derive(Debug)]
struct WorkingSet {
    window: u64,
    /// Touches so far.
    now: u64,
    /// The number of the last touch of each page, from 1; 0 for none.
    last: Vec<u64>,
    frames: Frames,
    /// Different pages in the window that is being filled.
    current: u64,
    full_windows: u64,
    sum: u64,
    max: u64,
}

impl WorkingSet {
    fn new(slots: usize) -> Self {
        Self {
            window: DEFAULT_WINDOW,
            now: 0,
            last: vec![0; slots],
            frames: Frames::new(slots),
            current: 0,
            full_windows: 0,
            sum: 0,
            max: 0,
        }
    }

    fn touch(&mut self, slot: usize) {
        // The window that is being filled began with touch number `start` + 1.
        let start = self.full_windows * self.window;
        self.now += 1;
        self.current += u64::from(self.last[slot] <= start);
        self.last[slot] = self.now;
        if self.now - start == self.window {
            self.full_windows += 1;
            self.sum += self.current;
            self.max = self.max.max(self.current);
            self.current = 0;
        }
    }

    fn holds(&self, slot: usize) -> bool {
        let last = self.last[slot];
        last != 0 && self.now - last < self.window
    }

    fn outsider(&mut self) -> Option<usize> {
        let (now, window, last) = (self.now, self.window, &self.last);
        self.frames.search(|slot| last[slot] == 0 || now - last[slot] >= window)
    }

    fn size(&self) -> WorkingSetSize {
        let mean = match self.full_windows {
            0 => self.current as f64,
            windows => self.sum as f64 / windows as f64,
        };
        WorkingSetSize { max: self.max.max(self.current), mean }
    }
}
