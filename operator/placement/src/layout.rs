//! What a plan is made from: the disks, and where each bucket lies now. Plain values; nothing is decided here.

use moraine_model::REPLICAS_MAX;
use thiserror::Error;

/// A disk that may hold buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its failure domain, as a number of the caller's choice. `None`: it has none and gets no bucket; what it has is
    /// to move away.
    pub domain: Option<u32>,
    /// Its share of the buckets beside the other disks', bytes as a rule; 0: all it has is to move away (evicted, lost
    /// for good).
    pub weight: u64,
    /// Whether it may take more buckets than it has (not when cordoned, nearly full, or down for a while). What it has
    /// stays, up to its share.
    pub takes: bool,
}

impl Disk {
    /// Whether what it has may stay.
    pub(crate) fn stays(&self) -> bool {
        self.weight > 0 && self.domain.is_some()
    }
}

/// What is to be placed, on what, and where it lies now.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The disks; buckets refer to them by their place here.
    pub disks: &'a [Disk],
    /// Replicas that each bucket is to have: at least 1, at most [`REPLICAS_MAX`]. 0 counts as 1, since nobody means to
    /// delete all data by it; of more than can be, [`Plan::short`](crate::Plan::short) tells.
    pub replicas: u32,
    /// Where each bucket lies, with what is listed and still being copied. Without a bucket there is nothing to plan.
    pub held: &'a Held,
}

/// Where each bucket lies: for each of them the places of its disks, flat in memory.
///
/// A place beyond the list of disks is a disk that nobody knows: what lies there is to move away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where the places of each bucket begin, and at last where they all end.
    starts: Vec<u32>,
    places: Vec<u32>,
}

/// Why a list of places can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeldError {
    /// More places than there can be.
    #[error(
        "bucket {bucket} lies on more than {REPLICAS_MAX} disks: the bucket map is damaged; restore it from the disks"
    )]
    TooMany {
        /// The bucket.
        bucket: u32,
    },
    /// One disk twice.
    #[error(
        "bucket {bucket} lists the disk at place {place} twice: the bucket map is damaged; restore it from the disks"
    )]
    Twice {
        /// The bucket.
        bucket: u32,
        /// The place of the disk.
        place: u32,
    },
    /// Places are counted in 32 bits.
    #[error("more than {} places in all: make pools of fewer buckets", u32::MAX)]
    TooLarge,
}

impl Held {
    /// So many buckets that lie nowhere yet.
    pub fn empty(buckets: u32) -> Self {
        Self {
            starts: vec![0; buckets as usize + 1],
            places: Vec::new(),
        }
    }

    /// The places of each bucket, in order of bucket number.
    pub fn new<B, P>(buckets: B) -> Result<Self, HeldError>
    where
        B: IntoIterator<Item = P>,
        P: IntoIterator<Item = u32>,
    {
        let mut held = Self::empty(0);
        for places in buckets {
            held.push(places)?;
        }
        Ok(held)
    }

    fn push(&mut self, places: impl IntoIterator<Item = u32>) -> Result<(), HeldError> {
        let bucket = u32::try_from(self.starts.len() - 1).map_err(|_| HeldError::TooLarge)?;
        let start = self.places.len();
        for place in places {
            let so_far = &self.places[start..];
            if so_far.contains(&place) {
                return Err(HeldError::Twice { bucket, place });
            }
            if so_far.len() == REPLICAS_MAX {
                return Err(HeldError::TooMany { bucket });
            }
            self.places.push(place);
        }
        let end = u32::try_from(self.places.len()).map_err(|_| HeldError::TooLarge)?;
        self.starts.push(end);
        Ok(())
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> u32 {
        u32::try_from(self.starts.len() - 1).expect("`push` counts buckets in 32 bits")
    }

    /// The places of a bucket's disks; none for a bucket that there isn't.
    pub fn of(&self, bucket: u32) -> &[u32] {
        let at = bucket as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => &self.places[start as usize..end as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_as_they_came() {
        let held = Held::new([vec![3, 1], vec![], (0..8).collect()]).unwrap();
        assert_eq!(held.buckets(), 3);
        assert_eq!(held.of(0), [3, 1]);
        assert_eq!(held.of(1), [0; 0]);
        assert_eq!(held.of(2), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(held.of(3), [0; 0]);
        assert_eq!(held.of(u32::MAX), [0; 0]);
        assert_eq!(Held::empty(2), Held::new([[0; 0], [0; 0]]).unwrap());
    }

    #[test]
    fn a_damaged_map_is_refused_with_the_bucket_that_shows_it() {
        let twice = Held::new([vec![1], vec![2, 5, 2]]).unwrap_err();
        assert_eq!(
            twice,
            HeldError::Twice {
                bucket: 1,
                place: 2
            }
        );
        let many = Held::new([(0..9).collect::<Vec<u32>>()]).unwrap_err();
        assert_eq!(many, HeldError::TooMany { bucket: 0 });
        assert!(many.to_string().starts_with("bucket 0 lies on more than 8"));
    }
}
