//! `store check`: what is damaged is found and named, and nothing else is.

use crate::rig::*;
use moraine_model::*;
use moraine_store::format::{HEAD_BLOCKS, Head, SegmentState};
use moraine_store::inspect::Expected;
use moraine_store::*;

fn named(at: &Expected) -> [String; 4] {
    [
        format!("volume {},", at.place.volume),
        format!("bucket {},", at.place.bucket.get()),
        format!("chunk {},", at.place.chunk.get()),
        format!("block {} of cut {},", at.block, at.cut.0),
    ]
}

fn damages(run: &Run) -> Vec<&str> {
    let lines = run.out.lines();
    lines.filter(|line| line.starts_with("damage: ")).collect()
}

/// Whether the run found this block and no other damage.
fn found_only(run: &Run, at: &Expected, what: &str) -> bool {
    let damages = damages(run);
    damages.len() == 1
        && damages[0].contains(what)
        && named(at).iter().all(|name| damages[0].contains(name))
}

#[test]
fn a_clean_disk_is_clean() {
    let (rig, blocks) = Rig::filled();
    let run = rig.store("check", &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    assert!(run.out.ends_with("\nclean\n"), "{}", run.out);
    let row = |name: &str| {
        let line = run.out.lines().find(|line| line.starts_with(name)).unwrap();
        let numbers = line[name.len()..].split_whitespace();
        numbers.map(|n| n.parse().unwrap()).collect::<Vec<usize>>()
    };
    assert_eq!(row("superblock copies"), [2, 0, 0]);
    assert_eq!(row("segment heads"), [32, 0, 0]);
    assert_eq!(row("shards recovered"), [2, 0, 0]);
    // Three blocks of volume 2.
    assert_eq!(row("blocks of data"), [blocks.len() + 3, 0, 0]);
}

#[test]
fn a_blank_store_is_clean() {
    let mut rig = Rig::new();
    rig.close();
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_flipped_byte_of_data_is_named_with_volume_chunk_and_block() {
    let (rig, _) = Rig::filled();
    let closed = rig.of_state(1, SegmentState::Closed)[0];
    let victim = rig.data(&closed)[7];
    rig.flip(victim.location);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 1);
    assert!(found_only(&run, &victim, "checksum is wrong"), "{run:?}");
    let quick = rig.store("check", &["--metadata-only"]);
    assert_eq!(quick.code, 0);
    assert!(quick.says(&["clean", "was not read"]), "{quick:?}");
}

#[test]
fn each_of_many_bad_blocks_is_named() {
    let (rig, _) = Rig::filled();
    let closed = [0, 1].map(|shard| rig.of_state(shard, SegmentState::Closed)[0]);
    let victims: Vec<Expected> = closed
        .iter()
        .flat_map(|head| rig.data(head).into_iter().step_by(3))
        .collect();
    for victim in &victims {
        rig.flip(victim.location);
    }
    let run = rig.store("check", &[]);
    assert_eq!((run.code, damages(&run).len()), (1, victims.len()));
    for victim in &victims {
        assert!(run.says(&named(victim).each_ref().map(String::as_str)));
    }
}

#[test]
fn a_flipped_byte_of_data_that_nobody_reads_is_no_damage() {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    for _ in 0..12 {
        rig.write((1, 0), (0, 14), 0, &mut blocks);
    }
    rig.write((1, 0), (40, 14), 0, &mut blocks);
    rig.close();
    let live = rig.store("check", &[]);
    assert!(live.says(&["blocks of data", " 28 "]), "{live:?}");
    let log = rig.of_state(0, SegmentState::Log);
    let dead = log.iter().flat_map(|head| rig.data(head)).next().unwrap();
    rig.flip(dead.location);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_flipped_byte_of_an_index_hides_neither_the_other_shard_nor_other_segments() {
    let (rig, _) = Rig::filled();
    let broken = rig.break_index();
    // Its batches could make up for the index.
    rig.break_batches(&broken);
    let neighbours = [(0, 1), (1, 0)];
    let victims = neighbours.map(|(shard, nth)| {
        let head = rig.of_state(shard, SegmentState::Closed)[nth];
        rig.data(&head)[2]
    });
    for victim in &victims {
        rig.flip(victim.location);
    }
    let run = rig.store("check", &[]);
    assert_eq!((run.code, damages(&run).len()), (1, 4), "{run:?}");
    assert!(run.says(&["damage: shard 0", "refuse"]));
    let segment = format!("segment {}:", broken.segment);
    assert!(run.says(&["damage:", &segment, "checksum of the index is wrong"]));
    for victim in &victims {
        assert!(run.says(&named(victim).each_ref().map(String::as_str)));
    }
}

#[test]
fn one_torn_copy_of_a_head_is_a_note_and_two_are_damage() {
    let (rig, _) = Rig::filled();
    let closed = rig.of_state(1, SegmentState::Closed)[0].segment;
    let first = rig.superblock.layout.first_block(closed);
    let segment = format!("segment {closed}:");
    // The bitmap beside the second copy.
    rig.flip(first + 3);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 0);
    assert!(
        run.says(&["note:", &segment, "second copy of its head"]),
        "{run:?}"
    );
    rig.flip(first);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 1);
    assert!(
        run.says(&["damage:", &segment, "no copy of its head"]),
        "{run:?}"
    );
    rig.flip(first + 2);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 1);
    assert!(run.says(&["shards recovered", " 2 "]), "{run:?}");
}

