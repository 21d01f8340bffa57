//! The replicas of one shard: what the shell calls, and how work flows through.
//!
//! ```text
//! request -> fences, epochs -> store: write, read, note -> reply
//! learn   -> adopted entry  -> store: note              -> sync: calls -> answered -> store: copies
//! ```
//!
//! Everything that the store is asked has a task that says what its reply is for. The store takes
//! changes and notes of a shard strictly in the order in which they were submitted: each waits for
//! those in front of it, batches become durable in the order of the log, and replies come in it too.
//! So when a note is answered, every change that was submitted before has been.

mod chores;
mod lists;
mod notes;
mod open;
mod read;
mod replies;
mod requests;
mod write;

use crate::bucket::{Bucket, ShareNotes, Ticket};
use crate::kept::Kept;
use crate::notes::{DESCRIPTION_BYTES_MAX, Note, decode, description_key};
use crate::sync::Syncs;
use crate::{
    CallId, DescriptionTooLong, Metrics, Options, Output, RecoverError, SessionId, StartError,
};
use chores::Chores;
use moraine_model::{
    BucketEntry, BucketId, Epoch, Generation, Place, Role, Share, Stamp, VolumeId,
};
use moraine_protocol::{Refusal, Reply, Request, RequestId};
use moraine_store::{Buffer, Disk, RequestId as StoreId, Shard};
use requests::Asked;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Marks that are made durable in one go; more wait for the next poll.
const MARKS_AT_ONCE: usize = 256;

/// All bucket replicas of one shard of one disk.
#[derive(Debug)]
pub struct Replicas<D> {
    pub(crate) shard: Shard<D>,
    pub(crate) options: Options,
    pub(crate) buckets: BTreeMap<BucketId, Bucket>,
    pub(crate) now_ms: u64,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) metrics: Metrics,
    pub(crate) syncs: Syncs,
    tasks: BTreeMap<StoreId, Task>,
    asked: BTreeMap<Ticket, Asked>,
    /// Those of the asked that wait for notes, or for what was accepted before them.
    waiting: BTreeSet<Ticket>,
    next_ticket: Ticket,
    chores: Chores,
    descriptions: BTreeMap<VolumeId, Vec<u8>>,
    /// Volumes whose description could not be written or removed.
    undescribed: BTreeSet<VolumeId>,
    /// Shares whose mark is newer than the one on its way to the disk.
    stale_marks: BTreeSet<Share>,
    marks_at_ms: u64,
}

/// What a request to the store is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// A request of somebody.
    Asked(Ticket),
    /// The note of an entry.
    Entry(BucketId, Epoch),
    /// The note of a fence.
    Fence(Share, Generation),
    /// The note of a mark, with the life of the mark.
    Mark(Share, Stamp, u32),
    /// The removal of a mark, with its life since.
    MarkGone(Share, u32),
    /// The description of a volume: nobody waits for it.
    Description(VolumeId),
    /// A change of what is kept, for the shell.
    Chore(Share, Ticket),
    /// The same for the copy of a bucket, which has this serial number.
    SyncControl(Share, Ticket, u64),
    /// A write of the copy of a bucket.
    SyncWrite(Place, Ticket, u64),
}

impl<D: Disk> Replicas<D> {
    /// The replicas of a shard, with what their notes on the disk say.
    pub fn new(shard: Shard<D>, options: Options) -> Result<Self, StartError> {
        let found = shard.superblock().disk;
        if found != options.disk {
            return Err(StartError::OtherDisk {
                expected: options.disk,
                found,
            });
        }
        let mut replicas = Self {
            shard,
            options,
            buckets: BTreeMap::new(),
            now_ms: 0,
            outputs: VecDeque::new(),
            metrics: Metrics::default(),
            syncs: Syncs::new(options.sync),
            tasks: BTreeMap::new(),
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            next_ticket: Ticket(1),
            chores: Chores::default(),
            descriptions: BTreeMap::new(),
            undescribed: BTreeSet::new(),
            stale_marks: BTreeSet::new(),
            marks_at_ms: 0,
        };
        replicas.read_notes()?;
        Ok(replicas)
    }

