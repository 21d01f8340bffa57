//! Questions that the index answers without the disk.

use super::Shard;
use super::request::note_of;
use crate::Metrics;
use crate::disk::Disk;
use crate::free_list::Purpose;
use crate::index::Share;
use crate::index::chunk::Chunk;
use crate::index::layer::PieceKind;
use crate::index::retention::Retention;
use moraine_model::{BLOCK_BYTES, BlockRange, CHUNK_BLOCKS, ChunkIndex, Cut, Stamp};

/// A chunk and the newest stamp of any of its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStamp {
    /// The chunk.
    pub chunk: ChunkIndex,
    /// Its newest stamp.
    pub newest: Stamp,
}

/// Bytes of data that a reader of a share sees in it, parents aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that it sees.
    pub used_bytes: u64,
    /// What others see too.
    pub shared_bytes: u64,
    /// What would go with it.
    pub exclusive_bytes: u64,
}

impl<D: Disk> Shard<D> {
    /// The chunks of a share whose newest stamp is above the given one.
    pub fn chunks_above(&self, share: Share, stamp: Stamp) -> Vec<ChunkStamp> {
        let chunks = self
            .index
            .share(share)
            .into_iter()
            .flat_map(|share| &share.chunks);
        let stamps = chunks.filter_map(|(number, chunk)| {
            Some(ChunkStamp {
                chunk: ChunkIndex::new(*number).ok()?,
                newest: chunk.newest(),
            })
        });
        stamps.filter(|chunk| chunk.newest > stamp).collect()
    }

    /// The blocks of a share that were written with a cut above `from` and not above `to`: what
    /// differs between the two snapshots at most. No data is read.
    pub fn changed(&self, share: Share, from: Cut, to: Cut) -> Vec<(ChunkIndex, Vec<BlockRange>)> {
        let chunks = self
            .index
            .share(share)
            .into_iter()
            .flat_map(|share| &share.chunks);
        let changed = chunks.filter_map(|(number, chunk)| {
            let ranges = changed_blocks(chunk, from, to);
            (!ranges.is_empty()).then_some(())?;
            Some((ChunkIndex::new(*number).ok()?, ranges))
        });
        changed.collect()
    }

    /// What a snapshot of a share uses, or its head (`None`), which has reached `head_cut`.
    pub fn usage(&self, share: Share, at: Option<Cut>, head_cut: Cut) -> Usage {
        let Some(share) = self.index.share(share) else {
            return Usage::default();
        };
        let mut usage = Usage::default();
        for chunk in share.chunks.values() {
            seen_data(chunk, at, |from, next| {
                let bytes = BLOCK_BYTES as u64;
                usage.used_bytes += bytes;
                match share.retention.readers(from, next, head_cut) {
                    0 | 1 => usage.exclusive_bytes += bytes,
                    _ => usage.shared_bytes += bytes,
                }
            });
        }
        usage
    }

    /// Bytes of data that a share takes on the disk, for whoever reads it.
    pub fn share_bytes(&self, share: Share) -> u64 {
        let chunks = self
            .index
            .share(share)
            .into_iter()
            .flat_map(|share| share.chunks.values());
        let layers = chunks.flat_map(Chunk::layers);
        let pieces = layers.flat_map(|(_, layer)| layer.all());
        let data = pieces.filter(|piece| piece.kind == PieceKind::Data);
        data.map(|piece| piece.range.bytes() as u64).sum()
    }

    /// What is kept of a share and who reads through to it: a copy of the share needs the same.
    pub fn retention(&self, share: Share) -> Option<&Retention> {
        self.index.share(share).map(|share| &share.retention)
    }

    /// The replica's notes whose key starts so.
    pub fn notes<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.records.iter().filter_map(move |(key, record)| {
            let note = note_of(key).filter(|note| note.starts_with(prefix))?;
            Some((note, record.value.as_deref()?))
        })
    }

    pub(super) fn measured(&self) -> Metrics {
        Metrics {
            live_blocks: self
                .segments
                .iter()
                .map(|(_, s)| u64::from(s.bitmap.live()))
                .sum(),
            dead_blocks: self.dead_blocks(),
            segments: self.segments.iter().count() as u64,
            free_segments: self.free.len() as u64,
            reserved_segments: self.free.reserve(Purpose::Data) as u64,
            compacting: self.compactor.is_running(),
            index_bytes: self.index.memory_bytes() as u64,
            ..self.metrics
        }
    }
}

fn changed_blocks(chunk: &Chunk, from: Cut, to: Cut) -> Vec<BlockRange> {
    let mut changed = [false; CHUNK_BLOCKS as usize];
    for (_, layer) in chunk.layers().filter(|(cut, _)| *cut > from && *cut <= to) {
        for piece in layer.all().filter(|piece| piece.kind != PieceKind::Hole) {
            for block in piece.range.blocks() {
                changed[usize::from(block)] = true;
            }
        }
    }
    let mut ranges = Vec::new();
    let mut first: u16 = 0;
    for run in changed.chunk_by(|a, b| a == b) {
        let count = u16::try_from(run.len()).unwrap_or(CHUNK_BLOCKS);
        if run.first() == Some(&true) {
            ranges.extend(BlockRange::new(first, count));
        }
        first += count;
    }
    ranges
}

/// Calls `each` for every block of data that a reader at `at` sees in a chunk, with the cut of its
/// version and that of the next.
fn seen_data(chunk: &Chunk, at: Option<Cut>, mut each: impl FnMut(Cut, Option<Cut>)) {
    let mut above: Vec<Option<Cut>> = vec![None; usize::from(CHUNK_BLOCKS)];
    let layers: Vec<_> = chunk.layers().collect();
    for (cut, layer) in layers.into_iter().rev() {
        for piece in layer.all().filter(|piece| piece.kind != PieceKind::Hole) {
            for block in piece.range.blocks() {
                let next = above[usize::from(block)].replace(cut);
                let seen = match at {
                    None => next.is_none(),
                    Some(at) => cut <= at && next.is_none_or(|next| at < next),
                };
                if seen && piece.kind == PieceKind::Data {
                    each(cut, next);
                }
            }
        }
    }
}
