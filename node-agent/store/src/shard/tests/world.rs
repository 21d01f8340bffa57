//! A shard, its disk and its model, driven step by step.

use super::super::request::StoreKey;
use super::model::{Change, Model, Value};
use super::recorded::History;
use crate::disk::{CrashFate, MemoryDisk, MemoryQueue, Operation};
use crate::format::{Place, Tag};
use crate::free_list::Purpose;
use crate::index::Share;
use crate::index::chunk::Chunk;
use crate::index::layer::PieceKind;
use crate::*;
use moraine_model::*;
use std::collections::BTreeMap;

pub(super) const SEGMENT: u32 = 64;

/// A request whose answer is awaited.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Change(Change),
    Note(Vec<u8>, Option<Vec<u8>>),
    Control(Share, Control),
    Read(Place, BlockRange, ReadAt),
}

/// The shard works through a handle `D` of a disk whose platter the world sees as memory.
pub(super) struct World<D = MemoryDisk> {
    pub(super) disk: MemoryDisk,
    pub(super) queue: MemoryQueue,
    pub(super) shard: Option<Shard<D>>,
    pub(super) model: Model,
    pub(super) pending: BTreeMap<RequestId, Pending>,
    /// What a stopped shard could not tell the fate of.
    pub(super) unsure: Vec<Pending>,
    /// What was asked and answered when, if the disk is recorded.
    pub(super) history: Option<History>,
    pub(super) now_ms: u64,
    pub(super) no_space: u64,
    pub(super) refused: u64,
    /// Whether reads may fail, because the disk was made to lie; and how many did.
    pub(super) may_fail: bool,
    pub(super) failed_reads: u64,
    /// How many operations the disk had at once.
    pub(super) most_in_flight: usize,
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::new(1).unwrap()
}

pub(super) fn place(volume: u128, chunk: u32) -> Place {
    Place {
        volume: VolumeId::new(volume).unwrap(),
        bucket: BucketId::new(0).unwrap(),
        chunk: ChunkIndex::new(chunk).unwrap(),
    }
}

pub(super) fn range(first: u16, count: u16) -> BlockRange {
    BlockRange::new(first, count).unwrap()
}

pub(super) fn tag(sequence: u64, cut: u64) -> Tag {
    Tag {
        stamp: Stamp::new(1, 0, sequence),
        cut: Cut(cut),
        epoch: Epoch(1),
    }
}

/// The data of the write with this stamp.
pub(super) fn data(stamp: Stamp) -> Value {
    Value::Data(stamp.sequence << 8 | u64::from(stamp.generation.attach))
}

/// The bytes of a block of data with this number.
pub(super) fn block_bytes(number: u64, block: u16) -> Vec<u8> {
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(block);
    let mut bytes = vec![0; BLOCK_BYTES];
    for (nth, word) in (0_u64..).zip(bytes.chunks_exact_mut(8)) {
        word.copy_from_slice(&(seed ^ nth).to_le_bytes());
    }
    bytes
}

pub(super) fn content(value: Value, range: BlockRange) -> Content {
    match value {
        Value::Zero => Content::Zero,
        Value::Hole => Content::Hole,
        Value::Data(number) => {
            let bytes: Vec<u8> = range
                .blocks()
                .flat_map(|b| block_bytes(number, b))
                .collect();
            Content::Data {
                checksums: block_checksums(&bytes),
                data: Buffer::copy_of(&bytes),
            }
        }
    }
}

pub(super) fn options() -> ShardOptions {
    ShardOptions {
        batches_max: 3,
        compaction_bytes_per_s: u64::MAX / 1_000_000,
        ..ShardOptions::default()
    }
}

impl World {
    pub(super) fn new(segments: u64, logical_block_bytes: u32) -> Self {
        let mut world = Self::without_shard(formatted(segments, logical_block_bytes));
        world.open();
        world
    }

    /// Opens the disk as it is.
    pub(super) fn open(&mut self) {
        let handle = self.disk.another();
        self.queue = handle.queue();
        self.open_through(handle).unwrap();
        self.queue.hold(true);
        self.check_invariants();
    }

