//! `StorageNode`: what one node gives to Moraine, and what its agent and engine say.

use crate::conditions;
use crate::volume::Frontend;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person asks of a node. Written by people; the agent makes the object with the defaults and
/// never changes this part.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moraine.io",
    version = "v1alpha1",
    kind = "StorageNode",
    plural = "storagenodes",
    singular = "storagenode",
    shortname = "mnode",
    category = "moraine",
    status = "StorageNodeStatus",
    derive = "PartialEq",
    doc = "A StorageNode stands for one Kubernetes node that gives disks to Moraine or uses its volumes, and has the node's name. Its agent and its engine write the status, and this is the only object they write. That they live is told by the Lease moraine-node-NAME beside the agents.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the node serves"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it does or not, in a word"
    ),
    printcolumn(
        name = "Schedulable",
        type_ = "boolean",
        json_path = ".spec.schedulable",
        description = "Whether it takes new replicas"
    ),
    printcolumn(
        name = "Evict",
        type_ = "boolean",
        json_path = ".spec.evict",
        description = "Whether its data is to move away"
    ),
    printcolumn(
        name = "Disks",
        type_ = "string",
        json_path = ".status.summary.disks",
        description = "Disks that serve, of all disks that pools took"
    ),
    printcolumn(
        name = "Capacity",
        type_ = "string",
        json_path = ".status.summary.capacity",
        description = "Room of these disks together"
    ),
    printcolumn(
        name = "Used",
        type_ = "string",
        json_path = ".status.summary.used",
        description = "What is used of it"
    ),
    printcolumn(
        name = "Unused",
        type_ = "string",
        json_path = ".status.summary.unusedDevices",
        description = "Devices that a pool names but doesn't use; the status says why"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version of the node agent"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Addresses",
        type_ = "string",
        json_path = ".status.addresses",
        priority = 1,
        description = "Where the agent serves the data plane"
    ),
    printcolumn(
        name = "Zone",
        type_ = "string",
        json_path = r".metadata.labels.topology\.kubernetes\.io/zone",
        priority = 1,
        description = "Zone of the node"
    ),
    printcolumn(
        name = "Started",
        type_ = "date",
        json_path = ".status.startedAt",
        priority = 1,
        description = "When the agent started"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1,
        description = "What a person should know"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct StorageNodeSpec {
    /// Whether the node may take new replicas. Default true. With false, what it has stays and is
    /// served.
    #[serde(default = "yes")]
    pub schedulable: bool,

    /// Whether all data is to move away from the node. Default false. The condition `Evicted` says
    /// when it is safe to take the node away.
    #[serde(default)]
    pub evict: bool,

    /// Orders for single disks; a disk without one follows the node. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub disks: Vec<DiskOrder>,
}

fn yes() -> bool {
    true
}

impl Default for StorageNodeSpec {
    fn default() -> Self {
        Self {
            schedulable: true,
            evict: false,
            disks: Vec::new(),
        }
    }
}

/// What a person asks of one disk.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskOrder {
    /// Id of the disk, as `status.disks` shows it.
    #[schemars(schema_with = "crate::schema::id")]
    pub id: String,
    /// Whether the disk may take new replicas. Default true.
    #[serde(default = "yes")]
    pub schedulable: bool,
    /// Whether all data is to move away from the disk. Default false. `status.evictedDisks` says when
    /// it is safe to take it out.
    #[serde(default)]
    pub evict: bool,
}

/// What the node says. Written by its agent, where a field doesn't name another writer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageNodeStatus {
    /// Addresses with port, such as `10.0.0.11:7420` or `[fd00::11]:7420`, at which the agent serves
    /// the data plane; several are several paths. At most 8. Empty: no data is served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::addresses")]
    pub addresses: Vec<String>,

    /// The kernel's boot id of the node. When it changes, every engine that ran there is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,

    /// Version of the agent's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,

    /// When the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// The disks of this node that pools have taken. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub disks: Vec<DiskStatus>,

    /// Ids of disks that were to be evicted and hold nothing that is needed any more: they can be taken
    /// out. Written by the operator, apart from `disks`, so that each list has one writer. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "disk_ids")]
    pub evicted_disks: Vec<String>,

    /// Devices that a pool names but doesn't use, each with the reason. At most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub unused_devices: Vec<UnusedDevice>,

    /// Disks and nodes that this node's engine can't reach. Written by the engine: a request to the
    /// operator to look, and to drop their replicas if it agrees. At most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub suspects: Vec<Suspect>,

    /// The volumes that this node's engine has open or has just closed. Written by the engine. At
    /// most 512.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["volume".into()]))]
    pub volumes: Vec<EngineVolume>,

    /// The numbers above in words for `kubectl get`; programs read the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<NodeSummary>,

    /// `Ready` (written by the operator): the Lease is fresh and the agent serves. `DisksHealthy`
    /// (agent): every disk works. `Evicted` (operator): nothing on the node is needed any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::list")]
    pub conditions: Vec<Condition>,
}

