//! What an offline tool finds on a disk that was damaged on purpose.

use super::world::*;
use crate::disk::{Fault, FaultyDisk, MemoryDisk, OverlayDisk};
use crate::format::{Entry, FOOTER_BLOCKS, SegmentState, Superblock};
use crate::inspect::*;
use crate::*;
use moraine_model::*;

/// A world with two extents that are closed and one that is open, all of volume 1.
fn filled() -> (World, Superblock) {
    let mut world = World::new(16, 512);
    for nth in 0..9_u64 {
        let tag = tag(nth + 1, 0);
        let first = range((nth % 4 * 14) as u16, 14);
        world.write(place(1, (nth / 4) as u32), first, tag, data(tag.stamp));
        world.drain();
    }
    let superblock = world.shard().superblock();
    world.shard = None;
    (world, superblock)
}

fn heads(disk: &mut impl Disk, superblock: &Superblock) -> Vec<SegmentHead> {
    let segments = 0..superblock.layout.segments;
    segments.map(|nth| head(disk, superblock, nth)).collect()
}

fn of_state(heads: &[SegmentHead], state: SegmentState) -> Vec<u32> {
    let found = heads.iter().filter_map(SegmentHead::newest);
    let found = found.filter(|head| head.state == state);
    found.map(|head| head.segment).collect()
}

fn flip(disk: &MemoryDisk, block: u32) {
    let offset = u64::from(block) * BLOCK_BYTES as u64 + 100;
    let mut byte = [0];
    disk.peek(offset, &mut byte);
    disk.poke(offset, &[byte[0] ^ 1]);
}

fn recovered(
    disk: &MemoryDisk,
    superblock: Superblock,
    heads: &[SegmentHead],
    bitmaps: Bitmaps,
) -> Shard<OverlayDisk<MemoryDisk>> {
    let opened = opened_despite_damage(superblock, heads, bitmaps);
    let overlay = OverlayDisk::new(disk.another());
    Shard::recover(overlay, &opened, 0, ShardOptions::default()).unwrap()
}

fn bad_data(
    disk: &mut impl Disk,
    superblock: &Superblock,
    head: &SegmentHead,
) -> Vec<(Expected, Bad)> {
    let found = extent(disk, superblock, &head.newest().unwrap());
    let wanted = expected(superblock.layout, head.number, found.entries(), |_| true);
    let data: u32 = found.entries().iter().map(Entry::data_blocks).sum();
    assert_eq!(wanted.len(), data as usize);
    let (mut bad, mut blocks) = (Vec::new(), 0);
    read_expected(disk, wanted, |expected, outcome| {
        blocks += 1;
        bad.extend(outcome.err().map(|what| (*expected, what)));
    });
    assert_eq!(blocks, data, "each block is handed over once");
    bad
}

#[test]
fn each_copy_is_looked_at_by_itself() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let whole = heads(&mut disk, &superblock);
    let closed = of_state(&whole, SegmentState::Closed);
    assert!(!of_state(&whole, SegmentState::Log).is_empty());
    let number = closed[0];
    let first = superblock.layout.first_block(number);
    // The second copy of the superblock, the first of a head, the second of a footer.
    flip(&disk, 128);
    flip(&disk, first);
    flip(&disk, first + SEGMENT - 1);
    let [one, other] = superblocks(&mut disk);
    assert!(one.unwrap() == superblock && other.is_err());
    let head = head(&mut disk, &superblock, number);
    assert!(head.copies[0].is_err() && head.copies[1].is_ok());
    let found = extent(&mut disk, &superblock, &head.newest().unwrap());
    assert!(found.footers[0].is_ok() && found.footers[1].is_err());
    assert!(matches!(&found.entries, Entries::Index(entries) if !entries.is_empty()));
}

#[test]
fn a_bitmap_that_was_torn_is_told_from_a_head_that_was() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let number = of_state(&heads(&mut disk, &superblock), SegmentState::Closed)[0];
    let first = superblock.layout.first_block(number);
    for bitmap in [first + 1, first + 3] {
        flip(&disk, bitmap);
    }
    let head = head(&mut disk, &superblock, number);
    let copies = head.copies.iter().flatten();
    assert_eq!(copies.filter(|copy| !copy.bitmap_whole).count(), 2);
    assert!(head.newest().is_some() && head.bitmap().is_none());
}

#[test]
fn what_is_lost_in_one_segment_hides_no_other() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let whole = heads(&mut disk, &superblock);
    let closed = of_state(&whole, SegmentState::Closed);
    let first = superblock.layout.first_block(closed[0]);
    flip(&disk, first);
    flip(&disk, first + 2);
    assert!(open(&mut disk, cluster()).is_err());
    let found = heads(&mut disk, &superblock);
    assert_eq!(
        found.iter().filter(|head| head.newest().is_none()).count(),
        1
    );
    let shard = recovered(&disk, superblock, &found, Bitmaps::Trusted);
    let live = |number| shard.live(number).map_or(0, bitmap::Bitmap::live);
    assert_eq!(live(closed[0]), 0);
    assert!(live(closed[1]) > 0);
}

