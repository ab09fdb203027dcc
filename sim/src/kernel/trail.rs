//! What the machine has reported since the last statement began.

use parking_lot::Mutex;
use std::sync::Arc;
use uvsim_model::address::FrameNumber;
use uvsim_model::event::{Event, Observer};
use uvsim_model::storage::FrameState;

/// A change of a frame's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// The frame.
    pub frame: FrameNumber,
    /// State before.
    pub from: FrameState,
    /// State after.
    pub to: FrameState,
    /// Row of the transition table.
    pub rule: &'static str,
}

/// At most this many transitions of one statement are kept.
const KEPT: usize = 64;

/// Listens to the machine.
#[derive(Debug, Default)]
pub(super) struct Trail(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    rule: &'static str,
    transitions: Vec<Transition>,
    more: u64,
}

impl Trail {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The rule of the last call.
    pub(super) fn rule(&self) -> &'static str {
        self.0.lock().rule
    }

    /// Takes the transitions noted so far, and how many more there were.
    pub(super) fn take(&self) -> (Vec<Transition>, u64) {
        let mut noted = self.0.lock();
        (core::mem::take(&mut noted.transitions), core::mem::take(&mut noted.more))
    }
}

impl Observer for Trail {
    fn observe(&self, event: &Event) {
        let mut noted = self.0.lock();
        match *event {
            Event::Call { rule, .. } => noted.rule = rule,
            Event::Transition { frame, from, to, rule } if noted.transitions.len() < KEPT => {
                noted.transitions.push(Transition { frame, from, to, rule });
            }
            Event::Transition { .. } => noted.more += 1,
            _ => {}
        }
    }
}
