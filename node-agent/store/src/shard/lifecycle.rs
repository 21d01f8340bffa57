//! The life of a segment: taken, filled, closed, freed. Each step is a chain of durable writes, one
//! after another.
//!
//! Taking: head in both copies, and only then the first batch. Closing: all batches durable, then
//! index, footer, head. Freeing: nothing refers to it, then head, then the free list. What a crash
//! between two steps leaves is argued in `docs/format.md`, "Order of writes".

use super::Shard;
use super::io::Task;
use super::log::OpenExtent;
use super::segments::{Segment, Weight};
use crate::disk::{Disk, Operation};
use crate::format::{Entry, Footer, Identity, SegmentState, encode_index, sort_index};
use crate::free_list::Purpose;
use crate::{Buffer, checksum};
use moraine_model::BLOCK_BYTES;
use std::collections::VecDeque;

/// Writes that follow one another, each durable before the next is submitted.
#[derive(Debug)]
pub(super) struct Chain {
    steps: VecDeque<Step>,
    then: Then,
}

/// One write: the location of its first block, and its blocks.
pub(super) type Step = (u32, Vec<Buffer>);

/// What a chain was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// A log extent can be opened.
    Prepared { segment: u32, purpose: Purpose },
    /// A log extent is closed.
    Closed { segment: u32 },
    /// A segment is free.
    Freed { segment: u32 },
    /// A scratch extent can be filled.
    ScratchReady,
    /// A scratch extent is public.
    Published,
}

impl<D: Disk> Shard<D> {
    pub(super) fn start_chain(&mut self, steps: impl IntoIterator<Item = Step>, then: Then) {
        let id = self.next_id;
        self.next_id += 1;
        let chain = Chain {
            steps: steps.into_iter().collect(),
            then,
        };
        self.chains.insert(id, chain);
        self.next_step(id);
    }

    fn next_step(&mut self, id: u64) {
        let Some(chain) = self.chains.get_mut(&id) else {
            return;
        };
        if let Some((location, buffers)) = chain.steps.pop_front() {
            let offset = u64::from(location) * BLOCK_BYTES as u64;
            self.metrics.overhead_blocks += buffers
                .iter()
                .map(|buffer| buffer.blocks() as u64)
                .sum::<u64>();
            self.io
                .submit(Task::Chain(id), Operation::Write { offset, buffers });
            return;
        }
        let Some(chain) = self.chains.remove(&id) else {
            return;
        };
        match chain.then {
            Then::Prepared { segment, purpose } => {
                self.log.spare = Some((segment, purpose));
                self.log.preparing = None;
            }
            Then::Closed { segment } => {
                self.segments.settle(segment);
            }
            Then::Freed { segment } => {
                if let Some(free) = self.segments.take_free(segment) {
                    self.free.give(free);
                    self.metrics.freed_segments += 1;
                    self.free_list_changed();
                }
            }
            Then::ScratchReady => self.scratch_ready(),
            Then::Published => self.published(),
        }
    }

    pub(super) fn chain_ended(&mut self, id: u64, durable: bool) {
        if durable {
            self.next_step(id);
        } else {
            self.stop();
        }
    }

    /// Whether a segment is being freed.
    pub(super) fn is_freeing(&self) -> bool {
        self.chains
            .values()
            .any(|chain| matches!(chain.then, Then::Freed { .. }))
    }

    /// Whether an extent is being closed: it may be cleaned or freed then.
    pub(super) fn chains_closing(&self) -> bool {
        self.chains
            .values()
            .any(|chain| matches!(chain.then, Then::Closed { .. }))
    }

    /// Takes a segment from the free list and gives it a head.
    pub(super) fn take_segment(
        &mut self,
        purpose: Purpose,
        state: SegmentState,
    ) -> Option<(u32, [Step; 2])> {
        self.free_list_changed();
        let free = self.free.take(purpose)?;
        let segment = Segment::new(state, free.incarnation + 1, free.head_sequence);
        self.segments.insert(free.number, segment);
        let steps = self
            .segments
            .head_writes(free.number, state, &Buffer::zeroed(1), 0);
        Some((free.number, steps))
    }

    /// Begins to prepare the next log extent; false if no segment may be taken.
    pub(super) fn prepare(&mut self, purpose: Purpose) -> bool {
        let Some((segment, steps)) = self.take_segment(purpose, SegmentState::Log) else {
            return false;
        };
        self.log.preparing = Some(purpose);
        self.start_chain(steps, Then::Prepared { segment, purpose });
        true
    }

