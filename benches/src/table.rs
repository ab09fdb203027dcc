//! The table of ratios as Markdown.

use crate::samples::Samples;
use std::fmt;

/// What a row has to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Target {
    /// At most this multiple of the limit.
    Ratio(f64),
    /// At most this many nanoseconds.
    Nanoseconds(f64),
    /// Something that does not fit a number; the text says what, the flag whether it is reached.
    Other(&'static str, bool),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub operation: String,
    /// The working set.
    pub set: &'static str,
    /// Our figure, with its unit.
    pub ours: String,
    /// The limit with its name and figure; empty without one.
    pub limit: String,
    /// Ours by the limit's; not a number without one.
    pub ratio: f64,
    /// The target and whether it is reached.
    pub target: Option<(Target, bool)>,
}

impl Row {
    /// The row of a case beside its limit.
    #[must_use]
    pub fn of(
        samples: &Samples,
        set: &'static str,
        case: &'static str,
        limit: &'static str,
        target: Option<Target>,
    ) -> Self {
        let (ours, ratio) = (samples.median(case), samples.ratio(case, limit));
        let target = target.map(|target| match target {
            Target::Ratio(most) => (target, ratio <= most),
            Target::Nanoseconds(most) => (target, ours <= most),
            Target::Other(_, reached) => (target, reached),
        });
        Self {
            operation: case.to_owned(),
            set,
            ours: nanoseconds(ours),
            limit: format!("{limit} {}", nanoseconds(samples.median(limit))),
            ratio,
            target,
        }
    }
}

fn nanoseconds(value: f64) -> String {
    match value {
        v if v < 100.0 => format!("{v:.2} ns"),
        v => format!("{v:.0} ns"),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = if self.ratio.is_nan() { String::new() } else { format!("{:.2}", self.ratio) };
        let target = match self.target {
            None => String::new(),
            Some((target, reached)) => {
                let verdict = if reached { "yes" } else { "NO" };
                match target {
                    Target::Ratio(most) => format!("≤ {most} × : {verdict}"),
                    Target::Nanoseconds(most) => format!("≤ {most} ns: {verdict}"),
                    Target::Other(text, _) => format!("{text}: {verdict}"),
                }
            }
        };
        let Self { operation, set, ours, limit, .. } = self;
        write!(f, "| {operation} | {set} | {ours} | {limit} | {ratio} | {target} |")
    }
}

/// The head of the table.
pub const HEAD: &str = "| operation | set | ours | limit | ratio | target |\n| --- | --- | ---: | ---: | ---: | --- |";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rows_say_whether_the_target_is_reached() {
        let mut samples = Samples::default();
        samples.add("ours", Duration::from_nanos(1300), 1);
        samples.add("bare", Duration::from_nanos(1000), 1);
        samples.end_round();
        let row = |target| Row::of(&samples, "64 MiB", "ours", "bare", target).to_string();
        assert_eq!(row(None), "| ours | 64 MiB | 1300 ns | bare 1000 ns | 1.30 |  |");
        assert!(row(Some(Target::Ratio(1.15))).ends_with("| 1.30 | ≤ 1.15 × : NO |"));
        assert!(row(Some(Target::Nanoseconds(1300.0))).ends_with("| 1.30 | ≤ 1300 ns: yes |"));
    }
}
