//! Traces as a guest repeats them: pages numbered in order of first appearance, doublewords in them.

use super::{Access, Accesses, Kind, Trace, TraceError};
use std::collections::HashMap;
use uvsim_model::address::PAGE_SIZE;

/// Most different pages of a [`PageTrace`].
pub const MAX_PAGES: usize = 1 << 22;
/// Most accesses to pages of a [`PageTrace`].
pub const MAX_TOUCHES: usize = 1 << 28;

/// An access to one page: a load or a store of one doubleword.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageAccess {
    /// The number of the page in the program's address space.
    pub page: u64,
    /// The doubleword in it, 0 to 511.
    pub word: u16,
    /// A store.
    pub store: bool,
}

/// The accesses to pages of a trace, as they are read: one for each page that an access touches, at the doubleword
/// where it begins there; a modification is a load and then a store.
#[derive(Debug)]
pub struct PageAccesses {
    accesses: Accesses,
    /// What is left of the current access: the rest, in order.
    pending: [Option<PageAccess>; 4],
}

impl PageAccesses {
    pub(super) fn new(accesses: Accesses) -> Self {
        Self { accesses, pending: [None; 4] }
    }
}

impl Iterator for PageAccesses {
    type Item = Result<PageAccess, TraceError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(next) = self.pending.iter_mut().find_map(Option::take) {
            return Some(Ok(next));
        }
        let access = match self.accesses.next()? {
            Ok(access) => access,
            Err(error) => return Some(Err(error)),
        };
        let [first, rest @ ..] = parts(&access);
        if rest != [None; 3] {
            self.pending[..3].copy_from_slice(&rest);
        }
        first.map(Ok)
    }
}

/// The accesses to pages that one access makes; the first is there.
fn parts(access: &Access) -> [Option<PageAccess>; 4] {
    let at = |address: u64, store| {
        Some(PageAccess { page: address / PAGE_SIZE, word: (address % PAGE_SIZE / 8) as u16, store })
    };
    let (begin, last) = (access.address, access.address + (u64::from(access.size) - 1));
    // No access is longer than a page: it touches two at most.
    let second = (begin / PAGE_SIZE != last / PAGE_SIZE).then_some(last & !(PAGE_SIZE - 1));
    let store = access.kind == Kind::Store;
    match (access.kind, second) {
        (Kind::Modify, None) => [at(begin, false), at(begin, true), None, None],
        (Kind::Modify, Some(second)) => [at(begin, false), at(second, false), at(begin, true), at(second, true)],
        (_, None) => [at(begin, store), None, None, None],
        (_, Some(second)) => [at(begin, store), at(second, store), None, None],
    }
}

/// One access of a [`PageTrace`], in 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageTouch(u32);

impl PageTouch {
    fn new(slot: u32, access: &PageAccess) -> Self {
        Self(slot << 10 | u32::from(access.word) << 1 | u32::from(access.store))
    }

    /// The number of the page, by first appearance from 0.
    #[must_use]
    #[inline]
    pub const fn slot(self) -> usize {
        (self.0 >> 10) as usize
    }

    /// The doubleword in the page, 0 to 511.
    #[must_use]
    #[inline]
    pub const fn word(self) -> usize {
        (self.0 >> 1 & 0x1ff) as usize
    }

    /// Whether it is a store.
    #[must_use]
    #[inline]
    pub const fn is_store(self) -> bool {
        self.0 & 1 != 0
    }
}

/// A trace whose pages are numbered without gaps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageTrace {
    /// Page numbers in the program's address space, by slot.
    pub pages: Vec<u64>,
    /// The accesses.
    pub touches: Vec<PageTouch>,
}

/// Reads a trace and numbers its pages in order of first appearance.
///
/// # Errors
/// The trace cannot be read to its end (or limit), or is too large to be kept.
pub fn page_trace(trace: &Trace) -> Result<PageTrace, TraceError> {
    let mut slots = Slots::default();
    let mut touches = Vec::new();
    for access in trace.page_accesses()? {
        let access = access?;
        if touches.len() == MAX_TOUCHES {
            return Err(TraceError::TooManyTouches);
        }
        let slot = slots.number(access.page).ok_or(TraceError::TooManyPages)?;
        touches.push(PageTouch::new(slot, &access));
    }
    if touches.is_empty() {
        return Err(TraceError::Empty);
    }
    touches.shrink_to_fit();
    Ok(PageTrace { pages: slots.pages, touches })
}

/// Page numbers without gaps.
#[derive(Debug, Default)]
pub(super) struct Slots {
    numbers: HashMap<u64, u32>,
    pub(super) pages: Vec<u64>,
    /// Those asked for last: programs stay a while where they are.
    near: [Option<(u64, u32)>; 8],
}

impl Slots {
    /// The number of a page; none for one too many.
    pub(super) fn number(&mut self, page: u64) -> Option<u32> {
        let near = &mut self.near[page as usize % 8];
        if let Some((known, slot)) = *near
            && known == page
        {
            return Some(slot);
        }
        let slot = match self.numbers.get(&page) {
            Some(&slot) => slot,
            None if self.pages.len() == MAX_PAGES => return None,
            None => {
                let slot = self.pages.len() as u32;
                self.numbers.insert(page, slot);
                self.pages.push(page);
                slot
            }
        };
        *near = Some((page, slot));
        Some(slot)
    }
}
