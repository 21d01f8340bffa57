//! Looking through the entries of a source for what lives.

use super::super::Shard;
use super::super::request::StoreKey;
use super::{COPY_BLOCKS, Item, Job, Move};
use crate::disk::Disk;
use crate::format::{BlockEntry, BlockKind, Entry, FOOTER_BLOCKS, RecordEntry, Tag};
use crate::index::layer::{PieceKind, Relocation};
use moraine_model::{BLOCK_BYTES, BlockRange};

impl<D: Disk> Shard<D> {
    /// Looks through the entries of the source for what lives, until there is enough to copy.
    pub(super) fn gather(&mut self, job: &mut Job) {
        let mut blocks: u32 = job
            .items
            .iter()
            .map(|item| u32::from(item.entry.range.count()))
            .sum();
        while blocks < COPY_BLOCKS
            && !job.full
            && let Some(entry) = job.entries.pop_front()
        {
            match entry {
                Entry::Record(record) => self.gather_record(job, record),
                Entry::Blocks(entry) if matches!(entry.kind, BlockKind::Data { .. }) => {
                    blocks += self.gather_data(job, &entry, blocks);
                }
                Entry::Blocks(entry) => self.gather_metadata(job, &entry),
            }
        }
        if job.full {
            job.entries.clear();
        }
    }

    /// How many of an entry's data blocks the scratch extent still takes behind
    /// `pending` others; if not all, it is full.
    fn room_for(&self, job: &mut Job, pending: u32, entry: &Entry) -> u32 {
        let bytes = job.index_bytes + entry.encoded_bytes();
        let index = u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX);
        let taken = job.position + pending + index + FOOTER_BLOCKS;
        let Some(room) = self.layout().segment_blocks.checked_sub(taken) else {
            job.full = true;
            return 0;
        };
        let blocks = entry.data_blocks();
        job.full |= room < blocks;
        room.min(blocks)
    }

    /// Counts a metadata entry, unless the scratch extent is full.
    fn reserve(&self, job: &mut Job, entry: &Entry) -> bool {
        let pending = job
            .items
            .iter()
            .map(|item| u32::from(item.entry.range.count()))
            .sum();
        self.room_for(job, pending, entry);
        if !job.full {
            job.index_bytes += entry.encoded_bytes();
        }
        !job.full
    }

    /// The live parts of an entry's data. Returns how many blocks were taken.
    fn gather_data(&mut self, job: &mut Job, entry: &BlockEntry, pending: u32) -> u32 {
        let BlockKind::Data {
            position,
            checksums,
        } = &entry.kind
        else {
            return 0;
        };
        let Some(source) = self.segments.get(job.source) else {
            return 0;
        };
        let live: Vec<bool> = (0..u32::from(entry.range.count()))
            .map(|nth| source.bitmap.is_live(position + nth))
            .collect();
        let part = |first: u16, count: u16| {
            let range = BlockRange::new(entry.range.first() + first, count).ok()?;
            let (start, end) = (usize::from(first), usize::from(first + count));
            let kind = BlockKind::Data {
                position: 0,
                checksums: checksums[start..end].into(),
            };
            Some(BlockEntry {
                range,
                kind,
                ..entry.clone()
            })
        };
        let mut taken = 0;
        let mut first: u16 = 0;
        for run in live.chunk_by(|a, b| a == b) {
            let count = u16::try_from(run.len()).unwrap_or(u16::MAX);
            if let (Some(true), Some(whole)) = (run.first(), part(first, count)) {
                let fitting = self.room_for(job, pending + taken, &Entry::Blocks(whole));
                // Not all of it may fit: an extent that is not filled would be compacted again.
                let fitting = u16::try_from(fitting).unwrap_or(count);
                let Some(copy) = part(first, fitting) else {
                    return taken;
                };
                let location = self
                    .layout()
                    .location(job.source, position + u32::from(first));
                job.index_bytes += Entry::Blocks(copy.clone()).encoded_bytes();
                taken += u32::from(fitting);
                job.items.push_back(Item {
                    entry: copy,
                    location,
                });
                if job.full {
                    return taken;
                }
            }
            first += count;
        }
        taken
    }

    /// Zeros and holes: those parts that the index still takes from this source.
    fn gather_metadata(&mut self, job: &mut Job, entry: &BlockEntry) {
        let kind = match entry.kind {
            BlockKind::Zero => PieceKind::Zero,
            _ => PieceKind::Hole,
        };
        let from = self.segments.metadata_location(job.source);
        let layer = self
            .index
            .chunk(entry.place)
            .and_then(|chunk| chunk.layer(entry.tag.cut));
        let pieces = layer
            .into_iter()
            .flat_map(|layer| layer.pieces(entry.range));
        let Tag { stamp, cut, epoch } = entry.tag;
        let live: Vec<BlockRange> = pieces
            .filter(|piece| piece.kind == kind && piece.location == from)
            .filter(|piece| piece.tag(cut) == entry.tag)
            .map(|piece| piece.range)
            .collect();
        if kind == PieceKind::Hole && self.is_oldest(job.source, entry.lsn) {
            self.forget_holes(entry, &live);
            return;
        }
        for range in live {
            let copy = Entry::Blocks(BlockEntry {
                range,
                ..entry.clone()
            });
            if !self.reserve(job, &copy) {
                return;
            }
            let to = self.segments.metadata_location(job.scratch);
            let relocation = Relocation {
                range,
                kind,
                from,
                to,
                stamp,
                epoch,
            };
            job.moves.push(Move {
                place: entry.place,
                cut,
                relocation,
            });
            job.copied.push(copy);
        }
    }

    /// Takes holes that hide nothing any more out of the index.
    fn forget_holes(&mut self, entry: &BlockEntry, live: &[BlockRange]) {
        let Self {
            index, segments, ..
        } = self;
        for range in live {
            let cut = entry.tag.cut;
            index.take_away(entry.place, *range, cut..=cut, |freed| {
                segments.release(freed);
            });
        }
    }

    fn gather_record(&mut self, job: &mut Job, record: RecordEntry) {
        let newest = self.records.get(&record.key);
        if newest.is_none_or(|known| known.lsn != record.lsn || known.segment != job.source) {
            return;
        }
        if self.is_spent(job.source, &record) {
            self.records.remove(&record.key);
            self.segments.release_record(job.source);
            return;
        }
        let copy = Entry::Record(record.clone());
        if self.reserve(job, &copy) {
            job.copied.push(copy);
            job.records.push(record);
        }
    }

    /// Whether a tombstone has nothing left to hide.
    fn is_spent(&self, source: u32, record: &RecordEntry) -> bool {
        let dropped = matches!(StoreKey::decode(&record.key), Some(StoreKey::Dropped(_)));
        (record.value.is_none() || dropped) && self.is_oldest(source, record.lsn)
    }

    /// Whether no other segment in use holds an entry older than this LSN of the source. The source
    /// itself goes in one step with everything in it.
    fn is_oldest(&self, source: u32, lsn: u64) -> bool {
        let mut others = self.segments.iter().filter(|(number, _)| *number != source);
        others.all(|(_, segment)| segment.lsn_min > lsn)
    }
}
