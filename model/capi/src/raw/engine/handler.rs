//! The handler of SIGSEGV and SIGBUS: what the machine would do to the program at this point.
//!
//! A touch of a secure frame is a secure-storage access (T2, T3). First the host's callback is asked to make the frame
//! accessible, as a kernel's own handler would. If that does not help, the interruption is delivered: to a copy of
//! [`super::copy`], else to the newest landing, else the process dies with a line that says which rule it broke.
//!
//! # Stacks
//!
//! The kernel starts a handler with SA_ONSTACK on the thread's alternate stack, if it has one. The library makes none, but
//! Rust's standard library and AddressSanitizer do, for stack overflows; they are a few KiB. So SA_ONSTACK is set, for
//! the handlers that come after this one in the chain; but the callback runs on the stack that was interrupted,
//! where there is room, with the alternate stack switched off, so that a fault in the callback finds its place below.
//! Signals are blocked there as they were in the interrupted code, and after a landing as well.

#![allow(unsafe_code, reason = "signal handling; see the SAFETY comments")]

use super::chain;
use super::context::{Context, uvsim_raw_call_on};
use super::copy::{self, Stop};
use super::landing;
use super::last_words::Line;
use super::thread::Thread;
use super::view::{Callback, Look, WINDOWS};
use crate::cpu::uvsim_interruption;
use crate::raw::{UVSIM_RETRY, uvsim_fault, uvsim_landing};
use core::ffi::{c_int, c_void};
use core::ptr;
use libc::{siginfo_t, stack_t};
use uvsim_model::address::AbsoluteAddress;
use uvsim_model::storage::{AccessKind, AddressSpace, ProgramCode, ProgramInterruption, Teid};

/// How often a callback is asked about one access before "retry" counts as "deliver".
pub(crate) const ATTEMPTS: u32 = 10_000;
/// How often an access to a frame that is open in the zone table, but not in the view, is tried again: some seconds, for
/// most of these times wait. Another thread is between the two changes; or the view does not follow any more.
const PATIENCE: u32 = 4_000;
/// From which time on it waits a millisecond.
const HASTE: u32 = 1_000;
/// From which time on the processor is left to others in between.
const EAGERNESS: u32 = 16;

/// One fault.
#[derive(Clone, Copy, Debug)]
struct Touch {
    signal: c_int,
    address: usize,
    pc: usize,
    kind: AccessKind,
    /// Where a checked copy goes on.
    fix: Option<usize>,
}

/// How the interrupted code goes on.
enum Answer {
    /// With the same instruction.
    Again,
    /// Elsewhere.
    At(usize),
    /// At a landing.
    Land(*mut uvsim_landing, ProgramInterruption, u64),
    /// As whoever handled the signal before says.
    Chain,
    /// Not at all.
    Abort,
}

