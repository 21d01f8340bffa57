//! The words that every part of Moraine shares: ids, stamps, checksums, and the limits they obey.
//!
//! Each value is checked once, where it enters, and is right ever after. This crate knows no
//! format, no protocol and no Kubernetes: those crates give these values their bytes.
#![forbid(unsafe_code)]

mod address;
mod checksum;
mod entry;
mod id;
mod place;
mod stamp;

pub use address::{BlockIndex, BlockRange, ChunkIndex};
pub use checksum::{Checksums, block_checksums, checksum, checksum_append, checksum_with_hole};
pub use entry::{BucketEntry, Listing, Role};
pub use id::{BucketId, ClusterId, DiskId, VolumeId};
pub use place::{Place, Share, bucket_of};
pub use stamp::{Cut, Epoch, Generation, Stamp, Tag};

/// Bytes of a block, the smallest unit that is written, read and checked.
pub const BLOCK_BYTES: usize = 4096;
/// Blocks of a chunk, the unit that a bucket holds.
pub const CHUNK_BLOCKS: u16 = 1024;
/// Bytes of a chunk.
pub const CHUNK_BYTES: u64 = CHUNK_BLOCKS as u64 * BLOCK_BYTES as u64;
/// Most replicas that a bucket can have, those that come and go included.
pub const REPLICAS_MAX: usize = 8;
/// Most buckets that a pool can have.
pub const BUCKETS_MAX: u32 = 65_536;
/// Most chunks that a volume can have: 64 TiB.
pub const VOLUME_CHUNKS_MAX: u32 = 1 << 24;

/// A value that lies outside the limits of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfRange {
    /// What was to be made.
    pub what: &'static str,
    /// The value that was given.
    pub value: String,
    /// What is allowed, for a person to read.
    pub allowed: &'static str,
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} is not allowed: {}",
            self.what, self.value, self.allowed
        )
    }
}

impl std::error::Error for OutOfRange {}