    fn read_notes(&mut self) -> Result<(), StartError> {
        let notes = self.shard.notes(&[]);
        let notes: Result<Vec<_>, StartError> = notes
            .map(|(key, value)| Ok((key.to_vec(), decode(key, value)?)))
            .collect();
        for (key, note) in notes? {
            let bucket = match &note {
                Note::Entry(entry) => Some(entry.bucket()),
                Note::Fence(share, _) | Note::Mark(share, _) => Some(share.bucket),
                Note::Description(..) => None,
            };
            if bucket.is_some_and(|bucket| !self.is_of_this_shard(bucket)) {
                let what = "its bucket belongs to another shard";
                return Err(StartError::Note { what, key });
            }
            self.take_note(note);
        }
        let held: Vec<Share> = self.shard.shares().collect();
        for share in held {
            self.buckets.entry(share.bucket).or_default();
        }
        let buckets: Vec<BucketId> = self.buckets.keys().copied().collect();
        for bucket in buckets {
            self.sync_follows(bucket);
        }
        Ok(())
    }

    fn take_note(&mut self, note: Note) {
        match note {
            Note::Entry(entry) => self.bucket_mut(entry.bucket()).with_entry(entry),
            Note::Fence(share, fence) => {
                self.notes_mut(share).fence = Kept::new(Some(fence));
            }
            Note::Mark(share, mark) => {
                let notes = self.notes_mut(share);
                notes.mark = Kept::new(mark);
                notes.mark_on_disk = true;
            }
            Note::Description(volume, description) => {
                self.descriptions.insert(volume, description);
            }
        }
    }

    /// Memory for the data of a write, from the disk's pool.
    pub fn buffer(&mut self, blocks: usize) -> Buffer {
        self.shard.buffer(blocks)
    }

