//! One host, several threads: each lane has a kernel of its own with its own CPU, and they share what the host knows.
//!
//! # Order of locks
//!
//! Whoever holds one of these takes only later ones:
//!
//! 1. a vCPU, for as long as it runs or a statement acts by it: one at a time;
//! 2. records of guests, ascending;
//! 3. home space;
//! 4. frames;
//! 5. the trail of a lane, and whatever the machine locks.
//!
//! While a guest runs, only its vCPU is held.

use super::configuration::GuestRecord;
use super::frames::Frames;
use super::space::Home;
use super::trail::{self, Trail};
use super::{Kernel, Stop};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;
use uvsim_model::Machine;
use uvsim_model::address::AbsoluteAddress;
use uvsim_model::cpu::{GuestCpu, SieExit};

/// What the kernels of a host share while its lanes run on threads.
#[derive(Debug)]
pub(crate) struct Crew<'m> {
    machine: &'m Machine,
    frames: Arc<Mutex<Frames>>,
    home: Arc<Mutex<Home>>,
    trail: Arc<Trail>,
    blocks: Vec<AbsoluteAddress>,
    lowcores: Vec<AbsoluteAddress>,
    deadline: Option<Instant>,
    guests: Vec<SharedGuest>,
}

/// A guest among threads.
#[derive(Debug)]
struct SharedGuest {
    /// Who runs a vCPU holds its lock. The machine allows no vCPU in SIE twice.
    vcpus: Box<[Mutex<()>]>,
    /// What the kernel knows of it. Whoever does something to the guest takes it into a kernel meanwhile.
    record: Mutex<GuestRecord>,
}

impl<'m> Kernel<'m> {
    /// Stops all CPUs and leaves the guests to a crew. Until [`Kernel::rejoin`] this kernel knows none of them.
    pub(crate) fn split(&mut self) -> Crew<'m> {
        self.cpus.fill_with(|| None);
        let shared = |record: &mut GuestRecord| SharedGuest {
            vcpus: (0..record.plan.vcpus.max(1)).map(|_| Mutex::new(())).collect(),
            record: Mutex::new(std::mem::take(record)),
        };
        Crew {
            machine: self.machine,
            frames: Arc::clone(&self.frames),
            home: Arc::clone(&self.home),
            trail: Arc::clone(&self.trail),
            blocks: self.blocks.clone(),
            lowcores: self.lowcores.clone(),
            deadline: self.deadline,
            guests: self.guests.iter_mut().map(shared).collect(),
        }
    }

    /// Takes the guests back. All kernels of the crew are gone.
    pub(crate) fn rejoin(&mut self, crew: Crew<'m>) {
        self.guests = crew.guests.into_iter().map(|guest| guest.record.into_inner()).collect();
    }
}

impl<'m> Crew<'m> {
    /// The kernel of a lane, for the calling thread.
    ///
    /// # Errors
    /// The CPU of the lane operates already: an error of this program.
    pub(crate) fn kernel(&self, lane: u16) -> Result<Kernel<'m>, Stop> {
        trail::act_for(lane);
        let mut kernel = Kernel {
            machine: self.machine,
            cpus: self.blocks.iter().map(|_| None).collect(),
            frames: Arc::clone(&self.frames),
            home: Arc::clone(&self.home),
            blocks: self.blocks.clone(),
            lowcores: self.lowcores.clone(),
            guests: self.guests.iter().map(|_| GuestRecord::default()).collect(),
            watch: false,
            deadline: self.deadline,
            serving: Some(lane),
            alone: true,
            spare: Vec::new(),
            changed: None,
            rule: "",
            trail: Arc::clone(&self.trail),
        };
        kernel.start_cpu(lane)?;
        Ok(kernel)
    }

    /// Does something to guests, which are named ascending. Nobody else does anything to them meanwhile.
    pub(crate) fn hold<A: Operates, R>(&self, actor: &mut A, guests: &[usize], act: impl FnOnce(&mut A) -> R) -> R {
        debug_assert!(guests.is_sorted_by(|left, right| left < right), "the order of locks");
        let mut records: Vec<_> = guests.iter().map(|&guest| (guest, self.guests[guest].record.lock())).collect();
        exchange(actor, &mut records);
        let held = Held { actor, records };
        act(held.actor)
    }

    /// The same, by a vCPU of a guest.
    pub(crate) fn hold_vcpu<A: Operates, R>(
        &self,
        actor: &mut A,
        (guest, vcpu): (usize, u16),
        guests: &[usize],
        act: impl FnOnce(&mut A) -> R,
    ) -> R {
        let _turn = self.vcpu(guest, vcpu);
        self.hold(actor, guests, act)
    }

    /// vCPU 0 of a guest runs; others may do something to the guest meanwhile.
    ///
    /// # Errors
    /// It cannot be entered.
    pub(crate) fn run<R>(
        &self,
        kernel: &mut Kernel<'m>,
        guest: usize,
        act: impl FnOnce(&mut GuestCpu<'_, 'm>) -> R,
    ) -> Result<R, SieExit> {
        let _turn = self.vcpu(guest, 0);
        let entrance = self.hold(kernel, &[guest], |kernel| kernel.entrance(guest, 0))?;
        Ok(act(&mut kernel.pass(0, entrance)?))
    }

    /// The number of guests.
    pub(crate) fn guests(&self) -> usize {
        self.guests.len()
    }

    fn vcpu(&self, guest: usize, vcpu: u16) -> MutexGuard<'_, ()> {
        let vcpus = &self.guests[guest].vcpus;
        vcpus[usize::from(vcpu) % vcpus.len()].lock()
    }
}

