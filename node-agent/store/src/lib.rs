//! The extent store of one disk: an append-only log kept in segments, with a bitmap for each.
//!
//! A deterministic state machine: it has no clock, thread, randomness or socket. Time comes in as
//! an argument and I/O goes out through the [`Disk`] trait. It knows blocks, chunks, volumes and
//! buckets, but no replicas, no protocol and no Kubernetes. `docs/format.md` gives every byte that
//! it writes.
#![forbid(unsafe_code)]

mod buffer;
pub mod disk;

pub use buffer::Buffer;
pub use disk::Disk;
