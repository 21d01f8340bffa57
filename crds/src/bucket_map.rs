//! `BucketMap`: where each bucket of a pool lies. Compact: 4,096 buckets are one object.

mod entries;

pub use entries::BadMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What never changes about a pool's map. Written once, by the operator.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moraine.io",
    version = "v1alpha1",
    kind = "BucketMap",
    plural = "bucketmaps",
    singular = "bucketmap",
    shortname = "mmap",
    category = "moraine",
    status = "BucketMapStatus",
    derive = "PartialEq",
    doc = "A BucketMap says on which disks the replicas of each bucket of a pool lie. There is one per StoragePool, with its name. The operator alone writes it; agents and engines watch it. It is not meant to be edited.",
    validation = Rule::new("self.metadata.name == self.spec.pool")
        .message("a BucketMap has the name of its pool: the operator makes it; create a StoragePool instead"),
    validation = Rule::new("!has(self.status) || !has(self.status.buckets) || self.status.buckets.size() == self.spec.buckets")
        .message("status.buckets must have one entry for each of spec.buckets: only the operator should write it"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", description = "Version of the map"),
    printcolumn(name = "Buckets", type_ = "integer", json_path = ".spec.buckets", description = "Buckets of the pool"),
    printcolumn(name = "Healthy", type_ = "integer", json_path = ".status.healthy", description = "Buckets with all their replicas in sync"),
    printcolumn(name = "Degraded", type_ = "integer", json_path = ".status.degraded", description = "Buckets that lack a replica in sync"),
    printcolumn(name = "Moving", type_ = "integer", json_path = ".status.moving", description = "Buckets that are moving to another disk"),
    printcolumn(name = "Changed", type_ = "date", json_path = ".status.changedAt", description = "Last change of the map"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Pool-Id", type_ = "string", json_path = ".spec.poolId", priority = 1, description = "Id of the pool on its disks")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf")
    .message("the spec of a BucketMap is fixed, because the disks depend on it: change the StoragePool instead"))]
pub struct BucketMapSpec {
    /// Name of the StoragePool, and of this object.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,

    /// Id of the pool as its disks carry it, so that a pool that is made again under the same name
    /// never takes the old one's disks for its own.
    #[schemars(schema_with = "crate::schema::id")]
    pub pool_id: String,

    /// Number of buckets.
    #[schemars(range(min = 1, max = 4096))]
    pub buckets: u32,
}

/// The map. Written by the operator alone: at once when a replica is dropped, at most once a second
/// otherwise.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketMapStatus {
    /// Version of the map; it grows with each change and never goes back.
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("the epoch never goes back: an older operator is writing; it must stop"))]
    pub epoch: u64,

    /// The disks that buckets refer to by their place in this list, from 0 on. A place keeps its disk
    /// for as long as a bucket refers to it. At most 4096.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub disks: Vec<DiskEntry>,

    /// One entry per bucket, in order of bucket number. At most 4096.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub buckets: Vec<BucketPlace>,

    /// Number of buckets with as many replicas in sync as the pool asks for.
    #[schemars(range(max = 4096))]
    pub healthy: u32,

    /// Number of buckets that lack a replica in sync.
    #[schemars(range(max = 4096))]
    pub degraded: u32,

    /// Number of buckets that are moving to another disk.
    #[schemars(range(max = 4096))]
    pub moving: u32,

    /// When the map last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
}

/// One disk of the map.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskEntry {
    /// Name of the StorageNode where the disk was last seen.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// Id of the disk.
    #[schemars(schema_with = "crate::schema::id")]
    pub id: String,
    /// Shards that the disk was formatted with; bucket `b` is served by shard `b mod shards`.
    #[schemars(range(min = 1, max = 64))]
    pub shards: u32,
    /// Where the node's agent serves the disk, as its StorageNode says; several are several paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::addresses")]
    pub addresses: Vec<String>,
}

