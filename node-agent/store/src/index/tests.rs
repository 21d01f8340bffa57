//! Layers and chunks against a table with one slot for each block.

#![allow(clippy::cast_possible_truncation)] // Numbers in these tests are tiny.

use super::chunk::Chunk;
use super::layer::*;
use super::retention::Retention;
use moraine_model::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What one block of one layer is: kind, location, stamp, epoch and checksum.
type Slot = (PieceKind, u32, Stamp, Epoch, u32);

#[derive(Debug, Clone)]
struct Change {
    cut: u64,
    range: BlockRange,
    kind: PieceKind,
    location: u32,
    stamp: Stamp,
    epoch: Epoch,
}

fn change() -> impl Strategy<Value = Change> {
    let count = prop_oneof![4 => Just(1_u16), 2 => 1..64_u16, 1 => 1..=1024_u16];
    let kind = prop_oneof![6 => Just(PieceKind::Data), 1 => Just(PieceKind::Zero), 1 => Just(PieceKind::Hole)];
    (
        0..4_u64,
        0..1024_u16,
        count,
        kind,
        any::<u32>(),
        (0..3_u32, 0..1_u64 << 40, 0..3_u64),
    )
        .prop_map(
            |(cut, first, count, kind, location, (attach, sequence, epoch))| Change {
                cut,
                range: BlockRange::new(first, count.min(1024 - first)).unwrap(),
                kind,
                location: location % (1 << 30),
                stamp: Stamp::new(attach, 0, sequence),
                epoch: Epoch(epoch),
            },
        )
}

fn checksums(change: &Change) -> Vec<u32> {
    change
        .range
        .blocks()
        .map(|block| u32::from(block) ^ change.location)
        .collect()
}

