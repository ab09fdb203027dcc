//! Each policy beside a model of it that is written down as it is defined.

use super::*;
use proptest::prelude::*;
use uvsim_model::seed::{Purpose, Seed};

const SLOTS: usize = 9;
const WINDOW: u64 = 6;

fn stream() -> SeedStream {
    Seed(7).substream(Purpose::Workload, 3)
}

/// Pages in order of arrival, with all their touches.
#[derive(Default)]
struct Naive {
    /// Arrival order for most, the order of the hand for the clock.
    pages: Vec<usize>,
    used: Vec<usize>,
    touches: Vec<usize>,
    /// Where a touch or an arrival stands among both, for the order of last use.
    uses: Vec<usize>,
    frames: Vec<Option<usize>>,
    vacated: Vec<usize>,
    hand: usize,
}

impl Naive {
    fn touch(&mut self, page: usize) {
        self.touches.push(page);
        self.uses.push(page);
        self.used.push(page);
    }

    fn insert(&mut self, page: usize) {
        self.pages.push(page);
        self.uses.push(page);
        self.used.retain(|&used| used != page);
        match self.vacated.pop() {
            Some(frame) => self.frames[frame] = Some(page),
            None => self.frames.push(Some(page)),
        }
    }

    fn remove(&mut self, page: usize) {
        self.pages.retain(|&one| one != page);
        let frame = self.frames.iter().position(|&one| one == Some(page)).unwrap();
        self.frames[frame] = None;
        self.vacated.push(frame);
    }

    fn oldest(&self) -> Option<usize> {
        self.pages.iter().copied().min_by_key(|page| self.uses.iter().rposition(|one| one == page))
    }

    fn recent(&self) -> &[usize] {
        &self.touches[self.touches.len().saturating_sub(WINDOW as usize)..]
    }

    fn victim(&mut self, kind: PolicyKind) -> Option<usize> {
        match kind {
            PolicyKind::Fifo => self.pages.first().copied(),
            PolicyKind::Lru => self.oldest(),
            PolicyKind::Clock => {
                while let Some(&page) = self.pages.first() {
                    if !self.used.contains(&page) {
                        return Some(page);
                    }
                    self.used.retain(|&used| used != page);
                    self.pages.rotate_left(1);
                }
                None
            }
            PolicyKind::WorkingSet => {
                if self.pages.iter().all(|page| self.recent().contains(page)) {
                    return self.oldest();
                }
                loop {
                    let page = self.frames[self.hand];
                    self.hand = (self.hand + 1) % self.frames.len();
                    if let Some(page) = page.filter(|page| !self.recent().contains(page)) {
                        return Some(page);
                    }
                }
            }
            PolicyKind::Random => None,
        }
    }
}

/// Misses of a run of accesses; each choice is compared with the naive model's.
fn misses(kind: PolicyKind, frames: u64, accesses: &[usize]) -> u64 {
    let mut resident = Resident::new(kind, SLOTS, frames, stream()).with_window(WINDOW);
    let mut naive = Naive::default();
    let mut misses = 0;
    for &page in accesses {
        if !resident.contains(page) {
            misses += 1;
            while resident.len() >= frames {
                let victim = resident.victim().unwrap();
                assert!(resident.contains(victim));
                if kind != PolicyKind::Random {
                    assert_eq!(Some(victim), naive.victim(kind), "{kind:?}");
                }
                resident.remove(victim);
                naive.remove(victim);
            }
            resident.insert(page);
            naive.insert(page);
        }
        resident.touch(page);
        naive.touch(page);
    }
    assert_eq!(resident.len(), naive.pages.len() as u64);
    if let Some(size) = resident.working_set_size() {
        let count = |window: &[usize]| window.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
        let sizes: Vec<u64> = accesses.chunks(WINDOW as usize).map(count).collect();
        assert_eq!(Some(size.max), sizes.iter().copied().max().or(Some(0)));
        let full: Vec<u64> = accesses.chunks_exact(WINDOW as usize).map(count).collect();
        if !full.is_empty() {
            assert!((size.mean - full.iter().sum::<u64>() as f64 / full.len() as f64).abs() < 1e-9);
        }
    }
    misses
}

proptest! {
    #[test]
    fn victims_are_those_of_the_definition(frames in 1_u64..8, accesses in prop::collection::vec(0..SLOTS, 0..200)) {
        for kind in PolicyKind::ALL {
            misses(kind, frames, &accesses);
        }
    }
}

#[test]
fn textbook_strings() {
    // Belady's string: first in, first out does worse with four frames than with three.
    let belady = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
    assert_eq!((misses(PolicyKind::Fifo, 3, &belady), misses(PolicyKind::Fifo, 4, &belady)), (9, 10));
    assert_eq!((misses(PolicyKind::Lru, 3, &belady), misses(PolicyKind::Lru, 4, &belady)), (10, 8));
    // A loop that is one page too long never hits under lru.
    let cycle: Vec<usize> = (0..90).map(|turn| turn % 9).collect();
    assert_eq!(misses(PolicyKind::Lru, 8, &cycle), 90);
    assert!(misses(PolicyKind::Random, 8, &cycle) < 80, "chance is kinder to a loop");
    for kind in PolicyKind::ALL {
        assert_eq!(misses(kind, 9, &cycle), 9, "{kind:?}: all fit");
    }
}

#[test]
fn lots_are_drawn_among_all() {
    let mut resident = Resident::new(PolicyKind::Random, SLOTS, 4, stream());
    assert_eq!(resident.victim(), None);
    [1, 3, 5, 7].into_iter().for_each(|slot| resident.insert(slot));
    resident.remove(3);
    let mut drawn = [0; SLOTS];
    for _ in 0..3000 {
        drawn[resident.victim().unwrap()] += 1;
    }
    assert!([1, 5, 7].iter().all(|&slot| (850..1150).contains(&drawn[slot])), "{drawn:?}");
}

#[test]
fn nothing_is_counted_twice() {
    for kind in PolicyKind::ALL {
        let mut resident = Resident::new(kind, SLOTS, 2, stream());
        assert!(resident.is_empty() && resident.victim().is_none(), "{kind:?}");
        resident.insert(4);
        resident.insert(4);
        assert_eq!((resident.len(), resident.victim()), (1, Some(4)), "{kind:?}");
        resident.remove(4);
        resident.remove(4);
        assert_eq!((resident.len(), resident.contains(4), resident.victim()), (0, false, None), "{kind:?}");
    }
}

#[test]
fn names_go_both_ways() {
    for kind in PolicyKind::ALL {
        assert_eq!(PolicyKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(PolicyKind::from_name("LRU"), None);
}
