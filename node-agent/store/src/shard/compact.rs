//! Compaction: what lives in mostly dead extents is copied into a scratch extent, which is then
//! published at once, and the sources are freed.
//!
//! Order: data, index, footer, head from scratch to closed, and only then does the index in memory
//! refer to the copies. A crash before the head leaves the sources, one after it leaves both with
//! equal LSNs. A copy whose original died meanwhile is dead on arrival. Sources go when nothing
//! refers to them, by the same rule as any closed extent; until all copies are referred to, they
//! and the scratch extent are busy.
//!
//! Here is the course of one compaction, in small steps, so that no poll is long. Which extents it
//! takes is in `choose.rs`, how fast it goes in `pace.rs`, what it copies in `gather.rs`, and how
//! in `copy.rs`.

mod choose;
mod copy;
mod gather;
mod pace;

use super::Shard;
use super::io::Task;
use super::lifecycle::Then;
use super::recover::{data_position, footer_of};
use crate::Buffer;
use crate::disk::{Disk, Operation};
use crate::format::{
    BlockEntry, Entry, FOOTER_BLOCKS, Footer, HEAD_BLOCKS, Place, RecordEntry, SegmentState,
    decode_index,
};
use crate::free_list::{FreeList, Pledge, Purpose};
use crate::index::layer::Relocation;
use choose::Look;
use copy::Round;
use moraine_model::{BLOCK_BYTES, Cut};
use pace::Pace;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a look at the list of free segments will do.
const FREE_SEEN_MS: u64 = 10;
/// Copies that the index goes over to in one poll.
const MOVES_AT_ONCE: usize = 512;

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
    Read(Round),
    Write(Vec<Item>),
    /// Index, footer and head of the scratch extent are being written.
    Publish,
    /// The index goes over to the copies.
    Move,
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
    /// The least LSN that any segment but the source holds. No older one can come while this
    /// compaction runs, for only compaction writes old entries.
    others_lsn: u64,
    entries: VecDeque<Entry>,
    items: VecDeque<Item>,
    copied: Vec<Entry>,
    moves: VecDeque<Move>,
    records: Vec<RecordEntry>,
    step: Option<Step>,
    full: bool,
}

/// The compaction of a shard.
#[derive(Debug)]
pub(super) struct Compactor {
    job: Option<Box<Job>>,
    wanted: bool,
    /// Something is left to do that waits neither for the disk nor for time.
    work_left: bool,
    look: Look,
    pace: Pace,
    pledge: Pledge,
    /// How many segments were free, and until when that will do. The list is behind the one lock
    /// that shards share, and this is asked at every poll.
    free_seen: usize,
    look_again_ms: u64,
}

impl Compactor {
    pub(super) fn new(free: Arc<FreeList>, shard: u32) -> Self {
        Self {
            job: None,
            wanted: false,
            work_left: false,
            look: Look::default(),
            pace: Pace::default(),
            pledge: Pledge::new(free, shard),
            free_seen: 0,
            look_again_ms: 0,
        }
    }

    /// Whether it waits for nothing but the next poll.
    pub(super) fn has_work(&self) -> bool {
        self.work_left
    }

    pub(super) fn is_running(&self) -> bool {
        self.job.is_some()
    }

    /// The shard has stopped: nobody may wait for it.
    pub(super) fn stop(&mut self) {
        self.work_left = false;
        self.pledge.set(false);
    }
}

impl<D: Disk> Shard<D> {
    /// Compacts at the next opportunity, however much is free.
    pub fn request_compaction(&mut self) {
        self.compactor.wanted = true;
    }

    /// Whether waiting may bring space: something is being freed here or can be, or another shard
    /// says so of itself.
    pub(super) fn space_may_come(&self) -> bool {
        self.may_give(self.free.len()) || self.compactor.pledge.others_may_give()
    }

    /// Whether this shard gives segments back, or can with `free` segments to begin with.
    fn may_give(&self, free: usize) -> bool {
        self.is_freeing()
            || !self.segments.maybe_dead.is_empty()
            || self.compactor.is_running()
            || self.log.filled.iter().len() > 0
            || self.chains_closing()
            || (self.has_sources() && free > 0)
    }

    /// Goes on with compaction, or begins one if space is short.
    pub(super) fn compact(&mut self, now_ms: u64) {
        self.compactor.work_left = false;
        self.look_at_free_list(now_ms);
        self.look_for_sources();
        self.keep_pace();
        match self.compactor.job.as_ref().map(|job| &job.step) {
            Some(Some(Step::Move)) => self.move_some(),
            Some(None) => {
                if self.may_copy(now_ms) {
                    self.compaction_step(now_ms);
                }
            }
            Some(Some(_)) => {}
            None => {
                if self.compactor.wanted || self.space_is_low() {
                    self.compactor.wanted = false;
                    self.start_compaction();
                }
            }
        }
        let may_give = self.may_give(self.compactor.free_seen);
        self.compactor.pledge.set(may_give);
    }

    fn look_at_free_list(&mut self, now_ms: u64) {
        if now_ms >= self.compactor.look_again_ms {
            self.compactor.look_again_ms = now_ms.saturating_add(FREE_SEEN_MS);
            self.compactor.free_seen = self.free.len();
        }
    }

    /// The shard has asked the list of free segments for one, or given one back.
    pub(super) fn free_list_changed(&mut self) {
        self.compactor.look_again_ms = 0;
    }

