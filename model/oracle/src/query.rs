//! Queries.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// QUI 0x0001.
pub(crate) fn qui(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// QUERY_KEYS 0x0002.
pub(crate) fn query_keys(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
