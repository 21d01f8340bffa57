//! Disks on which every checksum is right and something else can't be: they are refused by a typed
//! error, with nothing written. Random patches reach these rarely.

use super::driver::{Driver, SEGMENT_BLOCKS, SHARDS, cluster, options};
use super::image::{NEWEST, block, bytes_of, disk_of, first_block, footer, footers, unpack};
use super::model::place;
use moraine_model::{BLOCK_BYTES, BlockRange, Cut, Epoch, Stamp};
use moraine_store::disk::MemoryDisk;
use moraine_store::format::{
    BatchPlace, BlockEntry, BlockKind, Entry, FOOTER_BLOCKS, Footer, HEAD_BLOCKS, Head, Identity,
    SegmentState, decode_index, encode_batch, encode_index,
};
use moraine_store::{Buffer, OpenError, Shard, Tag, checksum, open};

/// Recovers both shards; the first error if one is refused.
fn recover(disk: &MemoryDisk) -> Result<(), OpenError> {
    let opened = open(&mut disk.another(), cluster())?;
    for number in 0..SHARDS {
        Shard::recover(disk.another(), &opened, number, options())?;
    }
    Ok(())
}

fn assert_damaged(disk: &MemoryDisk, segment: u32) {
    let before = bytes_of(disk);
    let refused = recover(disk);
    assert!(
        matches!(refused, Err(OpenError::Damaged { segment: at, .. }) if at == segment),
        "{refused:?}"
    );
    assert!(
        bytes_of(disk) == before,
        "a disk that is refused is left alone"
    );
}

#[test]
fn two_entries_of_an_index_with_the_same_data_are_refused() {
    let mut image = unpack(NEWEST);
    let is_data = |entry: &&mut BlockEntry| matches!(entry.kind, BlockKind::Data { .. });
    for segment in 0..8 {
        let Some(footer) = footer(&image, segment) else {
            continue;
        };
        let start = (first_block(segment) + footer.index_position) as usize * BLOCK_BYTES;
        let mut entries = decode_index(&footer, &image[start..]).unwrap();
        let blocks = entries.iter_mut().filter_map(|entry| match entry {
            Entry::Blocks(entry) => Some(entry),
            Entry::Record(_) => None,
        });
        let mut data = blocks.filter(is_data);
        let (Some(first), Some(second)) = (data.next(), data.next()) else {
            continue;
        };
        // The last block of the first and the first block of the second are the same.
        let BlockKind::Data { position, .. } = first.kind else {
            unreachable!()
        };
        let last = position + u32::from(first.range.count()) - 1;
        let BlockKind::Data { position, .. } = &mut second.kind else {
            unreachable!()
        };
        *position = last;
        let index = encode_index(&entries);
        image[start..start + index.len()].copy_from_slice(&index);
        let footer = Footer {
            index_checksum: checksum(&index),
            ..footer
        };
        for at in footers(segment) {
            let at = at as usize * BLOCK_BYTES;
            image[at..at + BLOCK_BYTES].copy_from_slice(&footer.encode());
        }
        assert_damaged(&disk_of(&image), segment);
        return;
    }
    unreachable!("no extent of the fixture has two entries for data");
}

#[test]
fn batches_that_leave_no_room_for_their_index_are_refused() {
    let disk = Driver::new().disk.duplicate();
    let image = bytes_of(&disk);
    let head = Head::decode(block(&image, first_block(0))).unwrap();
    let bitmap = vec![0; BLOCK_BYTES];
    let head = Head {
        state: SegmentState::Log,
        incarnation: 1,
        sequence: 8,
        bitmap_checksum: checksum(&bitmap),
        ..head
    };
    let identity = Identity {
        disk: head.disk,
        segment: 0,
        incarnation: 1,
        shard: 0,
    };
    let batch = BatchPlace {
        identity,
        position: HEAD_BLOCKS,
        lsn: 1,
        durable_lsn: 0,
        extent_lsn: 1,
    };
    // One header, and data up to where the footers go.
    let count = SEGMENT_BLOCKS - HEAD_BLOCKS - FOOTER_BLOCKS - 1;
    let zeros = checksum(&[0; BLOCK_BYTES]);
    let entry = Entry::Blocks(BlockEntry {
        lsn: 0,
        place: place(Driver::share(1, 0), 0),
        range: BlockRange::new(0, u16::try_from(count).unwrap()).unwrap(),
        tag: Tag {
            stamp: Stamp::new(1, 0, 1),
            cut: Cut(0),
            epoch: Epoch(1),
        },
        kind: BlockKind::Data {
            position: 0,
            checksums: vec![zeros; count as usize].into(),
        },
    });
    let at = |position: u32| u64::from(first_block(0) + position) * BLOCK_BYTES as u64;
    disk.poke(at(0), &head.encode());
    disk.poke(at(1), &bitmap);
    disk.poke(
        at(HEAD_BLOCKS),
        &encode_batch(batch, &mut [entry], Buffer::zeroed),
    );
    assert_damaged(&disk, 0);
}