    /// Closes the oldest filled extent. One after another: so those not closed are the newest of
    /// the log, and recovery can tell from their LSNs whether a batch is missing.
    pub(super) fn close_extents(&mut self) {
        while !self.chains_closing()
            && self
                .log
                .filled
                .first()
                .is_some_and(|extent| extent.batches_in_flight == 0)
        {
            let OpenExtent {
                segment,
                position,
                mut entries,
                ..
            } = self.log.filled.remove(0);
            let steps = self.closing_steps(segment, position, &mut entries);
            let closing = self.segments.expect_mut(segment);
            closing.busy = true;
            closing.persisted_live = closing.bitmap.live();
            let bitmap = closing.bitmap.encode();
            let lsn = self.log.durable_lsn;
            let heads = self
                .segments
                .head_writes(segment, SegmentState::Closed, &bitmap, lsn);
            self.start_chain(steps.into_iter().chain(heads), Then::Closed { segment });
        }
    }

    /// Index and footer of an extent whose index starts at `position`.
    pub(super) fn closing_steps(
        &mut self,
        number: u32,
        position: u32,
        entries: &mut [Entry],
    ) -> Vec<Step> {
        let layout = self.layout();
        self.segments.expect_mut(number).weigh(Weight::of(entries));
        let identity = Identity {
            disk: self.segments.superblock.disk,
            segment: number,
            incarnation: self.segments.expect_mut(number).incarnation,
            shard: self.segments.shard,
        };
        let (index, footer) = index_and_footer(identity, position, entries);
        let footer_at = layout.location(number, layout.segment_blocks - 2);
        let mut steps = Vec::new();
        if index.blocks() > 0 {
            let end = position as usize + index.blocks();
            assert!(
                end <= layout.segment_blocks as usize - 2,
                "the index overruns its segment"
            );
            steps.push((layout.location(number, position), vec![index]));
        }
        let footer = footer.encode();
        steps.push((
            footer_at,
            vec![Buffer::copy_of(&footer), Buffer::copy_of(&footer)],
        ));
        steps
    }

    /// Writes the bitmaps of closed extents that have changed, so that the next recovery skips what
    /// is dead: for a clean stop, or once in a while. Only durable batches have cleared bits.
    pub fn checkpoint(&mut self) {
        if self.stopped {
            return;
        }
        let changed: Vec<u32> = self
            .segments
            .iter()
            .filter(|(_, s)| s.state == SegmentState::Closed && !s.busy)
            .filter(|(_, s)| s.bitmap.live() < s.persisted_live)
            .map(|(number, _)| number)
            .collect();
        for number in changed {
            let segment = self.segments.expect_mut(number);
            segment.busy = true;
            segment.persisted_live = segment.bitmap.live();
            let bitmap = segment.bitmap.encode();
            let lsn = self.log.durable_lsn;
            let heads = self
                .segments
                .head_writes(number, SegmentState::Closed, &bitmap, lsn);
            self.start_chain(heads, Then::Closed { segment: number });
        }
    }

    /// Begins to free closed segments that nothing refers to and nobody reads.
    pub(super) fn free_dead_segments(&mut self) {
        for number in std::mem::take(&mut self.segments.maybe_dead) {
            let Some(segment) = self.segments.get(number) else {
                continue;
            };
            let closed = segment.state == SegmentState::Closed && !segment.busy;
            if closed && segment.is_dead() && segment.readers == 0 {
                self.segments.expect_mut(number).busy = true;
                let bitmap = Buffer::zeroed(1);
                let steps = self
                    .segments
                    .head_writes(number, SegmentState::Free, &bitmap, 0);
                self.start_chain(steps, Then::Freed { segment: number });
            }
        }
    }
}

/// The index of these entries, which get sorted, and the footer for it.
pub(super) fn index_and_footer(
    identity: Identity,
    position: u32,
    entries: &mut [Entry],
) -> (Buffer, Footer) {
    sort_index(entries);
    let index = encode_index(entries);
    let footer = Footer {
        identity,
        index_position: position,
        index_bytes: u32::try_from(index.len()).expect("an index fits its segment"),
        index_checksum: checksum(&index),
        entries: u32::try_from(entries.len()).expect("an index fits its segment"),
        lsn_min: entries.iter().map(Entry::lsn).min().unwrap_or(u64::MAX),
        lsn_max: entries.iter().map(Entry::lsn).max().unwrap_or(0),
    };
    (Buffer::copy_of(&index), footer)
}
