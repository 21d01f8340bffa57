//! `StoragePool`: disks of selected nodes with one redundancy rule, as a person declares them.

use crate::conditions;
use crate::quantity::{ByteSize, Interval};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a person asks of a pool. Written by people, read by the operator and the node agents.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moraine.io",
    version = "v1alpha1",
    kind = "StoragePool",
    plural = "storagepools",
    singular = "storagepool",
    shortname = "mpool",
    category = "moraine",
    status = "StoragePoolStatus",
    derive = "PartialEq",
    doc = "A StoragePool is a set of disks on selected nodes with one redundancy rule. Volumes live in a pool; their blocks are spread over the pool's buckets, and the operator keeps the replicas of each bucket on different disks in different failure domains.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("a StoragePool's name may have at most 63 characters, because it becomes a label value: choose a shorter one"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether volumes can be made and used"),
    printcolumn(name = "Status", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is ready or not, in a word"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.summary.nodes", description = "Nodes that serve, of all nodes of the pool"),
    printcolumn(name = "Disks", type_ = "string", json_path = ".status.summary.disks", description = "Disks that serve, of all disks of the pool"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas", description = "Copies of each block"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.summary.buckets", description = "Buckets with all their replicas in sync, of all buckets"),
    printcolumn(name = "Moving", type_ = "integer", json_path = ".status.buckets.moving", description = "Buckets that are moving to another disk"),
    printcolumn(name = "Capacity", type_ = "string", json_path = ".status.summary.capacity", description = "Room of all disks together, before replication"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.summary.used", description = "What is used of it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.failureDomain", priority = 1, description = "Label that the nodes of a bucket's replicas differ in"),
    printcolumn(name = "Rebalance", type_ = "string", json_path = ".spec.rebalance.mode", priority = 1, description = "Whether buckets move by themselves"),
    printcolumn(name = "At-Risk", type_ = "string", json_path = ".status.summary.atRisk", priority = 1, description = "Data that one more failure would take away"),
    printcolumn(name = "Done-At", type_ = "date", json_path = ".status.progress.doneAt", priority = 1, description = "When what is being copied should be whole"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", priority = 1, description = "Version of the bucket map"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1, description = "What a person should know")
)]
#[serde(rename_all = "camelCase")]
pub struct StoragePoolSpec {
    /// Labels that a node must carry, all of them, to give its disks to the pool, such as
    /// `{"disk": "nvme"}`. Absent or empty: every node that runs a node agent. It may be changed at
    /// any time; the buckets of a node that no longer fits are moved away first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Which devices of these nodes the pool takes: exactly one of `paths` and `file`.
    #[x_kube(
        validation = Rule::new("has(self.paths) != has(self.file)")
            .message("set exactly one of devices.paths (disks of the nodes) and devices.file (a file on each node, for trials)"),
        validation = Rule::new("!self.wipe || has(self.paths)")
            .message("devices.wipe is about disks and can't be set with devices.file: leave it out"),
        validation = Rule::new("has(self.file) == has(oldSelf.file)")
            .message("a pool can't change between devices.paths and devices.file: make a second pool and move the volumes")
    )]
    pub devices: Devices,

    /// Copies of each block, from 1 to 5, each in a failure domain of its own. Default 3. It may be
    /// changed at any time: replicas are added or dropped bucket by bucket.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u32,

    /// Key of the node label whose value must differ between the replicas of a bucket. Default
    /// `kubernetes.io/hostname`; `topology.kubernetes.io/zone` keeps data through the loss of a
    /// zone. It may be changed at any time; buckets move until it holds. A node without the label
    /// gets no bucket.
    #[serde(default = "default_failure_domain")]
    #[schemars(
        length(min = 1, max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
        )
    )]
    pub failure_domain: String,

    /// Units of placement, from 1 to 4096, fixed for the life of the pool. Default 1024. More
    /// buckets spread data more evenly over many disks; about 30 per disk that the pool may ever
    /// have, times the replicas, is enough.
    #[serde(default = "default_buckets")]
    #[schemars(range(min = 1, max = 4096))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("buckets is fixed when the pool is made, because blocks are found by it: make a second pool with the number you want and move the volumes"))]
    pub buckets: u32,

    /// How buckets move to restore balance when nodes or disks join, grow or fill.
    #[serde(default)]
    pub rebalance: Rebalance,

    /// How replicas that a failure took are made again.
    #[serde(default)]
    pub recovery: Recovery,

    /// When a disk counts as nearly full and as full, in percent of its size.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.nearFullPercent < self.fullPercent")
        .message("fullRatios.nearFullPercent must be below fullRatios.fullPercent: the warning has to come first"))]
    pub full_ratios: FullRatios,

    /// What happens to the data on the disks when the pool is deleted, which is refused while it
    /// has volumes. `Retain` (default): it stays, and a disk is not used again until a pool with
    /// `devices.wipe` takes it. `Wipe`: the disks are made blank.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_replicas() -> u32 {
    3
}

