//! Two shards of one disk: they share the list of free segments and nothing else.

use super::world::*;
use crate::disk::{Completion, Fault, FaultyDisk, Geometry, MemoryDisk, Nth, Operation, Script};
use crate::format::{Head, Layout, SegmentState, decode_header};
use crate::index::layer::{Piece, PieceKind};
use crate::*;
use moraine_model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const SEGMENTS: u64 = 32;

/// An empty disk with two shards.
fn two_shards() -> (MemoryDisk, Opened) {
    let blocks = u64::from(format::FIRST_SEGMENT) + SEGMENTS * u64::from(SEGMENT);
    let mut disk = MemoryDisk::new(blocks * BLOCK_BYTES as u64, 4096);
    let options = FormatOptions {
        segment_blocks: SEGMENT,
        shards: 2,
        ..FormatOptions::new(cluster(), DiskId::new(2).unwrap())
    };
    format(&mut disk, &options).unwrap();
    let opened = open(&mut disk, cluster()).unwrap();
    (disk, opened)
}

fn place_of(shard: u32, chunk: u32) -> Place {
    Place {
        bucket: BucketId::new(shard).unwrap(),
        ..place(1, chunk)
    }
}

fn change(place: Place, range: BlockRange, sequence: u64, zero: bool) -> Request {
    let tag = tag(sequence, 0);
    let rule = Rule::Write { listed: Epoch(0) };
    let content = if zero {
        Content::Zero
    } else {
        content(data(tag.stamp), range)
    };
    Request::Write(Write {
        place,
        range,
        tag,
        rule,
        content,
    })
}

/// Who has a segment, as the writes to the disk tell.
#[derive(Debug, Default)]
struct Owner {
    shard: Option<u32>,
    incarnation: u64,
    /// Copies of the head that frees it which are durable.
    free_heads: u32,
    /// All that ever had it.
    had: BTreeSet<u32>,
}

/// The segments of a disk, seen from below.
#[derive(Debug)]
struct Owners {
    layout: Layout,
    owners: BTreeMap<u32, Owner>,
}

impl Owners {
    /// Checks that a write lies in one segment, which the shard has, or takes by this write. Gives
    /// the segment if the write is a head that frees it.
    fn write(&mut self, shard: u32, offset: u64, buffers: &[Buffer]) -> Option<u32> {
        let block = |byte: u64| (byte / BLOCK_BYTES as u64) as u32;
        let size: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        let (number, position) = self.layout.split(block(offset));
        let last = self.layout.split(block(offset + size - 1));
        assert_eq!(
            last.0, number,
            "shard {shard} wrote over the end of {number}"
        );
        let owner = self.owners.entry(number).or_default();
        if position >= format::HEAD_BLOCKS {
            assert_eq!(
                owner.shard,
                Some(shard),
                "{shard} wrote to {number}: {owner:?}"
            );
            if let Ok(header) = decode_header(&buffers[0], SEGMENT) {
                let identity = (header.identity.shard, header.identity.incarnation);
                assert_eq!(identity, (shard, owner.incarnation));
            }
            return None;
        }
        let head = Head::decode(&buffers[0]).unwrap();
        assert_eq!((head.shard, head.segment), (shard, number));
        if owner.shard.is_none() {
            let taken = matches!(head.state, SegmentState::Log | SegmentState::Scratch);
            assert!(
                taken && head.incarnation == owner.incarnation + 1,
                "{head:?}"
            );
            (owner.shard, owner.incarnation) = (Some(shard), head.incarnation);
            owner.had.insert(shard);
        }
        assert_eq!(owner.shard, Some(shard), "{shard} wrote a head to {number}");
        assert_eq!(owner.incarnation, head.incarnation);
        (head.state == SegmentState::Free).then_some(number)
    }

    /// A head that frees a segment is durable: with the second, nobody has it.
    fn freed(&mut self, number: u32) {
        let owner = self.owners.entry(number).or_default();
        owner.free_heads += 1;
        if owner.free_heads == 2 {
            owner.free_heads = 0;
            owner.shard = None;
        }
    }
}

/// One shard's handle, under the eyes of an observer that both have.
struct Observed {
    disk: MemoryDisk,
    shard: u32,
    owners: Arc<Mutex<Owners>>,
    /// Heads under way that free a segment.
    freeing: BTreeMap<u64, u32>,
}

