//! One run with everything in it, for the tests of crashes and faults: what goes wrong in it, and
//! what must then hold, is theirs.

use super::model::{Change, Value};
use super::world::*;
use crate::*;
use moraine_model::*;

pub(super) const VOLUMES: u128 = 3;
pub(super) const CHUNKS: u32 = 2;
pub(super) const CUTS: u64 = 3;
/// The volume whose one write is the last of all.
const LAST: u128 = 9;

/// Overwrites, zeros, a hole, notes, snapshots and their deletion, a clone, a deleted volume, dropped
/// shares, compaction, checkpoints, and reads. Extents are closed and segments freed on the way.
pub(super) fn everything<D: Disk>(world: &mut World<D>) {
    for round in 0..8 {
        writes(world, round);
        notes(world, round);
        names(world, round);
        if round == 4 || round == 6 {
            world.shard().request_compaction();
        }
        world.drain();
        if round % 3 == 1 {
            reads(world);
        }
        if round == 5 {
            world.shard().checkpoint();
        }
    }
    let (share, child) = (place(1, 0).share(), VolumeId::new(2).unwrap());
    control(world, 2, Control::DropShare);
    let cut = Cut(0);
    world.submit(Pending::Control(
        share,
        Control::RemoveReference { cut, child },
    ));
    world.shard().request_compaction();
    world.drain();
    world.shard().checkpoint();
    world.drain();
}

/// A write that no later one vouches for: it alone may be taken for torn.
pub(super) fn the_last_write<D: Disk>(world: &mut World<D>) {
    let tag = tag(999, 0);
    world.write(place(LAST, 0), range(0, 1), tag, data(tag.stamp));
    world.drain();
}

/// Forgets the last write, if it is not there.
pub(super) fn forgive_the_last_write<D: Disk>(world: &mut World<D>) {
    if world.shard().versions(place(LAST, 0)).is_empty() {
        world.model.shares.remove(&place(LAST, 0).share());
    }
}

pub(super) fn check<D: Disk>(world: &mut World<D>) {
    world.check_all(VOLUMES, CHUNKS, CUTS);
    world.submit(Pending::Read(place(LAST, 0), range(0, 64), ReadAt::Head));
    world.drain();
}

fn writes<D: Disk>(world: &mut World<D>, round: u64) {
    for nth in 0..5_u64 {
        // Of those to the first volume, the third overlaps the others and waits for them. The rest go
        // out one after another without waiting.
        let volume = [1, 1, 1, 3, 2][nth as usize];
        let late = volume == 2 && round < 4 || volume == 3 && round > 5;
        if late {
            continue;
        }
        let cut = if volume == 1 { round / 3 } else { 0 };
        let tag = tag(1 + round * 10 + nth, cut);
        let zero = (nth + round) % 4 == 3;
        let value = if zero { Value::Zero } else { data(tag.stamp) };
        let first = [0, 16, 8, 24, 32][nth as usize] + round as u16;
        let place = place(volume, (round % 2) as u32);
        world.write(place, range(first, 12), tag, value);
        world.poll();
        if nth == 3 {
            world.step((nth + round) as usize);
        }
    }
    if round == 2 {
        world.drain();
        let stamp = Stamp::ZERO;
        let epoch = Epoch(2);
        let fence = Generation::default();
        world.submit(Pending::Change(Change {
            place: place(1, 0),
            range: range(4, 5),
            tag: Tag {
                stamp,
                cut: Cut(0),
                epoch,
            },
            rule: Rule::Copy {
                listed: epoch,
                fence,
            },
            value: Value::Hole,
        }));
    }
}

fn notes<D: Disk>(world: &mut World<D>, round: u64) {
    let value = (round % 3 != 2).then(|| vec![round as u8; 20]);
    world.submit(Pending::Note(vec![1], value));
    world.submit(Pending::Note(vec![2, round as u8], Some(vec![7])));
}

/// What is done to volumes, snapshots and clones in a round, after its writes.
fn names<D: Disk>(world: &mut World<D>, round: u64) {
    let child = VolumeId::new(2).unwrap();
    let cut = Cut(0);
    match round {
        3 => control(world, 1, Control::AddReference { cut, child }),
        5 => control(world, 1, Control::DeleteSnapshot { cut }),
        6 => {
            world.drain();
            control(world, 3, Control::DeleteVolume { cut });
        }
        7 => {
            control(world, 3, Control::DropShare);
            control(world, 1, Control::DeleteSnapshot { cut: Cut(1) });
        }
        _ => {}
    }
}

fn control<D: Disk>(world: &mut World<D>, volume: u128, control: Control) {
    let share = place(volume, 0).share();
    world.submit(Pending::Control(share, control));
}

fn reads<D: Disk>(world: &mut World<D>) {
    for volume in 1..=VOLUMES {
        world.submit(Pending::Read(place(volume, 1), range(0, 64), ReadAt::Head));
    }
    world.drain();
}
