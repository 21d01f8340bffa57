//! Scanning an extent that was open: batch after batch, until one is not right.
//!
//! A batch whose headers are right but whose data is not may be torn, or it was durable and is
//! damaged now. What later headers know to be durable tells: then it counts, and reading the
//! damaged block is an error. A batch that was durable and can't be read at all is a loss, and the
//! disk is refused. A closed extent is scanned only if its index can't be read.

use super::super::segments::SegmentTable;
use crate::blocking;
use crate::disk::Disk;
use crate::format::{
    BatchHeader, BlockKind, Entry, FOOTER_BLOCKS, Footer, HEAD_BLOCKS, Head, Identity,
    decode_header,
};
use crate::{Buffer, OpenError, checksum};
use moraine_model::BLOCK_BYTES;

/// Blocks read at once.
const WINDOW_BLOCKS: u32 = 512;

/// A batch that was found.
struct ScannedBatch {
    lsn: u64,
    end: u32,
    /// What its header knows to be durable.
    durable_lsn: u64,
    entries: Vec<Entry>,
    data_whole: bool,
}

/// What the scan of one extent found.
pub(super) struct Scan {
    segment: u32,
    batches: Vec<ScannedBatch>,
    /// The greatest durable LSN that any header names, also behind the scan's end.
    witness: u64,
    /// The LSN of the extent's first batch, as any header names it.
    first_lsn: Option<u64>,
}

impl Scan {
    /// Scans the extent in a segment. Reads only.
    pub(super) fn of<D: Disk>(
        disk: &mut D,
        segments: &SegmentTable,
        head: &Head,
    ) -> Result<Self, OpenError> {
        let layout = segments.layout();
        let mut extent = Extent::of(disk, segments, head);
        let mut scan = Self {
            segment: head.segment,
            batches: Vec::new(),
            witness: 0,
            first_lsn: None,
        };
        let mut position = HEAD_BLOCKS;
        let mut lsn = 0;
        while let Some(batch) = extent.batch(position, lsn)? {
            (position, lsn) = (batch.end, batch.lsn);
            scan.witness = scan.witness.max(batch.durable_lsn);
            scan.first_lsn.get_or_insert(batch.lsn);
            scan.batches.push(batch);
        }
        // Headers behind the end are not part of the log, but they know what was durable.
        while position < layout.segment_blocks - FOOTER_BLOCKS {
            if let Some(header) = extent.header(position)? {
                scan.witness = scan.witness.max(header.durable_lsn);
                scan.first_lsn = Some(header.extent_lsn);
            }
            position += 1;
        }
        Ok(scan)
    }

    /// The entries of all batches that count.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.batches
            .into_iter()
            .flat_map(|batch| batch.entries)
            .collect()
    }
}

/// The entries of an extent with a footer whose index can't be read, from its batches. `None` unless
/// those are provably all: one follows the other up to where the footer says that the index begins,
/// and they have as many entries as it says, from its least LSN to its greatest. What compaction
/// made has no batches.
pub(super) fn entries_without_index<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    head: &Head,
    footer: &Footer,
) -> Result<Option<Vec<Entry>>, OpenError> {
    let mut extent = Extent::of(disk, segments, head);
    let mut entries: Vec<Entry> = Vec::new();
    let (mut position, mut lsn) = (HEAD_BLOCKS, 0);
    while position < footer.index_position {
        let Some(batch) = extent.batch(position, lsn)? else {
            return Ok(None);
        };
        (position, lsn) = (batch.end, batch.lsn);
        entries.extend(batch.entries);
    }
    let lsns = entries.iter().map(Entry::lsn);
    let found = (position, entries.len(), lsns.clone().min(), lsns.max());
    let promised = (
        footer.index_position,
        footer.entries as usize,
        Some(footer.lsn_min),
        Some(footer.lsn_max),
    );
    Ok((found == promised).then_some(entries))
}

