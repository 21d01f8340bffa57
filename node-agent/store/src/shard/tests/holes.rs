//! Holes: versions that a source does not have are taken away, with what they alone hid, and for good.

use super::model::{Change, Value};
use super::world::*;
use crate::disk::CrashFate;
use crate::index::layer::PieceKind;
use crate::*;
use moraine_model::*;

fn world() -> World {
    World::new(12, 512)
}

fn copy(world: &mut World, sequence: u64, cut: u64, value: Value) {
    copy_blocks(world, range(0, 4), (sequence, cut), value);
}

fn copy_blocks(world: &mut World, range: BlockRange, (sequence, cut): (u64, u64), value: Value) {
    let epoch = Epoch(2);
    let stamp = match value {
        Value::Hole => Stamp::ZERO,
        _ => Stamp::new(1, 0, sequence),
    };
    let rule = Rule::Copy {
        listed: epoch,
        fence: Generation::default(),
    };
    let tag = Tag {
        stamp,
        cut: Cut(cut),
        epoch,
    };
    let place = place(1, 0);
    world.submit(Pending::Change(Change {
        place,
        range,
        tag,
        rule,
        value,
    }));
    world.drain();
}

fn write(world: &mut World, sequence: u64, cut: u64) {
    let tag = tag(sequence, cut);
    world.write(place(1, 0), range(0, 4), tag, data(tag.stamp));
    world.drain();
}

fn delete_snapshots(world: &mut World, cuts: std::ops::Range<u64>) {
    for cut in cuts.map(Cut) {
        let control = Control::DeleteSnapshot { cut };
        world.submit(Pending::Control(place(1, 0).share(), control));
        world.drain();
    }
}

/// Compares with the model now, after compaction, and after a crash; then what head and cut 2 read.
fn settled(world: &mut World) -> [Option<Value>; 2] {
    world.check_all(1, 1, 4);
    world.shard().request_compaction();
    world.drain();
    world.check_all(1, 1, 4);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 1, 4);
    let read = |at| {
        world
            .model
            .read(place(1, 0), 1, at)
            .map(|version| version.value)
    };
    [read(ReadAt::Head), read(ReadAt::Cut(Cut(2)))]
}

#[test]
fn what_only_the_taken_version_hid_does_not_come_back_after_a_crash() {
    let mut world = world();
    write(&mut world, 1, 1);
    write(&mut world, 2, 3);
    delete_snapshots(&mut world, 0..3);
    copy(&mut world, 0, 3, Value::Hole);
    assert_eq!(settled(&mut world)[0], None);
}

#[test]
fn a_copy_from_the_newest_cut_down_keeps_what_the_source_has() {
    let mut world = world();
    write(&mut world, 1, 1);
    write(&mut world, 2, 3);
    delete_snapshots(&mut world, 0..3);
    // The source has the version of cut 1 only; here it is collected already.
    copy(&mut world, 0, 3, Value::Hole);
    let version = Value::Data(1 << 8 | 1);
    copy(&mut world, 1, 1, version);
    assert_eq!(settled(&mut world)[0], Some(version));
}

#[test]
fn a_hole_reaches_down_to_the_greatest_cut_that_is_kept() {
    let mut world = world();
    write(&mut world, 1, 1);
    write(&mut world, 2, 3);
    delete_snapshots(&mut world, 0..2);
    copy(&mut world, 0, 3, Value::Hole);
    let version = Some(data(tag(1, 1).stamp));
    assert_eq!(
        settled(&mut world),
        [version, version],
        "snapshot 2 reads it"
    );
}

#[test]
fn a_hole_where_nothing_is_takes_no_space() {
    let mut world = world();
    write(&mut world, 1, 1);
    let before = world.shard().metrics().batches;
    copy(&mut world, 0, 3, Value::Hole);
    copy(&mut world, 0, 1, Value::Hole);
    copy(&mut world, 0, 1, Value::Hole);
    assert_eq!(world.shard().metrics().batches, before + 1);
    assert_eq!(settled(&mut world)[0], None);
}

#[test]
fn a_hole_goes_when_nothing_older_is_left_on_the_disk() {
    let mut world = world();
    // Two closed extents with a hole each and little else that lives.
    for round in 1..3 {
        let first = range(round as u16, 1);
        world.write(place(1, 0), first, tag(100 * round, 1), Value::Zero);
        world.drain();
        copy_blocks(&mut world, first, (0, 1), Value::Hole);
        for sequence in 100 * round + 1..100 * round + 20 {
            let tag = tag(sequence, 1);
            world.write(place(1, 0), range(8, 8), tag, data(tag.stamp));
            world.drain();
        }
    }
    let holes = |world: &mut World| {
        let shard = world.shard();
        let chunk = shard.index.chunk(place(1, 0)).unwrap();
        let pieces = chunk.layers().flat_map(|(_, layer)| layer.all());
        pieces.filter(|piece| piece.kind == PieceKind::Hole).count()
    };
    assert_eq!(holes(&mut world), 2);
    for _ in 0..4 {
        world.shard().request_compaction();
        world.drain();
    }
    // The newer one still has the extent of the older beside it.
    assert_eq!(holes(&mut world), 1);
    assert_eq!(settled(&mut world)[0], None);
}

/// The zero is older than the hole in its middle, in the same extent, which compaction forgets; the
/// other gap in it is covered by data, and copied along.
#[test]
fn a_zero_that_is_copied_does_not_fill_the_gap_of_a_forgotten_hole() {
    let mut world = world();
    world.write(place(1, 0), range(0, 8), tag(1, 1), Value::Zero);
    world.drain();
    copy_blocks(&mut world, range(2, 1), (0, 1), Value::Hole);
    for sequence in 2..30 {
        let tag = tag(sequence, 1);
        world.write(place(1, 0), range(5, 1), tag, data(tag.stamp));
        world.write(place(1, 0), range(16, 8), tag, data(tag.stamp));
        if sequence % 6 == 0 {
            // Something that lives in each extent.
            let block = range(sequence as u16 * 2, 1);
            world.write(place(1, 1), block, tag, data(tag.stamp));
        }
        world.drain();
    }
    for _ in 0..4 {
        world.shard().request_compaction();
        world.drain();
    }
    let shard = world.shard();
    let layer = shard.index.chunk(place(1, 0)).unwrap().layer(Cut(1));
    let kinds = layer.unwrap().all().map(|piece| piece.kind);
    assert!(!kinds.into_iter().any(|kind| kind == PieceKind::Hole));
    assert!(shard.metrics().compactions > 0);
    world.check_all(1, 1, 2);
    world.crash(|_| CrashFate::Lost);
    world.check_all(1, 1, 2);
    assert_eq!(world.model.read(place(1, 0), 2, ReadAt::Head), None);
}
