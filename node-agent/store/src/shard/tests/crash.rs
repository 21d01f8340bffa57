//! A crash at every boundary of a recorded run, also of the recovery after it, and failing writes.

use super::model::{Change, Value};
use super::world::*;
use crate::disk::{Completion, CrashFate, Failure, FailureKind, Geometry, MemoryDisk, Operation};
use crate::*;
use moraine_model::*;

/// A disk whose writes fail from some point on; the first that fails is torn.
struct Limited {
    disk: MemoryDisk,
    writes_left: usize,
    torn: bool,
    failed: Vec<Completion>,
}

impl Limited {
    fn new(disk: MemoryDisk, writes_left: usize) -> Self {
        Self {
            disk,
            writes_left,
            torn: false,
            failed: Vec::new(),
        }
    }
}

impl Disk for Limited {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        let Operation::Write { offset, buffers } = &operation else {
            return self.disk.submit(tag, operation);
        };
        if self.writes_left > 0 {
            self.writes_left -= 1;
            return self.disk.submit(tag, operation);
        }
        if !self.torn {
            self.torn = true;
            let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.to_vec()).collect();
            self.disk.poke(*offset, &bytes[..bytes.len() / 1024 * 512]);
        }
        let outcome = Err(Failure {
            kind: FailureKind::Io,
            source: None,
        });
        self.failed.push(Completion {
            tag,
            operation,
            outcome,
        });
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.failed);
        self.disk.poll(completions);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        self.poll(completions);
    }

    fn in_flight(&self) -> usize {
        self.failed.len() + self.disk.in_flight()
    }
}

/// A run with everything in it: overwrites, trims, a snapshot, its deletion, a clone, compaction.
/// Ends early once `steps` operations of the disk have completed; true if it did not.
fn run(world: &mut World, steps: usize) -> bool {
    let mut left = steps;
    let mut settle = |world: &mut World| {
        world.poll();
        while left > 0 && !(world.shard().is_idle() && world.pending.is_empty()) {
            left -= 1;
            world.now_ms += 1000;
            // Not the oldest first: later writes overtake earlier ones.
            world.step(left % 3);
        }
        left > 0
    };
    let share = place(1, 0).share();
    let child = VolumeId::new(2).unwrap();
    for round in 0..6_u64 {
        let cut = round / 3;
        for nth in 0..5_u64 {
            let tag = tag(1 + round * 10 + nth, cut);
            let value = if nth == 3 {
                Value::Zero
            } else {
                data(tag.stamp)
            };
            let first = (nth * 9 + round) as u16;
            world.write(place(1, (nth % 2) as u32), range(first, 14), tag, value);
        }
        world.submit(Pending::Note(vec![1], Some(vec![round as u8; 20])));
        if round == 3 {
            let control = Control::AddReference { cut: Cut(0), child };
            world.submit(Pending::Control(share, control));
        }
        if !settle(world) {
            return false;
        }
    }
    let tag = tag(90, 0);
    world.write(place(2, 0), range(0, 3), tag, data(tag.stamp));
    world.submit(Pending::Control(
        share,
        Control::DeleteSnapshot { cut: Cut(0) },
    ));
    world.shard().request_compaction();
    if !settle(world) {
        return false;
    }
    world.submit(Pending::Control(place(2, 0).share(), Control::DropShare));
    settle(world);
    world.submit(Pending::Control(
        share,
        Control::RemoveReference { cut: Cut(0), child },
    ));
    settle(world);
    world.shard().request_compaction();
    settle(world)
}

fn torn(seed: usize) -> impl FnMut(&Operation) -> CrashFate {
    let mut seed = seed as u64 | 1;
    move |operation| {
        seed = seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let bits = seed >> 20;
        let sectors = operation.size_bytes() / 512;
        CrashFate::Sectors(
            (0..sectors)
                .map(|nth| bits >> (nth % 40) & 1 == 1)
                .collect(),
        )
    }
}

