//! Space: a full disk says so and goes on, and what dies on it comes back, without a restart.

use super::model::Value;
use super::world::*;
use crate::disk::{CrashFate, MemoryDisk};
use crate::free_list::Purpose;
use crate::index::layer::PieceKind;
use crate::*;
use moraine_model::*;
use std::collections::BTreeMap;

/// Writes zeros, each to a block of its own with one of `every` blocks between, until there is no
/// space; a batch takes many. Gives how many were written.
fn fill_with_zeros(world: &mut World, every: u32, batch: u64) -> u64 {
    let mut written = 0;
    while world.no_space == 0 {
        for nth in written..written + batch {
            let block = nth as u32 * every;
            let place = place(1, block / 1024);
            let range = range((block % 1024) as u16, 1);
            world.write(place, range, tag(nth + 1, 0), Value::Zero);
        }
        written += batch;
        world.drain();
        assert!(written < 1_000_000, "a small disk never fills");
    }
    written
}

fn write_data(world: &mut World, volume: u128, chunks: std::ops::Range<u32>, sequence: u64) {
    for chunk in chunks {
        let tag = tag(sequence + u64::from(chunk), 0);
        world.write(place(volume, chunk), range(0, 16), tag, data(tag.stamp));
        world.drain();
    }
}

fn drop_share(world: &mut World, volume: u128) {
    let share = place(volume, 0).share();
    world.submit(Pending::Control(share, Control::DropShare));
    world.drain();
}

#[test]
fn a_disk_full_of_zeros_says_so_and_is_empty_when_they_are_dropped() {
    for batch in [64, 1] {
        let mut world = World::new(10, 4096);
        let written = fill_with_zeros(&mut world, 2, batch);
        let compactions = world.shard().metrics().compactions;
        world.now_ms += 1_000_000;
        for _ in 0..200 {
            world.step(0);
        }
        let since = world.shard().metrics().compactions - compactions;
        assert_eq!(since, 0, "zeros are copied in circles");
        assert!(written > 5000, "{written} zeros fill the disk");
        let refused = world.no_space;
        drop_share(&mut world, 1);
        write_data(&mut world, 2, 0..15, 1);
        assert_eq!(world.no_space, refused, "space came back");
        world.check_all(2, 16, 1);
        world.crash(|_| CrashFate::Lost);
        world.check_all(2, 16, 1);
    }
}

/// A volume that is trimmed as a whole and then written here and there: each of its few zeros is
/// split into many parts.
#[test]
fn zeros_that_newer_writes_split_take_no_more_space_when_they_are_copied() {
    let mut world = World::new(24, 512);
    let mut sequence = 0;
    for chunk in 0..300 {
        sequence += 1;
        let whole = range(0, 1024);
        world.write(place(1, chunk), whole, tag(sequence, 0), Value::Zero);
    }
    world.drain();
    for chunk in 0..300 {
        for nth in 0..64 {
            sequence += 1;
            let tag = tag(sequence, 0);
            // Zeros too, but of a volume's newer cut of life: they split, and take no blocks.
            world.write(place(1, chunk), range(nth * 16, 1), tag, Value::Zero);
        }
        world.drain();
    }
    for _ in 0..12 {
        world.shard().request_compaction();
        world.drain();
    }
    let entries = sequence;
    let blocks = entries * 80 / 4096;
    let metrics = world.shard().metrics();
    let used = 24 - metrics.free_segments;
    assert!(
        used * 50 < blocks + 4 * 50,
        "{used} segments for {entries} zeros"
    );
    world.check_all(1, 300, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 300, 1);
}

#[test]
fn a_snapshot_pins_the_disk_until_it_is_deleted() {
    let mut world = World::new(16, 4096);
    let mut sequence = 0;
    let share = place(1, 0).share();
    for cut in 0..100 {
        for chunk in 0..8 {
            sequence += 1;
            let tag = tag(sequence, cut);
            world.write(place(1, chunk), range(0, 16), tag, data(tag.stamp));
            world.drain();
        }
        if world.no_space > 0 {
            break;
        }
    }
    assert!(world.no_space > 0, "snapshots fill the disk");
    world.check_all(1, 8, 8);
    let refused = world.no_space;
    for cut in 0..4 {
        let control = Control::DeleteSnapshot { cut: Cut(cut) };
        world.submit(Pending::Control(share, control));
        world.drain();
    }
    write_data(&mut world, 2, 0..8, 1);
    assert_eq!(world.no_space, refused, "space came back");
    world.check_all(2, 8, 8);
    world.crash(|_| CrashFate::Lost);
    world.check_all(2, 8, 8);
}

