//! Queries.

use crate::call::{Call, Done, Issuer, Refusal, Ruling, Stop};
use crate::command;
use crate::configuration::{
    BASE_LENGTH, CONFIGURATIONS, CPU_LENGTH, HIGHEST_ADDRESS, HIGHEST_CPU, VARIABLE_LENGTH, VIRTUAL_LENGTH,
};
use crate::machine;
use crate::state::State;
use crate::world::World;

/// Bytes of the whole answer of QUI (D14).
const FULL: usize = 0x120;

/// QUI 0x0001 (Q32, D14, D15, D4).
pub(crate) fn qui(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let length = call.block.bytes.len();
    let mut outputs = calls(state, call);
    outputs.extend(figures(state, call));
    for (offset, bytes) in &mut outputs {
        bytes.truncate(length.saturating_sub(*offset));
    }
    outputs.retain(|(_, bytes)| !bytes.is_empty());
    let done = Done { state: state.clone(), rule: "D14", outputs };
    if length < FULL {
        return Err(Stop::Delivered(Box::new(done), Refusal { rc: 0x0100, rrc: 0, rule: "D4" }));
    }
    Ok(done)
}

/// The list of installed calls: four doublewords, bit 0 leftmost.
fn calls(state: &State, call: &Call) -> Vec<(usize, Vec<u8>)> {
    let mut words = [0_u64; 4];
    for command in command::installed(state, call.issuer) {
        words[command.bit as usize / 64] |= 1 << (63 - command.bit % 64);
    }
    words.iter().enumerate().map(|(at, &word)| call.block.field(0x10 + 8 * at, word)).collect()
}

/// All other fields. Figures that only a host can use are zero for a guest, but the feature word is the machine's for
/// both (D15). Those of dump, attestation and secrets are zero for all.
fn figures(state: &State, call: &Call) -> Vec<(usize, Vec<u8>)> {
    let field = |offset, value: u64, bytes: usize| {
        let value = if call.issuer == Issuer::Host || offset == 0xa0 { value } else { 0 };
        let (offset, all) = call.block.field(offset, value);
        let narrow = if call.block.big_endian { all[8 - bytes..].to_vec() } else { all[..bytes].to_vec() };
        (offset, narrow)
    };
    let flags = if state.setup.generation >= 17 { 0x3000_00f2 } else { 0x3000_00e2 };
    vec![
        field(0x40, machine::BASE_LENGTH, 8),
        field(0x50, BASE_LENGTH, 8),
        field(0x58, VIRTUAL_LENGTH, 8),
        field(0x60, VARIABLE_LENGTH, 8),
        field(0x68, CPU_LENGTH, 8),
        field(0x7c, u64::from(CONFIGURATIONS), 4),
        field(0x80, HIGHEST_ADDRESS, 8),
        field(0x9e, u64::from(HIGHEST_CPU), 2),
        field(0xa0, u64::from(state.setup.misc) << 63, 8),
        field(0xb0, 1 << 63, 8),
        field(0xb8, flags, 8),
        field(0xc8, 0, 8),
        field(0xd0, 0, 8),
        field(0xe0, 0, 8),
        field(0xe8, 0, 8),
        field(0xf8, 0, 8),
        field(0x100, 0, 8),
        field(0x108, 0, 8),
        field(0x110, 0, 2),
        field(0x112, 0, 2),
    ]
}

/// QUERY_KEYS 0x0002 (Q34, D15): slots of the host key and of the backup host key, which only the world knows; the
/// other 13 are empty.
pub(crate) fn query_keys(state: &State, _call: &Call, world: &mut dyn World) -> Ruling {
    let (offset, slots, slot) = (0x20, 15, 32);
    let mut hashes = world.query_output(offset, 2 * slot);
    hashes.resize(2 * slot, 0);
    hashes.resize(slots * slot, 0);
    let outputs = vec![(offset, hashes)];
    Ok(Done { state: state.clone(), rule: "Q34", outputs })
}
