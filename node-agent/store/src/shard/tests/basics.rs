//! One behaviour each.

use super::model::Value;
use super::world::*;
use crate::disk::CrashFate;
use crate::*;
use moraine_model::*;

fn data(tag: Tag) -> Value {
    super::world::data(tag.stamp)
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let mut world = World::new(16, 512);
    world.write(place(1, 0), range(0, 8), tag(1, 0), data(tag(1, 0)));
    world.write(place(1, 0), range(4, 8), tag(2, 0), data(tag(2, 0)));
    world.write(place(1, 1), range(60, 4), tag(3, 0), Value::Zero);
    world.drain();
    world.check_all(1, 2, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 2, 1);
}

#[test]
fn nothing_is_answered_before_it_and_all_before_it_is_durable() {
    let mut world = World::new(16, 4096);
    world.write(place(1, 0), range(0, 1), tag(1, 0), data(tag(1, 0)));
    world.drain();
    let first = world.write(place(1, 0), range(1, 1), tag(2, 0), data(tag(2, 0)));
    world.poll();
    let second = world.write(place(1, 0), range(2, 1), tag(3, 0), data(tag(3, 0)));
    world.poll();
    assert_eq!(world.queue.pending(), 2, "two batches are in flight");
    world.queue.complete(1);
    world.poll();
    assert!(world.pending.contains_key(&first) && world.pending.contains_key(&second));
    world.queue.complete(0);
    world.poll();
    assert!(world.pending.is_empty());
}

#[test]
fn an_older_stamp_never_covers_a_newer_one() {
    let mut world = World::new(16, 4096);
    world.write(place(1, 0), range(0, 4), tag(5, 0), data(tag(5, 0)));
    world.drain();
    world.write(place(1, 0), range(2, 4), tag(3, 0), data(tag(3, 0)));
    world.drain();
    world.check_all(1, 1, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 1, 1);
}

#[test]
fn a_full_disk_refuses_data_and_takes_it_again_after_a_trim() {
    let mut world = World::new(16, 4096);
    let mut sequence = 0;
    let mut chunk = 0;
    while world.no_space == 0 {
        sequence += 1;
        chunk = sequence as u32 - 1;
        let tag = tag(sequence, 0);
        world.write(place(1, chunk), range(0, 16), tag, data(tag));
        world.drain();
        assert!(sequence < 1000, "a small disk never fills");
    }
    for trimmed in 0..chunk {
        sequence += 1;
        world.write(
            place(1, trimmed),
            range(0, 16),
            tag(sequence, 0),
            Value::Zero,
        );
    }
    world.drain();
    assert_eq!(world.no_space, 1, "trims are not refused");
    for again in 0..chunk / 2 {
        sequence += 1;
        let tag = tag(sequence, 0);
        world.write(place(1, again), range(0, 16), tag, data(tag));
        world.drain();
    }
    assert_eq!(world.no_space, 1, "space came back");
    world.check_all(1, chunk, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, chunk, 1);
}

#[test]
fn a_clone_reads_through_and_keeps_its_parents_cut() {
    let mut world = World::new(16, 4096);
    let parent = place(1, 0).share();
    let child = VolumeId::new(2).unwrap();
    world.write(place(1, 0), range(0, 4), tag(1, 0), data(tag(1, 0)));
    world.drain();
    world.submit(Pending::Control(
        parent,
        Control::AddReference { cut: Cut(0), child },
    ));
    world.drain();
    world.write(place(1, 0), range(0, 2), tag(2, 1), data(tag(2, 1)));
    world.write(place(2, 0), range(1, 1), tag(3, 0), Value::Zero);
    world.submit(Pending::Control(
        parent,
        Control::DeleteSnapshot { cut: Cut(0) },
    ));
    world.drain();
    world.check_all(2, 1, 2);
    assert_eq!(world.shard().share_bytes(parent), 6 * 4096);
    world.submit(Pending::Control(
        parent,
        Control::RemoveReference { cut: Cut(0), child },
    ));
    world.drain();
    assert_eq!(world.refused, 1, "the clone still reads");
    let control = Control::DeleteVolume { cut: Cut(0) };
    world.submit(Pending::Control(place(2, 0).share(), control));
    world.drain();
    world.submit(Pending::Control(
        parent,
        Control::RemoveReference { cut: Cut(0), child },
    ));
    world.drain();
    assert_eq!(world.shard().share_bytes(parent), 4 * 4096);
    world.crash(|_| CrashFate::Lost);
    world.check_all(2, 1, 2);
    assert_eq!(world.shard().share_bytes(parent), 4 * 4096);
}

