//! The reset protocol of a configuration (D79, I-36).

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// PREPARE_RESET 0x0320.
pub(crate) fn prepare_reset(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
