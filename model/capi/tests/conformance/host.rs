//! A host CPU behind the C interface, and its twin.

use super::guest::GuestCpu;
use super::machine::Machine;
use super::{equal, interface};
use model::address::{AbsoluteAddress, VirtualAddress};
use model::cpu::{Registers, SieExit, Uvc};
use model::storage::{Asce, ProgramInterruption};
use model::uvc::ConditionCode;
use model::{CpuError, OthersOperate, Reset};

/// Of the same shape as the host CPU of the model.
#[derive(Debug)]
pub struct HostCpu<'m> {
    pub(super) machine: &'m Machine,
    pub(super) through_c: interface::Cpu,
    pub(super) twin: model::cpu::HostCpu<'m>,
    /// Calls so far, so that raw mode can have its blocks in turn here and there.
    pub(super) calls: u64,
}

/// Acts that both CPUs do alike.
macro_rules! acts {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl HostCpu<'_> {
            $(
                #[track_caller]
                pub fn $name(&mut self, $($argument: $type),*) -> $result {
                    let through_c = self.through_c.$name($($argument),*);
                    let done = equal(stringify!($name), through_c, self.twin.$name($($argument),*));
                    self.machine.settle(stringify!($name));
                    done
                }
            )*
        }
    };
}

acts! {
    idte_region(table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption>;
    idte_segment(table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption>;
    idte_space(asce: Asce) -> Result<(), ProgramInterruption>;
    ipte(table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption>;
    ptlb() -> Result<(), ProgramInterruption>;
    reset_machine(reset: Reset) -> Result<(), OthersOperate>;
    set_home(asce: Asce) -> ();
    set_prefix(prefix: u64) -> Result<(), ProgramInterruption>;
    set_primary(asce: Asce) -> ();
    set_problem_state(on: bool) -> ();
    set_translation(on: bool) -> ();
    translate(address: VirtualAddress) -> Result<AbsoluteAddress, ProgramInterruption>;
}

impl<'m> HostCpu<'m> {
    pub(super) fn start(machine: &'m Machine, number: u16) -> Result<Self, CpuError> {
        let (through_c, twin) = (machine.through_c.cpu(number), machine.twin.cpu(number));
        assert_eq!(through_c.is_ok(), twin.is_ok(), "CPU {number} starts on both machines, or on neither");
        let twin = twin?;
        Ok(Self { machine, through_c: through_c.expect("as its twin"), twin, calls: 0 })
    }

    pub fn machine(&self) -> &'m Machine {
        self.machine
    }

    #[track_caller]
    pub fn registers(&self) -> Registers {
        equal("registers", self.through_c.registers(), self.twin.registers())
    }

    #[track_caller]
    pub fn load(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        let mut direct = bytes.to_vec();
        let done = match self.pointer(address, bytes.len() as u64) {
            Some(pointer) => self.load_plainly(pointer, bytes),
            None => self.through_c.load(address, bytes),
        };
        equal("load", (done, &*bytes), (self.twin.load(address, &mut direct), &*direct)).0
    }

    #[track_caller]
    pub fn store(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        let done = match self.pointer(address, bytes.len() as u64) {
            Some(pointer) => self.store_plainly(pointer, bytes),
            None => self.through_c.store(address, bytes),
        };
        equal("store", done, self.twin.store(address, bytes))
    }

    #[track_caller]
    pub fn load_u64(&mut self, address: VirtualAddress) -> Result<u64, ProgramInterruption> {
        let done = match self.pointer(address, 8) {
            Some(pointer) => {
                let mut bytes = [0; 8];
                self.load_plainly(pointer, &mut bytes).map(|()| u64::from_be_bytes(bytes))
            }
            None => self.through_c.load_u64(address),
        };
        equal("load of a doubleword", done, self.twin.load_u64(address))
    }

    #[track_caller]
    pub fn store_u64(&mut self, address: VirtualAddress, value: u64) -> Result<(), ProgramInterruption> {
        let done = match self.pointer(address, 8) {
            Some(pointer) => self.store_plainly(pointer, &value.to_be_bytes()),
            None => self.through_c.store_u64(address, value),
        };
        equal("store of a doubleword", done, self.twin.store_u64(address, value))
    }

    /// No data access: there is no plain pointer for it.
    #[track_caller]
    pub fn fetch_instruction(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        let mut direct = bytes.to_vec();
        let done = self.through_c.fetch_instruction(address, bytes);
        equal("fetch", (done, &*bytes), (self.twin.fetch_instruction(address, &mut direct), &*direct)).0
    }

    #[track_caller]
    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, ProgramInterruption> {
        let through_c = match self.operands(instruction) {
            Some(operands) => self.uvc_native(instruction, operands),
            None => self.through_c.uvc(instruction),
        };
        let done = equal("uvc", through_c, self.twin.uvc(instruction));
        self.machine.settle("uvc");
        done
    }

    #[track_caller]
    pub fn enter(&mut self, description: VirtualAddress) -> Result<GuestCpu<'_, 'm>, SieExit> {
        let (machine, through_c) = (self.machine, self.through_c.enter(description));
        let direct = self.twin.enter(description);
        let entered = equal("enter", through_c, direct.as_ref().map(drop).map_err(|exit| *exit));
        machine.settle("enter");
        match direct {
            Ok(twin) => Ok(GuestCpu { machine, through_c: &mut self.through_c, twin, left: None }),
            Err(exit) => entered.map_or(Err(exit), |()| unreachable!("both are equal")),
        }
    }
}
