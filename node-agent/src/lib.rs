//! Moraine's node agent: stands for one node, takes its disks for pools, serves them, and says how they are.
//!
//! ```text
//!  watches (pools, maps, own StorageNode) ─┐
//!  labels of the own Node ─────────────────┼─> known ──> report (pure) ──> apply ──> StorageNode.status
//!  devices ──────> scan ─── taken ──┐──────┘    ▲
//!  known maps ────────────────────> serving ────┘ how the disks are
//!                                    │
//!                                   data <── engines and other agents
//!  heartbeat ────────────────────────────────────────────────────────────> Lease moraine-node-NAME
//! ```
//!
//! To the API server it writes its own StorageNode and its own Lease, nothing else. When that is away it goes on
//! with what it knows, after a restart too, and catches up later.
//!
//! `moraine-agent serve` serves disks by a map file (`data`), without Kubernetes.
//!
//! Beside it, `moraine-agent store` looks at one disk offline ([`cli`]); no part of it runs in the agent.
//!
//! Not here yet: letting a disk grow, and wiping the disks of a pool that is deleted.
#![forbid(unsafe_code)]

pub mod cli;
pub mod devices;

mod apply;
mod boot;
mod clock;
mod data;
mod data_dir;
mod durable;
mod health;
mod heartbeat;
mod metrics;
mod observe;
mod offline;
mod report;
mod run;
mod scan;
mod serving;
