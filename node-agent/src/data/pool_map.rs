//! What the shards of a pool's disks are told: the map, and what need not be kept any more.

use moraine_model::{BucketId, DiskId};
use moraine_protocol::MapFile;
use std::collections::BTreeSet;

/// A version of a pool's map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolMap {
    /// Where each bucket lies, and where disks are served.
    pub(crate) file: MapFile,
    /// Buckets of which a disk may still hold something, though it isn't listed and nobody awaits it
    /// back: it is to be forgotten there.
    pub(crate) spare: BTreeSet<(DiskId, BucketId)>,
}

impl From<MapFile> for PoolMap {
    /// A map that says nothing of what was: everything is kept.
    fn from(file: MapFile) -> Self {
        Self {
            file,
            spare: BTreeSet::new(),
        }
    }
}