#[test]
fn a_crash_at_any_boundary_loses_nothing_and_shows_nothing_else() {
    let mut steps = 0;
    let mut compactions = 0;
    loop {
        let mut finished = false;
        for fate in 0..3 {
            let mut world = World::new(9, 512);
            finished = run(&mut world, steps);
            compactions += world.shard().metrics().compactions;
            match fate {
                0 => world.crash(|_| CrashFate::Lost),
                1 => world.crash(|_| CrashFate::Whole),
                _ => world.crash(torn(steps)),
            }
            world.check_all(2, 2, 2);
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 100, "the run has only {steps} steps");
    assert!(compactions > 0, "the run has no compaction in it");
}

#[test]
fn a_crash_of_the_recovery_is_recovered_from() {
    for steps in (0..200).step_by(3) {
        for writes in 0..8 {
            let mut world = World::new(9, 512);
            run(&mut world, steps);
            world.queue.crash(torn(steps));
            world.shard = None;
            let mut limited = Limited::new(world.disk.another(), writes);
            let opened = open(&mut limited, cluster()).unwrap();
            let options = ShardOptions::default();
            let failed = Shard::recover(limited, &opened, 0, options).is_err();
            world.crash(|_| CrashFate::Lost);
            world.check_all(2, 2, 2);
            if !failed {
                break;
            }
        }
    }
}

#[test]
fn a_failed_write_stops_the_shard_and_opening_again_finds_what_was_answered() {
    for writes in 0..11 {
        let mut world = World::new(16, 512);
        world.shard = None;
        let mut limited = Limited::new(world.disk.another(), writes);
        let opened = open(&mut limited, cluster()).unwrap();
        let options = ShardOptions::default();
        let mut shard = Shard::recover(limited, &opened, 0, options).unwrap();
        let mut answered = Vec::new();
        for nth in 0..7_u16 {
            let tag = tag(u64::from(nth) + 1, 0);
            let range = range(nth * 4, 4);
            let content = content(data(tag.stamp), range);
            let rule = Rule::Write { listed: Epoch(0) };
            let write = Write {
                place: place(1, 0),
                range,
                tag,
                rule,
                content,
            };
            shard.submit(Request::Write(write));
            for _ in 0..4 {
                shard.poll(0);
            }
            let reply = shard.next_reply().expect("each request is answered");
            match reply.outcome {
                Ok(_) => answered.push(range),
                Err(StoreError::Stopped) => assert!(shard.is_stopped()),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(
            answered.len(),
            writes.saturating_sub(2).min(7),
            "two writes make a head"
        );
        drop(shard);
        world.open();
        for range in answered {
            let found = world
                .shard()
                .index
                .chunk(place(1, 0))
                .map(|chunk| chunk.find(range, None).missing.is_empty());
            assert_eq!(found, Some(true), "{range:?} was answered and is gone");
        }
    }
}

/// A device with a volatile cache: reads see the cache, and only a durable write or a sync reaches
/// the platter.
struct Cached {
    cache: MemoryDisk,
    platter: MemoryDisk,
}

impl Disk for Cached {
    fn geometry(&self) -> Geometry {
        self.cache.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        match &operation {
            Operation::Write { offset, buffers } => {
                let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.to_vec()).collect();
                self.platter.poke(*offset, &bytes);
            }
            Operation::Sync => {
                let mut bytes = vec![0; self.geometry().size_bytes as usize];
                self.cache.peek(0, &mut bytes);
                self.platter.poke(0, &bytes);
            }
            Operation::Read { .. } | Operation::Discard { .. } => {}
        }
        self.cache.submit(tag, operation)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        self.cache.poll(completions);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        self.cache.wait(completions);
    }

    fn in_flight(&self) -> usize {
        self.cache.in_flight()
    }
}

/// A process dies with a batch in the device's cache that nothing made durable. The next one finds
/// the batch, and tells the engine that sends the write again that it is there. Then the power goes.
#[test]
fn what_recovery_finds_is_durable_before_it_is_answered() {
    let mut world = World::new(16, 512);
    let tag = tag(1, 0);
    world.write(place(1, 0), range(0, 4), tag, data(tag.stamp));
    while world.shard().log.open.is_none() {
        world.step(0);
    }
    world.poll();
    let platter = world.disk.duplicate();
    world.queue.crash(|_| CrashFate::Whole);
    world.shard = None;
    let mut cached = Cached {
        cache: world.disk.another(),
        platter: platter.another(),
    };
    let opened = open(&mut cached, cluster()).unwrap();
    let mut shard = Shard::recover(cached, &opened, 0, ShardOptions::default()).unwrap();
    let write = Write {
        place: place(1, 0),
        range: range(0, 4),
        tag,
        rule: Rule::Write { listed: Epoch(0) },
        content: content(data(tag.stamp), range(0, 4)),
    };
    shard.submit(Request::Write(write));
    for _ in 0..8 {
        shard.poll(0);
    }
    let reply = shard.next_reply().expect("the write is answered");
    assert!(matches!(reply.outcome, Ok(Done::Durable)));
    drop(shard);
    world.disk = platter;
    world.pending.clear();
    world.open();
    let version = world.shard().versions(place(1, 0));
    assert_eq!(version.len(), 1, "it was answered and is gone");
    world.model.apply(&Change {
        place: place(1, 0),
        range: range(0, 4),
        tag,
        rule: Rule::Write { listed: Epoch(0) },
        value: data(tag.stamp),
    });
    world.check_all(1, 1, 1);
}

/// Makes and trims so many writes, so that segments are freed and come back highest number first;
/// then fills extents while the first index that is written never becomes durable.
fn a_slow_index(world: &mut World, before: u64) {
    let mut sequence = 0;
    let mut write = |world: &mut World, zero: bool, nth: u64| {
        sequence += 1;
        let tag = tag(sequence, 0);
        let value = if zero { Value::Zero } else { data(tag.stamp) };
        world.write(
            place(1, (nth / 4) as u32),
            range((nth % 4 * 14) as u16, 14),
            tag,
            value,
        );
    };
    for zero in [false, true] {
        for nth in 0..before {
            write(world, zero, nth);
            world.drain();
        }
    }
    let mut index = None;
    for nth in 0..13 {
        write(world, false, nth);
        world.poll();
        loop {
            if index.is_none() && world.shard().chains_closing() {
                index = world.queue.pending().checked_sub(1);
            }
            let pick = usize::from(index == Some(0));
            if pick >= world.queue.pending() {
                break;
            }
            index = index.map(|at| at - usize::from(pick < at));
            world.step(pick);
        }
    }
    assert_eq!(world.queue.pending(), 1, "the index is still under way");
    assert!(world.pending.is_empty(), "all else was answered");
}

#[test]
fn an_extent_whose_index_is_slow_is_no_damage_after_a_crash() {
    let mut world = World::new(24, 512);
    a_slow_index(&mut world, 13);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 4, 1);
}

#[test]
fn a_crash_while_recovery_closes_several_extents_is_no_damage() {
    for (before, writes) in (6..14).flat_map(|before| (0..14).map(move |writes| (before, writes))) {
        let mut world = World::new(24, 512);
        a_slow_index(&mut world, before);
        world.queue.crash(|_| CrashFate::Lost);
        world.shard = None;
        let mut limited = Limited::new(world.disk.another(), writes);
        let opened = open(&mut limited, cluster()).unwrap();
        let _ = Shard::recover(limited, &opened, 0, ShardOptions::default());
        world.crash(|_| CrashFate::Lost);
        world.check_all(1, 4, 1);
    }
}

/// Both copies of all heads say the same when nothing is under way, so either may be lost.
#[test]
fn one_copy_of_each_head_is_enough() {
    for copy in [0, 2] {
        let mut world = World::new(24, 512);
        assert!(run(&mut world, usize::MAX));
        let layout = world.shard().layout();
        world.shard = None;
        for segment in 0..layout.segments {
            let offset = layout.offset(segment, copy);
            world.disk.poke(offset, &[0; BLOCK_BYTES]);
        }
        world.open();
        world.check_all(2, 2, 2);
    }
}

#[test]
fn the_newer_head_counts() {
    let mut world = World::new(16, 512);
    let tag = tag(1, 0);
    world.write(place(1, 0), range(0, 4), tag, data(tag.stamp));
    world.drain();
    let number = world.shard().log.open.as_ref().unwrap().segment;
    let segment = world.shard().segments.get(number).unwrap();
    let (incarnation, sequence) = (segment.incarnation, segment.head_sequence + 1);
    let copy = if sequence.is_multiple_of(2) { 0 } else { 2 };
    let offset = world.shard().layout().offset(number, copy);
    world.shard = None;
    // As a crash leaves it between the two heads that free a segment.
    let disk = DiskId::new(2).unwrap();
    for (nth, block) in (0_u64..).zip(open::free_head(disk, number, incarnation, sequence)) {
        world.disk.poke(offset + nth * BLOCK_BYTES as u64, &block);
    }
    let opened = open(&mut world.disk.another(), cluster()).unwrap();
    assert_eq!(
        opened.free.len(),
        16,
        "the head that frees it is the newer one"
    );
}

/// The bitmap of a closed extent is written while the batch that overwrites it is in flight.
#[test]
fn a_bit_is_not_cleared_on_the_disk_before_what_covers_it_is_durable() {
    let mut world = World::new(16, 512);
    for nth in 0..8_u64 {
        let tag = tag(nth + 1, 0);
        let place = place(1, (nth / 4) as u32);
        world.write(
            place,
            range((nth % 4 * 14) as u16, 14),
            tag,
            data(tag.stamp),
        );
        world.drain();
    }
    // A block of the first extent dies, so that its bitmap is worth writing.
    let one = tag(20, 0);
    world.write(place(1, 0), range(0, 1), one, data(one.stamp));
    world.drain();
    let late = tag(21, 0);
    world.write(place(1, 0), range(14, 14), late, data(late.stamp));
    world.poll();
    let before = world.queue.pending();
    world.shard().checkpoint();
    assert!(
        before > 0 && world.queue.pending() > before,
        "a bitmap is being written"
    );
    // The batch was submitted first.
    while world.queue.pending() > 1 {
        world.step(1);
    }
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 2, 1);
}

