//! Frames as they were at the snapshot: bytes, zone entry, generation, touch marks.
//!
//! A frame is kept before its first change. The room for its bytes is used again after a restore, so that a machine
//! which goes to and fro allocates nothing.

use super::arena::PageBytes;
use super::zone::ZoneEntry;
use crate::address::{FrameNumber, PAGE_SIZE};

/// The frames that have changed since the snapshot.
#[derive(Debug, Default)]
pub(super) struct Journal {
    frames: Vec<KeptFrame>,
    /// Bytes of those frames that have any, in the same order; behind them, free room.
    pages: Vec<Box<PageBytes>>,
    used: usize,
}

/// A frame, bytes apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptFrame {
    pub(super) frame: FrameNumber,
    pub(super) zone: ZoneEntry,
    pub(super) generation: u32,
    pub(super) touched: u8,
    /// It may have held something other than zeros.
    pub(super) stored: bool,
}

impl Journal {
    /// Keeps a frame; `copy` copies its bytes, if it may hold something other than zeros.
    pub(super) fn keep(&mut self, kept: KeptFrame, copy: impl FnOnce(&mut PageBytes)) {
        if kept.stored {
            if self.used == self.pages.len() {
                self.pages.push(Box::new([0; PAGE_SIZE as usize]));
            }
            copy(&mut self.pages[self.used]);
            self.used += 1;
        }
        self.frames.push(kept);
    }

    /// The frames.
    pub(super) fn frames(&self) -> impl Iterator<Item = &KeptFrame> {
        self.frames.iter()
    }

    /// Calls `visit` with every frame and its bytes, and forgets all.
    pub(super) fn take(&mut self, mut visit: impl FnMut(&KeptFrame, Option<&PageBytes>)) {
        let mut pages = self.pages.iter();
        for kept in &self.frames {
            let page = if kept.stored { pages.next().map(|page| &**page) } else { None };
            visit(kept, page);
        }
        self.frames.clear();
        self.used = 0;
    }
}
