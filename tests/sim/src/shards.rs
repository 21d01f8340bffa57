//! The shards of a disk in one process: which of them a bucket's requests go to, and their queues of
//! operations, of which any may complete next.

use crate::agents::SimDisk;
use crate::chance::Chance;
use bytes::Bytes;
use moraine_model::{BucketEntry, BucketId, Cut, VolumeId};
use moraine_protocol::{Reply, Request, RequestId};
use moraine_replica::{CallId, Output, Replicas, SessionId};
use moraine_store::Buffer;
use moraine_store::disk::{CrashFate, MemoryQueue};

struct Part {
    /// `None` while it is being recovered.
    replicas: Option<Replicas<SimDisk>>,
    queue: MemoryQueue,
}

/// The shards of a disk.
#[derive(Default)]
pub(crate) struct Shards(Vec<Part>);

impl Shards {
    /// Adds the next one, whose operations wait until they are completed one by one.
    pub(crate) fn add(&mut self, replicas: Replicas<SimDisk>, queue: MemoryQueue) {
        queue.hold(true);
        self.0.push(Part {
            replicas: Some(replicas),
            queue,
        });
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Replicas<SimDisk>> {
        self.0.iter_mut().filter_map(|part| part.replicas.as_mut())
    }

    /// The shard that serves a bucket, as the store has it.
    fn of(&mut self, bucket: Option<BucketId>) -> Option<&mut Replicas<SimDisk>> {
        let number = bucket.map_or(0, |bucket| bucket.get() as usize);
        let count = self.0.len();
        self.0[number % count].replicas.as_mut()
    }

    fn each(&mut self, mut done: impl FnMut(&mut Replicas<SimDisk>) -> bool) -> bool {
        // All are told, whatever the first of them say.
        self.all().fold(true, |all, replicas| done(replicas) & all)
    }

    /// See `Replicas::learn`.
    pub(crate) fn learn(&mut self, entry: BucketEntry) {
        if let Some(replicas) = self.of(Some(entry.bucket())) {
            replicas.learn(entry);
        }
    }

    /// See `Replicas::describe`.
    pub(crate) fn describe(&mut self, volume: VolumeId, text: Option<&[u8]>) {
        for replicas in self.all() {
            let described = replicas.describe(volume, text.map(<[u8]>::to_vec));
            described.expect("a short description fits");
        }
    }

    /// See `Replicas::delete_volume`.
    pub(crate) fn delete_volume(&mut self, volume: VolumeId, cut: Cut) -> bool {
        self.each(|replicas| replicas.delete_volume(volume, cut))
    }

    /// See `Replicas::delete_snapshot`.
    pub(crate) fn delete_snapshot(&mut self, volume: VolumeId, cut: Cut) -> bool {
        self.each(|replicas| replicas.delete_snapshot(volume, cut))
    }

    /// See `Replicas::add_reference`.
    pub(crate) fn add_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) -> bool {
        self.each(|replicas| replicas.add_reference(volume, cut, child))
    }

    /// See `Replicas::remove_reference`.
    pub(crate) fn remove_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) -> bool {
        self.each(|replicas| replicas.remove_reference(volume, cut, child))
    }

    /// See `Replicas::forget`.
    pub(crate) fn forget(&mut self, bucket: BucketId) {
        if let Some(replicas) = self.of(Some(bucket)) {
            replicas.forget(bucket);
        }
    }

    /// A request comes to the shard of its bucket.
    pub(crate) fn request(
        &mut self,
        session: SessionId,
        id: RequestId,
        request: Request,
        data: Option<&Bytes>,
    ) {
        if let Some(replicas) = self.of(request.bucket()) {
            let buffer = data.map(|data| filled(replicas, data));
            replicas.request(session, id, request, buffer);
        }
    }

    /// What became of a call of one of them.
    pub(crate) fn answered(&mut self, call: (usize, CallId), answer: Option<(Reply, Bytes)>) {
        if let Some(replicas) = &mut self.0[call.0].replicas {
            let (reply, data) = answer.unzip();
            let data = data.filter(|data| !data.is_empty());
            let buffer = data.map(|data| filled(replicas, &data));
            replicas.answered(call.1, reply, buffer);
        }
    }

    /// Takes back the memory of a reply.
    pub(crate) fn recycle(&mut self, shard: usize, buffer: Buffer) {
        if let Some(replicas) = &mut self.0[shard].replicas {
            replicas.recycle(buffer);
        }
    }

    /// A session is gone.
    pub(crate) fn disconnected(&mut self, session: SessionId) {
        self.all()
            .for_each(|replicas| replicas.disconnected(session));
    }

    /// All look at the clock.
    pub(crate) fn poll(&mut self, now_ms: u64) {
        self.all().for_each(|replicas| replicas.poll(now_ms));
    }

    /// What is to be done next, and which says so.
    pub(crate) fn next_output(&mut self) -> Option<(usize, Output)> {
        let mut parts = self.0.iter_mut().enumerate();
        parts.find_map(|(shard, part)| Some((shard, part.replicas.as_mut()?.next_output()?)))
    }

    /// One whose disk has failed a write, to recover it and put it back.
    pub(crate) fn take_stopped(&mut self) -> Option<(usize, Replicas<SimDisk>)> {
        let mut parts = self.0.iter_mut().enumerate();
        parts.find_map(|(shard, part)| {
            let stopped = part.replicas.take_if(|replicas| replicas.is_stopped())?;
            Some((shard, stopped))
        })
    }

    /// One that was recovered.
    pub(crate) fn put_back(&mut self, shard: usize, replicas: Replicas<SimDisk>) {
        self.0[shard].replicas = Some(replicas);
    }

    /// How many operations wait for the disk.
    pub(crate) fn pending(&self) -> usize {
        self.0.iter().map(|part| part.queue.pending()).sum()
    }

    /// The nth of those completes.
    pub(crate) fn complete(&mut self, mut nth: usize) {
        for part in &self.0 {
            let pending = part.queue.pending();
            if nth < pending {
                part.queue.complete(nth);
                return;
            }
            nth -= pending;
        }
    }

    /// The process ends with whatever was under way.
    pub(crate) fn crash(self, fates: &mut Chance) {
        for part in &self.0 {
            part.queue.crash(|operation| match fates.below(3) {
                0 => CrashFate::Lost,
                1 => CrashFate::Whole,
                _ => {
                    let sectors = operation.size_bytes() / 512;
                    CrashFate::Sectors((0..sectors).map(|_| fates.permille(500)).collect())
                }
            });
        }
    }
}

fn filled(replicas: &mut Replicas<SimDisk>, data: &[u8]) -> Buffer {
    let mut buffer = replicas.buffer(data.len() / 4096);
    buffer.copy_from_slice(data);
    buffer
}
