//! Where a byte range of the volume lies: chunks, blocks within them, and buckets. It splits
//! operations and knows nothing of what they do.

use moraine_model::{
    BLOCK_BYTES, BUCKETS_MAX, BlockRange, BucketId, CHUNK_BLOCKS, ChunkIndex, VOLUME_CHUNKS_MAX,
    VolumeId, bucket_of,
};
use std::collections::BTreeSet;
use std::ops::Range;

const BLOCK: u64 = BLOCK_BYTES as u64;
const CHUNK: u64 = CHUNK_BLOCKS as u64;

/// How the chunks of a volume are placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placing {
    pub(crate) key: VolumeId,
    pub(crate) buckets: u32,
}

impl Placing {
    pub(crate) fn bucket(self, chunk: ChunkIndex) -> BucketId {
        bucket_of(self.key, chunk, self.buckets).expect("the number of buckets was checked")
    }

    /// The buckets that these chunks lie in.
    pub(crate) fn used(self, chunks: Range<u32>) -> BTreeSet<BucketId> {
        let mut used = BTreeSet::new();
        for chunk in chunks {
            used.insert(self.bucket(chunk_at(chunk)));
            if used.len() == self.buckets as usize {
                break;
            }
        }
        used
    }
}

/// Whether a pool can have so many buckets.
pub(crate) fn is_number_of_buckets(buckets: u32) -> bool {
    (1..=BUCKETS_MAX).contains(&buckets)
}

/// The blocks of a volume of this size, if a volume can have it.
pub(crate) fn blocks_of_size(size_bytes: u64) -> Option<u64> {
    let blocks = size_bytes / BLOCK;
    let fits = blocks > 0 && blocks <= u64::from(VOLUME_CHUNKS_MAX) * CHUNK;
    (fits && size_bytes.is_multiple_of(BLOCK)).then_some(blocks)
}

/// The number of chunks that hold so many blocks.
pub(crate) fn chunks_of(blocks: u64) -> u32 {
    u32::try_from(blocks.div_ceil(CHUNK)).expect("the size was checked")
}

fn chunk_at(number: u32) -> ChunkIndex {
    ChunkIndex::new(number).expect("the size was checked")
}

/// Blocks of the volume that are still to be split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    first: u64,
    next: u64,
    end: u64,
}

/// A part of a span: it lies in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) chunk: ChunkIndex,
    pub(crate) range: BlockRange,
    /// Bytes from the start of the operation.
    pub(crate) offset: usize,
}

impl Span {
    /// The blocks of these bytes, which were checked to be whole and inside.
    pub(crate) fn of_bytes(offset: u64, length: u64) -> Self {
        let first = offset / BLOCK;
        let end = first + length / BLOCK;
        Self {
            first,
            next: first,
            end,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Takes blocks from the front: at most `limit`, and of one chunk.
    pub(crate) fn take(&mut self, limit: u16) -> Option<Piece> {
        let (chunk, block) = (self.next / CHUNK, self.next % CHUNK);
        let count = (self.end - self.next)
            .min(CHUNK - block)
            .min(u64::from(limit));
        if count == 0 {
            return None;
        }
        let offset = usize::try_from((self.next - self.first) * BLOCK).ok()?;
        self.next += count;
        let small = |value: u64| u16::try_from(value).expect("at most the blocks of a chunk");
        Some(Piece {
            chunk: chunk_at(u32::try_from(chunk).expect("the size was checked")),
            range: BlockRange::new(small(block), small(count)).expect("cut at the chunk's end"),
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(offset: u64, length: u64, limit: u16) -> Vec<(u32, u16, u16, usize)> {
        let mut span = Span::of_bytes(offset * BLOCK, length * BLOCK);
        let mut found = Vec::new();
        while let Some(piece) = span.take(limit) {
            let range = piece.range;
            found.push((
                piece.chunk.get(),
                range.first(),
                range.count(),
                piece.offset / 4096,
            ));
        }
        assert!(span.is_empty());
        found
    }

    #[test]
    fn an_operation_is_cut_at_chunks_and_at_the_limit() {
        assert_eq!(pieces(5, 1, 256), [(0, 5, 1, 0)]);
        let found = [(0, 1000, 24, 0), (1, 0, 256, 24), (1, 256, 4, 280)];
        assert_eq!(pieces(1000, 284, 256), found);
        assert_eq!(
            pieces(1023, 1026, 1024),
            [(0, 1023, 1, 0), (1, 0, 1024, 1), (2, 0, 1, 1025)]
        );
    }

    #[test]
    fn sizes_that_can_not_be_are_refused() {
        assert_eq!(blocks_of_size(0), None);
        assert_eq!(blocks_of_size(4095), None);
        assert_eq!(blocks_of_size(4096), Some(1));
        assert_eq!(blocks_of_size((64 << 40) + 4096), None);
        assert_eq!(blocks_of_size(64 << 40).map(chunks_of), Some(1 << 24));
    }

    #[test]
    fn a_volume_uses_the_buckets_of_its_chunks_and_no_other() {
        let placing = Placing {
            key: VolumeId::new(7).unwrap(),
            buckets: 64,
        };
        let few = placing.used(0..3);
        assert!(few.len() <= 3 && (0..3).all(|n| few.contains(&placing.bucket(chunk_at(n)))));
        assert_eq!(placing.used(0..10_000).len(), 64);
    }
}
