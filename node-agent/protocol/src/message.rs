//! Requests, replies and refusals. Data travels beside them: a request or reply that has some says
//! how many blocks by its ranges, and gives the checksum of each.
//!
//! Every request can be sent again, after any loss, and does the same.

use moraine_model::{
    BlockRange, BucketEntry, BucketId, Checksums, ChunkIndex, Cut, Epoch, Generation, Share, Stamp,
    Tag, VolumeId,
};
use thiserror::Error;

/// Names a request in its reply. From each request of a connection to the next it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// By what right an engine asks: its generation must be the newest that opened the share, and the
/// epoch that of the bucket's last change (invariants I4 and I5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Under {
    /// The volume, and the bucket that the request is about.
    pub share: Share,
    /// The life of the engine.
    pub generation: Generation,
    /// The epoch of the bucket's entry in the engine's map.
    pub epoch: Epoch,
}

/// Some blocks of a chunk of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The chunk.
    pub chunk: ChunkIndex,
    /// The blocks in it.
    pub range: BlockRange,
}

/// What blocks become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Data, which travels beside the request, at most [`crate::limits::PAYLOAD_BLOCKS_MAX`] blocks.
    Data {
        /// The checksum of each block, as the engine computed it when it got the data.
        checksums: Checksums,
    },
    /// Zeros; nothing travels.
    Zero,
}

/// Which versions a read wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Head,
    /// The newest of a cut not above this one.
    Cut(Cut),
}

/// A request. The first group is an engine's, the second that of a replica that copies from
/// another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Fence older generations, adopt the bucket's entry, and say what is held. Answered with
    /// [`Reply::Opened`] when both are durable.
    Open {
        /// The volume.
        volume: VolumeId,
        /// The life of the engine.
        generation: Generation,
        /// The entry of the bucket in the engine's map.
        entry: BucketEntry,
    },
    /// Change blocks, durably. Answered with [`Reply::Done`].
    Write {
        /// By what right.
        under: Under,
        /// The blocks.
        block: Block,
        /// Sequence number of the write; with the generation it is its stamp.
        sequence: u64,
        /// The layer that it belongs to.
        cut: Cut,
        /// The engine's commit mark for the share.
        mark: Stamp,
        /// What they become.
        content: Content,
    },
    /// Read blocks, at most [`crate::limits::PAYLOAD_BLOCKS_MAX`]. Answered with [`Reply::Data`].
    Read {
        /// By what right.
        under: Under,
        /// The blocks.
        block: Block,
        /// Which versions.
        at: At,
        /// The engine's commit mark for the share.
        mark: Stamp,
    },
    /// Make this mark durable: the engine goes, and nothing of it is in flight. Answered with
    /// [`Reply::Done`].
    Close {
        /// By what right.
        under: Under,
        /// Everything that it wrote to the share is acknowledged up to here.
        mark: Stamp,
    },

    /// Say that the connection and the replica are alive. Answered with [`Reply::Done`].
    Ping,

    /// Adopt this entry and finish what was accepted under an older one (invariant I6). Answered
    /// with [`Reply::Done`] when both are durable.
    Adopt {
        /// The entry that lists the asking replica as syncing and the asked one as in sync.
        entry: BucketEntry,
    },
    /// Name the shares of a bucket, in order of volume. Answered with [`Reply::Shares`].
    Shares {
        /// The bucket.
        bucket: BucketId,
        /// The epoch of its entry.
        epoch: Epoch,
        /// Only those behind this volume.
        after: Option<VolumeId>,
    },
    /// Name the chunks of a share with a version above a stamp, in order. Answered with
    /// [`Reply::Chunks`].
    Chunks {
        /// The share.
        share: Share,
        /// The epoch of its bucket's entry.
        epoch: Epoch,
        /// The generation of the engine that asks; `None` for a replica.
        generation: Option<Generation>,
        /// Only chunks with a newer version than this.
        above: Stamp,
        /// Only chunks from this one on.
        from: ChunkIndex,
    },
    /// Name the layers of a chunk. Answered with [`Reply::Layers`].
    Layers {
        /// The share.
        share: Share,
        /// The epoch of its bucket's entry.
        epoch: Epoch,
        /// The generation of the engine that asks; `None` for a replica.
        generation: Option<Generation>,
        /// The chunk.
        chunk: ChunkIndex,
    },
    /// Name the versions in one layer of a chunk. Answered with [`Reply::Versions`].
    Versions {
        /// The share.
        share: Share,
        /// The epoch of its bucket's entry.
        epoch: Epoch,
        /// The generation of the engine that asks; `None` for a replica.
        generation: Option<Generation>,
        /// The chunk.
        chunk: ChunkIndex,
        /// The layer.
        cut: Cut,
    },
    /// Read what one layer holds of some blocks, versions and data. Answered with
    /// [`Reply::Data`].
    Copy {
        /// The share.
        share: Share,
        /// The epoch of its bucket's entry.
        epoch: Epoch,
        /// The blocks.
        block: Block,
        /// The layer.
        cut: Cut,
    },
}

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// Data.
    Data,
    /// Zeros, by zeroing or trimming.
    Zero,
}

/// One version of some blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which blocks.
    pub range: BlockRange,
    /// What they are.
    pub kind: VersionKind,
    /// Stamp, cut and epoch.
    pub tag: Tag,
}

/// One version with the checksums of its data, if it has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which blocks, what they are, and from which write.
    pub version: Version,
    /// Whether a clone reads them through to its parent: then stamp and cut are of the parent.
    pub inherited: bool,
    /// The checksum of each block of data; none for zeros.
    pub checksums: Checksums,
}

/// A chunk and the newest stamp in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStamp {
    /// The chunk.
    pub chunk: ChunkIndex,
    /// The newest stamp of any of its versions.
    pub newest: Stamp,
}

