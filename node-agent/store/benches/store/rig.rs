//! Shards under load: a volume of 4 KiB blocks, written in a random or sequential order.

use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketId, CHUNK_BLOCKS, ChunkIndex, ClusterId, Cut, DiskId, Epoch,
    Stamp, VolumeId,
};
use moraine_store::{
    Checksums, Content, Disk, Done, FormatOptions, Opened, Place, Request, Rule, Shard,
    ShardOptions, Tag, Write, block_checksums, format, open,
};
use std::time::Instant;

/// Blocks of a full-sized segment.
pub(crate) const SEGMENT_BLOCKS: u32 = 32_768;

/// The cluster that all disks belong to.
pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(1).expect("not zero")
}

/// Formats a disk for so many shards and opens it.
pub(crate) fn formatted<D: Disk>(disk: &mut D, shards: u32) -> Opened {
    let disk_id = DiskId::new(2).expect("not zero");
    let options = FormatOptions {
        shards,
        ..FormatOptions::new(cluster(), disk_id)
    };
    format(disk, &options).expect("a blank disk is formatted");
    open(disk, cluster()).expect("what was formatted opens")
}

/// A shard of an opened disk with nothing but its default options.
pub(crate) fn shard<D: Disk>(disk: D, opened: &Opened, number: u32) -> Shard<D> {
    Shard::recover(disk, opened, number, ShardOptions::default()).expect("a new shard is empty")
}

/// Random numbers: small, fast, and the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*; the high half of the product with the bound is as good as a remainder.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(value) * u128::from(bound)) >> 64) as u64
    }

    /// Puts things in a random order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            things.swap(last, other);
        }
    }
}

/// A volume whose chunks lie in the buckets of one shard, as an engine would write it.
pub(crate) struct Volume {
    blocks: u64,
    shards: u32,
    shard: u32,
    sequence: u64,
    /// Data with its checksum, made once: the engine computes it, the store verifies it.
    data: [u8; BLOCK_BYTES],
    sum: u32,
}

impl Volume {
    /// A volume of so many blocks for one of so many shards.
    pub(crate) fn new(blocks: u64, shards: u32, shard: u32) -> Self {
        let data = std::array::from_fn(|nth| (nth % 251) as u8);
        Self::of(&data, blocks, shards, shard)
    }

    /// One whose data is all zeros, though it is written as data.
    pub(crate) fn of_zeros(blocks: u64, shards: u32, shard: u32) -> Self {
        Self::of(&[0; BLOCK_BYTES], blocks, shards, shard)
    }

    fn of(data: &[u8; BLOCK_BYTES], blocks: u64, shards: u32, shard: u32) -> Self {
        Self {
            blocks,
            shards,
            shard,
            sequence: 0,
            data: *data,
            sum: block_checksums(data)[0],
        }
    }

    /// How many blocks it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Where `count` blocks from `block` on are, within a chunk.
    pub(crate) fn locate(&self, block: u64, count: u16) -> (Place, BlockRange) {
        let chunk = u32::try_from(block / u64::from(CHUNK_BLOCKS)).expect("a small volume");
        let first = u16::try_from(block % u64::from(CHUNK_BLOCKS)).expect("a remainder");
        // 1024 buckets of the pool, of which this shard has its part.
        let bucket = (chunk % (1024 / self.shards)) * self.shards + self.shard;
        let place = Place {
            volume: VolumeId::new(7).expect("not zero"),
            bucket: BucketId::new(bucket).expect("below the limit"),
            chunk: ChunkIndex::new(chunk).expect("below the limit"),
        };
        let range = BlockRange::new(first, count).expect("within a chunk");
        (place, range)
    }

    /// The next write: `count` blocks from `block` on, within a chunk.
    pub(crate) fn write<D: Disk>(
        &mut self,
        shard: &mut Shard<D>,
        block: u64,
        count: u16,
    ) -> Request {
        self.sequence += 1;
        let (place, range) = self.locate(block, count);
        let mut data = shard.buffer(usize::from(count));
        for bytes in data.chunks_exact_mut(BLOCK_BYTES) {
            // Memory from the pool mostly holds it already: what fills it is the network's work and
            // not measured here. The store compares every byte with the checksum.
            if bytes[..64] != self.data[..64] {
                bytes.copy_from_slice(&self.data);
            }
        }
        Request::Write(Write {
            place,
            range,
            tag: Tag {
                stamp: Stamp::new(1, 0, self.sequence),
                cut: Cut(0),
                epoch: Epoch(1),
            },
            rule: Rule::Write { listed: Epoch(1) },
            content: Content::Data {
                data,
                checksums: Checksums::from(vec![self.sum; usize::from(count)]),
            },
        })
    }
}

/// Keeps `outstanding` requests under way until `total` are done.
pub(crate) fn drive<D: Disk>(
    shard: &mut Shard<D>,
    outstanding: usize,
    total: u64,
    next: impl FnMut(&mut Shard<D>) -> Request,
) {
    drive_while(shard, outstanding, |submitted| submitted < total, next);
}

/// Keeps `outstanding` requests under way until then, and tells how many were done.
pub(crate) fn drive_until<D: Disk>(
    shard: &mut Shard<D>,
    outstanding: usize,
    end: Instant,
    next: impl FnMut(&mut Shard<D>) -> Request,
) -> u64 {
    drive_while(shard, outstanding, |_| Instant::now() < end, next)
}

fn drive_while<D: Disk>(
    shard: &mut Shard<D>,
    outstanding: usize,
    go_on: impl Fn(u64) -> bool,
    mut next: impl FnMut(&mut Shard<D>) -> Request,
) -> u64 {
    let clock = Instant::now();
    let (mut submitted, mut done) = (0, 0);
    loop {
        while submitted - done < outstanding as u64 && go_on(submitted) {
            let request = next(shard);
            shard.submit(request);
            submitted += 1;
        }
        if submitted == done {
            return done;
        }
        shard.wait(clock.elapsed().as_millis() as u64);
        while let Some(reply) = shard.next_reply() {
            if let Done::Read(parts) = reply.outcome.expect("the disk is well") {
                for buffer in parts.into_iter().filter_map(|part| part.data) {
                    shard.recycle(buffer);
                }
            }
            done += 1;
        }
    }
}

/// The middle of some figures.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
