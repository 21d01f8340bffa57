//! What an engine is told when it is made: which volume, by what right, and its limits. Nothing
//! here changes later; size and cut are only where it begins.

use moraine_model::{Cut, Generation, VolumeId};

/// The volume and the life of its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The volume.
    pub volume: VolumeId,
    /// The id that places its chunks: its own, or its ancestor's for a clone.
    pub placement_key: VolumeId,
    /// Its size, a multiple of the block size.
    pub size_bytes: u64,
    /// The life of this engine. No other engine may ever have had it.
    pub generation: Generation,
    /// The cut that the volume is to have. The engine takes a greater one if it finds one.
    pub cut: Cut,
    /// The number of buckets of the pool.
    pub buckets: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Bounds and time-outs.
    pub limits: Limits,
}

impl Settings {
    /// A writable volume that is its own placement key, with the usual limits.
    pub fn new(volume: VolumeId, size_bytes: u64, generation: Generation, buckets: u32) -> Self {
        Self {
            volume,
            placement_key: volume,
            size_bytes,
            generation,
            cut: Cut(0),
            buckets,
            read_only: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds of every queue, and how long the engine waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most unanswered operations; one more is refused as busy.
    pub ios_max: usize,
    /// Most bytes of data of one operation.
    pub io_bytes_max: usize,
    /// Most parts of one operation that are under way at once; a part lies in one chunk.
    pub parts_max: usize,
    /// Most buckets that are opened at one disk at once.
    pub opens_max: usize,
    /// Most buckets that are reconciled at once.
    pub reconciles_max: usize,
    /// Most repairs that wait or are under way; a further bad block waits for its next read.
    pub repairs_max: usize,
    /// How long a disk may be without a path, leave a request without an answer, or refuse it again
    /// and again, before it is suspected. Reads then go elsewhere.
    pub path_timeout_ms: u64,
    /// The pause before something that a replica refused for now is asked again; it doubles each
    /// time up to `pause_max_ms`.
    pub pause_ms: u64,
    /// The longest such pause.
    pub pause_max_ms: u64,
    /// How long a write for which a disk has no room is tried before its operation ends with
    /// [`crate::IoError::NoSpace`].
    pub no_space_grace_ms: u64,
    /// How long an operation may take before it ends with [`crate::IoError::TimedOut`].
    pub io_deadline_ms: u64,
    /// How long a detach may take before it is given up as not clean.
    pub detach_deadline_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ios_max: 1024,
            io_bytes_max: 64 << 20,
            parts_max: 32,
            opens_max: 64,
            reconciles_max: 16,
            repairs_max: 64,
            path_timeout_ms: 1500,
            pause_ms: 5,
            pause_max_ms: 1000,
            no_space_grace_ms: 10_000,
            io_deadline_ms: 300_000,
            detach_deadline_ms: 60_000,
        }
    }
}
