//! Scrubbing: reads every live block of the closed extents and compares it with its checksum.
//!
//! It repairs nothing: it tells which blocks are bad, and the replica gets them from another.

use super::Shard;
use super::io::Task;
use super::recover::{data_position, footer_of};
use crate::Buffer;
use crate::checksum;
use crate::disk::{Disk, Operation};
use crate::format::{
    BlockEntry, BlockKind, Entry, FOOTER_BLOCKS, Footer, Place, SegmentState, decode_index,
};
use moraine_model::BLOCK_BYTES;
use std::collections::VecDeque;

/// A block that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock {
    /// The chunk that it belongs to.
    pub place: Place,
    /// The block within it.
    pub block: u16,
    /// Where it lies on the disk.
    pub location: u32,
}

/// What a scrub has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Whether all segments were looked at.
    pub finished: bool,
    /// Closed segments that were read.
    pub segments: u64,
    /// Live blocks that were read.
    pub blocks: u64,
    /// Those that are bad.
    pub bad: Vec<BadBlock>,
    /// Segments whose index or footer can't be read. What they hold is still in memory.
    pub unreadable_segments: Vec<u32>,
}

#[derive(Debug)]
enum Step {
    Footer,
    Index(Footer),
    Entry(Box<BlockEntry>),
}

/// The scrub under way.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    waiting: VecDeque<u32>,
    entries: VecDeque<Entry>,
    segment: u32,
    step: Option<Step>,
    running: bool,
    not_before_ms: u64,
    report: ScrubReport,
}

impl<D: Disk> Shard<D> {
    /// Begins to read all extents that are closed now. Goes on with each poll, at the rate set.
    pub fn start_scrub(&mut self) {
        let closed = self
            .segments
            .iter()
            .filter(|(_, s)| s.state == SegmentState::Closed);
        let waiting = closed.map(|(number, _)| number).collect();
        self.scrubber = Scrubber {
            waiting,
            running: true,
            ..Scrubber::default()
        };
    }

    /// What the last scrub has found so far.
    pub fn scrub_report(&self) -> &ScrubReport {
        &self.scrubber.report
    }

    pub(super) fn scrub(&mut self, now_ms: u64) {
        let scrubber = &self.scrubber;
        if !scrubber.running || scrubber.step.is_some() || now_ms < scrubber.not_before_ms {
            return;
        }
        while let Some(entry) = self.scrubber.entries.pop_front() {
            if self.scrub_entry(entry, now_ms) {
                return;
            }
        }
        while let Some(number) = self.scrubber.waiting.pop_front() {
            let closed = |s: &super::segments::Segment| s.state == SegmentState::Closed && !s.busy;
            if !self.segments.get(number).is_some_and(closed) {
                continue;
            }
            let layout = self.layout();
            self.scrubber.segment = number;
            self.scrubber.report.segments += 1;
            let at = layout.location(number, layout.segment_blocks - FOOTER_BLOCKS);
            self.scrub_read(Step::Footer, at, FOOTER_BLOCKS as usize);
            return;
        }
        self.scrubber.running = false;
        self.scrubber.report.finished = true;
    }

    /// Reads the data of an entry if any of it lives.
    fn scrub_entry(&mut self, entry: Entry, now_ms: u64) -> bool {
        let (Some(position), Entry::Blocks(entry)) = (data_position(&entry), entry) else {
            return false;
        };
        let count = u32::from(entry.range.count());
        let Some(segment) = self.segments.get(self.scrubber.segment) else {
            return false;
        };
        if !(position..position + count).any(|block| segment.bitmap.is_live(block)) {
            return false;
        }
        let rate = self.options.scrub_bytes_per_s.max(1);
        let cost_ms = u64::from(count) * BLOCK_BYTES as u64 * 1000 / rate;
        self.scrubber.not_before_ms = self.scrubber.not_before_ms.max(now_ms) + cost_ms;
        let at = self.layout().location(self.scrubber.segment, position);
        self.scrub_read(Step::Entry(Box::new(entry)), at, count as usize);
        true
    }

    fn scrub_read(&mut self, step: Step, location: u32, blocks: usize) {
        self.segments.expect_mut(self.scrubber.segment).readers += 1;
        self.scrubber.step = Some(step);
        let offset = u64::from(location) * BLOCK_BYTES as u64;
        let buffer = self.io.disk().buffer(blocks);
        self.io
            .submit(Task::Scrub, Operation::Read { offset, buffer });
    }

    pub(super) fn scrub_ended(&mut self, operation: Operation, readable: bool) {
        let number = self.scrubber.segment;
        let segment = self.segments.expect_mut(number);
        segment.readers -= 1;
        let incarnation = segment.incarnation;
        self.segments.note_if_dead(number);
        let (Some(step), Operation::Read { buffer, .. }) = (self.scrubber.step.take(), operation)
        else {
            return;
        };
        match step {
            Step::Footer => match footer_of(&buffer, &self.segments, number, incarnation) {
                Some(footer) if readable => {
                    let at = self.layout().location(number, footer.index_position);
                    self.scrub_read(Step::Index(footer), at, footer.index_blocks());
                }
                _ => self.scrubber.report.unreadable_segments.push(number),
            },
            Step::Index(footer) => match decode_index(&footer, &buffer) {
                Ok(entries) if readable => self.scrubber.entries = entries.into(),
                _ => self.scrubber.report.unreadable_segments.push(number),
            },
            Step::Entry(entry) => self.scrub_data(number, &entry, readable.then_some(&buffer)),
        }
    }

    /// Compares data with the checksums of its entry; without data all of it is bad.
    fn scrub_data(&mut self, number: u32, entry: &BlockEntry, data: Option<&Buffer>) {
        let BlockKind::Data {
            position,
            checksums,
        } = &entry.kind
        else {
            return;
        };
        let layout = self.layout();
        let Self {
            segments,
            scrubber,
            metrics,
            ..
        } = self;
        let segment = segments.expect_mut(number);
        for (nth, (block, sum)) in (0_u32..).zip(entry.range.blocks().zip(checksums.iter())) {
            if !segment.bitmap.is_live(position + nth) {
                continue;
            }
            scrubber.report.blocks += 1;
            metrics.scrubbed_blocks += 1;
            let at = nth as usize * BLOCK_BYTES;
            let good = data.is_some_and(|data| checksum(&data[at..at + BLOCK_BYTES]) == *sum);
            if !good {
                segment.damaged = true;
                metrics.corrupt_blocks += 1;
                let location = layout.location(number, position + nth);
                scrubber.report.bad.push(BadBlock {
                    place: entry.place,
                    block,
                    location,
                });
            }
        }
    }
}
