//! Moraine's CSI driver: the edge between Kubernetes' storage interface and Moraine's volumes.
//!
//! ```text
//! kubelet ── registration socket ──► registration    "I am block.csi.moraine.io, talk to me there"
//!         ── csi socket ───────────► identity, node  who I am, which node this is
//!         ── http /healthz ────────► health          asks identity over the very socket that kubelet uses
//! ```
//!
//! Today it registers and identifies itself; it deliberately announces no controller service and no staging, so that
//! no one is led to believe that a volume can be made. Those come with the engine and the kernel device.
#![forbid(unsafe_code)]

pub mod cli;
pub mod health;
pub mod identity;
pub mod metrics;
pub mod node;
pub mod proto;
pub mod registration;
pub mod serve;
pub mod socket;

/// The name under which Kubernetes knows the driver; part of every PersistentVolume, so it never changes.
pub const DRIVER_NAME: &str = "block.csi.moraine.io";
