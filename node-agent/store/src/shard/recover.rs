//! Recovery: what a shard knows, from its disk alone.
//!
//! ```text
//! closed segment: footer -> index ------------------\
//! log segment:    footer? else scan of its batches --+-> entries -> newest LSN wins -> index
//! scratch:        given back                        /
//! ```
//!
//! First everything is read and checked; a disk that lost something acknowledged is refused with
//! nothing written. Then extents that were open are closed where their scan ended, so that nothing
//! is ever appended behind a torn batch, and segments with nothing in them are freed. A crash in
//! the middle of that leaves open extents open: the next recovery finds the same.

mod build;
pub(crate) mod extent;
mod merge;
mod scan;

use super::log::Log;
use super::segments::{Segment, SegmentTable};
use super::{Reply, Shard, ShardOptions};
use crate::bitmap::Bitmap;
use crate::disk::Disk;
use crate::format::{
    BlockKind, Entry, FOOTER_BLOCKS, Footer, Head, Identity, SegmentState, decode_index,
};
use crate::index::Index;
use crate::open::{Opened, OpenedSegment};
use crate::shard::compact::Compactor;
use crate::shard::io::Io;
use crate::shard::records::Records;
use crate::shard::scrub::Scrubber;
use crate::{Buffer, Metrics, OpenError, blocking};
use merge::{Entries, Source};
use moraine_model::BLOCK_BYTES;
use scan::Scan;
use std::collections::{BTreeMap, VecDeque};

/// What was found in one segment.
struct Found {
    number: u32,
    head: Head,
    entries: Entries,
    /// The bitmap of a closed segment: what is clear is dead.
    bitmap: Option<Bitmap>,
    /// Where the index of an extent that is still to be closed begins.
    unclosed_at: Option<u32>,
}

impl<D: Disk> Shard<D> {
    /// Recovers shard `number` of an opened disk, through a handle of its own.
    pub fn recover(
        mut disk: D,
        opened: &Opened,
        number: u32,
        options: ShardOptions,
    ) -> Result<Self, OpenError> {
        let superblock = opened.superblock;
        let mut segments = SegmentTable::new(superblock, number);
        let mine = opened
            .segments
            .iter()
            .filter(|segment| segment.head.shard == number);
        let mut found = Vec::new();
        let mut scans = Vec::new();
        for segment in mine {
            let head = segment.head;
            let kept = Segment::new(head.state, head.incarnation, head.sequence);
            segments.insert(head.segment, kept);
            match head.state {
                SegmentState::Closed => found.push(read_closed(&mut disk, &segments, segment)?),
                SegmentState::Log => match read_footer(&mut disk, &segments, &head)? {
                    Some(footer) => found.push(read_unclosed(&mut disk, &segments, head, footer)?),
                    None => scans.push((head, Scan::of(&mut disk, &segments, &head)?)),
                },
                // Nobody refers to it: what it was to replace is still there.
                SegmentState::Scratch | SegmentState::Free => found.push(Found::empty(head)),
            }
        }
        let ends = scan::accept(&mut scans)?;
        // What was read may lie in the device's cache only, left by a process that died before it
        // was durable. From here on it is answered for.
        blocking::sync(&mut disk, "making durable what a crash left")?;
        for ((head, scan), end) in scans.into_iter().zip(ends) {
            let entries = scan.into_entries();
            check_room(&segments, head.segment, end, &entries)?;
            found.push(Found {
                number: head.segment,
                head,
                entries: Entries::Scanned(entries),
                bitmap: None,
                unclosed_at: Some(end),
            });
        }
        Self::assemble(disk, opened, segments, found, options)
    }

    /// Recovers a stopped shard from its disk, while the other shards go on. What it had not done
    /// is there wholly or not at all. Beside it come all replies that nobody has taken yet, also if
    /// opening fails: no request goes unanswered.
    pub fn reopen(mut self) -> (Vec<Reply>, Result<Self, OpenError>) {
        if !self.stopped {
            self.stop();
        }
        let replies = std::mem::take(&mut self.replies);
        (replies.into(), self.recover_again())
    }

