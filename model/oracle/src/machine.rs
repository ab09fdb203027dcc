//! INIT_UV and machine reset.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// INIT_UV 0x000f.
pub(crate) fn init_uv(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