fn default_failure_domain() -> String {
    "kubernetes.io/hostname".to_owned()
}

fn default_buckets() -> u32 {
    1024
}

/// The devices that a pool takes on each of its nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Patterns of device paths, such as `/dev/disk/by-id/nvme-*`, with `*`, `?` and `[...]` as a
    /// shell has them; at most 32. Every device that one of them names is taken, unless it holds a
    /// partition table, a file system or another's data: then it is reported in the StorageNode and
    /// left alone (see `wipe`). Names below `/dev/disk/by-id` stay the same across reboots, names
    /// such as `/dev/sdb` don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "device_paths")]
    #[x_kube(validation = Rule::new("self.all(path, path.startsWith('/dev/') && !path.contains('..'))")
        .message("each of devices.paths must start with /dev/ and hold no '..': write for example /dev/disk/by-id/nvme-*"))]
    pub paths: Option<Vec<String>>,

    /// A file on each node in place of disks. For trials: it shares the node's own disk and its
    /// faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileDevice>,

    /// Whether a matching disk that holds a partition table or a file system is formatted. Default
    /// false. With true, everything on every device that `paths` names is lost.
    #[serde(default)]
    pub wipe: bool,
}

fn device_paths(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 255},
    })
}

/// A file that stands for a disk.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDevice {
    /// Size of the file on each node, from 1Gi to 16Ti, such as `10Gi`. It may grow but not shrink.
    /// The file is sparse: it takes room as data is written.
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Gi')) >= 0 && quantity(self).compareTo(quantity('16Ti')) <= 0")
            .message("devices.file.size must be from 1Gi to 16Ti"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("devices.file.size can't shrink: to use less, make a second pool and move the volumes")
    )]
    pub size: ByteSize,
}

/// Movement that restores balance. It never starts before the replicas that failures took are back.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// `Auto` (default): buckets move by themselves. `Manual`: the plan is shown in
    /// `status.plan` and runs once `approvedPlan` names it. `Paused`: no move starts; those that
    /// run are finished. Recovery after failures goes on in every mode.
    #[serde(default)]
    pub mode: RebalanceMode,

    /// The `status.plan.id` that may run, in mode `Manual`. A plan that changes gets a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub approved_plan: Option<String>,

    /// Buckets of the pool that move at the same time, from 1 to 256. Default 8.
    #[serde(default = "default_moves")]
    #[schemars(range(min = 1, max = 256))]
    pub max_concurrent_moves: u32,

    /// Bytes per second that each node takes in for moves, such as `100Mi`, at least 1Mi. Default
    /// `100Mi`.
    #[serde(default = "default_rebalance_bandwidth")]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0")
        .message("rebalance.bandwidthPerNode must be at least 1Mi (bytes per second): to stop moves, set rebalance.mode to Paused"))]
    pub bandwidth_per_node: ByteSize,
}

fn default_moves() -> u32 {
    8
}

fn default_rebalance_bandwidth() -> ByteSize {
    ByteSize::new("100Mi")
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            mode: RebalanceMode::default(),
            approved_plan: None,
            max_concurrent_moves: default_moves(),
            bandwidth_per_node: default_rebalance_bandwidth(),
        }
    }
}

/// Whether buckets move by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalanceMode {
    /// They do.
    #[default]
    Auto,
    /// A person approves each plan.
    Manual,
    /// No move starts.
    Paused,
}

/// Making replicas again after failures.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// How long a node or disk may be away before its replicas are made again elsewhere, from `30s`
    /// to `168h`. Default `10m`. One that is back sooner only catches up on what it missed.
    #[serde(default = "default_down_out_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('30s') && duration(self) <= duration('168h')")
        .message("recovery.downOutInterval must be from 30s to 168h"))]
    pub down_out_interval: Interval,

    /// Buckets of the pool whose replicas are made again at the same time, from 1 to 1024. Default
    /// 32.
    #[serde(default = "default_recoveries")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_concurrent_buckets: u32,

    /// Bytes per second that each node takes in for recovery, such as `1Gi`, at least 1Mi. Default
    /// `400Mi`.
    #[serde(default = "default_recovery_bandwidth")]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0")
        .message("recovery.bandwidthPerNode must be at least 1Mi (bytes per second): less would leave data at risk for ever"))]
    pub bandwidth_per_node: ByteSize,
}

fn default_down_out_interval() -> Interval {
    Interval::new("10m")
}

fn default_recoveries() -> u32 {
    32
}

