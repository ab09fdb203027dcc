//! Samples of many cases, taken round robin, and their medians.

use crate::stopwatch::Stopwatch;
use std::collections::BTreeMap;
use std::time::Duration;

/// Nanoseconds per operation, by case. The cases of one round belong together.
#[derive(Debug, Default)]
pub struct Samples {
    running: BTreeMap<&'static str, (Duration, u64)>,
    rounds: BTreeMap<&'static str, Vec<f64>>,
}

impl Samples {
    /// Adds to the sample of this round.
    pub fn add(&mut self, case: &'static str, time: Duration, operations: usize) {
        let (total, count) = self.running.entry(case).or_default();
        *total += time;
        *count += operations as u64;
    }

    /// Times an operation on every item and adds it to the sample of this round.
    pub fn time<T: Copy>(&mut self, case: &'static str, items: &[T], mut operation: impl FnMut(T)) {
        let start = Stopwatch::start();
        for &item in items {
            operation(item);
        }
        self.add(case, start.elapsed(), items.len());
    }

    /// Ends a round.
    pub fn end_round(&mut self) {
        for (case, (total, count)) in core::mem::take(&mut self.running) {
            self.rounds.entry(case).or_default().push(total.as_secs_f64() * 1e9 / count as f64);
        }
    }

    /// Forgets what was sampled so far: a first round warms up.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Median nanoseconds of a case.
    #[must_use]
    pub fn median(&self, case: &str) -> f64 {
        median(self.rounds.get(case).cloned().unwrap_or_default())
    }

    /// Median of the ratios of two cases, each taken within one round.
    #[must_use]
    pub fn ratio(&self, case: &str, limit: &str) -> f64 {
        let (Some(ours), Some(limits)) = (self.rounds.get(case), self.rounds.get(limit)) else { return f64::NAN };
        median(ours.iter().zip(limits).map(|(ours, limit)| ours / limit).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_those_of_rounds() {
        let mut samples = Samples::default();
        for (ours, limit) in [(40, 10), (30, 30), (50, 20)] {
            // Two parts of one sample.
            samples.add("ours", Duration::from_nanos(ours), 1);
            samples.add("ours", Duration::from_nanos(ours), 1);
            samples.add("limit", Duration::from_nanos(limit), 1);
            samples.end_round();
        }
        assert_eq!((samples.median("ours").round(), samples.median("limit").round()), (40.0, 20.0));
        assert!((samples.ratio("ours", "limit") - 2.5).abs() < 1e-9, "{samples:?}");
        assert!(samples.median("nothing").is_nan() && samples.ratio("ours", "nothing").is_nan());
    }
}
