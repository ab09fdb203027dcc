//! Import, export, DESTR_SEC_STOR, pins.

use super::{END, HANDLE, PAGE, Part, Stage, Subject, by_host, cause, field, nothing, outside};
use crate::cause::{Cause, both};
use crate::support::DONE;
use uvsim_model::address::{AbsoluteAddress, PageIndex};
use uvsim_model::config::{ChangeDetection, Generation};
use uvsim_model::crypto::Counter;
use uvsim_model::uvc::Command;

const GADDR: Part = Part::Field(0x20);
/// The frame that is named must be the one that is spoilt.
const NAMED: Part = Part::Field(0x18);

/// The page is not mapped, or mapped for reading only.
pub(super) fn unmapped() -> [Cause; 2] {
    [
        cause("unmapped", &[Part::Protection], |stage| {
            let (guest, frame) = (stage.guest.clone(), stage.frame.address().0);
            stage.host.unmap(&guest, PAGE);
            stage.host.store_u64(guest.tables[0] + PAGE.0 * 8, frame | 0x200);
        }),
        cause("unmapped", &[Part::Protection, Part::Frame], |stage| stage.host.unmap(&stage.guest.clone(), PAGE)),
    ]
}

/// The block lies in the frame.
pub(super) fn block() -> Cause {
    cause("block", &[Part::Inside, Part::Access], |stage| stage.around.inside = Some(stage.frame.address().0))
}

/// A frame that another configuration shares: taken only on a machine without "misc".
pub(super) fn shared_frame() -> Cause {
    cause("shared-frame", &[Part::Frame], |stage| {
        let other = stage.other();
        let frame = stage.host.shared(&other, PAGE, b"theirs");
        stage.map(frame);
    })
    .on(|config| config.feature_misc = Some(false))
}

/// Frames that somebody has, with the check that tells whose they are.
pub(super) fn taken_frames() -> Vec<Cause> {
    vec![
        cause("donated", &[Part::Frame, Part::Access], |stage| {
            let frame = AbsoluteAddress(stage.guest.base).frame();
            stage.map(frame);
        }),
        cause("own-frame", &[Part::Frame, Part::Access], |stage| {
            let guest = stage.guest.clone();
            let frame = stage.host.resident(&guest, PageIndex(4));
            stage.map(frame);
        }),
        cause("foreign-frame", &[Part::Frame, Part::Access], |stage| {
            let other = stage.other();
            let frame = stage.host.resident(&other, PAGE);
            stage.map(frame);
        }),
        cause("foreign-frame", &[Part::Frame], |stage| {
            let other = stage.other();
            let frame = stage.host.shared(&other, PAGE, b"theirs");
            assert_eq!(stage.host.pin(frame), DONE);
            stage.map(frame);
        }),
        cause("orphan", &[Part::Frame, Part::Access], |stage| {
            let frame = stage.ended(false);
            stage.map(frame);
        }),
    ]
}

#[test]
fn import() {
    let mut causes = vec![
        field!("range", 0x20, 8, 1 << 20),
        field!("range", 0x20, 8, u64::MAX),
        block(),
        shared_frame(),
        cause("already", &[Part::Record, Part::Frame, Part::Access], |stage| {
            assert_eq!(stage.host.import(&stage.guest.clone(), PAGE), DONE);
        }),
        cause("already", &[Part::Record, Part::Frame], |stage| {
            shared(stage);
        }),
        cause("own-frame", &[Part::Frame, Part::Cpus], |stage| {
            let guest = stage.guest.clone();
            stage.host.boot(&guest);
            let frame = stage.host.shared(&guest, PageIndex(4), b"ours");
            stage.map(frame);
        }),
        cause("elsewhere", &[Part::Record], |stage| {
            let guest = stage.guest.clone();
            stage.host.resident(&guest, PAGE);
            stage.map(stage.frame);
        }),
        cause("elsewhere", &[Part::Record, Part::Cpus], |stage| {
            let frame = stage.host.frame();
            shared(stage);
            stage.map(frame);
        }),
        cause("destroyed", &[Part::Record, Part::Cpus], destroyed),
        cause("integrity", &[Part::Record], forged),
    ];
    causes.extend(unmapped());
    causes.extend(taken_frames());
    by_host(&Subject {
        command: Command::ConvToSecStor,
        scene: |stage| {
            stage.create();
            stage.map(stage.frame);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle), (0x20, 8, PAGE.0 * 4096)],
        machine: |_| {},
        finish: nothing,
        causes,
    });
}

/// Starts the guest and makes its page shared, in the frame that the call is about.
fn shared(stage: &mut Stage<'_>) {
    let guest = stage.guest.clone();
    stage.host.boot(&guest);
    assert_eq!(stage.host.import(&guest, PAGE), DONE);
    assert_eq!(stage.host.share(&guest, PAGE), Ok(DONE));
}

/// The page was destroyed in a frame that is now free.
pub(super) fn destroyed(stage: &mut Stage<'_>) {
    let guest = stage.guest.clone();
    let frame = stage.host.resident(&guest, PAGE);
    assert_eq!(stage.host.destroy_cpu(&guest), DONE);
    assert_eq!(stage.host.destroy(frame), DONE);
    stage.map(stage.frame);
}

