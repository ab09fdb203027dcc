//! CREATE_SEC_CONF, CREATE_SEC_CPU and the commands that end what they make.

use super::{END, HANDLE, Part, Stage, Subject, by_host, cause, field, nothing};
use crate::cause::{Cause, both};
use crate::support::{DONE, Host, UV_BASE};
use uvsim_model::address::{AbsoluteAddress, PageIndex};
use uvsim_model::uvc::Command;
use uvsim_model::{Injection, MAX_GUEST_ADDRESS};

const BASE: Part = Part::Field(0x20);
const VARIABLE: Part = Part::Field(0x28);

/// Makes a frame of another guest's page out of one that was free.
fn take(stage: &mut Stage<'_>, frame: u64) {
    let (other, frame) = (stage.other(), AbsoluteAddress(frame).frame());
    // A page of its own for each frame.
    let page = PageIndex(0x20 + frame.0 % 0x80);
    stage.host.map(&other, page, frame);
    assert_eq!(stage.host.import(&other, page), DONE);
}

#[test]
fn create_sec_conf() {
    let mut causes = shape();
    causes.extend(base_area());
    causes.extend(variable_area());
    causes.extend([
        field!("sca-zero", 0x48, 8, 0),
        field!("sca-zero", 0x48, 8, 0x3f),
        field!("sca", 0x48, 8, END),
        cause("sca", &[Part::Field(0x48)], |stage| stage.set(0x48, 8, stage.guest.base)),
        cause("sca", &[Part::Field(0x48)], |stage| stage.set(0x48, 8, stage.guest.variable + 0x1000)),
        cause("sca", &[Part::Field(0x48), Part::Objects], |stage| stage.set(0x48, 8, UV_BASE)),
        cause("late-failure", &[], |stage| stage.around.inject.push(Injection::LateFailure)),
    ]);
    by_host(&Subject {
        command: Command::CreateSecConf,
        scene: nothing,
        fields: |stage| Host::create_fields(&stage.guest),
        machine: |_| {},
        finish: nothing,
        causes,
    });
}

fn shape() -> Vec<Cause> {
    vec![
        field!("mso", 0x38, 8, MAX_GUEST_ADDRESS + (1 << 20)),
        field!("msl", 0x38, 8, MAX_GUEST_ADDRESS),
        field!("msl", 0x40, 8, MAX_GUEST_ADDRESS + (1 << 20)),
        cause("msl", &[Part::Field(0x38), Part::Field(0x40)], |stage| {
            stage.set(0x38, 8, MAX_GUEST_ADDRESS);
            stage.set(0x40, 8, MAX_GUEST_ADDRESS.wrapping_neg());
        }),
        both("mso", "mebibytes", &[Part::Field(0x38)], |stage| stage.set(0x38, 8, MAX_GUEST_ADDRESS + 8)),
        field!("mebibytes", 0x38, 8, 0x1000),
        field!("mebibytes", 0x40, 8, 0x1000),
        cause("mebibytes", &[Part::Field(0x38), Part::Field(0x40)], |stage| stage.set(0x40, 8, 0)),
        cause("asce-form", &[Part::Field(0x50)], |stage| stage.set(0x50, 8, stage.guest.asce.0 & !0x100)),
        cause("asce-form", &[Part::Field(0x50)], |stage| stage.set(0x50, 8, stage.guest.asce.0 | 0x20)),
        cause("asce-in-use", &[Part::Field(0x50), Part::Objects], |stage| {
            let asce = stage.other().asce.0;
            stage.set(0x50, 8, asce);
        }),
        both("asce-form", "asce-in-use", &[Part::Field(0x50), Part::Objects], |stage| {
            let asce = stage.other().asce.0;
            stage.set(0x50, 8, asce & !0x100);
        }),
    ]
}

