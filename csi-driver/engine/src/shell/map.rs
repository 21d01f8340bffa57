//! The newest map that is known: where disks are, and the entry of each bucket. What comes in is
//! held against it, since a map that goes back would bring back replicas that lack writes.

use moraine_model::{BucketEntry, BucketId, ClusterId, DiskId, Epoch};
use moraine_protocol::{DiskPlace, MapFile, NotNewer};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a new map isn't taken. The one before stays in use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapChangeError {
    /// It can't follow the one in use.
    #[error(transparent)]
    NotNewer(#[from] NotNewer),
    /// An entry has changed, but its epoch hasn't.
    #[error("bucket {} has changed, but its epoch is still {}: raise it with each change", .bucket.get(), .epoch.0)]
    SameEpoch {
        /// The bucket.
        bucket: BucketId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The attachment has ended, and takes no map.
    #[error("the volume is detached here")]
    Ended,
}

/// The newest map.
#[derive(Debug)]
pub(super) struct KnownMap {
    cluster: ClusterId,
    disks: BTreeMap<DiskId, DiskPlace>,
    entries: Vec<BucketEntry>,
}

impl KnownMap {
    /// The first map, and what a former engine has kept: of each entry the newer counts.
    pub(super) fn new(map: MapFile, kept: &BTreeMap<BucketId, BucketEntry>) -> Self {
        let newer = |entry: BucketEntry| match kept.get(&entry.bucket()) {
            Some(kept) if kept.epoch() > entry.epoch() => kept.clone(),
            _ => entry,
        };
        Self {
            cluster: map.cluster,
            disks: map.disks.into_iter().map(|disk| (disk.id, disk)).collect(),
            entries: map.entries.into_iter().map(newer).collect(),
        }
    }

    /// All entries, in order of bucket.
    pub(super) fn entries(&self) -> &[BucketEntry] {
        &self.entries
    }

    /// Where the disks are that some bucket has a replica on.
    pub(super) fn listed_disks(&self) -> BTreeMap<DiskId, &DiskPlace> {
        let listings = self.entries.iter().flat_map(BucketEntry::listings);
        let places = listings.filter_map(|listing| self.disks.get(&listing.disk));
        places.map(|place| (place.id, place)).collect()
    }

    /// Takes a newer map whole, or nothing of it. Returns the entries that have changed.
    pub(super) fn accept(&mut self, map: MapFile) -> Result<Vec<BucketEntry>, MapChangeError> {
        map.check_follows(self.cluster, &self.entries)?;
        let mut changed = Vec::new();
        for (ours, found) in self.entries.iter().zip(&map.entries) {
            if found != ours && found.epoch() == ours.epoch() {
                return Err(MapChangeError::SameEpoch {
                    bucket: ours.bucket(),
                    epoch: ours.epoch(),
                });
            }
            if found != ours {
                changed.push(found.clone());
            }
        }
        self.entries = map.entries;
        self.disks = map.disks.into_iter().map(|disk| (disk.id, disk)).collect();
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::{Listing, Role};

    fn map() -> MapFile {
        let disks = (1..=3).map(|number| DiskPlace {
            id: DiskId::new(number).unwrap(),
            address: format!("10.0.0.{number}:7700"),
            shards: 1,
        });
        MapFile::spread(ClusterId::new(9).unwrap(), disks.collect(), 4, 2).unwrap()
    }

    /// Bucket 2 on the first disk alone, at this epoch.
    fn at(epoch: u64) -> BucketEntry {
        let listing = Listing {
            disk: DiskId::new(1).unwrap(),
            role: Role::InSync,
            since: Epoch(1),
        };
        BucketEntry::new(BucketId::new(2).unwrap(), Epoch(epoch), vec![listing]).unwrap()
    }

    #[test]
    fn a_newer_map_is_taken_and_says_what_changed() {
        let mut known = KnownMap::new(map(), &BTreeMap::new());
        assert_eq!(known.accept(map()), Ok(vec![]));
        let mut newer = map();
        newer.entries[2] = at(5);
        newer.disks[1].address = "10.0.0.9:7700".to_owned();
        assert_eq!(known.accept(newer), Ok(vec![at(5)]));
        assert_eq!(known.entries()[2], at(5));
        let moved = known.listed_disks()[&DiskId::new(2).unwrap()];
        assert_eq!(moved.address, "10.0.0.9:7700");
    }

    #[test]
    fn of_a_map_that_goes_back_nothing_is_taken() {
        let mut known = KnownMap::new(map(), &BTreeMap::new());
        let mut newer = map();
        newer.entries[2] = at(5);
        known.accept(newer.clone()).unwrap();
        let mut mixed = newer.clone();
        mixed.entries[2] = at(4);
        mixed.disks.clear();
        let refused = known.accept(mixed).unwrap_err();
        assert!(matches!(
            refused,
            MapChangeError::NotNewer(NotNewer::GoesBack { .. })
        ));
        assert_eq!(known.listed_disks().len(), 3);
        newer.entries[0] = {
            let listings = newer.entries[0].listings()[..1].to_vec();
            BucketEntry::new(BucketId::new(0).unwrap(), Epoch(1), listings).unwrap()
        };
        let refused = known.accept(newer.clone()).unwrap_err();
        assert!(matches!(refused, MapChangeError::SameEpoch { .. }));
        newer.entries.pop();
        let refused = known.accept(newer.clone()).unwrap_err();
        assert!(matches!(
            refused,
            MapChangeError::NotNewer(NotNewer::OtherBuckets { .. })
        ));
        newer.cluster = ClusterId::new(8).unwrap();
        let refused = known.accept(newer).unwrap_err();
        assert!(matches!(
            refused,
            MapChangeError::NotNewer(NotNewer::OtherCluster { .. })
        ));
    }

    #[test]
    fn what_a_former_engine_used_counts_when_it_is_newer() {
        let kept = [(BucketId::new(2).unwrap(), at(7))].into();
        let known = KnownMap::new(map(), &kept);
        assert_eq!(known.entries()[2], at(7));
        assert_eq!(known.entries()[1], map().entries[1]);
    }
}
