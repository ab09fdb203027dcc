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

/// Whom a statement is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Guests {
    /// These, ascending; perhaps none.
    Some(Vec<usize>),
    /// It may be about any.
    All,
}

/// Every page of a guest.
const ALL_PAGES: Range<u64> = 0..u64::MAX;

impl Verb {
    /// The guests of which the host must know something, or keeps account.
    pub(crate) fn guests(&self) -> Guests {
        let mut guests = match self {
            Self::HostUvc { .. } | Self::GuestUvc { .. } | Self::HostResetMachine => return Guests::All,
            Self::HostRemap { pages, to, .. } | Self::HostCopy { pages, to } => vec![pages.guest.0, to.guest.0],
            _ => self.guest().into_iter().map(|guest| guest.0).collect(),
        };
        guests.sort_unstable();
        guests.dedup();
        Guests::Some(guests)
    }

    /// The guest whose vCPU acts.
    pub(crate) fn acting_guest(&self) -> Option<GuestId> {
        match self {
            Self::GuestRead { .. }
            | Self::GuestWrite { .. }
            | Self::GuestShare { .. }
            | Self::GuestUnshare { .. }
            | Self::GuestVerify { .. }
            | Self::GuestDiagnose { .. }
            | Self::GuestSetPrefix { .. }
            | Self::GuestUvc { .. }
            | Self::GuestIo { .. } => self.guest(),
            _ => None,
        }
    }

    /// Pages in which something else may lie afterwards, or which the guest may be unable to read; none if it is
    /// not known which.
    pub(crate) fn disturbs(&self) -> Option<Vec<Stretch>> {
        let pages = match self {
            Self::HostUvc { .. } | Self::GuestUvc { .. } | Self::HostResetMachine => return None,
            Self::HostWrite { pages, .. }
            | Self::HostFlip { pages, .. }
            | Self::HostDestroy { pages }
            | Self::HostMove { pages, .. }
            | Self::HostUnmap { pages, .. }
            | Self::DeviceWrite { pages, .. } => vec![stretch(*pages)],
            Self::HostRemap { pages, to, .. } => vec![stretch(*pages), stretch(*to)],
            Self::HostCopy { to, .. } => vec![stretch(*to)],
            Self::HostCreate { guest }
            | Self::HostStart { guest }
            | Self::HostStop { guest }
            | Self::HostTeardown { guest, .. }
            | Self::HostPv { guest, .. }
            | Self::HostCreateCpu { guest, .. }
            | Self::HostCpuReset { guest, .. }
            | Self::HostCpuState { guest, .. }
            | Self::HostReset { guest }
            | Self::HostLoadImage { guest, .. }
            | Self::GuestDiagnose { guest, .. }
            | Self::GuestSetPrefix { guest, .. }
            | Self::HostConsole { guest, .. }
            | Self::GuestIo { guest, .. } => vec![(*guest, ALL_PAGES)],
            _ => self.guest_stores().into_iter().collect(),
        };
        Some(pages)
    }

