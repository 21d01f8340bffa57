//! What a shard can be asked, and what it answers.

use crate::format::{Place, RecordKey, Tag};
use crate::free_list::Purpose;
use crate::index::Share;
use crate::index::layer::PieceKind;
use crate::{Buffer, Checksums, StoreError};
use moraine_model::{BlockRange, Cut, Epoch, Generation, VolumeId};

/// Names a request in its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// When a version that is there already stays, against one that arrives for the same cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A write of an engine. A version of an epoch below `listed` counts for nothing; else the
    /// newer stamp wins, and of equal stamps the newer epoch.
    Write {
        /// The epoch since which this replica is listed.
        listed: Epoch,
    },
    /// A copy from another replica. What was written here since `listed`, with a newer stamp, by a
    /// generation not below `fence`, stays.
    Copy {
        /// The epoch since which this replica is listed.
        listed: Epoch,
        /// The fence at the source.
        fence: Generation,
    },
}

/// What blocks become.
#[derive(Debug)]
pub enum Content {
    /// This data, with the checksum of each block as the engine computed it.
    Data {
        /// Whole blocks, as many as the range has.
        data: Buffer,
        /// One checksum for each.
        checksums: Checksums,
    },
    /// Zeros, by zeroing or trimming.
    Zero,
    /// No version in this layer: only copies from a replica that has none say so. Versions of older
    /// cuts that this layer alone hid go with it, for they may be collected already; so a chunk is
    /// copied from its newest cut down, each cut compared when the newer ones are durable.
    Hole,
}

impl Content {
    /// How deep into the reserve it may reach.
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Data { .. } => Purpose::Data,
            Self::Zero | Self::Hole => Purpose::Trim,
        }
    }
}

/// A change of some blocks of a chunk.
#[derive(Debug)]
pub struct Write {
    /// The chunk.
    pub place: Place,
    /// The blocks.
    pub range: BlockRange,
    /// Stamp, cut, epoch.
    pub tag: Tag,
    /// When what is there stays.
    pub rule: Rule,
    /// What they become.
    pub content: Content,
}

/// Which versions a read wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// The newest.
    Head,
    /// The newest of a cut not above this one.
    Cut(Cut),
    /// Only those that were written with this cut, as copying a chunk needs them.
    Layer(Cut),
}

/// A read of some blocks of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// The chunk.
    pub place: Place,
    /// The blocks.
    pub range: BlockRange,
    /// Which versions.
    pub at: ReadAt,
}

/// A change to what is kept of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Forget the share wholly: nobody needs it. Refused while a clone reads it, also one that has no
    /// blocks of its own.
    DropShare,
    /// Forget the share wholly, and the names of its clones in one go: the bucket has left this disk, and
    /// they with it. Refused while one of them still has blocks or clones here: it goes first.
    LeaveShare,
    /// The volume is deleted; it had reached this cut. Snapshots and clones stay.
    DeleteVolume {
        /// The cut of the head.
        cut: Cut,
    },
    /// Delete a snapshot. Its data stays while a clone reads it.
    DeleteSnapshot {
        /// Its name.
        cut: Cut,
    },
    /// The child volume reads through to this share at the cut.
    AddReference {
        /// The parent's cut.
        cut: Cut,
        /// The clone.
        child: VolumeId,
    },
    /// It does so no more: it was deleted or has all data itself.
    RemoveReference {
        /// The parent's cut.
        cut: Cut,
        /// The clone.
        child: VolumeId,
    },
}

/// A request to a shard.
#[derive(Debug)]
pub enum Request {
    /// Change blocks.
    Write(Write),
    /// Read blocks.
    Read(Read),
    /// Keep or remove a note of the replica.
    Note {
        /// Its key, below 64 bytes.
        key: Vec<u8>,
        /// Its value, `None` to remove it.
        value: Option<Vec<u8>>,
    },
    /// Change what is kept.
    Control {
        /// Of which share.
        share: Share,
        /// How.
        control: Control,
    },
}