    fn recover_again(self) -> Result<Self, OpenError> {
        let Self {
            io,
            options,
            free,
            segments,
            ..
        } = self;
        let numbers: Vec<u32> = segments.iter().map(|(number, _)| number).collect();
        let mut disk = io.into_disk();
        blocking::drain(&mut disk);
        let opened = crate::open::reopen(&mut disk, segments.superblock, free, &numbers)?;
        Self::recover(disk, &opened, segments.shard, options)
    }

    fn assemble(
        disk: D,
        opened: &Opened,
        mut segments: SegmentTable,
        found: Vec<Found>,
        options: ShardOptions,
    ) -> Result<Self, OpenError> {
        let mut durable_lsn = 0;
        let mut unclosed = Vec::new();
        let mut records = Vec::new();
        let mut sources = Vec::new();
        for Found {
            number,
            head,
            mut entries,
            bitmap,
            unclosed_at,
        } in found
        {
            let lsns = entries.lsns();
            durable_lsn = durable_lsn.max(head.bitmap_lsn).max(*lsns.end());
            segments.expect_mut(number).note_lsns(lsns);
            let of_extent = entries.take_records().into_iter();
            records.extend(of_extent.map(|record| (number, record)));
            segments.expect_mut(number).weigh(entries.weight());
            if let (Some(end), Entries::Scanned(entries)) = (unclosed_at, &entries) {
                unclosed.push((number, end, entries.clone()));
            }
            sources.push(Source {
                segment: number,
                bitmap,
                entries,
            });
        }
        let shard = segments.shard;
        let mut shard = Self {
            io: Io::new(disk),
            options,
            free: opened.free.clone(),
            segments,
            index: Index::default(),
            records: Records::default(),
            log: Log::new(durable_lsn),
            reads: BTreeMap::new(),
            chains: BTreeMap::new(),
            compactor: Compactor::new(opened.free.clone(), shard),
            scrubber: Scrubber::default(),
            replies: VecDeque::new(),
            next_id: 0,
            stopped: false,
            metrics: Metrics::default(),
        };
        shard.build(records, sources)?;
        // Oldest first: if this is cut short, those still open must be the end of the log.
        unclosed.sort_by_key(|(_, _, entries)| entries.iter().map(Entry::lsn).min());
        for (number, end, entries) in unclosed {
            shard.close_recovered(number, end, entries)?;
        }
        shard.free_recovered()?;
        Ok(shard)
    }

    /// Closes an extent that was open, where its scan ended. There is room: the log kept it.
    fn close_recovered(
        &mut self,
        number: u32,
        end: u32,
        mut entries: Vec<Entry>,
    ) -> Result<(), OpenError> {
        if entries.is_empty() {
            // Nothing in it counts; it is freed below.
            self.segments.expect_mut(number).state = SegmentState::Closed;
            return Ok(());
        }
        let bitmap = self.segments.expect_mut(number).bitmap.encode();
        let steps = self.closing_steps(number, end, &mut entries);
        let lsn = self.log.durable_lsn;
        let heads = self
            .segments
            .head_writes(number, SegmentState::Closed, &bitmap, lsn);
        for (location, buffers) in steps.into_iter().chain(heads) {
            blocking::write(
                self.io.disk(),
                location,
                buffers,
                "closing an extent after a crash",
            )?;
        }
        Ok(())
    }

    /// Frees what nothing refers to.
    fn free_recovered(&mut self) -> Result<(), OpenError> {
        let dead = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.is_dead());
        let dead: Vec<u32> = dead.map(|(number, _)| number).collect();
        for number in dead {
            let bitmap = Buffer::zeroed(1);
            let heads = self
                .segments
                .head_writes(number, SegmentState::Free, &bitmap, 0);
            for (location, buffers) in heads {
                blocking::write(self.io.disk(), location, buffers, "freeing a segment")?;
            }
            if let Some(free) = self.segments.take_free(number) {
                self.free.give(free);
            }
        }
        self.segments.maybe_dead.clear();
        Ok(())
    }
}

impl Found {
    fn empty(head: Head) -> Self {
        Self {
            number: head.segment,
            head,
            entries: Entries::Scanned(Vec::new()),
            bitmap: None,
            unclosed_at: None,
        }
    }
}

