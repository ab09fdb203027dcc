//! The comparison can fail: whatever only one of the two machines does is found.

use super::Mode;
use super::machine::Machine;
use super::raw::SIMULATED;
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

/// What `SIMULATED` lists, as far as a CPU decides it, and nothing else.
#[test]
fn raw_mode_is_for_what_means_the_same_with_pointers() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    let raw = crate::MODE == Mode::Raw;
    let size = machine.twin.storage_size();
    assert_eq!(SIMULATED.len(), 8);
    assert_eq!(cpu.pointer(VirtualAddress(size - 8), 8).is_some(), raw);
    assert_eq!(cpu.pointer(VirtualAddress(size - 8), 9), None, "beyond storage");
    assert_eq!(cpu.pointer(VirtualAddress(u64::MAX), 8), None, "beyond storage");
    for (command, native) in [(Command::CreateSecConf, false), (Command::InitUv, true), (Command::QueryKeys, true)] {
        cpu.store_u64(BLOCK, u64::from(command.usual_length()) << 48 | u64::from(command.code()) << 32).unwrap();
        assert_eq!(cpu.operands(Uvc::at(BLOCK)).is_some(), raw && native, "{command:?}");
    }
    cpu.set_prefix(0x2000).unwrap();
    assert_eq!(cpu.pointer(BLOCK, 8), None, "a prefix");
    cpu.set_prefix(0).unwrap();
    cpu.set_translation(true);
    assert_eq!(cpu.pointer(BLOCK, 8), None, "translation on");
}

/// A call that refuses its block, with both kinds of access to it: the pointer in a TEID is an address again.
#[test]
fn a_secure_frame_faults_in_every_mode() {
    let machine = machine();
    let mut cpu = machine.cpu(0).unwrap();
    let base = VirtualAddress(2 << 30);
    cpu.store(BLOCK, &[[0, 0x48, 0, 0xf].as_slice(), &[0; 0x44]].concat()).unwrap();
    cpu.store_u64(VirtualAddress(BLOCK.0 + 0x18), base.0).unwrap();
    cpu.store_u64(VirtualAddress(BLOCK.0 + 0x20), model::UV_BASE_LENGTH).unwrap();
    assert_eq!(cpu.uvc(Uvc::at(BLOCK)).unwrap() as u8, 0);
    let before = machine.through_c.faults();
    assert_eq!(cpu.load_u64(base).unwrap_err().teid.address(), base.0);
    assert_eq!(cpu.store_u64(base, 1).unwrap_err().teid.address(), base.0);
    assert_eq!(machine.through_c.faults() - before, if crate::MODE == Mode::Raw { 2 } else { 0 });
    for _ in 0..2 {
        assert_eq!(cpu.uvc(Uvc::at(base)).unwrap_err().teid.address(), base.0);
    }
}
