//! Settings that may change from one start to the next.

use moraine_model::{BUCKETS_MAX, DiskId};

/// Settings of the replicas of one shard.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The disk, by which map entries name its replicas.
    pub disk: DiskId,
    /// How many buckets the pool has; requests for others are refused.
    pub buckets: u32,
    /// Whether only volumes that were described can be opened.
    pub only_known_volumes: bool,
    /// Requests that may be unanswered at once; more are refused.
    pub requests_max: usize,
    /// How old a commit mark may become before it is made durable.
    pub mark_interval_ms: u64,
    /// How copies are made.
    pub sync: SyncOptions,
}

/// Settings of the copying of replicas.
#[derive(Debug, Clone, Copy)]
pub struct SyncOptions {
    /// Buckets that are copied at once.
    pub buckets_max: usize,
    /// Chunks of a bucket that are copied at once, while no engine's request is under way; else one.
    pub chunks_max: usize,
    /// Bytes of data a second that are asked for.
    pub bytes_per_s: u64,
    /// How long to wait after a failure before asking again.
    pub retry_ms: u64,
    /// How often to say that a copy is whole, until the map says so.
    pub report_ms: u64,
}

impl Options {
    /// The usual settings for a disk.
    pub fn new(disk: DiskId) -> Self {
        Self {
            disk,
            buckets: BUCKETS_MAX,
            only_known_volumes: false,
            requests_max: 4096,
            mark_interval_ms: 1000,
            sync: SyncOptions::default(),
        }
    }
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            buckets_max: 2,
            chunks_max: 4,
            bytes_per_s: 128 << 20,
            retry_ms: 500,
            report_ms: 1000,
        }
    }
}
