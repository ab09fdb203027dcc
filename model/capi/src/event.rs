//! Events: what a machine did, told when the call in which it happened is over.
//!
//! Events wait in a queue of the thread. When a call on that thread is over that can cause events (`uvsim_uvc`,
//! `uvsim_guest_uvc` and their like), they are told one after the other: nothing of the library is on the stack then, and no
//! lock is held. A callback may call in: what that causes is told at the end of that call, after what still waits. It may
//! leave by `longjmp`: the events that still wait are told at the end of the next such call of the thread.
//!
//! At most `UVSIM_MAX_EVENTS` wait. What does not fit is counted, and told as one event of kind `UVSIM_EVENT_LOST`.

use crate::inspect::{described, uvsim_frame};
use crate::machine::{Room, on_machine, room, uvsim_machine};
use crate::result::{UVSIM_OK, caught};
use crate::thread;
use core::cell::RefCell;
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::event::{Event, Observer};
use uvsim_model::uvc::Issuer;

/// An Ultravisor call has ended.
pub const UVSIM_EVENT_CALL: u32 = 1;
/// A frame has changed its state.
pub const UVSIM_EVENT_TRANSITION: u32 = 2;
/// Events did not fit the queue; `lost` of them.
pub const UVSIM_EVENT_LOST: u32 = 3;

/// Most events that wait on a thread.
pub const UVSIM_MAX_EVENTS: usize = 1 << 20;

/// Something that a machine did. Members that the kind does not name are zeros.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct uvsim_event {
    /// The machine.
    pub machine: *mut uvsim_machine,
    /// The rule that decided, such as `T26` or `Q19`; empty with `UVSIM_EVENT_LOST`. Never null; valid for ever.
    pub rule: *const c_char,
    /// One of `UVSIM_EVENT_CALL`, `UVSIM_EVENT_TRANSITION` and `UVSIM_EVENT_LOST`. There may be others in the future.
    pub kind: u32,
    /// Call: the command code as found in the block.
    pub command: u16,
    /// Call: the response code; 0 with condition codes 2 and 3.
    pub rc: u16,
    /// Call: the reason code.
    pub rrc: u16,
    /// Call: the host CPU on which it ran.
    pub cpu: u16,
    /// Call: the condition code.
    pub cc: u8,
    /// Call: 1 if a guest has issued it.
    pub guest: u8,
    /// Zeros.
    pub reserved: [u8; 2],
    /// Transition: absolute address of the frame.
    pub frame: u64,
    /// Transition: state before.
    pub from: uvsim_frame,
    /// Transition: state after.
    pub to: uvsim_frame,
    /// Lost: how many.
    pub lost: u64,
}

const _: () = assert!(size_of::<uvsim_event>() == 96);

/// Is told an event. The event is there until the callback returns.
pub type uvsim_event_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const uvsim_event)>;

/// Tells every event of a machine from now on, in place of whom it told before; nobody if `listener` is null. It is called on
/// the thread whose call has caused the event, so on several at once if several threads use the machine.
///
/// Answers: those of every function; `UVSIM_OK`.
///
/// # Safety
/// `listener` can be called with `user`, on all threads that use the machine, until another one takes its place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_on_event(
    machine: *mut uvsim_machine,
    listener: uvsim_event_fn,
    user: *mut c_void,
) -> c_int {
    on_machine(machine, |room| {
        room.listener.listen(room, listener, user);
        Ok(UVSIM_OK)
    })
}

/// Tells what waits on this thread. Nothing of what calls this may have to be dropped: a callback may never return.
#[inline]
pub(crate) fn deliver() {
    if thread::have_events() {
        deliver_all();
    }
}

#[inline(never)]
fn deliver_all() {
    let mut next = Delivery::NONE;
    while next.take()
        && let Some(listener) = next.listener
    {
        // SAFETY: whoever has set it says that it can be called with this. Nothing in this frame has to be dropped.
        unsafe { listener(next.user, &raw const next.event) };
    }
}

/// An event on its way. Nothing in it has to be dropped.
#[derive(Clone, Copy)]
struct Delivery {
    listener: uvsim_event_fn,
    user: *mut c_void,
    event: uvsim_event,
}

impl Delivery {
    const NONE: Self = Self {
        listener: None,
        user: null_mut(),
        event: uvsim_event {
            machine: null_mut(),
            rule: c"".as_ptr(),
            kind: 0,
            command: 0,
            rc: 0,
            rrc: 0,
            cpu: 0,
            cc: 0,
            guest: 0,
            reserved: [0; 2],
            frame: 0,
            from: uvsim_frame::NONE,
            to: uvsim_frame::NONE,
            lost: 0,
        },
    };

    /// Takes the next event that somebody wants to hear. `false` if there is none.
    fn take(&mut self) -> bool {
        let taken = caught(|| {
            while let Some((number, queued)) = next_queued() {
                // A machine that is gone or lost has nothing to tell any more.
                let Ok(room) = room(without_provenance_mut(number as usize)) else { continue };
                let (listener, user) = room.listener.wanted();
                if listener.is_some() {
                    return Some(Self { listener, user, event: translated(&room, &queued) });
                }
            }
            None
        });
        *self = taken.flatten().unwrap_or(Self::NONE);
        self.listener.is_some()
    }
}

