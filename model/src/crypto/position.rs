//! Where and when a page is sealed: its index and its counter, and how both are packed.

use crate::address::PageIndex;

/// The index of a guest page as far as the cipher can take it: below 2^40 − 2^8.
///
/// The 256 indices at the top are reserved: their components in a dump would begin with ff ff ff ff,
/// which marks a page that is not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SealIndex(u64);

/// The number of a page's encryption, 1 to 2^56 − 1. A row that holds 0 has never been sealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Counter(u64);

/// A page index that does not fit the nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("page index {0:#x}: pages are sealed below {end:#x} only", end = SealIndex::END)]
pub struct IndexOutOfRange(pub u64);

/// A counter that does not fit the nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("page counter {0:#x}: must be 1 to {max:#x} (D42)", max = Counter::MAX.value())]
pub struct CounterOutOfRange(pub u64);

impl SealIndex {
    /// The first index that is refused.
    pub const END: u64 = (1 << 40) - (1 << 8);

    /// Takes a page index.
    ///
    /// # Errors
    /// The index is [`Self::END`] or more.
    pub const fn new(index: u64) -> Result<Self, IndexOutOfRange> {
        if index < Self::END { Ok(Self(index)) } else { Err(IndexOutOfRange(index)) }
    }

    /// The index as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The largest number that the nonce has room for: reserved, so only the vectors may seal it.
    #[cfg(test)]
    pub(super) const PACKING_EDGE: Self = Self((1 << 40) - 1);
}

impl TryFrom<PageIndex> for SealIndex {
    type Error = IndexOutOfRange;

    fn try_from(page: PageIndex) -> Result<Self, Self::Error> {
        Self::new(page.0)
    }
}

impl Counter {
    /// The counter of a page's first encryption.
    pub const FIRST: Self = Self(1);
    /// The last counter; nothing comes after it (D42).
    pub const MAX: Self = Self((1 << 56) - 1);

    /// Takes a counter.
    ///
    /// # Errors
    /// The counter is 0 or above [`Self::MAX`].
    pub const fn new(counter: u64) -> Result<Self, CounterOutOfRange> {
        if counter != 0 && counter <= Self::MAX.0 { Ok(Self(counter)) } else { Err(CounterOutOfRange(counter)) }
    }

    /// The counter as a number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The counter of the next encryption; `None` at the end, never a wrap (I-24, D42).
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < Self::MAX.0 { Some(Self(self.0 + 1)) } else { None }
    }
}

/// The 16 bytes that name one encryption in a dump: index (40 bits), counter (56 bits), 32 zero bits,
/// big-endian (D44). Under profile `xts` the tweak is this value OR the nonce of the configuration.
#[must_use]
pub const fn component(index: SealIndex, counter: Counter) -> [u8; 16] {
    let packed = ((index.0 as u128) << 56) | counter.0 as u128;
    (packed << 32).to_be_bytes()
}

/// The 96-bit nonce of profile `gcm`: index (40 bits), then counter (56 bits), big-endian.
pub(super) const fn nonce(index: SealIndex, counter: Counter) -> [u8; 12] {
    let [nonce @ .., _, _, _, _] = component(index, counter);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_larger_indices_are_refused() {
        let end = (1 << 40) - (1 << 8);
        assert_eq!(SealIndex::new(end - 1).map(SealIndex::value), Ok(end - 1));
        for index in [end, end + 1, (1 << 40) - 1, 1 << 40, u64::MAX] {
            assert_eq!(SealIndex::new(index), Err(IndexOutOfRange(index)));
        }
        assert_eq!(SealIndex::try_from(PageIndex(end)), Err(IndexOutOfRange(end)));
        assert_eq!(
            IndexOutOfRange(end).to_string(),
            "page index 0xffffffff00: pages are sealed below 0xffffffff00 only"
        );
    }

    #[test]
    fn no_index_in_range_looks_like_an_unencrypted_page_in_a_dump() {
        let last = SealIndex::new(SealIndex::END - 1).unwrap();
        assert_ne!(component(last, Counter::MAX)[..4], [0xff; 4]);
        assert_eq!(component(SealIndex(SealIndex::END), Counter::FIRST)[..4], [0xff; 4]);
    }

    #[test]
    fn counters_run_from_1_to_the_maximum_and_never_wrap() {
        let max = (1 << 56) - 1;
        for counter in [0, max + 1, u64::MAX] {
            assert_eq!(Counter::new(counter), Err(CounterOutOfRange(counter)));
        }
        assert_eq!(Counter::new(1), Ok(Counter::FIRST));
        assert_eq!(Counter::new(max), Ok(Counter::MAX));
        assert_eq!(Counter::FIRST.next(), Counter::new(2).ok());
        assert_eq!(Counter(max - 1).next(), Some(Counter::MAX));
        assert_eq!(Counter::MAX.next(), None);
        assert_eq!(CounterOutOfRange(0).to_string(), "page counter 0x0: must be 1 to 0xffffffffffffff (D42)");
    }

    #[test]
    fn index_and_counter_do_not_run_into_each_other() {
        let index = SealIndex::new(0x12_3456_789a).unwrap();
        let counter = Counter::new(0xab_cdef_0123_4567).unwrap();
        let packed = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67];
        assert_eq!(nonce(index, counter), packed);
        assert_eq!(component(index, counter)[..12], packed);
        assert_eq!(component(index, counter)[12..], [0; 4]);
        assert_ne!(nonce(SealIndex(0), Counter::MAX), nonce(SealIndex(1), Counter::FIRST));
        assert_eq!(nonce(SealIndex::PACKING_EDGE, Counter::MAX), [0xff; 12]);
    }
}
