//! What the replicas of a shard have done, as plain values.

use moraine_protocol::Refusal;

/// Counters since the start; a recovery goes on counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Requests that came.
    pub requests: u64,
    /// Opens that were answered.
    pub opens: u64,
    /// Writes, zeros and trims that were done.
    pub writes: u64,
    /// Blocks of data in them.
    pub written_blocks: u64,
    /// Reads that were answered with data.
    pub reads: u64,
    /// Blocks of data in them.
    pub read_blocks: u64,
    /// Requests that were refused, by reason.
    pub refusals: RefusalCounts,
    /// Map entries adopted.
    pub entries_adopted: u64,
    /// Map entries that contradict one of the same epoch: a bug of the operator.
    pub entries_contradicting: u64,
    /// Copies of a bucket begun, anew after a new listing too.
    pub syncs_started: u64,
    /// Copies that became whole.
    pub syncs_done: u64,
    /// Calls that failed or were refused while copying.
    pub sync_failures: u64,
    /// Chunks that were compared with a source.
    pub chunks_compared: u64,
    /// Bytes of data that came from sources and were written.
    pub copied_bytes: u64,
    /// Bytes of data that were given to replicas elsewhere.
    pub served_bytes: u64,
    /// Unanswered requests now.
    pub in_flight: u64,
    /// Buckets that are being copied now.
    pub syncing: u64,
}

/// Requests that were refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// [`Refusal::StaleEpoch`].
    pub stale_epoch: u64,
    /// [`Refusal::Fenced`].
    pub fenced: u64,
    /// [`Refusal::NotOpen`].
    pub not_open: u64,
    /// [`Refusal::NotInSync`].
    pub not_in_sync: u64,
    /// [`Refusal::NotHere`].
    pub not_here: u64,
    /// [`Refusal::UnknownVolume`].
    pub unknown_volume: u64,
    /// [`Refusal::Deleted`].
    pub deleted: u64,
    /// [`Refusal::NoSnapshot`].
    pub no_snapshot: u64,
    /// [`Refusal::NoSpace`].
    pub no_space: u64,
    /// [`Refusal::Damaged`].
    pub damaged: u64,
    /// [`Refusal::Mismatch`].
    pub mismatch: u64,
    /// [`Refusal::Busy`].
    pub busy: u64,
    /// [`Refusal::Stopped`].
    pub stopped: u64,
    /// [`Refusal::Malformed`].
    pub malformed: u64,
}

impl RefusalCounts {
    /// All of them together.
    pub fn total(&self) -> u64 {
        [
            self.stale_epoch,
            self.fenced,
            self.not_open,
            self.not_in_sync,
            self.not_here,
            self.unknown_volume,
            self.deleted,
            self.no_snapshot,
            self.no_space,
            self.damaged,
            self.mismatch,
            self.busy,
            self.stopped,
            self.malformed,
        ]
        .iter()
        .sum()
    }

    /// Counts one.
    pub(crate) fn count(&mut self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::StaleEpoch { .. } => &mut self.stale_epoch,
            Refusal::Fenced { .. } => &mut self.fenced,
            Refusal::NotOpen => &mut self.not_open,
            Refusal::NotInSync => &mut self.not_in_sync,
            Refusal::NotHere => &mut self.not_here,
            Refusal::UnknownVolume => &mut self.unknown_volume,
            Refusal::Deleted => &mut self.deleted,
            Refusal::NoSnapshot => &mut self.no_snapshot,
            Refusal::NoSpace => &mut self.no_space,
            Refusal::Damaged { .. } => &mut self.damaged,
            Refusal::Mismatch { .. } => &mut self.mismatch,
            Refusal::Busy => &mut self.busy,
            Refusal::Stopped => &mut self.stopped,
            Refusal::Malformed { .. } => &mut self.malformed,
        };
        *counter += 1;
    }
}
