//! What guests last stored, as far as a lane knows: the contents that are compared when lanes on threads are through.

use crate::kernel::PageBytes;
use crate::pressure::Memory;
use crate::scenario::effects::{Stretch, overlap};
use crate::scenario::{GuestId, Node, Place, Verb};
use std::collections::BTreeMap;
use uvsim_model::address::PAGE_SIZE;

/// The contents that a lane knows of.
#[derive(Debug, Default)]
pub(super) struct Contents {
    exercised: Vec<(Place, Memory)>,
    written: BTreeMap<(usize, u64), Written>,
}

/// A page into which statements have had a guest store.
#[derive(Debug)]
struct Written {
    /// The last of them.
    place: Place,
    /// Where it is known what a byte is.
    known: Box<[bool; PAGE_SIZE as usize]>,
    bytes: Box<PageBytes>,
}

/// A page whose content is known.
#[derive(Debug)]
pub(super) struct KnownPage<'c> {
    pub(super) guest: usize,
    pub(super) page: u64,
    /// The statement that says so.
    pub(super) place: Place,
    content: Content<'c>,
}

#[derive(Debug)]
enum Content<'c> {
    Exercised(&'c Memory),
    Written(&'c Written),
}

impl Contents {
    /// A workload or replay has ended.
    pub(super) fn exercised(&mut self, place: Place, stretch: &Stretch, memory: Memory) {
        self.forget(stretch);
        self.exercised.push((place, memory));
    }

    /// A guest has stored bytes into a page.
    pub(super) fn stored(&mut self, guest: usize, page: u64, offset: usize, bytes: &[u8], place: Place) {
        self.forget_exercised(&(GuestId(guest), page..page.saturating_add(1)));
        let written = self.written.entry((guest, page)).or_insert_with(|| Written {
            place,
            known: Box::new([false; PAGE_SIZE as usize]),
            bytes: Box::new([0; PAGE_SIZE as usize]),
        });
        written.place = place;
        let end = offset + bytes.len();
        if let (Some(known), Some(target)) = (written.known.get_mut(offset..end), written.bytes.get_mut(offset..end)) {
            known.fill(true);
            target.copy_from_slice(bytes);
        }
    }

    /// A statement has run that may have changed some pages.
    pub(super) fn disturbed(&mut self, verb: &Verb) {
        match verb.disturbs() {
            Some(stretches) => stretches.iter().for_each(|stretch| self.forget(stretch)),
            None => *self = Self::default(),
        }
    }

    /// Nothing is known of these pages any more.
    pub(super) fn forget(&mut self, stretch: &Stretch) {
        self.forget_exercised(stretch);
        let (GuestId(guest), pages) = stretch;
        self.written.retain(|(owner, page), _| owner != guest || !pages.contains(page));
    }

    fn forget_exercised(&mut self, (guest, pages): &Stretch) {
        self.exercised.retain_mut(|(_, memory)| memory.forget(guest.0, pages.clone()));
    }

    /// The pages of which something is known.
    pub(super) fn pages(&self) -> impl Iterator<Item = KnownPage<'_>> {
        let exercised = self.exercised.iter().flat_map(|(place, memory)| {
            let known =
                |page| KnownPage { guest: memory.guest(), page, place: *place, content: Content::Exercised(memory) };
            memory.pages().map(known)
        });
        let written = self.written.iter().map(|(&(guest, page), written)| KnownPage {
            guest,
            page,
            place: written.place,
            content: Content::Written(written),
        });
        exercised.chain(written)
    }
}

impl KnownPage<'_> {
    /// Where the first byte is that is not what it should be, to a doubleword.
    pub(super) fn difference(&self, found: &PageBytes) -> Option<u64> {
        match self.content {
            Content::Exercised(memory) => memory.difference(self.page, found),
            Content::Written(Written { known, bytes, .. }) => {
                let same = |at: &usize| !known[*at] || bytes[*at] == found[*at];
                (0..bytes.len()).find(|at| !same(at)).map(|at| at as u64 & !7)
            }
        }
    }
}

/// What the statements of a lane may change.
#[derive(Clone, Debug, Default)]
pub(super) struct Disturbed {
    stretches: Vec<Stretch>,
    everything: bool,
}

impl Disturbed {
    pub(super) fn by(nodes: &[Node]) -> Self {
        let mut disturbed = Self::default();
        disturbed.add(nodes);
        disturbed
    }

    /// Whether a page is among it.
    pub(super) fn touches(&self, known: &KnownPage<'_>) -> bool {
        let page = (GuestId(known.guest), known.page..known.page.saturating_add(1));
        self.everything || self.stretches.iter().any(|stretch| overlap(stretch, &page))
    }

    fn add(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Statement(statement) => match statement.verb.disturbs() {
                    Some(stretches) => self.stretches.extend(stretches),
                    None => self.everything = true,
                },
                Node::Repeat(repeat) => self.add(&repeat.nodes),
                Node::Workload(_) | Node::Replay(_) => self.stretches.extend(node.exercised()),
                Node::Parallel(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    const PLACE: fn() -> Place =
        || Scenario::parse(Path::new("s.kdl"), "scenario s\nstep t { check invariants; }").unwrap().place;

    #[test]
    fn the_last_store_counts() {
        let mut contents = Contents::default();
        contents.stored(0, 9, 8, b"first", PLACE());
        contents.stored(0, 9, 10, b"XY", PLACE());
        let known: Vec<_> = contents.pages().collect();
        let [page] = &known[..] else { panic!("{known:?}") };
        let mut bytes = [0x55; PAGE_SIZE as usize];
        bytes[8..13].copy_from_slice(b"fiXYt");
        assert_eq!(page.difference(&bytes), None);
        bytes[12] = b's';
        assert_eq!(page.difference(&bytes), Some(8));
    }

    #[test]
    fn what_may_have_changed_is_forgotten() {
        let known = |forget: &dyn Fn(&mut Contents)| {
            let mut contents = Contents::default();
            contents.stored(0, 9, 0, b"a", PLACE());
            contents.stored(1, 9, 0, b"b", PLACE());
            forget(&mut contents);
            contents.pages().map(|page| (page.guest, page.page)).collect::<Vec<_>>()
        };
        assert_eq!(known(&|_| {}), [(0, 9), (1, 9)]);
        assert_eq!(known(&|contents| contents.forget(&(GuestId(0), 9..10))), [(1, 9)]);
        assert_eq!(known(&|contents| contents.disturbed(&Verb::HostStop { guest: GuestId(1) })), [(0, 9)]);
        assert_eq!(known(&|contents| contents.disturbed(&Verb::HostResetMachine)), []);
        assert_eq!(known(&|contents| contents.disturbed(&Verb::CheckInvariants)), [(0, 9), (1, 9)]);
    }
}
