//! The free segments of a disk: the one thing that its shards share.
//!
//! A shard comes here once for each segment that it fills or frees, never for a write. A segment
//! taken belongs to the taker alone until it gives it back; bitmaps are not here.

use crate::sync::{Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};

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

/// What a segment is wanted for: how deep into the reserve the taker may reach, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Data of users: leaves the reserve alone.
    Data,
    /// Zeros and holes, by which most space comes back.
    Trim,
    /// Deletes, drops and notes, even where trims have filled the disk.
    Record,
    /// Compaction: may take the last, for it gives back at least as many.
    Compaction,
}

/// Segments kept from data, for each shard.
const FROM_DATA: usize = 3;
/// Segments kept from trims too, for each shard.
const FROM_TRIMS: usize = 2;
/// Segments kept for compaction alone, for each shard: it takes one at a time.
const FROM_RECORDS: usize = 1;

/// The free segments, and which shards may give more.
#[derive(Debug)]
pub struct FreeList {
    state: Mutex<State>,
    shards: usize,
    /// How often anyone came here.
    #[cfg(test)]
    pub(crate) visits: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
struct State {
    free: Vec<FreeSegment>,
    /// For each shard, whether it is giving segments back, or can.
    coming: Vec<bool>,
}

/// One shard's word on the free list that it is giving segments back, or can. It is withdrawn when
/// this is dropped, so that nobody waits for a shard that is gone.
#[derive(Debug)]
pub(crate) struct Pledge {
    list: Arc<FreeList>,
    shard: usize,
    given: bool,
}

impl Pledge {
    pub(crate) fn new(list: Arc<FreeList>, shard: u32) -> Self {
        Self {
            list,
            shard: shard as usize,
            given: false,
        }
    }

    pub(crate) fn set(&mut self, coming: bool) {
        if self.given != coming {
            self.given = coming;
            let mut state = self.list.lock();
            if let Some(flag) = state.coming.get_mut(self.shard) {
                *flag = coming;
            }
        }
    }

    /// Whether another shard is giving segments back, or can.
    pub(crate) fn others_may_give(&self) -> bool {
        let state = self.list.lock();
        let mut others = state.coming.iter().enumerate();
        others.any(|(shard, coming)| shard != self.shard && *coming)
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl FreeList {
    /// The list of a disk with so many shards.
    pub fn new(shards: u32, mut free: Vec<FreeSegment>) -> Self {
        // The lowest number is taken first.
        free.sort_by_key(|segment| std::cmp::Reverse(segment.number));
        let state = State {
            free,
            coming: vec![false; shards as usize],
        };
        Self {
            state: Mutex::new(state),
            shards: shards as usize,
            #[cfg(test)]
            visits: std::sync::atomic::AtomicUsize::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        #[cfg(test)]
        self.visits
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Nothing panics between two changes of the list, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Segments that stay when one is taken for this purpose.
    pub fn reserve(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Data => FROM_DATA * self.shards,
            Purpose::Trim => FROM_TRIMS * self.shards,
            Purpose::Record => FROM_RECORDS * self.shards,
            Purpose::Compaction => 0,
        }
    }

    /// Takes a segment, unless only the reserve is left.
    pub fn take(&self, purpose: Purpose) -> Option<FreeSegment> {
        let reserve = self.reserve(purpose);
        let mut state = self.lock();
        if state.free.len() <= reserve {
            None
        } else {
            state.free.pop()
        }
    }

    /// Gives a segment back.
    pub fn give(&self, segment: FreeSegment) {
        let mut state = self.lock();
        let known = state.free.iter().map(|other| other.number);
        assert!(
            known.into_iter().all(|number| number != segment.number),
            "a segment was freed twice"
        );
        state.free.push(segment);
    }

    /// How many are free.
    pub fn len(&self) -> usize {
        self.lock().free.len()
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
        for purpose in [Purpose::Trim, Purpose::Record, Purpose::Compaction] {
            assert!(list.take(purpose).is_some(), "{purpose:?}");
            assert_eq!(list.take(purpose), None, "{purpose:?}");
        }
    }

    #[test]
    fn a_pledge_is_seen_by_others_until_it_is_withdrawn_or_dropped() {
        let list = Arc::new(FreeList::new(2, segments(1)));
        let [mut first, second] = [0, 1].map(|shard| Pledge::new(Arc::clone(&list), shard));
        first.set(true);
        assert!(second.others_may_give() && !first.others_may_give());
        first.set(false);
        assert!(!second.others_may_give());
        first.set(true);
        drop(first);
        assert!(!second.others_may_give());
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
