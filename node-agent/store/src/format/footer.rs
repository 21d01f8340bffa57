//! The index of a closed extent, and the footer that says where it is.

use super::batch::Identity;
use super::cursor::Writer;
use super::entry::{BlockKind, Entry};
use super::frame::{self, Kind};
use super::{FOOTER_BLOCKS, FormatError, HEAD_BLOCKS, NUMBER_MAX};
use moraine_model::checksum;
use moraine_model::{BLOCK_BYTES, DiskId};

const KIND: Kind = Kind {
    what: "footer",
    magic: *b"MOR-FOOT",
};
const INDEX: &str = "index";

/// The footer block of a closed extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The segment.
    pub identity: Identity,
    /// Where the index starts within the segment.
    pub index_position: u32,
    /// Bytes of the index.
    pub index_bytes: u32,
    /// Checksum of the index.
    pub index_checksum: u32,
    /// Number of entries in it.
    pub entries: u32,
    /// The least LSN of an entry.
    pub lsn_min: u64,
    /// The greatest LSN of an entry.
    pub lsn_max: u64,
}

impl Footer {
    /// The block to write.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = frame::open(&KIND);
        Writer(&mut block)
            .u128(self.identity.disk.get())
            .u32(self.identity.segment)
            .u32(self.identity.shard)
            .u64(self.identity.incarnation)
            .u32(self.index_position)
            .u32(self.index_bytes)
            .u32(self.index_checksum)
            .u32(self.entries)
            .u64(self.lsn_min)
            .u64(self.lsn_max);
        frame::close(block)
    }

    /// Reads a block. `segment_blocks` bounds where the index may lie.
    pub fn decode(block: &[u8], segment_blocks: u32) -> Result<Self, FormatError> {
        let mut reader = frame::check(&KIND, block)?;
        let mut fields = || {
            let identity = (reader.u128()?, reader.u32()?, reader.u32()?, reader.u64()?);
            let index = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
            Some((identity, index, (reader.u64()?, reader.u64()?)))
        };
        let ((disk, segment, shard, incarnation), index, (lsn_min, lsn_max)) =
            fields().ok_or(KIND.field("length"))?;
        let (index_position, index_bytes, index_checksum, entries) = index;
        let disk = DiskId::new(disk).map_err(|_| KIND.field("disk id"))?;
        let blocks = index_bytes.div_ceil(u32::try_from(BLOCK_BYTES).unwrap_or(u32::MAX));
        let end = segment_blocks.saturating_sub(FOOTER_BLOCKS);
        let inside = index_position
            .checked_add(blocks)
            .is_some_and(|last| last <= end);
        if index_position < HEAD_BLOCKS || !inside {
            return Err(KIND.field("index position"));
        }
        if lsn_max > NUMBER_MAX {
            return Err(KIND.field("LSN"));
        }
        Ok(Self {
            identity: Identity {
                disk,
                segment,
                incarnation,
                shard,
            },
            index_position,
            index_bytes,
            index_checksum,
            entries,
            lsn_min,
            lsn_max,
        })
    }

    /// Blocks that the index takes.
    pub fn index_blocks(&self) -> usize {
        (self.index_bytes as usize).div_ceil(BLOCK_BYTES)
    }
}

/// Puts entries in the order of the index.
pub fn sort_index(entries: &mut [Entry]) {
    entries.sort_by(|a, b| match (a, b) {
        (Entry::Blocks(a), Entry::Blocks(b)) => {
            (a.place, a.tag.cut, a.range, a.lsn).cmp(&(b.place, b.tag.cut, b.range, b.lsn))
        }
        (Entry::Blocks(_), Entry::Record(_)) => std::cmp::Ordering::Less,
        (Entry::Record(_), Entry::Blocks(_)) => std::cmp::Ordering::Greater,
        (Entry::Record(a), Entry::Record(b)) => (&a.key, a.lsn).cmp(&(&b.key, b.lsn)),
    });
}

/// The bytes of an index with these entries, in this order.
pub fn encode_index(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(Entry::encoded_bytes).sum());
    for entry in entries {
        entry.encode(&mut out);
    }
    out
}

/// Reads the index that a footer describes; `bytes` may be longer, by the rest of the last block.
pub fn decode_index(footer: &Footer, bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let mut rest = bytes
        .get(..footer.index_bytes as usize)
        .ok_or(FormatError::Checksum(INDEX))?;
    if checksum(rest) != footer.index_checksum {
        return Err(FormatError::Checksum(INDEX));
    }
    let field = |field| FormatError::Field { what: INDEX, field };
    let mut entries = Vec::with_capacity((footer.entries as usize).min(rest.len() / 16));
    while let Some(entry) = take_indexed(footer, &mut rest)? {
        entries.push(entry);
    }
    if entries.len() != footer.entries as usize {
        return Err(field("number of entries"));
    }
    if shares_data(&entries) {
        return Err(field("data position"));
    }
    Ok(entries)
}

/// Takes one entry from the front of an index's bytes; `Ok(None)` when none are left.
pub fn take_indexed(footer: &Footer, bytes: &mut &[u8]) -> Result<Option<Entry>, FormatError> {
    let entry = Entry::take(bytes)?;
    let lsns = footer.lsn_min..=footer.lsn_max;
    if entry
        .as_ref()
        .is_some_and(|entry| !lsns.contains(&entry.lsn()))
    {
        return Err(FormatError::Field {
            what: INDEX,
            field: "LSN",
        });
    }
    if let Some(Entry::Blocks(blocks)) = &entry
        && let BlockKind::Data { position, .. } = blocks.kind
    {
        let end = position.checked_add(u32::from(blocks.range.count()));
        if position < HEAD_BLOCKS || end.is_none_or(|end| end > footer.index_position) {
            return Err(FormatError::Field {
                what: INDEX,
                field: "data position",
            });
        }
    }
    Ok(entry)
}

/// Whether two entries name one block of data: it would have two owners.
fn shares_data(entries: &[Entry]) -> bool {
    let data = entries.iter().filter_map(|entry| match entry {
        Entry::Blocks(blocks) => match blocks.kind {
            BlockKind::Data { position, .. } => Some((position, blocks.range.count())),
            BlockKind::Zero | BlockKind::Hole { .. } => None,
        },
        Entry::Record(_) => None,
    });
    let mut data: Vec<(u32, u16)> = data.collect();
    data.sort_unstable();
    let mut pairs = data.windows(2);
    pairs.any(|pair| pair[0].0 + u32::from(pair[0].1) > pair[1].0)
}
