//! Opening and closing shares, and adopting entries: what must be durable before it is answered.
//!
//! A newer generation or entry counts in memory as soon as it is known: the older one is refused
//! from then on. It is answered, and the newer one let in, when its note is durable and everything
//! that was accepted before has finished. A crash in between forgets what nobody was told. A note
//! that can't be written (no space, too many requests) refuses those that wait for it, and is
//! written again when one asks again.

use super::requests::{Taken, What};
use super::{Replicas, Task};
use crate::bucket::{Ticket, malformed};
use crate::notes::{entry_key, entry_value, fence_key, fence_value};
use moraine_model::{
    BucketEntry, BucketId, Cut, Generation, Listing, Role, Share, Stamp, VolumeId,
};
use moraine_protocol::{Refusal, Reply, Rule, Under};
use moraine_store::Disk;

/// No sequence of an engine gets so far.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;

impl<D: Disk> Replicas<D> {
    pub(super) fn open(
        &mut self,
        volume: VolumeId,
        generation: Generation,
        entry: BucketEntry,
    ) -> Result<Taken, Refusal> {
        let bucket = entry.bucket();
        let share = Share { volume, bucket };
        let known = self.buckets.get(&bucket);
        known.map_or(Ok(()), |known| known.passes(volume, generation))?;
        let news = known.map_or(Ok(true), |known| known.is_news(&entry))?;
        if entry.on(self.options.disk).is_none() {
            return Err(malformed(Rule::AskedIsListed));
        }
        if self.options.only_known_volumes && !self.descriptions.contains_key(&volume) {
            return Err(Refusal::UnknownVolume);
        }
        let retention = self.shard.retention(share);
        if retention.is_some_and(|retention| !retention.head_is_read()) {
            return Err(Refusal::Deleted);
        }
        let epoch = entry.epoch();
        if news {
            self.adopt(entry);
        }
        self.notes_mut(share).fence.raise(Some(generation));
        self.write_entry(bucket);
        self.write_fence(share);
        let what = What::Open {
            share,
            generation,
            epoch,
        };
        Ok(Taken::Later(what, None))
    }

    pub(super) fn close(&mut self, under: Under, mark: Stamp) -> Result<Taken, Refusal> {
        let listing = self.let_in(&under)?;
        check_mark(&under, mark)?;
        let share = under.share;
        if listing.role == Role::InSync {
            self.take_mark(share, mark);
            self.write_mark(share);
        }
        // A syncing replica takes no marks: nothing to wait for.
        let mark = match listing.role {
            Role::InSync => mark,
            Role::Syncing => Stamp::ZERO,
        };
        Ok(Taken::Later(What::Close { share, mark }, None))
    }

    /// Invariant I6: answered when the entry is durable and all that was accepted before has ended.
    pub(super) fn adopt_for_copy(&mut self, entry: BucketEntry) -> Result<Taken, Refusal> {
        let (bucket, epoch) = (entry.bucket(), entry.epoch());
        let known = self.buckets.get(&bucket);
        let news = known.map_or(Ok(true), |known| known.is_news(&entry))?;
        let listing = entry.on(self.options.disk);
        let listing = listing.ok_or(malformed(Rule::AskedIsListed))?;
        if listing.role != Role::InSync {
            return Err(malformed(Rule::SourceInSync));
        }
        if news {
            self.adopt(entry);
        }
        self.write_entry(bucket);
        Ok(Taken::Later(What::Adopt { bucket, epoch }, None))
    }

    /// Whether an engine may ask for a share that is served here.
    pub(super) fn let_in(&self, under: &Under) -> Result<Listing, Refusal> {
        let known = self.buckets.get(&under.share.bucket);
        let known = known.ok_or(Refusal::NotOpen)?;
        known.lets_in(under, self.options.disk)
    }

    /// Takes a newer entry, in memory.
    pub(crate) fn adopt(&mut self, entry: BucketEntry) {
        let bucket = entry.bucket();
        let next = self.next_ticket;
        self.bucket_mut(bucket).adopt(entry, next);
        self.metrics.entries_adopted += 1;
        self.sync_follows(bucket);
    }

    /// Has the adopted entry written, unless it is or will be.
    pub(crate) fn write_entry(&mut self, bucket: BucketId) {
        let known = self.bucket_mut(bucket);
        let value = known.entry().map(entry_value);
        if let (Some(Some(epoch)), Some(value)) = (known.epoch.write(), value) {
            let task = Task::Entry(bucket, epoch);
            self.submit_note(entry_key(bucket), Some(value), task);
        }
    }

    /// Has the fence of a share written, unless it is or will be.
    pub(crate) fn write_fence(&mut self, share: Share) {
        if let Some(Some(fence)) = self.notes_mut(share).fence.write() {
            let task = Task::Fence(share, fence);
            self.submit_note(fence_key(share), Some(fence_value(fence)), task);
        }
    }

    /// Answers a waiting request if it need not wait any longer.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        let Some(asked) = self.asked.get(&ticket) else {
            return;
        };
        let Some(known) = self.buckets.get(&asked.what.bucket()) else {
            return;
        };
        let reply = match asked.what {
            What::Open {
                share,
                generation,
                epoch,
            } => {
                // Of two opens under way the newer one wins, whichever note came first.
                let overtaken = match (known.passes(share.volume, generation), known.entry()) {
                    (Err(refusal), _) => Some(refusal),
                    (_, Some(entry)) if entry.epoch() > epoch => {
                        let entry = entry.clone();
                        Some(Refusal::StaleEpoch { entry })
                    }
                    _ => None,
                };
                let durable = known.fence(share.volume).durable() >= Some(generation)
                    && known.epoch.durable() >= Some(epoch);
                match overtaken {
                    Some(refusal) => Some(Reply::Refused(refusal)),
                    None if durable && known.is_finished_before(ticket) => Some(self.opened(share)),
                    None => None,
                }
            }
            What::Adopt { epoch, .. } => {
                let durable = known.epoch.durable() >= Some(epoch);
                (durable && known.is_finished_before(ticket)).then_some(Reply::Done)
            }
            What::Close { share, mark } => {
                let notes = known.shares.get(&share.volume);
                let durable = notes.is_none_or(|notes| notes.mark.durable() >= mark);
                // Marks go when a newer entry doesn't list the replica, or lists it anew.
                let gone = notes.is_some_and(|notes| notes.mark.now() < mark);
                let entry = known.entry().filter(|_| gone).cloned();
                match entry {
                    Some(entry) => Some(Reply::Refused(Refusal::StaleEpoch { entry })),
                    None => durable.then_some(Reply::Done),
                }
            }
            What::Write { .. } | What::Read(_) => None,
        };
        if let Some(reply) = reply {
            if matches!(reply, Reply::Opened { .. }) {
                self.metrics.opens += 1;
            }
            self.finish(ticket, reply, Vec::new());
        }
    }

    /// What a share holds at this moment.
    fn opened(&self, share: Share) -> Reply {
        let known = self.buckets.get(&share.bucket);
        let mark = known.map_or(Stamp::ZERO, |known| known.mark(share.volume));
        let cut = self.shard.cuts(share).last().copied();
        Reply::Opened {
            mark,
            cut: cut.unwrap_or(Cut(0)),
            above_mark: self.counting_chunks(share, mark).next().is_some(),
        }
    }
}

/// A mark can't be of a generation above that of the engine that sends it.
pub(super) fn check_mark(under: &Under, mark: Stamp) -> Result<(), Refusal> {
    if mark.generation > under.generation || mark.sequence >= SEQUENCE_MAX {
        return Err(malformed(Rule::StampInRange));
    }
    Ok(())
}
