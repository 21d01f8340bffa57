//! The entries of one extent, as rows.

use moraine_store::bitmap::Bitmap;
use moraine_store::format::{BlockEntry, BlockKind, Entry};
use moraine_store::inspect::meaning;
use serde::Serialize;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Shown {
    Data(EntryRow),
    Zero(EntryRow),
    Hole(EntryRow),
    Record {
        lsn: u64,
        /// What it means that the record is set.
        meaning: String,
        set: bool,
        value_bytes: usize,
    },
}

#[derive(Serialize)]
pub(super) struct EntryRow {
    pub(super) lsn: u64,
    pub(super) volume: String,
    pub(super) bucket: u32,
    pub(super) chunk: u32,
    pub(super) first_block: u16,
    pub(super) blocks: u16,
    pub(super) cut: u64,
    pub(super) epoch: u64,
    /// Attach, incarnation, sequence.
    pub(super) stamp: (u32, u32, u64),
    /// Data: the first block within the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<u32>,
    /// Data: how many blocks somebody reads, if the shard could be recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live_blocks: Option<usize>,
    /// Hole: the least cut that it reaches down to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) down_to: Option<u64>,
}

/// The entries in the order of the log.
pub(super) fn shown(entries: &[Entry], live: Option<&Bitmap>) -> Vec<Shown> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.lsn());
    let shown = entries.into_iter().map(|entry| match entry {
        Entry::Record(record) => Shown::Record {
            lsn: record.lsn,
            meaning: meaning(&record.key),
            set: record.value.is_some(),
            value_bytes: record.value.as_ref().map_or(0, Vec::len),
        },
        Entry::Blocks(entry) => {
            let mut blocks = EntryRow::new(entry);
            match entry.kind {
                BlockKind::Data { position, .. } => {
                    let positions = position..position + u32::from(entry.range.count());
                    blocks.position = Some(position);
                    blocks.live_blocks =
                        live.map(|live| positions.filter(|at| live.is_live(*at)).count());
                    Shown::Data(blocks)
                }
                BlockKind::Zero => Shown::Zero(blocks),
                BlockKind::Hole { down_to } => {
                    blocks.down_to = Some(down_to.0);
                    Shown::Hole(blocks)
                }
            }
        }
    });
    shown.collect()
}

impl EntryRow {
    fn new(entry: &BlockEntry) -> Self {
        let stamp = entry.tag.stamp;
        Self {
            lsn: entry.lsn,
            volume: entry.place.volume.to_string(),
            bucket: entry.place.bucket.get(),
            chunk: entry.place.chunk.get(),
            first_block: entry.range.first(),
            blocks: entry.range.count(),
            cut: entry.tag.cut.0,
            epoch: entry.tag.epoch.0,
            stamp: (
                stamp.generation.attach,
                stamp.generation.incarnation,
                stamp.sequence,
            ),
            position: None,
            live_blocks: None,
            down_to: None,
        }
    }
}
