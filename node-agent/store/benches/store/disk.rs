//! A store on a file, by `io_uring` and direct I/O, against fio with the same load: durable writes,
//! reads, and both in a sequence of 1 MiB. fio reads the store's own file, and writes to one beside
//! it of the same size and history.
//!
//! The two take turns, so that both see the machine in the same mood.

use crate::fio::{self, Job};
use crate::rig::{self, Random, Volume};
use crate::row::Row;
use moraine_store::disk::{Device, DeviceDisk, OpenOptions};
use moraine_store::{Read, ReadAt, Request, Shard};
use std::path::Path;
use std::time::{Duration, Instant};

/// The volume.
const BLOCKS: u64 = 1 << 18;
/// The disk, and fio's file.
const DISK_BYTES: u64 = 4 << 30;
const TURN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
const MIB_BLOCKS: u16 = 256;

/// A load that both run.
struct Load {
    figure: &'static str,
    unit: &'static str,
    fio: Job,
    outstanding: usize,
    blocks: u16,
    kind: Kind,
    ratio: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Write,
    Read,
}

const fn load(
    figure: &'static str,
    (mode, kind): (&'static str, Kind),
    outstanding: usize,
    blocks: u16,
    ratio: f64,
) -> Load {
    Load {
        figure,
        unit: if blocks == 1 { "IOPS" } else { "MiB/s" },
        fio: Job {
            mode,
            block_bytes: blocks as u64 * 4096,
            outstanding,
        },
        outstanding,
        blocks,
        kind,
        ratio,
    }
}

const WRITE: (&str, Kind) = ("randwrite", Kind::Write);
const READ: (&str, Kind) = ("randread", Kind::Read);
const LOADS: [Load; 6] = [
    load(
        "1 MiB sequential writes, durable",
        ("write", Kind::Write),
        4,
        MIB_BLOCKS,
        0.85,
    ),
    load(
        "1 MiB sequential reads",
        ("read", Kind::Read),
        4,
        MIB_BLOCKS,
        0.85,
    ),
    load(
        "durable 4 KiB random writes, 1 outstanding",
        WRITE,
        1,
        1,
        0.8,
    ),
    load(
        "durable 4 KiB random writes, 32 outstanding",
        WRITE,
        32,
        1,
        0.6,
    ),
    load("4 KiB random reads, 1 outstanding", READ, 1, 1, 0.8),
    load("4 KiB random reads, 32 outstanding", READ, 32, 1, 0.8),
];

/// Measures each load, the store and fio in turn.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let folder = tempfile::tempdir_in(".").expect("a folder beside the project");
    let file = folder.path().join("fio");
    fio::fill(&file, DISK_BYTES);
    let disk = folder.path().join("disk");
    // Written once, as fio's is: a file system notes the first write of each block.
    fio::fill(&disk, DISK_BYTES);
    let device = Device::open(&disk, &OpenOptions::default()).expect("a new file");
    let mut handle = device.handle().expect("a handle").disk;
    let opened = rig::formatted(&mut handle, 1);
    let mut shard = rig::shard(handle, &opened, 0);
    let mut volume = Volume::new(BLOCKS, 1, 0);
    let mut block = 0;
    rig::drive(&mut shard, 8, BLOCKS / 256, |shard| {
        block += 256;
        volume.write(shard, block - 256, 256)
    });
    for load in &LOADS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            ours.push(measure(&mut shard, &mut volume, load, round as u64 + 1));
            let target = match load.kind {
                Kind::Write => &file,
                Kind::Read => &disk,
            };
            theirs.push(fio::run(target, &load.fio, TURN));
        }
        let row = Row::new(load.figure, rig::median(&mut ours), load.unit);
        let row = row.against("fio", rig::median(&mut theirs));
        print(row.target("ratio_at_least", load.ratio));
    }
    drop(shard);
    drop(device);
    remove(&disk);
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("the file is ours");
}

/// What the store does in a turn: operations a second, or MiB a second.
fn measure(shard: &mut Shard<DeviceDisk>, volume: &mut Volume, load: &Load, seed: u64) -> f64 {
    let places = volume.blocks() / u64::from(load.blocks);
    let mut random = Random(seed);
    let mut turn: u64 = 0;
    let begun = Instant::now();
    let done = rig::drive_until(shard, load.outstanding, begun + TURN, |shard| {
        turn += 1;
        let place = match load.blocks {
            1 => random.below(places),
            _ => turn % places,
        };
        let block = place * u64::from(load.blocks);
        match load.kind {
            Kind::Write => volume.write(shard, block, load.blocks),
            Kind::Read => read(volume, block, load.blocks),
        }
    });
    let per_s = done as f64 / begun.elapsed().as_secs_f64();
    match load.blocks {
        1 => per_s,
        blocks => per_s * f64::from(blocks) / 256.0,
    }
}

fn read(volume: &Volume, block: u64, count: u16) -> Request {
    let (place, range) = volume.locate(block, count);
    let at = ReadAt::Head;
    Request::Read(Read { place, range, at })
}
