//! What the machine has reported since the last statement began.

use parking_lot::{Mutex, MutexGuard};
use std::cell::Cell;
use std::sync::Arc;
use uvsim_model::event::{Event, Observer};
use uvsim_model::storage::{Donation, FrameState};

/// Changes of one kind in the states of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// State before, in the letters of the transition table.
    pub from: &'static str,
    /// State after.
    pub to: &'static str,
    /// Row of the transition table.
    pub rule: &'static str,
    /// How many frames.
    pub count: u64,
}

/// So many kinds are told in the order in which they happen; beyond that, equal ones are added up.
const IN_ORDER: usize = 8;

/// Listens to the machine. Each lane on a thread has a part of its own, and so has whoever is no lane: the machine
/// reports on the thread that causes an event.
#[derive(Debug)]
pub(super) struct Trail(Box<[Mutex<Noted>]>);

thread_local! {
    /// The part of this thread.
    static PART: Cell<usize> = const { Cell::new(0) };
}

/// What this thread causes is that of a lane from now on.
pub(super) fn act_for(lane: u16) {
    PART.set(usize::from(lane) + 1);
}

#[derive(Debug, Default)]
struct Noted {
    rule: &'static str,
    transitions: Vec<Transition>,
    /// Whether equal ones are added up wherever they stand.
    added_up: bool,
}

impl Trail {
    /// For as many lanes as there are CPUs.
    pub(super) fn new(cpus: u16) -> Arc<Self> {
        Arc::new(Self((0..=cpus).map(|_| Mutex::default()).collect()))
    }

    fn own(&self) -> MutexGuard<'_, Noted> {
        self.0[PART.get().min(self.0.len() - 1)].lock()
    }

    /// The rule of the last call.
    pub(super) fn rule(&self) -> &'static str {
        self.own().rule
    }

    /// Takes the transitions noted so far.
    pub(super) fn take(&self) -> Vec<Transition> {
        let mut noted = self.own();
        noted.added_up = false;
        core::mem::take(&mut noted.transitions)
    }
}

impl Observer for Trail {
    fn observe(&self, event: &Event) {
        let mut noted = self.own();
        match *event {
            Event::Call { rule, .. } => noted.rule = rule,
            Event::Transition { from, to, rule, .. } => {
                noted.add(Transition { from: before(from, rule), to: letter(to), rule, count: 1 });
            }
            _ => {}
        }
    }
}

impl Noted {
    fn add(&mut self, new: Transition) {
        let like = |old: &&mut Transition| (old.from, old.to, old.rule) == (new.from, new.to, new.rule);
        let known = if self.added_up {
            self.transitions.iter_mut().find(like)
        } else {
            self.transitions.last_mut().filter(like)
        };
        if let Some(known) = known {
            known.count += new.count;
        } else if self.added_up || self.transitions.len() < IN_ORDER {
            self.transitions.push(new);
        } else {
            self.added_up = true;
            for old in core::mem::take(&mut self.transitions) {
                self.add(old);
            }
            self.add(new);
        }
    }
}

/// The letter of a state before a change. The zone entry of an orphan looks like that of any secure frame; the
/// two rows that clear orphans tell them apart.
fn before(from: FrameState, rule: &str) -> &'static str {
    match (from, rule) {
        (FrameState::Secure(..), "T48" | "T52") => "O",
        _ => letter(from),
    }
}

const fn letter(state: FrameState) -> &'static str {
    match state {
        FrameState::NonSecure => "N",
        FrameState::Donated(Donation::Base) => "B",
        FrameState::Donated(Donation::ConfigurationBase(_) | Donation::ConfigurationVariable(..)) => "C",
        FrameState::Donated(Donation::Cpu(_)) => "V",
        FrameState::Secure(..) => "S",
        FrameState::Shared(..) => "H",
        FrameState::Pinned(..) => "P",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvsim_model::address::PageIndex;
    use uvsim_model::storage::Domain;

    const OUT: Transition = Transition { from: "S", to: "N", rule: "T44", count: 1 };
    const IN: Transition = Transition { from: "N", to: "S", rule: "T25", count: 1 };

    #[test]
    fn an_orphan_is_known_by_the_row_that_clears_it() {
        let secure = FrameState::Secure(Domain(3), PageIndex(4));
        assert_eq!((before(secure, "T52"), before(secure, "T48"), before(secure, "T44")), ("O", "O", "S"));
    }

    #[test]
    fn few_changes_are_told_in_order_and_many_are_added_up() {
        let mut noted = Noted::default();
        [OUT, OUT, IN, OUT].into_iter().for_each(|change| noted.add(change));
        assert_eq!(noted.transitions, [Transition { count: 2, ..OUT }, IN, OUT]);
        (0..10).for_each(|_| [IN, OUT].into_iter().for_each(|change| noted.add(change)));
        assert_eq!(noted.transitions, [Transition { count: 13, ..OUT }, Transition { count: 11, ..IN }]);
    }
}