/// Checks that the index of these entries fits between `end` and the footers. The log keeps that
/// room; an extent without it was not written by it.
fn check_room(
    segments: &SegmentTable,
    segment: u32,
    end: u32,
    entries: &[Entry],
) -> Result<(), OpenError> {
    let bytes: usize = entries.iter().map(Entry::encoded_bytes).sum();
    let room = segments.layout().segment_blocks - FOOTER_BLOCKS - end;
    if bytes.div_ceil(BLOCK_BYTES) > room as usize {
        return Err(OpenError::Damaged {
            segment,
            what: "its batches leave no room for their index",
        });
    }
    Ok(())
}

fn read_footer<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    head: &Head,
) -> Result<Option<Footer>, OpenError> {
    let layout = segments.layout();
    let at = layout.location(head.segment, layout.segment_blocks - FOOTER_BLOCKS);
    let blocks = blocking::read(disk, at, FOOTER_BLOCKS as usize, "reading a footer")?;
    Ok(footer_of(&blocks, segments, head.segment, head.incarnation))
}

/// An extent that has a footer while its head is still that of an open one: a crash came between.
fn read_unclosed<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    head: Head,
    footer: Footer,
) -> Result<Found, OpenError> {
    let at = segments
        .layout()
        .location(head.segment, footer.index_position);
    let read = blocking::read(disk, at, footer.index_blocks(), "reading an index");
    let index = read.and_then(|bytes| {
        decode_index(&footer, &bytes).map_err(|_| merge::unreadable(head.segment))
    });
    // The head follows, with what the index says.
    let entries = match index {
        Ok(entries) => entries,
        Err(error) => without_index(disk, segments, &head, &footer, error)?,
    };
    Ok(Found {
        number: head.segment,
        head,
        entries: Entries::Scanned(entries),
        bitmap: None,
        unclosed_at: Some(footer.index_position),
    })
}

/// What the batches of an extent with an unreadable index say; `error` if they can't make up for it.
fn without_index<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    head: &Head,
    footer: &Footer,
    error: OpenError,
) -> Result<Vec<Entry>, OpenError> {
    scan::entries_without_index(disk, segments, head, footer)?.ok_or(error)
}

fn read_closed<D: Disk>(
    disk: &mut D,
    segments: &SegmentTable,
    segment: &OpenedSegment,
) -> Result<Found, OpenError> {
    let head = segment.head;
    let footer = read_footer(disk, segments, &head)?.ok_or(OpenError::Damaged {
        segment: head.segment,
        what: "both copies of its footer are unreadable",
    })?;
    let entries = match merge::records_of(disk, segments, head.segment, &footer) {
        Ok((records, weight)) => Entries::Index {
            footer,
            records,
            weight,
        },
        Err(error) => Entries::Scanned(without_index(disk, segments, &head, &footer, error)?),
    };
    Ok(Found {
        number: head.segment,
        head,
        entries,
        bitmap: segment.bitmap.as_ref().map(|block| Bitmap::decode(block)),
        unclosed_at: None,
    })
}

/// The footer of a segment's incarnation, from whichever copy in `blocks` is whole.
pub(super) fn footer_of(
    blocks: &[u8],
    segments: &SegmentTable,
    number: u32,
    incarnation: u64,
) -> Option<Footer> {
    let identity = Identity {
        disk: segments.superblock.disk,
        segment: number,
        incarnation,
        shard: segments.shard,
    };
    let footers = blocks.chunks(BLOCK_BYTES);
    let segment_blocks = segments.layout().segment_blocks;
    let footers = footers.filter_map(|block| Footer::decode(block, segment_blocks).ok());
    footers
        .into_iter()
        .find(|footer| footer.identity == identity)
}

/// Data blocks of an entry within its segment.
pub(super) fn data_position(entry: &Entry) -> Option<u32> {
    match entry {
        Entry::Blocks(blocks) => match blocks.kind {
            BlockKind::Data { position, .. } => Some(position),
            BlockKind::Zero | BlockKind::Hole { .. } => None,
        },
        Entry::Record(_) => None,
    }
}
