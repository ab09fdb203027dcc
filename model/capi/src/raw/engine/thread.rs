//! What raw mode keeps for each thread. Handlers read and write it, so it needs no construction and no
//! destruction: cells of plain values.

use super::copy::Stop;
use crate::raw::uvsim_landing;
use core::cell::Cell;
use core::ptr;
use libc::stack_t;

/// A callback may touch secure frames itself, so that it is asked again before it has returned; up to this often.
const NESTED: usize = 8;

/// A callback that runs.
#[derive(Clone, Copy, Debug)]
struct Consulting {
    /// All of its frames lie below.
    stack: usize,
    /// The alternate stack that is switched off for that time.
    alternate: Option<stack_t>,
}

/// Of this thread.
#[derive(Debug)]
pub(super) struct Thread {
    /// Code of the library runs: it must be neither called again by a handler nor left by a jump.
    pub(super) inside: Cell<bool>,
    /// The newest landing.
    pub(super) top: Cell<*mut uvsim_landing>,
    /// Landings from this one on are out of reach: frames of the library lie in between.
    pub(super) floor: Cell<*mut uvsim_landing>,
    /// Callbacks that run, the oldest first.
    consultations: [Cell<Consulting>; NESTED],
    depth: Cell<usize>,
    /// Why the latest copy stopped.
    pub(super) stop: Cell<Stop>,
    /// The latest access that was sent back to try again although its frame was open, and how often.
    repeated: Cell<(usize, usize, u32)>,
    /// CPUs that this thread operates, as pairs of handles: machine, CPU. More than these are not told to callbacks.
    cpus: [Cell<(u64, u64)>; 8],
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            inside: Cell::new(false),
            top: Cell::new(ptr::null_mut()),
            floor: Cell::new(ptr::null_mut()),
            consultations: [const { Cell::new(Consulting { stack: 0, alternate: None }) }; NESTED],
            depth: Cell::new(0),
            stop: Cell::new(Stop::BadPointer),
            repeated: Cell::new((0, 0, 0)),
            cpus: [const { Cell::new((0, 0)) }; 8],
        }
    };
}

impl Thread {
    /// Looks at the calling thread's.
    pub(super) fn with<R>(look: impl FnOnce(&Self) -> R) -> R {
        THREAD.with(look)
    }

    /// The host's callback is about to run on the stack below `stack`. `false` if too many run already.
    pub(super) fn begin_consultation(&self, stack: usize, alternate: Option<stack_t>) -> bool {
        let Some(entry) = self.consultations.get(self.depth.get()) else { return false };
        entry.set(Consulting { stack, alternate });
        self.depth.set(self.depth.get() + 1);
        true
    }

    /// The newest callback has returned.
    pub(super) fn end_consultation(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    /// Host code runs at `stack`, or is about to: callbacks that ran below have been left by a jump. Returns the alternate
    /// stack that the thread had when the oldest of them was asked, if it was switched off for them.
    pub(super) fn abandon_consultations(&self, stack: usize) -> Option<stack_t> {
        let mut alternate = None;
        while let Some(newest) = self.depth.get().checked_sub(1).and_then(|newest| self.consultations.get(newest))
            && newest.get().stack <= stack
        {
            alternate = newest.get().alternate.or(alternate);
            self.end_consultation();
        }
        alternate
    }

    /// Counts how often the same instruction came back with the same address.
    pub(super) fn repeats(&self, pc: usize, address: usize) -> u32 {
        let (last_pc, last_address, count) = self.repeated.get();
        let count = if (last_pc, last_address) == (pc, address) { count.saturating_add(1) } else { 0 };
        self.repeated.set((pc, address, count));
        count
    }

    /// The next access that comes back begins to count anew.
    pub(super) fn forget_repeats(&self) {
        self.repeated.set((0, 0, 0));
    }

    /// The CPU of a machine that this thread operates, or 0.
    pub(super) fn cpu(&self, machine: u64) -> u64 {
        self.cpus.iter().map(Cell::get).find(|&(of, cpu)| of == machine && cpu != 0).map_or(0, |(_, cpu)| cpu)
    }
}

/// Tells that this thread has started a CPU.
pub(crate) fn cpu_started(machine: u64, cpu: u64) {
    Thread::with(|thread| {
        if let Some(free) = thread.cpus.iter().find(|entry| entry.get().1 == 0) {
            free.set((machine, cpu));
        }
    });
}

/// Tells that this thread has stopped a CPU.
pub(crate) fn cpu_stopped(cpu: u64) {
    Thread::with(|thread| {
        thread.cpus.iter().filter(|entry| entry.get().1 == cpu).for_each(|entry| entry.set((0, 0)));
    });
}

/// Code of the library runs on this thread until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Inside {
    before: bool,
}