impl Disk for Observed {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        if let Operation::Write { offset, buffers } = &operation {
            let mut owners = self.owners.lock().unwrap();
            let freeing = owners.write(self.shard, *offset, buffers);
            self.freeing.extend(freeing.map(|number| (tag, number)));
        }
        self.disk.submit(tag, operation)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let first = completions.len();
        self.disk.poll(completions);
        for completion in &completions[first..] {
            if let Some(number) = self.freeing.remove(&completion.tag) {
                self.owners.lock().unwrap().freed(number);
            }
        }
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        self.poll(completions);
    }

    fn in_flight(&self) -> usize {
        self.disk.in_flight()
    }
}

const CHUNKS: u32 = 3;

/// What each block of a shard should hold: the sequence of its newest write, and whether it is zeros.
type Expected = BTreeMap<(u32, u16), (u64, bool)>;

/// Overwrites and trims, with compaction and checkpoints, until segments have gone round many times.
fn load(shard: &mut Shard<Observed>, number: u32) -> Expected {
    let mut expected = Expected::new();
    let mut dice = u64::from(number) * 77 + 5;
    for sequence in 1..4000_u64 {
        dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
        let draw = |shift: u32, below: u64| (dice >> shift) % below;
        let chunk = draw(20, u64::from(CHUNKS)) as u32;
        let first = draw(30, 60) as u16;
        let blocks = range(first, (1 + draw(40, 12) as u16).min(64 - first));
        let zero = draw(50, 9) == 0;
        shard.submit(change(place_of(number, chunk), blocks, sequence, zero));
        for block in blocks.blocks() {
            expected.insert((chunk, block), (sequence, zero));
        }
        match sequence % 200 {
            0 => shard.checkpoint(),
            100 => shard.request_compaction(),
            _ => {}
        }
        shard.poll(sequence * 10);
        while let Some(reply) = shard.next_reply() {
            reply.outcome.unwrap();
        }
    }
    for nth in 0..2000 {
        shard.poll(1_000_000 + nth * 1000);
        while let Some(reply) = shard.next_reply() {
            reply.outcome.unwrap();
        }
    }
    assert!(shard.is_idle());
    expected
}

fn verify<D: Disk>(shard: &mut Shard<D>, number: u32, expected: &Expected) {
    for chunk in 0..CHUNKS {
        let read = Read {
            place: place_of(number, chunk),
            range: range(0, 64),
            at: ReadAt::Head,
        };
        shard.submit(Request::Read(read));
        let reply = std::iter::from_fn(|| {
            shard.poll(9_000_000);
            Some(shard.next_reply())
        });
        let reply = reply
            .take(9)
            .flatten()
            .next()
            .expect("the read is answered");
        let Ok(Done::Read(parts)) = reply.outcome else {
            panic!("{reply:?}")
        };
        let mut found = Expected::new();
        for part in parts {
            for (nth, block) in part.range.blocks().enumerate() {
                let version = part.versions.iter().find(|v| v.range.contains(block));
                let sequence = version.unwrap().tag.stamp.sequence;
                if let Some(data) = &part.data {
                    let bytes = &data[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES];
                    assert_eq!(bytes, block_bytes(sequence << 8 | 1, block));
                }
                found.insert((chunk, block), (sequence, part.data.is_none()));
            }
        }
        let wanted = expected.iter().filter(|(key, _)| key.0 == chunk);
        assert!(found.iter().eq(wanted), "chunk {chunk} of shard {number}");
    }
}

#[test]
fn two_shards_on_two_threads_never_touch_each_others_segments() {
    let (disk, opened) = two_shards();
    let owners = Arc::new(Mutex::new(Owners {
        layout: opened.superblock.layout,
        owners: BTreeMap::new(),
    }));
    let expected: Vec<Expected> = std::thread::scope(|scope| {
        let shards = [0, 1].map(|number| {
            let handle = Observed {
                disk: disk.another(),
                shard: number,
                owners: Arc::clone(&owners),
                freeing: BTreeMap::new(),
            };
            let mut shard = Shard::recover(handle, &opened, number, options()).unwrap();
            scope.spawn(move || {
                let expected = load(&mut shard, number);
                let metrics = shard.metrics();
                assert!(metrics.compactions > 3 && metrics.freed_segments > 100);
                verify(&mut shard, number, &expected);
                expected
            })
        });
        shards.map(|shard| shard.join().unwrap()).into()
    });
    let owners = owners.lock().unwrap();
    let both = owners.owners.values().filter(|owner| owner.had.len() == 2);
    assert!(
        both.count() > 0,
        "no segment went from one shard to the other"
    );

    let mut handle = disk.another();
    let opened = open(&mut handle, cluster()).unwrap();
    for (number, expected) in (0..).zip(&expected) {
        let mut shard = Shard::recover(disk.another(), &opened, number, options()).unwrap();
        verify(&mut shard, number, expected);
    }
}

