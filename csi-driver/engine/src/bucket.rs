//! What the engine knows of one bucket: its entry, which replicas are open under it, how far it is
//! reconciled, and what is in flight there. Steps from one state to the next are taken elsewhere.

use crate::reconcile::Reconcile;
use moraine_model::{BucketEntry, Cut, Epoch, Generation, Role, Stamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How far a replica is open under the bucket's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It isn't.
    Not,
    /// It waits to be asked.
    Waits,
    /// It is asked.
    Asked,
    /// It is open, and said this.
    Open(Opened),
}

/// What a replica said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) mark: Stamp,
    pub(crate) cut: Cut,
    pub(crate) above_mark: bool,
}

/// How far it has been told that the engine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    Not,
    Asked,
    Closed,
}

/// A listed replica; its place in the entry is its slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replica {
    pub(crate) disk: usize,
    pub(crate) role: Role,
    pub(crate) since: Epoch,
    pub(crate) opening: Opening,
    pub(crate) closing: Closing,
}

impl Replica {
    pub(crate) fn opened(&self) -> Option<Opened> {
        match self.opening {
            Opening::Open(opened) => Some(opened),
            _ => None,
        }
    }
}

/// How far the bucket is reconciled, which is done once.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Not begun, or begun and put off by a new entry.
    Fresh,
    /// All replicas are open, and it waits until few enough others are being reconciled.
    Waits,
    /// Under way.
    Reconciling(Box<Reconcile>),
    /// Done.
    Whole,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) entry: BucketEntry,
    /// Whether the entry is durable here.
    pub(crate) kept: bool,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) stage: Stage,
    /// Whether reconciliation found a block that can't be decided, since what counts can't be read.
    /// No mark is true then: the next engine is to look at the block again.
    pub(crate) undecided: bool,
    /// Whether reads and new writes are served: all listed replicas are open under the entry, and
    /// the bucket is reconciled (invariant I5).
    pub(crate) ready: bool,
    /// Writes in flight, by sequence number.
    pub(crate) flights: BTreeMap<u64, usize>,
    /// How many of those reconcile it.
    pub(crate) reconcile_flights: usize,
    pub(crate) reads: BTreeSet<usize>,
    /// Pieces of operations that hold their blocks and wait for the bucket, or for a new cut.
    pub(crate) parked: VecDeque<usize>,
}

impl Bucket {
    /// A bucket of which nothing is known but its entry, which is not durable yet.
    pub(crate) fn new(entry: BucketEntry) -> Self {
        Self {
            entry,
            kept: false,
            replicas: Vec::new(),
            stage: Stage::Fresh,
            undecided: false,
            ready: false,
            flights: BTreeMap::new(),
            reconcile_flights: 0,
            reads: BTreeSet::new(),
            parked: VecDeque::new(),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.entry.epoch()
    }

    /// All slots, as bits.
    pub(crate) fn all(&self) -> u8 {
        let count = u32::try_from(self.replicas.len()).expect("an entry lists at most 8");
        u8::try_from((1_u32 << count) - 1).expect("an entry lists at most 8")
    }

    pub(crate) fn slots(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.replicas.len()).expect("an entry lists at most 8")
    }

    pub(crate) fn replica(&self, slot: u8) -> &Replica {
        &self.replicas[usize::from(slot)]
    }

    pub(crate) fn replica_mut(&mut self, slot: u8) -> &mut Replica {
        &mut self.replicas[usize::from(slot)]
    }

    pub(crate) fn all_open(&self) -> bool {
        self.replicas
            .iter()
            .all(|replica| replica.opened().is_some())
    }

    pub(crate) fn all_closed(&self) -> bool {
        self.replicas
            .iter()
            .all(|replica| replica.closing == Closing::Closed)
    }

    /// The commit mark: every write of the volume to the bucket up to it is acknowledged by all
    /// that are listed. `issued` is the last sequence number that any write of the engine got.
    ///
    /// Until the bucket is wholly reconciled a former engine's writes may lie on some replicas only,
    /// so that no mark of this generation is true yet.
    pub(crate) fn mark(&self, generation: Generation, issued: u64) -> Stamp {
        if !matches!(self.stage, Stage::Whole) || self.undecided {
            return Stamp::ZERO;
        }
        let lowest = self.flights.first_key_value();
        let sequence = lowest.map_or(issued, |(sequence, _)| sequence - 1);
        Stamp {
            generation,
            sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::{BucketId, DiskId, Listing};

    #[test]
    fn the_mark_lies_below_every_write_in_flight_and_waits_for_reconciliation() {
        let listing = Listing {
            disk: DiskId::new(1).unwrap(),
            role: Role::InSync,
            since: Epoch(1),
        };
        let id = BucketId::new(0).unwrap();
        let entry = BucketEntry::new(id, Epoch(1), vec![listing]).unwrap();
        let mut bucket = Bucket::new(entry);
        bucket.kept = true;
        let generation = Generation {
            attach: 3,
            incarnation: 0,
        };
        assert_eq!(bucket.mark(generation, 9), Stamp::ZERO);
        bucket.stage = Stage::Whole;
        assert_eq!(bucket.mark(generation, 9), Stamp::new(3, 0, 9));
        bucket.flights.insert(7, 0);
        bucket.flights.insert(5, 1);
        assert_eq!(bucket.mark(generation, 9), Stamp::new(3, 0, 4));
        bucket.undecided = true;
        assert_eq!(bucket.mark(generation, 9), Stamp::ZERO);
    }
}
