//! A bucket map as a file, for agents and engines that run without Kubernetes: tests, benchmarks
//! and first trials.
//!
//! It is JSON, written by a person or by [`MapFile::spread`], and changed by replacing it whole; who
//! reads it again must find epochs that don't go back. In a cluster the BucketMap object says the
//! same.

use moraine_model::{
    BUCKETS_MAX, BucketEntry, BucketId, ClusterId, DiskId, Epoch, Listing, OutOfRange, Role,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// The map of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFile {
    /// The cluster that the disks belong to.
    pub cluster: ClusterId,
    /// The disks that entries list.
    pub disks: Vec<DiskPlace>,
    /// The entry of each bucket, in order of bucket, none missing.
    pub entries: Vec<BucketEntry>,
}

/// Where a disk is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPlace {
    /// The disk.
    pub id: DiskId,
    /// Host and port of its agent.
    pub address: String,
    /// Shards that the disk was formatted with.
    pub shards: u32,
}

/// Why a text is no map.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapFileError {
    /// It isn't JSON of the right shape.
    #[error("the map is not well-formed")]
    Shape(#[from] serde_json::Error),
    /// A value can't be.
    #[error(transparent)]
    Value(#[from] OutOfRange),
    /// An entry names a disk by a place that the list of disks doesn't have.
    #[error("bucket {bucket} lies on disk number {disk}, but the map has only {disks} disks")]
    NoSuchDisk {
        /// The bucket.
        bucket: usize,
        /// The place that it names.
        disk: usize,
        /// The places that there are.
        disks: usize,
    },
    /// The pool has none.
    #[error("the map has no buckets; a pool has 1 to {BUCKETS_MAX}")]
    NoBuckets,
    /// Two places of the list are one disk.
    #[error("disk {0} is in the list twice")]
    TwiceListed(DiskId),
    /// A disk without shards serves nothing.
    #[error("disk {0} has no shards; a disk has at least one")]
    NoShards(DiskId),
}

/// Why a map can't take the place of the one in use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotNewer {
    /// It is another cluster's.
    #[error("the map is of cluster {found}, but this is cluster {ours}")]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// Whose it must be.
        ours: ClusterId,
    },
    /// A pool never changes its number of buckets.
    #[error("the map has {found} buckets, but the pool has {ours}: their number never changes")]
    OtherBuckets {
        /// How many it has.
        found: usize,
        /// How many it must have.
        ours: usize,
    },
    /// An entry is older than the one in use: it would bring back replicas that lack writes.
    #[error("bucket {} is at epoch {} in the map, but at {} already: epochs never go back", .bucket.get(), .found.0, .ours.0)]
    GoesBack {
        /// The bucket.
        bucket: BucketId,
        /// The epoch of its entry.
        found: Epoch,
        /// The one that is in use.
        ours: Epoch,
    },
}

/// The file's own shape: disks are named by their place in the list, so that it stays short.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    cluster: ClusterId,
    disks: Vec<DiskPlace>,
    buckets: Vec<RawEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEntry {
    epoch: u64,
    /// Place of the disk, and the epoch since which it is listed.
    in_sync: Vec<(usize, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    syncing: Vec<(usize, u64)>,
}

impl MapFile {
    /// Reads a map.
    pub fn parse(text: &str) -> Result<Self, MapFileError> {
        let raw: Raw = serde_json::from_str(text)?;
        let mut seen = std::collections::BTreeSet::new();
        for disk in &raw.disks {
            if !seen.insert(disk.id) {
                return Err(MapFileError::TwiceListed(disk.id));
            }
            if disk.shards == 0 {
                return Err(MapFileError::NoShards(disk.id));
            }
        }
        if raw.buckets.is_empty() {
            return Err(MapFileError::NoBuckets);
        }
        let buckets = raw.buckets.into_iter().enumerate();
        let entries = buckets.map(|(number, entry)| entry.checked(number, &raw.disks));
        Ok(Self {
            cluster: raw.cluster,
            entries: entries.collect::<Result<_, _>>()?,
            disks: raw.disks,
        })
    }

    /// The text that [`MapFile::parse`] reads.
    pub fn to_text(&self) -> String {
        let places: BTreeMap<_, _> = self.disks.iter().map(|disk| disk.id).zip(0..).collect();
        let of_role = |entry: &BucketEntry, role| {
            let listings = entry.listings().iter().filter(|l| l.role == role);
            let named = listings.filter_map(|l| Some((*places.get(&l.disk)?, l.since.0)));
            named.collect()
        };
        let buckets = self.entries.iter().map(|entry| RawEntry {
            epoch: entry.epoch().0,
            in_sync: of_role(entry, Role::InSync),
            syncing: of_role(entry, Role::Syncing),
        });
        let raw = Raw {
            cluster: self.cluster,
            disks: self.disks.clone(),
            buckets: buckets.collect(),
        };
        serde_json::to_string(&raw).expect("numbers and texts are always JSON")
    }

    /// A new map: `buckets` buckets with `replicas` replicas each, in sync from epoch 1 on, dealt out
    /// to the disks in turn.
    pub fn spread(
        cluster: ClusterId,
        disks: Vec<DiskPlace>,
        buckets: u32,
        replicas: usize,
    ) -> Result<Self, MapFileError> {
        let one = |bucket: u32| {
            let first = bucket as usize;
            let on = disks.iter().cycle().skip(first % disks.len().max(1));
            let listings = on.take(replicas.min(disks.len())).map(|disk| Listing {
                disk: disk.id,
                role: Role::InSync,
                since: Epoch(1),
            });
            BucketEntry::new(BucketId::new(bucket)?, Epoch(1), listings.collect())
        };
        let entries: Vec<_> = (0..buckets).map(one).collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Err(MapFileError::NoBuckets);
        }
        Ok(Self {
            cluster,
            disks,
            entries,
        })
    }

    /// Refuses this map if it can't follow the cluster and entries that are in use.
    pub fn check_follows(
        &self,
        cluster: ClusterId,
        entries: &[BucketEntry],
    ) -> Result<(), NotNewer> {
        if self.cluster != cluster {
            return Err(NotNewer::OtherCluster {
                found: self.cluster,
                ours: cluster,
            });
        }
        if self.entries.len() != entries.len() {
            return Err(NotNewer::OtherBuckets {
                found: self.entries.len(),
                ours: entries.len(),
            });
        }
        let mut pairs = entries.iter().zip(&self.entries);
        match pairs.find(|(ours, found)| found.epoch() < ours.epoch()) {
            None => Ok(()),
            Some((ours, found)) => Err(NotNewer::GoesBack {
                bucket: ours.bucket(),
                found: found.epoch(),
                ours: ours.epoch(),
            }),
        }
    }

    /// Where a disk is served.
    pub fn disk(&self, id: DiskId) -> Option<&DiskPlace> {
        self.disks.iter().find(|disk| disk.id == id)
    }
}