/// One run of blocks in the answer to a read.
#[derive(Debug)]
pub struct ReadPart {
    /// Which blocks.
    pub range: BlockRange,
    /// The data, checked, or `None` for zeros.
    pub data: Option<Buffer>,
    /// The checksum of each block of data.
    pub checksums: Vec<u32>,
    /// Which versions they are.
    pub versions: Vec<Version>,
}

/// One version in the answer to a read or of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Which blocks.
    pub range: BlockRange,
    /// What they are.
    pub kind: PieceKind,
    /// Stamp, cut, epoch.
    pub tag: Tag,
}

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// A change is durable.
    Durable,
    /// Blocks, in order; those in no part were never written.
    Read(Vec<ReadPart>),
}

/// The answer to a request.
#[derive(Debug)]
pub struct Reply {
    /// Which request.
    pub id: RequestId,
    /// What became of it.
    pub outcome: Result<Done, StoreError>,
}

/// The records that the store itself keeps, as keys on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKey {
    Dropped(Share),
    Deleted(Share),
    Snapshot(Share, Cut),
    Reference(Share, Cut, VolumeId),
}

/// First byte of the keys of notes.
const NOTE: u8 = 128;

impl StoreKey {
    pub(crate) fn encode(self) -> RecordKey {
        let (kind, share, cut, child) = match self {
            Self::Dropped(share) => (1, share, None, None),
            Self::Deleted(share) => (2, share, None, None),
            Self::Snapshot(share, cut) => (3, share, Some(cut), None),
            Self::Reference(share, cut, child) => (4, share, Some(cut), Some(child)),
        };
        let mut bytes = vec![kind];
        bytes.extend(share.volume.get().to_le_bytes());
        bytes.extend(share.bucket.get().to_le_bytes());
        bytes.extend(cut.iter().flat_map(|cut| cut.0.to_le_bytes()));
        bytes.extend(child.iter().flat_map(|child| child.get().to_le_bytes()));
        RecordKey::new(bytes).expect("45 bytes at most")
    }

    /// Reads a key; `None` for notes and for what no version 1 store wrote.
    pub(crate) fn decode(key: &RecordKey) -> Option<Self> {
        let (kind, rest) = key.as_bytes().split_first()?;
        let (volume, rest) = rest.split_first_chunk::<16>()?;
        let (bucket, rest) = rest.split_first_chunk::<4>()?;
        let share = Share {
            volume: VolumeId::new(u128::from_le_bytes(*volume)).ok()?,
            bucket: u32::from_le_bytes(*bucket).try_into().ok()?,
        };
        let cut = rest
            .split_first_chunk::<8>()
            .map(|(cut, rest)| (Cut(u64::from_le_bytes(*cut)), rest));
        match (kind, cut) {
            (1, None) => Some(Self::Dropped(share)),
            (2, None) => Some(Self::Deleted(share)),
            (3, Some((cut, []))) => Some(Self::Snapshot(share, cut)),
            (4, Some((cut, child))) => {
                let child = u128::from_le_bytes(child.try_into().ok()?);
                Some(Self::Reference(share, cut, VolumeId::new(child).ok()?))
            }
            _ => None,
        }
    }

    pub(crate) fn share(self) -> Share {
        match self {
            Self::Dropped(share)
            | Self::Deleted(share)
            | Self::Snapshot(share, _)
            | Self::Reference(share, ..) => share,
        }
    }
}

/// The record key of a note; `None` if it is empty or too long.
pub(crate) fn note_key(key: &[u8]) -> Option<RecordKey> {
    let mut bytes = vec![NOTE];
    bytes.extend_from_slice(key);
    if key.is_empty() {
        None
    } else {
        RecordKey::new(bytes)
    }
}

/// The note that a record key stands for.
pub(crate) fn note_of(key: &RecordKey) -> Option<&[u8]> {
    key.as_bytes().strip_prefix(&[NOTE])
}
