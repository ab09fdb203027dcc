//! Working sets: how many pages take part, and which of them in which pass.

use crate::order::{Mixer, shuffled};

/// A working set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set {
    /// As the table names it.
    pub name: &'static str,
    /// Pages in it.
    pub pages: u64,
}

/// Fits a second-level cache.
pub const SMALL: Set = Set { name: "256 KiB", pages: 64 };
/// The set of the targets for paging.
pub const MIDDLE: Set = Set { name: "64 MiB", pages: 16_384 };
/// Fits no cache.
pub const LARGE: Set = Set { name: "1 GiB", pages: 262_144 };

/// Most pages that one pass visits; a pass over a larger set visits another part of it each time.
const PASS: u64 = 16_384;
/// Most addresses that one pass over eight-byte words visits.
const WORDS: u64 = 1 << 18;

impl Set {
    /// MiB in the set, rounded up.
    #[must_use]
    pub const fn mebibytes(self) -> u64 {
        self.pages.div_ceil(256)
    }

    /// Pages of one pass.
    #[must_use]
    pub const fn pass(self) -> u64 {
        if self.pages < PASS { self.pages } else { PASS }
    }

    /// Passes that make one sample of some milliseconds.
    #[must_use]
    pub const fn passes(self) -> u64 {
        if self.pages < 1024 { 1024 / self.pages } else { 1 }
    }

    /// The pages in random order, as passes.
    #[must_use]
    pub fn page_passes(self) -> Vec<Vec<u64>> {
        shuffled(self.pages, 0x5eed).chunks_exact(self.pass() as usize).map(Vec::from).collect()
    }

    /// Random aligned addresses of words in the set.
    #[must_use]
    pub fn words(self) -> Vec<u32> {
        let count = (self.pages * 64).min(WORDS);
        let mut mixer = Mixer(0xfeed);
        (0..count).map(|_| (mixer.below(self.pages * 512) * 8) as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_cover_the_set_once() {
        for set in [SMALL, MIDDLE, LARGE] {
            let mut seen: Vec<u64> = set.page_passes().concat();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..set.pages), "{set:?}");
            assert!(set.words().iter().all(|&at| u64::from(at) + 8 <= set.pages * 4096 && at % 8 == 0));
        }
    }
}