#[test]
fn a_disk_is_read_offline_and_keeps_every_byte() {
    let mut world = World::new(16, 512);
    for nth in 0..9_u16 {
        let tag = tag(u64::from(nth) + 1, 0);
        world.write(place(1, 0), range(nth * 4, 4), tag, data(tag.stamp));
    }
    world.drain();
    world.shard = None;
    let bytes = |disk: &MemoryDisk| {
        let mut bytes = vec![0; disk.geometry().size_bytes as usize];
        disk.peek(0, &mut bytes);
        bytes
    };
    let before = bytes(&world.disk);
    let mut overlay = disk::OverlayDisk::new(world.disk.another());
    let opened = open(&mut overlay, cluster()).unwrap();
    let mut shard = Shard::recover(overlay, &opened, 0, ShardOptions::default()).unwrap();
    shard.start_scrub();
    let read = Read {
        place: place(1, 0),
        range: range(0, 36),
        at: ReadAt::Head,
    };
    shard.submit(Request::Read(read));
    for nth in 0..100 {
        shard.poll(nth * 10_000);
    }
    let outcome = shard.next_reply().expect("the read is answered").outcome;
    let Ok(Done::Read(parts)) = outcome else {
        panic!("{outcome:?}")
    };
    let blocks: usize = parts
        .iter()
        .map(|part| usize::from(part.range.count()))
        .sum();
    assert_eq!((blocks, shard.versions(place(1, 0)).len()), (36, 9));
    // The extent that was open is closed in the overlay, so the scrub reads it.
    assert_eq!(shard.scrub_report().blocks, 36);
    assert!(bytes(&world.disk) == before, "something was written");
}

