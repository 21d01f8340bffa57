//! Entries: what one batch or index says of blocks and records.

use super::cursor::{Reader, Writer};
use super::{ENTRY_BLOCKS_MAX, FormatError, KEY_BYTES_MAX, NUMBER_MAX, VALUE_BYTES_MAX};
use moraine_model::{
    BlockRange, BucketId, Checksums, ChunkIndex, Cut, Epoch, Generation, Place, Stamp, Tag,
    VolumeId,
};

const WHAT: &str = "entry";
const DATA: u8 = 1;
const ZERO: u8 = 2;
const HOLE: u8 = 3;
const RECORD: u8 = 4;
const BLOCK_FIELDS_BYTES: usize = 76;
/// Where the number of blocks is.
const COUNT_AT: usize = 38;
const DOWN_TO_BYTES: usize = 8;
/// Bytes that an entry for blocks takes at most, beside its checksums.
pub const BLOCK_ENTRY_BYTES_MAX: usize = BLOCK_FIELDS_BYTES + DOWN_TO_BYTES;
const RECORD_FIELDS_BYTES: usize = 16;

/// What the blocks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockKind {
    /// Data, in consecutive blocks of the segment.
    Data {
        /// The first block's number within the segment.
        position: u32,
        /// The checksum of each block.
        checksums: Checksums,
    },
    /// Zeros.
    Zero,
    /// No version in this layer, and none in those below it that it alone hid.
    Hole {
        /// The least cut whose versions it takes away; the entry's own cut is the greatest.
        down_to: Cut,
    },
}

/// An entry for a run of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEntry {
    /// The batch that it was first written with.
    pub lsn: u64,
    /// Which chunk.
    pub place: Place,
    /// Which blocks of it.
    pub range: BlockRange,
    /// Stamp, cut and epoch.
    pub tag: Tag,
    /// What they are.
    pub kind: BlockKind,
}

impl BlockEntry {
    /// The same for those of its blocks that lie in `range`.
    pub fn part(&self, range: BlockRange) -> Option<Self> {
        let range = self.range.intersection(range)?;
        let skip = range.first() - self.range.first();
        let mut kind = self.kind.clone();
        if let BlockKind::Data {
            position,
            checksums,
        } = &mut kind
        {
            let first = usize::from(skip);
            *position += u32::from(skip);
            *checksums = checksums[first..first + usize::from(range.count())].into();
        }
        Some(Self {
            lsn: self.lsn,
            place: self.place,
            range,
            tag: self.tag,
            kind,
        })
    }
}

/// The key of a record: opaque bytes, at most [`KEY_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(Vec<u8>);

impl RecordKey {
    /// The key with these bytes, unless there are none or too many.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=KEY_BYTES_MAX)
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An entry that sets or removes a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// The batch that it was first written with.
    pub lsn: u64,
    /// Which record.
    pub key: RecordKey,
    /// Its value, or `None` to remove it.
    pub value: Option<Vec<u8>>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// For blocks.
    Blocks(BlockEntry),
    /// For a record.
    Record(RecordEntry),
}

/// What an entry is about, without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outline {
    /// Data of so many blocks.
    Data(u16),
    /// Zeros or a hole of so many blocks.
    Tombstone(u16),
    /// A record.
    Record,
}

impl Entry {
    /// The batch that it was first written with.
    pub fn lsn(&self) -> u64 {
        match self {
            Self::Blocks(entry) => entry.lsn,
            Self::Record(entry) => entry.lsn,
        }
    }

    /// Data blocks that belong to it.
    pub fn data_blocks(&self) -> u32 {
        match self {
            Self::Blocks(BlockEntry {
                kind: BlockKind::Data { .. },
                range,
                ..
            }) => u32::from(range.count()),
            _ => 0,
        }
    }