/// The handler.
///
/// # Safety
/// Only the kernel, or a handler that passes on its own arguments, calls it.
pub(super) unsafe extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives both for the time of this call; errno is this thread's.
    let (mut frame, code, address, errno) =
        unsafe { (Context::new(context), (*info).si_code, (*info).si_addr().addr(), *libc::__errno_location()) };
    let fix = copy::routine(frame.pc());
    let kind = fix.and_then(|(_, kind)| kind).unwrap_or_else(|| frame.access());
    let touch = Touch { signal, address, pc: frame.pc(), kind, fix: fix.map(|(at, _)| at) };
    // Signals that a process sends (codes up to 0) are no accesses.
    let answer = if code > 0 { answer(&touch, &mut frame) } else { Answer::Chain };
    match answer {
        Answer::Again => {}
        Answer::At(pc) => frame.set_pc(pc),
        Answer::Land(landing, interruption, absolute) => {
            frame.restore_signal_mask();
            // SAFETY: `answer` found the landing in use and in reach. Nothing in this frame has anything to drop, and
            // the code above is the host's own.
            unsafe {
                *libc::__errno_location() = errno;
                landing::land(landing, shown(interruption), address, absolute)
            }
        }
        // SAFETY: the arguments are passed on as they came.
        Answer::Chain => unsafe { chain::pass_on(signal, code, info, context) },
        // SAFETY: abort can be called anywhere.
        Answer::Abort => unsafe { libc::abort() },
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn answer(touch: &Touch, frame: &mut Context<'_>) -> Answer {
    let mut attempt = 0;
    loop {
        let Some(view) = Look::at(touch.address) else { return bad_pointer(touch) };
        if touch.signal == libc::SIGBUS {
            Line::new().text("the system has no memory left for absolute ").hex(view.absolute).emit();
            return bad_pointer(touch);
        }
        if !view.secure {
            return Thread::with(|thread| open(touch, &view, thread));
        }
        let asked = Thread::with(|thread| {
            thread.forget_repeats();
            if let Some(alternate) = thread.abandon_consultations(frame.stack_pointer()) {
                frame.set_alternate_stack(alternate);
                switch_alternate_stack(&alternate);
            }
            let may_ask = !thread.inside.get() && attempt < ATTEMPTS;
            view.callback.filter(|_| may_ask).and_then(|callback| {
                let consultation = Consultation::of(callback, touch, &view, attempt, thread);
                consult(consultation, thread, frame)
            })
        });
        if asked != Some(UVSIM_RETRY) {
            return Thread::with(|thread| deliver(touch, &view, asked, attempt, thread));
        }
        attempt += 1;
        if attempt > EAGERNESS {
            yield_processor();
        }
    }
}

/// The frame is not secure, so the access would succeed on the machine.
fn open(touch: &Touch, view: &Look, thread: &Thread) -> Answer {
    if touch.kind == AccessKind::Instruction {
        Line::new().text("no instructions are executed from absolute storage (").hex(view.absolute).text(")").emit();
        return Answer::Chain;
    }
    let repeats = thread.repeats(touch.pc, touch.address);
    if repeats < PATIENCE {
        if repeats > HASTE {
            wait();
        } else if repeats > EAGERNESS {
            yield_processor();
        }
        return Answer::Again;
    }
    thread.forget_repeats();
    let mut line = Line::new();
    line.text("the host view does not let ").hex(touch.address as u64).text(" be accessed, though absolute ");
    line.hex(view.absolute).text(" is not secure").emit();
    bad_pointer(touch)
}

fn bad_pointer(touch: &Touch) -> Answer {
    let Some(pc) = touch.fix else { return Answer::Chain };
    Thread::with(|thread| thread.stop.set(Stop::BadPointer));
    Answer::At(pc)
}

fn deliver(touch: &Touch, view: &Look, asked: Option<c_int>, attempts: u32, thread: &Thread) -> Answer {
    let interruption = interruption(touch, view);
    if let Some(pc) = touch.fix {
        thread.stop.set(Stop::Interruption(interruption));
        return Answer::At(pc);
    }
    if thread.inside.get() {
        last_words(touch, view, "it was given to the library as a pointer to plain memory");
        return Answer::Abort;
    }
    if let Some(landing) = landing::newest(thread) {
        if let Some(alternate) = thread.abandon_consultations(landing.addr()) {
            switch_alternate_stack(&alternate);
        }
        return Answer::Land(landing, interruption, view.absolute);
    }
    let why = match (view.callback, asked) {
        (None, _) => "there is neither a callback nor a landing",
        (Some(_), Some(_)) => "the callback wants it delivered, and there is no landing",
        (Some(_), None) if attempts == ATTEMPTS => "the callback never made it accessible, and there is no landing",
        (Some(_), None) => "the callback touches secure frames again and again itself, and there is no landing",
    };
    last_words(touch, view, why);
    Answer::Chain
}

/// The same as for a simulated access (D15, D19).
fn interruption(touch: &Touch, view: &Look) -> ProgramInterruption {
    let teid = match touch.kind {
        AccessKind::Instruction => Teid::new(0, touch.kind, AddressSpace::Home),
        kind => {
            let teid = Teid::new(touch.address as u64, kind, AddressSpace::Home);
            if view.misc { teid.with_bit_61() } else { teid }
        }
    };
    ProgramInterruption { code: ProgramCode::SecureStorageAccess, teid }
}

fn shown(interruption: ProgramInterruption) -> uvsim_interruption {
    uvsim_interruption { code: interruption.code.number(), reserved: [0; 3], teid: interruption.teid.0 }
}

#[inline(never)]
fn last_words(touch: &Touch, view: &Look, why: &str) {
    let access = match touch.kind {
        AccessKind::Fetch => "load from",
        AccessKind::Store => "store to",
        AccessKind::Instruction => "instruction fetch from",
    };
    let frame = AbsoluteAddress(view.absolute).frame();
    let mut line = Line::new();
    line.text("secure-storage access (0x3d) at ").hex(touch.address as u64).text(": ").text(access);
    line.text(" absolute ").hex(view.absolute).text("; frame ").hex(frame.0);
    line.text(" is secure, owned by ").owner(view.state);
    line.text(" (T2, T3); ").text(why).text("; instruction at ").hex(touch.pc as u64).emit();
}

/// A call of the host's callback.
struct Consultation {
    callback: Callback,
    fault: uvsim_fault,
    verdict: c_int,
    /// To be switched off for the time of the call.
    alternate: Option<stack_t>,
}

impl Consultation {
    fn of(callback: Callback, touch: &Touch, view: &Look, attempt: u32, thread: &Thread) -> Self {
        let fault = uvsim_fault {
            machine: ptr::without_provenance_mut(view.machine as usize),
            cpu: ptr::without_provenance_mut(thread.cpu(view.machine) as usize),
            address: ptr::without_provenance_mut(touch.address),
            absolute: view.absolute,
            interruption: shown(interruption(touch, view)),
            is_store: u32::from(touch.kind == AccessKind::Store),
            attempt,
        };
        Self { callback, fault, verdict: 0, alternate: None }
    }
}

/// Asks the host, on the stack that was interrupted. `None` if it is being asked too often already.
fn consult(mut consultation: Consultation, thread: &Thread, frame: &Context<'_>) -> Option<c_int> {
    frame.restore_signal_mask();
    let argument = (&raw mut consultation).cast::<c_void>();
    let (alternate, stack) = (frame.alternate_stack(), frame.stack_pointer());
    // A stack in absolute storage could be what is secure.
    if holds(&alternate, argument.addr()) && !holds(&alternate, stack) && WINDOWS.is_free(stack, 1) {
        if !thread.begin_consultation(stack, Some(alternate)) {
            return None;
        }
        consultation.alternate = Some(alternate);
        let top = (stack - Context::RED_ZONE) & !15;
        // SAFETY: below the red zone of the interrupted function, its stack is free. `ask` gets what it expects, and
        // is over before `consultation` goes away.
        unsafe { uvsim_raw_call_on(argument, ask, ptr::without_provenance_mut(top)) };
    } else {
        if !thread.begin_consultation(stack.max(argument.addr()), None) {
            return None;
        }
        // SAFETY: as above, on this stack.
        unsafe { ask(argument) };
    }
    thread.end_consultation();
    Some(consultation.verdict)
}

fn holds(stack: &stack_t, address: usize) -> bool {
    stack.ss_flags & libc::SS_DISABLE == 0 && address.wrapping_sub(stack.ss_sp.addr()) < stack.ss_size
}

/// Asks the host. Has nothing to drop, for the host may leave by a jump.
unsafe extern "C" fn ask(argument: *mut c_void) {
    // SAFETY: `consult` passes a consultation that outlives this call.
    let consultation = unsafe { &mut *argument.cast::<Consultation>() };
    if consultation.alternate.is_some() {
        switch_alternate_stack(&stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 });
    }
    let Callback { function, user } = consultation.callback;
    // SAFETY: the host has vouched for the function when it gave it, and for what it makes of its own pointer.
    consultation.verdict = unsafe { function(ptr::with_exposed_provenance_mut(user), &raw const consultation.fault) };
    if let Some(alternate) = &consultation.alternate {
        switch_alternate_stack(alternate);
    }
}

/// Switches the alternate stack of this thread, which does not run on it.
fn switch_alternate_stack(to: &stack_t) {
    // SAFETY: the memory of the stack is what the thread itself had set. A failure leaves things as they were.
    unsafe { libc::sigaltstack(to, ptr::null_mut()) };
}

/// Lets others run, for a millisecond at least.
fn wait() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // SAFETY: the time is there, and what is left of it is not asked for.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

fn yield_processor() {
    // SAFETY: this system call has no arguments.
    unsafe { libc::sched_yield() };
}
