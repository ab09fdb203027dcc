//! What was reached.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use uvsim_model::address::{FrameNumber, PageIndex};
use uvsim_model::event::{Event, Observer};
use uvsim_model::storage::{Domain, FrameState};
use uvsim_model::uvc::Issuer;

/// Something that a run can reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reached {
    /// A call ended so.
    Call {
        /// Issued by a guest.
        by_guest: bool,
        /// Code of the command.
        command: u16,
        /// The condition code.
        cc: u8,
        /// Response code and reason code.
        codes: (u16, u16),
        /// The rule that decided.
        rule: &'static str,
    },
    /// A frame changed its state by this row.
    Transition(&'static str),
    /// A row of the transition table that nobody reports, but that can be seen.
    Row(&'static str),
    /// What a step met, says the oracle.
    Step(uvsim_verify::Covered),
    /// A statement came to this.
    Statement {
        /// Number of the verb.
        verb: u8,
        /// The outcome.
        outcome: crate::scenario::Outcome,
        /// The rule, as far as the kernel knows it.
        rule: &'static str,
    },
}

/// All that was reached, and how often.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage(BTreeMap<Reached, u64>);

impl Coverage {
    /// One more.
    pub fn note(&mut self, reached: Reached) {
        *self.0.entry(reached).or_default() += 1;
    }

    /// What an oracle has met.
    pub(super) fn add_steps(&mut self, steps: &uvsim_verify::Coverage) {
        for (covered, count) in &steps.0 {
            *self.0.entry(Reached::Step(*covered)).or_default() += count;
        }
    }

    /// Adds another coverage. Whether there was anything new in it.
    pub fn join(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        for (reached, count) in &other.0 {
            *self.0.entry(*reached).or_default() += count;
        }
        self.0.len() > before
    }

    /// What was reached, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&Reached, u64)> {
        self.0.iter().map(|(reached, count)| (reached, *count))
    }

    /// How many different things.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Listens to a machine.
#[derive(Debug, Default)]
pub(super) struct Listener(Mutex<Heard>);

/// What a listener has heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) coverage: Coverage,
    pub(super) calls: u64,
    /// Code of the last command.
    pub(super) command: u16,
    /// The frames from which pages were exported last.
    exported: BTreeMap<(Domain, PageIndex), FrameNumber>,
}

impl Heard {
    /// T30: a page comes back in another frame than it left.
    fn follow_page(&mut self, frame: FrameNumber, from: FrameState, to: FrameState, rule: &str) {
        match (rule, from.registration(), to.registration()) {
            ("T44", Some(page), _) => drop(self.exported.insert(page, frame)),
            ("T25", _, Some(page)) if self.exported.get(&page).is_some_and(|&left| left != frame) => {
                self.coverage.note(Reached::Row("T30"));
            }
            _ => {}
        }
    }
}

impl Listener {
    pub(super) fn take(&self) -> Heard {
        core::mem::take(&mut self.0.lock())
    }
}

impl Observer for Listener {
    fn observe(&self, event: &Event) {
        let mut heard = self.0.lock();
        match *event {
            Event::Call { issuer, command, cc, rc, rrc, rule, .. } => {
                heard.calls += 1;
                heard.command = command;
                let by_guest = issuer == Issuer::Guest;
                heard.coverage.note(Reached::Call { by_guest, command, cc: cc as u8, codes: (rc, rrc), rule });
            }
            Event::Transition { frame, from, to, rule } => {
                heard.coverage.note(Reached::Transition(rule));
                heard.follow_page(frame, from, to, rule);
            }
            _ => {}
        }
    }
}
