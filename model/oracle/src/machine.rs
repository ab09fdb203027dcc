//! INIT_UV and machine reset.

use crate::After;
use crate::call::{Call, Ruling, refuse};
use crate::ids::{AbsoluteAddress, CpuNumber, FrameNumber};
use crate::state::{Donated, HostCpu, Purges, Purpose, Registered, Setup, State};
use crate::step::{MachineReset, Outcome};
use crate::storage::FRAME;
use crate::world::World;
use imbl::OrdMap;
use std::sync::Arc;

/// Bytes of base storage, which QUI asks for.
pub(crate) const BASE_LENGTH: u64 = 0x620_0000;

/// Below it no base storage may lie (C28).
const LOWEST_BASE: u64 = 1 << 31;

impl State {
    /// A machine that has just been built: storage is zero, no CPU operates, the Ultravisor is not initialised.
    pub fn new(setup: Setup) -> State {
        let host = (0..setup.cpus).map(|number| (CpuNumber(number), HostCpu::default())).collect();
        State {
            setup: Arc::new(setup),
            storage: OrdMap::new(),
            initialised: false,
            donated: OrdMap::new(),
            registered: OrdMap::new(),
            configurations: OrdMap::new(),
            cpus: OrdMap::new(),
            host,
            issued: imbl::OrdSet::new(),
            sealed: imbl::HashMap::new(),
            injected: OrdMap::new(),
            clock: 0,
            purges: Purges::default(),
        }
    }

    /// Whether a host CPU other than this one operates.
    fn others_operate(&self, cpu: CpuNumber) -> bool {
        self.host.iter().any(|(&number, host)| number != cpu && host.operating)
    }
}

/// INIT_UV 0x000f (T76, T77, D5). Codes 0x101, 0x103, 0x104, 0x105, 0x108, 0x102, 0x105, in this order.
pub(crate) fn init_uv(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let origin = AbsoluteAddress(call.block.u64(0x18) & !0xf_ffff);
    let length = call.block.u64(0x20) & !0xfff;
    let (first, count) = (FrameNumber(origin.0 / FRAME), BASE_LENGTH / FRAME);
    if state.initialised {
        return refuse(0x101, 0, "I-31");
    }
    if length != BASE_LENGTH {
        return refuse(0x103, 0, "I-30");
    }
    if origin.0 >= state.setup.storage {
        return refuse(0x104, 0, "Q30");
    }
    if !state.has_storage(origin, length) {
        return refuse(0x105, 0, "I-30");
    }
    if origin.0 < LOWEST_BASE {
        return refuse(0x108, 0, "D75");
    }
    if state.others_operate(call.cpu) {
        return refuse(0x102, 0, "D2");
    }
    if call.frames.iter().any(|frame| frame.0.wrapping_sub(first.0) < count) {
        return refuse(0x105, 0, "D5");
    }
    if !state.all_non_secure(first, count) {
        return refuse(0x105, 0, "T77");
    }
    let mut next = state.clone();
    next.donate(first, Donated { count, purpose: Purpose::Base });
    next.initialised = true;
    next.done("T76")
}

/// Reset of the whole machine by one of its CPUs, while no other operates (T43, D29). Handles that were issued stay
/// used (D20), ciphertexts stay what they are.
pub(crate) fn reset(state: &State, cpu: CpuNumber, kind: MachineReset) -> After {
    let mut next = state.clone();
    if state.others_operate(cpu) {
        return After { state: next, outcome: Outcome::Impossible, rules: vec![] };
    }
    match kind {
        MachineReset::Clear | MachineReset::PowerOn => next.storage.clear(),
        MachineReset::Normal => {
            let secure = state.registered.iter().filter(|(_, of)| of.kind == Registered::Secure);
            secure.for_each(|(frame, _)| drop(next.storage.remove(frame)));
        }
    }
    next.initialised = false;
    next.donated.clear();
    next.registered.clear();
    next.configurations.clear();
    next.cpus.clear();
    next.injected.clear();
    let numbers: Vec<CpuNumber> = next.host.keys().copied().collect();
    numbers.into_iter().for_each(|number| next.purge_cpu(number));
    After { state: next, outcome: Outcome::Done, rules: vec!["T43", "D29"] }
}
