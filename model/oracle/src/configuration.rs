//! Configurations and their CPUs come and go.

use crate::call::{Call, Ruling};
use crate::state::State;
use crate::world::World;

/// CREATE_SEC_CONF 0x0100.
pub(crate) fn create_sec_conf(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// DESTROY_SEC_CONF 0x0101.
pub(crate) fn destroy_sec_conf(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// DESTROY_SEC_CONF_FAST 0x0118.
pub(crate) fn destroy_sec_conf_fast(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// CREATE_SEC_CPU 0x0120.
pub(crate) fn create_sec_cpu(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}

/// DESTROY_SEC_CPU 0x0121.
pub(crate) fn destroy_sec_cpu(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let _ = (state, call, world);
    unimplemented!()
}
