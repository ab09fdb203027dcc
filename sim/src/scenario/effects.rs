//! What statements do to the memory of guests, told from their text.

use super::document::{GuestId, Node};
use super::io::{GuestIo, SECTOR};
use super::statement::{Pages, Verb};
use std::ops::Range;
use uvsim_model::address::PAGE_SIZE;

/// The page in which a guest keeps the blocks of its calls (D74).
const BLOCK_PAGE: Range<u64> = 1..2;

/// Pages of a guest.
pub(crate) type Stretch = (GuestId, Range<u64>);

impl Node {
    /// The pages that a workload or replay reads back.
    pub(crate) fn exercised(&self) -> Option<Stretch> {
        match self {
            Self::Workload(workload) => Some((workload.guest, workload.first..workload.first + workload.working_set)),
            Self::Replay(replay) => Some((replay.guest, replay.first..replay.first + replay.trace.pages.len() as u64)),
            Self::Statement(_) | Self::Repeat(_) | Self::Parallel(_) => None,
        }
    }
}

impl Verb {
    /// The pages that the guest stores into. Sharing keeps what is in a page.
    pub(crate) fn guest_stores(&self) -> Option<Stretch> {
        match self {
            Self::GuestWrite { pages, .. } => Some(stretch(*pages)),
            Self::GuestShare { pages } | Self::GuestUnshare { pages } => Some((pages.guest, BLOCK_PAGE)),
            Self::GuestUvc { guest, .. } => Some((*guest, BLOCK_PAGE)),
            Self::GuestIo { guest, io: GuestIo::DiskRead { to: Some(to), count, .. } } => {
                let end = to.saturating_add(u64::from(*count) * SECTOR);
                Some((*guest, to / PAGE_SIZE..end.div_ceil(PAGE_SIZE)))
            }
            _ => None,
        }
    }
}

fn stretch(pages: Pages) -> Stretch {
    (pages.guest, pages.first.0..pages.last.0.saturating_add(1))
}

/// Whether two stretches have a page in common.
pub(crate) fn overlap(left: &Stretch, right: &Stretch) -> bool {
    left.0 == right.0 && left.1.start < right.1.end && right.1.start < left.1.end
}
