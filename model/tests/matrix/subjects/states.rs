//! States of CPUs, and the reset protocol.

use super::{HANDLE, Part, Stage, Subject, by_host, cause, field, nothing, pages};
use crate::cause::both;
use crate::support::DONE;
use uvsim_model::address::PageIndex;
use uvsim_model::uvc::Command;

#[test]
fn cpu_set_state() {
    by_host(&Subject {
        command: Command::CpuSetState,
        scene: |stage| {
            stage.start();
            let guest = stage.guest.clone();
            assert_eq!(stage.host.set_state(&guest, 2), DONE);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.cpu), (0x27, 1, 5)],
        machine: |_| {},
        finish: nothing,
        causes: vec![
            field!("value", 0x27, 1, 0),
            field!("value", 0x27, 1, 4),
            field!("value", 0x27, 1, 6),
            cause("in-sie", &[Part::Sie, Part::Cpus, Part::Field(0x27)], |stage| {
                operate(stage);
                stage.set(0x27, 1, 2);
                stage.around.in_sie = true;
            }),
            // A load, which stands at 5; the CPU is not stopped then.
            both("in-sie", "not-stopped", &[Part::Sie, Part::Cpus], |stage| {
                operate(stage);
                stage.around.in_sie = true;
            }),
            both("value", "in-sie", &[Part::Sie, Part::Field(0x27)], |stage| {
                operate(stage);
                stage.set(0x27, 1, 4);
                stage.around.in_sie = true;
            }),
            both("value", "unverified", &[Part::Boot, Part::Field(0x27)], |stage| {
                unverified(stage);
                stage.set(0x27, 1, 4);
            }),
            cause("unverified", &[Part::Boot, Part::Sie], unverified),
            both("unverified", "not-stopped", &[Part::Boot, Part::Cpus], |stage| {
                unverified(stage);
                operate(stage);
                let handle = stage.guest.cpu;
                stage.set(HANDLE, 8, handle);
            }),
            cause("reset-pending", &[Part::Cpus], pending),
            both("unverified", "reset-pending", &[Part::Boot, Part::Cpus], |stage| {
                unverified(stage);
                pending(stage);
            }),
            both("reset-pending", "not-stopped", &[Part::Cpus], |stage| {
                pending(stage);
                operate(stage);
            }),
            cause("not-stopped", &[Part::Cpus], operate),
            cause("not-stopped", &[Part::Cpus], |stage| {
                let guest = stage.guest.clone();
                assert_eq!(stage.host.set_state(&guest, 3), DONE);
            }),
        ],
    });
}

fn operate(stage: &mut Stage<'_>) {
    let guest = stage.guest.clone();
    assert_eq!(stage.host.set_state(&guest, 1), DONE);
}

/// Begins a reset, for which the CPU is not yet reset.
fn pending(stage: &mut Stage<'_>) {
    let guest = stage.guest.clone();
    assert_eq!(stage.host.unshare_all(&guest), DONE);
    assert_eq!(stage.host.call(Command::PrepareReset, &[(HANDLE, 8, guest.handle)]), DONE);
}

/// The CPU of a guest that has no image.
fn unverified(stage: &mut Stage<'_>) {
    stage.guest = stage.host.create(1);
    let handle = stage.guest.cpu;
    stage.set(HANDLE, 8, handle);
}

#[test]
fn set_unshared_all() {
    by_host(&Subject {
        command: Command::SetUnsharedAll,
        scene: |stage| {
            stage.start();
            let guest = stage.guest.clone();
            stage.frame = stage.host.shared(&guest, PageIndex(3), b"open");
            assert_eq!(stage.host.set_state(&guest, 2), DONE);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle)],
        machine: |_| {},
        finish: nothing,
        causes: vec![
            pages::block(),
            cause("cpus", &[Part::Cpus], operate),
            cause("cpus", &[Part::Cpus, Part::Sie], |stage| {
                operate(stage);
                stage.around.in_sie = true;
            }),
        ],
    });
}

#[test]
fn cpu_resets() {
    for command in [Command::CpuReset, Command::CpuResetInitial, Command::CpuResetClear] {
        by_host(&Subject {
            command,
            scene: |stage| {
                stage.start();
                let guest = stage.guest.clone();
                assert_eq!(stage.host.set_state(&guest, 2), DONE);
            },
            fields: |stage| vec![(HANDLE, 8, stage.guest.cpu)],
            machine: |_| {},
            finish: nothing,
            causes: vec![
                // A CPU in SIE operates.
                cause("in-sie", &[Part::Sie, Part::Cpus], |stage| {
                    operate(stage);
                    stage.around.in_sie = true;
                }),
                both("in-sie", "not-stopped", &[Part::Sie, Part::Cpus], |stage| {
                    operate(stage);
                    stage.around.in_sie = true;
                }),
                cause("not-stopped", &[Part::Cpus], operate),
                cause("not-stopped", &[Part::Cpus], |stage| {
                    let guest = stage.guest.clone();
                    assert_eq!(stage.host.set_state(&guest, 3), DONE);
                }),
            ],
        });
    }
}

#[test]
fn prepare_reset() {
    by_host(&Subject {
        command: Command::PrepareReset,
        scene: |stage| {
            stage.start();
            let guest = stage.guest.clone();
            assert_eq!(stage.host.set_state(&guest, 2), DONE);
            assert_eq!(stage.host.unshare_all(&guest), DONE);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle)],
        machine: |_| {},
        finish: nothing,
        causes: vec![
            // A CPU that operates undoes what SET_UNSHARED_ALL counted for.
            cause("cpus", &[Part::Cpus], operate),
            both("cpus", "not-unshared", &[Part::Cpus], operate),
            cause("not-unshared", &[Part::Cpus], |stage| {
                operate(stage);
                let guest = stage.guest.clone();
                assert_eq!(stage.host.set_state(&guest, 2), DONE);
            }),
        ],
    });
}
