//! Writing the notes of the replicas, and what follows when one is durable or is not.

use super::requests::{What, refusal_of};
use super::{MARKS_AT_ONCE, Replicas, Task};
use crate::bucket::Ticket;
use crate::kept::Kept;
use crate::notes::{mark_key, mark_value};
use moraine_model::{BucketId, Epoch, Generation, Role, Share, Stamp};
use moraine_protocol::Reply;
use moraine_store::{Disk, Request, StoreError};

impl<D: Disk> Replicas<D> {
    pub(super) fn submit_note(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, task: Task) {
        self.submit(Request::Note { key, value }, task);
    }

    /// Takes a mark. It need not be durable soon: an older one is only conservative.
    pub(crate) fn take_mark(&mut self, share: Share, mark: Stamp) {
        let notes = self.notes_mut(share);
        if mark > notes.mark.now() {
            notes.mark.raise(mark);
            self.stale_marks.insert(share);
        }
    }

    /// Has the mark of a share written, unless it is or will be.
    pub(super) fn write_mark(&mut self, share: Share) {
        self.stale_marks.remove(&share);
        let notes = self.notes_mut(share);
        if let Some(mark) = notes.mark.write() {
            notes.mark_on_disk = true;
            let task = Task::Mark(share, mark, notes.mark_life);
            self.submit_note(mark_key(share), Some(mark_value(mark)), task);
        }
    }

    /// Has marks written when the newest of them are old enough.
    pub(super) fn flush_marks(&mut self) {
        let due = self
            .marks_at_ms
            .saturating_add(self.options.mark_interval_ms);
        if self.stale_marks.is_empty() || self.now_ms < due {
            return;
        }
        for _ in 0..MARKS_AT_ONCE {
            match self.stale_marks.first().copied() {
                Some(share) => self.write_mark(share),
                None => break,
            }
        }
        if self.stale_marks.is_empty() {
            self.marks_at_ms = self.now_ms;
        }
    }

    /// Removes the mark of a share, before what it speaks of is dropped. True if no mark can be on
    /// the disk any more.
    ///
    /// In memory it goes at once. Were it to stay on the disk while blocks are dropped, a crash
    /// would leave a replica that claims writes which it does not hold.
    pub(crate) fn remove_mark(&mut self, share: Share) -> bool {
        self.stale_marks.remove(&share);
        let notes = self.notes_mut(share);
        notes.mark = Kept::new(Stamp::ZERO);
        if !notes.mark_on_disk {
            return true;
        }
        if !notes.mark_going {
            notes.mark_going = true;
            notes.mark_life += 1;
            let task = Task::MarkGone(share, notes.mark_life);
            self.submit_note(mark_key(share), None, task);
        }
        false
    }

    pub(super) fn entry_written(
        &mut self,
        bucket: BucketId,
        epoch: Epoch,
        outcome: &Result<(), StoreError>,
    ) {
        let known = self.bucket_mut(bucket);
        known.epoch.ended(Some(epoch), outcome.is_ok());
        let Err(error) = outcome else { return };
        self.sync_waits(bucket);
        self.refuse_waiting(error, |what| match what {
            What::Open {
                share, epoch: at, ..
            } => share.bucket == bucket && *at >= epoch,
            What::Adopt {
                bucket: of,
                epoch: at,
            } => *of == bucket && *at >= epoch,
            _ => false,
        });
    }

    pub(super) fn fence_written(
        &mut self,
        share: Share,
        fence: Generation,
        outcome: &Result<(), StoreError>,
    ) {
        self.notes_mut(share)
            .fence
            .ended(Some(fence), outcome.is_ok());
        let Err(error) = outcome else { return };
        self.sync_waits(share.bucket);
        self.refuse_waiting(
            error,
            |what| matches!(what, What::Open { share: of, .. } if *of == share),
        );
    }

    pub(super) fn mark_written(
        &mut self,
        share: Share,
        mark: Stamp,
        life: u32,
        outcome: &Result<(), StoreError>,
    ) {
        let notes = self.notes_mut(share);
        if notes.mark_life != life {
            return;
        }
        notes.mark.ended(mark, outcome.is_ok());
        let Err(error) = outcome else { return };
        self.stale_marks.insert(share);
        self.refuse_waiting(
            error,
            |what| matches!(what, What::Close { share: of, .. } if *of == share),
        );
    }

    pub(super) fn mark_removed(
        &mut self,
        share: Share,
        life: u32,
        outcome: &Result<(), StoreError>,
    ) {
        let notes = self.notes_mut(share);
        notes.mark_going = false;
        // One that was taken since may be on the disk behind the removal.
        let newer = notes.mark.now() > Stamp::ZERO;
        if outcome.is_ok() && notes.mark_life == life && !newer {
            notes.mark_on_disk = false;
        }
        if outcome.is_err() {
            self.sync_waits(share.bucket);
        }
    }

    /// Refuses those that wait for a note that could not be written.
    fn refuse_waiting(&mut self, error: &StoreError, waits: impl Fn(&What) -> bool) {
        let refused = self.waiting.iter().copied().filter(|ticket| {
            let asked = self.asked.get(ticket);
            asked.is_some_and(|asked| waits(&asked.what))
        });
        let refused: Vec<Ticket> = refused.collect();
        for ticket in refused {
            let refusal = refusal_of(error, 0);
            self.finish(ticket, Reply::Refused(refusal), Vec::new());
        }
    }

    /// Whether the replica of a bucket takes marks.
    pub(super) fn takes_marks(&self, bucket: BucketId) -> bool {
        self.is(bucket, Role::InSync)
    }
}