/// The page was exported, and the frame holds other bytes.
pub(super) fn forged(stage: &mut Stage<'_>) {
    let guest = stage.guest.clone();
    let frame = stage.host.resident(&guest, PAGE);
    assert_eq!(stage.host.export(frame), DONE);
    stage.map(stage.frame);
}

/// A field that names a frame which some step makes.
macro_rules! named {
    ($check:literal, $make:expr) => {
        cause($check, &[Part::Field(0x18), Part::Objects], |stage| {
            let make: fn(&mut Stage<'_>) -> u64 = $make;
            let address = make(stage);
            stage.set(0x18, 8, address);
        })
    };
}

fn page_by_frame(command: Command, scene: fn(&mut Stage<'_>), causes: Vec<Cause>) -> Subject {
    let fields = |stage: &Stage<'_>| vec![(0x18, 8, stage.frame.address().0)];
    Subject { command, scene, fields, machine: |_| {}, finish: nothing, causes }
}

fn resident(stage: &mut Stage<'_>) {
    stage.create();
    stage.map(stage.frame);
    assert_eq!(stage.host.import(&stage.guest.clone(), PAGE), DONE);
}

#[test]
fn export() {
    let mut causes = vec![
        cause("non-secure", &[Part::Field(0x18)], |stage| {
            let frame = stage.host.frame();
            stage.set(0x18, 8, frame.address().0);
        }),
        named!("donated", |stage| stage.guest.variable),
        cause("counter", &[NAMED, Part::Record], |stage| {
            assert!(stage.host.machine().preset_counter(stage.guest.handle, PAGE, Counter::MAX));
        })
        .on(|config| config.change_detection = ChangeDetection::Always),
    ];
    causes.extend(outside());
    by_host(&page_by_frame(Command::ConvFromSecStor, resident, causes));
}

#[test]
fn destroy() {
    let scene = |stage: &mut Stage<'_>| {
        resident(stage);
        assert_eq!(stage.host.destroy_cpu(&stage.guest.clone()), DONE);
    };
    let mut causes = vec![
        cause("non-secure-z15", &[Part::Field(0x18)], |stage| {
            let frame = stage.host.frame();
            stage.set(0x18, 8, frame.address().0);
        })
        .on(|config| config.generation = Generation::Z15),
        cause("non-secure", &[Part::Field(0x18)], |stage| {
            let frame = stage.host.frame();
            stage.set(0x18, 8, frame.address().0);
        }),
        named!("donated", |stage| stage.guest.base),
        cause("cpus", &[NAMED, Part::Cpus], |stage| stage.host.create_cpu(&mut stage.guest)),
    ];
    causes.extend(outside());
    by_host(&page_by_frame(Command::DestrSecStor, scene, causes));
}

fn open(stage: &mut Stage<'_>) {
    stage.create();
    stage.map(stage.frame);
    shared(stage);
}

#[test]
fn pin() {
    let mut causes = vec![
        cause("already", &[NAMED, Part::Record, Part::Installed], |stage| {
            assert_eq!(stage.host.pin(stage.frame), DONE)
        }),
        cause("not-shared", &[Part::Field(0x18)], |stage| {
            let frame = stage.host.frame();
            stage.set(0x18, 8, frame.address().0);
        }),
        named!("not-shared", |stage| stage.guest.base),
        named!("not-shared", |stage| stage.ended(false).address().0),
        cause("not-shared", &[NAMED, Part::Record], |stage| {
            assert_eq!(stage.host.unshare(&stage.guest.clone(), PAGE), Ok(DONE));
        }),
        named!("discarded", |stage| stage.ended(true).address().0),
    ];
    causes.extend(outside());
    by_host(&page_by_frame(Command::PinPageShared, open, causes));
}

#[test]
fn unpin() {
    let mut causes = vec![
        cause("range", &[GADDR], |stage| stage.set(0x20, 8, 1 << 20)),
        cause("range", &[GADDR], |stage| stage.set(0x20, 8, END)),
        cause("not-pinned", &[Part::Record, Part::Installed], |stage| {
            assert_eq!(stage.host.unpin(&stage.guest.clone(), PAGE), DONE);
        }),
        cause("elsewhere", &[Part::Frame], |stage| {
            let frame = stage.host.frame();
            stage.map(frame);
        }),
        // What is exported takes its pin along (D24).
        both("not-pinned", "elsewhere", &[Part::Record, Part::Frame], |stage| {
            assert_eq!(stage.host.export(stage.frame), DONE);
            let frame = stage.host.frame();
            stage.map(frame);
        }),
    ];
    causes.extend(unmapped());
    by_host(&Subject {
        command: Command::UnpinPageShared,
        scene: |stage| {
            open(stage);
            assert_eq!(stage.host.pin(stage.frame), DONE);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle), (0x20, 8, PAGE.0 * 4096)],
        machine: |_| {},
        finish: nothing,
        causes,
    });
}
