//! The superblock: whose disk this is and how it is cut into segments.

use super::cursor::Writer;
use super::frame::{self, Kind};
use super::{FIRST_SEGMENT, FormatError, SEGMENT_BLOCKS, SEGMENT_BLOCKS_MIN};
use moraine_model::{BLOCK_BYTES, BucketId, ClusterId, DiskId};

const KIND: Kind = Kind {
    what: "superblock",
    magic: *b"MORAINE!",
};

/// Most shards of a disk.
const SHARDS_MAX: u32 = 64;

/// How a disk is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of a segment, a power of two.
    pub segment_blocks: u32,
    /// Number of segments.
    pub segments: u32,
    /// Number of shards.
    pub shards: u32,
}

impl Layout {
    /// The layout of a disk of `size_bytes`, with as many segments as fit; `None` if the disk is
    /// too small for each shard to work, or if the numbers are not allowed.
    pub fn for_size(size_bytes: u64, segment_blocks: u32, shards: u32) -> Option<Self> {
        let blocks = (size_bytes / BLOCK_BYTES as u64).min(u64::from(u32::MAX));
        let room = blocks.checked_sub(u64::from(FIRST_SEGMENT))?;
        let segments = u32::try_from(room.checked_div(u64::from(segment_blocks))?).ok()?;
        let layout = Self {
            segment_blocks,
            segments,
            shards,
        };
        layout.fault().is_none().then_some(layout)
    }

    fn fault(&self) -> Option<&'static str> {
        let sizes = SEGMENT_BLOCKS_MIN..=SEGMENT_BLOCKS;
        if !self.segment_blocks.is_power_of_two() || !sizes.contains(&self.segment_blocks) {
            return Some("segment_blocks");
        }
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Some("number of shards");
        }
        let end = u64::from(self.segments) * u64::from(self.segment_blocks);
        let fits = u32::try_from(end + u64::from(FIRST_SEGMENT)).is_ok();
        // Each shard has one open extent, one behind it, a reserve, and something to clean.
        let enough = self.segments / self.shards >= 8;
        (!fits || !enough).then_some("number of segments")
    }

    /// Bytes that the layout reaches over.
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.first_block(self.segments)) * BLOCK_BYTES as u64
    }

    /// The block of the disk where a segment begins.
    pub fn first_block(&self, segment: u32) -> u32 {
        FIRST_SEGMENT + segment * self.segment_blocks
    }

    /// The location of block `position` of a segment.
    pub fn location(&self, segment: u32, position: u32) -> u32 {
        debug_assert!(position < self.segment_blocks);
        self.first_block(segment) + position
    }

    /// The segment and the position within it of a location.
    pub fn split(&self, location: u32) -> (u32, u32) {
        let block = location - FIRST_SEGMENT;
        (block / self.segment_blocks, block % self.segment_blocks)
    }

    /// The first byte on the disk of block `position` of a segment.
    pub fn offset(&self, segment: u32, position: u32) -> u64 {
        u64::from(self.location(segment, position)) * BLOCK_BYTES as u64
    }

    /// The shard that a bucket belongs to.
    pub fn shard_of(&self, bucket: BucketId) -> u32 {
        bucket.get() % self.shards
    }
}

/// Whose disk this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The cluster that formatted it.
    pub cluster: ClusterId,
    /// The disk's own id.
    pub disk: DiskId,
    /// How it is cut up.
    pub layout: Layout,
    /// When it was formatted, as the caller said.
    pub formatted_at_ms: u64,
}

impl Superblock {
    /// The block to write.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = frame::open(&KIND);
        Writer(&mut block)
            .u128(self.cluster.get())
            .u128(self.disk.get())
            .u32(self.layout.segment_blocks)
            .u32(self.layout.segments)
            .u32(self.layout.shards)
            .u32(0)
            .u64(self.formatted_at_ms);
        frame::close(block)
    }

    /// Reads a block.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let mut reader = frame::check(&KIND, block)?;
        let mut fields = || {
            let ids = (reader.u128()?, reader.u128()?);
            let layout = Layout {
                segment_blocks: reader.u32()?,
                segments: reader.u32()?,
                shards: reader.u32()?,
            };
            reader.u32()?;
            Some((ids, layout, reader.u64()?))
        };
        let ((cluster, disk), layout, formatted_at_ms) = fields().ok_or(KIND.field("length"))?;
        if let Some(field) = layout.fault() {
            return Err(KIND.field(field));
        }
        Ok(Self {
            cluster: ClusterId::new(cluster).map_err(|_| KIND.field("cluster id"))?,
            disk: DiskId::new(disk).map_err(|_| KIND.field("disk id"))?,
            layout,
            formatted_at_ms,
        })
    }
}