#[test]
fn many_volumes_fill_the_disk_and_any_of_them_makes_room() {
    let mut world = World::new(24, 4096);
    let mut sequence = 0;
    'full: for chunk in 0..100 {
        for volume in 1..=20 {
            sequence += 1;
            let tag = tag(sequence, 0);
            world.write(place(volume, chunk), range(0, 4), tag, data(tag.stamp));
            world.drain();
            if world.no_space > 0 {
                break 'full;
            }
        }
    }
    for round in 1..6 {
        assert_eq!(world.no_space, 1, "round {round}");
        // Every seventh block of each volume, and one volume as a whole.
        for volume in (1 + round)..=20 {
            for chunk in 0..8 {
                sequence += 1;
                let tag = tag(sequence, 0);
                world.write(
                    place(volume, chunk),
                    range(round as u16 % 4, 1),
                    tag,
                    Value::Zero,
                );
            }
        }
        world.drain();
        drop_share(&mut world, round);
        for chunk in 0..4 {
            sequence += 1;
            let tag = tag(sequence, 0);
            world.write(
                place(30, chunk),
                range(4 * round as u16, 4),
                tag,
                data(tag.stamp),
            );
            world.drain();
        }
    }
    assert_eq!(world.no_space, 1, "space came back in each round");
    world.check_all(30, 8, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(30, 8, 1);
}

/// The open extent is from the reserve, and the last segment for data is ready behind it.
#[test]
fn data_goes_on_while_an_extent_for_data_is_ready() {
    let mut world = World::new(10, 4096);
    write_data(&mut world, 1, 0..1, 1);
    let shard = world.shard();
    shard.log.open.as_mut().unwrap().purpose = Purpose::Trim;
    while shard.free.len() > shard.free.reserve(Purpose::Data) + 1 {
        shard.free.take(Purpose::Data).unwrap();
    }
    assert!(shard.prepare(Purpose::Data));
    // While it is being prepared, and when it is.
    write_data(&mut world, 1, 1..4, 1);
    assert_eq!(world.no_space, 0);
    world.check_all(1, 4, 1);
}

/// Two shards on one disk, without a model: each block holds the number of its newest write.
struct Two {
    shards: Vec<Shard<MemoryDisk>>,
    now_ms: u64,
    sequence: u64,
    newest: BTreeMap<(u32, u32), u64>,
}

impl Two {
    fn new(segments: u64) -> Self {
        let blocks = u64::from(format::FIRST_SEGMENT) + segments * u64::from(SEGMENT);
        let mut disk = MemoryDisk::new(blocks * BLOCK_BYTES as u64, 4096);
        let options = FormatOptions {
            segment_blocks: SEGMENT,
            shards: 2,
            ..FormatOptions::new(cluster(), DiskId::new(2).unwrap())
        };
        format(&mut disk, &options).unwrap();
        let opened = open(&mut disk, cluster()).unwrap();
        let shard = |number| {
            Shard::recover(disk.another(), &opened, number, ShardOptions::default()).unwrap()
        };
        Self {
            shards: vec![shard(0), shard(1)],
            now_ms: 0,
            sequence: 0,
            newest: BTreeMap::new(),
        }
    }

    fn place(bucket: u32, chunk: u32) -> Place {
        Place {
            bucket: BucketId::new(bucket).unwrap(),
            ..place(1, chunk)
        }
    }

    fn answer(&mut self, shard: usize, id: RequestId, both: bool) -> Result<Done, StoreError> {
        for _ in 0..100_000 {
            self.now_ms += 1;
            self.shards[shard].poll(self.now_ms);
            if both {
                self.shards[1 - shard].poll(self.now_ms);
            }
            while let Some(reply) = self.shards[shard].next_reply() {
                if reply.id == id {
                    return reply.outcome;
                }
            }
        }
        panic!("request {id:?} of shard {shard} is never answered");
    }

    fn write(&mut self, bucket: u32, chunk: u32, both: bool) -> Result<Done, StoreError> {
        self.sequence += 1;
        let tag = tag(self.sequence, 0);
        let write = Write {
            place: Self::place(bucket, chunk),
            range: range(0, 16),
            tag,
            rule: Rule::Write { listed: Epoch(0) },
            content: content(data(tag.stamp), range(0, 16)),
        };
        let shard = bucket as usize;
        let id = self.shards[shard].submit(Request::Write(write));
        let outcome = self.answer(shard, id, both);
        if outcome.is_ok() {
            self.newest.insert((bucket, chunk), self.sequence);
        }
        outcome
    }

    fn check(&mut self) {
        for ((bucket, chunk), sequence) in self.newest.clone() {
            let read = Read {
                place: Self::place(bucket, chunk),
                range: range(0, 16),
                at: ReadAt::Head,
            };
            let shard = bucket as usize;
            let id = self.shards[shard].submit(Request::Read(read));
            let Done::Read(parts) = self.answer(shard, id, true).unwrap() else {
                panic!("no read")
            };
            let Value::Data(number) = data(Stamp::new(1, 0, sequence)) else {
                panic!("no data")
            };
            for part in parts {
                assert_eq!(part.versions[0].kind, PieceKind::Data);
                let bytes = part.data.unwrap();
                for (nth, block) in part.range.blocks().enumerate() {
                    let bytes = &bytes[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES];
                    assert_eq!(
                        bytes,
                        block_bytes(number, block),
                        "{bucket} {chunk} {block}"
                    );
                }
            }
        }
    }
}

