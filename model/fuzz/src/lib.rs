//! What the fuzz targets have in common: a find becomes a panic, which is what the engine understands.

use uvsim::fuzz::targets::target;

/// Runs a target on an input.
///
/// # Panics
/// There is no such target, or something that must hold for every input does not hold for this one.
pub fn must_hold(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("no target `{name}`"));
    if let Err(fault) = (target.run)(data) {
        panic!("{name}: {fault}");
    }
}
