//! Compaction: what lives in mostly dead extents is copied into a scratch extent, which is then
//! published at once, and the sources are freed.
//!
//! Order: data, index, footer, head from scratch to closed, and only then does the index in memory
//! refer to the copies. A crash before the head leaves the sources, one after it leaves both with
//! equal LSNs. A copy whose original died meanwhile is dead on arrival. Sources go when nothing
//! refers to them, by the same rule as any closed extent.

mod gather;

use super::Shard;
use super::io::Task;
use super::lifecycle::Then;
use super::recover::{data_position, footer_of};
use crate::disk::{Disk, Operation};
use crate::format::{
    BlockEntry, BlockKind, Entry, FOOTER_BLOCKS, Footer, HEAD_BLOCKS, Place, RecordEntry,
    SegmentState, decode_index,
};
use crate::free_list::Purpose;
use crate::index::layer::{PieceKind, Relocation};
use crate::{Buffer, checksum};
use moraine_model::{BLOCK_BYTES, Cut};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Blocks copied by one read and one write.
const COPY_BLOCKS: u32 = 256;
/// How long a look at the list of free segments will do.
const FREE_SEEN_MS: u64 = 10;
/// Sources of one compaction at most.
const SOURCES_MAX: usize = 64;

/// A copy that the index will refer to.
#[derive(Debug)]
struct Move {
    place: Place,
    cut: Cut,
    relocation: Relocation,
}

/// Data to copy: an entry for it, and where it is.
#[derive(Debug)]
struct Item {
    entry: BlockEntry,
    location: u32,
}

#[derive(Debug)]
enum Step {
    /// The scratch extent's head is being written.
    Head,
    Footer,
    Index(Footer),
    Read(Vec<Item>),
    Write(Vec<Item>),
    /// Index, footer and head of the scratch extent are being written.
    Publish,
}

/// A compaction under way.
#[derive(Debug)]
struct Job {
    scratch: u32,
    /// The next block of the scratch extent.
    position: u32,
    index_bytes: usize,
    sources: VecDeque<u32>,
    all_sources: Vec<u32>,
    source: u32,
    entries: VecDeque<Entry>,
    items: VecDeque<Item>,
    copied: Vec<Entry>,
    moves: Vec<Move>,
    records: Vec<RecordEntry>,
    step: Option<Step>,
    full: bool,
}

/// The compaction of a shard.
#[derive(Debug, Default)]
pub(super) struct Compactor {
    job: Option<Box<Job>>,
    not_before_ms: u64,
    wanted: bool,
    /// How many segments were free, and until when that will do. The list is behind the one lock
    /// that shards share, and this is asked at every poll.
    free_seen: usize,
    look_again_ms: u64,
}

impl<D: Disk> Shard<D> {
    /// Compacts at the next opportunity, however much is free.
    pub fn request_compaction(&mut self) {
        self.compactor.wanted = true;
    }

    /// Whether waiting may bring space: something is being freed, or can be.
    pub(super) fn space_may_come(&self) -> bool {
        self.is_freeing()
            || !self.segments.maybe_dead.is_empty()
            || self.compactor.job.is_some()
            || self.log.filled.iter().len() > 0
            || self.chains_closing()
            || (!self.choose_sources().is_empty() && !self.free.is_empty())
    }

    /// Goes on with compaction, or begins one if space is short.
    pub(super) fn compact(&mut self, now_ms: u64) {
        let free = self.free_seen(now_ms);
        match &self.compactor.job {
            Some(job) if job.step.is_none() => {
                let urgent = free <= self.free.reserve(Purpose::Data);
                if urgent || now_ms >= self.compactor.not_before_ms {
                    self.compaction_step(now_ms);
                }
            }
            Some(_) => {}
            None => {
                let low = self.free.reserve(Purpose::Data) + 2 * self.layout().shards as usize;
                let low = low.max(self.layout().segments as usize / 8);
                if self.compactor.wanted || free <= low {
                    self.compactor.wanted = false;
                    self.start_compaction();
                }
            }
        }
    }

    fn free_seen(&mut self, now_ms: u64) -> usize {
        if now_ms >= self.compactor.look_again_ms {
            self.compactor.look_again_ms = now_ms.saturating_add(FREE_SEEN_MS);
            self.compactor.free_seen = self.free.len();
        }
        self.compactor.free_seen
    }

    /// The shard has asked the list of free segments for one, or given one back.
    pub(super) fn free_list_changed(&mut self) {
        self.compactor.look_again_ms = 0;
    }

