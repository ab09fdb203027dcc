//! A map from guest pages, whose neighbours are mostly there as well.

use std::collections::BTreeMap;
use std::ops::Range;

/// Pages of a stretch.
const STRETCH: u64 = 64;

/// Something for each page.
#[derive(Debug)]
pub(super) struct PageMap<T> {
    /// By page / 64. None is taken away before all are.
    stretches: BTreeMap<u64, Box<Stretch<T>>>,
}

type Stretch<T> = [Option<T>; STRETCH as usize];

impl<T> Default for PageMap<T> {
    fn default() -> Self {
        Self { stretches: BTreeMap::new() }
    }
}

impl<T> PageMap<T> {
    /// What a page has.
    pub(super) fn get(&self, page: u64) -> Option<&T> {
        self.stretches.get(&(page / STRETCH))?[(page % STRETCH) as usize].as_ref()
    }

    /// Gives a page something; returns what it had.
    pub(super) fn insert(&mut self, page: u64, value: T) -> Option<T> {
        let stretch = self.stretches.entry(page / STRETCH).or_insert_with(|| Box::new([const { None }; 64]));
        stretch[(page % STRETCH) as usize].replace(value)
    }

    /// Takes from a page what it has.
    pub(super) fn remove(&mut self, page: u64) -> Option<T> {
        self.stretches.get_mut(&(page / STRETCH))?[(page % STRETCH) as usize].take()
    }

    /// The pages of a range that have something, ascending.
    pub(super) fn within(&self, pages: Range<u64>) -> impl Iterator<Item = u64> {
        let stretches = pages.start / STRETCH..pages.end.max(pages.start).div_ceil(STRETCH).max(pages.start / STRETCH);
        let all = self.stretches.range(stretches).flat_map(|(number, stretch)| {
            let first = number * STRETCH;
            (first..).zip(stretch.iter()).filter_map(|(page, value)| value.is_some().then_some(page))
        });
        all.filter(move |page| pages.contains(page))
    }

    /// Everything, by ascending pages.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.stretches.values().flat_map(|stretch| stretch.iter().flatten())
    }

    /// Takes everything away.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As the map of the standard library.
        #[test]
        fn it_is_a_map(changes in prop::collection::vec((0u64..300, any::<bool>()), 0..200), ends in (0u64..320, 0u64..320)) {
            let (mut map, mut plain) = (PageMap::default(), BTreeMap::new());
            for (number, (page, insert)) in changes.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(map.insert(page, number), plain.insert(page, number));
                } else {
                    prop_assert_eq!(map.remove(page), plain.remove(&page));
                }
                prop_assert_eq!(map.get(page), plain.get(&page));
            }
            let (first, end) = ends;
            let found: Vec<u64> = map.within(first..end).collect();
            let wanted: Vec<u64> = plain.keys().copied().filter(|page| (first..end).contains(page)).collect();
            prop_assert_eq!(found, wanted);
            prop_assert!(map.values().eq(plain.values()));
            map.clear();
            prop_assert_eq!(map.within(0..u64::MAX).count(), 0);
        }
    }
}
