//! What the engine itself costs: processor time for each replicated write and each read of one
//! block, everything around it left out. One JSON object per line, for `cargo xtask bench engine`.

// A benchmark that can't run says where; figures need no more digits than a float has.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use bytes::Bytes;
use moraine_engine::{Engine, Io, IoId, Output, PathId, Settings};
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketEntry, BucketId, Cut, DiskId, Epoch, Generation, Listing, Role,
    Stamp, Tag, VolumeId, block_checksums,
};
use moraine_protocol::{Part, Reply, Request, RequestId, Version, VersionKind};
use std::hint::black_box;
use std::time::Instant;

const REPLICAS: u64 = 3;
const DEPTH: u64 = 32;
const ROUNDS: u64 = 20_000;

struct Bench {
    engine: Engine,
    data: Bytes,
    sent: Vec<(PathId, RequestId, Request)>,
    done: u64,
}

impl Bench {
    fn new() -> Self {
        let buckets = 128;
        let generation = Generation {
            attach: 1,
            incarnation: 0,
        };
        let settings = Settings::new(VolumeId::new(1).unwrap(), 64 << 30, generation, buckets);
        let listings: Vec<Listing> = (1..=REPLICAS)
            .map(|disk| Listing {
                disk: DiskId::new(disk.into()).unwrap(),
                role: Role::InSync,
                since: Epoch(1),
            })
            .collect();
        let ids = (0..buckets).map(|id| BucketId::new(id).unwrap());
        let entries = ids.map(|id| BucketEntry::new(id, Epoch(1), listings.clone()).unwrap());
        let mut bench = Self {
            engine: Engine::new(settings, entries.collect()).unwrap(),
            data: Bytes::from(vec![0x5a; BLOCK_BYTES]),
            sent: Vec::new(),
            done: 0,
        };
        bench.engine.tick(1);
        for disk in 1..=REPLICAS {
            let id = DiskId::new(disk.into()).unwrap();
            bench.engine.connected(PathId(disk), id, 256, false);
        }
        bench.run();
        bench
    }

    /// Answers everything at once, as replicas would.
    fn run(&mut self) {
        loop {
            while let Some(output) = self.engine.next_output() {
                match output {
                    Output::Send {
                        path, id, request, ..
                    } => self.sent.push((path, id, request)),
                    Output::Keep { entry } => self.engine.kept(entry.bucket(), entry.epoch()),
                    Output::KeepCut { cut } => self.engine.kept_cut(cut),
                    Output::Done { result, .. } => {
                        black_box(result.unwrap());
                        self.done += 1;
                    }
                    _ => {}
                }
            }
            let Some((path, id, request)) = self.sent.pop() else {
                return;
            };
            let (reply, payload) = self.reply(&request);
            self.engine.answered(path, id, reply, payload);
        }
    }

    fn reply(&self, request: &Request) -> (Reply, Bytes) {
        match request {
            Request::Open { .. } => {
                let opened = Reply::Opened {
                    mark: Stamp::ZERO,
                    cut: Cut(0),
                    above_mark: false,
                };
                (opened, Bytes::new())
            }
            Request::Read { block, .. } => {
                let tag = Tag {
                    stamp: Stamp::new(1, 0, 1),
                    cut: Cut(0),
                    epoch: Epoch(1),
                };
                let part = Part {
                    version: Version {
                        range: BlockRange::new(block.range.first(), 1).unwrap(),
                        kind: VersionKind::Data,
                        tag,
                    },
                    inherited: false,
                    checksums: block_checksums(&self.data),
                };
                (Reply::Data { parts: vec![part] }, self.data.clone())
            }
            _ => (Reply::Done, Bytes::new()),
        }
    }

    /// Microseconds for each operation.
    fn measure(&mut self, operation: impl Fn(u64, &Bytes) -> Io) -> f64 {
        let (begin, before) = (Instant::now(), self.done);
        let mut next = 7;
        for round in 0..ROUNDS {
            self.engine.tick(round / 100 + 2);
            for io in 0..DEPTH {
                // A step that visits all buckets, and no block twice at once.
                next = (next + 1_000_003) % (16 << 20);
                let offset = next * BLOCK_BYTES as u64;
                self.engine.submit(IoId(io), operation(offset, &self.data));
            }
            self.run();
        }
        let count = self.done - before;
        assert_eq!(count, ROUNDS * DEPTH);
        begin.elapsed().as_secs_f64() * 1e6 / count as f64
    }
}

fn print(figure: &str, value: f64, at_most: f64) {
    println!(
        r#"{{"figure": "{figure}", "value": {value:.3}, "unit": "us", "target": {{"at_most": {at_most}}}}}"#
    );
}

fn main() {
    let mut bench = Bench::new();
    let write = bench.measure(|offset, data| Io::Write {
        offset,
        data: data.clone(),
    });
    print("write of 4 KiB to 3 replicas, engine alone", write, 5.0);
    let read = bench.measure(|offset, _| Io::Read {
        offset,
        length: BLOCK_BYTES as u64,
    });
    // The benchmark computes the checksum for the replica, the engine another time to verify.
    print("read of 4 KiB, engine alone", read, 3.0);
}
