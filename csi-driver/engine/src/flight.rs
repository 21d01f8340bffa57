//! A write in flight: what every listed replica must acknowledge under the epoch of the bucket's
//! newest entry (invariant I8).

use bytes::Bytes;
use moraine_model::{BlockRange, BucketId, ChunkIndex, Cut};
use moraine_protocol::Content;

/// For whom a write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// A piece of an operation, or of a repair.
    Piece(usize),
    /// The reconciliation of its bucket.
    Reconciliation,
}

/// A write in flight. With the engine's generation, `sequence` is its stamp, which it keeps however
/// often it is sent.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) bucket: BucketId,
    pub(crate) chunk: ChunkIndex,
    pub(crate) range: BlockRange,
    pub(crate) sequence: u64,
    pub(crate) cut: Cut,
    pub(crate) content: Content,
    pub(crate) data: Option<Bytes>,
    pub(crate) of: For,
    /// The slots that have acknowledged it under the epoch of the bucket's entry. A new entry
    /// empties it: an acknowledgement counts only for the epoch under which it was given.
    pub(crate) acknowledged: u8,
    /// The slots that are being asked under that epoch.
    pub(crate) asked: u8,
    /// Since when a disk has had no room for it.
    pub(crate) no_space_since: Option<u64>,
}