fn base_area() -> Vec<Cause> {
    let inside = |stage: &mut Stage<'_>| stage.around.inside = Some(stage.guest.base);
    vec![
        field!("base-storage", 0x20, 8, END),
        field!("base-storage", 0x20, 8, END - 0xf000),
        both("base-storage", "base-alignment", &[BASE], |stage| stage.set(0x20, 8, END + 8)),
        // The first frame of an area that reaches beyond storage.
        both("base-storage", "base-block", &[BASE, Part::Inside], |stage| {
            stage.set(0x20, 8, END - 0xf000);
            stage.around.inside = Some(END - 0xf000);
        }),
        both("base-storage", "base-taken", &[BASE, Part::Area(0)], |stage| {
            stage.set(0x20, 8, END - 0xf000);
            take(stage, END - 0x1000);
        }),
        both("base-storage", "base-lowcore", &[BASE, Part::Prefix], |stage| {
            stage.set(0x20, 8, END - 0xe000);
            stage.host.cpu.set_prefix(END - 0xe000).expect("in storage");
        }),
        cause("base-block", &[BASE, Part::Inside], inside),
        // The variable area follows the base area, and the block lies across.
        both("base-block", "variable-block", &[BASE, VARIABLE, Part::Inside], |stage| {
            stage.around.inside = Some(stage.guest.base + 0xffc0);
        }),
        both("base-block", "base-taken", &[BASE, Part::Inside, Part::Area(0)], |stage| {
            stage.around.inside = Some(stage.guest.base);
            take(stage, stage.guest.base + 0xf000);
        }),
        both("base-block", "base-alignment", &[BASE, Part::Inside], |stage| {
            stage.around.inside = Some(stage.guest.base);
            stage.set(0x20, 8, stage.guest.base + 8);
        }),
        // The frame behind the area, which an unaligned one touches.
        both("base-block", "base-alignment", &[BASE, Part::Inside], |stage| {
            stage.around.inside = Some(stage.guest.base + 0x10000);
            stage.set(0x20, 8, stage.guest.base + 8);
        }),
        both("base-block", "base-lowcore", &[BASE, Part::Inside, Part::Prefix], |stage| {
            stage.around.inside = Some(stage.guest.base + 0x4000);
            stage.host.cpu.set_prefix(stage.guest.base).expect("in storage");
        }),
        cause("base-taken", &[BASE, Part::Objects], |stage| {
            let base = stage.other().base;
            stage.set(0x20, 8, base);
        }),
        cause("base-taken", &[BASE, Part::Area(0)], |stage| take(stage, stage.guest.base + 0xf000)),
        both("base-taken", "base-lowcore", &[BASE, Part::Area(0), Part::Prefix], |stage| {
            take(stage, stage.guest.base + 0xf000);
            stage.host.cpu.set_prefix(stage.guest.base).expect("in storage");
        }),
        both("base-taken", "base-alignment", &[BASE, Part::Objects], |stage| {
            let base = stage.other().base;
            stage.set(0x20, 8, base + 8);
        }),
        cause("base-alignment", &[BASE], |stage| stage.set(0x20, 8, stage.guest.base + 8)),
        both("base-alignment", "base-lowcore", &[BASE], |stage| stage.set(0x20, 8, 8)),
        field!("base-lowcore", 0x20, 8, 0),
        field!("base-lowcore", 0x20, 8, 0x1000),
        cause("base-lowcore", &[Part::Prefix, BASE], |stage| {
            stage.host.cpu.set_prefix(stage.guest.base).expect("in storage");
        }),
    ]
}