/// The library begins to work for the host.
pub(crate) fn inside() -> Inside {
    Inside { before: Thread::with(|thread| thread.inside.replace(true)) }
}

impl Drop for Inside {
    fn drop(&mut self) {
        Thread::with(|thread| thread.inside.set(self.before));
    }
}

/// Code of the host runs on this thread, above frames of the library, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Outside {
    inside: bool,
    floor: *mut uvsim_landing,
}

/// The library calls the host, with frames below that nothing may jump over: landings from before are out of reach.
pub(crate) fn outside() -> Outside {
    Thread::with(|thread| Outside {
        inside: thread.inside.replace(false),
        floor: thread.floor.replace(thread.top.get()),
    })
}

impl Drop for Outside {
    fn drop(&mut self) {
        Thread::with(|thread| {
            thread.inside.set(self.inside);
            thread.floor.set(self.floor);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_its_cpus() {
        let cpu = |machine| Thread::with(|thread| thread.cpu(machine));
        cpu_started(7, 70);
        cpu_started(8, 80);
        assert_eq!([cpu(7), cpu(8), cpu(9), cpu(0)], [70, 80, 0, 0]);
        cpu_stopped(70);
        assert_eq!([cpu(7), cpu(8)], [0, 80]);
        (0..100).for_each(|number| cpu_started(9, 90 + number));
        assert_eq!(cpu(9), 90);
        (0..200).for_each(cpu_stopped);
        cpu_started(7, 71);
        assert_eq!(cpu(7), 71);
    }

    #[test]
    fn callbacks_that_never_return_are_forgotten() {
        let stack = |ss_size| Some(stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size });
        let size = |found: Option<stack_t>| found.map(|stack| stack.ss_size);
        Thread::with(|thread| {
            assert!(thread.begin_consultation(900, stack(1)) && thread.begin_consultation(800, stack(2)));
            assert_eq!(size(thread.abandon_consultations(799)), None);
            assert!(thread.begin_consultation(700, None));
            assert_eq!((size(thread.abandon_consultations(850)), thread.depth.get()), (Some(2), 1));
            assert_eq!((size(thread.abandon_consultations(900)), thread.depth.get()), (Some(1), 0));
            assert_eq!((size(thread.abandon_consultations(900)), thread.depth.get()), (None, 0));
            let begun = (0..100).filter(|at| thread.begin_consultation(1000 - at, None)).count();
            assert_eq!(begun, NESTED);
            assert!(thread.abandon_consultations(2000).is_none() && thread.depth.get() == 0);
            thread.end_consultation();
            assert_eq!(thread.depth.get(), 0);
        });
    }

    #[test]
    fn only_the_same_access_counts() {
        Thread::with(|thread| {
            assert_eq!(
                [(1, 2), (1, 2), (1, 2), (1, 3), (1, 2)].map(|(pc, at)| thread.repeats(pc, at)),
                [0, 1, 2, 0, 0]
            );
            thread.repeats(1, 2);
            thread.forget_repeats();
            assert_eq!(thread.repeats(1, 2), 0);
        });
    }
}
