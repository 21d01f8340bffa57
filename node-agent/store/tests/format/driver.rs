//! Drives shards on a disk in memory, one request after another, and knows what was written.

use super::model::{Kept, Model, Seen, place};
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketId, ClusterId, Cut, DiskId, Epoch, Stamp, VolumeId,
};
use moraine_store::disk::{MemoryDisk, MemoryQueue};
use moraine_store::index::Share;
use moraine_store::index::layer::PieceKind;
use moraine_store::{
    Buffer, Content, Control, Done, FormatOptions, Request, Rule, Shard, ShardOptions, StoreError,
    Tag, Write, block_checksums, format, open,
};

pub(crate) const SHARDS: u32 = 2;
pub(crate) const SEGMENT_BLOCKS: u32 = 64;
pub(crate) const SEGMENTS: u32 = 32;
pub(crate) const DISK_BLOCKS: u32 = format::FIRST_SEGMENT + SEGMENTS * SEGMENT_BLOCKS;

/// The time at which everything happens: with no rate to hold, none must pass.
pub(crate) const NOW_MS: u64 = 0;
/// Polls after which a shard that is not at rest makes no progress.
const POLLS_MAX: u32 = 100_000;

/// The cluster that the made disk belongs to.
pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef).expect("it is not zero")
}

/// The bytes of a block that was written with this stamp.
pub(crate) fn pattern(stamp: Stamp, block: u16) -> Vec<u8> {
    let word = stamp.sequence << 16 | u64::from(block);
    word.to_le_bytes().repeat(BLOCK_BYTES / 8)
}

/// What blocks are to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Data,
    Zero,
    /// A hole that reaches down to this cut.
    Hole(u64),
}

/// Options that make shards go on as fast as they can.
pub(crate) fn options() -> ShardOptions {
    ShardOptions {
        compaction_bytes_per_s: u64::MAX / 1_000_000,
        scrub_bytes_per_s: u64::MAX / 1_000_000,
        ..ShardOptions::default()
    }
}

/// Lets a shard come to rest.
///
/// # Panics
/// If it does not.
pub(crate) fn settle(shard: &mut Shard<MemoryDisk>) {
    for _ in 0..POLLS_MAX {
        shard.poll(NOW_MS);
        if shard.is_idle() {
            return;
        }
    }
    unreachable!("the shard makes no progress");
}

/// Does one request and all that follows from it.
pub(crate) fn finish(shard: &mut Shard<MemoryDisk>, request: Request) -> Result<Done, StoreError> {
    let id = shard.submit(request);
    settle(shard);
    let reply = shard.next_reply().expect("each request is answered");
    assert_eq!(reply.id, id);
    reply.outcome
}

/// A disk that is written, and the model of what was.
pub(crate) struct Driver {
    pub(crate) disk: MemoryDisk,
    pub(crate) shards: Vec<Shard<MemoryDisk>>,
    pub(crate) queues: Vec<MemoryQueue>,
    pub(crate) model: Model,
    /// The last write's stamp; the next one is greater.
    pub(crate) stamp: Stamp,
    pub(crate) epoch: Epoch,
}

impl Driver {
    /// A freshly formatted disk.
    pub(crate) fn new() -> Self {
        let mut disk = MemoryDisk::new(u64::from(DISK_BLOCKS) * BLOCK_BYTES as u64, 512);
        let id = DiskId::new(0xfedc_ba98_7654_3210_fedc_ba98_7654_3210).expect("it is not zero");
        let options = FormatOptions {
            shards: SHARDS,
            segment_blocks: SEGMENT_BLOCKS,
            now_ms: 1_767_225_600_000,
            ..FormatOptions::new(cluster(), id)
        };
        format(&mut disk, &options).expect("a blank disk can be formatted");
        let opened = open(&mut disk, cluster()).expect("it was just formatted");
        let (mut shards, mut queues) = (Vec::new(), Vec::new());
        for number in 0..SHARDS {
            let handle = disk.another();
            queues.push(handle.queue());
            let shard = Shard::recover(handle, &opened, number, self::options());
            shards.push(shard.expect("it was just formatted"));
        }
        Self {
            disk,
            shards,
            queues,
            model: Model::default(),
            stamp: Stamp::new(1, 0, 0),
            epoch: Epoch(1),
        }
    }

