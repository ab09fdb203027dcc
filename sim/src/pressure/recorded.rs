//! Touches of traces.

use super::{AHEAD, Touch, Touches};
use crate::trace::PageTouch;

/// Touches of a trace.
#[derive(Debug)]
pub(crate) struct Recorded<'s> {
    touches: &'s [PageTouch],
    at: usize,
}

impl<'s> Recorded<'s> {
    pub(crate) fn new(touches: &'s [PageTouch]) -> Self {
        Self { touches, at: 0 }
    }
}

impl Recorded<'_> {
    /// The touch at a place; behind the last, the first page.
    #[inline(always)]
    fn touch(&self, at: usize) -> Touch {
        self.touches.get(at).map_or(Touch::default(), |touch| Touch {
            slot: touch.slot(),
            word: touch.word(),
            store: touch.is_store(),
        })
    }
}

impl Touches for Recorded<'_> {
    #[inline(always)]
    fn current(&self) -> Touch {
        self.touch(self.at)
    }

    #[inline(always)]
    fn advance(&mut self) -> Touch {
        self.at += 1;
        self.touch(self.at + AHEAD - 1)
    }
}
