//! What a shard has done and how full it is, as plain values.

/// Counters since the shard was opened, and gauges of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Blocks that the index refers to.
    pub live_blocks: u64,
    /// Blocks of closed extents that compaction could give back.
    pub dead_blocks: u64,
    /// Segments of the shard.
    pub segments: u64,
    /// Segments that nobody has, of the whole disk.
    pub free_segments: u64,
    /// How many of those are kept from data, for compaction, trims and deletes.
    pub reserved_segments: u64,
    /// Bytes of the index in memory.
    pub index_bytes: u64,
    /// Batches written.
    pub batches: u64,
    /// Requests in them.
    pub batch_requests: u64,
    /// Batches by the requests in them: 1, 2, up to 4, up to 8, and so on; the last has the rest.
    pub batch_sizes: [u64; 12],
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
    /// Whether a compaction is under way.
    pub compacting: bool,
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
    /// Counts a batch of so many requests and blocks, of which so many are user data.
    pub(crate) fn note_batch(&mut self, requests: usize, blocks: u32, data_blocks: u32) {
        let class = requests.next_power_of_two().trailing_zeros() as usize;
        self.batch_sizes[class.min(self.batch_sizes.len() - 1)] += 1;
        self.batches += 1;
        self.batch_requests += requests as u64;
        self.log_blocks += u64::from(blocks);
        self.data_blocks += u64::from(data_blocks);
    }

    /// Blocks written to the disk for each block of user data, in thousandths.
    pub fn write_amplification_permille(&self) -> u64 {
        let written = self.log_blocks + self.overhead_blocks + self.compacted_blocks;
        (written * 1000).checked_div(self.data_blocks).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_counted_in_the_class_of_its_size() {
        let mut metrics = Metrics::default();
        for requests in [1, 2, 3, 4, 5, 1024, 1025, 1 << 20] {
            metrics.note_batch(requests, 3, 2);
        }
        assert_eq!(metrics.batch_sizes, [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((metrics.log_blocks, metrics.data_blocks), (24, 16));
        metrics.compacted_blocks = 8;
        assert_eq!(metrics.write_amplification_permille(), 2000);
    }
}
