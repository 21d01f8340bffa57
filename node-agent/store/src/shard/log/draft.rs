//! Putting a batch together: which waiting requests go out now, and what of them is still news.

use super::super::admit::{self, News};
use super::super::request::{Content, Done, RequestId, Write};
use super::super::{Control, Shard};
use super::{Draft, Step, Waiting};
use crate::StoreError;
use crate::disk::Disk;
use crate::format::{
    BLOCK_ENTRY_BYTES_MAX, ENTRY_BLOCKS_MAX, Entry, HEADER_ROOM_BYTES, RecordEntry, RecordKey,
};
use crate::index::Share;

/// What the draft makes of a write.
enum Verdict {
    /// It goes, as far as it is news.
    Goes(News),
    /// It does not go now.
    Waits(Step),
}

impl<D: Disk> Shard<D> {
    /// Takes requests into the draft until one must wait.
    pub(super) fn fill(&mut self, draft: &mut Draft) -> Step {
        while let Some((id, waiting)) = self.log.waiting.pop_front() {
            let (outcome, waiting) = match waiting {
                Waiting::Write(write) => match self.judge(draft, &write) {
                    Ok(Verdict::Goes(news)) => {
                        self.take_write(draft, id, write, &news);
                        continue;
                    }
                    Ok(Verdict::Waits(step)) => (Ok(step), Waiting::Write(write)),
                    Err(error) => (Err(error), Waiting::Write(write)),
                },
                Waiting::Note(key, value) => {
                    let step = self.draft_note(draft, id, &key, value.as_ref());
                    (Ok(step), Waiting::Note(key, value))
                }
                Waiting::Control(share, control) => {
                    let alone = draft.entries.is_empty() && self.log.in_flight.is_empty();
                    let step = if alone {
                        self.draft_control(draft, id, share, control)
                    } else {
                        Ok(Step::Held)
                    };
                    (step, Waiting::Control(share, control))
                }
            };
            match outcome {
                Ok(Step::Taken) if draft.control => return Step::Held,
                Ok(Step::Taken) => {}
                Ok(step) => {
                    self.log.waiting.push_front((id, waiting));
                    return step;
                }
                Err(error) => self.reply(id, Err(error)),
            }
        }
        Step::Held
    }

    /// Whether the write can go into the draft now, and what of it is news.
    fn judge(&mut self, draft: &Draft, write: &Write) -> Result<Verdict, StoreError> {
        if self.log.is_busy(write.place, write.range) {
            return Ok(Verdict::Waits(Step::Held));
        }
        let share = self.index.share(write.place.share());
        if share.is_some_and(|share| !share.retention.head_is_read()) {
            return Err(StoreError::Deleted(write.place.volume));
        }
        let chunk = share.and_then(|share| share.chunks.get(&write.place.chunk.get()));
        let news = admit::news(chunk.and_then(|chunk| chunk.layer(write.tag.cut)), write);
        if matches!(news, News::Nothing) {
            return Ok(Verdict::Goes(news));
        }
        let data = matches!(write.content, Content::Data { .. });
        if !self.may_go(write.content.purpose()) {
            if self.space_may_come() {
                return Ok(Verdict::Waits(Step::Held));
            }
            self.metrics.no_space += 1;
            return Err(StoreError::NoSpace);
        }
        if data && self.compaction_is_behind() {
            return Ok(Verdict::Waits(Step::Held));
        }
        let (blocks, parts) = match &news {
            News::Nothing => (0, 0),
            News::Whole => (write.range.count(), 1),
            News::Parts(parts) => (parts.iter().map(|part| part.count()).sum(), parts.len()),
        };
        // Each part may be cut into entries of a bounded length.
        let entries = parts + usize::from(blocks / ENTRY_BLOCKS_MAX);
        let largest = BLOCK_ENTRY_BYTES_MAX + 4 * usize::from(blocks.min(ENTRY_BLOCKS_MAX));
        let blocks = if data { u32::from(blocks) } else { 0 };
        Ok(match self.fits(draft, blocks, entries, largest) {
            Step::Taken => Verdict::Goes(news),
            step => Verdict::Waits(step),
        })
    }

    /// Whether so many entries and blocks more fit draft and extent, with the sizes at their worst.
    fn fits(&self, draft: &Draft, blocks: u32, entries: usize, largest: usize) -> Step {
        let Some(open) = &self.log.open else {
            return Step::Full;
        };
        let bytes = entries * BLOCK_ENTRY_BYTES_MAX + blocks as usize * 4;
        // Header blocks lose at most one largest entry each.
        let loss = bytes.div_ceil(HEADER_ROOM_BYTES - largest.min(bytes));
        let headers = draft.packing.header_blocks() + u32::try_from(loss).unwrap_or(u32::MAX);
        let total = draft.data_blocks + blocks + headers;
        if total > self.options.batch_blocks_max && !draft.entries.is_empty() {
            return Step::Held;
        }
        let segment_blocks = self.layout().segment_blocks;
        if open.has_room(total, draft.entry_bytes + bytes, segment_blocks) {
            Step::Taken
        } else {
            Step::Full
        }
    }

    /// Puts what is news of a write into the draft, or answers it if nothing is: then what is there
    /// is durable and newer, or is this very write.
    fn take_write(&mut self, draft: &mut Draft, id: RequestId, write: Write, news: &News) {
        if matches!(news, News::Nothing) {
            self.reply(id, Ok(Done::Durable));
            return;
        }
        // Nothing that changes what is kept is in flight: this is what holds when it is applied.
        let cut = write.tag.cut;
        let hidden_from = match (&write.content, self.index.share(write.place.share())) {
            (Content::Hole, Some(share)) => share.retention.hidden_from(cut),
            _ => cut,
        };
        let known = draft.entries.len();
        admit::append(draft, write, news, hidden_from);
        draft.ids.push(id);
        for entry in &draft.entries[known..] {
            if let Entry::Blocks(entry) = entry {
                self.log.mark_busy(entry.place, entry.range);
            }
        }
    }

    fn draft_note(
        &mut self,
        draft: &mut Draft,
        id: RequestId,
        key: &RecordKey,
        value: Option<&Vec<u8>>,
    ) -> Step {
        if draft.set_record(id, key, value) {
            return Step::Taken;
        }
        if draft.holds_record(key) {
            return Step::Held;
        }
        let record = RecordEntry {
            lsn: 0,
            key: key.clone(),
            value: value.cloned(),
        };
        let entry = Entry::Record(record);
        let step = self.fits(draft, 0, 9, entry.encoded_bytes());
        if matches!(step, Step::Taken) {
            draft.push(entry);
            draft.ids.push(id);
        }
        step
    }

    fn draft_control(
        &mut self,
        draft: &mut Draft,
        id: RequestId,
        share: Share,
        control: Control,
    ) -> Result<Step, StoreError> {
        let Some((key, value)) = self.plan_control(share, control)? else {
            self.reply(id, Ok(Done::Durable));
            return Ok(Step::Taken);
        };
        let step = self.fits(draft, 0, 2, 128);
        if matches!(step, Step::Taken) {
            let record = RecordEntry {
                lsn: 0,
                key: key.encode(),
                value,
            };
            draft.push(Entry::Record(record));
            draft.ids.push(id);
            draft.control = true;
        }
        Ok(step)
    }
}
