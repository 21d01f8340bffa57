//! Batches: header blocks with entries, in front of their data.

use super::cursor::Writer;
use super::entry::{BlockEntry, BlockKind, Entry};
use super::frame::{self, FRAME_BYTES, Kind};
use super::{FOOTER_BLOCKS, FormatError, HEAD_BLOCKS, NUMBER_MAX};
use crate::Buffer;
use moraine_model::{BLOCK_BYTES, DiskId};

const KIND: Kind = Kind {
    what: "batch header",
    magic: *b"MOR-BTCH",
};
const FIELDS_BYTES: usize = FRAME_BYTES + 72;
/// Bytes of entries that one header block takes.
pub const HEADER_ROOM_BYTES: usize = BLOCK_BYTES - FIELDS_BYTES;

/// What ties a structure to the segment that it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The disk.
    pub disk: DiskId,
    /// The number of the segment.
    pub segment: u32,
    /// The segment's incarnation.
    pub incarnation: u64,
    /// The shard that has the segment.
    pub shard: u32,
}

/// One header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Where it was written.
    pub identity: Identity,
    /// Its own block within the segment.
    pub position: u32,
    /// The batch.
    pub lsn: u64,
    /// Every batch up to this one was durable when this one was submitted.
    pub durable_lsn: u64,
    /// The first batch of the extent.
    pub extent_lsn: u64,
    /// Which header block of the batch it is.
    pub index: u16,
    /// How many there are.
    pub headers: u16,
    /// Blocks of data behind the headers.
    pub data_blocks: u32,
    /// What the batch says.
    pub entries: Vec<Entry>,
}

impl BatchHeader {
    /// Blocks of the whole batch.
    pub fn batch_blocks(&self) -> u32 {
        u32::from(self.headers) + self.data_blocks
    }
}

/// Counts the header blocks of a batch while entries are added to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packing {
    full: u32,
    bytes: usize,
}

impl Packing {
    /// Adds an entry of so many bytes.
    #[must_use]
    pub fn with(self, entry_bytes: usize) -> Self {
        assert!(
            entry_bytes <= HEADER_ROOM_BYTES,
            "limits keep an entry within a header block"
        );
        if self.bytes + entry_bytes > HEADER_ROOM_BYTES {
            Self {
                full: self.full + 1,
                bytes: entry_bytes,
            }
        } else {
            Self {
                bytes: self.bytes + entry_bytes,
                ..self
            }
        }
    }

    /// Header blocks so far.
    pub fn header_blocks(self) -> u32 {
        self.full + 1
    }
}

/// The entries of each header block, packed in order.
fn pack(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut packed = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (nth, entry) in entries.iter().enumerate() {
        let size = entry.encoded_bytes();
        assert!(
            size <= HEADER_ROOM_BYTES,
            "limits keep an entry within a header block"
        );
        if bytes + size > HEADER_ROOM_BYTES {
            packed.push(&entries[start..nth]);
            (start, bytes) = (nth, 0);
        }
        bytes += size;
    }
    packed.push(&entries[start..]);
    packed
}

/// Where a batch goes, for [`encode_batch`].
#[derive(Debug, Clone, Copy)]
pub struct BatchPlace {
    /// The segment.
    pub identity: Identity,
    /// The batch's first block within it.
    pub position: u32,
    /// The batch's number.
    pub lsn: u64,
    /// Every batch up to this one is durable.
    pub durable_lsn: u64,
    /// The first batch of the extent.
    pub extent_lsn: u64,
}

