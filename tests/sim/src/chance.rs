//! All chance of a run, from one seed. Who wants randomness asks here, in the order of the run, so
//! that the same seed gives the same run.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use std::ops::RangeInclusive;

/// The generator of a run.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The generator of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A generator whose draws leave this one's alone but for one.
    #[must_use]
    pub(crate) fn branch(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }

    /// Any number below `end`, which must not be zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a count fits 64 bits");
        assert!(end > 0, "one of nothing can't be drawn");
        usize::try_from(self.0.next_u64() % end).expect("it is below a count")
    }

    /// Any number of the range.
    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        first + self.0.next_u64() % (last - first + 1)
    }

    /// Any number of the range, small ones more often: each magnitude is as likely as the next.
    pub(crate) fn skewed(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        let bits = (last - first + 1).ilog2();
        let width = self.within(0..=u64::from(bits));
        let span = ((1 << (width + 1)) - 1).min(last - first);
        first + self.within(0..=span)
    }

    /// True in so many of a thousand draws.
    pub(crate) fn permille(&mut self, share: u32) -> bool {
        self.0.next_u64() % 1000 < u64::from(share)
    }

    /// One of these, if there are any.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            let mut branch = chance.branch();
            let drawn = (0..50).map(|_| (chance.within(3..=9), branch.skewed(0..=5000)));
            drawn.collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut chance = Chance::new(1);
        for _ in 0..1000 {
            assert!((3..=9).contains(&chance.within(3..=9)));
            assert!((10..=10_000).contains(&chance.skewed(10..=10_000)));
            assert_eq!(chance.skewed(4..=4), 4);
            assert!(chance.below(3) < 3);
        }
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
