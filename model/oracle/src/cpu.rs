//! State and resets of a configuration's CPUs.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// CPU_RESET 0x0310.
pub(crate) fn cpu_reset(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// CPU_RESET_INITIAL 0x0311.
pub(crate) fn cpu_reset_initial(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// CPU_RESET_CLEAR 0x0321.
pub(crate) fn cpu_reset_clear(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// CPU_SET_STATE 0x0330.
pub(crate) fn cpu_set_state(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