    /// Bytes that [`Entry::encode`] appends.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Blocks(entry) => match &entry.kind {
                BlockKind::Data { checksums, .. } => BLOCK_FIELDS_BYTES + 4 * checksums.len(),
                BlockKind::Zero => BLOCK_FIELDS_BYTES,
                BlockKind::Hole { .. } => BLOCK_FIELDS_BYTES + DOWN_TO_BYTES,
            },
            Self::Record(entry) => {
                let value = entry.value.as_ref().map_or(0, Vec::len);
                RECORD_FIELDS_BYTES + entry.key.0.len() + value
            }
        }
    }

    /// Appends the bytes of the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = u16::try_from(self.encoded_bytes()).expect("limits keep entries below 64 KiB");
        match self {
            Self::Blocks(entry) => encode_blocks(entry, bytes, out),
            Self::Record(entry) => encode_record(entry, bytes, out),
        }
        assert_eq!(
            out.len() - start,
            usize::from(bytes),
            "encoded_bytes and encode disagree"
        );
    }

    /// Takes the bytes of one entry from the front of `bytes` without a look at most of them.
    pub fn skip<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, FormatError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let field = FormatError::Field {
            what: WHAT,
            field: "length",
        };
        let length = bytes.get(2..4).ok_or(field)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let least = RECORD_FIELDS_BYTES.min(BLOCK_FIELDS_BYTES);
        let entry = bytes.split_at_checked(length).filter(|_| length >= least);
        let (entry, rest) = entry.ok_or(field)?;
        *bytes = rest;
        Ok(Some(entry))
    }

    /// What an entry with these bytes, from [`Entry::skip`], is about.
    pub fn outline_of(bytes: &[u8]) -> Option<Outline> {
        let count = || {
            Some(u16::from_le_bytes([
                *bytes.get(COUNT_AT)?,
                *bytes.get(COUNT_AT + 1)?,
            ]))
        };
        match *bytes.first()? {
            DATA => count().map(Outline::Data),
            ZERO | HOLE => count().map(Outline::Tombstone),
            RECORD => Some(Outline::Record),
            _ => None,
        }
    }

    /// What it is about.
    pub fn outline(&self) -> Outline {
        match self {
            Self::Record(_) => Outline::Record,
            Self::Blocks(entry) => match entry.kind {
                BlockKind::Data { .. } => Outline::Data(entry.range.count()),
                BlockKind::Zero | BlockKind::Hole { .. } => Outline::Tombstone(entry.range.count()),
            },
        }
    }

    /// Takes one entry from the front of `bytes`; `Ok(None)` when none are left.
    pub fn take(bytes: &mut &[u8]) -> Result<Option<Self>, FormatError> {
        let mut rest = *bytes;
        let Some(entry) = Self::skip(&mut rest)? else {
            return Ok(None);
        };
        let field = |field| FormatError::Field { what: WHAT, field };
        let mut reader = Reader(entry);
        let kind = reader.u8().ok_or(field("length"))?;
        reader.bytes(3).ok_or(field("length"))?;
        let lsn = reader.u64().ok_or(field("length"))?;
        if lsn > NUMBER_MAX {
            return Err(field("LSN"));
        }
        let entry = match kind {
            DATA | ZERO | HOLE => Self::Blocks(decode_blocks(kind, lsn, &mut reader)?),
            RECORD => Self::Record(decode_record(lsn, &mut reader)?),
            _ => return Err(field("kind")),
        };
        if !reader.0.is_empty() {
            return Err(field("length"));
        }
        *bytes = rest;
        Ok(Some(entry))
    }
}

fn encode_blocks(entry: &BlockEntry, bytes: u16, out: &mut Vec<u8>) {
    let (kind, position, checksums) = match &entry.kind {
        BlockKind::Data {
            position,
            checksums,
        } => (DATA, *position, &**checksums),
        BlockKind::Zero => (ZERO, 0, &[][..]),
        BlockKind::Hole { .. } => (HOLE, 0, &[][..]),
    };
    let stamp = entry.tag.stamp;
    let mut writer = Writer(out);
    writer
        .u8(kind)
        .u8(0)
        .u16(bytes)
        .u64(entry.lsn)
        .u128(entry.place.volume.get())
        .u32(entry.place.bucket.get())
        .u32(entry.place.chunk.get())
        .u16(entry.range.first())
        .u16(entry.range.count())
        .u64(entry.tag.cut.0)
        .u64(entry.tag.epoch.0)
        .u32(stamp.generation.attach)
        .u32(stamp.generation.incarnation)
        .u64(stamp.sequence)
        .u32(position);
    for &sum in checksums {
        writer.u32(sum);
    }
    if let BlockKind::Hole { down_to } = entry.kind {
        writer.u64(down_to.0);
    }
}

