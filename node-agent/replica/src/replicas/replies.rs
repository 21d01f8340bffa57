//! What the store has done, and who waited for it.

use super::requests::{Asked, What, refusal_of};
use super::{Replicas, Task};
use crate::bucket::Ticket;
use moraine_protocol::Reply;
use moraine_store::{Disk, Done, ReadPart, StoreError};

impl<D: Disk> Replicas<D> {
    pub(super) fn take_replies(&mut self) {
        let mut any = false;
        while let Some(reply) = self.shard.next_reply() {
            let Some(task) = self.tasks.remove(&reply.id) else {
                continue;
            };
            any = true;
            match task {
                Task::Asked(ticket) => self.asked_done(ticket, reply.outcome),
                other => self.own_done(other, &reply.outcome.map(drop)),
            }
        }
        if any {
            let waiting: Vec<Ticket> = self.waiting.iter().copied().collect();
            for ticket in waiting {
                self.settle(ticket);
            }
        }
    }

    fn own_done(&mut self, task: Task, outcome: &Result<(), StoreError>) {
        match task {
            Task::Entry(bucket, epoch) => self.entry_written(bucket, epoch, outcome),
            Task::Fence(share, fence) => self.fence_written(share, fence, outcome),
            Task::Mark(share, mark, life) => self.mark_written(share, mark, life, outcome),
            Task::MarkGone(share, life) => self.mark_removed(share, life, outcome),
            Task::Chore(share, ticket) => {
                self.done_with(share, ticket);
                self.chore_done();
            }
            Task::SyncControl(share, ticket, serial) => {
                self.done_with(share, ticket);
                self.sync_control_done(share, serial, outcome);
            }
            Task::SyncWrite(place, ticket, serial) => {
                self.done_with(place.share(), ticket);
                self.sync_write_done(place, serial, outcome);
            }
            Task::Description(volume) => {
                if outcome.is_err() {
                    self.undescribed.insert(volume);
                }
            }
            Task::Asked(_) => {}
        }
    }

    fn asked_done(&mut self, ticket: Ticket, outcome: Result<Done, StoreError>) {
        let Some(Asked { what, .. }) = self.asked.get(&ticket) else {
            return;
        };
        match (what, outcome) {
            (What::Read(reading), Ok(Done::Read(parts))) => {
                let blocks = data_blocks(&parts);
                let served = matches!(reading.at, moraine_store::ReadAt::Layer(_));
                let (reply, payload) = Self::data(reading, parts);
                if served {
                    self.metrics.served_bytes += blocks * moraine_model::BLOCK_BYTES as u64;
                } else {
                    self.metrics.reads += 1;
                    self.metrics.read_blocks += blocks;
                }
                self.finish(ticket, reply, payload);
            }
            (What::Write { data_blocks, .. }, Ok(_)) => {
                self.metrics.writes += 1;
                self.metrics.written_blocks += u64::from(*data_blocks);
                self.finish(ticket, Reply::Done, Vec::new());
            }
            (_, Ok(_)) => self.finish(ticket, Reply::Done, Vec::new()),
            (what, Err(error)) => {
                let block = match (what, &error) {
                    (What::Read(reading), StoreError::ReadFailed { location, .. }) => {
                        self.block_at(reading, *location)
                    }
                    _ => 0,
                };
                let refusal = refusal_of(&error, block);
                self.finish(ticket, Reply::Refused(refusal), Vec::new());
            }
        }
    }
}

fn data_blocks(parts: &[ReadPart]) -> u64 {
    let data = parts.iter().filter(|part| part.data.is_some());
    data.map(|part| u64::from(part.range.count())).sum()
}
