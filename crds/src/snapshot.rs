//! `Snapshot`: a volume as it was at one moment.

use crate::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What a snapshot is of. Written once, by the CSI controller; people ask for snapshots by
/// VolumeSnapshots.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moraine.io",
    version = "v1alpha1",
    kind = "Snapshot",
    plural = "snapshots",
    singular = "snapshot",
    shortname = "msnap",
    category = "moraine",
    status = "SnapshotStatus",
    derive = "PartialEq",
    selectable = ".spec.volume",
    doc = "A Snapshot is a Volume as it was at one moment. The CSI driver makes one for each VolumeSnapshotContent; people make VolumeSnapshots. It takes no room of its own: it keeps blocks that the volume has since overwritten.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("a Snapshot's name may have at most 63 characters, because it becomes a label value: choose a shorter one"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready", description = "Whether volumes can be made from it"),
    printcolumn(name = "Volume", type_ = "string", json_path = ".spec.volume", description = "Volume it is of"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.summary.size", description = "Least size of a volume made from it"),
    printcolumn(name = "Taken", type_ = "date", json_path = ".status.takenAt", description = "Moment that it shows"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", priority = 1, description = "StoragePool that holds it"),
    printcolumn(name = "Cut", type_ = "integer", json_path = ".spec.cut", priority = 1, description = "Cut of the volume that it shows"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1, description = "What a person should know")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf")
    .message("a Snapshot can't be changed: take a new one"))]
pub struct SnapshotSpec {
    /// Name of the StoragePool that holds the volume.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,
    /// Name of the Volume. The Volume may be deleted since; the snapshot stays whole.
    #[schemars(length(min = 1, max = 63))]
    pub volume: String,
    /// Id under which the disks know the volume.
    #[schemars(schema_with = "crate::schema::id")]
    pub volume_id: String,
    /// Id that decides in which buckets the blocks lie: the volume's `placementKey`.
    #[schemars(schema_with = "crate::schema::id")]
    pub placement_key: String,
    /// Cut of the volume that the snapshot shows: every write tagged with this cut or an older one is
    /// in it.
    pub cut: u64,
    /// Size of the volume at that moment in bytes: the least size of a volume made from it.
    #[schemars(range(min = 4096, max = 70_368_744_177_664_u64))]
    pub size_bytes: u64,
}

/// What has become of the snapshot. Written by the CSI controller.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Whether the volume has reached a later cut, so that the snapshot will never change and volumes
    /// can be made from it.
    #[x_kube(validation = Rule::new("self || !oldSelf")
        .message("a snapshot that is ready stays ready: delete it if it isn't wanted"))]
    pub ready: bool,
    /// The moment that the snapshot shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,
    /// The size in words for `kubectl get`; programs read `spec.sizeBytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SnapshotSummary>,
    /// `Ready`: as `ready`, with the reason if it can't be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::list")]
    pub conditions: Vec<Condition>,
}

/// The status in words.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSummary {
    /// Least size of a volume made from it, such as `10.0Gi`.
    #[schemars(length(max = 32))]
    pub size: String,
}
