//! What the processor can do: durable writes to a disk in memory, by one shard and by two.

use crate::rig::{self, Random, SEGMENT_BLOCKS, Volume};
use crate::row::Row;
use moraine_store::disk::MemoryDisk;
use std::time::Instant;

const OUTSTANDING: usize = 32;
const VOLUME_BLOCKS: u64 = 1 << 17;
const WRITES: u64 = 400_000;
const SEGMENTS_PER_SHARD: u64 = 32;
const ROUNDS: usize = 5;

/// Measures writes without a device.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let mut one = Vec::new();
    let mut two = Vec::new();
    for _ in 0..ROUNDS {
        one.push(writes_per_s(1));
        two.push(writes_per_s(2));
    }
    let (one, two) = (rig::median(&mut one), rig::median(&mut two));
    let figure = "4 KiB random writes with checksum, memory disk, one shard";
    print(Row::new(figure, one, "writes/s").target("at_least", 400_000.0));
    let figure = "the same by two shards of one disk on two threads";
    let row = Row::new(figure, two, "writes/s").against("one shard", one);
    print(row.target("ratio_at_least", 1.8));
}

/// Writes of all shards together in a second, each on a thread of its own.
fn writes_per_s(shards: u32) -> f64 {
    let segment_bytes = u64::from(SEGMENT_BLOCKS) * 4096;
    let size = (1 << 20) + u64::from(shards) * SEGMENTS_PER_SHARD * segment_bytes;
    let mut disk = MemoryDisk::new(size, 4096);
    disk.touch();
    let opened = rig::formatted(&mut disk, shards);
    let start = std::sync::Barrier::new(shards as usize);
    let slowest = std::thread::scope(|scope| {
        let running: Vec<_> = (0..shards)
            .map(|number| {
                let mut shard = rig::shard(disk.another(), &opened, number);
                let start = &start;
                scope.spawn(move || {
                    let mut volume = Volume::new(VOLUME_BLOCKS, shards, number);
                    let mut block = 0;
                    rig::drive(&mut shard, OUTSTANDING, VOLUME_BLOCKS / 16, |shard| {
                        block += 16;
                        volume.write(shard, block - 16, 16)
                    });
                    let mut random = Random(u64::from(number) + 1);
                    start.wait();
                    let begun = Instant::now();
                    rig::drive(&mut shard, OUTSTANDING, WRITES, |shard| {
                        let block = random.below(volume.blocks());
                        volume.write(shard, block, 1)
                    });
                    begun.elapsed()
                })
            })
            .collect();
        let times = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        times.map(|time| time.expect("a shard ran")).max()
    });
    let seconds = slowest.expect("at least one shard").as_secs_f64();
    WRITES as f64 * f64::from(shards) / seconds
}
