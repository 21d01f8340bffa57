//! Moraine's custom resources, group `moraine.io`, version `v1alpha1`, one module per kind.
//!
//! These types are the source: the YAML in this folder and in the chart, and the reference page in
//! `docs`, are generated from them (`cargo run -p moraine-crds --example generate-crds`), and a test
//! fails when a file on disk is out of date. Doc comments on fields are what `kubectl explain` says.
//!
//! The API is the only control channel, so the objects carry requests as well as states, and every
//! field has one writer, named in its description:
//!
//! ```text
//! person          -> StoragePool.spec, StorageNode.spec
//! operator        -> StoragePool.status, BucketMap, conditions that need a view of the whole
//! agent, engine   -> StorageNode.status of their own node, and nothing else
//! CSI controller  -> Volume.spec, Volume.status.attachment, Snapshot
//! ```
//!
//! Not here: any decision. What an object means for placement or for the data plane is decided by
//! the crates that own the meaning.
#![forbid(unsafe_code)]
// The code that `KubeSchema` derives holds public types within functions.
#![allow(unreachable_pub)]
// The columns of one kind have a type each; clippy takes them for one attribute said twice.
#![allow(clippy::duplicated_attributes)]

mod bucket_map;
pub mod conditions;
mod node;
pub mod observation;
mod pool;
mod quantity;
pub mod schema;
mod snapshot;
mod volume;
#[cfg(feature = "watch")]
pub mod watch;
pub mod words;

pub use bucket_map::{
    BadMap, BucketMap, BucketMapSpec, BucketMapStatus, BucketPlace, BucketState, DiskEntry, Move,
    MoveStep,
};
pub use node::{
    Answer, BucketReport, DiskHealth, DiskOrder, DiskStatus, EngineVolume, EngineVolumeState,
    NodeSummary, StorageNode, StorageNodeSpec, StorageNodeStatus, Suspect, UnusedDevice,
};
pub use pool::{
    BucketCounts, DeletionPolicy, Devices, FileDevice, FullRatios, PlannedMove, PoolSummary,
    Progress, Rebalance, RebalanceMode, RebalancePlan, Recovery, StoragePool, StoragePoolSpec,
    StoragePoolStatus,
};
pub use quantity::{ByteSize, Interval, QuantityError};
pub use snapshot::{Snapshot, SnapshotSpec, SnapshotStatus, SnapshotSummary};
pub use volume::{
    Attachment, DeviceStatus, FileSystem, Frontend, FrontendChoice, Volume, VolumeHealth,
    VolumeParameters, VolumeSource, VolumeSpec, VolumeStatus, VolumeSummary,
};

/// The API group of every kind.
pub const GROUP: &str = "moraine.io";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