/// Found by the random test: the tombstone of the first reference took the second one away.
#[test]
fn a_clone_that_changed_its_parent_has_the_new_one_after_a_crash() {
    let mut world = World::new(16, 4096);
    let child = VolumeId::new(4).unwrap();
    let cut = Cut(0);
    world.write(place(1, 0), range(0, 1), tag(1, 0), data(tag(1, 0)));
    let (first, second) = (place(2, 0).share(), place(1, 0).share());
    world.submit(Pending::Control(
        first,
        Control::AddReference { cut, child },
    ));
    world.drain();
    world.submit(Pending::Control(
        first,
        Control::RemoveReference { cut, child },
    ));
    world.submit(Pending::Control(
        second,
        Control::AddReference { cut, child },
    ));
    world.drain();
    world.check_all(4, 1, 1);
    world.crash(|_| CrashFate::Lost);
    world.check_all(4, 1, 1);
}

#[test]
fn a_damaged_block_is_an_error_and_never_data() {
    let mut world = World::new(16, 4096);
    world.write(place(1, 0), range(0, 4), tag(1, 0), data(tag(1, 0)));
    world.drain();
    let chunk = world.shard().index.chunk(place(1, 0)).unwrap();
    let location = chunk
        .layers()
        .next()
        .unwrap()
        .1
        .all()
        .next()
        .unwrap()
        .location;
    world
        .disk
        .poke(u64::from(location + 2) * 4096 + 17, &[0xee]);
    let read = Read {
        place: place(1, 0),
        range: range(0, 4),
        at: ReadAt::Head,
    };
    let id = world.shard().submit(Request::Read(read));
    world.queue.hold(false);
    world.shard().poll(0);
    let reply = world.shard().next_reply().unwrap();
    assert_eq!(reply.id, id);
    assert!(
        matches!(reply.outcome, Err(StoreError::Corrupt { block: 2, .. })),
        "{reply:?}"
    );
    assert_eq!(world.shard().metrics().corrupt_blocks, 1);
}

#[test]
fn a_read_under_way_keeps_its_segment() {
    let mut world = World::new(9, 4096);
    world.write(place(1, 0), range(0, 4), tag(1, 0), data(tag(1, 0)));
    world.drain();
    let read = Read {
        place: place(1, 0),
        range: range(0, 4),
        at: ReadAt::Head,
    };
    let id = world.shard().submit(Request::Read(read));
    assert_eq!(world.queue.pending(), 1);
    for round in 0..60 {
        let tag = tag(2 + round, 0);
        let request = Request::Write(Write {
            place: place(1, 0),
            range: range(0, 16),
            tag,
            rule: Rule::Write { listed: Epoch(0) },
            content: content(data(tag), range(0, 16)),
        });
        world.shard().submit(request);
        // Everything but the read goes on.
        for now_ms in 0..30 {
            world.queue.complete(1);
            world.shard().poll(now_ms);
        }
    }
    assert!(
        world.shard().metrics().freed_segments > 3,
        "segments are used again"
    );
    world.queue.complete(0);
    world.shard().poll(0);
    let mut replies = std::iter::from_fn(|| world.shard().next_reply());
    let reply = replies
        .find(|reply| reply.id == id)
        .expect("the read is answered");
    let Ok(Done::Read(parts)) = reply.outcome else {
        panic!("{:?}", reply.outcome)
    };
    let bytes = parts[0].data.as_ref().unwrap();
    assert_eq!(
        bytes[..4096],
        block_bytes(1 << 8 | 1, 0),
        "the data of when it began"
    );
}

