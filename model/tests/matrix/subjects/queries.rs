//! QUI, QUERY_KEYS, INIT_UV.

use super::{Part, Subject, by_host, cause, conduct, field, nothing};
use crate::cause::both;
use crate::stage::{END, Stage};
use crate::support::{DONE, UV_BASE};
use uvsim_model::UV_BASE_LENGTH;
use uvsim_model::config::Generation;
use uvsim_model::uvc::{Command, Issuer};

fn query(command: Command, scene: fn(&mut Stage<'_>)) -> Subject {
    let causes = match command {
        Command::QueryUvInformation => vec![
            cause("short", &[Part::Length], |stage| stage.around.length = Some(0x118)),
            cause("short", &[Part::Length], |stage| stage.around.length = Some(0xa8)),
        ],
        _ => Vec::new(),
    };
    let machine = |config: &mut uvsim_model::config::MachineConfig| config.generation = Generation::Z17;
    Subject { command, scene, fields: |_| Vec::new(), machine, finish: nothing, causes }
}

#[test]
fn queries_of_a_host() {
    by_host(&query(Command::QueryUvInformation, nothing));
    by_host(&query(Command::QueryKeys, nothing));
}

#[test]
fn queries_of_a_guest() {
    conduct(&query(Command::QueryUvInformation, |stage| stage.start()), Issuer::Guest);
    conduct(&query(Command::QueryKeys, |stage| stage.start()), Issuer::Guest);
}

#[test]
fn init() {
    by_host(&Subject {
        command: Command::InitUv,
        scene: nothing,
        fields: |_| vec![(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)],
        machine: |_| {},
        finish: nothing,
        causes: vec![
            cause("initialised", &[Part::Installed, Part::Inside], |stage| {
                if !stage.host.machine().is_initialised() {
                    assert_eq!(stage.host.init(), DONE);
                }
            }),
            field!("length-field", 0x20, 8, UV_BASE_LENGTH - 8),
            field!("length-field", 0x20, 8, 0),
            field!("origin", 0x18, 8, END),
            field!("origin", 0x18, 8, u64::MAX),
            field!("end", 0x18, 8, END - (1 << 20)),
            field!("low", 0x18, 8, 1 << 30),
            field!("low", 0x18, 8, 0),
            cause("others-operate", &[Part::OtherCpus], |stage| stage.around.other_cpu = true),
            cause("block", &[Part::Inside], |stage| stage.around.inside = Some(UV_BASE)),
            // The area below 2 GiB, with the block in it.
            both("low", "block", &[Part::Field(0x18), Part::Inside], |stage| {
                stage.set(0x18, 8, 1 << 30);
                stage.around.inside = Some(1 << 30);
            }),
        ],
    });
}
