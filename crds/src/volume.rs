//! `Volume`: a virtual block device in a pool.

use crate::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a volume is. Written by the CSI controller; people ask for volumes by
/// PersistentVolumeClaims.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moraine.io",
    version = "v1alpha1",
    kind = "Volume",
    plural = "volumes",
    singular = "volume",
    shortname = "mvol",
    category = "moraine",
    status = "VolumeStatus",
    derive = "PartialEq",
    selectable = ".spec.pool",
    selectable = ".status.attachment.node",
    doc = "A Volume is a virtual block device in a StoragePool, replicated block by block. The CSI driver makes one for each PersistentVolume, with its name; people make PersistentVolumeClaims. One node at a time has it attached.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("a Volume's name may have at most 63 characters, because it becomes a label value: choose a shorter one"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health", description = "Worst state of the buckets that hold its blocks"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", description = "StoragePool that holds it"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.summary.size", description = "Size of the device"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.summary.used", description = "What holds data, one replica counted"),
    printcolumn(name = "Attached-To", type_ = "string", json_path = ".status.attachment.node", description = "Node that uses it"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claim", description = "PersistentVolumeClaim it was made for"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas", priority = 1, description = "Copies of each block, if other than the pool's"),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".status.attachment.generation", priority = 1, description = "Number of times it was attached"),
    printcolumn(name = "Cut", type_ = "integer", json_path = ".status.cutReached", priority = 1, description = "Newest snapshot cut that writes are tagged with"),
    printcolumn(name = "Frontend", type_ = "string", json_path = ".status.device.frontend", priority = 1, description = "What gives the pod its block device"),
    printcolumn(name = "Id", type_ = "string", json_path = ".spec.id", priority = 1, description = "Id of the volume on the disks"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1, description = "What a person should know")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source)")
        .message("source is fixed when the volume is made: make a new volume from the other source"),
    validation = Rule::new("has(self.source) || self.placementKey == self.id")
        .message("placementKey must equal id unless the volume has a source"),
    validation = Rule::new("has(self.parameters.fsType) == has(oldSelf.parameters.fsType) && (!has(self.parameters.fsType) || self.parameters.fsType == oldSelf.parameters.fsType)")
        .message("parameters.fsType is fixed when the volume is made, since the file system is made once: make a new volume and copy the files")
)]
pub struct VolumeSpec {
    /// Name of the StoragePool that holds the volume; fixed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("pool is fixed when the volume is made: make a volume in the other pool and copy the data"))]
    pub pool: String,

    /// Id under which the disks know the volume; fixed, and never given to a second volume.
    #[schemars(schema_with = "crate::schema::id")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("id is fixed when the volume is made, because its blocks are found by it"))]
    pub id: String,

    /// Id that decides, with a chunk's number, in which bucket the chunk lies: the volume's own, or
    /// for a clone its ancestor's, so that the blocks they share lie together; fixed.
    #[schemars(schema_with = "crate::schema::id")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("placementKey is fixed when the volume is made, because its blocks are found by it"))]
    pub placement_key: String,

    /// Size of the device in bytes: a multiple of 4096, up to 64 TiB. It may grow, also while the
    /// volume is in use, but not shrink.
    #[schemars(range(min = 4096, max = 70_368_744_177_664_u64))]
    #[x_kube(
        validation = Rule::new("self % 4096 == 0")
            .message("sizeBytes must be a multiple of 4096: round it up"),
        validation = Rule::new("self >= oldSelf")
            .message("a volume can't shrink: make a smaller one and copy the data")
    )]
    pub size_bytes: u64,

    /// Copies of each block, from 1 to 5 and not above the pool's. Absent: as many as the pool has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<u32>,

    /// What the volume held when it was made; absent for an empty one. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.snapshot) != has(self.volume)")
        .message("set exactly one of source.snapshot and source.volume"))]
    pub source: Option<VolumeSource>,

    /// Snapshot cut with which writes are to be tagged; taking a snapshot raises it by one. Default
    /// 0.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("the cut never goes back, because older snapshots depend on it"))]
    pub cut: u64,

    /// Whether the volume can only be read, by any number of nodes at once. Default false; fixed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("readOnly is fixed when the volume is made: make a new volume from a snapshot of this one"))]
    pub read_only: bool,

    /// The PersistentVolumeClaim that the volume was made for, as `namespace/name`. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub claim: Option<String>,

    /// How the node presents the volume.
    #[serde(default)]
    #[x_kube(validation = Rule::new("!has(self.mkfsOptions) || has(self.fsType)")
        .message("parameters.mkfsOptions needs parameters.fsType: name the file system too"))]
    pub parameters: VolumeParameters,
}