/// A layer of a chunk and the newest stamp in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStamp {
    /// The layer.
    pub cut: Cut,
    /// The newest stamp of its versions.
    pub newest: Stamp,
}

/// What a replica keeps of a share beside its blocks: who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareState {
    /// The volume.
    pub volume: VolumeId,
    /// The newest generation that opened it.
    pub fence: Generation,
    /// The cut that it had when it was deleted, if it was.
    pub deleted_at: Option<Cut>,
    /// Its deleted snapshots, in order.
    pub deleted_snapshots: Vec<Cut>,
    /// The clones that read through to it, in order of cut.
    pub references: Vec<(Cut, VolumeId)>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The share is open.
    Opened {
        /// The commit mark that the replica has kept.
        mark: Stamp,
        /// The greatest cut of any version that it holds of the share.
        cut: Cut,
        /// Whether it holds versions above its mark that count: of an in-sync replica all, of a
        /// syncing one those written to it since it was listed. Their chunks are to be asked for
        /// with [`Request::Chunks`].
        above_mark: bool,
    },
    /// It is done and durable.
    Done,
    /// Blocks, in order; those in no part were never written. The data of the parts that have some
    /// travels beside it, one behind the other.
    Data {
        /// The runs of blocks.
        parts: Vec<Part>,
    },
    /// The shares of a bucket.
    Shares {
        /// At most [`crate::limits::SHARES_MAX`].
        shares: Vec<ShareState>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// Chunks of a share.
    Chunks {
        /// At most [`crate::limits::CHUNKS_MAX`].
        chunks: Vec<ChunkStamp>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// The layers of a chunk, newest first.
    Layers {
        /// The newest generation that opened the share there, at this moment.
        fence: Generation,
        /// At most [`crate::limits::LAYERS_MAX`].
        layers: Vec<LayerStamp>,
    },
    /// The versions of a layer.
    Versions {
        /// The newest generation that opened the share there, at this moment.
        fence: Generation,
        /// At most [`crate::limits::VERSIONS_MAX`], in order.
        versions: Vec<Version>,
    },
    /// It was not done.
    Refused(Refusal),
}

/// Why a request was not done. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request is of an older map than the replica has adopted.
    #[error("the map has changed: {entry}")]
    StaleEpoch {
        /// The newest entry that it knows.
        entry: BucketEntry,
    },
    /// A newer engine has opened the share.
    #[error("generation {}.{} has opened the volume since", .by.attach, .by.incarnation)]
    Fenced {
        /// The newest one.
        by: Generation,
    },
    /// The share must be opened first: the replica has neither this generation nor this epoch.
    #[error("the volume isn't open here under this generation and epoch")]
    NotOpen,
    /// The replica is not in sync, so it can't be read.
    #[error("the replica is not in sync")]
    NotInSync,
    /// The disk has no such bucket, or another shard has it: the asker's map is wrong.
    #[error("the bucket is not served here")]
    NotHere,
    /// Nobody told the replica of such a volume.
    #[error("the volume is not known here")]
    UnknownVolume,
    /// The volume was deleted.
    #[error("the volume is deleted")]
    Deleted,
    /// The volume has no such snapshot.
    #[error("there is no such snapshot")]
    NoSnapshot,
    /// No room for data. Reads, trims and deletes go on.
    #[error("no space is left on the replica's disk")]
    NoSpace,
    /// A block on the disk is not what was written, or can't be read. Read it from another replica.
    #[error("block {block} is damaged on the replica's disk")]
    Damaged {
        /// The block within its chunk.
        block: u16,
    },
    /// A block doesn't match its checksum: it was damaged on its way to the replica.
    #[error("block {block} was damaged on its way")]
    Mismatch {
        /// The block within its chunk.
        block: u16,
    },
    /// Too many requests wait. Ask again later.
    #[error("too many requests wait")]
    Busy,
    /// The disk failed, and the replica recovers from it. What was asked may or may not have been
    /// done; ask again later.
    #[error("the replica's disk failed a write; it recovers")]
    Stopped,
    /// The request breaks a rule of the protocol: a bug of the asker.
    #[error("the request breaks a rule: {rule}")]
    Malformed {
        /// Which one.
        rule: Rule,
    },
}

/// The rules that a request with a well-formed frame can still break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rule {
    /// Data and range don't fit each other.
    #[error("as many blocks of data and checksums as the range has")]
    PayloadFitsRange,
    /// Two entries of one bucket and epoch differ.
    #[error("one entry for each bucket and epoch")]
    OneEntryPerEpoch,
    /// The entry doesn't list the replica that is asked.
    #[error("only listed replicas are asked")]
    AskedIsListed,
    /// A mark or sequence that the generation can't have.
    #[error("marks and sequences of the generation that asks, above zero and below 2^62")]
    StampInRange,
    /// A copy was asked of a replica that isn't in sync.
    #[error("copies come from replicas in sync")]
    SourceInSync,
    /// The store found the request malformed.
    #[error("the limits of the store")]
    StoreLimits,
}

impl Request {
    /// The bucket that it is about, which says what shard of a disk is to be asked.
    pub fn bucket(&self) -> Option<BucketId> {
        match self {
            Self::Open { entry, .. } | Self::Adopt { entry } => Some(entry.bucket()),
            Self::Write { under, .. } | Self::Read { under, .. } | Self::Close { under, .. } => {
                Some(under.share.bucket)
            }
            Self::Shares { bucket, .. } => Some(*bucket),
            Self::Chunks { share, .. }
            | Self::Layers { share, .. }
            | Self::Versions { share, .. }
            | Self::Copy { share, .. } => Some(share.bucket),
            Self::Ping => None,
        }
    }
}
