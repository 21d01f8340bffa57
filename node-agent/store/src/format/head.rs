//! The head of a segment: who has it, and the checksum of the bitmap beside it.

use super::cursor::Writer;
use super::frame::{self, Kind};
use super::{FormatError, NUMBER_MAX};
use moraine_model::DiskId;

const KIND: Kind = Kind {
    what: "segment head",
    magic: *b"MOR-HEAD",
};

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Nothing that counts is in it.
    Free,
    /// An extent that batches are appended to.
    Log,
    /// A scratch extent: nothing in it counts until it is closed.
    Scratch,
    /// An extent with index and footer, never written again.
    Closed,
}

/// The head block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The disk that it belongs to.
    pub disk: DiskId,
    /// The number of the segment.
    pub segment: u32,
    /// What it is used for.
    pub state: SegmentState,
    /// How often it was taken from the free list.
    pub incarnation: u64,
    /// The shard that has it; without meaning when free.
    pub shard: u32,
    /// Checksum of the bitmap block beside this head.
    pub bitmap_checksum: u32,
    /// Grows with each head written in this segment.
    pub sequence: u64,
    /// The bitmap takes account of every batch up to this one.
    pub bitmap_lsn: u64,
}

impl Head {
    /// The block to write.
    pub fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            SegmentState::Free => 0,
            SegmentState::Log => 1,
            SegmentState::Scratch => 2,
            SegmentState::Closed => 3,
        };
        let mut block = frame::open(&KIND);
        Writer(&mut block)
            .u128(self.disk.get())
            .u32(self.segment)
            .u32(state)
            .u64(self.incarnation)
            .u32(self.shard)
            .u32(self.bitmap_checksum)
            .u64(self.sequence)
            .u64(self.bitmap_lsn);
        frame::close(block)
    }

    /// Reads a block.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let mut reader = frame::check(&KIND, block)?;
        let mut fields = || {
            Some((
                (reader.u128()?, reader.u32()?, reader.u32()?, reader.u64()?),
                (reader.u32()?, reader.u32()?, reader.u64()?, reader.u64()?),
            ))
        };
        let ((disk, segment, state, incarnation), (shard, bitmap_checksum, sequence, bitmap_lsn)) =
            fields().ok_or(KIND.field("length"))?;
        let state = match state {
            0 => SegmentState::Free,
            1 => SegmentState::Log,
            2 => SegmentState::Scratch,
            3 => SegmentState::Closed,
            _ => return Err(KIND.field("state")),
        };
        if incarnation.max(sequence).max(bitmap_lsn) > NUMBER_MAX {
            return Err(KIND.field("incarnation, sequence or LSN"));
        }
        let disk = DiskId::new(disk).map_err(|_| KIND.field("disk id"))?;
        Ok(Self {
            disk,
            segment,
            state,
            incarnation,
            shard,
            bitmap_checksum,
            sequence,
            bitmap_lsn,
        })
    }
}
