//! The copy of one bucket: which source, which shares, and when it is whole.

use super::share::ShareCopy;
use super::{CallFor, CallId, Called};
use crate::Output;
use crate::replicas::Replicas;
use moraine_model::{BucketEntry, BucketId, Epoch, Share, Stamp, VolumeId};
use moraine_protocol::{Refusal, Reply, Request, ShareState};
use moraine_store::{Buffer, Disk};
use std::collections::{BTreeSet, VecDeque};

/// The copy of one bucket for one listing.
#[derive(Debug)]
pub(crate) struct Job {
    serial: u64,
    since: Epoch,
    /// How often it failed: each time it goes to the next source.
    attempts: usize,
    /// The epoch under which the source has adopted the entry.
    adopted: Option<Epoch>,
    /// The call under way that lists something; those of chunks are theirs.
    pub(super) call: Option<CallId>,
    wait_until_ms: u64,
    /// Shares are asked for behind this one.
    after: Option<VolumeId>,
    /// Whether all shares of the source are listed.
    listed: bool,
    /// The shares that the source has.
    pub(super) seen: BTreeSet<VolumeId>,
    queue: VecDeque<ShareState>,
    /// Shares that only this replica has, once all are listed.
    lacking: Option<VecDeque<Share>>,
    pub(super) current: Option<ShareCopy>,
    whole: bool,
}

