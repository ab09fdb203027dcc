//! What the comparison finds, and when.

use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::address::VirtualAddress;
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::Uvc;
use uvsim_model::uvc::Command;
use uvsim_oracle::ids::FrameNumber;
use uvsim_verify::{Ending, SideBySide, What};

fn watched() -> (Machine, Arc<SideBySide>) {
    let mut machine = Machine::new(MachineConfig { storage: 16 << 20, ..MachineConfig::default() }).unwrap();
    let side = SideBySide::watch(&mut machine);
    (machine, side)
}

/// QUI with a block at 0x1000, and so many loads.
fn query(machine: &Machine, loads: u64) {
    let mut cpu = machine.cpu(0).unwrap();
    cpu.store(VirtualAddress(0x1000), &[1, 0x20, 0, 1]).unwrap();
    cpu.uvc(Uvc::at(VirtualAddress(0x1000))).unwrap();
    for _ in 0..loads {
        cpu.load(VirtualAddress(0x1000), &mut [0; 8]).unwrap();
    }
}

#[test]
fn both_agree_and_what_was_met_is_counted() {
    let (machine, side) = watched();
    query(&machine, 3);
    assert_eq!(side.finish(&machine), None);
    // Start, store, call, three loads, stop.
    assert_eq!(side.statistics().steps, 7);
    let coverage = side.coverage();
    let met = |what, ending| coverage.0.keys().any(|covered| (covered.what, covered.ending) == (what, ending));
    assert!(met(What::HostCall(Some(Command::QueryUvInformation)), Ending::Condition(0, 1, 0)), "{coverage:?}");
    assert!(met(What::Host("load"), Ending::Done));
    let mut all = coverage.clone();
    assert!(!all.merge(&coverage), "nothing is new");
}

#[test]
fn a_difference_in_what_a_step_yields_is_found_with_it() {
    let (machine, side) = watched();
    query(&machine, 0);
    side.assume(|state| drop(state.storage.insert(FrameNumber(1), Arc::new([7; 4096]))));
    query(&machine, 1);
    let difference = side.difference().expect("the block is another one");
    assert_eq!((difference.step, difference.equal_since), (6, 5));
    assert_eq!(difference.parts[0].path[..2], ["storage", "frame 0x1"]);
}

#[test]
fn a_difference_that_no_step_meets_is_found_by_a_look_at_everything() {
    let (machine, side) = watched();
    query(&machine, 0);
    side.assume(|state| drop(state.storage.insert(FrameNumber(0x123), Arc::new([7; 4096]))));
    query(&machine, 200);
    let difference = side.difference().expect("a frame is another one");
    assert!(difference.equal_since + 1 < difference.step, "{difference}");
    assert_eq!(difference.parts[0].path[..2], ["storage", "frame 0x123"]);
    assert_eq!(difference.parts[0].model, format!("{}… (4096 bytes)", "00".repeat(16)));
    let steps = side.statistics().steps;
    query(&machine, 5);
    assert_eq!(side.statistics().steps, steps, "nothing is compared any more");
    assert_eq!(side.finish(&machine), Some(difference));
}

#[test]
fn the_oracle_goes_back_with_the_machine() {
    let (machine, side) = watched();
    let mut cpu = machine.cpu(0).unwrap();
    let at = VirtualAddress(0x5000);
    cpu.store_u64(at, 1).unwrap();
    assert!(cpu.restore().is_err());
    cpu.snapshot().unwrap();
    for value in 2..4 {
        cpu.store_u64(at, value).unwrap();
        let other = machine.cpu(1).unwrap();
        assert!(cpu.restore().is_err() && cpu.snapshot().is_err());
        drop(other);
        cpu.restore().unwrap();
        assert_eq!(cpu.load_u64(at), Ok(1));
    }
    assert_eq!(side.finish(&machine), None);
    let met = |name| side.coverage().0.keys().filter(|covered| covered.what == What::Host(name)).count();
    assert_eq!((met("snapshot"), met("restore")), (2, 2), "done, and impossible");
}

#[test]
fn a_machine_that_goes_back_to_something_else_is_found_out_at_once() {
    let (machine, side) = watched();
    let mut cpu = machine.cpu(0).unwrap();
    cpu.snapshot().unwrap();
    // The oracle now believes that the snapshot was taken later.
    cpu.store_u64(VirtualAddress(0x5000), 2).unwrap();
    side.remember();
    cpu.restore().unwrap();
    let difference = side.difference().expect("the store is undone");
    assert_eq!(difference.what, "Host(0, Restore)");
    assert_eq!(difference.parts[0].path[..2], ["storage", "frame 0x5"]);
}
