//! Where the host keeps the pages of a guest that have no frame.

use super::PageBytes;
use super::page_map::PageMap;
use uvsim_model::address::PAGE_SIZE;

/// Most buffers that are kept for the next page that goes out.
const SPARE: usize = 16;

/// The swapped-out pages of a guest, as exports left them.
#[derive(Debug, Default)]
pub(super) struct Swap {
    pages: PageMap<Box<PageBytes>>,
    spare: Vec<Box<PageBytes>>,
}

impl Swap {
    /// Whether a page is here.
    pub(super) fn holds(&self, page: u64) -> bool {
        self.pages.get(page).is_some()
    }

    /// A buffer for a page, with anything in it.
    pub(super) fn buffer(&mut self) -> Box<PageBytes> {
        self.spare.pop().unwrap_or_else(|| Box::new([0; PAGE_SIZE as usize]))
    }

    /// Keeps a page.
    pub(super) fn put(&mut self, page: u64, bytes: Box<PageBytes>) {
        if let Some(older) = self.pages.insert(page, bytes) {
            self.recycle(older);
        }
    }

    /// Takes a page out.
    pub(super) fn take(&mut self, page: u64) -> Option<Box<PageBytes>> {
        self.pages.remove(page)
    }

    /// Takes back a buffer that is no longer needed.
    pub(super) fn recycle(&mut self, buffer: Box<PageBytes>) {
        if self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }

    /// Forgets all pages.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_pages_are_not_mixed_up() {
        let mut swap = Swap::default();
        for page in 0..40 {
            let mut bytes = swap.buffer();
            bytes.fill(page as u8);
            swap.put(page, bytes);
        }
        let first = swap.take(7).unwrap();
        assert_eq!((first[0], first[4095], swap.holds(7)), (7, 7, false));
        let address = first.as_ptr();
        swap.recycle(first);
        let mut again = swap.buffer();
        assert_eq!(again.as_ptr(), address);
        again.fill(99);
        swap.put(8, again);
        assert_eq!(swap.take(8).map(|bytes| bytes[0]), Some(99));
        assert_eq!(swap.take(9).map(|bytes| bytes[0]), Some(9));
        assert_eq!((swap.spare.len(), swap.take(7).is_none()), (1, true));
        (0..40).for_each(|_| swap.recycle(Box::new([0; PAGE_SIZE as usize])));
        assert_eq!(swap.spare.len(), SPARE);
        swap.clear();
        assert!(!swap.holds(10));
    }
}
