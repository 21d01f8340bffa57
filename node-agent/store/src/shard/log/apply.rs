//! What a durable batch changes: index, bitmaps, records; and the answers.

use super::super::Shard;
use super::super::request::{Done, StoreKey};
use super::Batch;
use crate::disk::Disk;
use crate::format::{BlockEntry, BlockKind, Entry, RecordEntry};
use crate::index::layer::Piece;

impl<D: Disk> Shard<D> {
    /// A batch has ended: applies it and those behind it that wait for nothing else.
    pub(in crate::shard) fn batch_ended(&mut self, lsn: u64, durable: bool) {
        if !durable {
            self.stop();
            return;
        }
        if let Some(batch) = self.log.in_flight.iter_mut().find(|batch| batch.lsn == lsn) {
            batch.durable = true;
        }
        while let Some(batch) = self.log.in_flight.pop_front_if(|batch| batch.durable) {
            assert_eq!(
                batch.lsn,
                self.log.durable_lsn + 1,
                "batches are applied in order"
            );
            self.log.durable_lsn = batch.lsn;
            self.apply(batch);
        }
    }

    fn apply(&mut self, batch: Batch) {
        self.segments.expect_mut(batch.segment).note_lsn(batch.lsn);
        for entry in &batch.entries {
            match entry {
                Entry::Blocks(entry) => {
                    self.log.unmark_busy(entry.place, entry.range);
                    self.apply_blocks(batch.segment, entry);
                }
                Entry::Record(entry) => self.apply_record(batch.segment, entry),
            }
        }
        let current = self.log.open.iter_mut().chain(&mut self.log.filled);
        for extent in current.filter(|extent| extent.segment == batch.segment) {
            extent.batches_in_flight -= 1;
        }
        let current = self.log.open.iter_mut().chain(&mut self.log.filled);
        if let Some(extent) = current.into_iter().find(|e| e.segment == batch.segment) {
            extent.entries.extend(batch.entries);
        }
        for id in batch.ids {
            self.reply(id, Ok(Done::Durable));
        }
    }

    fn apply_blocks(&mut self, segment: u32, entry: &BlockEntry) {
        let piece = Piece::of(entry, segment, self.layout());
        let Self {
            index, segments, ..
        } = self;
        // Acquired first: the index may find at once that nobody reads it.
        segments.acquire(&piece);
        if let BlockKind::Hole { down_to } = entry.kind {
            index.take_away(entry.place, entry.range, down_to..entry.tag.cut, |freed| {
                segments.release(freed);
            });
        }
        index.insert(entry.place, entry.tag.cut, piece, |freed| {
            segments.release(freed);
        });
    }

    fn apply_record(&mut self, segment: u32, entry: &RecordEntry) {
        let store_key = StoreKey::decode(&entry.key);
        if let Some(StoreKey::Dropped(share)) = store_key {
            self.forget_share(share);
        }
        self.set_record(segment, entry.key.clone(), entry.value.clone(), entry.lsn);
        if let Some(key) = store_key {
            self.apply_control(key, entry.value.as_deref());
        }
    }
}
