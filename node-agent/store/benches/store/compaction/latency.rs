//! How long a foreground write takes while compaction runs, and while it does not.
//!
//! On a file with direct I/O, written wholly before, with segments of 32 MiB. Writes of 4 KiB go to
//! random blocks of the live part. Phases take turns; in one of each pair compaction is asked for
//! all the time and keeps to its default rate.

use crate::row::Row;
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketId, CHUNK_BLOCKS, ChunkIndex, ClusterId, Cut, DiskId, Epoch,
    Stamp, VolumeId,
};
use moraine_store::disk::{
    Allocation, Device, DeviceDisk, Disk, OpenOptions, Operation, create_file,
};
use moraine_store::{
    Buffer, Content, FormatOptions, Place, Request, RequestId, Rule, Shard, ShardOptions, Tag,
    Write, block_checksums, format, open,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const SEGMENT_BLOCKS: u32 = 8192;
const SEGMENTS: u32 = 48;
const LIVE_CHUNKS: u32 = 96;
const OUTSTANDING: usize = 16;
const PAIRS: u32 = 4;
const PHASE: Duration = Duration::from_secs(4);

struct Writer {
    shard: Shard<DeviceDisk>,
    started: Instant,
    seed: u64,
    sequence: u64,
    since: BTreeMap<RequestId, Instant>,
}

impl Writer {
    fn submit(&mut self, chunk: u32, first: u16, count: u16) {
        self.sequence += 1;
        let mut data = Buffer::zeroed(usize::from(count));
        for block in data.chunks_mut(BLOCK_BYTES) {
            block[..8].copy_from_slice(&self.sequence.to_le_bytes());
        }
        let checksums = block_checksums(&data);
        let id = self.shard.submit(Request::Write(Write {
            place: Place {
                volume: VolumeId::new(1).expect("not zero"),
                bucket: BucketId::new(0).expect("a bucket"),
                chunk: ChunkIndex::new(chunk).expect("a chunk"),
            },
            range: BlockRange::new(first, count).expect("blocks of a chunk"),
            tag: Tag {
                stamp: Stamp::new(1, 0, self.sequence),
                cut: Cut(0),
                epoch: Epoch(1),
            },
            rule: Rule::Write { listed: Epoch(0) },
            content: Content::Data { data, checksums },
        }));
        self.since.insert(id, Instant::now());
    }

    /// Waits for some answers, and gives how long each took.
    fn answers(&mut self) -> Vec<Duration> {
        let elapsed = self.started.elapsed().as_millis();
        self.shard
            .wait(u64::try_from(elapsed).expect("a short time"));
        let mut took = Vec::new();
        while let Some(reply) = self.shard.next_reply() {
            reply.outcome.expect("there is space");
            let since = self.since.remove(&reply.id).expect("answered once");
            took.push(since.elapsed());
        }
        took
    }

    fn fill(&mut self) {
        for chunk in 0..LIVE_CHUNKS {
            for first in (0..CHUNK_BLOCKS).step_by(256) {
                self.submit(chunk, first, 256);
                while self.since.len() > 4 {
                    self.answers();
                }
            }
        }
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn step(&mut self) -> Vec<Duration> {
        while self.since.len() < OUTSTANDING {
            let chunk = u32::try_from(self.random() % u64::from(LIVE_CHUNKS));
            let first = u16::try_from(self.random() % u64::from(CHUNK_BLOCKS));
            self.submit(chunk.expect("a chunk"), first.expect("a block"), 1);
        }
        self.answers()
    }

    /// One phase; gives p99 in milliseconds, and the blocks that compaction copied in it.
    fn phase(&mut self, compacting: bool) -> (f64, u64) {
        while !compacting && self.shard.metrics().compacting {
            self.step();
        }
        let copied = self.shard.metrics().compacted_blocks;
        let start = Instant::now();
        let mut took = Vec::new();
        while start.elapsed() < PHASE {
            if compacting {
                self.shard.request_compaction();
            }
            took.extend(self.step());
        }
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        let copied = self.shard.metrics().compacted_blocks - copied;
        (p99.as_secs_f64() * 1000.0, copied)
    }
}

/// Writes all of the file: a block's first write is another thing than those after it.
fn write_all(disk: &mut DeviceDisk) {
    let size_bytes = disk.geometry().size_bytes;
    let mut completions = Vec::new();
    for offset in (0..size_bytes).step_by(1 << 20) {
        let blocks = usize::try_from((size_bytes - offset).min(1 << 20)).expect("a mebibyte");
        let buffers = vec![Buffer::zeroed(blocks / BLOCK_BYTES)];
        let write = Operation::Write { offset, buffers };
        disk.submit(offset, write).expect("the queue has room");
        while disk.in_flight() > 8 {
            disk.wait(&mut completions);
        }
    }
    while disk.in_flight() > 0 {
        disk.wait(&mut completions);
    }
    for completion in completions {
        completion.outcome.expect("the file is written");
    }
}

fn writer(path: &Path) -> Writer {
    let size_bytes = u64::from(SEGMENTS * SEGMENT_BLOCKS + 256) * BLOCK_BYTES as u64;
    create_file(path, size_bytes, Allocation::Reserved).expect("there is room for the file");
    let device = Device::open(path, &OpenOptions::default()).expect("a file opens");
    let opened = device.handle().expect("a handle");
    let mut disk = opened.disk;
    eprintln!(
        "  {:?}, direct {}: {}",
        opened.backend,
        device.direct(),
        path.display()
    );
    write_all(&mut disk);
    let cluster = ClusterId::new(1).expect("not zero");
    let options = FormatOptions {
        segment_blocks: SEGMENT_BLOCKS,
        ..FormatOptions::new(cluster, DiskId::new(1).expect("not zero"))
    };
    format(&mut disk, &options).expect("the file is formatted");
    let opened = open(&mut disk, cluster).expect("a formatted file opens");
    let shard = Shard::recover(disk, &opened, 0, ShardOptions::default());
    Writer {
        shard: shard.expect("an empty shard recovers"),
        started: Instant::now(),
        seed: 0x9e37_79b9_7f4a_7c15,
        sequence: 0,
        since: BTreeMap::new(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the file");
    let mut writer = writer(&folder.path().join("disk"));
    writer.fill();
    // Garbage for the first phase.
    writer.phase(false);
    let (mut without, mut with, mut copied) = (Vec::new(), Vec::new(), 0);
    for _ in 0..PAIRS {
        without.push(writer.phase(false).0);
        let (p99, blocks) = writer.phase(true);
        with.push(p99);
        copied += blocks;
    }
    eprintln!("  p99 in ms, phase by phase: without {without:.1?}, with {with:.1?}");
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let rate = (copied * BLOCK_BYTES as u64) as f64 / (PHASE * PAIRS).as_secs_f64() / 1e6;
    let figure = "p99 of 4 KiB writes, 16 outstanding, while compaction runs";
    print(
        Row::new(figure, median(with), "ms")
            .against("without compaction", median(without))
            .target("ratio_at_most", 3.0),
    );
    eprintln!("  copied by compaction meanwhile: {rate:.0} MB/s");
}