/// Who hears the events of a machine.
#[derive(Default)]
pub(crate) struct Listener {
    told: Mutex<Told>,
    on: Arc<AtomicBool>,
}

#[derive(Default)]
struct Told {
    listener: uvsim_event_fn,
    user: AtomicPtr<c_void>,
    subscribed: bool,
}

impl core::fmt::Debug for Listener {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Listener({})", self.on.load(Ordering::Relaxed))
    }
}

impl Listener {
    fn listen(&self, room: &Room, listener: uvsim_event_fn, user: *mut c_void) {
        let mut told = self.told.lock();
        told.listener = listener;
        told.user.store(user, Ordering::Relaxed);
        self.on.store(listener.is_some(), Ordering::Relaxed);
        if listener.is_some() && !core::mem::replace(&mut told.subscribed, true) {
            room.machine.subscribe(Arc::new(Collector { machine: room.number, on: Arc::clone(&self.on) }));
        }
    }

    fn wanted(&self) -> (uvsim_event_fn, *mut c_void) {
        let told = self.told.lock();
        (told.listener, told.user.load(Ordering::Relaxed))
    }
}

/// Puts the events of a machine into the queue of the thread.
struct Collector {
    machine: u64,
    on: Arc<AtomicBool>,
}

impl Observer for Collector {
    fn observe(&self, event: &Event) {
        if self.on.load(Ordering::Relaxed) {
            let _ = QUEUE.try_with(|queue| queue.borrow_mut().add(self.machine, Queued::Event(event.clone())));
        }
    }
}

enum Queued {
    Event(Event),
    Lost(u64),
}

/// What waits, with the numbers of the machines.
struct Queue(VecDeque<(u64, Queued)>);

thread_local! {
    static QUEUE: RefCell<Queue> = const { RefCell::new(Queue(VecDeque::new())) };
}

impl Queue {
    fn add(&mut self, machine: u64, event: Queued) {
        if self.0.len() < UVSIM_MAX_EVENTS {
            self.0.push_back((machine, event));
            thread::note_events(true);
            return;
        }
        // The last place counts what does not fit. What was there does not fit either.
        if let Some((of, last)) = self.0.back_mut() {
            match last {
                Queued::Lost(count) => *count += 1,
                Queued::Event(_) => (*of, *last) = (machine, Queued::Lost(2)),
            }
        }
    }
}

fn next_queued() -> Option<(u64, Queued)> {
    let next = QUEUE.try_with(|queue| queue.borrow_mut().0.pop_front()).ok().flatten();
    if next.is_none() {
        thread::note_events(false);
    }
    next
}

/// As a listener sees it.
fn translated(room: &Room, queued: &Queued) -> uvsim_event {
    let machine: &Machine = &room.machine;
    let empty = uvsim_event { machine: without_provenance_mut(room.number as usize), ..Delivery::NONE.event };
    match *queued {
        Queued::Lost(lost) => uvsim_event { kind: UVSIM_EVENT_LOST, lost, ..empty },
        Queued::Event(Event::Call { issuer, cpu, command, cc, rc, rrc, rule }) => uvsim_event {
            kind: UVSIM_EVENT_CALL,
            rule: named(rule).as_ptr(),
            command,
            rc,
            rrc,
            cpu,
            cc: cc as u8,
            guest: (issuer == Issuer::Guest).into(),
            ..empty
        },
        Queued::Event(Event::Transition { frame, from, to, rule }) => uvsim_event {
            kind: UVSIM_EVENT_TRANSITION,
            rule: named(rule).as_ptr(),
            frame: frame.address().0,
            from: described(machine, from),
            to: described(machine, to),
            ..empty
        },
        Queued::Event(_) => empty,
    }
}

/// A rule as a text for C. There are as many as the model has names for rules, and they are kept.
fn named(rule: &'static str) -> &'static CStr {
    static NAMES: Mutex<BTreeMap<&'static str, &'static CStr>> = Mutex::new(BTreeMap::new());
    NAMES.lock().entry(rule).or_insert_with(|| match CString::new(rule) {
        Ok(name) => Box::leak(name.into_boxed_c_str()),
        Err(_) => c"",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_counts_what_does_not_fit() {
        let mut queue = Queue(VecDeque::new());
        for _ in 0..UVSIM_MAX_EVENTS + 3 {
            queue.add(7, Queued::Lost(0));
        }
        assert_eq!(queue.0.len(), UVSIM_MAX_EVENTS);
        let mut queue = Queue((0..UVSIM_MAX_EVENTS).map(|_| (1, call())).collect());
        queue.add(1, call());
        queue.add(2, call());
        assert_eq!(queue.0.len(), UVSIM_MAX_EVENTS);
        assert!(matches!(queue.0.pop_back(), Some((1, Queued::Lost(3)))));
        assert!(matches!(queue.0.pop_back(), Some((1, Queued::Event(_)))));
    }

    fn call() -> Queued {
        let cc = uvsim_model::uvc::ConditionCode::Done;
        Queued::Event(Event::Call { issuer: Issuer::Host, cpu: 0, command: 1, cc, rc: 1, rrc: 0, rule: "T1" })
    }
}
