//! The replica core against disks in memory: each rule, crashes, copies, and random requests.

mod control;
mod crash;
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
