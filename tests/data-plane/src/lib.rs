//! A cluster in one process: agents that serve disks in memory over real sockets, a map in a file,
//! and volumes attached by the engine's own shell.
//!
//! The agents are small and know no failure of their own: they run the replica core as it is, and
//! can be killed, started again and have their connections cut. How a real agent serves is the
//! node agent's subject.
#![forbid(unsafe_code)]

mod agent;
mod cluster;
mod link;
mod peers;

pub use cluster::{Cluster, SECRET};
