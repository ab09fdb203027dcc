//! Loads and stores of a host CPU at absolute addresses: what a host does with translation off, and with prefixing undone.

use crate::cpu::{Station, ended, on_cpu, uvsim_cpu, uvsim_interruption};
use crate::result::Fault;
use crate::storage::{readable, writable};
use core::ops::Range;
use std::ffi::{c_int, c_void};
use uvsim_model::address::{PAGE_SIZE, VirtualAddress};
use uvsim_model::cpu::HostCpu;
use uvsim_model::storage::{ProgramInterruption, Teid};

/// Loads `length` bytes at an absolute address: checked as any access of a host, but neither translated nor prefixed.
///
/// Answers: as `uvsim_load`.
///
/// # Safety
/// As `uvsim_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_absolute_load(
    cpu: *mut uvsim_cpu,
    absolute: u64,
    buffer: *mut c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_cpu(cpu, |station| {
        // SAFETY: the caller says that it is writable.
        let bytes = unsafe { writable(buffer, length)? };
        let done = untranslated(station, absolute, length, |host, real, part| host.load(real, &mut bytes[part]))?;
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// Stores `length` bytes at an absolute address: checked as any access of a host, but neither translated nor prefixed.
///
/// Answers: as `uvsim_load`.
///
/// # Safety
/// As `uvsim_store`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_absolute_store(
    cpu: *mut uvsim_cpu,
    absolute: u64,
    buffer: *const c_void,
    length: usize,
    interruption: *mut uvsim_interruption,
) -> c_int {
    on_cpu(cpu, |station| {
        // SAFETY: the caller says that it is readable.
        let bytes = unsafe { readable(buffer, length)? };
        let done = untranslated(station, absolute, length, |host, real, part| host.store(real, &bytes[part]))?;
        // SAFETY: the caller says that the place is null or writable.
        Ok(unsafe { ended(done, interruption) })
    })
}

/// An access with translation off. It is made in pieces where prefixing takes it apart; if one of them is refused, none has
/// been made.
fn untranslated(
    station: &mut Station,
    absolute: u64,
    length: usize,
    mut access: impl FnMut(&mut HostCpu<'static>, VirtualAddress, Range<usize>) -> Result<(), ProgramInterruption>,
) -> Result<Result<(), ProgramInterruption>, Fault> {
    let native = station.native;
    let host = station.host()?;
    let (translation, prefix) = (host.registers().translation, host.registers().prefix);
    if native {
        // SAFETY: operands are addresses of storage from here on, and no pointers.
        unsafe { host.set_native(false) };
    }
    if translation {
        host.set_translation(false);
    }
    let done = in_pieces(host, prefix, absolute, length, &mut access);
    if translation {
        host.set_translation(true);
    }
    if native {
        // SAFETY: who has set it has said that pointers of this CPU are good.
        unsafe { host.set_native(true) };
    }
    Ok(done.map_err(|found| ProgramInterruption { teid: unprefixed_teid(found.teid, prefix), ..found }))
}

fn in_pieces(
    host: &mut HostCpu<'static>,
    prefix: u64,
    absolute: u64,
    length: usize,
    access: &mut impl FnMut(&mut HostCpu<'static>, VirtualAddress, Range<usize>) -> Result<(), ProgramInterruption>,
) -> Result<(), ProgramInterruption> {
    if prefix == 0 {
        return access(host, VirtualAddress(absolute), 0..length);
    }
    for (real, part) in pieces(prefix, absolute, length) {
        let pages = (real.0 / PAGE_SIZE)..=(real.0 + part.len() as u64 - 1) / PAGE_SIZE;
        let refused = |page: u64| host.load(VirtualAddress((page * PAGE_SIZE).max(real.0)), &mut [0]).is_err();
        if pages.into_iter().any(refused) {
            // That it is refused is known; the access itself says how.
            access(host, real, part)?;
        }
    }
    pieces(prefix, absolute, length).try_for_each(|(real, part)| access(host, real, part))
}

/// Real addresses, and which bytes lie there.
fn pieces(prefix: u64, absolute: u64, length: usize) -> impl Iterator<Item = (VirtualAddress, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = absolute.wrapping_add(done as u64);
        let len = (length - done).min((PREFIX_AREA - at % PREFIX_AREA) as usize);
        let part = done..done + len;
        done += len;
        (len > 0).then(|| (VirtualAddress(swapped(at, prefix)), part))
    })
}

const PREFIX_AREA: u64 = 2 * PAGE_SIZE;

/// The real address of an absolute one, and the other way round.
fn swapped(address: u64, prefix: u64) -> u64 {
    match address & !(PREFIX_AREA - 1) {
        0 => address + prefix,
        area if area == prefix => address - prefix,
        _ => address,
    }
}

/// The failing address is an absolute one.
fn unprefixed_teid(teid: Teid, prefix: u64) -> Teid {
    if teid == Teid(0) { teid } else { Teid(swapped(teid.address(), prefix) | teid.0 & (PAGE_SIZE - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixing_is_undone_and_takes_accesses_apart() {
        let found: Vec<_> = pieces(0x6000, 0x1ff8, 0x4010).map(|(real, part)| (real.0, part)).collect();
        assert_eq!(found, [(0x7ff8, 0..8), (0x2000, 8..0x2008), (0x4000, 0x2008..0x4008), (0, 0x4008..0x4010)]);
        assert_eq!(pieces(0x6000, 0, 0).count(), 0);
        assert_eq!(unprefixed_teid(Teid(0x6c04), 0x6000), Teid(0xc04));
        assert_eq!(unprefixed_teid(Teid(0), 0x6000), Teid(0));
    }
}
