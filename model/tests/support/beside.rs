//! A machine with its oracle beside it.

use core::ops::Deref;
use std::sync::Arc;
use uvsim_model::Machine;
use uvsim_model::config::MachineConfig;
use uvsim_verify::SideBySide;

/// A machine whose oracle takes every step as well. When it is dropped, both must have agreed.
#[derive(Debug)]
pub struct Beside {
    machine: Machine,
    side: Arc<SideBySide>,
}

/// Builds one.
pub fn machine(config: MachineConfig) -> Beside {
    let mut machine = Machine::new(config).expect("the configuration is sound");
    let side = SideBySide::watch(&mut machine);
    Beside { machine, side }
}

impl Beside {
    /// The first difference so far, by looking at everything now.
    pub fn difference(&self) -> Option<String> {
        self.side.finish(&self.machine).map(|difference| difference.to_string())
    }
}

impl Deref for Beside {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let difference = self.difference();
        if let Some(difference) = difference
            && !std::thread::panicking()
        {
            panic!("the model and its oracle differ:\n{difference}");
        }
    }
}