fn disk_ids(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": crate::schema::id(generator),
    })
}

/// One disk of a pool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// Id that the disk got when it was formatted, and keeps for life wherever it is plugged in.
    #[schemars(schema_with = "crate::schema::id")]
    pub id: String,
    /// Name of the pool that has it.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,
    /// Path of the device or file on the node.
    #[schemars(length(max = 4096))]
    pub path: String,
    /// Maker's name for the model; absent for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub model: Option<String>,
    /// Serial number; absent for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub serial: Option<String>,
    /// Shards that it was formatted with.
    #[schemars(range(min = 1, max = 64))]
    pub shards: u32,
    /// The newest epoch of the pool's bucket map that the disk has on it; 0: it never held a bucket.
    pub epoch: u64,
    /// Bytes that the disk can hold.
    pub size_bytes: u64,
    /// Bytes that are in use, rounded to whole segments; refreshed at most every 10 seconds.
    pub used_bytes: u64,
    /// `Healthy`: it serves. `Failing`: it serves, but errors were seen. `Failed`: it doesn't serve.
    /// `Missing`: it was here and isn't found any more.
    pub health: DiskHealth,
    /// Why the disk isn't healthy, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Bytes that this disk still has to copy from other replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_copy_bytes: Option<u64>,
    /// Answers of this disk to the bucket map: offers that it accepts or refuses, and copies that are
    /// whole. An answer stays until the map has moved on. At most 4096.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub reports: Vec<BucketReport>,
}

/// State of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DiskHealth {
    /// It serves.
    Healthy,
    /// It serves, but errors were seen.
    Failing,
    /// It doesn't serve.
    Failed,
    /// It isn't found.
    Missing,
}

/// A disk's answer about one bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketReport {
    /// Number of the bucket.
    #[schemars(range(max = 4095))]
    pub bucket: u32,
    /// What is answered: of an offer the `since` of the bucket's `move`, of a copy that is whole the
    /// epoch since which the replica is listed. The operator ignores an answer to any but the
    /// current one.
    pub epoch: u64,
    /// `Accepted`: room is kept for the bucket. `Refused`: see `message`. `Synced`: this replica
    /// holds every acknowledged write.
    pub answer: Answer,
    /// Why an offer is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// What a disk says about a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Answer {
    /// The offer is accepted.
    Accepted,
    /// The offer is refused.
    Refused,
    /// The copy is whole.
    Synced,
}

/// A device that a pool names but doesn't use.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnusedDevice {
    /// Path of the device on the node.
    #[schemars(length(max = 255))]
    pub path: String,
    /// Name of the pool whose `devices.paths` name it.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,
    /// Bytes of the device; 0 if it can't be told.
    pub size_bytes: u64,
    /// Why it isn't used, as one CamelCase word, such as `HasFileSystem`, `HasPartitions`, `Mounted`,
    /// `TooSmall`, `ReadOnly`, `OtherPool`.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Z][A-Za-z0-9]*$"))]
    pub reason: String,
    /// Why it isn't used and what to do about it, in a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A disk or node that the engine can't reach.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspect {
    /// Name of the StorageNode.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// Id of the disk; absent if the whole node can't be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::id")]
    pub disk: Option<String>,
    /// Since when it doesn't answer.
    pub since: Time,
    /// What was seen, such as `connection refused`.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// A volume at the engine of this node.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineVolume {
    /// Name of the Volume.
    #[schemars(length(min = 1, max = 63))]
    pub volume: String,
    /// The attachment's generation under which it was opened. What is said under an older one than
    /// the Volume's counts for nothing.
    #[schemars(range(min = 1))]
    pub generation: u32,
    /// `Opening`: former engines are being fenced and writes reconciled. `Serving`: the device
    /// works. `Closed`: cleanly closed, nothing is left to reconcile; the entry goes once the Volume
    /// says so too.
    pub state: EngineVolumeState,
    /// The newest cut with which every new write is tagged.
    pub cut_reached: u64,
    /// Bytes of the device as the pod sees it.
    pub size_bytes: u64,
    /// Bytes of the volume that hold data, one replica counted; refreshed at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// What gives the pod its block device; absent until it is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Frontend>,
    /// Why this frontend was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub frontend_reason: Option<String>,
}

/// How far the engine is with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EngineVolumeState {
    /// It isn't served yet.
    Opening,
    /// It is served.
    Serving,
    /// It was closed cleanly.
    Closed,
}

/// The status in words.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// Disks that serve, of all disks that pools took, such as `2/2`.
    #[schemars(length(max = 32))]
    pub disks: String,
    /// Room of these disks together, such as `20.0Gi`.
    #[schemars(length(max = 32))]
    pub capacity: String,
    /// What is used of it, such as `1.2Gi (6%)`.
    #[schemars(length(max = 32))]
    pub used: String,
    /// Number of `unusedDevices`.
    #[schemars(length(max = 32))]
    pub unused_devices: String,
}
