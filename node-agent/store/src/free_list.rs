//! The free segments of a disk: the one thing that its shards share.
//!
//! A shard comes here once for each segment that it fills or frees, never for a write. A segment
//! taken belongs to the taker alone until it gives it back; bitmaps are not here.

use crate::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;

/// A segment that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSegment {
    /// Its number.
    pub number: u32,
    /// How often it was taken so far.
    pub incarnation: u64,
    /// Sequence of the newest head written in it.
    pub head_sequence: u64,
}

/// What a segment is wanted for: how deep into the reserve the taker may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Data of users: leaves the reserve alone.
    Data,
    /// Trims, deletes and records: may leave as little as compaction needs.
    Metadata,
    /// Compaction: may take the last, for it gives back at least as many.
    Compaction,
}

/// Segments kept from data, for each shard.
const RESERVE_PER_SHARD: usize = 3;
/// Segments kept for compaction alone, for each shard.
const COMPACTION_PER_SHARD: usize = 2;

/// The free segments.
#[derive(Debug)]
pub struct FreeList {
    free: Mutex<Vec<FreeSegment>>,
    shards: usize,
    /// How often anyone came here.
    #[cfg(test)]
    pub(crate) visits: std::sync::atomic::AtomicUsize,
}

impl FreeList {
    /// The list of a disk with so many shards.
    pub fn new(shards: u32, mut free: Vec<FreeSegment>) -> Self {
        // The lowest number is taken first.
        free.sort_by_key(|segment| std::cmp::Reverse(segment.number));
        Self {
            free: Mutex::new(free),
            shards: shards as usize,
            #[cfg(test)]
            visits: std::sync::atomic::AtomicUsize::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FreeSegment>> {
        #[cfg(test)]
        self.visits
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Nothing panics between two changes of the list, so a poisoned one is still whole.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Segments that stay when one is taken for this purpose.
    pub fn reserve(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Data => RESERVE_PER_SHARD * self.shards,
            Purpose::Metadata => COMPACTION_PER_SHARD * self.shards,
            Purpose::Compaction => 0,
        }
    }

    /// Takes a segment, unless only the reserve is left.
    pub fn take(&self, purpose: Purpose) -> Option<FreeSegment> {
        let reserve = self.reserve(purpose);
        let mut free = self.lock();
        if free.len() <= reserve {
            None
        } else {
            free.pop()
        }
    }

    /// Gives a segment back.
    pub fn give(&self, segment: FreeSegment) {
        let mut free = self.lock();
        assert!(
            free.iter().all(|other| other.number != segment.number),
            "a segment was freed twice"
        );
        free.push(segment);
    }

    /// How many are free.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is free.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn segments(count: u32) -> Vec<FreeSegment> {
        (0..count)
            .map(|number| FreeSegment {
                number,
                incarnation: 0,
                head_sequence: 2,
            })
            .collect()
    }

    #[test]
    fn each_purpose_stops_at_its_reserve() {
        let list = FreeList::new(1, segments(4));
        assert_eq!(
            list.take(Purpose::Data).map(|segment| segment.number),
            Some(0)
        );
        assert_eq!(list.take(Purpose::Data), None);
        assert!(list.take(Purpose::Metadata).is_some());
        assert_eq!(list.take(Purpose::Metadata), None);
        assert!(list.take(Purpose::Compaction).is_some());
        assert!(list.take(Purpose::Compaction).is_some());
        assert!(list.take(Purpose::Compaction).is_none());
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_segment_is_not_freed_twice() {
        let list = FreeList::new(1, segments(4));
        let segment = list.take(Purpose::Data).unwrap();
        list.give(segment);
        list.give(segment);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Run with `RUSTFLAGS="--cfg loom" cargo test -p moraine-store --lib --release loom_tests`.
    #[test]
    fn no_segment_has_two_owners_and_none_is_lost() {
        loom::model(|| {
            let free = (0..2)
                .map(|number| FreeSegment {
                    number,
                    incarnation: 0,
                    head_sequence: 2,
                })
                .collect();
            let list = Arc::new(FreeList::new(1, free));
            let owners: [Arc<loom::sync::atomic::AtomicUsize>; 2] =
                std::array::from_fn(|_| Arc::default());
            let shards: Vec<_> = (0..2)
                .map(|_| {
                    let (list, owners) = (Arc::clone(&list), owners.clone());
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let Some(segment) = list.take(Purpose::Compaction) else {
                                continue;
                            };
                            let owner = &owners[segment.number as usize];
                            let order = loom::sync::atomic::Ordering::Relaxed;
                            assert_eq!(owner.fetch_add(1, order), 0, "two owners");
                            owner.fetch_sub(1, order);
                            list.give(segment);
                        }
                    })
                })
                .collect();
            for shard in shards {
                shard.join().unwrap();
            }
            assert_eq!(list.len(), 2);
        });
    }
}
