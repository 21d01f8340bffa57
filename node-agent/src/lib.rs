//! Moraine's node agent: stands for one node, finds its disks, and says what it found.
//!
//! ```text
//!  watches (pools, own StorageNode) ─┐
//!  labels of the own Node ───────────┼─> known ──> report (pure) ──> apply ──> StorageNode.status
//!  devices, looked at read-only ─────┘
//!  heartbeat ──────────────────────────────────────────────────────> Lease moraine-node-NAME
//! ```
//!
//! It writes its own StorageNode and its own Lease, nothing else. When the API server is away it goes on
//! with what it knows and catches up later.
//!
//! `moraine-agent serve` serves disks by a map file (`data`): the data plane, not yet joined with the rest.
//!
//! Beside it, `moraine-agent store` looks at one disk offline ([`cli`]); no part of it runs in the agent.
//!
//! Not here yet: taking a disk in Kubernetes. There nothing is ever opened for writing; a device that would be taken is
//! reported as such.
#![forbid(unsafe_code)]

pub mod cli;
pub mod devices;

mod apply;
mod boot;
mod clock;
mod data;
mod data_dir;
mod health;
mod heartbeat;
mod metrics;
mod observe;
mod offline;
mod report;
mod run;
mod scan;
