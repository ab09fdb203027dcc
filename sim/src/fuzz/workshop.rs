//! Setups made ready: keys and images cost far more than a run, and many cases have the same.

use super::case::{BUFFERS, Case, LoadContent, LoadSetup, Setup};
use super::text::GUESTS;
use crate::image::SeImage;
use crate::run::image_of;
use crate::scenario::{Guest, Load, LoadData, Place, Scenario, Statement};
use std::path::PathBuf;
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::address::MEBIBYTE;
use uvsim_model::config::{ConfigError, MachineConfig};
use uvsim_model::crypto::HostKeys;

/// So many keys and images are kept.
const KEPT: usize = 64;

/// Keys and images that were made before.
#[derive(Debug, Default)]
pub(super) struct Workshop {
    keys: Vec<(u64, HostKeys)>,
    images: Vec<(ImageOrder, Arc<SeImage>)>,
}

/// What an image depends on: the machine's seed, the number of the guest, and its loads.
type ImageOrder = (u64, usize, Vec<LoadSetup>);

impl Workshop {
    /// The scenario that a case is, but for its statements, and its machine.
    ///
    /// # Errors
    /// No machine can be built; settled cases have none of these errors.
    pub(super) fn prepare(&mut self, case: &Case) -> Result<(Scenario, Machine), ConfigError> {
        let config = self.config(&case.setup);
        let machine = Machine::new(config.clone())?;
        let mut scenario = Scenario {
            path: PathBuf::from("case"),
            text: Arc::from(""),
            name: String::new(),
            place: PLACE(),
            version: 1,
            about: None,
            source: None,
            machine: config,
            guests: guests(&case.setup),
            steps: Vec::new(),
            buffers: (0..BUFFERS).map(|number| format!("b{number}")).collect(),
        };
        for (number, guest) in scenario.guests.iter_mut().enumerate() {
            guest.image = Some(self.image(&machine, case, number, guest));
        }
        Ok((scenario, machine))
    }

    fn config(&mut self, setup: &Setup) -> MachineConfig {
        let mut config = MachineConfig {
            storage: setup.storage * MEBIBYTE,
            cpus: setup.cpus,
            seed: setup.seed,
            generation: setup.generation,
            cipher: setup.cipher,
            change_detection: setup.change_detection,
            feature_misc: setup.misc,
            without: setup.without.clone(),
            strict_tweaks: setup.strict_tweaks,
            ..MachineConfig::default()
        };
        let keys = match self.keys.iter().find(|(seed, _)| *seed == setup.seed) {
            Some((_, keys)) => keys.clone(),
            None => {
                let keys = config.host_keys();
                keep(&mut self.keys, (setup.seed, keys.clone()));
                keys
            }
        };
        (config.host_key, config.backup_host_key) = (Some(keys.host), Some(keys.backup));
        config
    }

    fn image(&mut self, machine: &Machine, case: &Case, number: usize, guest: &Guest) -> Arc<SeImage> {
        let order = (case.setup.seed, number, &case.setup.guests[number].loads);
        let known = |((seed, guest, loads), _): &&(ImageOrder, Arc<SeImage>)| (*seed, *guest, loads) == order;
        if let Some((_, image)) = self.images.iter().find(known) {
            return Arc::clone(image);
        }
        let image = Arc::new(image_of(machine, number, guest));
        keep(&mut self.images, ((order.0, order.1, order.2.clone()), Arc::clone(&image)));
        image
    }
}

/// Adds one, and forgets the oldest if there are many.
fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() >= KEPT {
        all.remove(0);
    }
    all.push(one);
}

/// Nothing stands anywhere.
const PLACE: fn() -> Place = || Place { line: 1, column: 1, span: (0, 0).into() };

/// The statements of a case, as the runner takes them.
pub(super) fn statements(case: &Case) -> Vec<Statement> {
    let statement = |deed: &super::case::Deed| Statement {
        place: PLACE(),
        text: String::new(),
        cpu: deed.cpu,
        expectation: crate::scenario::Expectation::default(),
        verb: deed.verb.clone(),
    };
    case.statements.iter().map(statement).collect()
}

fn guests(setup: &Setup) -> Vec<Guest> {
    let load = |load: &LoadSetup| Load {
        place: PLACE(),
        address: load.address,
        data: match &load.data {
            LoadContent::Bytes(bytes) => LoadData::Bytes(bytes.clone()),
            LoadContent::Random(length) => LoadData::Random(*length),
        },
    };
    let guest = |(name, guest): (&&str, &super::case::GuestSetup)| Guest {
        place: PLACE(),
        name: (*name).to_owned(),
        memory: guest.memory * MEBIBYTE,
        vcpus: guest.vcpus,
        state: guest.state,
        loads: guest.loads.iter().map(load).collect(),
        image: None,
        domain: None,
        devices: None,
    };
    GUESTS.iter().zip(&setup.guests).map(guest).collect()
}
