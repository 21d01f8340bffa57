//! The map as the values that the data plane works with, and back.
//!
//! Who changes an entry, and when, is decided elsewhere; here only what can't be is refused, since an
//! object may have been edited by hand.

use super::{BucketMap, BucketPlace, DiskEntry};
use moraine_model::{BucketEntry, BucketId, ClusterId, DiskId, Epoch, Listing, OutOfRange, Role};
use std::net::SocketAddr;
use thiserror::Error;

/// Why an object is no map that could be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadMap {
    /// A value can't be.
    #[error(transparent)]
    Value(#[from] OutOfRange),
    /// An entry names a disk by a place that the list of disks doesn't have.
    #[error("bucket {bucket} lies on disk number {disk}, but the map has only {disks} disks")]
    NoSuchDisk {
        /// The bucket.
        bucket: usize,
        /// The place that it names.
        disk: u32,
        /// The places that there are.
        disks: usize,
    },
    /// `since` doesn't say it for each replica.
    #[error("bucket {bucket} lists {replicas} replicas, but `since` has {found} epochs")]
    Since {
        /// The bucket.
        bucket: usize,
        /// The replicas that it lists.
        replicas: usize,
        /// The epochs that there are.
        found: usize,
    },
}

impl BucketMap {
    /// The id that the pool's disks carry, by which agents and engines know that they are of one pool.
    pub fn cluster(&self) -> Result<ClusterId, BadMap> {
        Ok(self.spec.pool_id.parse()?)
    }

    /// The entry of each bucket, in order of bucket; none while no disk was placed yet.
    pub fn entries(&self) -> Result<Vec<BucketEntry>, BadMap> {
        let Some(status) = &self.status else {
            return Ok(Vec::new());
        };
        let ids = status.disks.iter().map(DiskEntry::id);
        let ids: Vec<DiskId> = ids.collect::<Result<_, _>>()?;
        let buckets = status.buckets.iter().enumerate();
        buckets
            .map(|(number, place)| entry(number, place, &ids))
            .collect()
    }
}

impl DiskEntry {
    /// The id of the disk.
    pub fn id(&self) -> Result<DiskId, OutOfRange> {
        self.id.parse()
    }

    /// Where the disk is served: the first of its addresses that is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(|text| text.parse().ok())
    }
}

fn entry(number: usize, place: &BucketPlace, disks: &[DiskId]) -> Result<BucketEntry, BadMap> {
    let replicas = place.in_sync.len() + place.syncing.len();
    if place.since.len() != replicas {
        return Err(BadMap::Since {
            bucket: number,
            replicas,
            found: place.since.len(),
        });
    }
    let in_sync = place.in_sync.iter().map(|disk| (disk, Role::InSync));
    let syncing = place.syncing.iter().map(|disk| (disk, Role::Syncing));
    let listings = in_sync.chain(syncing).zip(&place.since);
    let listings = listings.map(|((&disk, role), &since)| {
        let id = usize::try_from(disk).ok().and_then(|disk| disks.get(disk));
        Ok::<_, BadMap>(Listing {
            disk: *id.ok_or(BadMap::NoSuchDisk {
                bucket: number,
                disk,
                disks: disks.len(),
            })?,
            role,
            since: Epoch(since),
        })
    });
    let listings: Vec<_> = listings.collect::<Result<_, _>>()?;
    let bucket = BucketId::new(u32::try_from(number).unwrap_or(u32::MAX))?;
    Ok(BucketEntry::new(bucket, Epoch(place.epoch), listings)?)
}

#[cfg(test)]
mod tests {
    use super::super::{BucketMapSpec, BucketMapStatus};
    use super::*;

    fn map() -> BucketMap {
        let disk = |number: u128| DiskEntry {
            node: format!("worker-{number}"),
            id: format!("{number:032x}"),
            shards: 2,
            addresses: vec!["10.0.0.1:7420".into()],
        };
        let mut map = BucketMap::new(
            "a",
            BucketMapSpec {
                pool: "a".into(),
                pool_id: format!("{:032x}", 7),
                buckets: 1,
            },
        );
        map.status = Some(BucketMapStatus {
            epoch: 5,
            disks: (1..=3).map(disk).collect(),
            buckets: vec![BucketPlace {
                epoch: 5,
                in_sync: vec![2, 0],
                syncing: vec![1],
                since: vec![1, 3, 5],
                away: Vec::new(),
                moving: None,
            }],
            ..BucketMapStatus::default()
        });
        map
    }

    #[test]
    fn entries_say_what_the_object_says() {
        let map = map();
        assert_eq!(map.cluster().unwrap().get(), 7);
        let entries = map.entries().unwrap();
        let said: Vec<_> = entries[0]
            .listings()
            .iter()
            .map(|l| (l.disk.get(), l.role, l.since.0))
            .collect();
        let expected = [
            (1, Role::InSync, 3),
            (2, Role::Syncing, 5),
            (3, Role::InSync, 1),
        ];
        assert_eq!(said, expected);
        assert_eq!(entries[0].epoch(), Epoch(5));
    }

    #[test]
    fn a_map_without_status_has_no_entries() {
        let mut map = map();
        map.status = None;
        assert_eq!(map.entries(), Ok(Vec::new()));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let refused = |bend: fn(&mut BucketPlace)| {
            let mut map = map();
            bend(&mut map.status.as_mut().unwrap().buckets[0]);
            map.entries().unwrap_err().to_string()
        };
        assert!(refused(|b| b.syncing = vec![3]).contains("only 3 disks"));
        assert!(refused(|b| b.since = vec![1]).contains("`since` has 1 epochs"));
        assert!(refused(|b| b.since = vec![6, 1, 1]).contains("not younger"));
        assert!(refused(|b| b.syncing = vec![0]).contains("one replica on each disk"));
    }
}
