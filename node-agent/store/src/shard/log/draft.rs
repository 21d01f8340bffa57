//! Putting a batch together: which waiting requests go out now, and what of them is still news.

use super::super::admit;
use super::super::request::{Content, Done, RequestId, Write};
use super::super::{Control, Shard};
use super::{Draft, Step, Waiting};
use crate::StoreError;
use crate::disk::Disk;
use crate::format::{BLOCK_ENTRY_BYTES_MAX, ENTRY_BLOCKS_MAX, Entry, RecordEntry, RecordKey};
use crate::index::Share;

impl<D: Disk> Shard<D> {
    /// Takes requests into the draft until one must wait.
    pub(super) fn fill(&mut self, draft: &mut Draft) -> Step {
        while let Some((id, waiting)) = self.log.waiting.pop_front() {
            let step = match &waiting {
                Waiting::Write(write) => self.draft_write(draft, write),
                Waiting::Note(key, value) => Ok(self.draft_note(draft, id, key, value.as_ref())),
                Waiting::Control(..) => {
                    let alone = draft.entries.is_empty() && self.log.in_flight.is_empty();
                    if alone {
                        Ok(Step::Taken)
                    } else {
                        Ok(Step::Held)
                    }
                }
            };
            match (step, waiting) {
                (Ok(Step::Taken), Waiting::Write(write)) => self.take_write(draft, id, write),
                (Ok(Step::Taken), Waiting::Note(..)) => {}
                (Ok(Step::Taken), Waiting::Control(share, control)) => {
                    match self.draft_control(draft, id, share, control) {
                        Ok(Step::Taken) if draft.control => return Step::Held,
                        Ok(Step::Taken) => {}
                        Ok(step) => {
                            self.log
                                .waiting
                                .push_front((id, Waiting::Control(share, control)));
                            return step;
                        }
                        Err(error) => self.reply(id, Err(error)),
                    }
                }
                (Ok(step), waiting) => {
                    self.log.waiting.push_front((id, waiting));
                    return step;
                }
                (Err(error), _) => self.reply(id, Err(error)),
            }
        }
        Step::Held
    }

    /// Whether the write can go into the draft now.
    fn draft_write(&mut self, draft: &Draft, write: &Write) -> Result<Step, StoreError> {
        let overlaps = draft.entries.iter().any(|entry| match entry {
            Entry::Blocks(other) => other.place == write.place && other.range.overlaps(write.range),
            Entry::Record(_) => false,
        });
        if overlaps || self.log.is_busy(write.place, write.range) {
            return Ok(Step::Held);
        }
        let share = self.index.share(write.place.share());
        if share.is_some_and(|share| !share.retention.head_is_read()) {
            return Err(StoreError::Deleted(write.place.volume));
        }
        let data = matches!(write.content, Content::Data { .. });
        if !self.may_go(write.content.purpose()) {
            if self.space_may_come() {
                return Ok(Step::Held);
            }
            self.metrics.no_space += 1;
            return Err(StoreError::NoSpace);
        }
        if data && self.compaction_is_behind() {
            return Ok(Step::Held);
        }
        let blocks = if data {
            u32::from(write.range.count())
        } else {
            0
        };
        // Cutting a write where older versions stay makes at most one entry for every two blocks.
        let parts = usize::from(write.range.count()).div_ceil(2);
        let known = self
            .index
            .chunk(write.place)
            .is_some_and(|c| c.layer(write.tag.cut).is_some());
        let parts = if known {
            parts
        } else {
            1 + usize::from(write.range.count() / ENTRY_BLOCKS_MAX)
        };
        let largest = BLOCK_ENTRY_BYTES_MAX + 4 * usize::from(ENTRY_BLOCKS_MAX);
        Ok(self.fits(draft, blocks, parts, largest))
    }

    /// Whether so many entries and blocks more fit draft and extent, with the sizes at their worst.
    fn fits(&self, draft: &Draft, blocks: u32, entries: usize, largest: usize) -> Step {
        let Some(open) = &self.log.open else {
            return Step::Full;
        };
        let bytes = entries * BLOCK_ENTRY_BYTES_MAX + blocks as usize * 4;
        // Header blocks lose at most one largest entry each.
        let loss = bytes.div_ceil(4016 - largest.min(bytes));
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

    /// Puts what is news of a write into the draft, or answers it if nothing is.
    fn take_write(&mut self, draft: &mut Draft, id: RequestId, write: Write) {
        let news = admit::news(&self.index, &write);
        if news.is_empty() {
            // What is there is durable and newer, or is this very write.
            self.reply(id, Ok(Done::Durable));
            return;
        }
        // Nothing that changes what is kept is in flight: this is what holds when it is applied.
        let share = self.index.share(write.place.share());
        let hidden_from = share.map_or(write.tag.cut, |share| {
            share.retention.hidden_from(write.tag.cut)
        });
        let (entries, data) = admit::entries(write, &news, hidden_from);
        draft.add(id, entries, data);
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
            draft.add(id, vec![entry], Vec::new());
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
            draft.add(id, vec![Entry::Record(record)], Vec::new());
            draft.control = true;
        }
        Ok(step)
    }
}
