//! The words between the engine and its shell: operations, outputs and errors, as plain values.

use bytes::Bytes;
use moraine_model::{BucketEntry, BucketId, Cut, DiskId, Generation, OutOfRange};
use moraine_protocol::{Request, RequestId};
use thiserror::Error;

/// Names an operation in its result; unique among the unanswered ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IoId(pub u64);

/// A connection to the shards of one disk, named by the shell and never used for a second one. The
/// shell gives up one on which nothing comes though requests wait: only then they go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u64);

/// An operation on the volume, in bytes. Offset and length are multiples of the block size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Io {
    /// Read.
    Read {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
    },
    /// Write; its data is kept and sent without being copied.
    Write {
        /// Where.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// Make zeros; a trim too.
    Zero {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
    },
    /// Done when every write that was submitted before is answered. A write that is acknowledged is
    /// durable anyway; one that ended with an error is not waited for.
    Flush,
}

/// What the shell is to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send {
        /// On which connection.
        path: PathId,
        /// Its name there.
        id: RequestId,
        /// What.
        request: Request,
        /// The data of a write.
        payload: Option<Bytes>,
    },
    /// An operation has ended: exactly once for each that was submitted.
    Done {
        /// Which.
        io: IoId,
        /// The data of a read, nothing for others.
        result: Result<Bytes, IoError>,
    },
    /// Make this entry durable, so that the next engine of the volume doesn't begin with an older
    /// one, and say so with [`crate::Engine::kept`]; until then nothing is opened under it.
    Keep {
        /// The entry.
        entry: BucketEntry,
    },
    /// All buckets are reconciled: operations are served from now on.
    Attached,
    /// The volume can't be attached; the engine has ended.
    AttachFailed(AttachError),
    /// The engine has ended as it was told.
    Detached {
        /// Whether every replica knows that there is nothing to reconcile.
        clean: bool,
    },
    /// Make this cut durable, so that the next engine of the volume doesn't write with an older one
    /// into a snapshot that is ready, and say so with [`crate::Engine::kept_cut`]; until then no
    /// write has it.
    KeepCut {
        /// The cut.
        cut: Cut,
    },
    /// Every write from now on has this cut, and every write with an older one is acknowledged. The
    /// report of an engine that is superseded counts for nothing: it is to name the generation.
    CutReached {
        /// The cut.
        cut: Cut,
        /// The engine's own generation.
        generation: Generation,
    },
    /// The volume has this size now.
    Resized {
        /// The size.
        size_bytes: u64,
    },
    /// The disk can't be reached, doesn't answer in time, or has refused something for too long: for
    /// want of room, or for whatever reason.
    Suspect {
        /// Which.
        disk: DiskId,
    },
    /// A disk that was suspected answers and refuses nothing any more, or isn't used by the volume now.
    Trust {
        /// Which.
        disk: DiskId,
    },
    /// A newer engine has the volume. This one has ended; everything unanswered ended with
    /// [`IoError::Fenced`].
    Fenced {
        /// The newer engine.
        by: Generation,
    },
}

/// Why an operation was not done, or not known to be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IoError {
    /// Offset or length is not of whole blocks, or there is nothing to do.
    #[error("{length} bytes at {offset} are not whole blocks: use multiples of 4096, at least one")]
    Misaligned {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
    },
    /// The operation reaches beyond the end.
    #[error("{length} bytes at {offset} reach beyond the end of the volume at {size_bytes}")]
    OutOfRange {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
        /// The volume's size.
        size_bytes: u64,
    },
    /// The operation has more data than one may have.
    #[error("{length} bytes at once are too many: at most {limit}")]
    TooLong {
        /// How much.
        length: u64,
        /// The most that may be.
        limit: usize,
    },
    /// The volume is attached for reading only.
    #[error("the volume is attached read-only")]
    ReadOnly,
    /// Too many operations are unanswered.
    #[error("{limit} operations are unanswered already: submit this one again later")]
    Busy {
        /// The most that may be.
        limit: usize,
    },
    /// A replica's disk has no room. The write may yet be done.
    #[error("no space is left on a disk of the pool: add disks, or delete data and snapshots")]
    NoSpace,
    /// Not done in time. A write may yet be done.
    #[error("not done within {waited_ms} ms: look for nodes or disks that are suspected")]
    TimedOut {
        /// How long it was tried.
        waited_ms: u64,
    },
    /// No replica in sync has the data as it was written.
    #[error(
        "block {block} of chunk {chunk} is damaged on every replica in sync: restore it from a snapshot or backup"
    )]
    Damaged {
        /// The chunk.
        chunk: u32,
        /// The block within it.
        block: u16,
    },
    /// The volume was deleted.
    #[error("the volume is deleted")]
    Deleted,
    /// A newer engine has the volume. A write may or may not have been done.
    #[error("generation {}.{} has the volume now", .by.attach, .by.incarnation)]
    Fenced {
        /// The newer engine.
        by: Generation,
    },
    /// The volume is being detached, or is.
    #[error("the volume is detached here")]
    Detached,
}

/// Why an engine can't be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NewError {
    /// The size is not of whole blocks, zero, or too large.
    #[error("a volume of {size_bytes} bytes can't be: use a multiple of 4096, at most 64 TiB")]
    Size {
        /// The size.
        size_bytes: u64,
    },
    /// The pool's number of buckets can't be.
    #[error("a pool of {buckets} buckets can't be: 1 to 65536")]
    Buckets {
        /// The number.
        buckets: u32,
    },
    /// A bucket that the volume uses has no entry in the map.
    #[error("the map has no entry for bucket {}: wait for the operator to place it", .bucket.get())]
    NoEntry {
        /// The bucket.
        bucket: BucketId,
    },
    /// The generation is zero, which no engine has.
    #[error("generation zero is no engine's: raise the attachment's generation first")]
    Generation,
    /// A value lies outside the limits of its type.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// Why a volume can't be attached.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttachError {
    /// It was deleted.
    #[error("the volume is deleted on disk {disk}")]
    Deleted {
        /// Who says so.
        disk: DiskId,
    },
}

/// Why a volume can't have a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResizeError {
    /// The size is not of whole blocks, or too large.
    #[error("a volume of {size_bytes} bytes can't be: use a multiple of 4096, at most 64 TiB")]
    Size {
        /// The size.
        size_bytes: u64,
    },
    /// The volume is larger already.
    #[error("a volume of {now} bytes can't shrink to {size_bytes}")]
    Smaller {
        /// The size that was asked for.
        size_bytes: u64,
        /// The size that it has, or is getting.
        now: u64,
    },
    /// The engine has ended, or is to end.
    #[error("the volume is detached here")]
    Detached,
}
