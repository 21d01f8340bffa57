//! Blocks that compaction copies for each block of user data, beside a simulated greedy cleaner.
//!
//! Both have the same segments, the same reserve, the same live blocks and the same overwrites. A
//! segment takes as many blocks in the simulation as the store gets into one with batches of this
//! size: what headers, index and footer take is left out on both sides, copies of data alone count.
//! The disk is in memory, with segments of 4 MiB instead of 128 MiB, so that there are as many as a
//! disk of 16 GiB has.

use crate::row::Row;
use moraine_model::{
    BlockRange, BucketId, CHUNK_BLOCKS, ChunkIndex, ClusterId, Cut, DiskId, Epoch, Stamp, VolumeId,
};
use moraine_store::disk::MemoryDisk;
use moraine_store::{
    Buffer, Content, FormatOptions, Place, Request, Rule, Shard, ShardOptions, Tag, Write,
    block_checksums, format, open,
};

const SEGMENT_BLOCKS: u32 = 1024;
const SEGMENTS: u32 = 128;
/// Segments that data never takes, for one shard, and the two being filled: log and scratch.
const RESERVE: u32 = 3;
/// Writes handed over at once, so the most that a batch holds.
const AT_ONCE: u64 = 32;
/// A batch has one header block; head, footer and an index of 80 bytes a block are there too.
const USABLE_BLOCKS: u32 = (SEGMENT_BLOCKS - 6) * 32 / 33 * 98 / 100;
const FULL_PERCENT: u32 = 80;

/// Which block is overwritten next.
struct Load {
    seed: u64,
    blocks: u64,
    /// In percent: so much of the load goes to so much of the blocks.
    skew: Option<(u64, u64)>,
}

impl Load {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn next(&mut self) -> u64 {
        let Some((load, part)) = self.skew else {
            return self.random(self.blocks);
        };
        let hot = self.blocks * part / 100;
        let place = if self.random(100) < load {
            self.random(hot)
        } else {
            hot + self.random(self.blocks - hot)
        };
        // Hot blocks are strewn over the volume: nobody knows them by their place.
        place * 7_919 % self.blocks
    }
}

/// A cleaner that always takes the segment with the fewest live blocks.
struct Greedy {
    segments: Vec<Vec<u64>>,
    live: Vec<u32>,
    place: Vec<(u32, u32)>,
    free: Vec<u32>,
    log: u32,
    scratch: u32,
    copied: u64,
}

impl Greedy {
    fn new(blocks: u64) -> Self {
        let mut free: Vec<u32> = (0..SEGMENTS).collect();
        let [log, scratch] = [(); 2].map(|()| free.pop().expect("there are many segments"));
        Self {
            segments: vec![Vec::new(); SEGMENTS as usize],
            live: vec![0; SEGMENTS as usize],
            place: vec![(u32::MAX, 0); usize::try_from(blocks).expect("it fits the memory")],
            free,
            log,
            scratch,
            copied: 0,
        }
    }

    fn put(&mut self, block: u64, into: u32) {
        let segment = &mut self.segments[into as usize];
        let at = u32::try_from(segment.len()).expect("a segment is short");
        segment.push(block);
        self.live[into as usize] += 1;
        let place = &mut self.place[usize::try_from(block).expect("a block's number")];
        let before = std::mem::replace(place, (into, at));
        if before.0 != u32::MAX {
            self.live[before.0 as usize] -= 1;
        }
    }

    fn write(&mut self, block: u64) {
        if self.segments[self.log as usize].len() == USABLE_BLOCKS as usize {
            while self.free.len() <= RESERVE as usize {
                self.clean();
            }
            self.log = self.free.pop().expect("the reserve is left");
        }
        self.put(block, self.log);
    }

    fn clean(&mut self) {
        let full = (0..SEGMENTS).filter(|&number| {
            let filled = self.segments[number as usize].len() == USABLE_BLOCKS as usize;
            filled && number != self.scratch && number != self.log
        });
        let source = full.min_by_key(|&number| self.live[number as usize]);
        let source = source.expect("something is closed");
        for (at, block) in (0..).zip(std::mem::take(&mut self.segments[source as usize])) {
            if self.place[usize::try_from(block).expect("a block's number")] != (source, at) {
                continue;
            }
            if self.segments[self.scratch as usize].len() == USABLE_BLOCKS as usize {
                self.scratch = self.free.pop().expect("the reserve is left");
            }
            self.copied += 1;
            self.put(block, self.scratch);
        }
        self.free.push(source);
    }
}