/// Each extent of the first shard holds one block of data that lives and much that does not.
fn with_garbage(two: &mut Two) {
    for round in 0..16 {
        two.write(0, 100 + round, true).unwrap();
        for _ in 0..2 {
            two.write(0, 0, true).unwrap();
        }
    }
}

#[test]
fn a_shard_with_garbage_makes_room_for_another_though_it_is_idle() {
    let mut two = Two::new(32);
    with_garbage(&mut two);
    // 32 segments of 3 such writes, less the reserve of both shards and what the first one needs.
    for chunk in 0..36 {
        let outcome = two.write(1, chunk, true);
        assert!(outcome.is_ok(), "write {chunk}: {outcome:?}");
    }
    let full = (36..200).find(|&chunk| two.write(1, chunk, true).is_err());
    assert!(full.is_some(), "in the end the disk is full");
    two.check();
}

#[test]
fn a_write_waits_for_another_shard_that_can_make_room_and_for_none_that_is_gone() {
    let mut two = Two::new(32);
    with_garbage(&mut two);
    // The first shard is not polled: what it could give stays where it is.
    let mut chunk = 0;
    let waiting = loop {
        two.sequence += 1;
        let tag = tag(two.sequence, 0);
        let write = Write {
            place: Two::place(1, chunk),
            range: range(0, 16),
            tag,
            rule: Rule::Write { listed: Epoch(0) },
            content: content(data(tag.stamp), range(0, 16)),
        };
        let id = two.shards[1].submit(Request::Write(write));
        let answered = (0..2000).find_map(|_| {
            two.now_ms += 1;
            let now_ms = two.now_ms;
            two.shards[1].poll(now_ms);
            two.shards[1].next_reply()
        });
        match answered {
            Some(reply) => assert!(reply.outcome.is_ok(), "{:?} is not true", reply.outcome),
            None => break id,
        }
        chunk += 1;
        assert!(chunk < 200, "a small disk never fills");
    };
    drop(two.shards.remove(0));
    let reply = (0..2000).find_map(|_| {
        two.now_ms += 1;
        let now_ms = two.now_ms;
        two.shards[0].poll(now_ms);
        two.shards[0].next_reply()
    });
    let reply = reply.expect("nobody is left to wait for");
    assert_eq!(reply.id, waiting);
    let refused = matches!(reply.outcome, Err(StoreError::NoSpace));
    assert!(
        refused,
        "{chunk}: {:?} {:?}",
        reply.outcome,
        two.shards[0].metrics()
    );
}

/// Writes come as fast as the shard takes them, to a disk that is full but for a fifth.
#[test]
fn writes_slow_down_to_what_compaction_gives_back_and_never_stand_still() {
    const BLOCKS: u32 = 2048;
    let size = u64::from(format::FIRST_SEGMENT) + 20 * u64::from(BLOCKS);
    let mut disk = MemoryDisk::new(size * BLOCK_BYTES as u64, 4096);
    let options = FormatOptions {
        segment_blocks: BLOCKS,
        ..FormatOptions::new(cluster(), DiskId::new(2).unwrap())
    };
    format(&mut disk, &options).unwrap();
    let opened = open(&mut disk, cluster()).unwrap();
    let mut shard = Shard::recover(disk, &opened, 0, ShardOptions::default()).unwrap();
    let live = 15 * BLOCKS / 10 * 7;
    let (mut sequence, mut outstanding, mut answered) = (0_u64, 0, 0);
    let (mut copied, mut most) = (0, 0);
    for now_ms in 0_u64.. {
        while outstanding < 256 {
            sequence += 1;
            // Every block once, and then any.
            let block = match u32::try_from(sequence) {
                Ok(nth) if nth <= live => nth - 1,
                _ => (sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u32 % live,
            };
            let range = range((block % 1024) as u16, 1);
            let tag = tag(sequence, 0);
            shard.submit(Request::Write(Write {
                place: place(1, block / 1024),
                range,
                tag,
                rule: Rule::Write { listed: Epoch(0) },
                content: content(data(tag.stamp), range),
            }));
            outstanding += 1;
        }
        shard.poll(now_ms / 100);
        let before = answered;
        while let Some(reply) = shard.next_reply() {
            reply.outcome.unwrap();
            outstanding -= 1;
            answered += 1;
        }
        let metrics = shard.metrics();
        if answered > before {
            most = most.max(metrics.compacted_blocks - copied);
            copied = metrics.compacted_blocks;
        }
        if answered > u64::from(4 * live) {
            assert!(metrics.compactions > 20, "{metrics:?}");
            break;
        }
    }
    assert!(
        most < u64::from(BLOCKS) / 2,
        "{most} blocks were copied while no write was answered"
    );
}
