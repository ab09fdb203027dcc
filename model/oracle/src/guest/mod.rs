//! A CPU of a configuration, in SIE on a host CPU.

use crate::ids::{CpuNumber, VirtualAddress};
use crate::state::State;
use crate::step::GuestStep;
use crate::world::World;
use crate::{After, Objection};

/// START INTERPRETIVE EXECUTION.
pub(crate) fn enter(
    state: &State,
    cpu: CpuNumber,
    description: VirtualAddress,
    world: &mut dyn World,
) -> Result<After, Objection> {
    let _ = (state, cpu, description, world);
    unimplemented!()
}

/// The guest CPU in SIE on a host CPU takes a step.
pub(crate) fn step(state: &State, cpu: CpuNumber, step: &GuestStep, world: &mut dyn World) -> Result<After, Objection> {
    let _ = (state, cpu, step, world);
    unimplemented!()
}