impl RawEntry {
    fn checked(self, number: usize, disks: &[DiskPlace]) -> Result<BucketEntry, MapFileError> {
        let listing = |(place, since): (usize, u64), role| {
            let disk = disks.get(place).ok_or(MapFileError::NoSuchDisk {
                bucket: number,
                disk: place,
                disks: disks.len(),
            })?;
            Ok::<_, MapFileError>(Listing {
                disk: disk.id,
                role,
                since: Epoch(since),
            })
        };
        let in_sync = self.in_sync.into_iter().map(|l| listing(l, Role::InSync));
        let syncing = self.syncing.into_iter().map(|l| listing(l, Role::Syncing));
        let listings: Vec<_> = in_sync.chain(syncing).collect::<Result<_, _>>()?;
        let bucket = BucketId::new(u32::try_from(number).unwrap_or(u32::MAX))?;
        Ok(BucketEntry::new(bucket, Epoch(self.epoch), listings)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(buckets: u32) -> MapFile {
        let disks = (1..=3).map(|number| DiskPlace {
            id: DiskId::new(number).unwrap(),
            address: format!("127.0.0.1:{}", 7700 + number),
            shards: 2,
        });
        let cluster = ClusterId::new(9).unwrap();
        MapFile::spread(cluster, disks.collect(), buckets, 2).unwrap()
    }

    #[test]
    fn a_map_survives_its_text() {
        let mut map = map(4);
        let [first, second] = [map.disks[0].id, map.disks[1].id];
        let listing = |disk, role, since| Listing {
            disk,
            role,
            since: Epoch(since),
        };
        let listings = vec![
            listing(first, Role::Syncing, 5),
            listing(second, Role::InSync, 1),
        ];
        map.entries[2] = BucketEntry::new(BucketId::new(2).unwrap(), Epoch(5), listings).unwrap();
        assert_eq!(MapFile::parse(&map.to_text()).unwrap(), map);
    }

    #[test]
    fn buckets_are_dealt_out_evenly() {
        let map = map(6);
        for disk in &map.disks {
            let here = map
                .entries
                .iter()
                .filter(|entry| entry.on(disk.id).is_some());
            assert_eq!(here.count(), 4);
        }
    }

    #[test]
    fn a_text_that_is_no_map_says_why() {
        let good = map(2).to_text();
        let cases = [
            ("{", "not well-formed"),
            (&*good.replace("\"shards\":2", "\"shards\":0"), "no shards"),
            (
                &*good.replace("[[0,1],[1,1]]", "[[0,1],[7,1]]"),
                "disk number 7",
            ),
            (
                &*good.replace("[[0,1],[1,1]]", "[]"),
                "at least one replica in sync",
            ),
            (&*good.replace("\"epoch\":1", "\"epoch\":0"), "not younger"),
            (&*good.replace("000002", "000001"), "twice"),
            (
                &*good.replace("\"cluster\"", "\"custer\""),
                "not well-formed",
            ),
        ];
        for (text, why) in cases {
            let error = MapFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
