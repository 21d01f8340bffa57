//! What the index costs in memory: after random overwrites of small and of larger writes.

use crate::rig::{self, Random, Volume};
use crate::row::Row;
use moraine_store::disk::MemoryDisk;

const VOLUME_BLOCKS: u64 = 1 << 17;

/// Measures bytes of memory for each live block.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let figure = "index memory, volume of random 4 KiB writes";
    let row = Row::new(figure, bytes_per_block(1, VOLUME_BLOCKS), "bytes/block");
    print(row.target("at_most", 16.0));
    let figure = "index memory, half of a volume of random 4 KiB writes";
    let row = Row::new(
        figure,
        bytes_per_block(1, VOLUME_BLOCKS * 7 / 10),
        "bytes/block",
    );
    print(row.target("at_most", 16.0));
    let beside = bytes_per_block(32, VOLUME_BLOCKS / 8) - 4.0;
    let figure = "index memory, random 128 KiB writes, beside checksums";
    print(Row::new(figure, beside, "bytes/block").target("at_most", 2.0));
}

/// Bytes of the index for each live block: every block written once in a random order, or as many
/// writes as `writes` says.
fn bytes_per_block(count: u16, writes: u64) -> f64 {
    let mut disk = MemoryDisk::new(6 << 30, 4096);
    let opened = rig::formatted(&mut disk, 1);
    let mut shard = rig::shard(disk, &opened, 0);
    let mut volume = Volume::new(VOLUME_BLOCKS, 1, 0);
    let mut random = Random(1);
    let places = VOLUME_BLOCKS / u64::from(count);
    rig::drive(&mut shard, 32, writes, |shard| {
        let block = random.below(places) * u64::from(count);
        volume.write(shard, block, count)
    });
    let metrics = shard.metrics();
    metrics.index_bytes as f64 / metrics.live_blocks as f64
}
