//! Guest pages come and go.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// CONV_TO_SEC_STOR 0x0200 (import).
pub(crate) fn conv_to_sec_stor(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// CONV_FROM_SEC_STOR 0x0201 (export).
pub(crate) fn conv_from_sec_stor(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// DESTR_SEC_STOR 0x0202.
pub(crate) fn destr_sec_stor(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
