//! The indexes of all extents as one stream of chunks, in the order that each index has.
//!
//! An index is read through a window, so what recovery needs beside the index in memory does not
//! grow with the disk. Each is read twice: once to check its checksum and to gather its records,
//! which decide what of the rest counts, and once to merge. It decides nothing; `build` does.

use super::super::segments::{SegmentTable, Weight};
use crate::bitmap::Bitmap;
use crate::disk::Disk;
use crate::format::{
    BlockEntry, BlockKind, Entry, Footer, FormatError, Outline, Place, RecordEntry, sort_index,
    take_indexed,
};
use crate::{OpenError, blocking, checksum};
use moraine_model::{BLOCK_BYTES, BlockRange};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

/// Memory for the windows of all indexes together, as far as each gets the least.
const WINDOWS_BYTES: usize = 64 << 20;
const WINDOW_BLOCKS_MIN: usize = 4;
const WINDOW_BLOCKS_MAX: usize = 512;

/// The entries of one extent.
pub(super) enum Entries {
    /// In its index, which was checked, and whose records were gathered.
    Index {
        footer: Footer,
        records: Vec<RecordEntry>,
        weight: Weight,
    },
    /// Found by scanning its batches, or few.
    Scanned(Vec<Entry>),
}

impl Entries {
    /// The least and the greatest LSN; the other way about if there are none.
    pub(super) fn lsns(&self) -> RangeInclusive<u64> {
        match self {
            Self::Index { footer, .. } => footer.lsn_min..=footer.lsn_max,
            Self::Scanned(entries) => {
                let lsns = entries.iter().map(Entry::lsn);
                lsns.clone().min().unwrap_or(u64::MAX)..=lsns.max().unwrap_or(0)
            }
        }
    }

    /// What they take.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Index { weight, .. } => *weight,
            Self::Scanned(entries) => Weight::of(entries),
        }
    }

    /// The records among them.
    pub(super) fn take_records(&mut self) -> Vec<RecordEntry> {
        match self {
            Self::Index { records, .. } => std::mem::take(records),
            Self::Scanned(entries) => {
                let records = entries.iter().filter_map(|entry| match entry {
                    Entry::Record(record) => Some(record.clone()),
                    Entry::Blocks(_) => None,
                });
                records.collect()
            }
        }
    }
}

/// An entry for blocks and the segment that it was found in.
pub(super) struct Candidate {
    pub(super) segment: u32,
    pub(super) entry: BlockEntry,
    /// Whether its segment's bitmap says so.
    pub(super) live: bool,
}

/// One extent in the merge.
pub(super) struct Source {
    pub(super) segment: u32,
    /// What is clear is dead.
    pub(super) bitmap: Option<Bitmap>,
    pub(super) entries: Entries,
}

/// Checks an index and gives its records, and what its entries take. What is wrong with it is damage of the segment.
pub(super) fn records_of<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    number: u32,
    footer: &Footer,
) -> Result<(Vec<RecordEntry>, Weight), OpenError> {
    let mut reader = IndexReader::new(segments, number, *footer, WINDOW_BLOCKS_MAX);
    let mut records = Vec::new();
    let mut weight = Weight::default();
    let mut count: u32 = 0;
    // The rest is decoded, and looked at, in the merge.
    let mut record = |entry: &mut &[u8]| -> Result<Option<()>, FormatError> {
        let Some(mut entry) = Entry::skip(entry)? else {
            return Ok(None);
        };
        count += 1;
        let outline = Entry::outline_of(entry);
        if let Some(outline) = outline {
            weight.add(outline, entry.len());
        }
        if outline == Some(Outline::Record)
            && let Some(Entry::Record(record)) = Entry::take(&mut entry)?
        {
            records.push(record);
        }
        Ok(Some(()))
    };
    while reader.next(disk, &mut record)?.is_some() {}
    if count != footer.entries || reader.sum != footer.index_checksum {
        return Err(unreadable(number));
    }
    Ok((records, weight))
}

