//! What both machines report, compared after every act and handed on to the observers of the case.

use super::equal;
use super::machine::Machine;
use model::event::{Event, Observer};
use model::storage::{Donation, FrameState};
use model::uvc::Issuer;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use uvsim_capi::event::{UVSIM_EVENT_CALL, UVSIM_EVENT_TRANSITION};
use uvsim_capi::inspect::{
    UVSIM_FRAME_BASE, UVSIM_FRAME_CONFIGURATION, UVSIM_FRAME_CPU, UVSIM_FRAME_NON_SECURE, UVSIM_FRAME_PINNED,
    UVSIM_FRAME_SECURE, UVSIM_FRAME_SHARED, UVSIM_FRAME_VARIABLE, uvsim_frame,
};

/// An event as the C interface tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub rule: CString,
    pub kind: u32,
    pub command: u16,
    pub rc: u16,
    pub rrc: u16,
    pub cpu: u16,
    pub cc: u8,
    pub guest: u8,
    pub frame: u64,
    pub from: uvsim_frame,
    pub to: uvsim_frame,
    pub lost: u64,
}

/// A queue that a machine reports to.
#[derive(Debug)]
pub struct Queue<T>(Mutex<Vec<T>>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Queue<T> {
    pub fn add(&self, event: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn take(&self) -> Vec<T> {
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Queue<Event> {
    fn observe(&self, event: &Event) {
        self.add(event.clone());
    }
}

/// Both queues, and who wants to hear.
#[derive(Default)]
pub struct Reports {
    pub through_c: Arc<Queue<Told>>,
    pub direct: Arc<Queue<Event>>,
    pub observers: Mutex<Vec<Arc<dyn Observer>>>,
}

impl Machine {
    /// After an act: both machines must have reported the same. The C interface names configurations by handle, so its
    /// events are compared in its own words.
    #[track_caller]
    pub(super) fn settle(&self, act: &str) {
        let (told, events) = (self.reports.through_c.take(), self.reports.direct.take());
        if told.is_empty() && events.is_empty() {
            return;
        }
        equal(act, told, events.iter().map(|event| self.in_c(event)).collect());
        let observers = self.reports.observers.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| observers.iter().for_each(|observer| observer.observe(event)));
    }

    /// An event of the twin as the C interface has to tell it.
    fn in_c(&self, event: &Event) -> Told {
        let nothing = self.frame_in_c(FrameState::NonSecure);
        match *event {
            Event::Call { issuer, cpu, command, cc, rc, rrc, rule } => Told {
                rule: CString::new(rule).expect("a name"),
                kind: UVSIM_EVENT_CALL,
                command,
                rc,
                rrc,
                cpu,
                cc: cc as u8,
                guest: (issuer == Issuer::Guest).into(),
                frame: 0,
                from: nothing,
                to: nothing,
                lost: 0,
            },
            Event::Transition { frame, from, to, rule } => Told {
                rule: CString::new(rule).expect("a name"),
                kind: UVSIM_EVENT_TRANSITION,
                command: 0,
                rc: 0,
                rrc: 0,
                cpu: 0,
                cc: 0,
                guest: 0,
                frame: frame.address().0,
                from: self.frame_in_c(from),
                to: self.frame_in_c(to),
                lost: 0,
            },
            _ => panic!("{event:?} has no form in C"),
        }
    }

    fn frame_in_c(&self, state: FrameState) -> uvsim_frame {
        let (state, domain, page) = match state {
            FrameState::NonSecure => (UVSIM_FRAME_NON_SECURE, None, 0),
            FrameState::Donated(Donation::Base) => (UVSIM_FRAME_BASE, None, 0),
            FrameState::Donated(Donation::ConfigurationBase(domain)) => (UVSIM_FRAME_CONFIGURATION, Some(domain), 0),
            FrameState::Donated(Donation::ConfigurationVariable(domain, page)) => {
                (UVSIM_FRAME_VARIABLE, Some(domain), page)
            }
            FrameState::Donated(Donation::Cpu(domain)) => (UVSIM_FRAME_CPU, Some(domain), 0),
            FrameState::Secure(domain, page) => (UVSIM_FRAME_SECURE, Some(domain), page.0),
            FrameState::Shared(domain, page) => (UVSIM_FRAME_SHARED, Some(domain), page.0),
            FrameState::Pinned(domain, page) => (UVSIM_FRAME_PINNED, Some(domain), page.0),
        };
        uvsim_frame {
            state,
            orphaned: domain.is_some_and(|domain| self.twin.is_discarded(domain)).into(),
            configuration: domain.and_then(|domain| self.twin.owner(domain)).unwrap_or(0),
            page,
        }
    }
}