    pub(crate) fn share(volume: u128, bucket: u32) -> Share {
        Share {
            volume: VolumeId::new(volume).expect("volumes are not zero"),
            bucket: BucketId::new(bucket).expect("buckets are few"),
        }
    }

    /// Makes a write with the next stamp.
    pub(crate) fn prepare(
        &mut self,
        share: Share,
        (chunk, first, count): (u32, u16, u16),
        cut: u64,
        value: Value,
    ) -> (Write, impl FnOnce(&mut Model) + use<>) {
        self.stamp.sequence += 1;
        let tag = Tag {
            stamp: self.stamp,
            cut: Cut(cut),
            epoch: self.epoch,
        };
        let range = BlockRange::new(first, count).expect("the script stays within a chunk");
        let content = match value {
            Value::Zero => Content::Zero,
            Value::Hole(_) => Content::Hole,
            Value::Data => {
                let blocks = range.blocks().flat_map(|block| pattern(tag.stamp, block));
                let bytes: Vec<u8> = blocks.collect();
                Content::Data {
                    checksums: block_checksums(&bytes),
                    data: Buffer::copy_of(&bytes),
                }
            }
        };
        let place = place(share, chunk);
        let write = Write {
            place,
            range,
            tag,
            rule: Rule::Write { listed: Epoch(0) },
            content,
        };
        let seen = move |kind| Seen {
            kind,
            stamp: tag.stamp,
            cut: tag.cut,
            epoch: tag.epoch,
        };
        let note = move |model: &mut Model| {
            for block in range.blocks() {
                let versions = model.blocks.entry((place, block)).or_default();
                match value {
                    Value::Data => drop(versions.insert(tag.cut, seen(PieceKind::Data))),
                    Value::Zero => drop(versions.insert(tag.cut, seen(PieceKind::Zero))),
                    Value::Hole(down_to) => {
                        versions.retain(|at, _| *at < Cut(down_to) || *at > tag.cut);
                    }
                }
            }
        };
        (write, note)
    }

    /// Writes, durably.
    pub(crate) fn write(&mut self, share: Share, blocks: (u32, u16, u16), cut: u64, value: Value) {
        let (write, note) = self.prepare(share, blocks, cut, value);
        self.done(share, Request::Write(write));
        note(&mut self.model);
    }

    /// Changes what is kept, durably.
    pub(crate) fn control(&mut self, share: Share, control: Control) {
        self.done(share, Request::Control { share, control });
        let model = &mut self.model;
        let kept = model.kept.entry(share).or_default();
        let child = |volume| Share { volume, ..share };
        match control {
            Control::DropShare | Control::LeaveShare => {
                *kept = Kept::default();
                model.blocks.retain(|(place, _), _| place.share() != share);
            }
            Control::DeleteVolume { cut } => kept.head_deleted_at = Some(cut),
            Control::DeleteSnapshot { cut } => drop(kept.deleted.insert(cut)),
            Control::AddReference { cut, child: volume } => {
                kept.references.insert((cut, volume));
                model.parents.insert(child(volume), (share.volume, cut));
            }
            Control::RemoveReference { cut, child: volume } => {
                kept.references.remove(&(cut, volume));
                model.parents.remove(&child(volume));
            }
        }
    }

    /// Sets or removes a note of the shard that a share belongs to.
    pub(crate) fn note(&mut self, share: Share, key: &str, value: Option<&str>) {
        let (key, value) = (
            key.as_bytes().to_vec(),
            value.map(|v| v.as_bytes().to_vec()),
        );
        let request = Request::Note {
            key: key.clone(),
            value: value.clone(),
        };
        self.done(share, request);
        let key = (share.bucket.get() % SHARDS, key);
        match value {
            Some(value) => drop(self.model.notes.insert(key, value)),
            None => drop(self.model.notes.remove(&key)),
        }
    }

    fn done(&mut self, share: Share, request: Request) {
        let outcome = finish(self.shard(share), request);
        assert!(matches!(outcome, Ok(Done::Durable)), "{outcome:?}");
    }

    /// The shard that a share belongs to.
    pub(crate) fn shard(&mut self, share: Share) -> &mut Shard<MemoryDisk> {
        &mut self.shards[(share.bucket.get() % SHARDS) as usize]
    }

    /// The queue of that shard's disk.
    pub(crate) fn queue(&self, share: Share) -> &MemoryQueue {
        &self.queues[(share.bucket.get() % SHARDS) as usize]
    }
}
