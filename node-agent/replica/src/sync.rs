//! Copying the replicas that are listed as syncing, each from one that is in sync.
//!
//! ```text
//! adopt -> shares -> for each share: fence -> references, deleted snapshots -> chunks -> for each
//!          chunk: layers -> for each cut, newest first: versions -> data -> durable -> next cut
//!       -> deleted volume -> next share -> shares that the source lacks -> whole
//! ```
//!
//! Everything can begin again at any moment, from the marks, and does no harm: what was copied
//! is found equal. So the state is kept in memory only, and a failure of the source, of the
//! connection or of the disk just means to ask again later, or another source.
//!
//! **Why the fence comes before the copies.** A copy may take away what a superseded engine wrote
//! here. Were it durable without the source's fence, that engine could write it here once more, and
//! the replica would come in sync with a write that was never acknowledged. The fence without the
//! copies only refuses here whom the source refuses too. So no copy is given to the store before the
//! fence of the answer that it follows from is durable.
//!
//! **Why a fence that is somewhat old is good enough.** Data comes without a fence, so that of the
//! layer's versions counts. A generation that opens the share at the source after they were
//! told does so under an entry that lists this replica, for the source has adopted it; so it opens
//! and reconciles this replica too before it serves.

mod chunk;
pub(crate) mod compare;
mod job;
mod pace;
mod share;

use crate::replicas::Replicas;
use crate::{CallId, Output, SyncOptions};
use job::Job;
use moraine_model::{BucketEntry, BucketId, ChunkIndex, DiskId, Epoch, Role};
use moraine_protocol::{Reply, Request};
use moraine_store::{Buffer, Disk};
use pace::Pace;
use std::collections::BTreeMap;

/// The copies of a shard.
#[derive(Debug)]
pub(crate) struct Syncs {
    options: SyncOptions,
    pace: Pace,
    jobs: BTreeMap<BucketId, Job>,
    calls: BTreeMap<CallId, Called>,
    next_call: u64,
    next_serial: u64,
}

/// What a call is for.
#[derive(Debug, Clone, Copy)]
struct Called {
    bucket: BucketId,
    serial: u64,
    /// The epoch under which it was made.
    epoch: Option<Epoch>,
    what: CallFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallFor {
    Adopt(Epoch),
    Shares,
    Chunks,
    Chunk(ChunkIndex),
}

impl Syncs {
    pub(crate) fn new(options: SyncOptions) -> Self {
        Self {
            options,
            pace: Pace::new(options.bytes_per_s),
            jobs: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 1,
            next_serial: 1,
        }
    }

    /// Gives no name that was given before.
    pub(crate) fn go_on_from(&mut self, before: &Self) {
        self.next_call = before.next_call;
        // Those that began with the start have names already; no task of before is left.
        self.next_serial = self.next_serial.max(before.next_serial);
    }

    /// Copies that are not whole.
    pub(crate) fn unfinished(&self) -> usize {
        self.jobs.values().filter(|job| !job.is_whole()).count()
    }
}

impl<D: Disk> Replicas<D> {
    /// The entry of a bucket has changed: begins, goes on with or ends its copy.
    pub(crate) fn sync_follows(&mut self, bucket: BucketId) {
        let known = self.buckets.get(&bucket);
        let listing = known.and_then(|known| known.listing(self.options.disk));
        let since = match listing {
            Some(listing) if listing.role == Role::Syncing => listing.since,
            _ => {
                self.syncs.jobs.remove(&bucket);
                return;
            }
        };
        match self.syncs.jobs.get_mut(&bucket) {
            // The same listing under another epoch: goes on where it is.
            Some(job) if job.since() == since => job.entry_changed(),
            _ => {
                let serial = self.syncs.next_serial;
                self.syncs.next_serial += 1;
                self.metrics.syncs_started += 1;
                self.syncs.jobs.insert(bucket, Job::new(serial, since));
            }
        }
    }

    /// A note that a copy may wait for could not be written: not at once again.
    pub(crate) fn sync_waits(&mut self, bucket: BucketId) {
        let until_ms = self.now_ms.saturating_add(self.options.sync.retry_ms);
        if let Some(job) = self.syncs.jobs.get_mut(&bucket) {
            job.wait_until(until_ms);
        }
    }

    /// Does what can be done for the copies now.
    pub(crate) fn sync(&mut self) {
        let now_ms = self.now_ms;
        self.syncs.pace.tick(now_ms);
        let ready = self.syncs.jobs.iter().filter(|(_, job)| !job.waits(now_ms));
        let ready: Vec<(BucketId, bool)> = ready
            .map(|(bucket, job)| (*bucket, job.is_whole()))
            .collect();
        let mut slots = self.syncs.options.buckets_max;
        for (bucket, whole) in ready {
            if !whole {
                if slots == 0 {
                    continue;
                }
                slots -= 1;
            }
            self.with_job(bucket, |replicas, bucket, job| {
                replicas.go_on(bucket, job);
                None
            });
        }
    }

    /// Runs something on a job, which is taken out meanwhile. It may return an entry to learn.
    fn with_job(
        &mut self,
        bucket: BucketId,
        run: impl FnOnce(&mut Self, BucketId, &mut Job) -> Option<BucketEntry>,
    ) {
        if let Some(mut job) = self.syncs.jobs.remove(&bucket) {
            let news = run(self, bucket, &mut job);
            self.syncs.jobs.insert(bucket, job);
            if let Some(entry) = news {
                self.learn(entry);
            }
        }
    }

    /// Asks the source of a job.
    fn call(&mut self, bucket: BucketId, job: &Job, what: CallFor, request: Request) -> CallId {
        let call = CallId(self.syncs.next_call);
        self.syncs.next_call += 1;
        let called = Called {
            bucket,
            serial: job.serial(),
            epoch: self.bucket_mut(bucket).epoch.now(),
            what,
        };
        self.syncs.calls.insert(call, called);
        let disk = self.source(bucket, job);
        self.outputs.push_back(Output::Call {
            call,
            disk,
            request,
        });
        call
    }

    /// Whether data may be asked for now.
    fn may_ask_for(&mut self, bytes: usize) -> bool {
        self.syncs.pace.take(bytes)
    }

    /// The source of a job: one after another of the replicas in sync.
    fn source(&self, bucket: BucketId, job: &Job) -> DiskId {
        let known = self.buckets.get(&bucket);
        let entry = known.and_then(|known| known.entry());
        let entry = entry.expect("a bucket that is copied has an entry");
        let sources: Vec<DiskId> = entry.in_sync().collect();
        let nth = job.attempts() % sources.len();
        sources[nth]
    }

    pub(crate) fn sync_answered(
        &mut self,
        call: CallId,
        reply: Option<Reply>,
        payload: Option<Buffer>,
    ) {
        let called = self.syncs.calls.remove(&call);
        let job = called.and_then(|called| self.syncs.jobs.get(&called.bucket));
        let serial = job.map(Job::serial);
        match called {
            Some(called) if serial == Some(called.serial) && !self.is_stopped() => {
                self.with_job(called.bucket, |replicas, bucket, job| {
                    let called = (call, called);
                    replicas.call_ended(bucket, job, called, (reply, payload))
                });
            }
            _ => self.recycle_all(payload),
        }
    }
}
