//! Attaching after an engine that died: what it left is on all replicas, or on none, before
//! anything is served.

use crate::replica::{Held, Value};
use crate::world::{World, block, generation, reached};
use moraine_engine::Output;
use moraine_model::{Cut, Epoch, Role, Stamp};
use moraine_protocol::Request;

const IN: Role = Role::InSync;
const SYNC: Role = Role::Syncing;

/// Puts a version on a disk, as a former engine left it.
fn put(
    world: &mut World,
    disk: usize,
    at: u64,
    cut: u64,
    (stamp, epoch, value): (Stamp, u64, u64),
) {
    let (bucket, chunk, number) = world.bucket_of(at);
    let entry = world.map[&bucket].clone();
    world.disks[disk].learn(&entry);
    let value = match value {
        0 => Value::Zero,
        value => Value::Data(block(value)),
    };
    let held = Held {
        stamp,
        epoch: Epoch(epoch),
        value,
    };
    let replica = world.disks[disk].replicas.get_mut(&bucket).unwrap();
    replica.held.insert((chunk, number, Cut(cut)), held);
}

fn mark(world: &mut World, disk: usize, at: u64, mark: Stamp) {
    let (bucket, ..) = world.bucket_of(at);
    let entry = world.map[&bucket].clone();
    world.disks[disk].learn(&entry);
    world.disks[disk].replicas.get_mut(&bucket).unwrap().mark = mark;
}

fn held(world: &World, disk: usize, at: u64, cut: u64) -> Option<Held> {
    let (bucket, chunk, number) = world.bucket_of(at);
    let key = (chunk, number, Cut(cut));
    world.disks[disk].replicas[&bucket].held.get(&key).cloned()
}

fn shown(world: &World, disk: usize, at: u64, cut: u64) -> Value {
    let (bucket, chunk, number) = world.bucket_of(at);
    world.disks[disk].shown(bucket, chunk, number, Cut(cut))
}

fn attach(world: &mut World) {
    world.restart(generation(9), true);
    world.connect_all();
    world.pass(100);
    world.expect(|output| *output == Output::Attached);
}

const OLD: Stamp = Stamp::new(1, 0, 5);
const NEW: Stamp = Stamp::new(1, 0, 7);

#[test]
fn the_newest_version_in_sync_comes_to_all_with_a_new_stamp() {
    let mut world = World::new(3, 3, 1, 1);
    for disk in 0..3 {
        put(&mut world, disk, 5, 0, (OLD, 1, 1));
    }
    put(&mut world, 1, 5, 0, (NEW, 1, 2));
    attach(&mut world);
    for disk in 0..3 {
        let held = held(&world, disk, 5, 0).unwrap();
        assert_eq!(held.value, Value::Data(block(2)));
        assert_eq!(held.stamp.generation, generation(9));
    }
    let read = world.read(5, 1);
    world.run();
    assert_eq!(world.values(read), [2]);
}

#[test]
fn nothing_is_written_where_all_replicas_hold_the_same() {
    let mut world = World::new(2, 2, 4, 1);
    for at in [5, 1030, 2050, 3100] {
        put(&mut world, 0, at, 0, (NEW, 1, 1));
        put(&mut world, 1, at, 0, (NEW, 1, 1));
    }
    put(&mut world, 1, 3101, 0, (NEW, 1, 2));
    attach(&mut world);
    assert_eq!(world.engine.metrics().reconciled, 1);
    assert_eq!(held(&world, 0, 5, 0).unwrap().stamp, NEW);
    assert_eq!(shown(&world, 0, 3101, 0), Value::Data(block(2)));
}

#[test]
fn below_the_greatest_mark_nothing_is_looked_at() {
    let mut world = World::new(2, 2, 1, 1);
    put(&mut world, 1, 5, 0, (OLD, 1, 1));
    mark(&mut world, 0, 5, OLD);
    attach(&mut world);
    assert_eq!(world.engine.metrics().reconciled, 0);
    assert_eq!(held(&world, 0, 5, 0), None);
}

