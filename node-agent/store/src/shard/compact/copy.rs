//! Copying: a round reads what lives, in a few reads at once, and writes it behind what the scratch
//! extent holds. A block that is not what was written is not copied.

use super::super::Shard;
use super::super::io::Task;
use super::{Item, Job, Move, Step};
use crate::disk::{Disk, Operation};
use crate::format::{BlockKind, Entry};
use crate::index::layer::{PieceKind, Relocation};
use crate::{Buffer, checksum};
use moraine_model::BLOCK_BYTES;

/// Blocks that a round copies; one write alone may have more.
pub(super) const ROUND_BLOCKS: u32 = 128;
/// Dead blocks that are read along rather than read around.
const GAP_BLOCKS: u32 = 16;
/// Reads of a round at most: foreground requests share the disk's queue with them.
const SPANS_MAX: usize = 8;

/// Blocks that are read at once.
#[derive(Debug)]
struct Span {
    location: u32,
    blocks: u32,
    buffer: Option<Buffer>,
}

/// What is being read, to be written by one write.
#[derive(Debug)]
pub(super) struct Round {
    items: Vec<Item>,
    spans: Vec<Span>,
    failed: bool,
}

impl Round {
    /// Takes as many of the items, which are in the order of the disk, as make a round.
    fn take(items: &mut std::collections::VecDeque<Item>) -> Self {
        let mut round = Self {
            items: Vec::new(),
            spans: Vec::new(),
            failed: false,
        };
        let mut blocks = 0;
        while let Some(item) = items.front() {
            let count = u32::from(item.entry.range.count());
            if blocks > 0 && blocks + count > ROUND_BLOCKS {
                break;
            }
            let spans = round.spans.len();
            let near = round.spans.last_mut().filter(|span| {
                let end = span.location + span.blocks;
                item.location >= end && item.location - end <= GAP_BLOCKS
            });
            match near {
                Some(span) => span.blocks = item.location + count - span.location,
                None if spans == SPANS_MAX => break,
                None => round.spans.push(Span {
                    location: item.location,
                    blocks: count,
                    buffer: None,
                }),
            }
            blocks += count;
            round.items.extend(items.pop_front());
        }
        round
    }

    fn blocks(&self) -> u32 {
        let items = self.items.iter();
        items.map(|item| u32::from(item.entry.range.count())).sum()
    }

    /// The bytes of an item, when all is read.
    fn data(&self, item: &Item) -> &[u8] {
        let span = self
            .spans
            .iter()
            .find(|span| (span.location..span.location + span.blocks).contains(&item.location));
        let bytes = span.and_then(|span| {
            let start = (item.location - span.location) as usize * BLOCK_BYTES;
            span.buffer
                .as_ref()?
                .get(start..start + item.entry.range.bytes())
        });
        bytes.unwrap_or_default()
    }

    /// How many blocks are not what was once written.
    fn bad_blocks(&self) -> u64 {
        let bad = self.items.iter().map(|item| {
            let BlockKind::Data { checksums, .. } = &item.entry.kind else {
                return 0;
            };
            let blocks = self.data(item).chunks(BLOCK_BYTES);
            let good = blocks
                .zip(checksums.iter())
                .filter(|(b, sum)| checksum(b) == **sum);
            checksums.len() - good.count()
        });
        bad.sum::<usize>() as u64
    }

    /// All data in one piece.
    fn join(&mut self, mut buffer: impl FnMut(usize) -> Buffer) -> Buffer {
        if let [span] = self.spans.as_mut_slice()
            && let Some(buffer) = span.buffer.take_if(|_| {
                let live = self
                    .items
                    .iter()
                    .map(|item| u32::from(item.entry.range.count()));
                live.sum::<u32>() == span.blocks
            })
        {
            return buffer;
        }
        let mut joined = buffer(self.blocks() as usize);
        let mut at = 0;
        for item in &self.items {
            let data = self.data(item);
            joined[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        joined
    }
}

impl<D: Disk> Shard<D> {
    /// Begins to read the next round.
    pub(super) fn copy_some(&mut self, job: &mut Job, now_ms: u64) {
        let round = Round::take(&mut job.items);
        self.note_copy(round.blocks(), now_ms);
        for span in &round.spans {
            self.read_for_compaction(span.location, span.blocks);
        }
        job.step = Some(Step::Read(round));
    }

    /// One read of a round has ended; the last one lets it be written.
    pub(super) fn span_read(
        &mut self,
        job: &mut Job,
        mut round: Round,
        (offset, buffer): (u64, Buffer),
        readable: bool,
    ) {
        round.failed |= !readable;
        let mut spans = round.spans.iter_mut();
        let span = spans.find(|span| u64::from(span.location) * BLOCK_BYTES as u64 == offset);
        if let Some(span) = span {
            span.buffer = Some(buffer);
        }
        if round.spans.iter().any(|span| span.buffer.is_none()) {
            job.step = Some(Step::Read(round));
            return;
        }
        let bad = if round.failed { 0 } else { round.bad_blocks() };
        if round.failed || bad > 0 {
            self.metrics.corrupt_blocks += bad;
            self.metrics.read_failures += u64::from(round.failed);
            self.segments.expect_mut(job.source).damaged = true;
            // The rest of the extent stays too: it can't be freed anyway.
            job.entries.clear();
            job.items.clear();
            return;
        }
        let joined = round.join(|blocks| self.io.disk().buffer(blocks));
        for buffer in round.spans.into_iter().filter_map(|span| span.buffer) {
            self.io.disk().recycle(buffer);
        }
        self.metrics.compacted_blocks += joined.blocks() as u64;
        job.step = Some(Step::Write(round.items));
        let offset = self.layout().offset(job.scratch, job.position);
        let buffers = vec![joined];
        self.io
            .submit(Task::Compaction, Operation::Write { offset, buffers });
    }

    /// Notes where the copies lie.
    pub(super) fn copied(&mut self, job: &mut Job, items: Vec<Item>) {
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
            let relocation = Relocation {
                range: entry.range,
                kind: PieceKind::Data,
                from,
                to,
                stamp: entry.tag.stamp,
                epoch: entry.tag.epoch,
            };
            job.moves.push_back(Move {
                place: entry.place,
                cut: entry.tag.cut,
                relocation,
            });
            job.copied.push(Entry::Blocks(entry));
        }
    }
}