/// Encodes the header blocks of a batch, and gives each entry its LSN and its data's position, in
/// the order of the entries. Returns the headers, in memory that `buffer` gives for so many blocks;
/// the data must follow in the same order.
pub fn encode_batch(
    place: BatchPlace,
    entries: &mut [Entry],
    buffer: impl FnOnce(usize) -> Buffer,
) -> Buffer {
    let headers = pack(entries).len();
    let mut position = place.position + u32::try_from(headers).expect("a batch is bounded");
    let data_start = position;
    for entry in entries.iter_mut() {
        let blocks = entry.data_blocks();
        match entry {
            Entry::Blocks(BlockEntry { lsn, kind, .. }) => {
                *lsn = place.lsn;
                if let BlockKind::Data { position: at, .. } = kind {
                    *at = position;
                }
            }
            Entry::Record(record) => record.lsn = place.lsn,
        }
        position += blocks;
    }
    let counts = Counts {
        headers: u16::try_from(headers).expect("a batch is bounded"),
        data_blocks: position - data_start,
    };
    let mut out = buffer(headers);
    let blocks = out.chunks_exact_mut(BLOCK_BYTES).zip(pack(entries));
    for (nth, (block, part)) in (0_u16..).zip(blocks) {
        block.copy_from_slice(&encode_header(place, nth, counts, part));
    }
    out
}

/// What all headers of a batch say of its size.
#[derive(Clone, Copy)]
struct Counts {
    headers: u16,
    data_blocks: u32,
}

fn encode_header(place: BatchPlace, nth: u16, counts: Counts, entries: &[Entry]) -> Vec<u8> {
    let narrow = |length| u16::try_from(length).expect("a block has fewer than 65536 bytes");
    let entry_bytes = entries.iter().map(Entry::encoded_bytes).sum();
    let mut block = frame::open(&KIND);
    Writer(&mut block)
        .u128(place.identity.disk.get())
        .u32(place.identity.segment)
        .u32(place.position + u32::from(nth))
        .u64(place.identity.incarnation)
        .u64(place.lsn)
        .u64(place.durable_lsn)
        .u32(place.identity.shard)
        .u16(nth)
        .u16(counts.headers)
        .u32(counts.data_blocks)
        .u16(narrow(entry_bytes))
        .u16(narrow(entries.len()))
        .u64(place.extent_lsn);
    for entry in entries {
        entry.encode(&mut block);
    }
    frame::close(block)
}

/// Reads one header block. `segment_blocks` bounds what it may claim.
pub fn decode_header(block: &[u8], segment_blocks: u32) -> Result<BatchHeader, FormatError> {
    let mut reader = frame::check(&KIND, block)?;
    let mut fields = || {
        let disk = reader.u128()?;
        let (segment, position, incarnation) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let (lsn, durable_lsn, shard) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let counts = (reader.u16()?, reader.u16()?, reader.u32()?);
        let sizes = (reader.u16()?, reader.u16()?);
        let lsns = (lsn, durable_lsn, reader.u64()?);
        Some((
            disk,
            (segment, position, incarnation, shard),
            lsns,
            counts,
            sizes,
        ))
    };
    let (disk, place, lsns, (index, headers, data_blocks), (bytes, count)) =
        fields().ok_or(KIND.field("length"))?;
    let (lsn, durable_lsn, extent_lsn) = lsns;
    let (segment, position, incarnation, shard) = place;
    let disk = DiskId::new(disk).map_err(|_| KIND.field("disk id"))?;
    let room = segment_blocks.saturating_sub(HEAD_BLOCKS + FOOTER_BLOCKS);
    if lsn > NUMBER_MAX || lsn < extent_lsn || extent_lsn == 0 || durable_lsn >= lsn {
        return Err(KIND.field("LSN"));
    }
    if index >= headers || data_blocks > room || u32::from(headers) > room - data_blocks {
        return Err(KIND.field("counts"));
    }
    let mut rest = reader
        .bytes(usize::from(bytes))
        .ok_or(KIND.field("entries"))?;
    let mut entries = Vec::with_capacity(usize::from(count).min(HEADER_ROOM_BYTES / FRAME_BYTES));
    while let Some(entry) = Entry::take(&mut rest)? {
        entries.push(entry);
    }
    if entries.len() != usize::from(count) || entries.iter().any(|entry| entry.lsn() != lsn) {
        return Err(KIND.field("entries"));
    }
    Ok(BatchHeader {
        identity: Identity {
            disk,
            segment,
            incarnation,
            shard,
        },
        position,
        lsn,
        durable_lsn,
        extent_lsn,
        index,
        headers,
        data_blocks,
        entries,
    })
}
