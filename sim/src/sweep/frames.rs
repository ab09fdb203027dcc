//! Lists of frame numbers: `16,32`, `64..=1024:*2`, `25%`.

use std::collections::BTreeSet;
use std::str::FromStr;

/// Most values of one list.
const MOST: usize = 4096;

/// How many frames to try: numbers, and shares of the pages that a trace touches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameList {
    numbers: BTreeSet<u64>,
    /// Percent, above 0 and at most 100.
    shares: Vec<f64>,
}

/// What is no list of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameListError {
    /// Nothing can be resident in no frames.
    #[error("`{0}`: a guest needs at least 1 frame")]
    Zero(String),
    /// A share that is none.
    #[error("`{0}`: a share is above 0% and at most 100%")]
    Share(String),
    /// A range that never ends, or has nothing in it.
    #[error("`{0}`: a range goes up, `FIRST..=LAST:*K` with K from 2 or `FIRST..=LAST:+K` with K from 1")]
    Range(String),
    /// Neither of them.
    #[error("`{0}`: wanted a number of frames, a share like `25%`, or a range like `64..=1024:*2`")]
    Unknown(String),
    /// Too many.
    #[error("more than {MOST} numbers of frames")]
    TooMany,
}

impl FrameList {
    /// The numbers of frames for a trace of so many pages, rising; a share is rounded up.
    #[must_use]
    pub fn of(&self, pages: u64) -> Vec<u64> {
        let share = |percent: &f64| ((*percent * pages as f64 / 100.0).ceil() as u64).max(1);
        let mut all = self.numbers.clone();
        all.extend(self.shares.iter().map(share));
        all.into_iter().collect()
    }

    fn add(&mut self, item: &str) -> Result<(), FrameListError> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| FrameListError::Unknown(item.into()));
        if let Some(share) = item.strip_suffix('%') {
            let share: f64 = share.parse().map_err(|_| FrameListError::Unknown(item.into()))?;
            if !(share > 0.0 && share <= 100.0) {
                return Err(FrameListError::Share(item.into()));
            }
            self.shares.push(share);
        } else if let Some((first, rest)) = item.split_once("..=") {
            let (last, step) = rest.split_once(':').unwrap_or((rest, "+1"));
            let next = step_of(step).ok_or_else(|| FrameListError::Range(item.into()))?;
            self.add_range(item, number(first)?, number(last)?, next)?;
        } else {
            match number(item)? {
                0 => return Err(FrameListError::Zero(item.into())),
                frames => _ = self.numbers.insert(frames),
            }
        }
        if self.numbers.len() + self.shares.len() > MOST { Err(FrameListError::TooMany) } else { Ok(()) }
    }

    fn add_range(&mut self, item: &str, first: u64, last: u64, next: Step) -> Result<(), FrameListError> {
        if first == 0 {
            return Err(FrameListError::Zero(item.into()));
        }
        if last < first {
            return Err(FrameListError::Range(item.into()));
        }
        let mut frames = Some(first);
        while let Some(one) = frames.filter(|&one| one <= last) {
            self.numbers.insert(one);
            if self.numbers.len() > MOST {
                return Err(FrameListError::TooMany);
            }
            frames = match next {
                Step::Times(factor) => one.checked_mul(factor),
                Step::Plus(step) => one.checked_add(step),
            };
        }
        Ok(())
    }
}

impl FromStr for FrameList {
    type Err = FrameListError;

    fn from_str(text: &str) -> Result<Self, FrameListError> {
        let mut list = Self::default();
        text.split(',').try_for_each(|item| list.add(item.trim()))?;
        Ok(list)
    }
}

#[derive(Clone, Copy)]
enum Step {
    Times(u64),
    Plus(u64),
}

fn step_of(text: &str) -> Option<Step> {
    if let Some(factor) = text.strip_prefix('*') {
        return factor.parse().ok().filter(|&factor| factor > 1).map(Step::Times);
    }
    text.strip_prefix('+')?.parse().ok().filter(|&step| step > 0).map(Step::Plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, pages: u64) -> Vec<u64> {
        text.parse::<FrameList>().unwrap().of(pages)
    }

    #[test]
    fn numbers_ranges_and_shares() {
        assert_eq!(of("32,16,16", 9), [16, 32]);
        assert_eq!(of("64..=1024:*2, 3", 9), [3, 64, 128, 256, 512, 1024]);
        assert_eq!(of("2..=9:+3", 9), [2, 5, 8]);
        assert_eq!(of("2..=4", 9), [2, 3, 4]);
        assert_eq!(of("50%,100%,0.1%,4", 9), [1, 4, 5, 9]);
        assert_eq!(of("9223372036854775808..=18446744073709551615:*2", 9), [1 << 63]);
    }

    #[test]
    fn what_is_no_list() {
        let error = |text: &str| text.parse::<FrameList>().unwrap_err();
        assert_eq!(error("4,0"), FrameListError::Zero("0".into()));
        assert_eq!(error("0..=4"), FrameListError::Zero("0..=4".into()));
        for share in ["0%", "101%", "-1%", "NaN%"] {
            assert_eq!(error(share), FrameListError::Share(share.into()));
        }
        for range in ["4..=3", "1..=4:*1", "1..=4:+0", "1..=4:3", "1..=4:"] {
            assert_eq!(error(range), FrameListError::Range(range.into()));
        }
        for unknown in ["", "4,", "many", "-3", "x..=4", "x%"] {
            assert!(matches!(error(unknown), FrameListError::Unknown(_)), "{unknown}");
        }
        assert_eq!(error("1..=5000"), FrameListError::TooMany);
        assert_eq!(error("1..=18446744073709551615"), FrameListError::TooMany);
    }
}