    fn start_compaction(&mut self) {
        if !self.has_sources() {
            return;
        }
        let choice = self.choose_sources();
        if choice.sources.is_empty() {
            self.note_fruitless();
            return;
        }
        let taken = self.take_segment(Purpose::Compaction, SegmentState::Scratch);
        let Some((scratch, steps)) = taken else {
            return;
        };
        for &source in &choice.sources {
            self.segments.expect_mut(source).busy = true;
        }
        self.segments.expect_mut(scratch).busy = true;
        self.begin_pace(&choice);
        self.compactor.job = Some(Box::new(Job {
            scratch,
            position: HEAD_BLOCKS,
            index_bytes: 0,
            all_sources: choice.sources.clone(),
            sources: choice.sources.into(),
            source: 0,
            others_lsn: 0,
            entries: VecDeque::new(),
            items: VecDeque::new(),
            copied: Vec::new(),
            moves: VecDeque::new(),
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

    /// The next thing to do: look through entries, copy what was found, open the next source, or
    /// publish.
    fn compaction_step(&mut self, now_ms: u64) {
        let Some(mut job) = self.compactor.job.take() else {
            return;
        };
        let enough = self.gather(&mut job);
        if !enough {
            self.compactor.work_left = true;
        } else if !job.items.is_empty() {
            self.copy_some(&mut job, now_ms);
        } else {
            match job.sources.pop_front() {
                Some(source) if !job.full => self.read_footer_of(&mut job, source),
                _ => self.close_scratch(&mut job),
            }
        }
        self.compactor.job = Some(job);
    }

    fn read_footer_of(&mut self, job: &mut Job, source: u32) {
        job.source = source;
        let others = self.segments.iter().filter(|(number, _)| *number != source);
        let others = others.map(|(_, segment)| segment.lsn_min);
        job.others_lsn = others.min().unwrap_or(u64::MAX);
        let layout = self.layout();
        let at = layout.location(source, layout.segment_blocks - FOOTER_BLOCKS);
        job.step = Some(Step::Footer);
        self.read_for_compaction(at, FOOTER_BLOCKS);
    }

    fn read_for_compaction(&mut self, location: u32, blocks: u32) {
        let offset = u64::from(location) * BLOCK_BYTES as u64;
        let buffer = self.io.disk().buffer(blocks as usize);
        self.io
            .submit(Task::Compaction, Operation::Read { offset, buffer });
    }

    pub(super) fn compaction_ended(&mut self, operation: Operation, done: bool) {
        let Some(mut job) = self.compactor.job.take() else {
            return;
        };
        match (job.step.take(), operation) {
            (Some(Step::Write(items)), _) => {
                if !done {
                    self.stop();
                    return;
                }
                self.copied(&mut job, items);
            }
            (Some(Step::Footer), Operation::Read { buffer, .. }) => {
                self.footer_read(&mut job, &buffer, done);
            }
            (Some(Step::Index(footer)), Operation::Read { buffer, .. }) => {
                match decode_index(&footer, &buffer) {
                    Ok(entries) if done => take_entries(&mut job, entries),
                    _ => self.segments.expect_mut(job.source).damaged = true,
                }
            }
            (Some(Step::Read(round)), Operation::Read { offset, buffer }) => {
                self.span_read(&mut job, round, (offset, buffer), done);
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
                job.step = Some(Step::Index(footer));
                self.read_for_compaction(at, count);
            }
            // What can't be read can't be moved; the extent stays as it is.
            _ => self.segments.expect_mut(source).damaged = true,
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

    /// The scratch extent is durable and public: the index may go over to it.
    pub(super) fn published(&mut self) {
        self.metrics.compactions += 1;
        if let Some(job) = &mut self.compactor.job {
            job.step = Some(Step::Move);
            self.compactor.work_left = true;
        }
    }

    /// Lets the index go over to the next copies, and ends the compaction behind the last.
    fn move_some(&mut self) {
        let Some(mut job) = self.compactor.job.take() else {
            return;
        };
        let count = job.moves.len().min(MOVES_AT_ONCE);
        for moved in job.moves.drain(..count) {
            let Self {
                index, segments, ..
            } = self;
            let layer = index
                .chunk_mut(moved.place)
                .and_then(|chunk| chunk.layer_mut(moved.cut));
            let Some(layer) = layer else { continue };
            layer.relocate(&moved.relocation, |range| {
                segments.moved(&moved.relocation, range);
            });
        }
        if job.moves.is_empty() {
            self.end_compaction(*job);
        } else {
            self.compactor.work_left = true;
            self.compactor.job = Some(job);
        }
    }

    fn end_compaction(&mut self, job: Job) {
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
        self.segments.expect_mut(job.scratch).zeros_are_whole();
        for number in job.all_sources.into_iter().chain([job.scratch]) {
            self.segments.settle(number);
        }
        // Sources are freed, and the next compaction may begin, with the next poll.
        self.compactor.work_left = true;
    }
}

fn take_entries(job: &mut Job, entries: Vec<Entry>) {
    job.entries = entries.into();
    // In the order of the disk, so that what lies together is read together. Zeros and holes come
    // first, the newest before the others: of two with one tag the older may be taken for the
    // newer, and must not be the last that a full scratch extent takes.
    job.entries
        .make_contiguous()
        .sort_by_key(|entry| (data_position(entry), Reverse(entry.lsn())));
}