fn encode_record(entry: &RecordEntry, bytes: u16, out: &mut Vec<u8>) {
    let value = entry.value.as_deref().unwrap_or_default();
    let key_bytes = u8::try_from(entry.key.0.len()).expect("keys have at most 64 bytes");
    let value_bytes = u16::try_from(value.len()).expect("values are checked where they enter");
    Writer(out)
        .u8(RECORD)
        .u8(0)
        .u16(bytes)
        .u64(entry.lsn)
        .u8(u8::from(entry.value.is_some()))
        .u8(key_bytes)
        .u16(value_bytes)
        .bytes(&entry.key.0)
        .bytes(value);
}

fn decode_blocks(kind: u8, lsn: u64, reader: &mut Reader<'_>) -> Result<BlockEntry, FormatError> {
    let field = |field| FormatError::Field { what: WHAT, field };
    let mut fields = || {
        let place = (reader.u128()?, reader.u32()?, reader.u32()?);
        let range = (reader.u16()?, reader.u16()?);
        let tag = Tag {
            cut: Cut(reader.u64()?),
            epoch: Epoch(reader.u64()?),
            stamp: Stamp {
                generation: Generation {
                    attach: reader.u32()?,
                    incarnation: reader.u32()?,
                },
                sequence: reader.u64()?,
            },
        };
        Some((place, range, tag, reader.u32()?))
    };
    let ((volume, bucket, chunk), (first, count), tag, position) =
        fields().ok_or(field("length"))?;
    let range = BlockRange::new(first, count).map_err(|_| field("blocks"))?;
    let place = Place {
        volume: VolumeId::new(volume).map_err(|_| field("volume"))?,
        bucket: BucketId::new(bucket).map_err(|_| field("bucket"))?,
        chunk: ChunkIndex::new(chunk).map_err(|_| field("chunk"))?,
    };
    let kind = match kind {
        ZERO => BlockKind::Zero,
        HOLE => {
            let down_to = Cut(reader.u64().ok_or(field("length"))?);
            if down_to > tag.cut {
                return Err(field("cut"));
            }
            BlockKind::Hole { down_to }
        }
        _ => {
            if count > ENTRY_BLOCKS_MAX {
                return Err(field("blocks"));
            }
            let checksums: Option<Checksums> = match count {
                1 => reader.u32().map(Checksums::from),
                _ => (0..count).map(|_| reader.u32()).collect(),
            };
            BlockKind::Data {
                position,
                checksums: checksums.ok_or(field("length"))?,
            }
        }
    };
    Ok(BlockEntry {
        lsn,
        place,
        range,
        tag,
        kind,
    })
}

fn decode_record(lsn: u64, reader: &mut Reader<'_>) -> Result<RecordEntry, FormatError> {
    let field = |field| FormatError::Field { what: WHAT, field };
    let mut fields = || {
        let present = reader.u8()?;
        let key_bytes = usize::from(reader.u8()?);
        let value_bytes = usize::from(reader.u16()?);
        Some((
            present,
            reader.bytes(key_bytes)?,
            reader.bytes(value_bytes)?,
        ))
    };
    let (present, key, value) = fields().ok_or(field("length"))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(field("value"));
    }
    let key = RecordKey::new(key.to_vec()).ok_or(field("key"))?;
    let value = match present {
        0 if value.is_empty() => None,
        1 => Some(value.to_vec()),
        _ => return Err(field("presence")),
    };
    Ok(RecordEntry { lsn, key, value })
}