impl Job {
    pub(super) fn new(serial: u64, since: Epoch) -> Self {
        Self {
            serial,
            since,
            attempts: 0,
            adopted: None,
            call: None,
            wait_until_ms: 0,
            after: None,
            listed: false,
            seen: BTreeSet::new(),
            queue: VecDeque::new(),
            lacking: None,
            current: None,
            whole: false,
        }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn since(&self) -> Epoch {
        self.since
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn waits(&self, now_ms: u64) -> bool {
        now_ms < self.wait_until_ms
    }

    pub(super) fn wait_until(&mut self, until_ms: u64) {
        self.wait_until_ms = until_ms;
    }

    /// Begins with the list of the source's shares again. What is whole is soon seen to be.
    pub(super) fn list_again(&mut self) {
        self.after = None;
        self.listed = false;
        self.seen.clear();
        self.queue.clear();
        self.lacking = None;
        self.current = None;
    }

    /// Another epoch: the source must adopt it before it is asked anything more, and what it told
    /// under the older one is not written any more. A map without that source may count by now, and
    /// engines may have decided without what it holds. What the store has already is finished before
    /// they are let in.
    pub(super) fn entry_changed(&mut self) {
        self.adopted = None;
        if let Some(share) = &mut self.current {
            share.restart_chunks();
        }
    }
}

impl<D: Disk> Replicas<D> {
    /// Does what can be done for a job.
    pub(super) fn go_on(&mut self, bucket: BucketId, job: &mut Job) {
        let known = self.bucket_mut(bucket);
        let epoch = known.epoch.now();
        // What an older entry still had under way, a drop of the shares perhaps, is over first.
        let settled = known.is_finished_before(known.adopted_at);
        if !known.epoch.is_durable() {
            self.write_entry(bucket);
            return;
        }
        if job.whole {
            job.wait_until_ms = self.now_ms.saturating_add(self.options.sync.report_ms);
            let since = job.since;
            self.outputs.push_back(Output::Synced { bucket, since });
            return;
        }
        if !settled {
            return;
        }
        if job.adopted != epoch {
            let entry = self.bucket_mut(bucket).entry().cloned();
            if let (None, Some(epoch), Some(entry)) = (job.call, epoch, entry) {
                let request = Request::Adopt { entry };
                job.call = Some(self.call(bucket, job, CallFor::Adopt(epoch), request));
            }
            return;
        }
        while !job.waits(self.now_ms) {
            if let Some(mut share) = job.current.take() {
                let done = self.share_goes_on(job, &mut share);
                if !done {
                    job.current = Some(share);
                    return;
                }
            } else if !self.next_share(bucket, job) {
                return;
            }
        }
    }

    /// Takes the next share in hand. False if there is none, or not yet.
    fn next_share(&mut self, bucket: BucketId, job: &mut Job) -> bool {
        if let Some(state) = job.queue.pop_front() {
            let mark = self.bucket_mut(bucket).mark(state.volume);
            job.current = Some(ShareCopy::new(bucket, mark, state));
            return true;
        }
        if !job.listed {
            if let (None, Some(epoch)) = (job.call, job.adopted) {
                let after = job.after;
                let request = Request::Shares {
                    bucket,
                    epoch,
                    after,
                };
                job.call = Some(self.call(bucket, job, CallFor::Shares, request));
            }
            return false;
        }
        let lacking = match job.lacking.take() {
            Some(lacking) => lacking,
            None => self.only_here(bucket, job),
        };
        let lacking = job.lacking.insert(lacking);
        if let Some(share) = lacking.pop_front() {
            job.current = Some(ShareCopy::lacking(share));
            return true;
        }
        job.whole = true;
        self.metrics.syncs_done += 1;
        let since = job.since;
        job.wait_until_ms = self.now_ms.saturating_add(self.options.sync.report_ms);
        self.outputs.push_back(Output::Synced { bucket, since });
        false
    }

    /// The shares that have blocks, names or a mark here, but are unknown to the source.
    fn only_here(&self, bucket: BucketId, job: &Job) -> VecDeque<Share> {
        let volumes = self.volumes_of(bucket);
        let unknown = volumes.difference(&job.seen);
        let shares = unknown.map(|volume| Share {
            volume: *volume,
            bucket,
        });
        let held = shares.filter(|share| {
            let known = self.buckets.get(&bucket);
            let notes = known.and_then(|known| known.shares.get(&share.volume));
            let marked =
                notes.is_some_and(|notes| notes.mark_on_disk || notes.mark.now() > Stamp::ZERO);
            marked || self.shard.retention(*share).is_some()
        });
        self.children_first(held.collect()).into()
    }

    /// Asks again later, and another source.
    pub(super) fn fail(&mut self, job: &mut Job) {
        self.metrics.sync_failures += 1;
        // Chunks that fail together are one failure of their source: counted twice, two of them
        // would lead back to it for ever where there are two.
        if !job.waits(self.now_ms) {
            job.attempts = job.attempts.wrapping_add(1);
        }
        job.adopted = None;
        job.wait_until_ms = self.now_ms.saturating_add(self.options.sync.retry_ms);
    }

    /// A call of a job has ended. Returns an entry that the source knows better.
    pub(super) fn call_ended(
        &mut self,
        bucket: BucketId,
        job: &mut Job,
        (call, called): (CallId, Called),
        (reply, payload): (Option<Reply>, Option<Buffer>),
    ) -> Option<BucketEntry> {
        let known = self.bucket_mut(bucket).epoch.now();
        let late = called.epoch != known;
        let CallFor::Chunk(chunk) = called.what else {
            job.call = None;
            self.recycle_all(payload);
            return self.list_ended(bucket, job, called, reply.filter(|_| !late));
        };
        let copy = job.current.as_mut();
        let copy = copy.and_then(|share| share.chunks.get_mut(&chunk));
        if !copy.is_some_and(|copy| copy.is_answered(call)) {
            self.recycle_all(payload);
            return None;
        }
        let refused = matches!(reply, None | Some(Reply::Refused(_)));
        if let (false, false, Some(reply)) = (refused, late, reply.as_ref()) {
            let taken = self.chunk_answered(job, chunk, reply, payload);
            if taken.is_none() {
                self.fail(job);
            }
            return None;
        }
        self.recycle_all(payload);
        if let Some(share) = &mut job.current {
            share.restart_chunk(chunk);
        }
        self.refused(bucket, job, called, reply)
    }

    fn list_ended(
        &mut self,
        bucket: BucketId,
        job: &mut Job,
        called: Called,
        reply: Option<Reply>,
    ) -> Option<BucketEntry> {
        match (called.what, reply) {
            (CallFor::Adopt(epoch), Some(Reply::Done)) => job.adopted = Some(epoch),
            (CallFor::Shares, Some(Reply::Shares { shares, more })) => {
                let in_order = shares.is_sorted_by(|a, b| a.volume < b.volume)
                    && shares
                        .first()
                        .is_none_or(|first| job.after.is_none_or(|after| after < first.volume));
                // A page that leads nowhere would be asked for again for ever.
                if !in_order || (more && shares.is_empty()) {
                    self.fail(job);
                    return None;
                }
                job.after = shares.last().map(|last| last.volume).or(job.after);
                job.seen.extend(shares.iter().map(|share| share.volume));
                job.listed = !more;
                job.queue.extend(shares);
            }
            (CallFor::Chunks, Some(Reply::Chunks { chunks, more })) => {
                if !self.chunks_listed(job, &chunks, more) {
                    self.fail(job);
                }
            }
            (_, reply) => return self.refused(bucket, job, called, reply),
        }
        None
    }

    /// A source refused, was not reached, or answers what was not asked.
    fn refused(
        &mut self,
        bucket: BucketId,
        job: &mut Job,
        called: Called,
        reply: Option<Reply>,
    ) -> Option<BucketEntry> {
        let known = self.bucket_mut(bucket).epoch.now();
        match reply {
            Some(Reply::Refused(Refusal::StaleEpoch { entry }))
                if entry.bucket() == bucket && Some(entry.epoch()) > known =>
            {
                Some(entry)
            }
            // It was asked under an epoch that has been left since: the answer counts for nothing.
            _ if called.epoch != known => None,
            _ => {
                self.fail(job);
                None
            }
        }
    }
}