fn default_recovery_bandwidth() -> ByteSize {
    ByteSize::new("400Mi")
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            down_out_interval: default_down_out_interval(),
            max_concurrent_buckets: default_recoveries(),
            bandwidth_per_node: default_recovery_bandwidth(),
        }
    }
}

/// When a disk counts as nearly full and as full.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FullRatios {
    /// Percent of a disk from which on it is offered no bucket and a warning is shown, from 1 to
    /// 98. Default 80.
    #[serde(default = "default_near_full_percent")]
    #[schemars(range(min = 1, max = 98))]
    pub near_full_percent: u32,

    /// Percent of a disk from which on the pool is `Full` and no volume is made in it, from 2 to
    /// 99. Default 92. Writes go on until the disk itself has no room; deleting and trimming always
    /// work.
    #[serde(default = "default_full_percent")]
    #[schemars(range(min = 2, max = 99))]
    pub full_percent: u32,
}

fn default_near_full_percent() -> u32 {
    80
}

fn default_full_percent() -> u32 {
    92
}

impl Default for FullRatios {
    fn default() -> Self {
        Self {
            near_full_percent: default_near_full_percent(),
            full_percent: default_full_percent(),
        }
    }
}

/// What happens to the data when the pool is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays on the disks.
    #[default]
    Retain,
    /// The disks are made blank.
    Wipe,
}

/// What the operator sees of the pool. Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoragePoolStatus {
    /// The metadata.generation of the pool that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Version of the pool's bucket map; it grows with each change of the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,

    /// Bytes of all disks of the pool together, before replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,

    /// Bytes used on all disks of the pool together, every replica counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,

    /// Bytes of data that one more failure would make unavailable, though the pool asks for more
    /// replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_risk_bytes: Option<u64>,

    /// The buckets, counted by health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<BucketCounts>,

    /// How far recovery and moves are; absent when nothing is being copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// The moves that would restore balance; absent when the pool is in balance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RebalancePlan>,

    /// The numbers above in words for `kubectl get`; programs read the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PoolSummary>,

    /// `Ready`: volumes can be made and used. `Degraded`: some bucket lacks a replica. `AtRisk`: one
    /// more failure would take data away. `Unavailable`: some bucket can't be used. `Rebalancing`:
    /// buckets are moving. `Full`: some disk is above `fullRatios.fullPercent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::list")]
    pub conditions: Vec<Condition>,
}

/// Buckets counted by health.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketCounts {
    /// All buckets of the pool.
    #[schemars(range(max = 4096))]
    pub total: u32,
    /// Buckets with as many replicas in sync as the pool asks for.
    #[schemars(range(max = 4096))]
    pub healthy: u32,
    /// Buckets that lack a replica or have one that still catches up.
    #[schemars(range(max = 4096))]
    pub degraded: u32,
    /// Buckets of which no replica in sync can be reached.
    #[schemars(range(max = 4096))]
    pub unavailable: u32,
    /// Buckets that are moving to another disk.
    #[schemars(range(max = 4096))]
    pub moving: u32,
}

/// How far copying is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes still to be copied.
    pub remaining_bytes: u64,
    /// Bytes copied per second, over the last minute.
    pub bytes_per_second: u64,
    /// When the copying should be done at this speed; absent while nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Time>,
}

/// Moves that would restore balance.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePlan {
    /// Name of the plan, to be given as `spec.rebalance.approvedPlan`. A plan that changes gets a
    /// new one.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// Buckets that would move.
    #[schemars(range(max = 4096))]
    pub buckets: u32,
    /// Bytes that would be copied.
    pub bytes: u64,
    /// The first of the moves, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub first_moves: Vec<PlannedMove>,
}

/// One move of a plan.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMove {
    /// Number of the bucket.
    #[schemars(range(max = 4095))]
    pub bucket: u32,
    /// Disk that would give the bucket up, as `node/disk id`.
    #[schemars(length(max = 286))]
    pub from: String,
    /// Disk that would take it, as `node/disk id`.
    #[schemars(length(max = 286))]
    pub to: String,
}

/// The status in words.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSummary {
    /// Nodes that serve, of all nodes of the pool, such as `2/3`.
    #[schemars(length(max = 32))]
    pub nodes: String,
    /// Disks that serve, of all disks of the pool, such as `5/6`.
    #[schemars(length(max = 32))]
    pub disks: String,
    /// Healthy buckets, of all buckets, such as `1020/1024`.
    #[schemars(length(max = 32))]
    pub buckets: String,
    /// Room of all disks together, such as `30.0Gi`.
    #[schemars(length(max = 32))]
    pub capacity: String,
    /// What is used of it, such as `1.2Gi (4%)`.
    #[schemars(length(max = 32))]
    pub used: String,
    /// Data that one more failure would take away, such as `0` or `812Mi`.
    #[schemars(length(max = 32))]
    pub at_risk: String,
}
