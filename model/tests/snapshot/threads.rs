//! First stores to a frame after a snapshot, from several threads at once.

use crate::support::{DONE, Host, config};
use std::sync::Barrier;
use std::thread;
use uvsim_model::Machine;
use uvsim_model::address::{PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::HostCpu;
use uvsim_model::uvc::Command;

const FRAMES: u64 = 8;
const AT: u64 = 0x40_0000;
const ROUNDS: u64 = 300;

/// Each CPU stores to its own half of every frame, word by word; whoever is first keeps the frame.
#[test]
fn two_cpus_store_to_a_frame_for_the_first_time_at_once() {
    let machine = Machine::new(MachineConfig { cpus: 3, storage: 16 << 20, ..config() }).unwrap();
    let pattern: Vec<u8> = (0..FRAMES * 4096).map(|at| (at * 31 % 251) as u8).collect();
    let mut cpu = machine.cpu(0).unwrap();
    // Half of the frames have never held anything.
    let half = pattern.len() / 2;
    cpu.store(VirtualAddress(AT), &pattern[..half]).unwrap();
    cpu.snapshot().unwrap();
    let before = machine.state_digest(None);
    let barrier = Barrier::new(2);
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            for number in [1, 2] {
                let (machine, barrier) = (&machine, &barrier);
                scope.spawn(move || {
                    let mut cpu = machine.cpu(number).unwrap();
                    barrier.wait();
                    for frame in 0..FRAMES {
                        let at = AT + frame * 4096 + u64::from(number - 1) * 2048;
                        // From both ends, so that the first stores hit different words.
                        for word in [255, 0, 128] {
                            cpu.store_u64(VirtualAddress(at + word * 8), round << 8 | u64::from(number)).unwrap();
                        }
                    }
                });
            }
        });
        for number in [1, 2] {
            let mine = AT + (number - 1) * 2048;
            assert_eq!(cpu.load_u64(VirtualAddress(mine)), Ok(round << 8 | number), "a store is lost");
        }
        cpu.restore().unwrap();
        let mut found = vec![0; pattern.len()];
        cpu.load(VirtualAddress(AT), &mut found).unwrap();
        assert_eq!(found[..half], pattern[..half], "round {round}");
        assert!(found[half..].iter().all(|&byte| byte == 0), "round {round}");
        assert_eq!(machine.state_digest(None), before, "round {round}");
    }
}

/// A host stores to a shared page, for the first time since the snapshot, while a call gives the frame another state.
#[test]
fn a_store_and_a_call_come_to_a_frame_at_once() {
    let machine = Machine::new(MachineConfig { cpus: 3, ..config() }).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let pages: Vec<_> = (3..3 + FRAMES).map(PageIndex).collect();
    let frames: Vec<_> = pages.iter().map(|&page| host.resident(&guest, page)).collect();
    for &page in &pages {
        host.guest_store(&guest, page.0 * 4096, &[page.0 as u8; 4096]).unwrap();
        assert_eq!(host.share(&guest, page), Ok(DONE));
    }
    // Blocks of the other CPU, one per frame.
    for (&frame, block) in frames.iter().zip((0x2_0000..).step_by(0x100)) {
        let command = Command::PinPageShared;
        host.block(block, command.code(), command.usual_length(), &[(0x18, 8, frame.address().0)]);
    }
    host.cpu.snapshot().unwrap();
    let before = machine.state_digest(None);
    let barrier = Barrier::new(2);
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            let (machine, barrier, frames) = (&machine, &barrier, &frames);
            scope.spawn(move || {
                let mut cpu = machine.cpu(1).unwrap();
                barrier.wait();
                for frame in frames {
                    cpu.store_u64(VirtualAddress(frame.address().0 + 8), round).unwrap();
                }
            });
            scope.spawn(move || {
                let mut cpu: HostCpu<'_> = machine.cpu(2).unwrap();
                barrier.wait();
                for block in (0x2_0000..).step_by(0x100).take(frames.len()) {
                    cpu.uvc(uvsim_model::cpu::Uvc::at(VirtualAddress(block))).unwrap();
                }
            });
        });
        host.cpu.restore().unwrap();
        assert_eq!(machine.state_digest(None), before, "round {round}");
        machine.check_invariants().unwrap();
    }
}
