//! What the shards of a pool's disks are told: the map, and what need not be kept any more.

use moraine_model::{BucketId, DiskId};
use moraine_protocol::MapFile;
use std::collections::BTreeMap;

/// A version of a pool's map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolMap {
    /// Where each bucket lies, and where disks are served.
    pub(crate) file: MapFile,
    /// The buckets that are whole where they are listed, each with the disks that are awaited back:
    /// whatever else holds something of it is to forget it.
    pub(crate) whole: BTreeMap<BucketId, Vec<DiskId>>,
}

impl PoolMap {
    /// The buckets that a disk need not keep.
    pub(crate) fn spare_on(&self, disk: DiskId) -> impl Iterator<Item = BucketId> {
        self.file.entries.iter().filter_map(move |entry| {
            let awaited = self.whole.get(&entry.bucket())?;
            let spare = entry.on(disk).is_none() && !awaited.contains(&disk);
            spare.then_some(entry.bucket())
        })
    }
}

impl From<MapFile> for PoolMap {
    /// A map that says nothing of what was: everything is kept.
    fn from(file: MapFile) -> Self {
        Self {
            file,
            whole: BTreeMap::new(),
        }
    }
}