    /// The guest that a statement names, the first if there are two.
    fn guest(&self) -> Option<GuestId> {
        match self {
            Self::HostRead { pages, .. }
            | Self::HostWrite { pages, .. }
            | Self::HostFlip { pages, .. }
            | Self::HostExport { pages }
            | Self::HostImport { pages }
            | Self::HostDestroy { pages }
            | Self::HostPin { pages }
            | Self::HostUnpin { pages }
            | Self::HostMakeAccessible { pages }
            | Self::HostPageOut { pages }
            | Self::HostPageIn { pages }
            | Self::HostMove { pages, .. }
            | Self::HostRemap { pages, .. }
            | Self::HostCopy { pages, .. }
            | Self::HostUnmap { pages, .. }
            | Self::DeviceRead { pages, .. }
            | Self::DeviceWrite { pages, .. }
            | Self::GuestRead { pages, .. }
            | Self::GuestWrite { pages, .. }
            | Self::GuestShare { pages }
            | Self::GuestUnshare { pages }
            | Self::CheckPage { pages, .. } => Some(pages.guest),
            Self::HostCreate { guest }
            | Self::HostStart { guest }
            | Self::HostStop { guest }
            | Self::HostUnshareAll { guest }
            | Self::HostTeardown { guest, .. }
            | Self::HostPv { guest, .. }
            | Self::HostCreateCpu { guest, .. }
            | Self::HostCpuReset { guest, .. }
            | Self::HostCpuState { guest, .. }
            | Self::HostReset { guest }
            | Self::HostLoadImage { guest, .. }
            | Self::HostWriteHeader { guest, .. }
            | Self::HostFlipHeader { guest, .. }
            | Self::GuestVerify { guest, .. }
            | Self::GuestDiagnose { guest, .. }
            | Self::GuestSetPrefix { guest, .. }
            | Self::GuestUvc { guest, .. }
            | Self::GuestIo { guest, .. }
            | Self::HostConsole { guest, .. }
            | Self::CheckCpu { guest, .. }
            | Self::CheckLeaks { guest, .. }
            | Self::CheckIo { guest, .. } => Some(*guest),
            Self::HostResetMachine
            | Self::HostFaults { .. }
            | Self::HostInject { .. }
            | Self::HostUvc { .. }
            | Self::CheckEqual { .. }
            | Self::CheckDiffer { .. }
            | Self::CheckZero { .. }
            | Self::CheckInvariants => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    fn verb(statement: &str) -> Verb {
        let text = format!(
            "scenario s\nguest a memory=\"1MiB\"\nguest b memory=\"1MiB\"\nstep t {{\n{statement}\ncheck invariants\n}}"
        );
        let scenario = Scenario::parse(Path::new("s.kdl"), &text).unwrap_or_else(|e| panic!("{:?}", e.errors()));
        let Node::Statement(statement) = &scenario.steps[0].nodes[0] else { panic!("{statement}") };
        statement.verb.clone()
    }

    #[test]
    fn whom_a_statement_is_about() {
        let guests = |statement: &str| verb(statement).guests();
        assert_eq!(guests("host export b:3"), Guests::Some(vec![1]));
        assert_eq!(guests("host copy b:3 to=a:4"), Guests::Some(vec![0, 1]));
        assert_eq!(guests("host remap a:3 to=a:4"), Guests::Some(vec![0]));
        assert_eq!(guests("check invariants"), Guests::Some(vec![]));
        assert_eq!(guests("host teardown b"), Guests::Some(vec![1]));
        assert_eq!(guests("host uvc conv-from-sec-stor paddr=0"), Guests::All);
        assert_eq!(verb("guest read b:3 len=1").acting_guest(), Some(GuestId(1)));
        assert_eq!(verb("host read b:3 len=1").acting_guest(), None);
    }

    #[test]
    fn what_a_statement_disturbs() {
        let disturbs = |statement: &str| verb(statement).disturbs();
        assert_eq!(disturbs("host page-out a:3"), Some(vec![]));
        assert_eq!(disturbs("host write a:3..4 text=x"), Some(vec![(GuestId(0), 3..5)]));
        assert_eq!(disturbs("host copy a:3 to=b:4"), Some(vec![(GuestId(1), 4..5)]));
        assert_eq!(disturbs("guest share a:9"), Some(vec![(GuestId(0), 1..2)]));
        assert_eq!(disturbs("guest write b:9 text=x"), Some(vec![(GuestId(1), 9..10)]));
        assert_eq!(disturbs("host stop b"), Some(vec![(GuestId(1), 0..u64::MAX)]));
        assert_eq!(disturbs("host uvc conv-from-sec-stor paddr=0"), None);
        assert!(overlap(&(GuestId(0), 3..5), &(GuestId(0), 4..9)));
        assert!(!overlap(&(GuestId(0), 3..5), &(GuestId(0), 5..9)));
        assert!(!overlap(&(GuestId(0), 3..5), &(GuestId(1), 3..5)));
    }
}