/// Cuts each scan behind its last batch that counts, and gives the block where that ends. An error
/// if a batch that was durable is missing.
pub(super) fn accept(scans: &mut [(Head, Scan)]) -> Result<Vec<u32>, OpenError> {
    let durable = scans
        .iter()
        .map(|(_, scan)| scan.witness)
        .max()
        .unwrap_or(0);
    let mut firsts: Vec<u64> = scans
        .iter()
        .filter_map(|(_, scan)| scan.first_lsn)
        .collect();
    firsts.sort_unstable();
    let mut ends = Vec::new();
    for (_, scan) in scans.iter_mut() {
        let bad = scan
            .batches
            .iter()
            .position(|batch| !batch.data_whole && batch.lsn > durable);
        scan.batches.truncate(bad.unwrap_or(usize::MAX));
        ends.push(scan.batches.last().map_or(HEAD_BLOCKS, |batch| batch.end));
        // An extent's batches are consecutive, up to the first of the next extent.
        let Some(first) = scan.first_lsn else {
            continue;
        };
        let last = scan.batches.last().map_or(first - 1, |batch| batch.lsn);
        let next = firsts
            .iter()
            .find(|&&next| next > first)
            .copied()
            .unwrap_or(u64::MAX);
        if last < durable.min(next - 1) {
            return Err(OpenError::Damaged {
                segment: scan.segment,
                what: "a batch that was acknowledged can't be read",
            });
        }
    }
    Ok(ends)
}

/// A segment that is read through a window.
struct Extent<'a, D> {
    disk: &'a mut D,
    first_block: u32,
    blocks: u32,
    identity: Identity,
    window: (u32, Buffer),
}

impl<'a, D: Disk> Extent<'a, D> {
    fn of(disk: &'a mut D, segments: &SegmentTable, head: &Head) -> Self {
        let layout = segments.layout();
        Self {
            disk,
            first_block: layout.first_block(head.segment),
            blocks: layout.segment_blocks,
            identity: Identity {
                disk: segments.superblock.disk,
                segment: head.segment,
                incarnation: head.incarnation,
                shard: segments.shard,
            },
            window: (0, Buffer::zeroed(0)),
        }
    }

    fn block(&mut self, position: u32) -> Result<&[u8], OpenError> {
        let start = self.window.0;
        let held = u32::try_from(self.window.1.blocks()).unwrap_or(0);
        if position < start || position >= start + held {
            let count = WINDOW_BLOCKS.min(self.blocks - position);
            let at = self.first_block + position;
            let buffer = blocking::read(self.disk, at, count as usize, "scanning an extent")?;
            self.window = (position, buffer);
        }
        let at = (position - self.window.0) as usize * BLOCK_BYTES;
        Ok(&self.window.1[at..at + BLOCK_BYTES])
    }

    /// The header at a position, if one of this extent is there.
    fn header(&mut self, position: u32) -> Result<Option<BatchHeader>, OpenError> {
        let (identity, blocks) = (self.identity, self.blocks);
        let header = decode_header(self.block(position)?, blocks).ok();
        Ok(header.filter(|header| header.identity == identity && header.position == position))
    }

    /// The batch at a position; it must follow `after`.
    fn batch(&mut self, position: u32, after: u64) -> Result<Option<ScannedBatch>, OpenError> {
        let room = self.blocks - FOOTER_BLOCKS;
        if position >= room {
            return Ok(None);
        }
        let Some(first) = self.header(position)? else {
            return Ok(None);
        };
        let follows = if after == 0 {
            first.lsn == first.extent_lsn
        } else {
            first.lsn == after + 1
        };
        let end = position.saturating_add(first.batch_blocks());
        if first.index != 0 || !follows || end > room {
            return Ok(None);
        }
        let mut entries = first.entries;
        for nth in 1..first.headers {
            let Some(next) = self.header(position + u32::from(nth))? else {
                return Ok(None);
            };
            let same = (next.lsn, next.index, next.headers, next.data_blocks)
                == (first.lsn, nth, first.headers, first.data_blocks);
            if !same {
                return Ok(None);
            }
            entries.extend(next.entries);
        }
        let data = position + u32::from(first.headers)..end;
        let mut next = data.start;
        let mut data_whole = true;
        for entry in &entries {
            let Entry::Blocks(blocks) = entry else {
                continue;
            };
            let BlockKind::Data {
                position,
                checksums,
            } = &blocks.kind
            else {
                continue;
            };
            // The data of a batch follows in the order of its entries.
            if *position != next || end - next < u32::from(blocks.range.count()) {
                return Ok(None);
            }
            for sum in checksums.iter() {
                data_whole &= checksum(self.block(next)?) == *sum;
                next += 1;
            }
        }
        if next != end {
            return Ok(None);
        }
        let (lsn, durable_lsn) = (first.lsn, first.durable_lsn);
        Ok(Some(ScannedBatch {
            lsn,
            end,
            durable_lsn,
            entries,
            data_whole,
        }))
    }
}
