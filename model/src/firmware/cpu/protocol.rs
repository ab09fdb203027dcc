//! The reset protocol (I-36, D79): what must happen between a request for a reset and the next SIE.
//!
//! The configuration goes idle → requested (guest diagnose 0x308, subcode 0 or 1) → prepared (PREPARE_RESET,
//! with or without a request) → idle (CPU_SET_STATE 5). From the request, or from PREPARE_RESET if nobody
//! asked, until that load no CPU can be entered. Calls out of order do their own work, or are refused with
//! their own code; they never move the protocol.
//!
//! Whether a CPU has been reset is a mark of its own, set by PREPARE_RESET. The load needs the CPU that is
//! loaded to be reset; another CPU that was forgotten does not hold it up, but stays out of SIE by itself
//! until it is reset (°).

use super::registers::CpuReset;

/// How far a configuration is with a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ResetProtocol {
    phase: Phase,
    /// SET_UNSHARED_ALL was done since a CPU operated last.
    unshared: bool,
    /// A CPU was loaded at least once.
    started: bool,
    source: PswSource,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    /// Nothing is due.
    #[default]
    Idle,
    /// The guest asked for a reset that needs this of its CPUs.
    Requested(CpuReset),
    /// CPUs are to be reset, one of them to be loaded.
    Prepared(CpuReset),
}

/// Where a load takes the PSW from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PswSource {
    /// The image header.
    #[default]
    Header,
    /// The 8 bytes at guest absolute 0.
    AbsoluteZero,
}

/// What PREPARE_RESET wants of a CPU, and what the CPU has had since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ResetMark {
    required: CpuReset,
    done: Option<CpuReset>,
}

impl ResetMark {
    /// Counts a CPU reset.
    pub(crate) fn count(&mut self, kind: CpuReset) {
        self.done = self.done.max(Some(kind));
    }

    /// Whether the CPU may be entered, as far as it alone is concerned.
    pub(crate) fn is_satisfied(self) -> bool {
        self.done >= Some(self.required)
    }

    /// The mark as a number, for comparisons of state.
    pub(crate) fn code(self) -> u64 {
        1 + self.required as u64 + 4 * self.done.map_or(0, |done| 1 + done as u64)
    }
}

impl ResetProtocol {
    /// The guest asks for a reset: with subcode 0 of diagnose 0x308 a clear reset of all CPUs is wanted,
    /// with subcode 1 any. Of two requests the stronger counts.
    pub(crate) fn request(&mut self, subcode: u64) {
        let wanted = if subcode == 0 { CpuReset::Clear } else { CpuReset::Normal };
        self.phase = match self.phase {
            Phase::Requested(earlier) => Phase::Requested(earlier.max(wanted)),
            Phase::Idle | Phase::Prepared(_) => Phase::Requested(wanted),
        };
    }

    /// SET_UNSHARED_ALL is done.
    pub(crate) fn unshared(&mut self) {
        self.unshared = true;
    }

    /// A CPU operates from now on.
    pub(crate) fn operates(&mut self) {
        self.unshared = false;
    }

    /// PREPARE_RESET, all CPUs being stopped: the mark that every CPU gets. `None` if SET_UNSHARED_ALL is
    /// missing. Done once more, it starts over: CPU resets before it do not count.
    pub(crate) fn prepare(&mut self) -> Option<ResetMark> {
        if !self.unshared {
            return None;
        }
        let (Phase::Requested(required) | Phase::Prepared(required)) = self.phase else {
            return Some(self.enter_prepared(CpuReset::Normal));
        };
        Some(self.enter_prepared(required))
    }

    fn enter_prepared(&mut self, required: CpuReset) -> ResetMark {
        self.phase = Phase::Prepared(required);
        // The image's own PSW is never skipped: a reset before the first start still leads to it.
        if self.started {
            self.source = PswSource::AbsoluteZero;
        }
        ResetMark { required, done: None }
    }

