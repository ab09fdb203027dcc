//! A guest CPU behind the C interface, and its twin.

use super::machine::Machine;
use super::{equal, interface};
use model::address::GuestAddress;
use model::cpu::{Diagnose, GuestEvent, ServiceCall, SieExit, Sigp, Uvc};
use model::uvc::ConditionCode;
use model::{GuestRegisters, Psw};

/// Of the same shape as the guest CPU of the model.
#[derive(Debug)]
pub struct GuestCpu<'c, 'm> {
    pub(super) machine: &'m Machine,
    pub(super) through_c: &'c mut interface::Cpu,
    pub(super) twin: model::cpu::GuestCpu<'c, 'm>,
    /// The exit with which it has left by itself.
    pub(super) left: Option<SieExit>,
}

/// Acts that both CPUs do alike.
macro_rules! acts {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl GuestCpu<'_, '_> {
            $(
                #[track_caller]
                pub fn $name(&mut self, $($argument: $type),*) -> $result {
                    let through_c = self.through_c.guest().$name($($argument),*);
                    let done = equal(stringify!($name), through_c, self.twin.$name($($argument),*));
                    self.machine.settle(stringify!($name));
                    self.note(&done);
                    done
                }
            )*
        }
    };
}

acts! {
    diagnose(diagnose: Diagnose) -> Result<(), GuestEvent>;
    load_control(number: u8, value: u64) -> Result<(), GuestEvent>;
    load_psw(psw: Psw) -> Result<(), GuestEvent>;
    service_call(call: ServiceCall) -> Result<(), GuestEvent>;
    set_prefix(prefix: u64) -> Result<(), GuestEvent>;
    sigp(sigp: Sigp) -> Result<(), GuestEvent>;
    store(address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent>;
    uvc(instruction: Uvc) -> Result<ConditionCode, GuestEvent>;
}

impl GuestCpu<'_, '_> {
    #[track_caller]
    pub fn load(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        let mut direct = bytes.to_vec();
        let done = self.through_c.guest().load(address, bytes);
        let (done, _) = equal("guest load", (done, &*bytes), (self.twin.load(address, &mut direct), &*direct));
        self.note(&done);
        done
    }

    pub fn set_access(&mut self, number: u8, value: u32) {
        self.through_c.guest().set_access(number, value);
        self.twin.set_access(number, value);
    }

    pub fn set_general(&mut self, number: u8, value: u64) {
        self.through_c.guest().set_general(number, value);
        self.twin.set_general(number, value);
    }

    pub fn set_problem_state(&mut self, on: bool) {
        self.through_c.guest().set_problem_state(on);
        self.twin.set_problem_state(on);
    }

    fn note<T>(&mut self, done: &Result<T, GuestEvent>) {
        if let Err(GuestEvent::Exit(exit)) = done {
            self.left = Some(*exit);
        }
    }

    #[track_caller]
    pub fn registers(&self) -> GuestRegisters {
        equal("guest registers", self.through_c.guest_registers(), self.twin.registers())
    }

    #[track_caller]
    pub fn psw(&self) -> Psw {
        equal("psw", self.through_c.guest_registers().psw, self.twin.psw())
    }
}

impl Drop for GuestCpu<'_, '_> {
    fn drop(&mut self) {
        let left = self.through_c.leave();
        if !std::thread::panicking() {
            equal("leave", left, self.left);
        }
    }
}
