//! The engine as its shell sees it.

use crate::{Io, IoId, Metrics, NewError, Output, PathId, ResizeError, Settings};
use bytes::Bytes;
use moraine_model::{BucketEntry, BucketId, Cut, DiskId, Epoch};
use moraine_protocol::{Reply, RequestId};
use std::collections::VecDeque;

/// The client of one attached volume.
#[derive(Debug)]
pub struct Engine {
    outputs: VecDeque<Output>,
    metrics: Metrics,
}

impl Engine {
    /// An engine that begins to attach the volume, given the map's entries of all buckets that it
    /// uses.
    pub fn new(settings: Settings, entries: Vec<BucketEntry>) -> Result<Self, NewError> {
        let _ = (settings, entries);
        Ok(Self {
            outputs: VecDeque::new(),
            metrics: Metrics::default(),
        })
    }

    /// Begins an operation. Its result comes as [`Output::Done`].
    pub fn submit(&mut self, io: IoId, operation: Io) {
        let _ = (io, operation);
    }

    /// News of the map: late, repeated and out of order are fine.
    pub fn learn(&mut self, entries: Vec<BucketEntry>) {
        let _ = entries;
    }

    /// The entry of this bucket and epoch that [`Output::Keep`] named is durable.
    pub fn kept(&mut self, bucket: BucketId, epoch: Epoch) {
        let _ = (bucket, epoch);
    }

    /// There is a connection to a disk, which takes so many unanswered requests at once.
    pub fn connected(&mut self, path: PathId, disk: DiskId, credits: u32, local: bool) {
        let _ = (path, disk, credits, local);
    }

    /// A connection is lost, and what was unanswered on it will not be answered.
    pub fn disconnected(&mut self, path: PathId) {
        let _ = path;
    }

    /// A reply, with the data of all its parts, one behind the other.
    pub fn answered(&mut self, path: PathId, id: RequestId, reply: Reply, payload: Bytes) {
        let _ = (path, id, reply, payload);
    }

    /// Writes are to have this cut, as soon as those with the older one are acknowledged. Answered
    /// with [`Output::CutReached`], at once if it has been reached.
    pub fn raise_cut(&mut self, cut: Cut) {
        let _ = cut;
    }

    /// The volume is to grow. Answered with [`Output::Resized`].
    pub fn resize(&mut self, size_bytes: u64) -> Result<(), ResizeError> {
        let _ = size_bytes;
        Ok(())
    }

    /// Ends the engine: what is in flight is finished, then replicas learn that there is nothing to
    /// reconcile. Answered with [`Output::Detached`].
    pub fn detach(&mut self) {}

    /// The time, which never goes backwards.
    pub fn tick(&mut self, now_ms: u64) {
        let _ = now_ms;
    }

    /// When [`Self::tick`] is wanted next at the latest.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    /// What to do next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts of what it met.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
