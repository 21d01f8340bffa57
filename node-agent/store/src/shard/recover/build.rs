//! From entries in any order to index, records and bitmaps: per block and cut the greatest LSN wins,
//! unless a hole of a newer cut and a greater LSN reaches down to it.

use super::super::Shard;
use super::super::records::Record;
use super::super::request::StoreKey;
use crate::bitmap::Bitmap;
use crate::disk::Disk;
use crate::format::{BlockEntry, BlockKind, Entry, RecordEntry};
use crate::index::Share;
use crate::index::layer::{Piece, PieceKind};
use moraine_model::{BlockRange, CHUNK_BLOCKS, Cut};
use std::collections::BTreeMap;

/// An entry for blocks and where it was found.
struct Candidate {
    segment: u32,
    entry: BlockEntry,
}

impl<D: Disk> Shard<D> {
    /// Builds everything in memory from what the segments hold.
    pub(super) fn build(&mut self, found: Vec<(u32, Option<Bitmap>, Vec<Entry>)>) {
        let mut candidates = Vec::new();
        let mut records: Vec<(u32, RecordEntry)> = Vec::new();
        for (segment, bitmap, entries) in found {
            for entry in entries {
                match entry {
                    Entry::Record(record) => records.push((segment, record)),
                    Entry::Blocks(entry) => {
                        if !is_dead(bitmap.as_ref(), &entry) {
                            candidates.push(Candidate { segment, entry });
                        }
                    }
                }
            }
        }
        let dropped = self.build_records(records);
        candidates.retain(|candidate| {
            let dropped_at = dropped
                .get(&candidate.entry.place.share())
                .copied()
                .unwrap_or(0);
            candidate.entry.lsn > dropped_at
        });
        candidates.sort_by_key(|candidate| {
            let entry = &candidate.entry;
            (
                entry.place,
                entry.tag.cut,
                entry.lsn,
                entry.range.first(),
                candidate.segment,
            )
        });
        for chunk in candidates.chunk_by(|a, b| a.entry.place == b.entry.place) {
            let holes: Vec<&BlockEntry> = chunk
                .iter()
                .map(|candidate| &candidate.entry)
                .filter(|entry| matches!(entry.kind, BlockKind::Hole { .. }))
                .collect();
            for layer in chunk.chunk_by(|a, b| a.entry.tag.cut == b.entry.tag.cut) {
                self.build_layer(layer, &holes);
            }
        }
        let shares: Vec<Share> = self.index.shares().map(|(share, _)| *share).collect();
        let Self {
            index, segments, ..
        } = self;
        for share in shares {
            index.collect(share, |freed| segments.release(freed));
        }
    }

    /// Keeps the newest record of each key, and gives the LSN at which each share was dropped.
    fn build_records(&mut self, mut records: Vec<(u32, RecordEntry)>) -> BTreeMap<Share, u64> {
        records.sort_by_key(|(segment, record)| (record.lsn, *segment));
        let mut dropped = BTreeMap::new();
        for (_, record) in &records {
            if let Some(StoreKey::Dropped(share)) = StoreKey::decode(&record.key) {
                dropped.insert(share, record.lsn);
            }
        }
        let mut newest: BTreeMap<_, (u32, RecordEntry)> = BTreeMap::new();
        for (segment, record) in records {
            let key = StoreKey::decode(&record.key);
            let dropped_at = key
                .and_then(|key| dropped.get(&key.share()))
                .copied()
                .unwrap_or(0);
            if record.lsn >= dropped_at {
                newest.insert(record.key.clone(), (segment, record));
            }
        }
        for (key, (segment, record)) in newest {
            self.segments.acquire_record(segment);
            if let Some(key) = StoreKey::decode(&key) {
                self.note_retention(key, record.value.as_deref());
            }
            let record = Record {
                value: record.value,
                lsn: record.lsn,
                segment,
            };
            self.records.set(key, record);
        }
        dropped
    }

    /// Puts the candidates of one layer of one chunk, oldest first, into the index. `holes` are those
    /// of the chunk.
    fn build_layer(&mut self, layer: &[Candidate], holes: &[&BlockEntry]) {
        let Some(cut) = layer.first().map(|candidate| candidate.entry.tag.cut) else {
            return;
        };
        let mut winner = [usize::MAX; CHUNK_BLOCKS as usize];
        for (nth, candidate) in layer.iter().enumerate() {
            for block in candidate.entry.range.blocks() {
                winner[usize::from(block)] = nth;
            }
        }
        for hole in holes.iter().filter(|hole| takes_away(hole, cut)) {
            for block in hole.range.blocks() {
                let winner = &mut winner[usize::from(block)];
                if layer
                    .get(*winner)
                    .is_some_and(|found| found.entry.lsn < hole.lsn)
                {
                    *winner = usize::MAX;
                }
            }
        }
        let mut first: u16 = 0;
        for run in winner.chunk_by(|a, b| a == b) {
            let count = u16::try_from(run.len()).expect("a chunk has 1024 blocks");
            if let (Some(candidate), Ok(range)) = (
                run.first().and_then(|&nth| layer.get(nth)),
                BlockRange::new(first, count),
            ) {
                self.build_piece(candidate, cut, range);
            }
            first += count;
        }
    }

    fn build_piece(&mut self, candidate: &Candidate, cut: Cut, range: BlockRange) {
        let Candidate { segment, entry } = candidate;
        let (kind, location, checksums) = match &entry.kind {
            BlockKind::Data {
                position,
                checksums,
            } => {
                let location = self.layout().location(*segment, *position);
                (PieceKind::Data, location, &**checksums)
            }
            BlockKind::Zero => (
                PieceKind::Zero,
                self.segments.metadata_location(*segment),
                &[][..],
            ),
            BlockKind::Hole { .. } => (
                PieceKind::Hole,
                self.segments.metadata_location(*segment),
                &[][..],
            ),
        };
        let whole = Piece {
            range: entry.range,
            kind,
            location,
            stamp: entry.tag.stamp,
            epoch: entry.tag.epoch,
            checksums,
        };
        if let Some(piece) = whole.within(range) {
            let Self {
                index, segments, ..
            } = self;
            segments.acquire(&piece);
            let chunks = &mut index.share_mut(entry.place.share()).chunks;
            let chunk = chunks.entry(entry.place.chunk.get()).or_default();
            chunk.insert(cut, piece, |freed| segments.release(freed));
        }
    }
}

/// Whether a hole takes away versions of an older cut.
fn takes_away(hole: &BlockEntry, cut: Cut) -> bool {
    match hole.kind {
        BlockKind::Hole { down_to } => down_to <= cut && cut < hole.tag.cut,
        _ => false,
    }
}

/// Whether the persisted bitmap says that no block of the entry's data lives. Zeros and holes have
/// no bits of their own.
fn is_dead(bitmap: Option<&Bitmap>, entry: &BlockEntry) -> bool {
    let (Some(bitmap), BlockKind::Data { position, .. }) = (bitmap, &entry.kind) else {
        return false;
    };
    let count = u32::from(entry.range.count());
    (*position..position + count).all(|block| !bitmap.is_live(block))
}
