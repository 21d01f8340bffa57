//! Draws that look random and are the same everywhere: SplitMix64, seeded by what is drawn for.
//!
//! It spreads buckets and jobs, and keeps no secret. Nothing from outside comes in, so a plan can be made again.

/// A series of draws.
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The series of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0. By multiplication, so all are as likely as 2^-64 allows.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let scaled = (u128::from(self.next()) * end as u128) >> 64;
        usize::try_from(scaled).expect("it is below `end`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_that_of_the_published_generator() {
        let mut draw = Draw::new(1_234_567);
        let series = [draw.next(), draw.next(), draw.next()];
        assert_eq!(
            series,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn draws_below_an_end_reach_all_that_is_below_it() {
        let mut draw = Draw::new(7);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[draw.below(5)] += 1;
        }
        assert!(seen.iter().all(|&times| times > 150), "{seen:?}");
        assert_eq!(draw.below(0), 0);
    }
}