#[test]
fn a_damaged_block_is_named_with_its_owner() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let whole = heads(&mut disk, &superblock);
    let closed = of_state(&whole, SegmentState::Closed)[0];
    let head = &whole[closed as usize];
    assert_eq!(bad_data(&mut disk, &superblock, head), []);
    // The first batch: a header, then blocks 0 to 13 of chunk 0.
    let location = superblock.layout.location(closed, 4 + 1 + 3);
    flip(&disk, location);
    let bad = bad_data(&mut disk, &superblock, head);
    let found: Vec<_> = bad
        .iter()
        .map(|(e, bad)| (e.place, e.block, e.location, *bad))
        .collect();
    assert_eq!(found, [(place(1, 0), 3, location, Bad::Checksum)]);
}

#[test]
fn of_a_read_that_fails_only_the_unreadable_block_is_named() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let whole = heads(&mut disk, &superblock);
    let closed = of_state(&whole, SegmentState::Closed)[0];
    let location = superblock.layout.location(closed, 4 + 1 + 3);
    let broken = u64::from(location) * BLOCK_BYTES as u64;
    let script = move |operation: &disk::Operation, _: disk::Nth| match operation {
        disk::Operation::Read { offset, buffer }
            if (*offset..*offset + buffer.len() as u64).contains(&broken) =>
        {
            Fault::Fail
        }
        _ => Fault::None,
    };
    let mut faulty = FaultyDisk::new(world.disk.another(), Box::new(script));
    let bad = bad_data(&mut faulty, &superblock, &whole[closed as usize]);
    let found: Vec<_> = bad.iter().map(|(e, bad)| (e.block, *bad)).collect();
    assert_eq!(found, [(3, Bad::Unreadable)]);
}

#[test]
fn an_unreadable_index_is_said_of_its_segment_alone() {
    let (world, superblock) = filled();
    let mut disk = world.disk.another();
    let whole = heads(&mut disk, &superblock);
    let closed = of_state(&whole, SegmentState::Closed);
    let newest = |number: u32| whole[number as usize].newest().unwrap();
    let footer = extent(&mut disk, &superblock, &newest(closed[0])).footers[0]
        .as_ref()
        .unwrap()
        .index_position;
    flip(&disk, superblock.layout.location(closed[0], footer));
    let lost = extent(&mut disk, &superblock, &newest(closed[0]));
    assert!(matches!(
        lost.entries,
        Entries::Damaged(CopyError::Format(_))
    ));
    let whole = extent(&mut disk, &superblock, &newest(closed[1]));
    assert!(matches!(whole.entries, Entries::Index(_)));
    assert!(FOOTER_BLOCKS == 2 && lost.entries().is_empty());
}

/// Overwrites, snapshots, a clone, trims, compaction and bitmaps written in between: whatever a
/// bitmap calls dead is dead, unless a bit is cleared that must not be.
#[test]
fn only_a_bit_that_was_cleared_wrongly_is_a_loss() {
    let mut world = World::new(24, 512);
    for round in 0..8_u64 {
        for nth in 0..5_u64 {
            let tag = tag(1 + round * 10 + nth, round / 3);
            let value = if nth == 3 {
                super::model::Value::Zero
            } else {
                data(tag.stamp)
            };
            let first = (nth * 9 + round) as u16;
            world.write(place(1, (nth % 2) as u32), range(first, 14), tag, value);
            world.drain();
        }
        if round == 6 {
            let control = Control::DeleteSnapshot { cut: Cut(0) };
            world.submit(Pending::Control(place(1, 0).share(), control));
        }
        world.shard().request_compaction();
        world.drain();
        world.shard().checkpoint();
        world.drain();
    }
    let superblock = world.shard().superblock();
    assert!(world.shard().metrics().compactions > 0);
    world.shard = None;
    let verdicts = |world: &World| {
        let heads = heads(&mut world.disk.another(), &superblock);
        let ignoring = recovered(&world.disk, superblock, &heads, Bitmaps::Ignored);
        let suspects = suspects(&ignoring, &heads);
        let trusting = recovered(&world.disk, superblock, &heads, Bitmaps::Trusted);
        let verdicts = suspects.iter().map(|suspect| verdict(&trusting, suspect));
        let mut verdicts: Vec<Verdict> = verdicts.collect();
        verdicts.retain(|verdict| *verdict != Verdict::Copied);
        verdicts
    };
    assert_eq!(verdicts(&world), []);
    let found = heads(&mut world.disk.another(), &superblock);
    let closed = of_state(&found, SegmentState::Closed);
    let victim = found[closed[0] as usize].newest().unwrap();
    let good = world.disk.duplicate();
    // The newest head gets a bitmap that is wholly clear, in the one copy and in the other.
    for step in [1, 2] {
        world.disk = good.duplicate();
        let bitmap = Buffer::zeroed(1);
        let wrong = format::Head {
            sequence: victim.sequence + step,
            bitmap_checksum: checksum(&bitmap),
            ..victim
        };
        let copy = u32::from(!wrong.sequence.is_multiple_of(2)) * 2;
        let at = superblock.layout.offset(victim.segment, copy);
        world.disk.poke(at, &wrong.encode());
        world.disk.poke(at + BLOCK_BYTES as u64, &bitmap);
        let found = verdicts(&world);
        assert!(found.contains(&Verdict::Lost), "{found:?}");
    }
}
