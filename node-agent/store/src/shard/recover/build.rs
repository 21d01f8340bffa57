//! From entries in any order to index, records and bitmaps: per block and cut the greatest LSN wins,
//! unless a hole of a newer cut and a greater LSN reaches down to it.

use super::super::Shard;
use super::super::records::Record;
use super::super::request::StoreKey;
use super::merge::{Candidate, Merge, Source};
use crate::OpenError;
use crate::disk::Disk;
use crate::format::{BlockEntry, BlockKind, RecordEntry};
use crate::index::Share;
use crate::index::layer::Piece;
use moraine_model::{BlockRange, Cut};
use std::collections::BTreeMap;

impl<D: Disk> Shard<D> {
    /// Builds everything in memory from what the extents hold. Reads only.
    pub(super) fn build(
        &mut self,
        records: Vec<(u32, RecordEntry)>,
        sources: Vec<Source>,
    ) -> Result<(), OpenError> {
        let dropped = self.build_records(records);
        let mut merge = Merge::new(self.io.disk(), &self.segments, sources)?;
        let mut candidates = Vec::new();
        while let Some(place) = merge.next_chunk(self.io.disk(), &mut candidates)? {
            let dropped_at = dropped.get(&place.share()).copied().unwrap_or(0);
            candidates.retain(|candidate| candidate.entry.lsn > dropped_at);
            self.build_chunk(&mut candidates);
        }
        let shares: Vec<Share> = self.index.shares().map(|(share, _)| *share).collect();
        let Self {
            index, segments, ..
        } = self;
        for share in shares {
            index.collect(share, |freed| segments.release(freed));
        }
        Ok(())
    }

    fn build_chunk(&mut self, candidates: &mut [Candidate]) {
        if candidates
            .windows(2)
            .any(|two| two[0].entry.tag.cut != two[1].entry.tag.cut)
        {
            candidates.sort_by_key(|candidate| candidate.entry.tag.cut);
        }
        let holes: Vec<&BlockEntry> = candidates
            .iter()
            .map(|candidate| &candidate.entry)
            .filter(|entry| matches!(entry.kind, BlockKind::Hole { .. }))
            .collect();
        for layer in candidates.chunk_by(|a, b| a.entry.tag.cut == b.entry.tag.cut) {
            self.build_layer(layer, &holes);
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

    /// Puts the candidates of one layer of one chunk, in any order, into the index. `holes` are those
    /// of the chunk.
    fn build_layer(&mut self, layer: &[Candidate], holes: &[&BlockEntry]) {
        let ranges = layer.iter().map(|candidate| candidate.entry.range);
        let (Some(first), Some(end), Some(any)) = (
            ranges.clone().map(BlockRange::first).min(),
            ranges.map(BlockRange::end).max(),
            layer.first(),
        ) else {
            return;
        };
        let (place, cut) = (any.entry.place, any.entry.tag.cut);
        let winners = winners(layer, holes, cut, first..end);
        let runs = winners.chunk_by(|a, b| a == b);
        let Self {
            index, segments, ..
        } = self;
        let chunks = &mut index.share_mut(place.share()).chunks;
        let chunk = chunks.entry(place.chunk.get()).or_default();
        chunk.reserve(cut, runs.clone().filter(|run| run[0] != NOBODY).count());
        let mut block = first;
        for run in runs {
            let next = block + u16::try_from(run.len()).expect("a chunk has 1024 blocks");
            if let (Some(winner), Some(range)) =
                (layer.get(run[0]), BlockRange::between(block, next))
                && let Some(piece) =
                    Piece::of(&winner.entry, winner.segment, segments.layout()).within(range)
            {
                segments.acquire(&piece);
                chunk.push(cut, piece);
            }
            block = next;
        }
        if chunk.is_empty() {
            chunks.remove(&place.chunk.get());
        }
    }
}

/// No candidate's number.
const NOBODY: usize = usize::MAX;

/// Which of the candidates of a layer counts for each block of a range: the newest, unless a hole of
/// a newer cut took it away.
fn winners(
    layer: &[Candidate],
    holes: &[&BlockEntry],
    cut: Cut,
    blocks: std::ops::Range<u16>,
) -> Vec<usize> {
    let mut winners = vec![NOBODY; blocks.len()];
    for (nth, candidate) in layer.iter().enumerate() {
        for block in candidate.entry.range.blocks() {
            let winner = &mut winners[usize::from(block - blocks.start)];
            // A copy by compaction has the LSN of its source, where the block is dead then.
            let rank = |candidate: &Candidate| (candidate.entry.lsn, candidate.live);
            if layer
                .get(*winner)
                .is_none_or(|found| rank(found) < rank(candidate))
            {
                *winner = nth;
            }
        }
    }
    for hole in holes.iter().filter(|hole| takes_away(hole, cut)) {
        for block in hole.range.blocks().filter(|block| blocks.contains(block)) {
            let winner = &mut winners[usize::from(block - blocks.start)];
            if layer
                .get(*winner)
                .is_some_and(|found| found.entry.lsn < hole.lsn)
            {
                *winner = NOBODY;
            }
        }
    }
    winners
}

/// Whether a hole takes away versions of an older cut.
fn takes_away(hole: &BlockEntry, cut: Cut) -> bool {
    match hole.kind {
        BlockKind::Hole { down_to } => down_to <= cut && cut < hole.tag.cut,
        _ => false,
    }
}
