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

/// The client lets go of the guest CPU. If SIE has not ended yet, it does now.
pub(super) fn leave(state: &State, issuer: &Issuer, world: &mut dyn World) -> After {
    let mut next = state.clone();
    if let Some(stay) = next.host.get_mut(&issuer.site.host).and_then(|host| host.guest.take())
        && stay.exit.is_none()
    {
        spend(&mut next, issuer, stay.since, world);
    }
    if let Some(cpu) = next.cpus.get_mut(&issuer.cpu) {
        cpu.in_sie = None::<CpuNumber>;
    }
    after(next, Outcome::Done, "D81")
}

/// SIE ends: what it lasted is charged to the CPU timer, although the client has not let go of the guest CPU yet.
pub(super) fn end_stay(next: &mut State, issuer: &Issuer, world: &mut dyn World) {
    let stay = next.host.get(&issuer.site.host).and_then(|host| host.guest.as_ref());
    let since = stay.map_or(next.clock, |stay| stay.since);
    spend(next, issuer, since, world);
    if let Some(cpu) = next.cpus.get_mut(&issuer.cpu) {
        cpu.in_sie = Some(issuer.site.host);
    }
}

/// Charges a stay; the host finds a timer that has moved in the state description.
fn spend(next: &mut State, issuer: &Issuer, since: u64, world: &mut dyn World) {
    let before = next.cpus.get(&issuer.cpu).map(|cpu| cpu.registers.cpu_timer);
    let timer = charge(next, issuer, since);
    if before != Some(timer) {
        description::store_timer(next, issuer.site, timer, world);
    }
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