fn apply(chunk: &mut Chunk, change: &Change, mut freed: impl FnMut(&Piece<'_>)) {
    let sums = checksums(change);
    let data = change.kind == PieceKind::Data;
    let piece = Piece {
        range: change.range,
        kind: change.kind,
        location: change.location,
        stamp: change.stamp,
        epoch: change.epoch,
        checksums: if data { sums[..].into() } else { Sums::NONE },
    };
    chunk.insert(Cut(change.cut), piece, &mut freed);
}

fn slots(piece: &Piece<'_>) -> Vec<(u16, Slot)> {
    let each = piece.range.blocks().enumerate().map(|(nth, block)| {
        let data = piece.kind == PieceKind::Data;
        let location = piece.location + if data { nth as u32 } else { 0 };
        let sum = if data { piece.checksums[nth] } else { 0 };
        (block, (piece.kind, location, piece.stamp, piece.epoch, sum))
    });
    each.collect()
}

type Table = BTreeMap<(u64, u16), Slot>;

fn apply_to_table(table: &mut Table, change: &Change) -> Vec<Slot> {
    let sums = checksums(change);
    let piece = Piece {
        range: change.range,
        kind: change.kind,
        location: change.location,
        stamp: change.stamp,
        epoch: change.epoch,
        checksums: sums[..].into(),
    };
    let new = slots(&piece).into_iter();
    new.filter_map(|(block, slot)| table.insert((change.cut, block), slot))
        .collect()
}

fn table_of(chunk: &Chunk) -> Table {
    let mut table = Table::new();
    for (cut, layer) in chunk.layers() {
        for piece in layer.all() {
            for (block, slot) in slots(&piece) {
                assert_eq!(table.insert((cut.0, block), slot), None, "runs overlap");
            }
        }
    }
    table
}

proptest! {
    #[test]
    fn layers_hold_what_a_table_holds(changes in vec(change(), 1..120)) {
        let (mut chunk, mut table) = (Chunk::default(), Table::new());
        for change in &changes {
            let mut freed = Vec::new();
            apply(&mut chunk, change, |piece| {
                freed.extend(slots(piece).into_iter().map(|(_, slot)| slot));
            });
            prop_assert_eq!(freed, apply_to_table(&mut table, change));
        }
        prop_assert_eq!(table_of(&chunk), table);
    }

    #[test]
    fn a_reader_finds_the_newest_version_not_above_its_cut(
        changes in vec(change(), 1..60), at in 0..5_u64, first in 0..1024_u16, count in 1..200_u16
    ) {
        let (mut chunk, mut table) = (Chunk::default(), Table::new());
        for change in &changes {
            apply(&mut chunk, change, |_| {});
            apply_to_table(&mut table, change);
        }
        let range = BlockRange::new(first, count.min(1024 - first)).unwrap();
        let at = (at < 4).then_some(Cut(at));
        let found = chunk.find(range, at);
        let mut seen = BTreeMap::new();
        for (_, piece) in &found.pieces {
            for (block, slot) in slots(piece) {
                prop_assert_eq!(seen.insert(block, Some(slot)), None);
            }
        }
        for block in found.missing.iter().flat_map(|gap| gap.blocks()) {
            prop_assert_eq!(seen.insert(block, None), None);
        }
        for block in range.blocks() {
            let cuts = (0..=at.map_or(4, |cut| cut.0)).rev();
            let mut versions = cuts.filter_map(|cut| table.get(&(cut, block)));
            let expected = versions.find(|slot| slot.0 != PieceKind::Hole).copied();
            prop_assert_eq!(seen.remove(&block), Some(expected));
        }
        prop_assert!(seen.is_empty());
    }

    #[test]
    fn collecting_frees_exactly_what_no_kept_cut_reads(
        changes in vec(change(), 1..60), deleted in vec(0..4_u64, 0..4), gone: bool
    ) {
        let (mut chunk, mut retention) = (Chunk::default(), Retention::default());
        for change in changes.iter().filter(|change| change.kind != PieceKind::Hole) {
            apply(&mut chunk, change, |_| {});
        }
        for &cut in &deleted {
            retention.delete_snapshot(Cut(cut));
        }
        if gone {
            retention.delete_head(Cut(4));
        }
        let readers: Vec<Option<Cut>> = (0..4).map(Cut).filter(|&cut| retention.keeps(cut)).map(Some)
            .chain((!gone).then_some(None)).collect();
        let view = |chunk: &Chunk, at| {
            let found = chunk.find(BlockRange::WHOLE_CHUNK, at);
            let all = found.pieces.iter().flat_map(|(_, piece)| slots(piece));
            all.collect::<BTreeMap<_, _>>()
        };
        let before: Vec<_> = readers.iter().map(|&at| view(&chunk, at)).collect();
        let mut freed = 0;
        let all = table_of(&chunk).len();
        chunk.collect(BlockRange::WHOLE_CHUNK, &retention, |piece| freed += piece.range.count() as usize);
        let after: Vec<_> = readers.iter().map(|&at| view(&chunk, at)).collect();
        prop_assert_eq!(&before, &after);
        let left = table_of(&chunk);
        prop_assert_eq!(left.len() + freed, all);
        for ((_, block), slot) in left {
            prop_assert!(after.iter().any(|view| view.get(&block) == Some(&slot)), "{block} is garbage");
        }
    }
}

#[test]
fn a_thousand_origins_fit_and_old_ones_are_forgotten() {
    let (mut chunk, mut table) = (Chunk::default(), Table::new());
    for round in 0..3_u32 {
        for block in 0..1024_u16 {
            let change = Change {
                cut: 0,
                range: BlockRange::new(block, 1).unwrap(),
                kind: PieceKind::Data,
                location: u32::from(block) * 2,
                stamp: Stamp::new(round * 2000 + u32::from(block), 0, 1),
                epoch: Epoch(1),
            };
            apply(&mut chunk, &change, |_| {});
            apply_to_table(&mut table, &change);
        }
    }
    assert_eq!(table_of(&chunk), table);
    assert_eq!(chunk.newest(), Stamp::new(4000 + 1023, 0, 1));
}

#[test]
fn single_blocks_take_sixteen_bytes_and_long_runs_hardly_any() {
    let change = |first, count| Change {
        cut: 0,
        range: BlockRange::new(first, count).unwrap(),
        kind: PieceKind::Data,
        location: 1000 + 2 * u32::from(first),
        stamp: Stamp::new(1, 0, u64::from(first)),
        epoch: Epoch(1),
    };
    let mut chunk = Chunk::default();
    for block in (0..1024).map(|nth| nth * 7 % 1024) {
        apply(&mut chunk, &change(block, 1), |_| {});
    }
    let bytes = chunk.memory_bytes();
    assert!(
        bytes <= 16 * 1024 + 200,
        "{bytes} bytes for 1024 single blocks"
    );
    let mut chunk = Chunk::default();
    for block in (0..1024).step_by(32) {
        apply(&mut chunk, &change(block, 32), |_| {});
    }
    let bytes = chunk.memory_bytes();
    assert!(
        bytes <= (4 + 2) * 1024,
        "{bytes} bytes for 32 runs of 32 blocks"
    );
}
