//! The CPU timer: it runs while the guest is in SIE, and the host may only let it run while it is not (C96, D81).

use super::{Issuer, after, description};
use crate::After;
use crate::ids::CpuNumber;
use crate::state::{SecureCpu, State};
use crate::step::Outcome;
use crate::world::World;

/// Whether the host gives a CPU timer that it may give: since the latest exit it has not risen, and not fallen by
/// more than the time that has passed.
pub(super) fn in_window(cpu: &SecureCpu, given: u64, clock: u64) -> bool {
    match cpu.last_exit {
        None => true,
        Some(exit) => cpu.registers.cpu_timer.wrapping_sub(given) <= units(clock.saturating_sub(exit)),
    }
}

/// The client lets go of the guest CPU: what it was in SIE is charged to its timer, which the host finds in the
/// state description.
pub(super) fn leave(state: &State, issuer: &Issuer, world: &mut dyn World) -> After {
    let mut next = state.clone();
    let since =
        next.host.get_mut(&issuer.site.host).and_then(|host| host.guest.take()).map_or(next.clock, |stay| stay.since);
    let timer = charge(&mut next, issuer, since);
    // Question: is time charged when SIE ends, or when the client lets go? What if the timer cannot be stored?
    if description::store_timer(&mut next, issuer.site, timer, world).is_err() {
        return after(next, Outcome::Done, "D80");
    }
    after(next, Outcome::Done, "D81")
}

/// Ends a stay in SIE that began at `since`; returns the timer.
pub(super) fn charge(next: &mut State, issuer: &Issuer, since: u64) -> u64 {
    let clock = next.clock;
    let Some(cpu) = next.cpus.get_mut(&issuer.cpu) else { return 0 };
    cpu.registers.cpu_timer = cpu.registers.cpu_timer.wrapping_sub(units(clock.saturating_sub(since)));
    cpu.last_exit = Some(clock);
    cpu.in_sie = None::<CpuNumber>;
    cpu.registers.cpu_timer
}

/// Units of the CPU timer, 1/4096 µs, in so many nanoseconds, rounded down.
fn units(nanoseconds: u64) -> u64 {
    // Question: how is a part of a unit rounded?
    u64::try_from(u128::from(nanoseconds) * 4096 / 1000).unwrap_or(u64::MAX)
}
