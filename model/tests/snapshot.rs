//! Snapshots: a machine that goes back is what it was, and has the future that it had.

mod support;

#[path = "schedules/calls.rs"]
mod calls;
#[path = "snapshot/cases.rs"]
mod cases;
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
#[path = "snapshot/mapping.rs"]
mod mapping;
#[path = "schedules/reference.rs"]
mod reference;
#[path = "schedules/run.rs"]
#[allow(dead_code, reason = "a part of the schedules' own tests")]
mod run;
#[path = "snapshot/schedule.rs"]
mod schedule;
#[path = "schedules/secret.rs"]
mod secret;
#[path = "schedules/step.rs"]
mod step;
#[path = "snapshot/threads.rs"]
mod threads;
#[path = "snapshot/view.rs"]
mod view;

use draw::Theme;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use schedule::to_and_fro;

const EVEN: Theme = Theme { paging: 10, sharing: 6, life: 4, raw: 3, reset: 0, boot: 2, protocol: 2, both: 6 };

/// Runs schedules, with the snapshot anywhere. As with the schedules' own tests, `PROPTEST_CASES` and
/// `PROPTEST_RNG_SEED` make longer and other runs.
fn explore(seed: u64, schedules: u32, theme: Theme) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = schedules;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(seed);
    }
    let strategy = (draw::schedules(theme, draw::setups()), 0..4usize);
    let result = TestRunner::new(config)
        .run(&strategy, |(schedule, quarters)| to_and_fro(&schedule, quarters).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn after_steps_of_all_kinds() {
    explore(1, 24, EVEN);
}

#[test]
fn after_creation_and_teardown() {
    explore(2, 14, Theme { life: 20, raw: 6, ..EVEN });
}

#[test]
fn after_boots_and_resets_of_guests() {
    explore(3, 8, Theme { boot: 12, protocol: 8, both: 1, ..EVEN });
}

#[test]
fn after_machine_resets() {
    explore(4, 8, Theme { reset: 6, life: 6, ..EVEN });
}
