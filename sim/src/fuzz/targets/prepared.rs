//! Scenarios with their keys and images made: they cost far more than a run, and many inputs have the same. A run does
//! the same without.

use crate::image::SeImage;
use crate::run::image_of;
use crate::scenario::{LoadData, Scenario};
use std::cell::RefCell;
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::crypto::HostKeys;

/// So many of a kind are kept.
const KEPT: usize = 64;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

#[derive(Default)]
struct Known {
    keys: Vec<(u64, HostKeys)>,
    images: Vec<(Order, Arc<SeImage>)>,
}

/// What an image depends on: the seed, the number of the guest, its loads.
type Order = (u64, usize, Vec<(u64, LoadData)>);

/// Fills in what the scenario would otherwise make anew in each run.
pub(super) fn prepare(scenario: &mut Scenario) {
    if scenario.machine.host_key.is_some() || scenario.machine.backup_host_key.is_some() {
        return;
    }
    // Taken out, so that a panic leaves nothing broken behind.
    let mut known = KNOWN.take();
    let seed = scenario.machine.seed;
    let keys = match known.keys.iter().find(|(of, _)| *of == seed) {
        Some((_, keys)) => keys.clone(),
        None => {
            let keys = scenario.machine.host_keys();
            keep(&mut known.keys, (seed, keys.clone()));
            keys
        }
    };
    (scenario.machine.host_key, scenario.machine.backup_host_key) = (Some(keys.host), Some(keys.backup));
    // A machine that cannot be is told by the run.
    if let Ok(machine) = Machine::new(scenario.machine.clone()) {
        for (number, guest) in scenario.guests.iter_mut().enumerate().filter(|(_, guest)| guest.image.is_none()) {
            let loads = guest.loads.iter().map(|load| (load.address, load.data.clone())).collect();
            let order: Order = (seed, number, loads);
            let image = match known.images.iter().find(|(of, _)| *of == order) {
                Some((_, image)) => Arc::clone(image),
                None => {
                    let image = Arc::new(image_of(&machine, number, guest));
                    keep(&mut known.images, (order, Arc::clone(&image)));
                    image
                }
            };
            guest.image = Some(image);
        }
    }
    KNOWN.set(known);
}

/// Adds one, and forgets the oldest if there are many.
fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() >= KEPT {
        all.remove(0);
    }
    all.push(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Options, json::Json, run_scenario};
    use std::path::Path;

    #[test]
    fn a_prepared_run_tells_the_same() {
        const TEXT: &str = "scenario s\nmachine { seed 9; }\nguest a memory=\"1MiB\" { load 0x3000 random=5000; }\n\
            guest b memory=\"1MiB\"\nstep t { host read a:3 len=9; host page-out a:3; guest read a:3 len=9 save=x; check invariants; }\n";
        let plain = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let told = |scenario: &Scenario| {
            let mut out = Vec::new();
            run_scenario(scenario, Options { go_on: true, ..Options::default() }, &mut Json::new(&mut out));
            String::from_utf8(out).unwrap()
        };
        let mut prepared = plain.clone();
        prepare(&mut prepared);
        assert!(prepared.guests.iter().all(|guest| guest.image.is_some()));
        assert_eq!(told(&prepared), told(&plain));
        let mut again = plain.clone();
        prepare(&mut again);
        assert_eq!(again.guests[0].image, prepared.guests[0].image);
    }
}