    /// Closed extents worth compacting, best first: `(1 - u) * age / (1 + u)`, where age is how
    /// much of the log came after the extent.
    fn choose_sources(&self) -> Vec<u32> {
        let room = u64::from(self.layout().segment_blocks - HEAD_BLOCKS - FOOTER_BLOCKS);
        let mut ranked: Vec<(u64, u32)> = Vec::new();
        let mut gain = 0;
        for (number, segment) in self.segments.iter() {
            let idle = !segment.busy && !segment.damaged;
            if segment.state != SegmentState::Closed || !idle || segment.is_dead() {
                continue;
            }
            let live = u64::from(segment.bitmap.live()).min(room);
            let dead = room - live;
            // Less than a sixteenth: index and headers alone look like garbage, and the copy has
            // them too.
            if dead * 16 < room {
                continue;
            }
            gain += dead;
            let age = 1 + self.log.durable_lsn.saturating_sub(segment.lsn_max);
            ranked.push((
                dead.saturating_mul(1000).saturating_mul(age) / (room + live),
                number,
            ));
        }
        // All of it together must give back a segment, or copying would only turn in circles.
        if gain < room + room / 8 {
            return Vec::new();
        }
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked
            .into_iter()
            .take(SOURCES_MAX)
            .map(|(_, number)| number)
            .collect()
    }

    fn start_compaction(&mut self) {
        let sources = self.choose_sources();
        if sources.is_empty() {
            return;
        }
        let taken = self.take_segment(Purpose::Compaction, SegmentState::Scratch);
        let Some((scratch, steps)) = taken else {
            return;
        };
        for &source in &sources {
            self.segments.expect_mut(source).busy = true;
        }
        self.segments.expect_mut(scratch).busy = true;
        self.compactor.job = Some(Box::new(Job {
            scratch,
            position: HEAD_BLOCKS,
            index_bytes: 0,
            all_sources: sources.clone(),
            sources: sources.into(),
            source: 0,
            entries: VecDeque::new(),
            items: VecDeque::new(),
            copied: Vec::new(),
            moves: Vec::new(),
            records: Vec::new(),
            step: Some(Step::Head),
            full: false,
        }));
        self.start_chain(steps, Then::ScratchReady);
    }

    pub(super) fn scratch_ready(&mut self) {
        if let Some(job) = &mut self.compactor.job {
            job.step = None;
        }
    }

    /// The next thing to do: copy what was found, look through entries, open the next source, or
    /// publish.
    fn compaction_step(&mut self, now_ms: u64) {
        let Some(mut job) = self.compactor.job.take() else {
            return;
        };
        self.gather(&mut job);
        if job.items.is_empty() {
            match job.sources.pop_front() {
                Some(source) if !job.full => self.read_footer_of(&mut job, source),
                _ => self.close_scratch(&mut job),
            }
        } else {
            self.copy_some(&mut job, now_ms);
        }
        self.compactor.job = Some(job);
    }

    fn read_footer_of(&mut self, job: &mut Job, source: u32) {
        job.source = source;
        let layout = self.layout();
        let at = layout.location(source, layout.segment_blocks - FOOTER_BLOCKS);
        self.read_for(job, Step::Footer, at, FOOTER_BLOCKS);
    }

    fn read_for(&mut self, job: &mut Job, step: Step, location: u32, blocks: u32) {
        job.step = Some(step);
        let offset = u64::from(location) * BLOCK_BYTES as u64;
        let buffer = self.io.disk().buffer(blocks as usize);
        self.io
            .submit(Task::Compaction, Operation::Read { offset, buffer });
    }

    /// Reads the next data that lies together.
    fn copy_some(&mut self, job: &mut Job, now_ms: u64) {
        let mut items: Vec<Item> = Vec::new();
        let mut blocks: u32 = 0;
        while let Some(item) = job.items.front() {
            let count = u32::from(item.entry.range.count());
            let follows = items
                .first()
                .is_none_or(|first| item.location == first.location + blocks);
            if !follows || (blocks > 0 && blocks + count > 2 * COPY_BLOCKS) {
                break;
            }
            blocks += count;
            items.extend(job.items.pop_front());
        }
        let Some(location) = items.first().map(|item| item.location) else {
            return;
        };
        let rate = self.options.compaction_bytes_per_s.max(1);
        let cost_ms = u64::from(blocks) * BLOCK_BYTES as u64 * 1000 / rate;
        self.compactor.not_before_ms = self.compactor.not_before_ms.max(now_ms) + cost_ms;
        self.read_for(job, Step::Read(items), location, blocks);
    }

    pub(super) fn compaction_ended(&mut self, operation: Operation, readable: bool) {
        let Some(mut job) = self.compactor.job.take() else {
            return;
        };
        match (job.step.take(), operation) {
            (Some(Step::Write(items)), _) => {
                if !readable {
                    self.stop();
                    return;
                }
                self.copied(&mut job, items);
            }
            (Some(Step::Footer), Operation::Read { buffer, .. }) => {
                self.footer_read(&mut job, &buffer, readable);
            }
            (Some(Step::Index(footer)), Operation::Read { buffer, .. }) => {
                match decode_index(&footer, &buffer) {
                    Ok(entries) if readable => {
                        job.entries = entries.into();
                        // In the order of the disk, so that what lies together is read together.
                        // Zeros and holes come first, the newest before the others: of two with
                        // one tag the older may be taken for the newer, and must not be the last
                        // that a full scratch extent takes.
                        job.entries
                            .make_contiguous()
                            .sort_by_key(|entry| (data_position(entry), Reverse(entry.lsn())));
                    }
                    _ => self.segments.expect_mut(job.source).damaged = true,
                }
            }
            (Some(Step::Read(items)), Operation::Read { buffer, .. }) => {
                self.data_read(&mut job, items, buffer, readable);
            }
            (step, _) => job.step = step,
        }
        self.compactor.job = Some(job);
    }