    /// The mark of a CPU that is created now.
    pub(crate) fn mark_of_new_cpu(&self) -> Option<ResetMark> {
        match self.phase {
            Phase::Prepared(required) => Some(ResetMark { required, done: None }),
            Phase::Idle | Phase::Requested(_) => None,
        }
    }

    /// Whether SIE is refused for all CPUs.
    pub(crate) fn is_pending(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// CPU_SET_STATE 5: where the PSW comes from. `None` if a step is missing. The CPU that ends a pending
    /// reset needs at least an initial reset, as the architecture's load has it.
    pub(crate) fn may_load(&self, mark: Option<ResetMark>) -> Option<PswSource> {
        let ready = match (self.phase, mark) {
            (Phase::Idle, mark) => mark.is_none_or(ResetMark::is_satisfied),
            (Phase::Requested(_), _) | (Phase::Prepared(_), None) => false,
            (Phase::Prepared(_), Some(mark)) => mark.is_satisfied() && mark.done >= Some(CpuReset::Initial),
        };
        ready.then_some(self.source)
    }

    /// A load that may be has been done.
    pub(crate) fn loaded(&mut self) {
        self.phase = Phase::Idle;
        self.started = true;
        self.operates();
    }

    /// The state as a number, for comparisons of state.
    pub(crate) fn code(&self) -> u64 {
        let phase = match self.phase {
            Phase::Idle => 0,
            Phase::Requested(kind) => 1 + kind as u64,
            Phase::Prepared(kind) => 4 + kind as u64,
        };
        phase | u64::from(self.unshared) << 8 | u64::from(self.started) << 9 | (self.source as u64) << 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(mark: &mut Option<ResetMark>, kind: CpuReset) {
        if let Some(mark) = mark {
            mark.count(kind);
        }
    }

    #[test]
    fn i36_every_step_is_needed_in_its_place() {
        let mut protocol = ResetProtocol::default();
        assert_eq!(protocol.may_load(None), Some(PswSource::Header));
        protocol.loaded();
        protocol.request(1);
        assert!(protocol.is_pending());
        assert_eq!(protocol.may_load(None), None);
        assert_eq!(protocol.prepare(), None, "unshare-all is missing");
        protocol.unshared();
        protocol.operates();
        assert_eq!(protocol.prepare(), None, "a CPU has operated since");
        protocol.unshared();
        let mut mark = protocol.prepare();
        assert_eq!(protocol.may_load(mark), None);
        reset(&mut mark, CpuReset::Normal);
        assert!(mark.is_some_and(ResetMark::is_satisfied));
        assert_eq!(protocol.may_load(mark), None, "the CPU that is loaded needs an initial reset");
        reset(&mut mark, CpuReset::Initial);
        assert_eq!(protocol.may_load(mark), Some(PswSource::AbsoluteZero));
        protocol.loaded();
        assert!(!protocol.is_pending());
    }

    #[test]
    fn subcode_0_wants_clear_resets_and_wins_over_subcode_1() {
        for requests in [&[0][..], &[0, 1], &[1, 0]] {
            let mut protocol = ResetProtocol::default();
            requests.iter().for_each(|&subcode| protocol.request(subcode));
            protocol.unshared();
            let mut mark = protocol.prepare();
            reset(&mut mark, CpuReset::Initial);
            assert!(!mark.unwrap().is_satisfied());
            assert_eq!(protocol.may_load(mark), None);
            reset(&mut mark, CpuReset::Clear);
            reset(&mut mark, CpuReset::Normal);
            assert_eq!(protocol.may_load(mark), Some(PswSource::Header), "never started");
        }
    }

    #[test]
    fn a_forgotten_cpu_stays_out_by_itself() {
        let mut protocol = ResetProtocol::default();
        protocol.loaded();
        protocol.unshared();
        let forgotten = protocol.prepare();
        let mut first = forgotten;
        reset(&mut first, CpuReset::Clear);
        assert!(protocol.may_load(first).is_some());
        protocol.loaded();
        assert!(!forgotten.unwrap().is_satisfied());
        assert_eq!(protocol.may_load(forgotten), None);
        assert_eq!(protocol.mark_of_new_cpu(), None);
    }
}
