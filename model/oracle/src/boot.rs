//! An image is loaded and verified.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// SET_SEC_CONF_PARAMS 0x0300.
pub(crate) fn set_sec_conf_params(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// UNPACK_IMG 0x0301.
pub(crate) fn unpack_img(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// VERIFY_IMG 0x0302.
pub(crate) fn verify_img(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