    /// Ends the shard as a crash does, opens the disk again, and finds out what became of what was
    /// not answered.
    pub(super) fn crash(&mut self, fate: impl FnMut(&Operation) -> CrashFate) {
        self.queue.crash(fate);
        self.shard = None;
        self.open();
        self.settle();
    }
}

/// An empty disk.
pub(super) fn formatted(segments: u64, logical_block_bytes: u32) -> MemoryDisk {
    let blocks = u64::from(format::FIRST_SEGMENT) + segments * u64::from(SEGMENT);
    let mut disk = MemoryDisk::new(blocks * BLOCK_BYTES as u64, logical_block_bytes);
    let options = FormatOptions {
        segment_blocks: SEGMENT,
        ..FormatOptions::new(cluster(), DiskId::new(2).unwrap())
    };
    format(&mut disk, &options).unwrap();
    disk
}

impl<D: Disk> World<D> {
    pub(super) fn without_shard(disk: MemoryDisk) -> Self {
        let queue = disk.queue();
        Self {
            disk,
            queue,
            shard: None,
            model: Model::default(),
            pending: BTreeMap::new(),
            unsure: Vec::new(),
            history: None,
            now_ms: 0,
            no_space: 0,
            refused: 0,
            may_fail: false,
            failed_reads: 0,
            most_in_flight: 0,
        }
    }

    /// Opens the disk as it is through this handle.
    pub(super) fn open_through(&mut self, mut handle: D) -> Result<(), OpenError> {
        let opened = open(&mut handle, cluster())?;
        self.shard = Some(Shard::recover(handle, &opened, 0, options())?);
        Ok(())
    }

    pub(super) fn shard(&mut self) -> &mut Shard<D> {
        self.shard.as_mut().unwrap()
    }

    pub(super) fn submit(&mut self, pending: Pending) -> RequestId {
        let request = match pending.clone() {
            Pending::Change(Change {
                place,
                range,
                tag,
                rule,
                value,
            }) => Request::Write(Write {
                place,
                range,
                tag,
                rule,
                content: content(value, range),
            }),
            Pending::Note(key, value) => Request::Note { key, value },
            Pending::Control(share, control) => Request::Control { share, control },
            Pending::Read(place, range, at) => Request::Read(Read { place, range, at }),
        };
        let id = self.shard().submit(request);
        self.pending.insert(id, pending);
        if let Some(history) = &mut self.history {
            history.asked(&self.model, &self.pending);
        }
        id
    }

    pub(super) fn write(
        &mut self,
        place: Place,
        range: BlockRange,
        tag: Tag,
        value: Value,
    ) -> RequestId {
        let rule = Rule::Write { listed: Epoch(0) };
        self.submit(Pending::Change(Change {
            place,
            range,
            tag,
            rule,
            value,
        }))
    }

    /// Lets the shard see what has happened, and the model what was answered.
    pub(super) fn poll(&mut self) {
        let now_ms = self.now_ms;
        self.now_ms += 1;
        self.shard().poll(now_ms);
        let in_flight = self.shard().io.disk().in_flight();
        self.most_in_flight = self.most_in_flight.max(in_flight);
        let waited = self.pending.len();
        while let Some(reply) = self.shard().next_reply() {
            let pending = self
                .pending
                .remove(&reply.id)
                .expect("each request is answered once");
            self.answered(pending, reply.outcome);
        }
        if let Some(history) = &mut self.history
            && self.pending.len() < waited
        {
            history.answered(&self.model, &self.pending);
        }
    }

