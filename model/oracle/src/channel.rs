//! Devices.

use crate::After;
use crate::access::{self, Requestor, Verdict};
use crate::ids::AbsoluteAddress;
use crate::state::State;
use crate::step::Outcome;
use crate::storage::{FRAME, Frames};

/// A device reads storage (T10, T11).
pub(crate) fn read(state: &State, address: AbsoluteAddress, length: u64) -> After {
    let (outcome, rule) = match transfer(state, address, length) {
        Ok(rule) => (Outcome::Loaded(state.read(address, length)), rule),
        Err(refused) => refused,
    };
    After { state: state.clone(), outcome, rules: vec![rule] }
}

/// A device writes storage: all, or nothing (T10, T11, Q33).
pub(crate) fn write(state: &State, address: AbsoluteAddress, bytes: &[u8]) -> After {
    let mut next = state.clone();
    let (outcome, rule) = match transfer(state, address, bytes.len() as u64) {
        Ok(rule) => {
            next.write(address, bytes);
            (Outcome::Done, rule)
        }
        Err(refused) => refused,
    };
    After { state: next, outcome, rules: vec![rule] }
}

/// Whether all of a transfer is allowed; if not, the first failing byte. There is no interruption (D23).
fn transfer(state: &State, address: AbsoluteAddress, length: u64) -> Result<&'static str, (Outcome, &'static str)> {
    if !state.has_storage(address, length) {
        return Err((Outcome::ChannelOutside(address), "D23"));
    }
    for (frame, from, _) in (address.0..address.0 + length).step_by_frames() {
        if let Verdict::Deny(..) = access::check(state, Requestor::NonSecure, state.zone(frame)) {
            return Err((Outcome::ChannelSecure(AbsoluteAddress(frame.0 * FRAME + from as u64)), "T11"));
        }
    }
    Ok("T10")
}
