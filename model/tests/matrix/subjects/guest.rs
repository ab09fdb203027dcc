//! What a guest asks for its own pages.

use super::{PAGE, Part, Stage, Subject, cause, conduct, field, nothing};
use crate::cause::Cause;
use crate::support::DONE;
use uvsim_model::uvc::{Command, Issuer};

fn of_guest(command: Command, scene: fn(&mut Stage<'_>), own: Vec<Cause>) {
    let mut causes = vec![
        field!("range", 0x20, 8, 1 << 20),
        field!("range", 0x20, 8, u64::MAX),
        cause("page-access", &[Part::Record, Part::Frame], |stage| {
            assert_eq!(stage.host.export(stage.frame), DONE);
        }),
        cause("page-access", &[Part::Frame], |stage| stage.host.unmap(&stage.guest.clone(), PAGE)),
        cause("page-access", &[Part::Frame], |stage| {
            let other = stage.other();
            let frame = stage.host.resident(&other, PAGE);
            stage.map(frame);
        }),
    ];
    causes.extend(own);
    let fields = |_: &Stage<'_>| vec![(0x20, 8, PAGE.0 * 4096)];
    conduct(&Subject { command, scene, fields, machine: |_| {}, finish: nothing, causes }, Issuer::Guest);
}

fn resident(stage: &mut Stage<'_>) {
    stage.start();
    stage.map(stage.frame);
    assert_eq!(stage.host.import(&stage.guest.clone(), PAGE), DONE);
}

fn share(stage: &mut Stage<'_>) {
    assert_eq!(stage.host.share(&stage.guest.clone(), PAGE), Ok(DONE));
}

#[test]
fn set_shared_access() {
    let own = vec![
        cause("already", &[Part::Record, Part::Installed], share),
        cause("already", &[Part::Record, Part::Installed], |stage| {
            share(stage);
            assert_eq!(stage.host.pin(stage.frame), DONE);
        }),
    ];
    of_guest(Command::SetSharedAccess, resident, own);
}

#[test]
fn remove_shared_access() {
    let own = vec![
        cause("pinned", &[Part::Record], |stage| assert_eq!(stage.host.pin(stage.frame), DONE)),
        cause("already", &[Part::Record, Part::Installed], |stage| {
            assert_eq!(stage.host.unshare(&stage.guest.clone(), PAGE), Ok(DONE));
        }),
    ];
    let scene = |stage: &mut Stage<'_>| {
        resident(stage);
        share(stage);
    };
    of_guest(Command::RemoveSharedAccess, scene, own);
}
