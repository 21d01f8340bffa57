//! Places in a volume: chunks, and blocks within a chunk.

use crate::{BLOCK_BYTES, CHUNK_BLOCKS, OutOfRange, VOLUME_CHUNKS_MAX};
use serde::{Deserialize, Serialize};

/// A chunk of a volume, counted from its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ChunkIndex(u32);

impl ChunkIndex {
    /// The chunk with this number, below [`VOLUME_CHUNKS_MAX`].
    pub fn new(value: u32) -> Result<Self, OutOfRange> {
        if value >= VOLUME_CHUNKS_MAX {
            return Err(OutOfRange {
                what: "chunk",
                value: value.to_string(),
                allowed: "0 to 16777215",
            });
        }
        Ok(Self(value))
    }

    /// The number of the chunk.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for ChunkIndex {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<ChunkIndex> for u32 {
    fn from(chunk: ChunkIndex) -> u32 {
        chunk.0
    }
}

/// A block within a chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct BlockIndex(u16);

impl BlockIndex {
    /// The block with this number, below [`CHUNK_BLOCKS`].
    pub fn new(value: u16) -> Result<Self, OutOfRange> {
        if value >= CHUNK_BLOCKS {
            return Err(OutOfRange {
                what: "block",
                value: value.to_string(),
                allowed: "0 to 1023",
            });
        }
        Ok(Self(value))
    }

    /// The number of the block.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for BlockIndex {
    type Error = OutOfRange;

    fn try_from(value: u16) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<BlockIndex> for u16 {
    fn from(block: BlockIndex) -> u16 {
        block.0
    }
}

/// A run of blocks within one chunk, never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockRange {
    first: u16,
    count: u16,
}

impl BlockRange {
    /// All blocks of a chunk.
    pub const WHOLE_CHUNK: Self = Self {
        first: 0,
        count: CHUNK_BLOCKS,
    };

    /// `count` blocks from `first` on, at least one and all within the chunk.
    pub fn new(first: u16, count: u16) -> Result<Self, OutOfRange> {
        let end = u32::from(first) + u32::from(count);
        if count == 0 || end > u32::from(CHUNK_BLOCKS) {
            return Err(OutOfRange {
                what: "block range",
                value: format!("{first}+{count}"),
                allowed: "at least one block, and none beyond block 1023",
            });
        }
        Ok(Self { first, count })
    }

    /// The blocks from `first` on before `end`, if there are any and they lie in the chunk.
    pub fn between(first: u16, end: u16) -> Option<Self> {
        (first < end && end <= CHUNK_BLOCKS).then(|| Self {
            first,
            count: end - first,
        })
    }

    /// The first block.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The number of blocks, from 1 to [`CHUNK_BLOCKS`].
    pub const fn count(self) -> u16 {
        self.count
    }

    /// The block behind the last one, at most [`CHUNK_BLOCKS`].
    pub const fn end(self) -> u16 {
        self.first + self.count
    }

    /// The bytes of all blocks.
    pub const fn bytes(self) -> usize {
        self.count as usize * BLOCK_BYTES
    }

    /// Whether the block lies in the range.
    pub const fn contains(self, block: u16) -> bool {
        self.first <= block && block < self.end()
    }

    /// The blocks that both ranges hold.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::between(self.first.max(other.first), self.end().min(other.end()))
    }

    /// Whether a block lies in both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        self.intersection(other).is_some()
    }

    /// The numbers of the blocks, in order.
    pub fn blocks(self) -> std::ops::Range<u16> {
        self.first..self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_within_its_chunk() {
        assert!(BlockRange::new(0, 0).is_err());
        assert!(BlockRange::new(1023, 2).is_err());
        assert!(BlockRange::new(u16::MAX, u16::MAX).is_err());
        let last = BlockRange::new(1023, 1).unwrap();
        assert_eq!((last.first(), last.end(), last.bytes()), (1023, 1024, 4096));
        assert_eq!(BlockRange::between(1023, 1024), Some(last));
        assert_eq!(BlockRange::between(5, 5), None);
        assert_eq!(BlockRange::between(5, 1025), None);
        assert!(BlockIndex::new(1024).is_err());
        assert!(ChunkIndex::new(VOLUME_CHUNKS_MAX).is_err());
    }

    #[test]
    fn ranges_meet_where_both_have_blocks() {
        let range = |first, count| BlockRange::new(first, count).unwrap();
        assert_eq!(range(0, 4).intersection(range(2, 4)), Some(range(2, 2)));
        assert_eq!(range(0, 4).intersection(range(4, 1)), None);
        assert!(range(5, 1).overlaps(BlockRange::WHOLE_CHUNK));
    }
}