/// A shard with a write in an extent, ready for more.
fn shard_with_a_write(disk: &MemoryDisk, opened: &Opened, number: u32) -> Shard<MemoryDisk> {
    let mut shard = Shard::recover(disk.another(), opened, number, options()).unwrap();
    shard.submit(change(place_of(number, 0), range(0, 4), 1, false));
    for _ in 0..9 {
        shard.poll(0);
    }
    assert!(shard.next_reply().unwrap().outcome.is_ok());
    shard
}

#[test]
fn writes_into_an_open_extent_take_no_lock() {
    let (disk, opened) = two_shards();
    let mut shard = shard_with_a_write(&disk, &opened, 0);
    let before = opened.free.visits.load(Ordering::Relaxed);
    for nth in 0..5_u16 {
        let sequence = 2 + u64::from(nth);
        shard.submit(change(
            place_of(0, 0),
            range(nth * 4, 4),
            sequence,
            nth == 3,
        ));
        for _ in 0..3 {
            shard.poll(0);
        }
        assert!(shard.next_reply().unwrap().outcome.is_ok());
    }
    assert_eq!(opened.free.visits.load(Ordering::Relaxed), before);
}

#[test]
#[should_panic(expected = "a shard refers to its own segments only")]
fn a_shard_that_refers_to_its_neighbours_segment_panics() {
    let (disk, opened) = two_shards();
    let mut one = shard_with_a_write(&disk, &opened, 0);
    let other = shard_with_a_write(&disk, &opened, 1);
    let chunk = other.index.chunk(place_of(1, 0)).unwrap();
    let (_, layer) = chunk.layers().next().unwrap();
    let theirs: Piece<'_> = layer.all().next().unwrap();
    assert_eq!(theirs.kind, PieceKind::Data);
    one.segments.release(&theirs);
}

#[test]
fn a_stopped_shard_opens_again_while_its_neighbour_goes_on() {
    for ill_write in 0..14 {
        let (disk, opened) = two_shards();
        let script = move |operation: &Operation, nth: Nth| match operation {
            Operation::Write { .. } if nth.of_kind == ill_write => Fault::Short { blocks: 1 },
            _ => Fault::None,
        };
        let handle = |script: Script| FaultyDisk::new(disk.another(), script);
        let ill = handle(Box::new(script));
        let mut ill = Shard::recover(ill, &opened, 0, ShardOptions::default()).unwrap();
        let well = handle(Box::new(|_: &Operation, _| Fault::None));
        let mut well = Shard::recover(well, &opened, 1, ShardOptions::default()).unwrap();
        let mut answered = [Vec::new(), Vec::new()];
        for nth in 0..40_u16 {
            for (bucket, shard) in [&mut ill, &mut well].into_iter().enumerate() {
                let place = place_of(bucket as u32, 0);
                let tag = tag(u64::from(nth) + 1, 0);
                let range = range(nth % 16 * 4, 4);
                shard.submit(change(place, range, tag.stamp.sequence, false));
                for _ in 0..6 {
                    shard.poll(u64::from(nth));
                }
                match shard
                    .next_reply()
                    .expect("each request is answered")
                    .outcome
                {
                    Ok(_) => answered[bucket].push((place, range, tag)),
                    Err(StoreError::Stopped) => assert_eq!(bucket, 0),
                    Err(other) => panic!("{other}"),
                }
            }
            if ill.is_stopped() {
                let (replies, opened) = ill.reopen();
                assert!(replies.is_empty(), "all were taken");
                ill = opened.unwrap();
            }
        }
        assert!(answered[0].len() >= 39 && answered[1].len() == 40);
        let shards = [&ill, &well].map(|shard| {
            shard
                .segments
                .iter()
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        });
        assert!(shards[0].iter().all(|number| !shards[1].contains(number)));
        assert_eq!(
            shards[0].len() + shards[1].len() + opened.free.len(),
            32,
            "one is lost"
        );
        for (bucket, shard) in [ill, well].iter().enumerate() {
            for (place, range, tag) in answered[bucket].iter().rev().take(16) {
                let versions = shard.versions(*place);
                let there = |v: &Version| v.range == *range && v.tag == *tag;
                assert!(versions.iter().any(there), "{range:?} of shard {bucket}");
            }
        }
    }
}