impl Drop for Kernel<'_> {
    /// Frames that a lane has kept for itself are everybody's again.
    fn drop(&mut self) {
        let mut frames = self.frames.lock();
        self.spare.drain(..).for_each(|frame| frames.release(self.machine, frame));
    }
}

/// Records in a kernel; they go back when this is dropped, in a panic as well.
struct Held<'c, 'a, A: Operates> {
    actor: &'a mut A,
    records: Vec<(usize, MutexGuard<'c, GuestRecord>)>,
}

impl<A: Operates> Drop for Held<'_, '_, A> {
    fn drop(&mut self) {
        exchange(self.actor, &mut self.records);
    }
}

fn exchange(actor: &mut impl Operates, records: &mut [(usize, MutexGuard<'_, GuestRecord>)]) {
    actor.with_kernel(&mut |kernel| {
        for (guest, record) in &mut *records {
            std::mem::swap(&mut kernel.guests[*guest], &mut **record);
        }
    });
}

/// Whoever has a kernel of a crew.
pub(crate) trait Operates {
    /// Does something with it.
    fn with_kernel(&mut self, act: &mut dyn FnMut(&mut Kernel<'_>));
}

impl Operates for Kernel<'_> {
    fn with_kernel(&mut self, act: &mut dyn FnMut(&mut Kernel<'_>)) {
        act(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::boot;
    use crate::scenario::Scenario;
    use std::path::Path;

    /// A kernel with two guests, of which the second has been given page 3.
    fn with_kernel(act: impl FnOnce(&mut Kernel<'_>)) {
        let text = "scenario s\nguest a memory=\"1MiB\"\nguest b memory=\"1MiB\"\nstep s { check invariants; }";
        let scenario = Scenario::parse(Path::new("s.kdl"), text).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(mut kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        kernel.bring_in(0, 1, 3).unwrap();
        act(&mut kernel);
    }

    #[test]
    fn guests_come_and_go() {
        with_kernel(|kernel| {
            let frame = kernel.mapped(1, 3);
            assert!(frame.is_some());
            let crew = kernel.split();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut lane = crew.kernel(1).unwrap();
                    assert_eq!(lane.mapped(1, 3), None, "it is held by nobody");
                    assert_eq!(crew.hold(&mut lane, &[1], |lane| lane.mapped(1, 3)), frame);
                    crew.hold(&mut lane, &[0, 1], |lane| lane.page_out(1, 1, 3)).unwrap();
                    assert_eq!(lane.mapped(1, 3), None);
                });
            });
            assert_eq!(kernel.handle(1), 0);
            kernel.rejoin(crew);
            assert_ne!(kernel.handle(1), 0);
            kernel.page_in(0, 1, 3).unwrap();
            assert!(kernel.machine().check_invariants().is_ok());
        });
    }

    #[test]
    fn frames_that_a_lane_keeps_are_free_again() {
        with_kernel(|kernel| {
            let total = |kernel: &Kernel<'_>| kernel.frames.lock().total();
            let before = total(kernel);
            let crew = kernel.split();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut lane = crew.kernel(0).unwrap();
                    for page in 20..40 {
                        crew.hold(&mut lane, &[1], |lane| lane.bring_in(0, 1, page)).unwrap();
                        assert!(total(&lane) < before - 20, "it has taken a batch");
                    }
                    for page in 20..40 {
                        crew.hold(&mut lane, &[1], |lane| lane.page_out(0, 1, page)).unwrap();
                    }
                });
            });
            kernel.rejoin(crew);
            assert_eq!(total(kernel), before);
        });
    }

    #[test]
    fn a_panic_leaves_no_lock_and_no_guest_behind() {
        with_kernel(|kernel| {
            let handle = kernel.handle(1);
            let crew = kernel.split();
            let ended = std::thread::scope(|scope| {
                let panics = scope.spawn(|| {
                    let mut lane = crew.kernel(0).unwrap();
                    crew.hold_vcpu(&mut lane, (1, 0), &[0, 1], |_| panic!("on purpose"));
                });
                panics.join()
            });
            assert!(ended.is_err());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut lane = crew.kernel(0).unwrap();
                    assert_eq!(crew.hold_vcpu(&mut lane, (1, 0), &[0, 1], |lane| lane.handle(1)), handle);
                });
            });
            kernel.rejoin(crew);
            assert_eq!(kernel.handle(1), handle);
        });
    }
}