#[test]
fn what_only_a_syncing_replica_holds_was_never_acknowledged() {
    let mut world = World::new(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    world.publish(bucket, &[(0, IN, 1), (1, SYNC, 2)]);
    put(&mut world, 0, 5, 0, (OLD, 1, 1));
    put(&mut world, 1, 5, 0, (NEW, 2, 2));
    put(&mut world, 1, 6, 0, (NEW, 2, 3));
    attach(&mut world);
    for disk in 0..2 {
        assert_eq!(shown(&world, disk, 5, 0), Value::Data(block(1)));
        assert_eq!(shown(&world, disk, 6, 0), Value::Zero);
    }
}

#[test]
fn what_a_syncing_replica_held_before_it_was_listed_is_left_to_the_copy() {
    let mut world = World::new(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    world.publish(bucket, &[(0, IN, 1), (1, SYNC, 2)]);
    mark(&mut world, 0, 5, Stamp::new(1, 0, 6));
    put(&mut world, 1, 5, 0, (NEW, 1, 2));
    attach(&mut world);
    assert_eq!(world.engine.metrics().reconciled, 0);
}

#[test]
fn each_cut_is_reconciled_for_itself() {
    let mut world = World::new(2, 2, 1, 1);
    put(&mut world, 0, 5, 3, (OLD, 1, 1));
    put(&mut world, 1, 5, 4, (NEW, 1, 2));
    attach(&mut world);
    for disk in 0..2 {
        assert_eq!(shown(&world, disk, 5, 3), Value::Data(block(1)));
        assert_eq!(shown(&world, disk, 5, 4), Value::Data(block(2)));
        assert_eq!(shown(&world, disk, 5, 2), Value::Zero);
    }
    world.expect(|output| *output == reached(9, 4));
}

#[test]
fn a_snapshot_that_is_gone_does_not_hide_what_the_head_shows() {
    let mut world = World::new(2, 2, 1, 1);
    put(&mut world, 1, 5, 3, (NEW, 1, 2));
    put(&mut world, 1, 6, 3, (OLD, 1, 3));
    put(&mut world, 1, 6, 4, (NEW, 1, 4));
    for disk in &mut world.disks {
        disk.deleted.insert(Cut(3));
    }
    attach(&mut world);
    assert_eq!(shown(&world, 0, 5, 3), Value::Data(block(2)));
    assert_eq!(shown(&world, 0, 6, 4), Value::Data(block(4)));
    assert_eq!(held(&world, 0, 6, 3), None, "nobody reads it");
}

#[test]
fn zeros_and_runs_of_blocks_are_reconciled_too() {
    let mut world = World::new(2, 2, 1, 1);
    for at in 0..600 {
        put(&mut world, 0, at, 0, (NEW, 1, at % 300));
    }
    attach(&mut world);
    for at in 0..600 {
        assert_eq!(shown(&world, 1, at, 0), shown(&world, 0, at, 0));
    }
    let written = world.engine.metrics().reconciled;
    // Zeros, data up to the next zeros in requests of 256, twice.
    assert_eq!(written, 6);
}

#[test]
fn a_source_that_is_damaged_gives_way_to_another_or_to_an_older_version() {
    let mut world = World::new(3, 3, 1, 1);
    let (_, chunk, number) = world.bucket_of(5);
    for disk in 0..2 {
        put(&mut world, disk, 5, 0, (NEW, 1, 2));
    }
    put(&mut world, 2, 6, 0, (OLD, 1, 3));
    put(&mut world, 0, 6, 0, (NEW, 1, 4));
    world.disks[0].damaged.insert((chunk, number));
    world.disks[0].damaged.insert((chunk, number + 1));
    attach(&mut world);
    for disk in 0..3 {
        assert_eq!(shown(&world, disk, 5, 0), Value::Data(block(2)));
        let six = shown(&world, disk, 6, 0);
        assert_eq!(
            six,
            Value::Data(block(3)),
            "the newer one was on one disk only"
        );
    }
}

#[test]
fn a_block_that_can_not_be_decided_keeps_the_marks_back_for_the_next_engine() {
    let mut world = World::new(2, 2, 1, 1);
    let (bucket, chunk, number) = world.bucket_of(5);
    world.publish(bucket, &[(0, IN, 1), (1, SYNC, 2)]);
    put(&mut world, 0, 5, 0, (OLD, 1, 1));
    put(&mut world, 1, 5, 0, (NEW, 2, 2));
    world.disks[0].damaged.insert((chunk, number));
    attach(&mut world);
    let [read, other] = [world.read(5, 1), world.write(6, 7)];
    world.pass(1_000);
    assert!(world.done[&read].is_err() && world.done[&other].is_ok());
    world.engine.detach();
    world.take_outputs();
    world.run();
    world.expect(|output| *output == Output::Detached { clean: false });
    assert_eq!(world.disks[0].replicas[&bucket].mark, Stamp::ZERO);
    // It can be read again, and the next engine decides.
    world.disks[0].damaged.clear();
    world.restart(generation(10), true);
    world.connect_all();
    world.run();
    assert_eq!(shown(&world, 1, 5, 0), Value::Data(block(1)));
    assert_eq!(shown(&world, 1, 6, 0), Value::Data(block(7)));
}

#[test]
fn marks_are_zero_until_the_bucket_is_reconciled() {
    let mut world = World::new(2, 2, 1, 1);
    put(&mut world, 1, 5, 0, (NEW, 1, 2));
    attach(&mut world);
    let marks = world.sent.iter().filter_map(|request| match request {
        Request::Write { mark, .. } | Request::Read { mark, .. } => Some(*mark),
        _ => None,
    });
    assert!(
        marks
            .collect::<Vec<_>>()
            .iter()
            .all(|mark| *mark == Stamp::ZERO)
    );
    world.write(7, 1);
    world.run();
    world.write(8, 1);
    let Some(Request::Write { mark, .. }) = world.sent.last() else {
        panic!("a write was sent last");
    };
    assert_eq!((mark.generation, mark.sequence), (generation(9), 2));
}

#[test]
fn nothing_is_served_before_every_bucket_is_reconciled() {
    let mut world = World::new(2, 2, 8, 4);
    put(&mut world, 1, 5, 0, (NEW, 1, 2));
    world.restart(generation(9), true);
    let early: Vec<_> = (0..8)
        .map(|chunk| world.read(chunk * 1024 + 5, 1))
        .collect();
    world.connect_all();
    world.stuck.insert(1);
    world.run();
    assert!(world.done.is_empty());
    world.stuck.clear();
    world.run();
    assert_eq!(world.values(early[0]), [2]);
    assert!(early[1..].iter().all(|io| world.values(*io) == [0]));
}

#[test]
fn a_bucket_that_is_ready_waits_for_the_others() {
    let mut world = World::new(2, 2, 8, 4);
    let (late, ..) = world.bucket_of(5);
    let reads: Vec<_> = (0..8).map(|chunk| world.read(chunk * 1024, 1)).collect();
    world.connect_all();
    let is_late = |request: &Request| match request {
        Request::Open { entry, .. } => entry.bucket() == late,
        _ => false,
    };
    while let Some(at) = world.wire.iter().position(|m| !is_late(&m.request)) {
        match world.wire[at].reply {
            None => world.deliver(at),
            Some(_) => world.answer(at),
        }
    }
    assert!(world.done.is_empty());
    world.run();
    assert!(reads.iter().all(|io| world.values(*io) == [0]));
}

#[test]
fn a_write_of_a_reconciliation_that_was_put_off_lands_before_anything_is_served() {
    let mut world = World::new(2, 2, 1, 1);
    put(&mut world, 0, 5, 0, (OLD, 1, 1));
    put(&mut world, 1, 5, 0, (OLD, 1, 1));
    mark(&mut world, 0, 5, OLD);
    mark(&mut world, 1, 5, OLD);
    put(&mut world, 0, 5, 0, (NEW, 1, 2));
    world.restart(generation(9), true);
    world.connect_all();
    let is_write = |request: &Request| matches!(request, Request::Write { .. });
    let others = |world: &World| world.wire.iter().position(|m| !is_write(&m.request));
    let step = |world: &mut World, at: usize| match world.wire[at].reply {
        None => world.deliver(at),
        Some(_) => world.answer(at),
    };
    while let Some(at) = others(&world) {
        step(&mut world, at);
    }
    assert_eq!(
        world.wire.len(),
        2,
        "the newest version is on its way to both"
    );
    // The only replica that held it is dropped. What is on its way may still arrive.
    let (bucket, ..) = world.bucket_of(5);
    let newer = world.publish(bucket, &[(1, IN, 1)]);
    world.learn(&newer);
    let read = world.read(5, 1);
    while let Some(at) = others(&world) {
        step(&mut world, at);
    }
    assert!(!world.done.contains_key(&read));
    world.run();
    assert_eq!(world.values(read), [2]);
}

#[test]
fn a_new_map_in_the_middle_of_it_begins_it_again() {
    // At each step of the reconciliation once.
    for steps in 0..60 {
        let mut world = World::new(3, 2, 3, 1);
        let (bucket, ..) = world.bucket_of(5);
        for at in [5, 1500, 2100] {
            put(&mut world, 0, at, 0, (OLD, 1, 1));
            put(&mut world, 1, at, 0, (NEW, 1, 2));
        }
        world.restart(generation(9), true);
        world.connect_all();
        for _ in 0..steps {
            let Some(message) = world.wire.first() else {
                break;
            };
            if message.reply.is_some() {
                world.answer(0);
            } else {
                world.deliver(0);
            }
        }
        let roles = [(0, IN, 1), (1, IN, 1), (2, SYNC, 2)];
        let newer = world.publish(bucket, &roles);
        world.learn(&newer);
        world.pass(1_000);
        world.expect(|output| *output == Output::Attached);
        for at in [5, 1500, 2100] {
            let read = world.read(at, 1);
            world.run();
            assert_eq!(world.values(read), [2]);
            assert_eq!(shown(&world, 0, at, 0), shown(&world, 1, at, 0));
        }
        // All that was asked under the older map was dropped, and nothing of it is left.
        world.engine.detach();
        world.take_outputs();
        world.run();
        world.expect(|output| *output == Output::Detached { clean: true });
    }
}

#[test]
fn it_is_done_once() {
    let mut world = World::attached(3, 2, 1, 1);
    world.write(5, 1);
    world.run();
    let (bucket, ..) = world.bucket_of(5);
    // What a replica that is listed later holds counts for nothing.
    let roles = [(0, IN, 1), (1, IN, 1), (2, SYNC, 2)];
    let newer = world.publish(bucket, &roles);
    put(&mut world, 2, 5, 0, (Stamp::new(8, 0, 1), 2, 7));
    world.learn(&newer);
    world.run();
    let read = world.read(5, 1);
    world.run();
    assert_eq!(world.values(read), [1]);
    assert_eq!(world.engine.metrics().reconciled, 0);
}

#[test]
fn no_cut_begins_before_a_bucket_that_comes_into_use_is_reconciled() {
    let mut world = World::new(2, 2, 1, 16);
    world.connect_all();
    world.run();
    world.events.clear();
    let at = 1024 * 3 + 5;
    put(&mut world, 1, at, 0, (NEW, 1, 2));
    world.engine.resize(8 * moraine_model::CHUNK_BYTES).unwrap();
    world.engine.raise_cut(Cut(3));
    world.take_outputs();
    assert_eq!(world.events, []);
    world.run();
    let size_bytes = 8 * moraine_model::CHUNK_BYTES;
    assert_eq!(
        world.events,
        [Output::Resized { size_bytes }, reached(1, 3)]
    );
    assert_eq!(held(&world, 0, at, 3), None);
    assert_eq!(shown(&world, 0, at, 0), Value::Data(block(2)));
}

#[test]
fn a_bucket_that_comes_into_use_is_reconciled_first() {
    let mut world = World::new(2, 2, 1, 16);
    world.connect_all();
    world.run();
    let at = 1024 * 3 + 5;
    put(&mut world, 1, at, 6, (NEW, 1, 2));
    world.engine.resize(8 * moraine_model::CHUNK_BYTES).unwrap();
    world.take_outputs();
    world.run();
    world.expect(|output| matches!(output, Output::Resized { .. }));
    assert_eq!(shown(&world, 0, at, 6), Value::Data(block(2)));
    world.expect(|output| *output == reached(1, 6));
    world.write(at, 3);
    world.run();
    assert_eq!(shown(&world, 0, at, 6), Value::Data(block(3)));
}