/// One acknowledged batch after another, then a flip of one byte somewhere in the open extent:
/// opening or reading may fail, but what is read is right, and nothing is silently gone but the
/// very last batch, which can't be told from one that was torn.
#[test]
fn a_flipped_byte_in_an_open_extent_is_an_error_or_harmless() {
    let mut refused = 0;
    let mut corrupt = 0;
    for at in 0..30 {
        let mut world = World::new(16, 512);
        for nth in 0..5_u16 {
            let tag = tag(u64::from(nth) + 1, 0);
            world.write(place(1, 0), range(nth * 4, 2), tag, data(tag.stamp));
            world.drain();
        }
        let segment = world.shard().log.open.as_ref().unwrap().segment;
        let first = world.shard().layout().offset(segment, format::HEAD_BLOCKS);
        world.shard = None;
        let mut byte = [0];
        let offset = first + at * 2048 + 40;
        world.disk.peek(offset, &mut byte);
        world.disk.poke(offset, &[byte[0] ^ 0x10]);

        let mut handle = world.disk.another();
        let opened = open(&mut handle, cluster()).unwrap();
        let mut shard = match Shard::recover(handle, &opened, 0, ShardOptions::default()) {
            Ok(shard) => shard,
            Err(OpenError::Damaged { .. }) => {
                refused += 1;
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        for nth in 0..4_u16 {
            let read = Read {
                place: place(1, 0),
                range: range(nth * 4, 2),
                at: ReadAt::Head,
            };
            shard.submit(Request::Read(read));
            shard.poll(0);
            shard.poll(0);
            match shard
                .next_reply()
                .expect("each request is answered")
                .outcome
            {
                Ok(Done::Read(parts)) => {
                    let part = parts
                        .first()
                        .unwrap_or_else(|| panic!("write {nth} is gone"));
                    let data = part.data.as_ref().expect("it was data");
                    let number = u64::from(nth + 1) << 8 | 1;
                    assert_eq!(data[..BLOCK_BYTES], block_bytes(number, nth * 4));
                }
                Err(StoreError::Corrupt { .. }) => corrupt += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        refused > 0 && corrupt > 0,
        "{refused} refused, {corrupt} corrupt"
    );
}

#[test]
fn a_batch_with_the_last_of_all_numbers_is_no_batch() {
    let mut world = World::new(16, 512);
    world.write(place(1, 0), range(0, 1), tag(9, 0), data(tag(9, 0).stamp));
    world.drain();
    let number = world.shard().log.open.as_ref().unwrap().segment;
    let offset = world.shard().layout().offset(number, 4);
    let mut block = vec![0; BLOCK_BYTES];
    world.disk.peek(offset, &mut block);
    world.shard = None;
    for at in [48, 80, 88 + 4] {
        block[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    let sum = checksum_with_hole(&block, 12);
    block[12..16].copy_from_slice(&sum.to_le_bytes());
    world.disk.poke(offset, &block);
    let mut handle = world.disk.another();
    let opened = open(&mut handle, cluster()).unwrap();
    let shard = Shard::recover(handle, &opened, 0, ShardOptions::default()).unwrap();
    assert_eq!(shard.versions(place(1, 0)).len(), 0);
}
