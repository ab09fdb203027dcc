//! What policies keep their books in.

use uvsim_model::seed::SeedStream;

/// Slots in an order: a doubly linked list in two arrays.
#[derive(Debug)]
pub(super) struct List {
    next: Vec<u32>,
    previous: Vec<u32>,
    /// The list's own element, behind the slots.
    head: usize,
}

impl List {
    pub(super) fn new(slots: usize) -> Self {
        let head = slots as u32;
        Self { next: vec![head; slots + 1], previous: vec![head; slots + 1], head: slots }
    }

    pub(super) fn first(&self) -> Option<usize> {
        let first = self.next[self.head] as usize;
        (first != self.head).then_some(first)
    }

    /// Makes a slot that is in the list its last.
    pub(super) fn renew(&mut self, slot: usize) {
        if self.next[slot] as usize != self.head {
            self.remove(slot);
            self.append(slot);
        }
    }

    pub(super) fn append(&mut self, slot: usize) {
        let last = self.previous[self.head];
        self.next[last as usize] = slot as u32;
        self.previous[slot] = last;
        self.next[slot] = self.head as u32;
        self.previous[self.head] = slot as u32;
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let (before, after) = (self.previous[slot], self.next[slot]);
        self.next[before as usize] = after;
        self.previous[after as usize] = before;
    }
}

/// Slots to draw lots among.
#[derive(Debug)]
pub(super) struct Pool {
    members: Vec<u32>,
    /// Where each member is.
    place: Vec<u32>,
}

impl Pool {
    pub(super) fn new(slots: usize) -> Self {
        Self { members: Vec::new(), place: vec![0; slots] }
    }

    pub(super) fn insert(&mut self, slot: usize) {
        self.place[slot] = self.members.len() as u32;
        self.members.push(slot as u32);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let place = self.place[slot];
        self.members.swap_remove(place as usize);
        if let Some(&moved) = self.members.get(place as usize) {
            self.place[moved as usize] = place;
        }
    }

    pub(super) fn draw(&self, stream: &mut SeedStream) -> Option<usize> {
        if self.members.is_empty() {
            return None;
        }
        let lot = (u128::from(stream.next_u64()) * self.members.len() as u128) >> 64;
        Some(self.members[lot as usize] as usize)
    }
}

/// Slots in frames, with a hand that goes round; a slot takes the frame that was vacated last.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Vec<Option<u32>>,
    vacant: Vec<u32>,
    place: Vec<u32>,
    hand: usize,
}

impl Frames {
    pub(super) fn new(slots: usize) -> Self {
        Self { frames: Vec::new(), vacant: Vec::new(), place: vec![0; slots], hand: 0 }
    }

    pub(super) fn occupy(&mut self, slot: usize) {
        let frame = self.vacant.pop().unwrap_or_else(|| {
            self.frames.push(None);
            self.frames.len() as u32 - 1
        });
        self.frames[frame as usize] = Some(slot as u32);
        self.place[slot] = frame;
    }

    pub(super) fn vacate(&mut self, slot: usize) {
        let frame = self.place[slot];
        self.frames[frame as usize] = None;
        self.vacant.push(frame);
    }

    /// The first slot from the hand on that will do; the hand stops behind it.
    pub(super) fn search(&mut self, mut will_do: impl FnMut(usize) -> bool) -> Option<usize> {
        for _ in 0..self.frames.len() {
            let slot = self.frames[self.hand].map(|slot| slot as usize);
            self.hand = (self.hand + 1) % self.frames.len();
            if let Some(slot) = slot.filter(|&slot| will_do(slot)) {
                return Some(slot);
            }
        }
        None
    }
}
