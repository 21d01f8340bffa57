//! The segments that a shard has, with their bitmaps. No other shard sees them.

use crate::bitmap::Bitmap;
use crate::format::{Entry, HEAD_BLOCKS, Head, Layout, Outline, SegmentState, Superblock};
use crate::free_list::FreeSegment;
use crate::index::layer::{Piece, PieceKind, Relocation, Sums};
use crate::{Buffer, checksum};
use moraine_model::{BLOCK_BYTES, BlockRange, Epoch};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What entries take in an index, and for how many blocks or records.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    bytes: u64,
    units: u64,
}

impl Taken {
    fn add(&mut self, bytes: usize, units: u16) {
        self.bytes += bytes as u64;
        self.units += u64::from(units);
    }

    /// What so many of the units take, at the average.
    fn share(self, units: u64) -> u64 {
        let bytes = self.bytes * units.min(self.units);
        bytes.checked_div(self.units).unwrap_or(0)
    }
}

/// What the entries of a closed extent took when it was closed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    data: Taken,
    zeros: Taken,
    records: Taken,
}

impl Weight {
    /// That of these entries.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut weight = Self::default();
        for entry in entries {
            weight.add(entry.outline(), entry.encoded_bytes());
        }
        weight
    }

    /// Adds an entry that takes so many bytes.
    pub(crate) fn add(&mut self, entry: Outline, bytes: usize) {
        match entry {
            Outline::Data(blocks) => self.data.add(bytes, blocks),
            Outline::Tombstone(blocks) => self.zeros.add(bytes, blocks),
            Outline::Record => self.records.add(bytes, 1),
        }
    }
}

/// One segment of this shard.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) state: SegmentState,
    pub(crate) incarnation: u64,
    pub(crate) head_sequence: u64,
    pub(crate) bitmap: Bitmap,
    /// Blocks of zeros and holes, and records, that live in its entries.
    pub(crate) metadata_live: u64,
    /// How many of them are records.
    records_live: u64,
    /// What the entries took, once it is closed.
    weight: Weight,
    /// How many blocks were live in the bitmap on the disk.
    pub(crate) persisted_live: u32,
    /// Reads of it under way: it is not freed meanwhile.
    pub(crate) readers: u32,
    /// The least LSN of its entries, `u64::MAX` without any.
    pub(crate) lsn_min: u64,
    /// The greatest LSN of its entries.
    pub(crate) lsn_max: u64,
    /// It is being freed, or compaction works on it, or a block in it is damaged.
    pub(crate) busy: bool,
    pub(crate) damaged: bool,
}

impl Segment {
    pub(crate) fn new(state: SegmentState, incarnation: u64, head_sequence: u64) -> Self {
        Self {
            state,
            incarnation,
            head_sequence,
            bitmap: Bitmap::default(),
            metadata_live: 0,
            records_live: 0,
            weight: Weight::default(),
            persisted_live: u32::MAX,
            readers: 0,
            lsn_min: u64::MAX,
            lsn_max: 0,
            busy: false,
            damaged: false,
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.bitmap.live() == 0 && self.metadata_live == 0
    }

    /// Notes what the entries take, when the extent is closed or found closed.
    pub(crate) fn weigh(&mut self, weight: Weight) {
        self.weight = weight;
    }

    /// All its zeros are needed as they are, however few of their blocks live: they were just
    /// copied. Without this it would look as if copying them again would gain something.
    pub(crate) fn zeros_are_whole(&mut self) {
        self.weight.zeros.units = self.metadata_live - self.records_live;
    }

    /// Blocks that a copy of what lives in it would take, as far as that can be told without
    /// reading it: exact when it was just written, and then by the share that lives.
    pub(crate) fn copy_blocks(&self) -> u64 {
        let live = u64::from(self.bitmap.live());
        let zeros = self.metadata_live - self.records_live;
        let index_bytes = self.weight.data.share(live)
            + self.weight.zeros.share(zeros)
            + self.weight.records.share(self.records_live);
        live + index_bytes.div_ceil(BLOCK_BYTES as u64)
    }

    pub(crate) fn note_lsn(&mut self, lsn: u64) {
        self.note_lsns(lsn..=lsn);
    }

    pub(crate) fn note_lsns(&mut self, lsns: RangeInclusive<u64>) {
        self.lsn_min = self.lsn_min.min(*lsns.start());
        self.lsn_max = self.lsn_max.max(*lsns.end());
    }
}

/// All segments of a shard.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    pub(crate) superblock: Superblock,
    pub(crate) shard: u32,
    table: BTreeMap<u32, Segment>,
    /// Closed segments that may have become dead since anyone looked.
    pub(crate) maybe_dead: Vec<u32>,
    /// Grows with each block that dies, and by more with each segment that is closed: who counted
    /// what can be cleaned knows by this how much has changed.
    pub(crate) changes: u64,
}

