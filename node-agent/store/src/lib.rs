//! The extent store of one disk: an append-only log kept in segments, with a bitmap for each.
//!
//! A deterministic state machine: it has no clock, thread, randomness or socket. Time comes in as
//! an argument and I/O goes out through the [`Disk`] trait. It knows blocks, chunks, volumes and
//! buckets, but no replicas, no protocol and no Kubernetes. `docs/format.md` gives every byte that
//! it writes.
//!
//! Unsafe code is denied but in the `io_uring` disk, which hands memory to the kernel.
#![deny(unsafe_code)]

pub mod bitmap;
mod blocking;
mod buffer;
pub mod disk;
mod error;
pub mod format;
pub mod free_list;
pub mod index;
pub mod inspect;
mod metrics;
mod open;
mod shard;
mod sync;

pub use buffer::{Buffer, Registration};
pub use disk::Disk;
pub use error::{OpenError, StoreError};
pub use format::{Place, Tag};
pub use index::Share;
pub use metrics::Metrics;
pub use moraine_model::{Checksums, block_checksums, checksum};
pub use open::{FormatOptions, Opened, format, open, read_superblock};
pub use shard::{
    BadBlock, ChunkStamp, Content, Control, Done, Read, ReadAt, ReadPart, Reply, Request,
    RequestId, Rule, ScrubReport, Shard, ShardOptions, Usage, Version, Write,
};
