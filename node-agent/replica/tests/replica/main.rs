//! The replica core against disks in memory: each rule, crashes, copies, and random requests.
//!
//! `MORAINE_REPLICA_SEEDS` says how many random runs there are of each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod control;
mod lists;
mod marks;
mod mutations;
mod net;
mod opening;
mod promises;
mod random;
mod reading;
mod refusals;
mod script;
mod storm;
mod sync;
mod sync_edges;
mod world;
