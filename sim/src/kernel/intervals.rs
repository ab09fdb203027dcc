//! Free numbers, kept as intervals; the lowest that fits is handed out first.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Intervals {
    /// Start → end.
    free: BTreeMap<u64, u64>,
    total: u64,
}

impl Intervals {
    pub(super) fn new(all: Range<u64>) -> Self {
        let total = all.end.saturating_sub(all.start);
        let free = if total > 0 { BTreeMap::from([(all.start, all.end)]) } else { BTreeMap::new() };
        Self { free, total }
    }

    /// How many are free.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes a stretch out for good, as far as it is free.
    pub(super) fn reserve(&mut self, stretch: Range<u64>) {
        let touched: Vec<(u64, u64)> =
            self.free.range(..stretch.end).filter(|&(_, &end)| end > stretch.start).map(|(&s, &e)| (s, e)).collect();
        for (start, end) in touched {
            self.free.remove(&start);
            self.total -= end - start;
            self.insert(start, stretch.start.clamp(start, end));
            self.insert(stretch.end.clamp(start, end), end);
        }
    }

    /// The first of `count` consecutive free numbers, a multiple of `align`.
    pub(super) fn take(&mut self, count: u64, align: u64) -> Option<u64> {
        let (start, end, first) = self.free.iter().find_map(|(&start, &end)| {
            let first = start.checked_next_multiple_of(align)?;
            (first.checked_add(count)? <= end).then_some((start, end, first))
        })?;
        self.free.remove(&start);
        self.total -= end - start;
        self.insert(start, first);
        self.insert(first + count, end);
        Some(first)
    }

    /// Gives one number back.
    pub(super) fn give(&mut self, number: u64) {
        self.give_all(number..number + 1);
    }

    /// Gives a stretch back. What is free already stays so.
    pub(super) fn give_all(&mut self, stretch: Range<u64>) {
        self.reserve(stretch.clone());
        let (mut start, mut end) = (stretch.start, stretch.end);
        if let Some((&before, &stop)) = self.free.range(..start).next_back()
            && stop == start
        {
            self.free.remove(&before);
            self.total -= stop - before;
            start = before;
        }
        if let Some(stop) = self.free.remove(&end) {
            self.total -= stop - end;
            end = stop;
        }
        self.insert(start, end);
    }

    fn insert(&mut self, start: u64, end: u64) {
        if start < end {
            self.free.insert(start, end);
            self.total += end - start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((0u8..3, 1u64..9, 0u32..3), 1..60)) {
            let mut intervals = Intervals::new(3..60);
            let mut plain: BTreeSet<u64> = (3..60).collect();
            let mut taken: Vec<u64> = Vec::new();
            for (kind, count, power) in steps {
                let align = 1 << power;
                match kind {
                    0 => {
                        let want = (0..60u64)
                            .find(|first| first % align == 0 && (*first..first + count).all(|n| plain.contains(&n)));
                        let got = intervals.take(count, align);
                        prop_assert_eq!(got, want);
                        for number in got.into_iter().flat_map(|first| first..first + count) {
                            plain.remove(&number);
                            taken.push(number);
                        }
                    }
                    1 if !taken.is_empty() => {
                        let number = taken.swap_remove(count as usize % taken.len());
                        intervals.give(number);
                        plain.insert(number);
                    }
                    _ => {
                        intervals.reserve(count..count + 4);
                        (count..count + 4).for_each(|number| { plain.remove(&number); });
                    }
                }
                prop_assert_eq!(intervals.total(), plain.len() as u64);
            }
        }
    }
}