/// Where one bucket lies. Disks are given by their place in `disks`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketPlace {
    /// Epoch of the last change of this entry. Requests under an older one are refused.
    pub epoch: u64,
    /// Disks whose replica holds every acknowledged write. Never empty: the last one is never
    /// dropped. At most 8.
    #[schemars(schema_with = "disk_places")]
    pub in_sync: Vec<u32>,
    /// Disks whose replica gets every new write and still copies older ones. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(range(max = 4095)))]
    pub syncing: Vec<u32>,
    /// The epoch since which each of them is listed without a break: those of `inSync` in their order,
    /// then those of `syncing`. What a replica reports counts only for its present listing.
    #[schemars(length(min = 1, max = 8))]
    pub since: Vec<u64>,
    /// Disks that were dropped because they failed, and that get the bucket back if they return before
    /// the pool's `recovery.downOutInterval` is over. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(range(max = 4095)))]
    pub away: Vec<u32>,
    /// The move that is in progress, if one is.
    #[serde(rename = "move", default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Move>,
}

impl BucketPlace {
    /// The state of this bucket's replica on the disk at `place`, if the disk is listed.
    pub fn state_on(&self, place: u32) -> Option<BucketState> {
        if self.in_sync.contains(&place) {
            Some(BucketState::InSync)
        } else if self.syncing.contains(&place) {
            Some(BucketState::Syncing)
        } else {
            None
        }
    }
}

/// State of a replica that the map lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketState {
    /// It holds every acknowledged write.
    InSync,
    /// It holds every write acknowledged since it was listed, and copies the rest.
    Syncing,
}

fn disk_places(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "items": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 4095},
    })
}

/// A bucket on its way to another disk.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The disk that takes the bucket.
    #[schemars(range(max = 4095))]
    pub to: u32,
    /// The disk that gives it up once the copy is whole; absent if a lost replica is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4095))]
    pub from: Option<u32>,
    /// `Offered`: the disk `to` has to accept or refuse. `Copying`: it is listed as syncing.
    pub step: MoveStep,
    /// The epoch of the map since which it is at this step; answers of the disk name it.
    pub since: u64,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MoveStep {
    /// An answer is awaited.
    Offered,
    /// Data is copied.
    Copying,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest map there can be while nothing is broken: every number as long as it gets.
    fn largest() -> BucketMap {
        let place = |bucket: u32| BucketPlace {
            epoch: 9_999_999 - u64::from(bucket),
            in_sync: vec![4095, 4094, 4093],
            syncing: Vec::new(),
            since: vec![9_999_999; 3],
            away: Vec::new(),
            moving: None,
        };
        let disk = |index: u32| DiskEntry {
            node: format!("worker-{index:04}"),
            id: format!("{index:032x}"),
            shards: 16,
            addresses: vec![format!(
                "192.168.{}.{}:7420",
                100 + index / 200,
                index % 256
            )],
        };
        let mut map = BucketMap::new(
            "a-pool",
            BucketMapSpec {
                pool: "a-pool".into(),
                pool_id: format!("{:032x}", 1),
                buckets: 4096,
            },
        );
        map.status = Some(BucketMapStatus {
            epoch: 9_999_999,
            disks: (0..1024).map(disk).collect(),
            buckets: (0..4096).map(place).collect(),
            healthy: 4096,
            degraded: 0,
            moving: 0,
            changed_at: None,
        });
        map
    }

    #[test]
    fn a_map_of_4096_buckets_stays_far_below_the_limit_of_an_object() {
        let map = largest();
        let bytes = serde_json::to_vec(&map).unwrap();
        assert!(bytes.len() < 640 << 10, "{} bytes", bytes.len());
        assert_eq!(serde_json::from_slice::<BucketMap>(&bytes).unwrap(), map);
    }

    #[test]
    fn it_does_even_while_every_bucket_moves() {
        let mut map = largest();
        for bucket in &mut map.status.as_mut().unwrap().buckets {
            bucket.syncing = vec![4092, 4091];
            bucket.since = vec![9_999_999; 5];
            bucket.away = vec![4090];
            bucket.moving = Some(Move {
                to: 4092,
                from: Some(4095),
                step: MoveStep::Copying,
                since: 9_999_999,
            });
        }
        let bytes = serde_json::to_vec(&map).unwrap();
        assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    }

    #[test]
    fn the_state_of_a_replica_is_that_of_its_list() {
        let bucket = BucketPlace {
            epoch: 1,
            in_sync: vec![3, 1],
            syncing: vec![2],
            since: vec![1; 3],
            away: Vec::new(),
            moving: None,
        };
        assert_eq!(bucket.state_on(1), Some(BucketState::InSync));
        assert_eq!(bucket.state_on(2), Some(BucketState::Syncing));
        assert_eq!(bucket.state_on(0), None);
    }
}
