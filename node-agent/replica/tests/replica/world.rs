//! Hosts with one disk each, and requests to them.

use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{CallId, Options, Output, Replicas, SessionId};
use moraine_store::disk::{MemoryDisk, MemoryQueue};
use moraine_store::{Buffer, FormatOptions, Shard, ShardOptions, block_checksums};
use std::collections::{BTreeSet, VecDeque};

pub(crate) const SEGMENT_BLOCKS: u32 = 256;
pub(crate) const SEGMENTS: u64 = 256;
pub(crate) const ENGINE: SessionId = SessionId(1);

pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(1).unwrap()
}

pub(crate) fn disk_id(number: u128) -> DiskId {
    DiskId::new(number).unwrap()
}

pub(crate) fn volume(number: u128) -> VolumeId {
    VolumeId::new(number).unwrap()
}

pub(crate) fn bucket() -> BucketId {
    BucketId::new(0).unwrap()
}

pub(crate) fn share(number: u128) -> Share {
    Share {
        volume: volume(number),
        bucket: bucket(),
    }
}

pub(crate) fn range(first: u16, count: u16) -> BlockRange {
    BlockRange::new(first, count).unwrap()
}

pub(crate) fn block(chunk: u32, first: u16, count: u16) -> Block {
    Block {
        chunk: ChunkIndex::new(chunk).unwrap(),
        range: range(first, count),
    }
}

pub(crate) fn generation(attach: u32) -> Generation {
    Generation {
        attach,
        incarnation: 0,
    }
}

/// The entry of the bucket: disk, role, since.
pub(crate) fn entry(epoch: u64, listings: &[(u128, Role, u64)]) -> BucketEntry {
    let listings = listings.iter().map(|(disk, role, since)| Listing {
        disk: disk_id(*disk),
        role: *role,
        since: Epoch(*since),
    });
    BucketEntry::new(bucket(), Epoch(epoch), listings.collect()).unwrap()
}

/// The entry with disk 1 in sync, since epoch 1.
pub(crate) fn alone(epoch: u64) -> BucketEntry {
    entry(epoch, &[(1, Role::InSync, 1)])
}

/// The entry with disk 1 syncing since an epoch, and disk 2 in sync.
pub(crate) fn syncing(epoch: u64, since: u64) -> BucketEntry {
    entry(epoch, &[(1, Role::Syncing, since), (2, Role::InSync, 1)])
}

pub(crate) fn under(number: u128, attach: u32, epoch: u64) -> Under {
    Under {
        share: share(number),
        generation: generation(attach),
        epoch: Epoch(epoch),
    }
}

pub(crate) fn open(number: u128, attach: u32, entry: BucketEntry) -> Request {
    Request::Open {
        volume: volume(number),
        generation: generation(attach),
        entry,
    }
}

/// The bytes of blocks that were filled with a number. Each block looks its own way.
pub(crate) fn filled(blocks: u16, number: u64) -> Vec<u8> {
    let words = usize::from(blocks) * BLOCK_BYTES / 8;
    let bytes = (0..words as u64).map(|word| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word);
    bytes.flat_map(u64::to_le_bytes).collect()
}

/// A write of data, with its data.
pub(crate) fn write(
    under: Under,
    block: Block,
    sequence: u64,
    cut: u64,
    number: u64,
) -> (Request, Option<Buffer>) {
    let bytes = filled(block.range.count(), number);
    let request = Request::Write {
        under,
        block,
        sequence,
        cut: Cut(cut),
        mark: Stamp::ZERO,
        content: Content::Data {
            checksums: block_checksums(&bytes),
        },
    };
    (request, Some(Buffer::copy_of(&bytes)))
}

pub(crate) fn zero(
    under: Under,
    block: Block,
    sequence: u64,
    cut: u64,
) -> (Request, Option<Buffer>) {
    let request = Request::Write {
        under,
        block,
        sequence,
        cut: Cut(cut),
        mark: Stamp::ZERO,
        content: Content::Zero,
    };
    (request, None)
}

pub(crate) fn with_mark(
    (request, payload): (Request, Option<Buffer>),
    to: Stamp,
) -> (Request, Option<Buffer>) {
    let mut request = request;
    if let Request::Write { mark, .. } | Request::Read { mark, .. } = &mut request {
        *mark = to;
    }
    (request, payload)
}

pub(crate) fn read(under: Under, block: Block, at: At) -> Request {
    Request::Read {
        under,
        block,
        at,
        mark: Stamp::ZERO,
    }
}

/// A formatted disk with so many segments.
pub(crate) fn formatted(disk: u128, segments: u64) -> MemoryDisk {
    let blocks = 256 + segments * u64::from(SEGMENT_BLOCKS);
    let mut memory = MemoryDisk::new(blocks * BLOCK_BYTES as u64, 4096);
    let options = FormatOptions {
        segment_blocks: SEGMENT_BLOCKS,
        ..FormatOptions::new(cluster(), disk_id(disk))
    };
    moraine_store::format(&mut memory, &options).unwrap();
    memory
}

/// The shard of a copy of the disk as it is now: opening the disk itself would write to it.
pub(crate) fn shard_of(disk: &MemoryDisk) -> Shard<MemoryDisk> {
    let mut handle = disk.duplicate();
    let opened = moraine_store::open(&mut handle, cluster()).unwrap();
    Shard::recover(handle, &opened, 0, ShardOptions::default()).unwrap()
}