    fn answered(&mut self, pending: Pending, outcome: Result<Done, StoreError>) {
        match (pending, outcome) {
            (Pending::Change(change), Ok(Done::Durable)) => self.model.apply(&change),
            (Pending::Note(key, Some(value)), Ok(Done::Durable)) => {
                self.model.notes.insert(key, value);
            }
            (Pending::Note(key, None), Ok(Done::Durable)) => {
                self.model.notes.remove(&key);
            }
            (Pending::Control(share, control), Ok(Done::Durable)) => {
                self.model.control(share, control);
            }
            (Pending::Read(place, range, at), Ok(Done::Read(parts))) => {
                self.check_read(place, range, at, &parts);
            }
            (Pending::Read(place, _, at), Err(StoreError::NoSnapshot { cut, .. })) => {
                assert_eq!(at, ReadAt::Cut(cut));
                assert!(
                    !self.model.keeps(place.share(), cut),
                    "snapshot {cut:?} was lost"
                );
            }
            (
                Pending::Read(place, ..) | Pending::Change(Change { place, .. }),
                Err(StoreError::Deleted(_)),
            ) => {
                assert!(!self.model.head_is_read(place.share()));
            }
            (
                Pending::Change(_) | Pending::Note(..) | Pending::Control(..),
                Err(StoreError::NoSpace),
            ) => {
                let spare = self.shard().log.spare.map(|(_, purpose)| purpose);
                assert_ne!(
                    spare,
                    Some(Purpose::Data),
                    "refused with an extent at hand that is taken for data"
                );
                self.no_space += 1;
            }
            (
                Pending::Control(..),
                Err(StoreError::Referenced(_) | StoreError::NoSnapshot { .. }),
            ) => {
                self.refused += 1;
            }
            (
                Pending::Read(..),
                Err(StoreError::Corrupt { .. } | StoreError::ReadFailed { .. }),
            ) if self.may_fail => {
                self.failed_reads += 1;
            }
            (pending, Err(StoreError::Stopped)) => {
                assert!(self.shard().is_stopped());
                self.unsure.push(pending);
            }
            (pending, outcome) => panic!("{pending:?} was answered {outcome:?}"),
        }
    }

    fn check_read(&self, place: Place, range: BlockRange, at: ReadAt, parts: &[ReadPart]) {
        let mut seen: BTreeMap<u16, Value> = BTreeMap::new();
        for part in parts {
            for (nth, block) in part.range.blocks().enumerate() {
                let version = part
                    .versions
                    .iter()
                    .find(|version| version.range.contains(block));
                let version = version.expect("each block has its version");
                let number = version.tag.stamp.sequence << 8
                    | u64::from(version.tag.stamp.generation.attach);
                let value = match &part.data {
                    None => Value::Zero,
                    Some(data) => {
                        let bytes = &data[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES];
                        assert_eq!(
                            bytes,
                            block_bytes(number, block),
                            "wrong data in {place:?} {block}"
                        );
                        assert_eq!(version.kind, PieceKind::Data);
                        Value::Data(number)
                    }
                };
                assert_eq!(seen.insert(block, value), None, "a block is read twice");
            }
        }
        for block in range.blocks() {
            let expected = self.model.read(place, block, at);
            let found = seen.get(&block).copied();
            assert_eq!(
                found,
                expected.map(|version| version.value),
                "{place:?} {block} at {at:?}"
            );
        }
    }

    /// Completes one waiting operation of the disk, any of them.
    pub(super) fn step(&mut self, pick: usize) {
        let waiting = self.queue.pending();
        if waiting > 0 {
            self.queue.complete(pick % waiting);
        }
        self.poll();
    }

    /// Lets everything come to its end.
    pub(super) fn drain(&mut self) {
        self.poll();
        let mut steps = 0;
        while !self.shard().is_idle() || !self.pending.is_empty() {
            self.now_ms += 1000;
            self.step(0);
            steps += 1;
            assert!(steps < 100_000, "no progress: {:?}", self.pending);
        }
        self.check_invariants();
    }

    /// Finds out what became of what was not answered.
    pub(super) fn settle(&mut self) {
        let unsure = std::mem::take(&mut self.unsure);
        let pending = std::mem::take(&mut self.pending);
        for pending in unsure.into_iter().chain(pending.into_values()) {
            match pending {
                Pending::Change(change) => self.settle_change(&change),
                Pending::Note(key, value) => self.settle_note(key, value),
                Pending::Control(share, control) => self.settle_control(share, control),
                Pending::Read(..) => {}
            }
        }
    }

