//! What a CPU of the host executes.

use crate::ids::{CpuNumber, VirtualAddress};
use crate::state::State;
use crate::step::{Access, HostStep, Program};
use crate::world::World;
use crate::{After, Objection};

/// A host CPU takes a step.
pub(crate) fn step(state: &State, cpu: CpuNumber, step: &HostStep, world: &mut dyn World) -> Result<After, Objection> {
    let _ = (state, cpu, step, world);
    unimplemented!()
}

/// Loads bytes as a host CPU does (home space, or real while translation is off). The state changes only in what
/// the translation buffer may keep.
pub(crate) fn load(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    length: u64,
    kind: Access,
    world: &mut dyn World,
) -> Result<Vec<u8>, Program> {
    let _ = (state, cpu, address, length, kind, world);
    unimplemented!()
}

/// Stores bytes, likewise; nothing is stored if a page refuses.
pub(crate) fn store(
    state: &mut State,
    cpu: CpuNumber,
    address: VirtualAddress,
    bytes: &[u8],
    world: &mut dyn World,
) -> Result<(), Program> {
    let _ = (state, cpu, address, bytes, world);
    unimplemented!()
}