/// The store, on a disk in memory.
struct Store {
    shard: Shard<MemoryDisk>,
    now_ms: u64,
    sequence: u64,
    waiting: Vec<u64>,
}

impl Store {
    fn new() -> Self {
        let blocks = u64::from(SEGMENTS * SEGMENT_BLOCKS + 256);
        let mut disk = MemoryDisk::new(blocks * 4096, 4096);
        let cluster = ClusterId::new(1).expect("not zero");
        let options = FormatOptions {
            segment_blocks: SEGMENT_BLOCKS,
            ..FormatOptions::new(cluster, DiskId::new(1).expect("not zero"))
        };
        format(&mut disk, &options).expect("a disk in memory is formatted");
        let opened = open(&mut disk, cluster).expect("a formatted disk opens");
        let shard = Shard::recover(disk, &opened, 0, ShardOptions::default());
        Self {
            shard: shard.expect("an empty shard recovers"),
            now_ms: 0,
            sequence: 0,
            waiting: Vec::new(),
        }
    }

    /// Takes a write; a full group goes to the disk and is waited for.
    fn write(&mut self, block: u64) {
        self.waiting.push(block);
        if self.waiting.len() as u64 == AT_ONCE {
            let group = std::mem::take(&mut self.waiting);
            let mut left = group.len();
            for block in group {
                self.submit(block);
            }
            while left > 0 {
                self.now_ms += 1;
                self.shard.wait(self.now_ms);
                while let Some(reply) = self.shard.next_reply() {
                    reply.outcome.expect("there is space");
                    left -= 1;
                }
            }
        }
    }

    fn submit(&mut self, block: u64) {
        self.sequence += 1;
        let (chunk, first) = (
            block / u64::from(CHUNK_BLOCKS),
            block % u64::from(CHUNK_BLOCKS),
        );
        let mut data = Buffer::zeroed(1);
        data[..8].copy_from_slice(&self.sequence.to_le_bytes());
        let number = |n: u64| u32::try_from(n).expect("a small number");
        self.shard.submit(Request::Write(Write {
            place: Place {
                volume: VolumeId::new(1).expect("not zero"),
                bucket: BucketId::new(0).expect("a bucket"),
                chunk: ChunkIndex::new(number(chunk)).expect("a chunk"),
            },
            range: BlockRange::new(u16::try_from(first).expect("a block"), 1).expect("one block"),
            tag: Tag {
                stamp: Stamp::new(1, 0, self.sequence),
                cut: Cut(0),
                epoch: Epoch(1),
            },
            rule: Rule::Write { listed: Epoch(0) },
            content: Content::Data {
                checksums: block_checksums(&data),
                data,
            },
        }));
    }
}

/// Write amplification of both, in steady state: store, then greedy.
fn measure(skew: Option<(u64, u64)>) -> (f64, f64) {
    let capacity = u64::from((SEGMENTS - RESERVE - 2) * USABLE_BLOCKS);
    let blocks = capacity * u64::from(FULL_PERCENT) / 100;
    let mut load = Load {
        seed: 0x9e37_79b9_7f4a_7c15,
        blocks,
        skew,
    };
    let (mut store, mut greedy) = (Store::new(), Greedy::new(blocks));
    for block in 0..blocks {
        store.write(block);
        greedy.write(block);
    }
    let mut overwrite = |count: u64| {
        for _ in 0..count {
            let block = load.next();
            store.write(block);
            greedy.write(block);
        }
        (store.shard.metrics().compacted_blocks, greedy.copied)
    };
    let settled = overwrite(3 * capacity);
    let measured = 2 * capacity;
    let end = overwrite(measured);
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let amplification = |copied: u64| (measured + copied) as f64 / measured as f64;
    (
        amplification(end.0 - settled.0),
        amplification(end.1 - settled.1),
    )
}

pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let peer = "simulated greedy cleaner";
    let (ours, greedy) = measure(None);
    let figure = "write amplification by compaction, uniform overwrites at 80 % full";
    print(
        Row::new(figure, ours, "blocks per user block")
            .against(peer, greedy)
            .target("ratio_at_most", 1.2),
    );
    let (ours, greedy) = measure(Some((90, 10)));
    eprintln!("  with 90 % of overwrites on 10 %: {ours:.2}, {peer} {greedy:.2}");
}
