//! Looking through the entries of a source for what lives.

use super::super::Shard;
use super::super::request::StoreKey;
use super::copy::ROUND_BLOCKS;
use super::{Item, Job, Move};
use crate::disk::Disk;
use crate::format::{BlockEntry, BlockKind, Entry, FOOTER_BLOCKS, RecordEntry, Tag};
use crate::index::layer::{PieceKind, Relocation};
use moraine_model::{BLOCK_BYTES, BlockRange};

/// Entries that one poll looks through.
const ENTRIES_AT_ONCE: usize = 4096;

impl<D: Disk> Shard<D> {
    /// Looks through the entries of the source for what lives. False if it should go on with that
    /// before anything else.
    pub(super) fn gather(&mut self, job: &mut Job) -> bool {
        let mut blocks: u32 = job
            .items
            .iter()
            .map(|item| u32::from(item.entry.range.count()))
            .sum();
        for _ in 0..ENTRIES_AT_ONCE {
            if job.full {
                job.entries.clear();
            }
            if blocks >= ROUND_BLOCKS {
                return true;
            }
            let Some(entry) = job.entries.pop_front() else {
                return true;
            };
            match entry {
                Entry::Record(record) => self.gather_record(job, record),
                Entry::Blocks(entry) if matches!(entry.kind, BlockKind::Data { .. }) => {
                    blocks += self.gather_data(job, &entry, blocks);
                }
                Entry::Blocks(entry) => self.gather_metadata(job, &entry),
            }
        }
        false
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
        let BlockKind::Data { position, .. } = &entry.kind else {
            return 0;
        };
        let Some(source) = self.segments.get(job.source) else {
            return 0;
        };
        let live: Vec<bool> = (0..u32::from(entry.range.count()))
            .map(|nth| source.bitmap.is_live(position + nth))
            .collect();
        let part = |first: u16, count: u16| {
            let range = BlockRange::new(entry.range.first() + first, count);
            entry.part(range.ok()?)
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
        let live = self.live_parts(entry, kind, from);
        let Tag { stamp, cut, epoch } = entry.tag;
        if kind == PieceKind::Hole && entry.lsn < job.others_lsn {
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
            job.moves.push_back(Move {
                place: entry.place,
                cut,
                relocation,
            });
            job.copied.push(copy);
        }
    }

    /// The parts of an entry for zeros or a hole that the index takes from this source.
    ///
    /// Parts of zeros that are split by newer versions of the same layer count as one, together with
    /// what splits them: else a volume that was trimmed and then written here and there would take
    /// a hundred entries where it took one. What is dead in such a copy is covered by a version of a
    /// greater LSN in the same layer, as it was in the original, and whatever covers, collects or
    /// takes away that one does the same to all of its cut below. A part that nothing covers, as a
    /// forgotten hole leaves it, is not copied.
    fn live_parts(&self, entry: &BlockEntry, kind: PieceKind, from: u32) -> Vec<BlockRange> {
        let chunk = self.index.chunk(entry.place);
        let Some(layer) = chunk.and_then(|chunk| chunk.layer(entry.tag.cut)) else {
            return Vec::new();
        };
        let mut parts: Vec<BlockRange> = Vec::new();
        // Where the last part may go on: behind it, and what newer versions cover behind that.
        let mut open_end = None;
        for piece in layer.pieces(entry.range) {
            let adjacent = open_end == Some(piece.range.first());
            let ours = piece.kind == kind
                && piece.location == from
                && piece.tag(entry.tag.cut) == entry.tag;
            if ours {
                let first = parts.pop_if(|_| adjacent).map(BlockRange::first);
                let first = first.unwrap_or(piece.range.first());
                parts.extend(BlockRange::new(first, piece.range.end() - first));
                open_end = (kind == PieceKind::Zero).then_some(piece.range.end());
            } else if adjacent && piece.kind != PieceKind::Hole {
                open_end = Some(piece.range.end());
            } else {
                open_end = None;
            }
        }
        parts
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
        if is_spent(&record, job.others_lsn) {
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
}

/// Whether a tombstone has nothing left to hide: no other segment holds an older entry. Its own goes
/// in one step with everything in it.
fn is_spent(record: &RecordEntry, others_lsn: u64) -> bool {
    let dropped = matches!(StoreKey::decode(&record.key), Some(StoreKey::Dropped(_)));
    (record.value.is_none() || dropped) && record.lsn < others_lsn
}