/// One disk and its replicas.
pub(crate) struct Host {
    pub(crate) disk: MemoryDisk,
    pub(crate) queue: MemoryQueue,
    pub(crate) replicas: Replicas<MemoryDisk>,
    pub(crate) options: Options,
    pub(crate) now_ms: u64,
    /// What came out and nobody has asked for.
    pub(crate) outputs: VecDeque<Output>,
    next_id: u64,
    /// Calls that it made and that nobody has answered.
    pub(crate) calls: BTreeSet<CallId>,
}

impl Host {
    pub(crate) fn new(disk: u128) -> Self {
        Self::with(formatted(disk, SEGMENTS), Options::new(disk_id(disk)))
    }

    pub(crate) fn with(disk: MemoryDisk, options: Options) -> Self {
        let mut handle = disk.another();
        let queue = handle.queue();
        let opened = moraine_store::open(&mut handle, cluster()).unwrap();
        let shard = Shard::recover(handle, &opened, 0, ShardOptions::default()).unwrap();
        let replicas = Replicas::new(shard, options).unwrap();
        Self {
            disk,
            queue,
            replicas,
            options,
            now_ms: 0,
            outputs: VecDeque::new(),
            next_id: 1,
            calls: BTreeSet::new(),
        }
    }

    /// The host as it would be after a crash at this moment.
    pub(crate) fn crashed(&self) -> Self {
        Self::with(self.disk.duplicate(), self.options)
    }

    pub(crate) fn poll(&mut self) {
        self.now_ms += 1;
        self.replicas.poll(self.now_ms);
        while let Some(output) = self.replicas.next_output() {
            self.outputs.push_back(output);
        }
    }

    /// Nobody will answer what it has asked.
    pub(crate) fn forget_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            self.replicas.answered(call, None, None);
        }
    }

    /// Polls until nothing is under way on the disk.
    pub(crate) fn calm(&mut self) {
        for _ in 0..50 {
            self.poll();
        }
    }

    /// Sends a request without waiting.
    pub(crate) fn send(&mut self, (request, payload): (Request, Option<Buffer>)) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.replicas.request(ENGINE, id, request, payload);
        id
    }

    /// Takes the answer to a request, if it is there.
    pub(crate) fn answer(&mut self, id: RequestId) -> Option<(Reply, Vec<u8>)> {
        while let Some(output) = self.replicas.next_output() {
            self.outputs.push_back(output);
        }
        let found = self.outputs.iter().position(
            |output| matches!(output, Output::Reply { id: of, session: ENGINE, .. } if *of == id),
        );
        let Output::Reply { reply, payload, .. } = self.outputs.remove(found?)? else {
            return None;
        };
        reply.check().expect("a reply that can be sent");
        let mut data = Vec::new();
        for buffer in payload {
            data.extend_from_slice(&buffer);
            self.replicas.recycle(buffer);
        }
        Some((reply, data))
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: (Request, Option<Buffer>)) -> Reply {
        self.ask_data(request).0
    }

    pub(crate) fn ask_data(&mut self, request: (Request, Option<Buffer>)) -> (Reply, Vec<u8>) {
        let id = self.send(request);
        for _ in 0..1000 {
            self.poll();
            if let Some(answer) = self.answer(id) {
                return answer;
            }
        }
        panic!("no answer");
    }

    /// A request without data.
    pub(crate) fn plain(&mut self, request: Request) -> Reply {
        self.ask((request, None))
    }

    pub(crate) fn refused(&mut self, request: (Request, Option<Buffer>)) -> Refusal {
        match self.ask(request) {
            Reply::Refused(refusal) => refusal,
            other => panic!("not refused but {other:?}"),
        }
    }

    /// Opens a volume; gives mark, cut and whether something is above the mark.
    pub(crate) fn open(
        &mut self,
        number: u128,
        attach: u32,
        entry: BucketEntry,
    ) -> (Stamp, Cut, bool) {
        match self.plain(open(number, attach, entry)) {
            Reply::Opened {
                mark,
                cut,
                above_mark,
            } => (mark, cut, above_mark),
            other => panic!("not opened but {other:?}"),
        }
    }

    /// What a read shows of each block: the bytes, or `None` if it was never written.
    pub(crate) fn blocks(&mut self, under: Under, block: Block, at: At) -> Vec<Option<Vec<u8>>> {
        let (reply, data) = self.ask_data((read(under, block, at), None));
        let Reply::Data { parts } = reply else {
            panic!("no data but {reply:?}");
        };
        spread(block, &parts, &data)
    }
}

/// The blocks of a reply with data; checks all checksums.
pub(crate) fn spread(block: Block, parts: &[Part], mut data: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut blocks = vec![None; usize::from(block.range.count())];
    for part in parts {
        let run = part.version.range;
        assert!(
            run.intersection(block.range) == Some(run),
            "what was not asked for"
        );
        for nth in 0..run.count() {
            let at = usize::from(run.first() + nth - block.range.first());
            assert!(blocks[at].is_none(), "a block twice");
            blocks[at] = Some(match part.version.kind {
                VersionKind::Zero => vec![0; BLOCK_BYTES],
                VersionKind::Data => {
                    let (bytes, rest) = data.split_at(BLOCK_BYTES);
                    data = rest;
                    assert_eq!(checksum(bytes), part.checksums[usize::from(nth)]);
                    bytes.to_vec()
                }
            });
        }
    }
    assert!(data.is_empty(), "data of no part");
    blocks
}

pub(crate) fn malformed(rule: Rule) -> Refusal {
    Refusal::Malformed { rule }
}
