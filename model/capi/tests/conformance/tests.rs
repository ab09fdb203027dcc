//! The comparison can fail: whatever only one of the two machines does is found.

use super::machine::Machine;
use model::Injection;
use model::address::VirtualAddress;
use model::config::MachineConfig;
use model::cpu::Uvc;
use model::uvc::Command;

const BLOCK: VirtualAddress = VirtualAddress(0x1_0000);

fn machine() -> Machine {
    Machine::new(MachineConfig::default()).unwrap()
}

#[test]
#[should_panic(expected = "the states differ")]
fn a_store_of_one_machine_is_found_at_the_end() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.through_c.store_u64(BLOCK, 1).unwrap();
    drop(cpu);
    drop(machine);
}

#[test]
#[should_panic(expected = "load of a doubleword")]
fn what_is_loaded_is_compared() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.twin.store_u64(BLOCK, 1).unwrap();
    let _ = cpu.load_u64(BLOCK);
}

#[test]
#[should_panic(expected = "uvc")]
fn condition_codes_are_compared() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.store_u64(BLOCK, 0x0120_0001_0000_0000).unwrap();
    machine.twin.inject(Command::QueryUvInformation, Injection::Busy(1));
    let _ = cpu.uvc(Uvc::at(BLOCK));
}

#[test]
#[should_panic(expected = "the end")]
fn events_of_one_machine_are_found() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.store_u64(BLOCK, 0x0020_4242_0000_0000).unwrap();
    // Both machines end up alike, but only one of them has answered twice.
    for _ in 0..2 {
        cpu.through_c.uvc(Uvc::at(BLOCK)).unwrap();
    }
    cpu.twin.uvc(Uvc::at(BLOCK)).unwrap();
    drop(cpu);
    drop(machine);
}

#[test]
#[should_panic(expected = "registers")]
fn registers_are_compared() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.through_c.set_problem_state(true);
    let _ = cpu.registers();
}