pub(super) fn unreadable(segment: u32) -> OpenError {
    OpenError::Damaged {
        segment,
        what: "its index is unreadable",
    }
}

/// An index that is read bit by bit.
struct IndexReader {
    segment: u32,
    footer: Footer,
    /// The location of the next block to read.
    next: u32,
    window_blocks: usize,
    /// What was read and not yet taken begins at `at`.
    bytes: Vec<u8>,
    at: usize,
    /// Bytes of the index that are not read yet.
    unread: usize,
    /// The checksum of what was read.
    sum: u32,
}

impl IndexReader {
    fn new(segments: &SegmentTable, segment: u32, footer: Footer, window_blocks: usize) -> Self {
        Self {
            segment,
            footer,
            next: segments.layout().location(segment, footer.index_position),
            window_blocks,
            bytes: Vec::new(),
            at: 0,
            unread: footer.index_bytes as usize,
            sum: checksum(&[]),
        }
    }

    /// What `take` makes of the next entry's bytes.
    fn next<D: Disk, T>(
        &mut self,
        disk: &mut D,
        mut take: impl FnMut(&mut &[u8]) -> Result<Option<T>, FormatError>,
    ) -> Result<Option<T>, OpenError> {
        loop {
            let mut rest = &self.bytes[self.at..];
            let before = rest.len();
            match take(&mut rest) {
                Ok(taken @ Some(_)) => {
                    self.at += before - rest.len();
                    return Ok(taken);
                }
                Ok(None) if self.unread == 0 => return Ok(None),
                // The window may end within an entry.
                Ok(None) | Err(FormatError::Field { .. }) if self.unread > 0 => self.fill(disk)?,
                _ => return Err(unreadable(self.segment)),
            }
        }
    }

    fn fill<D: Disk>(&mut self, disk: &mut D) -> Result<(), OpenError> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let blocks = self.unread.div_ceil(BLOCK_BYTES).min(self.window_blocks);
        let window = blocking::read(disk, self.next, blocks, "reading an index")?;
        let new = &window[..window.len().min(self.unread)];
        self.sum = moraine_model::checksum_append(self.sum, new);
        self.bytes.extend_from_slice(new);
        self.unread -= new.len();
        self.next += u32::try_from(blocks).expect("a window is small");
        disk.recycle(window);
        Ok(())
    }
}

enum Reader {
    Index(Box<IndexReader>),
    Scanned(std::vec::IntoIter<Entry>),
}

struct Input {
    segment: u32,
    bitmap: Option<Bitmap>,
    /// Blocks of data that an entry has named: no two may name one.
    named: Bitmap,
    reader: Reader,
    front: Option<BlockEntry>,
}

impl Input {
    /// Goes on to the next entry for blocks; records come behind all of them.
    fn advance<D: Disk>(&mut self, disk: &mut D) -> Result<Option<BlockEntry>, OpenError> {
        let next = match &mut self.reader {
            Reader::Index(reader) => {
                let footer = reader.footer;
                reader.next(disk, |bytes| take_indexed(&footer, bytes))?
            }
            Reader::Scanned(entries) => entries.next(),
        };
        let next = match next {
            Some(Entry::Blocks(entry)) => Some(entry),
            _ => None,
        };
        let before = std::mem::replace(&mut self.front, next);
        let in_order = match (&before, &self.front) {
            (Some(before), Some(next)) => before.place <= next.place,
            _ => true,
        };
        if in_order && before.as_ref().is_none_or(|entry| self.name(entry)) {
            Ok(before)
        } else {
            Err(unreadable(self.segment))
        }
    }

    /// Notes the data of an entry; false if another has some of it.
    fn name(&mut self, entry: &BlockEntry) -> bool {
        let BlockKind::Data { position, .. } = entry.kind else {
            return true;
        };
        (position..position + u32::from(entry.range.count())).all(|block| {
            let new = !self.named.is_live(block);
            if new {
                self.named.set(block);
            }
            new
        })
    }
}

