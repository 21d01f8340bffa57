//! The replica core against disks in memory: each rule, crashes, copies, and random requests.
//!
//! `MORAINE_REPLICA_SEEDS` says how many random runs there are of each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control;
mod lists;
mod marks;
mod net;
mod opening;
mod random;
mod reading;
mod refusals;
mod sync;
mod sync_edges;
mod world;
