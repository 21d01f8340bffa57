//! The replicas of one shard: what the shell calls, and how work flows through.

use crate::{
    CallId, DescriptionTooLong, Metrics, Options, Output, RecoverError, SessionId, StartError,
};
use moraine_model::{BucketEntry, BucketId, Cut, VolumeId};
use moraine_protocol::{Refusal, Reply, Request, RequestId};
use moraine_store::{Buffer, Disk, Shard};
use std::collections::VecDeque;

/// All bucket replicas of one shard of one disk.
#[derive(Debug)]
pub struct Replicas<D> {
    shard: Shard<D>,
    options: Options,
    outputs: VecDeque<Output>,
    metrics: Metrics,
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
        Ok(Self {
            shard,
            options,
            outputs: VecDeque::new(),
            metrics: Metrics::default(),
        })
    }

    /// Memory for the data of a write, from the disk's pool.
    pub fn buffer(&mut self, blocks: usize) -> Buffer {
        self.shard.buffer(blocks)
    }

    /// Takes back the memory of a reply that was sent.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.shard.recycle(buffer);
    }

    /// Takes a request. A write of data brings its data.
    pub fn request(
        &mut self,
        session: SessionId,
        id: RequestId,
        request: Request,
        payload: Option<Buffer>,
    ) {
        drop((request, payload));
        let reply = Reply::Refused(Refusal::NotHere);
        self.outputs.push_back(Output::Reply {
            session,
            id,
            reply,
            payload: Vec::new(),
        });
    }

    /// A connection is gone: its unanswered requests are finished, but not answered.
    pub fn disconnected(&mut self, session: SessionId) {
        self.outputs.retain(
            |output| !matches!(output, Output::Reply { session: of, .. } if *of == session),
        );
    }

    /// The map as the control plane tells it: late, repeated, out of order.
    pub fn learn(&mut self, entry: BucketEntry) {
        drop(entry);
    }

    /// The volume is deleted; it had reached this cut.
    pub fn delete_volume(&mut self, volume: VolumeId, cut: Cut) {
        let _ = (volume, cut);
    }

    /// The snapshot named by the cut is deleted.
    pub fn delete_snapshot(&mut self, volume: VolumeId, cut: Cut) {
        let _ = (volume, cut);
    }

    /// The clone reads through to the volume at the cut.
    pub fn add_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) {
        let _ = (volume, cut, child);
    }

    /// The clone does so no more.
    pub fn remove_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) {
        let _ = (volume, cut, child);
    }

    /// Drops what this shard holds of a bucket that no entry lists here any more.
    pub fn forget(&mut self, bucket: BucketId) {
        let _ = bucket;
    }

    /// Keeps the description of a volume on the disk, or removes it.
    pub fn describe(
        &mut self,
        volume: VolumeId,
        description: Option<Vec<u8>>,
    ) -> Result<(), DescriptionTooLong> {
        let _ = (volume, description);
        Ok(())
    }

    /// The descriptions that it keeps.
    pub fn descriptions(&self) -> impl Iterator<Item = (VolumeId, &[u8])> {
        std::iter::empty()
    }

    /// The map entries that it has adopted.
    pub fn entries(&self) -> impl Iterator<Item = &BucketEntry> {
        std::iter::empty()
    }

    /// What became of a call: the reply with all its data, or `None` if the connection was lost or
    /// nothing came in time.
    pub fn answered(&mut self, call: CallId, reply: Option<Reply>, payload: Option<Buffer>) {
        let _ = (call, reply, payload);
    }

    /// Takes what the disk has done and starts what can be started. `now_ms` is any clock that does
    /// not go back.
    pub fn poll(&mut self, now_ms: u64) {
        self.shard.poll(now_ms);
    }

    /// Like `poll`, but waits for the disk if something is under way.
    pub fn wait(&mut self, now_ms: u64) {
        self.shard.wait(now_ms);
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
    /// refused, for nobody knows what became of it.
    pub fn recover(self) -> (Vec<Output>, Result<Self, RecoverError>) {
        let Self {
            shard,
            options,
            outputs,
            ..
        } = self;
        let (_, shard) = shard.reopen();
        let again = shard
            .map_err(RecoverError::from)
            .and_then(|shard| Ok(Self::new(shard, options)?));
        (outputs.into(), again)
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }
}