/// What a volume is made from: exactly one of `snapshot` and `volume`, and where its blocks are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSource {
    /// Name of the Snapshot it was restored from. The Snapshot may be deleted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub snapshot: Option<String>,
    /// Name of the Volume it was cloned from. The Volume may be deleted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub volume: Option<String>,
    /// Id of the volume whose blocks it shares.
    #[schemars(schema_with = "crate::schema::id")]
    pub parent_id: String,
    /// Cut of that volume as of which it shares them.
    pub parent_cut: u64,
}

/// How the node presents a volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeParameters {
    /// File system that is made when the volume is first mounted: `ext4`, `xfs` or `btrfs`. Absent: a
    /// raw block device. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FileSystem>,

    /// Further options for the program that makes the file system, one word each, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 256)))]
    pub mkfs_options: Vec<String>,

    /// Seconds after which a request that can't be served becomes an I/O error rather than waiting
    /// on, from 10 to 86400. Default 600.
    #[serde(default = "default_io_deadline_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub io_deadline_seconds: u32,

    /// What gives the pod its block device. `Auto` (default): the best that the node's kernel has.
    /// `Ublk`, `Nbd` and `FuseLoop` demand one.
    #[serde(default)]
    pub frontend: FrontendChoice,
}

fn default_io_deadline_seconds() -> u32 {
    600
}

impl Default for VolumeParameters {
    fn default() -> Self {
        Self {
            fs_type: None,
            mkfs_options: Vec::new(),
            io_deadline_seconds: default_io_deadline_seconds(),
            frontend: FrontendChoice::default(),
        }
    }
}

/// File systems that Moraine makes, checks and grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

/// Which block device is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FrontendChoice {
    /// The best that the kernel has.
    #[default]
    Auto,
    /// ublk.
    Ublk,
    /// Network block device.
    Nbd,
    /// A FUSE file with a loop device over it.
    FuseLoop,
}

/// Which block device there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Frontend {
    /// ublk.
    Ublk,
    /// Network block device.
    Nbd,
    /// A FUSE file with a loop device over it.
    FuseLoop,
}

/// What is known of the volume. Written by the operator, save for `attachment` and `readers`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.attachment) || has(self.attachment)")
    .message("status.attachment can't be removed, because its generation fences former users: remove status.attachment.node instead"))]
pub struct VolumeStatus {
    /// Who uses the volume. Written by the CSI controller; absent until the first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,

    /// Nodes that read a read-only volume. Written by the CSI controller. At most 1024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub readers: Vec<String>,

    /// The newest cut with which all new writes are tagged. A snapshot is ready once its cut lies
    /// below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_reached: Option<u64>,

    /// `Healthy`: every bucket that holds its blocks has all replicas. `Degraded`: one lacks some.
    /// `Unavailable`: one can't be used. `Unknown`: nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<VolumeHealth>,

    /// Bytes of the device as the pod sees it now; below `spec.sizeBytes` while it is being grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,

    /// Bytes that hold data, one replica counted; the newest figure that an engine told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,

    /// The block device that the node made; absent while the volume isn't in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceStatus>,

    /// The numbers above in words for `kubectl get`; programs read the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<VolumeSummary>,

    /// `Ready`: the volume can be attached. `Degraded`, `AtRisk` and `Unavailable` as for the pool,
    /// for the buckets that hold this volume's blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::list")]
    pub conditions: Vec<Condition>,
}

/// The one user of a volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.generation >= oldSelf.generation")
        .message("status.attachment.generation never goes back, because it fences former users"),
    validation = Rule::new("!has(self.node) || (has(oldSelf.node) && self.node == oldSelf.node) || self.generation > oldSelf.generation")
        .message("attaching to a node must raise status.attachment.generation, so that the former user is fenced")
)]
pub struct Attachment {
    /// Grows by one each time the volume is attached. What an engine says or writes under an older
    /// one is refused.
    #[schemars(range(min = 1))]
    pub generation: u32,
    /// Name of the node that uses the volume; absent while it is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,
    /// When it was last attached or detached.
    pub since: Time,
    /// Whether the last user closed the volume cleanly, so that nothing is left to reconcile. False
    /// while it is attached.
    pub clean: bool,
}

/// State of a volume's buckets, the worst of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeHealth {
    /// All have all replicas.
    Healthy,
    /// One lacks some.
    Degraded,
    /// One can't be used.
    Unavailable,
    /// Nobody can tell.
    Unknown,
}

/// The block device of an attached volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// What gives the pod its block device.
    pub frontend: Frontend,
    /// Why it was chosen.
    #[schemars(length(max = 256))]
    pub reason: String,
}

/// The status in words.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSummary {
    /// Size of the device, such as `10.0Gi`.
    #[schemars(length(max = 32))]
    pub size: String,
    /// What holds data, such as `1.2Gi (12%)`.
    #[schemars(length(max = 32))]
    pub used: String,
}
