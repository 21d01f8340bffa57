//! The copy of one share: fence, names, chunks, and at last its deletion.
//!
//! References come first, so that nothing goes which a clone reads; the deletion of the volume
//! comes last, for a deleted one takes no more blocks.

use super::CallFor;
use super::chunk::ChunkCopy;
use super::job::Job;
use crate::replicas::{Replicas, Task};
use moraine_model::{BucketId, ChunkIndex, Generation, Share, Stamp};
use moraine_protocol::{ChunkStamp, Request, ShareState};
use moraine_store::index::retention::Retention;
use moraine_store::{Control, Disk, StoreError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The copy of one share.
#[derive(Debug)]
pub(super) struct ShareCopy {
    pub(super) share: Share,
    /// The mark that this replica had when the copy of the share began: chunks with nothing above
    /// it on either side are equal.
    pub(super) mark: Stamp,
    /// What the source keeps of it; `None` if it has no such share.
    state: Option<ShareState>,
    step: Step,
    controls: VecDeque<Control>,
    control: Option<Control>,
    /// Chunks are asked for from this one on.
    from: Option<ChunkIndex>,
    todo: BTreeSet<ChunkIndex>,
    pub(super) chunks: BTreeMap<ChunkIndex, ChunkCopy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The source's fence is made durable.
    Fence,
    /// The mark goes, for the share is to be dropped.
    Unmark,
    /// References that nobody needs go, then the share.
    Drop,
    /// References come, deleted snapshots go.
    Keep,
    /// The chunks to compare are listed.
    List,
    /// The mark goes from the disk, for the time in which the share holds less than it says.
    Protect,
    /// Chunks are copied.
    Copy,
    /// Snapshots and volume are deleted that are at the source.
    Delete,
}

impl ShareCopy {
    pub(super) fn new(bucket: BucketId, mark: Stamp, state: ShareState) -> Self {
        let share = Share {
            volume: state.volume,
            bucket,
        };
        Self {
            mark,
            state: Some(state),
            step: Step::Fence,
            ..Self::lacking(share)
        }
    }

    /// A share that the source has not.
    pub(super) fn lacking(share: Share) -> Self {
        Self {
            share,
            mark: Stamp::ZERO,
            state: None,
            step: Step::Unmark,
            controls: VecDeque::new(),
            control: None,
            from: ChunkIndex::new(0).ok(),
            todo: BTreeSet::new(),
            chunks: BTreeMap::new(),
        }
    }
}

impl<D: Disk> Replicas<D> {
    /// Does what can be done for a share. True when it is done.
    pub(super) fn share_goes_on(&mut self, job: &mut Job, copy: &mut ShareCopy) -> bool {
        loop {
            if copy.control.is_some() {
                return false;
            }
            match copy.step {
                Step::Fence => {
                    let fence = copy.state.as_ref().map(|state| state.fence);
                    if !self.takes_fence(copy.share, fence.unwrap_or_default()) {
                        return false;
                    }
                    copy.controls = kept_at_source(copy.state.as_ref());
                    copy.step = Step::Keep;
                }
                Step::Unmark if !self.may_drop(job, copy.share) => copy.step = Step::List,
                Step::Unmark => {
                    if !self.remove_mark(copy.share) {
                        return false;
                    }
                    copy.controls = self.dropping(job, copy.share);
                    copy.step = Step::Drop;
                }
                Step::Keep | Step::Drop | Step::Delete => {
                    if let Some(control) = copy.controls.pop_front() {
                        self.begin_control(job, copy, control);
                    } else if copy.step == Step::Keep {
                        copy.step = Step::List;
                    } else {
                        self.restore_mark(copy);
                        return true;
                    }
                }
                Step::List => {
                    self.list_chunks(job, copy);
                    return false;
                }
                Step::Protect => {
                    if !self.remove_mark(copy.share) {
                        return false;
                    }
                    copy.step = Step::Copy;
                }
                Step::Copy => {
                    if !self.copy_chunks(job, copy) {
                        return false;
                    }
                    copy.controls = deleted_at_source(copy.state.as_ref());
                    copy.step = Step::Delete;
                }
            }
        }
    }

    /// Raises the fence to that of the source. True if it is durable.
    pub(super) fn takes_fence(&mut self, share: Share, fence: Generation) -> bool {
        if fence == Generation::default() {
            return true;
        }
        let kept = &mut self.notes_mut(share).fence;
        kept.raise(Some(fence));
        let durable = kept.durable() >= Some(fence);
        if !durable {
            self.write_fence(share);
        }
        durable
    }

    /// Whether a share that the source lacks can be dropped: not if engines write to it since this
    /// replica is listed, for then the source has it by now.
    fn may_drop(&self, job: &Job, share: Share) -> bool {
        let known = self.buckets.get(&share.bucket);
        let notes = known.and_then(|known| known.shares.get(&share.volume));
        notes.is_none_or(|notes| notes.under_way == 0) && !self.is_written_since(share, job.since())
    }

    fn dropping(&self, job: &Job, share: Share) -> VecDeque<Control> {
        let kept = self.shard.retention(share);
        let references = kept.into_iter().flat_map(Retention::references);
        let gone = references.filter(|(_, child)| !job.seen.contains(child));
        let gone = gone.map(|(cut, child)| Control::RemoveReference { cut, child });
        gone.chain([Control::DropShare]).collect()
    }

    fn begin_control(&mut self, job: &Job, copy: &mut ShareCopy, control: Control) {
        let share = copy.share;
        if control == Control::DropShare && !self.may_drop(job, share) {
            copy.step = Step::List;
            return;
        }
        if !self.changes_anything(share, control) {
            return;
        }
        copy.control = Some(control);
        let ticket = self.own_change(share);
        let task = Task::SyncControl(share, ticket, job.serial());
        self.submit(moraine_store::Request::Control { share, control }, task);
    }

    /// A control of a share's copy has ended.
    pub(crate) fn sync_control_done(
        &mut self,
        share: Share,
        serial: u64,
        outcome: &Result<(), StoreError>,
    ) {
        self.with_job(share.bucket, |replicas, _, job| {
            let ours = job.serial() == serial;
            let copy = job.current.as_mut();
            let copy = copy.filter(|copy| ours && copy.share == share)?;
            let control = copy.control.take();
            match (outcome, copy.step, control) {
                // A clone that is there reads through it. What is in it goes chunk by chunk.
                (Err(StoreError::Referenced(_)), Step::Drop, Some(Control::DropShare)) => {
                    copy.step = Step::List;
                }
                (Err(StoreError::Referenced(_)), Step::Drop, _) | (Ok(()), ..) => {}
                (Err(_), ..) => {
                    // The source may have deleted since what its names speak of: they are asked
                    // for anew, or they would be refused here for ever.
                    job.list_again();
                    replicas.fail(job);
                }
            }
            None
        });
    }

    fn list_chunks(&mut self, job: &mut Job, copy: &mut ShareCopy) {
        let share = copy.share;
        let known = self.buckets.get(&share.bucket);
        let (Some(known), Some(from), None) = (known, copy.from, job.call) else {
            return;
        };
        let Some(epoch) = known.epoch.now() else {
            return;
        };
        let request = Request::Chunks {
            share,
            epoch,
            generation: None,
            above: copy.mark,
            from,
        };
        job.call = Some(self.call(share.bucket, job, CallFor::Chunks, request));
    }

    /// The source has named chunks. False if the answer leads nowhere.
    pub(super) fn chunks_listed(
        &mut self,
        job: &mut Job,
        chunks: &[ChunkStamp],
        more: bool,
    ) -> bool {
        let Some(copy) = &mut job.current else {
            return false;
        };
        let from = copy.from.take();
        let in_order = chunks.is_sorted_by(|a, b| a.chunk < b.chunk)
            && chunks.first().is_none_or(|first| Some(first.chunk) >= from);
        copy.from = from;
        if !in_order || copy.step != Step::List {
            return false;
        }
        copy.todo.extend(chunks.iter().map(|found| found.chunk));
        let next = match (more, chunks.last()) {
            (true, Some(last)) => ChunkIndex::new(last.chunk.get() + 1).ok(),
            (true, None) => return false,
            (false, _) => None,
        };
        if next.is_some() {
            copy.from = next;
            return true;
        }
        let own = self.shard.chunks_above(copy.share, copy.mark);
        copy.step = if own.is_empty() {
            Step::Copy
        } else {
            Step::Protect
        };
        copy.todo.extend(own.iter().map(|found| found.chunk));
        true
    }

    /// The share holds again what its mark says.
    ///
    /// While versions above the mark are taken away, what they hid is missing, though the mark may
    /// speak of it; and once they are gone nothing tells that the chunk must be looked at. So the
    /// mark is not on the disk in the meantime: after a crash the whole share is compared.
    fn restore_mark(&mut self, copy: &ShareCopy) {
        if copy.mark > Stamp::ZERO {
            self.take_mark(copy.share, copy.mark);
        }
    }

    /// Goes on with the chunks of a share. True when all are done.
    fn copy_chunks(&mut self, job: &mut Job, copy: &mut ShareCopy) -> bool {
        let at_once = if self.is_busy() {
            1
        } else {
            self.options.sync.chunks_max.max(1)
        };
        let share = copy.share;
        loop {
            while copy.chunks.len() < at_once
                && let Some(chunk) = copy.todo.pop_first()
            {
                copy.chunks.insert(chunk, ChunkCopy::default());
                self.metrics.chunks_compared += 1;
            }
            let under_way = std::mem::take(&mut copy.chunks);
            for (chunk, mut state) in under_way {
                if !self.chunk_goes_on(job, share, chunk, &mut state) {
                    copy.chunks.insert(chunk, state);
                }
            }
            if copy.todo.is_empty() || copy.chunks.len() >= at_once {
                return copy.todo.is_empty() && copy.chunks.is_empty();
            }
        }
    }
}

/// What the source keeps: references first, for what they read must not go.
fn kept_at_source(state: Option<&ShareState>) -> VecDeque<Control> {
    let Some(state) = state else {
        return VecDeque::new();
    };
    let references = state.references.iter();
    let references = references.map(|(cut, child)| Control::AddReference {
        cut: *cut,
        child: *child,
    });
    references.chain(deleted_snapshots(state)).collect()
}

/// What the source has deleted: the snapshots once more, for a share that had no blocks took no note
/// of them; the volume last.
fn deleted_at_source(state: Option<&ShareState>) -> VecDeque<Control> {
    let Some(state) = state else {
        return VecDeque::new();
    };
    let volume = state.deleted_at;
    let volume = volume.map(|cut| Control::DeleteVolume { cut });
    deleted_snapshots(state).chain(volume).collect()
}

fn deleted_snapshots(state: &ShareState) -> impl Iterator<Item = Control> {
    let deleted = state.deleted_snapshots.iter();
    deleted.map(|cut| Control::DeleteSnapshot { cut: *cut })
}
