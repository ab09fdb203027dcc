//! The reset protocol of a configuration (D79, I-36): a guest asks, or PREPARE_RESET comes unasked; then CPUs are
//! stopped, all is unshared, PREPARE_RESET, CPU resets, and a load ends it. Until then no CPU gets into SIE.

use crate::call::{Call, Ruling, refuse};
use crate::ids::Handle;
use crate::state::{CpuReset, Pending, SecureCpu, State};
use crate::world::World;

/// PREPARE_RESET 0x0320: Q15, D13, D79. Done twice, it has the CPU resets start over.
pub(crate) fn prepare_reset(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let owner = Handle(call.block.u64(0x18));
    let Some(configuration) = state.configurations.get(&owner) else { return refuse(0x0020, 0, "D2") };
    if state.operates(owner) {
        return refuse(0x0101, 0, "Q15");
    }
    if !configuration.reset.unshared {
        return refuse(0x0102, 0, "D13");
    }
    let subcode = configuration.reset.pending.and_then(|pending| pending.subcode);
    let pending = Pending { subcode, prepared: true };
    let mut next = state.clone();
    next.set_pending(owner, Some(pending));
    for cpu in configuration.cpus.values() {
        if let Some(cpu) = next.cpus.get_mut(cpu) {
            cpu.owed = Some((pending.wanted(), false));
        }
    }
    next.done("D79")
}

/// A guest has asked for a reset by diagnose 0x308, subcode 0 or 1: its configuration waits for one (D79).
pub(crate) fn request(state: &State, configuration: Handle, subcode: u64) -> State {
    let mut next = state.clone();
    let asked = state.configurations.get(&configuration).and_then(|owner| owner.reset.pending);
    // Of two requests the stronger counts.
    let stronger = asked.filter(|pending| !pending.prepared).and_then(|pending| pending.subcode);
    let subcode = Some(stronger.map_or(subcode, |earlier| earlier.min(subcode)));
    next.set_pending(configuration, Some(Pending { subcode, prepared: false }));
    next
}

/// Whether a reset keeps a CPU out of SIE: that of its configuration is not finished, or the CPU was forgotten in one
/// (I-36, D80).
pub(crate) fn is_pending(state: &State, cpu: Handle) -> bool {
    let Some(cpu) = state.cpus.get(&cpu) else { return false };
    matches!(cpu.owed, Some((_, false))) || pending(state, cpu).is_some()
}

/// Whether a CPU may be loaded: no reset waits for anything of it but that (D13).
pub(crate) fn allows_load(state: &State, cpu: &SecureCpu) -> bool {
    match pending(state, cpu) {
        None => !matches!(cpu.owed, Some((_, false))),
        Some(pending) => pending.prepared && matches!(cpu.owed, Some((CpuReset::Initial | CpuReset::Clear, true))),
    }
}

/// What a CPU owes after a CPU reset. In a prepared configuration the strongest one since counts, if it is as strong as
/// was asked for; elsewhere one that was forgotten is made up for.
pub(crate) fn owed_after(state: &State, cpu: &SecureCpu, kind: CpuReset) -> Option<(CpuReset, bool)> {
    let prepared = pending(state, cpu).filter(|pending| pending.prepared);
    match cpu.owed.or(prepared.map(|pending| (pending.wanted(), false))) {
        Some((wanted, false)) if kind < wanted => cpu.owed,
        Some((before, true)) => prepared.map(|_| (kind.max(before), true)),
        Some((_, false)) => prepared.map(|_| (kind, true)),
        None => None,
    }
}

/// A load ends the reset of a configuration, if one is pending. CPUs that were not reset go on owing it.
pub(crate) fn finish(next: &mut State, owner: Handle) {
    let Some(configuration) = next.configurations.get_mut(&owner) else { return };
    if configuration.reset.pending.take().is_none() {
        return;
    }
    // The PSW of the image is not skipped by a reset before the first start.
    configuration.reset.finished |= configuration.reset.started;
    let cpus: Vec<Handle> = configuration.cpus.values().copied().collect();
    for cpu in cpus {
        if let Some(cpu) = next.cpus.get_mut(&cpu) {
            cpu.owed = cpu.owed.filter(|&(_, had)| !had);
        }
    }
}

/// The reset that is under way in the configuration of a CPU.
fn pending(state: &State, cpu: &SecureCpu) -> Option<Pending> {
    state.configurations.get(&cpu.configuration)?.reset.pending
}

impl Pending {
    /// The least CPU reset that each CPU needs: for subcode 0 clear ones. (The CPU that is loaded needs an initial one
    /// at least.)
    fn wanted(self) -> CpuReset {
        if self.subcode == Some(0) { CpuReset::Clear } else { CpuReset::Normal }
    }
}

impl State {
    fn set_pending(&mut self, owner: Handle, pending: Option<Pending>) {
        if let Some(configuration) = self.configurations.get_mut(&owner) {
            configuration.reset.pending = pending;
        }
    }
}
