//! The volumes that have something on the disk, each with its shares taken together.
//!
//! A disk knows its own buckets only, so all of this is what this disk knows.

use super::super::source::Recovered;
use moraine_model::{Stamp, VolumeId};
use moraine_store::Share;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
pub(super) struct VolumeRow {
    pub(super) volume: String,
    pub(super) buckets: Vec<u32>,
    pub(super) chunks: u64,
    /// Bytes that its data takes on this disk, snapshots included.
    pub(super) used_bytes: u64,
    /// The greatest cut that anything was written with.
    pub(super) cut: Option<u64>,
    /// Cuts below it that were not deleted, as ranges with both ends: its snapshots, if they were taken.
    pub(super) snapshots: Vec<(u64, u64)>,
    /// The cut that it had when it was deleted.
    pub(super) deleted_at: Option<u64>,
    /// The volume and snapshot that it is a clone of.
    pub(super) parent: Option<(String, u64)>,
    /// Its clones, each with the snapshot that it reads.
    pub(super) clones: Vec<(String, u64)>,
}

#[derive(Default)]
struct Known {
    buckets: BTreeSet<u32>,
    chunks: u64,
    used_bytes: u64,
    cut: Option<u64>,
    /// Snapshots that are deleted in all buckets so far.
    deleted: Option<BTreeSet<u64>>,
    deleted_at: Option<u64>,
    parent: Option<(VolumeId, u64)>,
    clones: BTreeSet<(VolumeId, u64)>,
}

/// What the shards know of volumes.
#[derive(Default)]
pub(super) struct Volumes {
    known: BTreeMap<VolumeId, Known>,
}

impl Volumes {
    /// Adds what a shard knows.
    pub(super) fn add(&mut self, shard: &Recovered) {
        // A clone that has written nothing is known by its parent alone.
        let shares: BTreeSet<Share> = shard.shares().chain(shard.clones()).collect();
        for share in shares {
            let known = self.known.entry(share.volume).or_default();
            known.buckets.insert(share.bucket.get());
            known.chunks += shard.chunks_above(share, Stamp::ZERO).len() as u64;
            known.used_bytes += shard.share_bytes(share);
            let newest = shard.cuts(share).last().map(|cut| cut.0);
            known.cut = known.cut.max(newest);
            let parent = shard.parent(share).map(|(parent, cut)| (parent, cut.0));
            known.parent = known.parent.or(parent);
            let Some(retention) = shard.retention(share) else {
                continue;
            };
            let deleted: BTreeSet<u64> = retention.deleted().map(|cut| cut.0).collect();
            known.deleted = Some(match known.deleted.take() {
                Some(before) => before.intersection(&deleted).copied().collect(),
                None => deleted,
            });
            known.deleted_at = known
                .deleted_at
                .max(retention.head_deleted_at().map(|cut| cut.0));
            let clones = retention.references();
            known
                .clones
                .extend(clones.map(|(cut, child)| (child, cut.0)));
        }
    }

    pub(super) fn rows(self) -> Vec<VolumeRow> {
        self.known
            .into_iter()
            .map(|(volume, known)| known.row(volume))
            .collect()
    }
}

impl Known {
    fn row(self, volume: VolumeId) -> VolumeRow {
        let head = self.deleted_at.or(self.cut).unwrap_or(0);
        let named = |(volume, cut): (VolumeId, u64)| (volume.to_string(), cut);
        VolumeRow {
            volume: volume.to_string(),
            buckets: self.buckets.into_iter().collect(),
            chunks: self.chunks,
            used_bytes: self.used_bytes,
            cut: self.cut,
            snapshots: kept(head, &self.deleted.unwrap_or_default()),
            deleted_at: self.deleted_at,
            parent: self.parent.map(named),
            clones: self.clones.into_iter().map(named).collect(),
        }
    }
}

/// The cuts below `head` that are not deleted, as ranges with both ends.
fn kept(head: u64, deleted: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut next = 0;
    for &cut in deleted.range(..head).chain([&head]) {
        if next < cut {
            ranges.push((next, cut - 1));
        }
        next = cut + 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_what_was_not_deleted() {
        let kept = |head, deleted: &[u64]| kept(head, &deleted.iter().copied().collect());
        assert_eq!(kept(0, &[]), []);
        assert_eq!(kept(5, &[]), [(0, 4)]);
        assert_eq!(kept(5, &[0, 2, 3]), [(1, 1), (4, 4)]);
        assert_eq!(kept(3, &[2, 7]), [(0, 1)]);
    }
}