#[test]
fn a_scrub_tells_each_bad_block_of_the_closed_extents() {
    let mut world = World::new(16, 4096);
    for nth in 0..8_u16 {
        let tag = tag(u64::from(nth) + 1, 0);
        world.write(place(1, 0), range(nth * 16, 16), tag, data(tag));
        world.drain();
    }
    let chunk = world.shard().index.chunk(place(1, 0)).unwrap();
    let location = chunk.find(range(5, 1), None).pieces[0].1.location;
    world.disk.poke(u64::from(location) * 4096, &[0xff; 9]);
    world.shard().start_scrub();
    world.drain();
    for _ in 0..100 {
        world.now_ms += 100_000;
        world.step(0);
    }
    let report = world.shard().scrub_report().clone();
    assert!(report.finished && report.blocks >= 96, "{report:?}");
    let bad = BadBlock {
        place: place(1, 0),
        block: 5,
        location,
    };
    assert_eq!(
        (report.bad, report.unreadable_segments),
        (vec![bad], vec![])
    );
}

#[test]
fn usage_tells_what_is_shared() {
    let mut world = World::new(16, 4096);
    let share = place(1, 0).share();
    world.write(place(1, 0), range(0, 4), tag(1, 0), data(tag(1, 0)));
    world.drain();
    world.write(place(1, 0), range(0, 1), tag(2, 1), data(tag(2, 1)));
    world.drain();
    let usage = |at| world.shard.as_ref().unwrap().usage(share, at, Cut(1));
    let blocks = |usage: Usage| {
        [usage.used_bytes, usage.shared_bytes, usage.exclusive_bytes].map(|bytes| bytes / 4096)
    };
    assert_eq!(blocks(usage(None)), [4, 3, 1]);
    assert_eq!(blocks(usage(Some(Cut(0)))), [4, 3, 1]);
    let changed = world.shard().changed(share, Cut(0), Cut(1));
    assert_eq!(changed, [(ChunkIndex::new(0).unwrap(), vec![range(0, 1)])]);
    let above = |stamp| {
        world
            .shard
            .as_ref()
            .unwrap()
            .chunks_above(share, stamp)
            .len()
    };
    assert_eq!(
        (above(Stamp::new(1, 0, 1)), above(Stamp::new(1, 0, 2))),
        (1, 0)
    );
}

#[test]
fn a_foreign_blank_or_damaged_disk_is_refused_and_not_touched() {
    let world = World::new(16, 4096);
    let other = ClusterId::new(99).unwrap();
    let refused = open(&mut world.disk.duplicate(), other).unwrap_err();
    assert!(
        matches!(refused, OpenError::ForeignCluster { .. }),
        "{refused}"
    );

    let mut blank = disk::MemoryDisk::new(8 << 20, 4096);
    let refused = open(&mut blank, cluster()).unwrap_err();
    assert!(
        matches!(refused, OpenError::NotFormatted { found: "nothing" }),
        "{refused}"
    );
    blank.poke(0x438, &[0x53, 0xef]);
    let options = FormatOptions {
        segment_blocks: SEGMENT,
        ..FormatOptions::new(cluster(), DiskId::new(3).unwrap())
    };
    let refused = format(&mut blank, &options).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::NotBlank {
                found: "an ext file system"
            }
        ),
        "{refused}"
    );

    let mut one_copy = world.disk.duplicate();
    one_copy.poke(20, &[0xff; 8]);
    open(&mut one_copy, cluster()).unwrap();
    one_copy.poke(128 * 4096 + 20, &[0xff; 8]);
    let refused = open(&mut one_copy, cluster()).unwrap_err();
    assert!(
        matches!(refused, OpenError::SuperblockDamaged(_)),
        "{refused}"
    );

    let mut headless = world.disk.duplicate();
    headless.poke(256 * 4096, &[0xff; 4 * 4096]);
    let refused = open(&mut headless, cluster()).unwrap_err();
    assert!(
        matches!(refused, OpenError::Damaged { segment: 0, .. }),
        "{refused}"
    );
}
