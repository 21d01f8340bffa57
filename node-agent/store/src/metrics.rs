//! What a shard has done and how full it is, as plain values.

/// Counters since the shard was opened, and gauges of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Blocks that the index refers to.
    pub live_blocks: u64,
    /// Segments of the shard.
    pub segments: u64,
    /// Segments that nobody has, of the whole disk.
    pub free_segments: u64,
    /// Bytes of the index in memory.
    pub index_bytes: u64,
    /// Batches written.
    pub batches: u64,
    /// Requests in them.
    pub batch_requests: u64,
    /// Blocks of user data in them.
    pub data_blocks: u64,
    /// Blocks written for batches, headers too.
    pub log_blocks: u64,
    /// Blocks written for heads, indexes and footers.
    pub overhead_blocks: u64,
    /// Blocks copied by compaction.
    pub compacted_blocks: u64,
    /// Compactions published.
    pub compactions: u64,
    /// Segments freed.
    pub freed_segments: u64,
    /// Blocks whose checksum was wrong.
    pub corrupt_blocks: u64,
    /// Reads that the disk failed.
    pub read_failures: u64,
    /// Writes that the disk failed: at most one, the shard stops.
    pub write_failures: u64,
    /// Requests refused for want of space.
    pub no_space: u64,
    /// Blocks read by scrubbing.
    pub scrubbed_blocks: u64,
}

impl Metrics {
    /// Blocks written to the disk for each block of user data, in thousandths.
    pub fn write_amplification_permille(&self) -> u64 {
        let written = self.log_blocks + self.overhead_blocks + self.compacted_blocks;
        (written * 1000).checked_div(self.data_blocks).unwrap_or(0)
    }
}
