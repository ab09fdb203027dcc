//! Random schedules of a hostile host and two guests, beside a small reference model, with the invariants
//! checked after every step: what the host sees, what each page is, and the order of boots and resets.
//!
//! Runs repeat: the seeds are fixed. For longer or other runs set `PROPTEST_CASES` (schedules per test)
//! and `PROPTEST_RNG_SEED`:
//!
//! ```text
//! PROPTEST_CASES=100000 PROPTEST_RNG_SEED=7 cargo test -p uvsim-model --release --test schedules
//! ```

mod support;

#[path = "schedules/calls.rs"]
mod calls;
#[path = "schedules/check.rs"]
mod check;
#[path = "schedules/draw.rs"]
mod draw;
#[path = "schedules/guest.rs"]
mod guest;
#[path = "schedules/host.rs"]
mod host;
#[path = "schedules/image.rs"]
mod image;
#[path = "schedules/reference.rs"]
mod reference;
#[path = "schedules/run.rs"]
mod run;
#[path = "schedules/secret.rs"]
mod secret;
#[path = "schedules/step.rs"]
mod step;

use draw::Theme;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use step::Schedule;

/// Schedules per test.
const SCHEDULES: u32 = 1650;

/// Schedules of the test that boots most: opening a header takes longer than everything else.
const BOOTS: u32 = 900;

const EVEN: Theme = Theme { paging: 10, sharing: 6, life: 2, raw: 2, reset: 0, boot: 0, protocol: 1, both: 6 };

/// Runs schedules; a failure shows what is left of the schedule when every step is gone that can go.
fn explore(seed: u64, schedules: u32, theme: Theme, test: impl Fn(&Schedule) -> run::Checked) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = schedules;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(seed);
    }
    let strategy = draw::schedules(theme, draw::setups()).prop_map(Box::new);
    let result = TestRunner::new(config).run(&strategy, |schedule| test(&schedule).map_err(TestCaseError::fail));
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, schedule)) => {
            let (schedule, reason) = smallest(*schedule, reason.message().into(), test);
            panic!("{reason}\n{schedule:?}")
        }
        Err(abort) => panic!("{abort}"),
    }
}

/// Takes steps away, from the last to the first, as long as the schedule still fails. Steps do not depend
/// on their parameters' size, so fewer steps is all the shrinking that helps a reader.
fn smallest(
    mut schedule: Schedule,
    mut reason: String,
    test: impl Fn(&Schedule) -> run::Checked,
) -> (Schedule, String) {
    let fault = |schedule: &Schedule| {
        let run = AssertUnwindSafe(|| test(schedule));
        catch_unwind(run).unwrap_or_else(|_| Err("the model has panicked; see above".into())).err()
    };
    let mut at = schedule.steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = schedule.clone();
        fewer.steps.remove(at);
        if let Some(found) = fault(&fewer) {
            (schedule, reason) = (fewer, found);
        }
    }
    for number in 0..schedule.ready.len() {
        let mut fewer = schedule.clone();
        fewer.ready[number] = false;
        if let Some(found) = fault(&fewer) {
            (schedule, reason) = (fewer, found);
        }
    }
    (schedule, reason)
}

fn once(schedule: &Schedule) -> run::Checked {
    run::run(schedule, 0).map(drop)
}

#[test]
fn all_steps_alike() {
    explore(1, SCHEDULES, Theme { life: 6, raw: 4, ..EVEN }, once);
}

#[test]
fn mostly_paging() {
    explore(2, SCHEDULES, Theme { paging: 20, sharing: 2, ..EVEN }, once);
}

#[test]
fn mostly_sharing() {
    explore(3, SCHEDULES, Theme { sharing: 20, ..EVEN }, once);
}

#[test]
fn mostly_creation_and_teardown() {
    explore(4, SCHEDULES, Theme { life: 20, ..EVEN }, once);
}

#[test]
fn mostly_malformed_and_contended_calls() {
    explore(5, SCHEDULES, Theme { raw: 20, ..EVEN }, once);
}

#[test]
fn with_machine_resets() {
    explore(6, SCHEDULES / 4, Theme { reset: 2, life: 4, ..EVEN }, once);
}

/// Images with one thing wrong, and the reset protocol with anything between its steps (I-34 to I-36).
#[test]
fn mostly_boots_and_resets() {
    explore(9, BOOTS, Theme { life: 4, boot: 12, protocol: 8, both: 1, ..EVEN }, once);
}

/// Frames that were never touched differ from frames that hold zeros, in what a machine remembers of them.
#[test]
fn on_machines_that_were_never_used() {
    explore(8, SCHEDULES / 4, EVEN, |schedule| {
        run::throw_machines_away();
        once(schedule)
    });
}

/// What the host sees, ciphertext bytes aside, does not depend on what guests keep secret (I-11).
#[test]
fn i11_the_host_learns_nothing_of_the_plaintext() {
    explore(7, SCHEDULES / 2, EVEN, |schedule| {
        let [one, other] = [run::run(schedule, 0)?, run::run(schedule, 1)?];
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        match differs {
            Some(at) => Err(format!("I-11: the host sees {} or {}", one[at], other[at])),
            None if one.len() != other.len() => Err("I-11: one run is longer".into()),
            None => Ok(()),
        }
    });
}