fn variable_area() -> Vec<Cause> {
    let window = [VARIABLE, Part::Home];
    let mut causes = vec![
        field!("variable-overflow", 0x28, 8, u64::MAX - 0xfff),
        // Nothing is there so far up.
        both("variable-overflow", "variable-storage", &[VARIABLE], |stage| stage.set(0x28, 8, u64::MAX - 0xfff)),
        both("variable-overflow", "variable-translation", &window, |stage| {
            stage.set(0x28, 8, u64::MAX - 0xfff);
            stage.use_home();
        }),
        both("variable-overflow", "variable-alignment", &[VARIABLE], |stage| stage.set(0x28, 8, u64::MAX - 7)),
        cause("variable-real-space", &[Part::Home], |stage| stage.around.real_space = true),
        cause("variable-translation", &window, |stage| {
            let at = stage.window(1, AbsoluteAddress(stage.guest.variable).frame());
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-translation", "variable-storage", &window, |stage| {
            stage.window(2, AbsoluteAddress(END).frame());
            let at = stage.window(0, AbsoluteAddress(stage.guest.variable).frame());
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-translation", "variable-alignment", &window, |stage| {
            let at = stage.window(0, AbsoluteAddress(stage.guest.variable).frame());
            stage.set(0x28, 8, at + 8);
            stage.use_home();
        }),
        both("variable-translation", "variable-lowcore", &window, |stage| {
            let at = stage.window(0, AbsoluteAddress(0).frame());
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-translation", "variable-overlap", &window, |stage| {
            stage.window(0, AbsoluteAddress(stage.guest.variable).frame());
            let at = stage.window(1, AbsoluteAddress(stage.guest.variable).frame());
            stage.set(0x28, 8, at - 0x1000);
            stage.use_home();
        }),
        both("variable-translation", "variable-block", &[VARIABLE, Part::Home, Part::Inside], |stage| {
            let at = stage.window(1, AbsoluteAddress(stage.guest.variable).frame());
            stage.around.inside = Some(stage.guest.variable);
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-translation", "variable-taken", &[VARIABLE, Part::Home, Part::Area(1)], |stage| {
            take(stage, stage.guest.variable);
            let at = stage.window(1, AbsoluteAddress(stage.guest.variable).frame());
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
    ];
    causes.extend(variable_frames());
    causes.extend(variable_places());
    causes
}

fn variable_frames() -> Vec<Cause> {
    vec![
        field!("variable-storage", 0x28, 8, END),
        field!("variable-storage", 0x28, 8, END - 0x1000),
        both("variable-storage", "variable-alignment", &[VARIABLE], |stage| stage.set(0x28, 8, END + 8)),
        both("variable-storage", "variable-lowcore", &[VARIABLE, Part::Prefix], |stage| {
            stage.set(0x28, 8, END - 0x2000);
            stage.host.cpu.set_prefix(END - 0x2000).expect("in storage");
        }),
        both("variable-storage", "variable-block", &[VARIABLE, Part::Inside], |stage| {
            stage.set(0x28, 8, END - 0x1000);
            stage.around.inside = Some(END - 0x1000);
        }),
        both("variable-storage", "variable-overlap", &[BASE, VARIABLE], |stage| {
            stage.set(0x20, 8, END - 0x10000);
            stage.set(0x28, 8, END - 0x10000);
        }),
        both("variable-storage", "variable-taken", &[VARIABLE, Part::Area(1)], |stage| {
            take(stage, END - 0x1000);
            stage.set(0x28, 8, END - 0x1000);
        }),
        cause("variable-alignment", &[VARIABLE], |stage| stage.set(0x28, 8, stage.guest.variable + 8)),
        both("variable-alignment", "variable-lowcore", &[VARIABLE], |stage| stage.set(0x28, 8, 8)),
        both("variable-alignment", "variable-overlap", &[VARIABLE], |stage| stage.set(0x28, 8, stage.guest.base + 8)),
        both("variable-alignment", "variable-block", &[VARIABLE, Part::Inside], |stage| {
            stage.around.inside = Some(stage.guest.variable + 0x1000);
            stage.set(0x28, 8, stage.guest.variable + 8);
        }),
        both("variable-alignment", "variable-taken", &[VARIABLE, Part::Area(1)], |stage| {
            take(stage, stage.guest.variable + 0x1000);
            stage.set(0x28, 8, stage.guest.variable + 8);
        }),
    ]
}

fn variable_places() -> Vec<Cause> {
    let inside = |stage: &mut Stage<'_>| stage.around.inside = Some(stage.guest.variable + 0x1000);
    vec![
        field!("variable-lowcore", 0x28, 8, 0),
        both("variable-lowcore", "variable-overlap", &[VARIABLE, Part::Home], |stage| {
            let mut at = 0;
            for page in (0..17).rev() {
                // Absolute 0 twice, then frames that are free.
                let address = if page < 2 { 0 } else { stage.guest.variable + page * 0x1000 };
                at = stage.window(page, AbsoluteAddress(address).frame());
            }
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-lowcore", "variable-block", &[VARIABLE, Part::Inside, Part::Prefix], |stage| {
            stage.around.inside = Some(stage.guest.variable + 0x4000);
            stage.host.cpu.set_prefix(stage.guest.variable).expect("in storage");
        }),
        both("variable-lowcore", "variable-taken", &[VARIABLE, Part::Area(1), Part::Prefix], |stage| {
            take(stage, stage.guest.variable + 0x4000);
            stage.host.cpu.set_prefix(stage.guest.variable).expect("in storage");
        }),
        cause("variable-lowcore", &[Part::Prefix, VARIABLE], |stage| {
            stage.host.cpu.set_prefix(stage.guest.variable).expect("in storage");
        }),
        cause("variable-overlap", &[VARIABLE], |stage| stage.set(0x28, 8, stage.guest.base)),
        cause("variable-overlap", &[VARIABLE, Part::Home], |stage| {
            let mut at = 0;
            for page in (0..17).rev() {
                // The last page is the first frame again.
                let frame = AbsoluteAddress(stage.guest.variable + page % 16 * 0x1000).frame();
                at = stage.window(page, frame);
            }
            stage.set(0x28, 8, at);
            stage.use_home();
        }),
        both("variable-overlap", "variable-block", &[VARIABLE, BASE, Part::Inside], |stage| {
            // Only the last page of it is not one of the base area.
            stage.around.inside = Some(stage.guest.base + 0x10000);
            stage.set(0x28, 8, stage.guest.base);
        }),
        both("variable-overlap", "variable-taken", &[VARIABLE, Part::Area(1)], |stage| {
            take(stage, stage.guest.base + 0x10000);
            stage.set(0x28, 8, stage.guest.base);
        }),
        cause("variable-block", &[VARIABLE, Part::Inside], inside),
        both("variable-block", "variable-taken", &[VARIABLE, Part::Inside, Part::Area(1)], |stage| {
            take(stage, stage.guest.variable + 0x10000);
            stage.around.inside = Some(stage.guest.variable);
        }),
        cause("variable-taken", &[VARIABLE, Part::Objects], |stage| {
            let variable = stage.other().variable;
            stage.set(0x28, 8, variable);
        }),
        cause("variable-taken", &[VARIABLE, Part::Area(1)], |stage| take(stage, stage.guest.variable + 0x10000)),
    ]
}

#[test]
fn destroy_sec_conf() {
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        by_host(&Subject {
            command,
            scene: |stage| {
                stage.create();
                let guest = stage.guest.clone();
                assert_eq!(stage.host.destroy_cpu(&guest), DONE);
            },
            fields: |stage| vec![(HANDLE, 8, stage.guest.handle)],
            machine: |_| {},
            finish: nothing,
            causes: vec![cause("cpus", &[Part::Cpus], |stage| stage.host.create_cpu(&mut stage.guest))],
        });
    }
}

const STORAGE: Part = Part::Field(0x28);

#[test]
fn create_sec_cpu() {
    by_host(&Subject {
        command: Command::CreateSecCpu,
        scene: |stage| {
            stage.create();
            stage.guest.cpu_storage = stage.host.allocate_aligned(0x2000, 0x2000);
            stage.guest.state_description = stage.host.allocate(0x1000);
        },
        fields: |stage| Host::cpu_fields(&stage.guest, 1),
        machine: |_| {},
        finish: nothing,
        causes: vec![
            field!("number", 0x36, 2, 257),
            field!("number", 0x36, 2, 0xffff),
            cause("defined", &[Part::Field(0x36), Part::Objects], |stage| stage.set(0x36, 2, 0)),
            field!("lowcore", 0x28, 8, 0),
            field!("lowcore", 0x28, 8, 0x1000),
            cause("lowcore", &[Part::Prefix, STORAGE], |stage| {
                stage.host.cpu.set_prefix(stage.guest.cpu_storage).expect("in storage");
            }),
            both("lowcore", "storage", &[STORAGE], |stage| stage.set(0x28, 8, 8)),
            field!("storage", 0x28, 8, END),
            cause("storage", &[STORAGE], |stage| stage.set(0x28, 8, stage.guest.cpu_storage + 8)),
            both("storage", "block", &[STORAGE, Part::Inside], |stage| {
                stage.around.inside = Some(stage.guest.cpu_storage);
                stage.set(0x28, 8, stage.guest.cpu_storage + 8);
            }),
            // With the prefix there, real 0 is the storage.
            both("lowcore", "block", &[STORAGE, Part::Inside, Part::Prefix], |stage| {
                stage.host.cpu.set_prefix(stage.guest.cpu_storage).expect("in storage");
                stage.around.inside = Some(0);
            }),
            both("lowcore", "taken", &[STORAGE, Part::Area(0), Part::Prefix], |stage| {
                take(stage, stage.guest.cpu_storage);
                stage.host.cpu.set_prefix(stage.guest.cpu_storage).expect("in storage");
            }),
            both("storage", "taken", &[STORAGE, Part::Objects], |stage| stage.set(0x28, 8, stage.guest.base + 8)),
            cause("block", &[STORAGE, Part::Inside, Part::Area(0)], |stage| {
                stage.around.inside = Some(stage.guest.cpu_storage);
            }),
            // A frame that is shared is not free either, but a host reaches it.
            both("block", "taken", &[STORAGE, Part::Inside, Part::Area(0)], |stage| {
                let other = stage.other();
                stage.guest.cpu_storage = stage.host.shared(&other, PageIndex(3), b"").address().0;
                stage.set(0x28, 8, stage.guest.cpu_storage);
                stage.around.inside = Some(stage.guest.cpu_storage);
            }),
            cause("taken", &[STORAGE, Part::Objects], |stage| stage.set(0x28, 8, stage.guest.base)),
            cause("taken", &[STORAGE, Part::Area(0)], |stage| take(stage, stage.guest.cpu_storage)),
            field!("state-description", 0x38, 8, END),
            field!("state-description", 0x38, 8, END - 0x100),
            cause("state-description", &[Part::Field(0x38)], |stage| stage.set(0x38, 8, stage.guest.cpu_storage)),
            cause("state-description", &[Part::Field(0x38)], |stage| {
                stage.set(0x38, 8, stage.guest.state_description + 8);
            }),
            cause("state-description", &[Part::Field(0x38), Part::Objects], |stage| stage.set(0x38, 8, UV_BASE)),
        ],
    });
}

#[test]
fn destroy_sec_cpu() {
    by_host(&Subject {
        command: Command::DestroySecCpu,
        scene: |stage| stage.create(),
        fields: |stage| vec![(HANDLE, 8, stage.guest.cpu)],
        machine: |_| {},
        finish: nothing,
        causes: vec![cause("in-sie", &[Part::Sie], |stage| {
            stage.host.boot(&stage.guest.clone());
            stage.around.in_sie = true;
        })],
    });
}
