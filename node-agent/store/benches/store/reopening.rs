//! How long a disk of ten million live blocks takes to open, and what it would take without indexes.
//!
//! The ten million are zeros as data, which the file never gets: it would take 40 GB, and recovery
//! reads none of it. A scan of batches does read the data, and out of holes faster than any disk, so
//! it is measured on a smaller disk with all of it.

use crate::rig::{self, Random, Volume};
use crate::row::Row;
use moraine_model::BLOCK_BYTES;
use moraine_store::disk::{
    Allocation, Completion, Device, DeviceDisk, Geometry, OpenOptions, Operation, create_file,
};
use moraine_store::format::{FOOTER_BLOCKS, HEAD_BLOCKS, Head, Layout, SegmentState};
use moraine_store::{Buffer, Disk, checksum, open};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const SHARDS: u32 = 2;
const ROUNDS: usize = 3;

/// A disk to reopen.
#[derive(Clone, Copy)]
struct Case {
    live_blocks: u64,
    size_bytes: u64,
    /// Whether the file gets the data.
    with_data: bool,
}

const LARGE: Case = Case {
    live_blocks: 10_000_000,
    size_bytes: 46 << 30,
    with_data: false,
};
const WHOLE: Case = Case {
    live_blocks: 2_000_000,
    size_bytes: 10 << 30,
    with_data: true,
};

/// Measures reopening.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let (seconds, _) = measure(LARGE);
    let figure = "reopening, 10 million live 4 KiB blocks, all extents closed";
    print(Row::new(figure, seconds, "s").target("at_most", 5.0));
    let (seconds, scanned) = measure(WHOLE);
    let scanned = scanned.expect("it has its data");
    let figure = "reopening, 2 million live 4 KiB blocks with their data";
    let row = Row::new(figure, seconds, "s").against("scan of the same by batch headers", scanned);
    print(row.target("ratio_at_most", 0.2));
}

/// Seconds to reopen, and, where there is data to scan, seconds without indexes.
fn measure(case: Case) -> (f64, Option<f64>) {
    let folder = tempfile::tempdir().expect("a folder for a file");
    let path = folder.path().join("disk");
    case.fill(&path);
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| case.reopen(&path)).collect();
    let indexed = rig::median(&mut times);
    let scanned = case.with_data.then(|| {
        case.forget_indexes(&path);
        case.reopen(&path)
    });
    (indexed, scanned)
}

impl Case {
    /// Writes every block of a volume once, in a random order, and closes all extents.
    fn fill(self, path: &Path) {
        create_file(path, self.size_bytes, Allocation::Sparse)
            .expect("a sparse file takes no room");
        let device = device(path);
        let opened = rig::formatted(&mut self.handle(&device), SHARDS);
        std::thread::scope(|scope| {
            for number in 0..SHARDS {
                let (device, opened) = (&device, &opened);
                scope.spawn(move || {
                    let mut shard = rig::shard(self.handle(device), opened, number);
                    let blocks = self.live_blocks / u64::from(SHARDS);
                    let mut volume = Volume::of_zeros(blocks, SHARDS, number);
                    let mut order: Vec<u32> = (0..u32::try_from(blocks).expect("few")).collect();
                    Random(1).shuffle(&mut order);
                    let mut order = order.into_iter();
                    rig::drive(&mut shard, 256, blocks, |shard| {
                        let block = order.next().expect("as many as writes");
                        volume.write(shard, u64::from(block), 1)
                    });
                });
            }
        });
        drop(opened);
        drop(device);
        // The first recovery closes the extents that were open.
        self.reopen(path);
    }

    /// Seconds until all shards can serve.
    fn reopen(self, path: &Path) -> f64 {
        let device = device(path);
        let begun = Instant::now();
        let opened = open(&mut self.handle(&device), rig::cluster()).expect("it was well");
        let live: u64 = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..SHARDS)
                .map(|number| {
                    let (device, opened) = (&device, &opened);
                    scope.spawn(move || rig::shard(self.handle(device), opened, number))
                })
                .collect();
            let shards = shards
                .into_iter()
                .map(|shard| shard.join().expect("opened"));
            shards.map(|shard| shard.metrics().live_blocks).sum()
        });
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(live, self.live_blocks, "every block is there");
        seconds
    }

    /// Turns every closed extent into one that is open, without index and footer, as if nothing were
    /// ever closed.
    fn forget_indexes(self, path: &Path) {
        let file = File::options().read(true).write(true).open(path);
        let file = file.expect("the file of before");
        let layout =
            Layout::for_size(self.size_bytes, rig::SEGMENT_BLOCKS, SHARDS).expect("as formatted");
        let bitmap = [0; BLOCK_BYTES];
        for number in 0..layout.segments {
            let mut blocks = [0; HEAD_BLOCKS as usize * BLOCK_BYTES];
            let at = layout.offset(number, 0);
            file.read_exact_at(&mut blocks, at).expect("heads");
            let copies = blocks.chunks_exact(2 * BLOCK_BYTES);
            let heads = copies.filter_map(|copy| Head::decode(&copy[..BLOCK_BYTES]).ok());
            let newest = heads.max_by_key(|head| head.sequence).expect("a head");
            if newest.state != SegmentState::Closed {
                continue;
            }
            let head = Head {
                state: SegmentState::Log,
                sequence: newest.sequence + 1,
                bitmap_checksum: checksum(&bitmap),
                bitmap_lsn: 0,
                ..newest
            };
            for copy in [0, 2] {
                let copy = layout.offset(number, copy);
                file.write_all_at(&head.encode(), copy).expect("a head");
                let copy = copy + BLOCK_BYTES as u64;
                file.write_all_at(&bitmap, copy).expect("a bitmap");
            }
            let footers = layout.offset(number, layout.segment_blocks - FOOTER_BLOCKS);
            let nothing = [0; FOOTER_BLOCKS as usize * BLOCK_BYTES];
            file.write_all_at(&nothing, footers).expect("footers");
        }
        file.sync_all().expect("a sync");
    }

    fn handle(self, device: &Device) -> NoZeros {
        NoZeros {
            disk: device.handle().expect("a handle").disk,
            with_data: self.with_data,
        }
    }
}

fn device(path: &Path) -> Device {
    Device::open(path, &OpenOptions::default()).expect("nobody else has it")
}

/// A disk that may leave out data of zeros behind the headers of a batch: where nothing was written a
/// file reads as zeros too.
struct NoZeros {
    disk: DeviceDisk,
    with_data: bool,
}

impl Disk for NoZeros {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn submit(&mut self, tag: u64, mut operation: Operation) -> Result<(), Operation> {
        if let Operation::Write { buffers, .. } = &mut operation
            && !self.with_data
        {
            let zeros = buffers.iter().rev().take_while(|buffer| is_zero(buffer));
            let kept = buffers.len() - zeros.count();
            if kept > 0 {
                buffers.truncate(kept);
            }
        }
        self.disk.submit(tag, operation)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        self.disk.poll(completions);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        self.disk.wait(completions);
    }

    fn in_flight(&self) -> usize {
        self.disk.in_flight()
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        self.disk.buffer(blocks)
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.disk.recycle(buffer);
    }
}

fn is_zero(buffer: &Buffer) -> bool {
    buffer
        .chunks(BLOCK_BYTES)
        .all(|block| block == [0; BLOCK_BYTES])
}
