//! The fixtures of version 1: today's code reads them, and writes the newest one again.

use super::driver::{SEGMENTS, SHARDS, cluster, options};
use super::image::{NEWEST, block, bytes_of, disk_of, first_block, unpack};
use super::{model, script};
use moraine_model::BLOCK_BYTES;
use moraine_store::disk::MemoryDisk;
use moraine_store::format::{FIRST_SEGMENT, Head, SegmentState};
use moraine_store::{Shard, open, read_superblock};

/// Every fixture: image and text, the newest last.
const FIXTURES: [(&[u8], &str); 1] = [(
    NEWEST,
    include_str!("../fixtures/version-1/first/content.txt"),
)];

fn recover(disk: &MemoryDisk) -> Vec<Shard<MemoryDisk>> {
    let opened = open(&mut disk.another(), cluster()).unwrap();
    let shards = 0..SHARDS;
    shards
        .map(|number| Shard::recover(disk.another(), &opened, number, options()).unwrap())
        .collect()
}

/// Panics at the first line that differs.
fn assert_same(found: &str, expected: &str) {
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

/// The newest head of each segment.
fn heads(image: &[u8]) -> Vec<Head> {
    let newest = |segment| {
        let copies = [0, 2].map(|at| Head::decode(block(image, first_block(segment) + at)));
        let copies = copies.into_iter().flatten();
        copies.max_by_key(|head| head.sequence).unwrap()
    };
    (0..SEGMENTS).map(newest).collect()
}

#[test]
fn what_version_1_wrote_is_read_whole() {
    for (packed, expected) in FIXTURES {
        let mut shards = recover(&disk_of(&unpack(packed)));
        assert_same(&model::text_of(&mut shards), expected);
    }
}

#[test]
fn recovery_writes_nothing_but_the_ends_of_what_was_open_and_that_once() {
    for (packed, _) in FIXTURES {
        let before = unpack(packed);
        let disk = disk_of(&before);
        drop(recover(&disk));
        let after = bytes_of(&disk);
        let heads = heads(&before);
        for (number, (old, new)) in
            (0_u32..).zip(before.chunks(BLOCK_BYTES).zip(after.chunks(BLOCK_BYTES)))
        {
            if old != new {
                let segment = number.checked_sub(FIRST_SEGMENT).expect("no superblock");
                let state = heads[(segment / (first_block(1) - FIRST_SEGMENT)) as usize].state;
                let open = matches!(state, SegmentState::Log | SegmentState::Scratch);
                assert!(
                    open,
                    "block {number} of a segment that is {state:?} was written"
                );
            }
        }
        drop(recover(&disk));
        assert!(
            bytes_of(&disk) == after,
            "a second recovery has nothing to do"
        );
    }
}

#[test]
fn the_fixture_has_every_kind_of_segment() {
    for (packed, _) in FIXTURES {
        let image = unpack(packed);
        let superblock = read_superblock(&mut disk_of(&image)).unwrap();
        assert_eq!(superblock.cluster, cluster());
        let heads = heads(&image);
        for shard in 0..SHARDS {
            let has = |state| {
                heads
                    .iter()
                    .any(|head| (head.shard, head.state) == (shard, state))
            };
            assert!(has(SegmentState::Closed) && has(SegmentState::Log));
        }
        let has = |state| heads.iter().any(|head| head.state == state);
        assert!(has(SegmentState::Scratch) && has(SegmentState::Free));
    }
}

/// Fails when the format changes, or the store's choice of what to write where.
#[test]
fn todays_code_writes_the_newest_fixture_byte_for_byte() {
    let (disk, text) = script::make();
    let why = "this code writes another disk than it did. If a table of docs/format.md changed, it \
        is a new version; if only the store's choices did, keep the old fixture and add a new one, \
        as docs/format.md says in \"The next version\"";
    let (_, expected) = FIXTURES[FIXTURES.len() - 1];
    assert_same(&text, expected);
    let (found, kept) = (bytes_of(&disk), unpack(NEWEST));
    let blocks = found.chunks(BLOCK_BYTES).zip(kept.chunks(BLOCK_BYTES));
    let differ: Vec<usize> = blocks
        .enumerate()
        .filter_map(|(nth, (found, kept))| (found != kept).then_some(nth))
        .collect();
    assert!(
        differ.is_empty() && found.len() == kept.len(),
        "{why}: blocks {differ:?}"
    );
}