    fn footer_read(&mut self, job: &mut Job, blocks: &Buffer, readable: bool) {
        let source = job.source;
        let incarnation = self.segments.expect_mut(source).incarnation;
        match footer_of(blocks, &self.segments, source, incarnation) {
            Some(footer) if readable && footer.index_bytes > 0 => {
                let at = self.layout().location(source, footer.index_position);
                let count = u32::try_from(footer.index_blocks()).unwrap_or(0);
                self.read_for(job, Step::Index(footer), at, count);
            }
            // What can't be read can't be moved; the extent stays as it is.
            _ => self.segments.expect_mut(source).damaged = true,
        }
    }

    /// Writes what was read, if it is what was once written.
    fn data_read(&mut self, job: &mut Job, items: Vec<Item>, buffer: Buffer, readable: bool) {
        let sums = items.iter().flat_map(|item| match &item.entry.kind {
            BlockKind::Data { checksums, .. } => &**checksums,
            BlockKind::Zero | BlockKind::Hole { .. } => &[],
        });
        let bad = buffer
            .chunks(BLOCK_BYTES)
            .zip(sums)
            .filter(|(b, sum)| checksum(b) != **sum);
        let bad = bad.count() as u64;
        if !readable || bad > 0 {
            self.metrics.corrupt_blocks += bad;
            self.metrics.read_failures += u64::from(!readable);
            self.segments.expect_mut(job.source).damaged = true;
            // The rest of the extent stays too: it can't be freed anyway.
            job.entries.clear();
            job.items.clear();
            return;
        }
        let offset = self.layout().offset(job.scratch, job.position);
        self.metrics.compacted_blocks += buffer.blocks() as u64;
        job.step = Some(Step::Write(items));
        let write = Operation::Write {
            offset,
            buffers: vec![buffer],
        };
        self.io.submit(Task::Compaction, write);
    }

    /// Notes where the copies lie.
    fn copied(&mut self, job: &mut Job, items: Vec<Item>) {
        for Item {
            mut entry,
            location: from,
        } in items
        {
            let BlockKind::Data { position, .. } = &mut entry.kind else {
                continue;
            };
            *position = job.position;
            let to = self.layout().location(job.scratch, job.position);
            job.position += u32::from(entry.range.count());
            let range = entry.range;
            let relocation = Relocation {
                range,
                kind: PieceKind::Data,
                from,
                to,
                stamp: entry.tag.stamp,
                epoch: entry.tag.epoch,
            };
            job.moves.push(Move {
                place: entry.place,
                cut: entry.tag.cut,
                relocation,
            });
            job.copied.push(Entry::Blocks(entry));
        }
    }

    fn close_scratch(&mut self, job: &mut Job) {
        for entry in &job.copied {
            self.segments.expect_mut(job.scratch).note_lsn(entry.lsn());
        }
        let mut entries = std::mem::take(&mut job.copied);
        let steps = self.closing_steps(job.scratch, job.position, &mut entries);
        // What dies before the head is written is still live in this bitmap: only a hint.
        let bitmap = Buffer::copy_of(&[0xff; BLOCK_BYTES]);
        let heads = self
            .segments
            .head_writes(job.scratch, SegmentState::Closed, &bitmap, 0);
        job.step = Some(Step::Publish);
        self.start_chain(steps.into_iter().chain(heads), Then::Published);
    }

    /// The scratch extent is durable and public: the index goes over to it.
    pub(super) fn publish(&mut self) {
        let Some(job) = self.compactor.job.take() else {
            return;
        };
        for Move {
            place,
            cut,
            relocation,
        } in &job.moves
        {
            let Self {
                index, segments, ..
            } = self;
            let layer = index
                .chunk_mut(*place)
                .and_then(|chunk| chunk.layer_mut(*cut));
            let Some(layer) = layer else { continue };
            layer.relocate(relocation, |range| {
                segments.moved(relocation, range);
            });
        }
        for record in &job.records {
            let known = self
                .records
                .get_mut(&record.key)
                .filter(|known| known.lsn == record.lsn);
            if let Some(known) = known {
                let before = std::mem::replace(&mut known.segment, job.scratch);
                self.segments.acquire_record(job.scratch);
                self.segments.release_record(before);
            }
        }
        self.metrics.compactions += 1;
        for number in job.all_sources.into_iter().chain([job.scratch]) {
            self.segments.expect_mut(number).busy = false;
            self.segments.note_if_dead(number);
        }
    }
}