impl SegmentTable {
    pub(crate) fn new(superblock: Superblock, shard: u32) -> Self {
        Self {
            superblock,
            shard,
            table: BTreeMap::new(),
            maybe_dead: Vec::new(),
            changes: 0,
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.superblock.layout
    }

    pub(crate) fn insert(&mut self, number: u32, segment: Segment) {
        let before = self.table.insert(number, segment);
        assert!(before.is_none(), "a segment was taken twice");
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Segment> {
        self.table.remove(&number)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Segment> {
        self.table.get(&number)
    }

    /// A segment that the index or an operation refers to.
    ///
    /// # Panics
    /// If the shard does not have it: it would touch another shard's bitmap.
    pub(crate) fn expect_mut(&mut self, number: u32) -> &mut Segment {
        self.table
            .get_mut(&number)
            .expect("a shard refers to its own segments only")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.table
            .iter()
            .map(|(number, segment)| (*number, segment))
    }

    /// The location that zeros, holes and records of a segment carry.
    pub(crate) fn metadata_location(&self, number: u32) -> u32 {
        self.layout().first_block(number)
    }

    /// The index begins to refer to a piece.
    pub(crate) fn acquire(&mut self, piece: &Piece<'_>) {
        let (number, position) = self.layout().split(piece.location);
        let segment = self.expect_mut(number);
        if piece.kind == PieceKind::Data {
            for block in 0..u32::from(piece.range.count()) {
                segment.bitmap.set(position + block);
            }
        } else {
            segment.metadata_live += u64::from(piece.range.count());
        }
    }

    /// The index no longer refers to a piece.
    pub(crate) fn release(&mut self, piece: &Piece<'_>) {
        self.changes += u64::from(piece.range.count());
        let (number, position) = self.layout().split(piece.location);
        let segment = self.expect_mut(number);
        if piece.kind == PieceKind::Data {
            for block in 0..u32::from(piece.range.count()) {
                segment.bitmap.clear(position + block);
            }
        } else {
            let count = u64::from(piece.range.count());
            assert!(segment.metadata_live >= count, "metadata was freed twice");
            segment.metadata_live -= count;
        }
        self.note_if_dead(number);
    }

    /// Compaction has moved a part of what a relocation names.
    pub(crate) fn moved(&mut self, relocation: &Relocation, part: BlockRange) {
        let skip = u32::from(part.first() - relocation.range.first());
        let skip = if relocation.kind == PieceKind::Data {
            skip
        } else {
            0
        };
        let piece = |location| Piece {
            range: part,
            kind: relocation.kind,
            location: location + skip,
            stamp: relocation.stamp,
            epoch: Epoch(0),
            checksums: Sums::NONE,
        };
        self.acquire(&piece(relocation.to));
        self.release(&piece(relocation.from));
    }

    /// A record in this segment begins to count.
    pub(crate) fn acquire_record(&mut self, number: u32) {
        let segment = self.expect_mut(number);
        segment.metadata_live += 1;
        segment.records_live += 1;
    }

    /// A record in this segment no longer counts.
    pub(crate) fn release_record(&mut self, number: u32) {
        self.changes += 1;
        let segment = self.expect_mut(number);
        assert!(segment.records_live > 0, "a record was freed twice");
        segment.metadata_live -= 1;
        segment.records_live -= 1;
        self.note_if_dead(number);
    }

    /// A segment may be cleaned or freed from now on.
    pub(crate) fn settle(&mut self, number: u32) {
        self.expect_mut(number).busy = false;
        self.changes += u64::from(self.layout().segment_blocks);
        self.note_if_dead(number);
    }

    pub(crate) fn note_if_dead(&mut self, number: u32) {
        let segment = self.expect_mut(number);
        if segment.state == SegmentState::Closed && segment.is_dead() {
            self.maybe_dead.push(number);
        }
    }

    /// The two writes that make a head durable in both copies: location and blocks of each. The
    /// copy that is not the newest comes first, so that one whole copy is there at any time.
    pub(crate) fn head_writes(
        &mut self,
        number: u32,
        state: SegmentState,
        bitmap: &Buffer,
        bitmap_lsn: u64,
    ) -> [(u32, Vec<Buffer>); 2] {
        let (disk, shard) = (self.superblock.disk, self.shard);
        let first_block = self.layout().first_block(number);
        let segment = self.expect_mut(number);
        segment.state = state;
        [1, 2].map(|step| {
            let sequence = segment.head_sequence + step;
            let head = Head {
                disk,
                segment: number,
                state,
                incarnation: segment.incarnation,
                shard,
                bitmap_checksum: checksum(bitmap),
                sequence,
                bitmap_lsn,
            };
            if step == 2 {
                segment.head_sequence = sequence;
            }
            let blocks = vec![Buffer::copy_of(&head.encode()), Buffer::copy_of(bitmap)];
            (first_block + head_copy(sequence), blocks)
        })
    }

    /// The form in which a segment goes back to the free list.
    pub(crate) fn take_free(&mut self, number: u32) -> Option<FreeSegment> {
        let segment = self.remove(number)?;
        assert!(
            segment.is_dead() && segment.readers == 0,
            "a segment in use was freed"
        );
        Some(FreeSegment {
            number,
            incarnation: segment.incarnation,
            head_sequence: segment.head_sequence,
        })
    }
}

/// The block within the segment of the copy that holds the head with this sequence.
pub(crate) fn head_copy(sequence: u64) -> u32 {
    if sequence.is_multiple_of(2) {
        0
    } else {
        HEAD_BLOCKS / 2
    }
}