    fn settle_change(&mut self, change: &Change) {
        let news = self.model.visible_news(change);
        let layer = self
            .shard()
            .index
            .chunk(change.place)
            .and_then(|c| c.layer(change.tag.cut));
        let there = news.iter().filter(|&&block| {
            let range = range(block, 1);
            layer.is_some_and(|layer| {
                layer
                    .pieces(range)
                    .any(|p| p.tag(change.tag.cut) == change.tag)
            })
        });
        let there = there.count();
        // Of a hole only those blocks are appended that still had something to take away.
        assert!(
            change.value == Value::Hole || there == 0 || there == news.len(),
            "{change:?} is torn: {there} of {}",
            news.len()
        );
        if there > 0 {
            self.model.apply(change);
        }
    }

    fn settle_note(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let now = self
            .shard()
            .notes(&key)
            .find(|note| note.0 == key)
            .map(|note| note.1.to_vec());
        if now == value {
            match value {
                Some(value) => drop(self.model.notes.insert(key, value)),
                None => drop(self.model.notes.remove(&key)),
            }
        }
    }

    fn settle_control(&mut self, share: Share, control: Control) {
        let records = &self.shard().records;
        let set = |key: StoreKey| {
            records
                .get(&key.encode())
                .is_some_and(|r| r.value.is_some())
        };
        let done = match control {
            Control::DropShare | Control::LeaveShare => self.shard().index.share(share).is_none(),
            Control::DeleteVolume { .. } => set(StoreKey::Deleted(share)),
            Control::DeleteSnapshot { cut } => set(StoreKey::Snapshot(share, cut)),
            Control::AddReference { cut, child } => set(StoreKey::Reference(share, cut, child)),
            Control::RemoveReference { cut, child } => !set(StoreKey::Reference(share, cut, child)),
        };
        if done {
            self.model.control(share, control);
        }
    }

    /// Reads everything that anyone can read, and compares.
    pub(super) fn check_all(&mut self, volumes: u128, chunks: u32, cuts: u64) {
        for volume in 1..=volumes {
            for chunk in 0..chunks {
                let place = place(volume, chunk);
                let readers = (0..cuts).map(|cut| ReadAt::Cut(Cut(cut)));
                for at in readers.chain([ReadAt::Head]) {
                    self.submit(Pending::Read(place, range(0, 64), at));
                }
            }
            self.drain();
        }
        let notes: BTreeMap<Vec<u8>, Vec<u8>> = self
            .shard()
            .notes(b"")
            .map(|(k, v)| (k.to_vec(), v.to_vec()))
            .collect();
        assert_eq!(notes, self.model.notes);
    }

    /// Bitmaps and counts are exactly what the index refers to.
    pub(super) fn check_invariants(&mut self) {
        let shard = self.shard.as_ref().unwrap();
        let layout = shard.layout();
        let mut data: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut metadata: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, share) in shard.index.shares() {
            for (_, layer) in share.chunks.values().flat_map(Chunk::layers) {
                for piece in layer.all() {
                    let (segment, position) = layout.split(piece.location);
                    let count = u32::from(piece.range.count());
                    if piece.kind == PieceKind::Data {
                        data.entry(segment)
                            .or_default()
                            .extend(position..position + count);
                    } else {
                        *metadata.entry(segment).or_default() += u64::from(count);
                    }
                }
            }
        }
        for (_, record) in shard.records.iter() {
            *metadata.entry(record.segment).or_default() += 1;
        }
        for (number, segment) in shard.segments.iter() {
            let mut live = data.remove(&number).unwrap_or_default();
            live.sort_unstable();
            let bits: Vec<u32> = (0..SEGMENT)
                .filter(|&b| segment.bitmap.is_live(b))
                .collect();
            assert_eq!(bits, live, "bitmap of segment {number}");
            assert_eq!(segment.metadata_live, metadata.remove(&number).unwrap_or(0));
            let forgotten = shard.is_idle()
                && !shard.is_stopped()
                && segment.state == format::SegmentState::Closed
                && segment.is_dead()
                && segment.readers == 0;
            assert!(!forgotten, "segment {number} is dead and not freed");
        }
        assert!(
            data.is_empty() && metadata.is_empty(),
            "the index refers to a segment it lacks"
        );
    }
}