/// The merge of all extents.
pub(super) struct Merge {
    inputs: Vec<Input>,
    /// The chunk that each input comes to next, the least first.
    heap: BinaryHeap<Reverse<(Place, usize)>>,
}

impl Merge {
    /// Begins with the first entry of each.
    pub(super) fn new<D: Disk>(
        disk: &mut D,
        segments: &SegmentTable,
        sources: Vec<Source>,
    ) -> Result<Self, OpenError> {
        let window = WINDOWS_BYTES / BLOCK_BYTES / sources.len().max(1);
        let window = window.clamp(WINDOW_BLOCKS_MIN, WINDOW_BLOCKS_MAX);
        let mut merge = Self {
            inputs: Vec::with_capacity(sources.len()),
            heap: BinaryHeap::with_capacity(sources.len()),
        };
        for source in sources {
            let reader = match source.entries {
                Entries::Index { footer, .. } => {
                    let reader = IndexReader::new(segments, source.segment, footer, window);
                    Reader::Index(Box::new(reader))
                }
                Entries::Scanned(mut entries) => {
                    sort_index(&mut entries);
                    Reader::Scanned(entries.into_iter())
                }
            };
            let mut input = Input {
                segment: source.segment,
                bitmap: source.bitmap,
                named: Bitmap::default(),
                reader,
                front: None,
            };
            input.advance(disk)?;
            if let Some(front) = &input.front {
                merge.heap.push(Reverse((front.place, merge.inputs.len())));
            }
            merge.inputs.push(input);
        }
        Ok(merge)
    }

    /// Puts what all extents say of the next chunk and may live into `candidates`, in no order.
    pub(super) fn next_chunk<D: Disk>(
        &mut self,
        disk: &mut D,
        candidates: &mut Vec<Candidate>,
    ) -> Result<Option<Place>, OpenError> {
        candidates.clear();
        let Some(&Reverse((place, _))) = self.heap.peek() else {
            return Ok(None);
        };
        while let Some(&Reverse((next, nth))) = self.heap.peek()
            && next == place
        {
            self.heap.pop();
            let input = &mut self.inputs[nth];
            while input
                .front
                .as_ref()
                .is_some_and(|front| front.place == place)
            {
                if let Some(entry) = input.advance(disk)? {
                    admit(input.segment, input.bitmap.as_ref(), entry, candidates);
                }
            }
            if let Some(front) = &input.front {
                self.heap.push(Reverse((front.place, nth)));
            }
        }
        Ok(Some(place))
    }
}

/// Adds an entry, unless the persisted bitmap says that all of its data is dead. If only some is, that
/// is a candidate too, but one that stands back behind a copy that compaction made of it. Zeros and
/// holes have no bits of their own.
fn admit(
    segment: u32,
    bitmap: Option<&Bitmap>,
    entry: BlockEntry,
    candidates: &mut Vec<Candidate>,
) {
    let mut add = |entry, live| {
        candidates.push(Candidate {
            segment,
            entry,
            live,
        });
    };
    let (Some(bitmap), BlockKind::Data { position, .. }) = (bitmap, &entry.kind) else {
        add(entry, true);
        return;
    };
    let is_live = |block: u16| bitmap.is_live(position + u32::from(block - entry.range.first()));
    let live = entry.range.blocks().filter(|&block| is_live(block)).count();
    if live == usize::from(entry.range.count()) {
        add(entry, true);
    } else if live > 0 {
        let blocks: Vec<u16> = entry.range.blocks().collect();
        for run in blocks.chunk_by(|a, b| is_live(*a) == is_live(*b)) {
            let range = BlockRange::between(run[0], run[run.len() - 1] + 1);
            if let Some(part) = range.and_then(|range| entry.part(range)) {
                add(part, is_live(run[0]));
            }
        }
    }
}
