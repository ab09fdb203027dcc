//! Replays: a guest touches pages as a recorded program did.

use super::pressure::{AHEAD, Extent, LARGEST, Origin, Task, Touch, Touches};
use super::workload::POLICY;
use super::{End, Runner};
use crate::paging::Resident;
use crate::scenario::Replay;
use crate::trace::PageTouch;
use uvsim_model::seed::{Purpose, Seed};

impl<'s> Runner<'s, '_, '_> {
    pub(super) fn run_replay(&mut self, replay: &'s Replay) -> Result<(), End> {
        let mut task = self.begin_replay(replay);
        let done = self.advance(&mut task, u64::MAX);
        self.told("replay", &replay.text, &task);
        done.map(|_| ())
    }

    /// A replay from its first access.
    pub(super) fn begin_replay(&mut self, replay: &'s Replay) -> Task<'s> {
        let trace = &replay.trace;
        let pages = trace.pages.len() as u64;
        debug_assert!(pages <= LARGEST, "a page trace has fewer");
        let stream = Seed(self.kernel.machine().config().seed).item(Purpose::Workload, self.workloads, POLICY);
        self.workloads += 1;
        let resident = Resident::new(replay.policy, trace.pages.len(), replay.frames, stream);
        let resident = resident.with_window(replay.window);
        let extent = Extent {
            place: replay.place,
            guest: replay.guest.0,
            first: replay.first,
            pages,
            frames: replay.frames,
            goal: trace.touches.len() as u64,
        };
        Task::new(extent, resident, Origin::Recorded(Recorded { touches: &trace.touches, at: 0 }))
    }
}

/// Touches of a trace.
#[derive(Debug)]
pub(super) struct Recorded<'s> {
    touches: &'s [PageTouch],
    at: usize,
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
