//! Every structure survives its bytes, and no bytes whatever make a decoder panic or lie.

// Lengths in these tests are tiny.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    clippy::cast_sign_loss
)]

use super::*;
use crate::Buffer;
use moraine_model::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn volume() -> impl Strategy<Value = VolumeId> {
    (1..u128::MAX).prop_map(|id| VolumeId::new(id).unwrap())
}

fn identity() -> impl Strategy<Value = Identity> {
    (1..u128::MAX, any::<u32>(), 0..=NUMBER_MAX, any::<u32>()).prop_map(
        |(disk, segment, incarnation, shard)| Identity {
            disk: DiskId::new(disk).unwrap(),
            segment,
            incarnation,
            shard,
        },
    )
}

fn block_entry() -> impl Strategy<Value = Entry> {
    let place = (volume(), 0..BUCKETS_MAX, 0..VOLUME_CHUNKS_MAX).prop_map(|(volume, b, c)| Place {
        volume,
        bucket: BucketId::new(b).unwrap(),
        chunk: ChunkIndex::new(c).unwrap(),
    });
    let tag = (any::<(u32, u32, u64)>(), any::<(u64, u64)>()).prop_map(|(s, (cut, epoch))| Tag {
        stamp: Stamp::new(s.0, s.1, s.2),
        cut: Cut(cut),
        epoch: Epoch(epoch),
    });
    let blocks = (0..CHUNK_BLOCKS - 8, vec(any::<u32>(), 1..8), 0..3);
    (place, tag, blocks).prop_map(|(place, tag, (first, checksums, kind))| {
        let range = BlockRange::new(first, checksums.len() as u16).unwrap();
        let kind = match kind {
            0 => BlockKind::Data {
                position: 0,
                checksums: checksums.into(),
            },
            1 => BlockKind::Zero,
            _ => BlockKind::Hole {
                down_to: Cut(tag.cut.0 / 2),
            },
        };
        Entry::Blocks(BlockEntry {
            lsn: 0,
            place,
            range,
            tag,
            kind,
        })
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let record = (
        vec(any::<u8>(), 1..=KEY_BYTES_MAX),
        proptest::option::of(vec(any::<u8>(), 0..99)),
    );
    let record = record.prop_map(|(key, value)| {
        let key = RecordKey::new(key).unwrap();
        Entry::Record(RecordEntry { lsn: 0, key, value })
    });
    prop_oneof![4 => block_entry(), 1 => record]
}

fn superblock() -> Superblock {
    Superblock {
        cluster: ClusterId::new(7).unwrap(),
        disk: DiskId::new(9).unwrap(),
        layout: Layout::for_size(4 << 30, SEGMENT_BLOCKS, 2).unwrap(),
        formatted_at_ms: 1_700_000_000_000,
    }
}

#[test]
fn the_superblock_has_its_fields_where_the_document_says() {
    let block = superblock().encode();
    assert_eq!(&block[..8], b"MORAINE!");
    assert_eq!((block[8], block[16], block[32]), (1, 7, 9));
    assert_eq!(block[48..52], SEGMENT_BLOCKS.to_le_bytes());
    assert_eq!(block[52..56], 31_u32.to_le_bytes());
    assert_eq!(block[56..60], 2_u32.to_le_bytes());
    assert_eq!(block[64..72], 1_700_000_000_000_u64.to_le_bytes());
    assert_eq!(Superblock::decode(&block), Ok(superblock()));
}

/// One entry of each kind.
fn each_entry() -> Vec<Entry> {
    let place = Place {
        volume: VolumeId::new(0xabc).unwrap(),
        bucket: BucketId::new(77).unwrap(),
        chunk: ChunkIndex::new(1234).unwrap(),
    };
    let tag = Tag {
        stamp: Stamp::new(2, 3, 1 << 40),
        cut: Cut(6),
        epoch: Epoch(8),
    };
    let range = BlockRange::new(100, 2).unwrap();
    let blocks = |kind| {
        Entry::Blocks(BlockEntry {
            lsn: 0,
            place,
            range,
            tag,
            kind,
        })
    };
    let key = RecordKey::new(vec![128, 1, 2]).unwrap();
    let record = |value| {
        Entry::Record(RecordEntry {
            lsn: 0,
            key: key.clone(),
            value,
        })
    };
    let checksums = vec![0x1111_2222, 0x3333_4444].into();
    vec![
        blocks(BlockKind::Data {
            position: 0,
            checksums,
        }),
        blocks(BlockKind::Zero),
        blocks(BlockKind::Hole { down_to: Cut(5) }),
        record(Some(vec![7; 10])),
        record(None),
    ]
}

/// The bytes of version 1, once and for all. A change here is a change of the format: it needs a
/// new version, as `docs/format.md` says.
#[test]
fn version_1_has_these_bytes() {
    let disk = DiskId::new(9).unwrap();
    let identity = Identity {
        disk,
        segment: 3,
        incarnation: 5,
        shard: 1,
    };
    let batch = BatchPlace {
        identity,
        position: 40,
        lsn: 90,
        durable_lsn: 88,
        extent_lsn: 80,
    };
    let mut entries = each_entry();
    let batch = encode_batch(batch, &mut entries, Buffer::zeroed);
    let head = Head {
        disk,
        segment: 3,
        state: SegmentState::Closed,
        incarnation: 5,
        shard: 1,
        bitmap_checksum: 0xdead_beef,
        sequence: 11,
        bitmap_lsn: 60,
    };
    sort_index(&mut entries);
    let index = encode_index(&entries);
    let footer = Footer {
        identity,
        index_position: 200,
        index_bytes: index.len() as u32,
        index_checksum: checksum(&index),
        entries: 5,
        lsn_min: 80,
        lsn_max: 90,
    };
    let (superblock, head, footer) = (superblock().encode(), head.encode(), footer.encode());
    let sums = [&superblock, &head, &batch[..], &index, &footer].map(checksum);
    assert_eq!(
        sums,
        [
            128_629_338,
            869_323_760,
            4_013_250_457,
            1_860_809_153,
            3_052_509_431
        ]
    );
}

#[test]
fn an_unknown_version_is_named_and_damage_is_not_taken_for_one() {
    let mut block = superblock().encode();
    block[8] = 2;
    assert_eq!(
        Superblock::decode(&block),
        Err(FormatError::Checksum("superblock"))
    );
    let sum = checksum_with_hole(&block, 12);
    block[12..16].copy_from_slice(&sum.to_le_bytes());
    let refused = Superblock::decode(&block);
    assert_eq!(
        refused,
        Err(FormatError::Version {
            what: "superblock",
            version: 2
        })
    );
    assert_eq!(
        Superblock::decode(&[0; 4096]),
        Err(FormatError::Magic("superblock"))
    );
}

#[test]
fn a_disk_too_small_for_its_shards_has_no_layout() {
    assert_eq!(Layout::for_size(0, SEGMENT_BLOCKS, 1), None);
    assert_eq!(Layout::for_size(1 << 30, SEGMENT_BLOCKS, 1), None);
    assert_eq!(Layout::for_size(4 << 30, 0, 1), None);
    assert_eq!(Layout::for_size(4 << 30, 96, 1), None);
    assert_eq!(Layout::for_size(4 << 30, SEGMENT_BLOCKS, 0), None);
    let layout = Layout::for_size(u64::MAX, SEGMENT_BLOCKS, 4).unwrap();
    assert!(layout.size_bytes() <= 16 << 40);
    let location = layout.location(17, 5);
    assert_eq!(layout.split(location), (17, 5));
}

#[test]
fn a_number_without_a_next_one_is_refused() {
    let head = Head {
        disk: DiskId::new(1).unwrap(),
        segment: 0,
        state: SegmentState::Closed,
        incarnation: NUMBER_MAX,
        shard: 0,
        bitmap_checksum: 0,
        sequence: NUMBER_MAX,
        bitmap_lsn: NUMBER_MAX,
    };
    assert!(Head::decode(&head.encode()).is_ok());
    let mut bad = [head; 3];
    bad[0].incarnation = u64::MAX;
    bad[1].sequence = u64::MAX;
    bad[2].bitmap_lsn = u64::MAX;
    assert!(bad.iter().all(|bad| Head::decode(&bad.encode()).is_err()));
    let record = |lsn| {
        let key = RecordKey::new(vec![1]).unwrap();
        let record = RecordEntry {
            lsn,
            key,
            value: None,
        };
        encode_index(&[Entry::Record(record)])
    };
    assert!(Entry::take(&mut record(NUMBER_MAX).as_slice()).is_ok());
    assert!(Entry::take(&mut record(u64::MAX).as_slice()).is_err());
}

proptest! {
    #[test]
    fn heads_survive_their_bytes(
        id in identity(), state in 0..4, sum: u32,
        sequence in 0..=NUMBER_MAX, bitmap_lsn in 0..=NUMBER_MAX
    ) {
        let state = [SegmentState::Free, SegmentState::Log, SegmentState::Scratch,
            SegmentState::Closed][state as usize];
        let head = Head {
            disk: id.disk, segment: id.segment, state, incarnation: id.incarnation,
            shard: id.shard, bitmap_checksum: sum, sequence, bitmap_lsn,
        };
        prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn batches_survive_their_bytes(
        identity in identity(), mut entries in vec(entry(), 0..200), lsn in 3..=NUMBER_MAX, durable_lsn in 0..3_u64
    ) {
        let place = BatchPlace { identity, position: 40, lsn, durable_lsn, extent_lsn: 3 };
        let packing = entries.iter().fold(Packing::default(), |p, entry| p.with(entry.encoded_bytes()));
        let headers = packing.header_blocks();
        let bytes = encode_batch(place, &mut entries, Buffer::zeroed);
        prop_assert_eq!(bytes.blocks() as u32, headers);
        let mut seen = Vec::new();
        let mut data = 40 + headers;
        for (nth, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let header = decode_header(block, SEGMENT_BLOCKS).unwrap();
            prop_assert_eq!(header.identity, identity);
            prop_assert_eq!((header.lsn, header.durable_lsn), (lsn, durable_lsn));
            prop_assert_eq!((header.index as usize, header.headers as u32), (nth, headers));
            prop_assert_eq!(header.position, 40 + nth as u32);
            seen.extend(header.entries);
        }
        for entry in &seen {
            if let Entry::Blocks(BlockEntry { kind: BlockKind::Data { position, .. }, .. }) = entry {
                prop_assert_eq!(*position, data);
            }
            data += entry.data_blocks();
        }
        prop_assert_eq!(seen, entries);
    }

    #[test]
    fn indexes_survive_their_bytes(identity in identity(), mut entries in vec(entry(), 0..99)) {
        let mut next = HEAD_BLOCKS;
        for entry in &mut entries {
            let count = entry.data_blocks();
            if let Entry::Blocks(BlockEntry { kind: BlockKind::Data { position, .. }, .. }) = entry {
                *position = next;
            }
            next += count;
        }
        sort_index(&mut entries);
        let bytes = encode_index(&entries);
        let footer = Footer {
            identity, index_position: next, index_bytes: bytes.len() as u32,
            index_checksum: checksum(&bytes), entries: entries.len() as u32,
            lsn_min: 0, lsn_max: NUMBER_MAX,
        };
        prop_assert_eq!(Footer::decode(&footer.encode(), SEGMENT_BLOCKS), Ok(footer));
        prop_assert_eq!(decode_index(&footer, &bytes), Ok(entries));
    }

    #[test]
    fn one_changed_byte_is_always_noticed(
        identity in identity(), mut entries in vec(entry(), 0..20), at in 0..4096_usize, flip in 1..=255_u8
    ) {
        let place = BatchPlace { identity, position: 40, lsn: 1, durable_lsn: 0, extent_lsn: 1 };
        let mut batch = encode_batch(place, &mut entries, Buffer::zeroed)[..BLOCK_BYTES].to_vec();
        batch[at] ^= flip;
        prop_assert!(decode_header(&batch, SEGMENT_BLOCKS).is_err());
        let mut block = superblock().encode();
        block[at] ^= flip;
        prop_assert!(Superblock::decode(&block).is_err());
    }

    #[test]
    fn changed_fields_under_a_right_checksum_never_panic(
        identity in identity(), mut entries in vec(entry(), 0..20),
        changes in vec((16..400_usize, any::<u8>()), 1..8)
    ) {
        let place = BatchPlace { identity, position: 40, lsn: 1, durable_lsn: 0, extent_lsn: 1 };
        let footer = Footer {
            identity, index_position: 100, index_bytes: 10, index_checksum: 0, entries: 9,
            lsn_min: 1, lsn_max: 9,
        };
        let batch = encode_batch(place, &mut entries, Buffer::zeroed)[..BLOCK_BYTES].to_vec();
        for mut block in [batch, superblock().encode(), footer.encode()] {
            for &(at, byte) in &changes {
                block[at] = byte;
            }
            let sum = checksum_with_hole(&block, 12);
            block[12..16].copy_from_slice(&sum.to_le_bytes());
            if let Ok(header) = decode_header(&block, SEGMENT_BLOCKS) {
                prop_assert!(header.batch_blocks() < SEGMENT_BLOCKS);
            }
            if let Ok(footer) = Footer::decode(&block, SEGMENT_BLOCKS) {
                prop_assert!(footer.index_position as usize + footer.index_blocks() < 32_767);
            }
            let _ = Superblock::decode(&block);
            let _ = Head::decode(&block);
        }
    }

    #[test]
    fn any_bytes_are_an_index_or_an_error(identity in identity(), bytes in vec(any::<u8>(), 0..500)) {
        let footer = Footer {
            identity, index_position: 100, index_bytes: bytes.len() as u32,
            index_checksum: checksum(&bytes), entries: 1, lsn_min: 1, lsn_max: 9,
        };
        drop(decode_index(&footer, &bytes));
        drop(decode_index(&Footer { index_bytes: u32::MAX, ..footer }, &bytes));
    }
}
