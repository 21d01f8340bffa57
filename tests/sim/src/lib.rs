//! The simulator: the shipped cores (store, replica, engine) in a cluster that exists only in
//! memory, under faults, with one seed that decides everything.
//!
//! ```text
//! seed ─> scenario ─> world: agents (MemoryDisk, Shard, Replicas) ─ wires ─ engines ─ clients
//!                       │        operator with the map, faults, direct looks
//!                       └─> checkers at each step: registers, snapshots, I2 to I8; at the end: rest
//! ```
//!
//! It is a discrete-event simulation with virtual time: no thread, socket or clock. What the shells
//! do in production is done here by the world, in ways that production allows. The placement core
//! takes no part: the operator here makes any change of the map that design.md allows.
#![forbid(unsafe_code)]

mod agenda;
mod agents;
mod bend;
mod chance;
mod engines;
mod faults;
mod finish;
mod history;
mod life;
mod load;
mod map;
mod mutation;
mod network;
mod operator;
mod probes;
mod register;
mod run;
mod scenario;
mod scenes;
mod shards;
mod trace;
mod value;
mod watch;
mod wires;
mod words;
mod world;

pub use mutation::Mutation;
pub use run::{Failure, Outcome, run, story};
pub use world::Counts;