    /// Takes back the memory of a reply that was sent.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.shard.recycle(buffer);
    }

    /// Takes a request. A write of data brings its data. The reply comes later, in any order, and
    /// at the earliest with the next poll; a refusal may come at once.
    pub fn request(
        &mut self,
        session: SessionId,
        id: RequestId,
        request: Request,
        payload: Option<Buffer>,
    ) {
        self.ask(session, id, request, payload);
    }

    /// A connection is gone: its unanswered requests are finished, but not answered.
    pub fn disconnected(&mut self, session: SessionId) {
        for asked in self.asked.values_mut() {
            if asked.session == Some(session) {
                asked.session = None;
            }
        }
        let outputs = std::mem::take(&mut self.outputs);
        for output in outputs {
            match output {
                Output::Reply {
                    session: of,
                    payload,
                    ..
                } if of == session => {
                    for buffer in payload {
                        self.shard.recycle(buffer);
                    }
                }
                other => self.outputs.push_back(other),
            }
        }
    }

    /// The map as the control plane tells it: late, repeated, out of order.
    ///
    /// Entries of buckets that neither list this disk nor have anything on it are ignored.
    pub fn learn(&mut self, entry: BucketEntry) {
        let bucket = entry.bucket();
        if !self.is_served(bucket) {
            return;
        }
        let known = self.buckets.get(&bucket);
        if known.is_none() && entry.on(self.options.disk).is_none() {
            return;
        }
        match known.map_or(Ok(true), |known| known.is_news(&entry)) {
            Ok(true) => self.adopt(entry),
            Ok(false) | Err(Refusal::StaleEpoch { .. }) => {}
            Err(_) => self.metrics.entries_contradicting += 1,
        }
        if !self.is_stopped() {
            self.write_entry(bucket);
        }
    }

    /// Keeps the description of a volume on the disk, or removes it. Level-based: to be said again
    /// now and then, for the disk may have had no room.
    pub fn describe(
        &mut self,
        volume: VolumeId,
        description: Option<Vec<u8>>,
    ) -> Result<(), DescriptionTooLong> {
        let bytes = description.as_ref().map_or(0, Vec::len);
        if bytes > DESCRIPTION_BYTES_MAX {
            return Err(DescriptionTooLong { bytes });
        }
        let known = self.descriptions.get(&volume);
        let written = known == description.as_ref() && !self.undescribed.contains(&volume);
        if written || self.is_stopped() {
            return Ok(());
        }
        self.undescribed.remove(&volume);
        match &description {
            Some(description) => self.descriptions.insert(volume, description.clone()),
            None => self.descriptions.remove(&volume),
        };
        let key = description_key(volume);
        self.submit_note(key, description, Task::Description(volume));
        Ok(())
    }

    /// The descriptions that it keeps.
    pub fn descriptions(&self) -> impl Iterator<Item = (VolumeId, &[u8])> {
        let descriptions = self.descriptions.iter();
        descriptions.map(|(volume, description)| (*volume, description.as_slice()))
    }

    /// The map entries that it has adopted.
    pub fn entries(&self) -> impl Iterator<Item = &BucketEntry> {
        self.buckets.values().filter_map(Bucket::entry)
    }

    /// What became of a call: the reply with all its data, or `None` if the connection was lost or
    /// nothing came in time. A call that is not known any more is ignored.
    pub fn answered(&mut self, call: CallId, reply: Option<Reply>, payload: Option<Buffer>) {
        self.sync_answered(call, reply, payload);
    }

    /// Takes what the disk has done and starts what can be started. `now_ms` is any clock that does
    /// not go back.
    pub fn poll(&mut self, now_ms: u64) {
        self.advance(false, now_ms);
    }

    /// Like `poll`, but waits for the disk if something is under way.
    pub fn wait(&mut self, now_ms: u64) {
        self.advance(true, now_ms);
    }

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether nothing is under way on the disk. What waits for calls or for time doesn't count.
    pub fn is_idle(&self) -> bool {
        self.shard.is_idle()
    }

    /// Whether a write to the disk failed: everything is refused until [`Replicas::recover`].
    pub fn is_stopped(&self) -> bool {
        self.shard.is_stopped()
    }

    /// After a failed write: opens the shard again from its disk. All that was not answered is
    /// refused, for nobody knows what became of it. Calls that were under way are forgotten.
    pub fn recover(mut self) -> (Vec<Output>, Result<Self, RecoverError>) {
        self.refuse_all();
        let (_, shard) = self.shard.reopen();
        let again = shard
            .map_err(RecoverError::from)
            .and_then(|shard| Ok(Self::new(shard, self.options)?));
        let again = again.map(|mut again| {
            again.metrics = self.metrics;
            again.now_ms = self.now_ms;
            again.marks_at_ms = self.now_ms;
            // No ticket, call or copy has the name of an older one.
            again.next_ticket = self.next_ticket;
            again.syncs.go_on_from(&self.syncs);
            again
        });
        (self.outputs.into(), again)
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            in_flight: self.asked.len() as u64,
            syncing: self.syncs.unfinished() as u64,
            ..self.metrics
        }
    }

    /// The newest epoch of a map entry that survives a crash; none if no bucket was ever here.
    pub fn durable_epoch(&self) -> Option<Epoch> {
        let epochs = self.buckets.values().map(|bucket| bucket.epoch.durable());
        epochs.max().flatten()
    }

    /// What its store has done, and how full it is.
    pub fn store_metrics(&self) -> moraine_store::Metrics {
        self.shard.metrics()
    }

    fn advance(&mut self, wait: bool, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if wait {
            self.shard.wait(self.now_ms);
        } else {
            self.shard.poll(self.now_ms);
        }
        self.take_replies();
        if self.is_stopped() {
            self.refuse_all();
            return;
        }
        self.flush_marks();
        self.do_chores();
        self.sync();
    }

    /// Whether requests of a bucket are for this shard.
    fn is_served(&self, bucket: BucketId) -> bool {
        bucket.get() < self.options.buckets && self.is_of_this_shard(bucket)
    }

    fn is_of_this_shard(&self, bucket: BucketId) -> bool {
        self.shard.superblock().layout.shard_of(bucket) == self.shard.number()
    }

    /// Whether the adopted entry lists this disk in that role.
    pub(crate) fn is(&self, bucket: BucketId, role: Role) -> bool {
        let known = self.buckets.get(&bucket);
        known.is_some_and(|known| known.is(self.options.disk, role))
    }

    pub(crate) fn bucket_mut(&mut self, bucket: BucketId) -> &mut Bucket {
        self.buckets.entry(bucket).or_default()
    }

    pub(crate) fn notes_mut(&mut self, share: Share) -> &mut ShareNotes {
        let bucket = self.bucket_mut(share.bucket);
        bucket.shares.entry(share.volume).or_default()
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        ticket
    }

    /// Asks the store.
    pub(crate) fn submit(&mut self, request: moraine_store::Request, task: Task) {
        let id = self.shard.submit(request);
        self.tasks.insert(id, task);
    }

    /// Whether a request of an engine is under way: copying gives way to it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }
}
