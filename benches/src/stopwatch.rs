//! Time that this thread has spent on a processor: what others do to the machine counts less than with a
//! clock on the wall.

use std::time::Duration;

/// A running measurement.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        Self(now())
    }

    /// Processor time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        now().saturating_sub(self.0)
    }
}

#[cfg(target_os = "linux")]
fn now() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Elsewhere the clock on the wall has to do.
#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_work() {
        let watch = Stopwatch::start();
        let mut sum = 0u64;
        while watch.elapsed() < Duration::from_millis(2) {
            sum = core::hint::black_box(sum + 1);
        }
        assert!(sum > 0 && watch.elapsed() >= Duration::from_millis(2));
    }
}
