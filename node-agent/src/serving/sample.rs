//! For tests: maps of disks 1, 2, 3 in this order, and a node's disks to be.

use super::{Kept, Serving};
use crate::data::Event;
use crate::data::identity::Identity;
use moraine_crds::{BucketMap, BucketMapSpec, BucketMapStatus, BucketPlace, DiskEntry};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// An entry that lists these places, since the epoch of the map.
pub(crate) fn listed(in_sync: &[u32], syncing: &[u32]) -> BucketPlace {
    BucketPlace {
        epoch: 0,
        in_sync: in_sync.to_vec(),
        syncing: syncing.to_vec(),
        since: vec![0; in_sync.len() + syncing.len()],
        away: Vec::new(),
        moving: None,
    }
}

/// A map of pool 7, all of it changed at this epoch.
pub(crate) fn map(epoch: u64, buckets: u32, place: impl Fn(u32) -> BucketPlace) -> BucketMap {
    let disk = |number: u128| DiskEntry {
        node: format!("worker-{number}"),
        id: format!("{number:032x}"),
        shards: 1,
        addresses: vec![format!("127.0.0.1:{}", 7000 + number)],
    };
    let at = |bucket| {
        let mut place = place(bucket);
        place.epoch = epoch;
        place.since.fill(epoch);
        place
    };
    let spec = BucketMapSpec {
        pool: "a".to_owned(),
        pool_id: format!("{:032x}", 7),
        buckets,
    };
    let mut map = BucketMap::new("a", spec);
    map.status = Some(BucketMapStatus {
        epoch,
        disks: (1..=3).map(disk).collect(),
        buckets: (0..buckets).map(at).collect(),
        ..BucketMapStatus::default()
    });
    map
}

/// Disks to be of a node whose folder this is.
pub(crate) fn serving(folder: &Path) -> Serving {
    feeding(folder).0
}

/// The same, with what happens to them.
pub(crate) fn feeding(folder: &Path) -> (Serving, mpsc::Receiver<Event>) {
    std::fs::create_dir_all(folder).unwrap();
    let secret = folder.join("secret");
    std::fs::write(&secret, b"a secret that this test has made").unwrap();
    let identity = Identity::read(&secret, "node", None).unwrap();
    let kept = Kept::new(folder).unwrap();
    Serving::new(kept, Arc::new(identity), Some(folder.to_owned()))
}