#[test]
fn one_copy_of_a_footer_is_damage_that_nobody_notices_otherwise() {
    let (rig, _) = Rig::filled();
    let closed = rig.of_state(1, SegmentState::Closed)[0].segment;
    let last = rig.superblock.layout.location(closed, SEGMENT - 1);
    rig.flip(last);
    let run = rig.store("check", &[]);
    assert_eq!((run.code, damages(&run).len()), (1, 1), "{run:?}");
    assert!(run.says(&["damage:", "second copy of its footer"]));
    rig.flip(last - 1);
    let run = rig.store("check", &[]);
    assert!(run.says(&["damage:", "no copy of its footer"]), "{run:?}");
}

#[test]
fn one_copy_of_the_superblock_is_damage_and_the_rest_is_looked_at() {
    for (copy, name) in [(0, "first"), (128, "second")] {
        let (rig, _) = Rig::filled();
        rig.flip(copy);
        let run = rig.store("check", &[]);
        assert_eq!((run.code, damages(&run).len()), (1, 1), "{run:?}");
        assert!(run.says(&["damage: superblock:", name]));
        assert!(run.says(&["shards recovered", " 2 ", " 0 "]));
    }
}

#[test]
fn an_extent_that_a_crash_left_open_is_clean_with_and_without_a_torn_end() {
    let (rig, _) = Rig::filled();
    let log = rig.of_state(0, SegmentState::Log);
    let data: Vec<Expected> = log.iter().flat_map(|head| rig.data(head)).collect();
    assert!(!data.is_empty(), "nothing is in an open extent");
    assert_eq!(rig.store("check", &[]).code, 0);
    // Volume 2 has the last batch of shard 0.
    let last = data.iter().find(|at| at.place.volume == volume(2)).unwrap();
    rig.flip(last.location);
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_bitmap_that_calls_a_live_block_dead_is_damage() {
    let (mut rig, _) = Rig::filled();
    rig.close();
    let closed = rig.of_state(1, SegmentState::Closed)[0];
    let bitmap = Buffer::zeroed(1);
    let wrong = Head {
        sequence: closed.sequence + 1,
        bitmap_checksum: checksum(&bitmap),
        ..closed
    };
    let first = rig.superblock.layout.first_block(closed.segment);
    let copy = if wrong.sequence.is_multiple_of(2) {
        first
    } else {
        first + HEAD_BLOCKS / 2
    };
    rig.poke(copy, &wrong.encode());
    rig.poke(copy + 1, &bitmap);
    let run = rig.store("check", &[]);
    assert_eq!(
        (run.code, damages(&run).len()),
        (1, rig.data(&closed).len())
    );
    let segment = format!("bitmap of segment {}", closed.segment);
    assert!(
        run.says(&["damage:", &segment, "does not find it"]),
        "{run:?}"
    );
}

#[test]
fn overwrites_snapshots_clones_and_deletions_are_no_damage() {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    for round in 0..12_u16 {
        let cut = u64::from(round / 4);
        for chunk in 0..3 {
            rig.write((1, chunk), (round * 5, 9), cut, &mut blocks);
        }
        rig.trim((1, 0), (round * 3, 4), cut, &mut blocks);
        if round == 6 {
            let child = volume(3);
            rig.control(1, Control::AddReference { cut: Cut(0), child });
            rig.write((3, 1), (7, 2), 0, &mut Blocks::new());
        }
        if round == 9 {
            rig.control(1, Control::DeleteSnapshot { cut: Cut(1) });
        }
        rig.checkpoint();
    }
    rig.close();
    let run = rig.store("check", &[]);
    assert_eq!(run.code, 0, "{run:?}");
}
