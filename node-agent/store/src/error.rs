//! What can go wrong, by what the caller should do about it.

use crate::disk::Failure;
use crate::format::{FormatError, Place};
use moraine_model::{ClusterId, Cut, VolumeId};
use thiserror::Error;

/// Why a disk was not formatted or not opened. Unless said otherwise nothing was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no superblock: the disk is blank or belongs to something else.
    #[error("not a Moraine disk: it holds {found}; format it if nothing on it is needed")]
    NotFormatted {
        /// What was recognised.
        found: &'static str,
    },
    /// Formatting would overwrite something.
    #[error("the disk holds {found}; it is formatted only when wiping is asked for")]
    NotBlank {
        /// What was recognised.
        found: &'static str,
    },
    /// The disk belongs to another cluster.
    #[error("the disk belongs to cluster {found}, not to this one, {expected}")]
    ForeignCluster {
        /// This cluster.
        expected: ClusterId,
        /// The disk's cluster.
        found: ClusterId,
    },
    /// A newer program wrote the disk.
    #[error("the disk was written by another version of Moraine; use that version, or a newer one")]
    UnknownVersion(#[source] FormatError),
    /// Both copies of the superblock are damaged.
    #[error("both copies of the superblock are damaged; the disk must be replaced or formatted")]
    SuperblockDamaged(#[source] FormatError),
    /// The device is smaller than when it was formatted.
    #[error("the device has {size_bytes} bytes, but the store reaches over {needed_bytes}")]
    Truncated {
        /// What the device has.
        size_bytes: u64,
        /// What the superblock says.
        needed_bytes: u64,
    },
    /// The device is too small, or the numbers asked for are out of range.
    #[error("the disk of {size_bytes} bytes can't hold {shards} shards with 8 segments each")]
    TooSmall {
        /// What the device has.
        size_bytes: u64,
        /// What was asked for.
        shards: u32,
    },
    /// A structure that was durable is gone: what it described can't be trusted.
    #[error("segment {segment} is damaged: {what}; replace the disk, its replicas are elsewhere")]
    Damaged {
        /// The segment.
        segment: u32,
        /// What is damaged.
        what: &'static str,
    },
    /// The device failed while it was read or repaired.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: Failure,
    },
}

/// Why a request was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room for data, and nothing to clean. Reads, trims and deletes go on.
    #[error("no space is left on the disk; delete or trim something, or add disks")]
    NoSpace,
    /// A block is not what was written. Never data; read it from another replica.
    #[error("block {block} of chunk {} of volume {} is damaged at disk block {location}",
        .place.chunk.get(), .place.volume)]
    Corrupt {
        /// The chunk.
        place: Place,
        /// The block within it.
        block: u16,
        /// Where it lies on the disk.
        location: u32,
    },
    /// The disk failed a read. Read from another replica.
    #[error("reading the disk at block {location} failed")]
    ReadFailed {
        /// Where.
        location: u32,
        /// What the disk said.
        #[source]
        source: Failure,
    },
    /// A write to the disk failed, then or before. What was not yet answered may or may not be
    /// there; open the shard again.
    #[error("the disk failed a write, and the shard stopped; open it again")]
    Stopped,
    /// A block's checksum is not that of its data: it was damaged on the way here.
    #[error("block {block} of the request doesn't match its checksum")]
    Mismatch {
        /// The block.
        block: u16,
    },
    /// Too many requests wait; ask again when some were answered.
    #[error("too many requests wait for the disk; ask again later")]
    Busy,
    /// The request breaks a limit; it is the caller's bug.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The volume was deleted.
    #[error("volume {0} is deleted")]
    Deleted(VolumeId),
    /// There is no such snapshot.
    #[error("volume {volume} has no snapshot {}", .cut.0)]
    NoSnapshot {
        /// The volume.
        volume: VolumeId,
        /// The cut.
        cut: Cut,
    },
    /// A clone still reads through this.
    #[error("volume {0} still reads through it")]
    Referenced(VolumeId),
}
