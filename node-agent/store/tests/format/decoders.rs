//! What must hold of each decoder for any bytes: the body of a fuzz target, and of ordinary tests.
//!
//! A decoder never panics and trusts nothing. Each body tries the bytes as they are, and again as a
//! block whose checksum was made right, since no mutation would get past that by luck. What is
//! decoded must survive its own encoding.

use moraine_model::BLOCK_BYTES;
use moraine_store::format::{
    BatchPlace, BlockKind, Entry, FOOTER_BLOCKS, Footer, FormatError, HEAD_BLOCKS, Head,
    NUMBER_MAX, SEGMENT_BLOCKS, Superblock, decode_header, decode_index, encode_batch,
    encode_index,
};
use moraine_store::{Buffer, checksum, format};

/// A body by the name of its fuzz target.
pub(crate) type Body = fn(&[u8]);

/// Every target but the one for a whole disk.
pub(crate) const BODIES: [(&str, Body); 6] = [
    ("superblock", superblock),
    ("head", head),
    ("batch", batch),
    ("entry", entry),
    ("index", index),
    ("footer", footer),
];

/// Segment sizes that headers and footers are held against.
const SEGMENT_SIZES: [u32; 2] = [format::SEGMENT_BLOCKS_MIN, SEGMENT_BLOCKS];

/// Makes the checksum in a block's frame right.
pub(crate) fn seal(block: &mut [u8]) {
    if block.len() == BLOCK_BYTES {
        block[12..16].fill(0);
        let sum = checksum(block);
        block[12..16].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The bytes as one block with a right checksum.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut block = bytes.to_vec();
    block.resize(BLOCK_BYTES, 0);
    seal(&mut block);
    block
}

/// Runs a check on the bytes as they are and as a sealed block.
fn both(bytes: &[u8], check: impl Fn(&[u8])) {
    check(bytes);
    check(&sealed(bytes));
}

/// A superblock.
pub(crate) fn superblock(bytes: &[u8]) {
    both(bytes, |block| {
        let Ok(superblock) = Superblock::decode(block) else {
            return;
        };
        let layout = superblock.layout;
        let last = layout.location(layout.segments - 1, layout.segment_blocks - 1);
        assert_eq!(
            layout.split(last),
            (layout.segments - 1, layout.segment_blocks - 1)
        );
        assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
    });
}

/// The head of a segment.
pub(crate) fn head(bytes: &[u8]) {
    both(bytes, |block| {
        if let Ok(head) = Head::decode(block) {
            assert!(head.incarnation.max(head.sequence).max(head.bitmap_lsn) <= NUMBER_MAX);
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    });
}

/// A header block of a batch.
pub(crate) fn batch(bytes: &[u8]) {
    both(bytes, |block| {
        for segment_blocks in SEGMENT_SIZES {
            let Ok(header) = decode_header(block, segment_blocks) else {
                continue;
            };
            let room = segment_blocks - HEAD_BLOCKS - FOOTER_BLOCKS;
            assert!(header.index < header.headers && header.batch_blocks() <= room);
            assert!(header.durable_lsn < header.lsn && header.extent_lsn <= header.lsn);
            // Encoded as the only header of a batch: one that stands elsewhere has more beside it.
            let place = BatchPlace {
                identity: header.identity,
                position: HEAD_BLOCKS,
                lsn: header.lsn,
                durable_lsn: header.durable_lsn,
                extent_lsn: header.extent_lsn,
            };
            let mut entries = header.entries.clone();
            let encoded = encode_batch(place, &mut entries, Buffer::zeroed);
            let again = decode_header(&encoded, SEGMENT_BLOCKS).expect("it was encoded just now");
            assert_eq!(again.entries, entries);
            assert_eq!(placeless(entries), placeless(header.entries));
            assert_eq!(
                (
                    again.identity,
                    again.lsn,
                    again.durable_lsn,
                    again.extent_lsn
                ),
                (
                    header.identity,
                    header.lsn,
                    header.durable_lsn,
                    header.extent_lsn
                )
            );
        }
    });
}

/// Entries without the positions that encoding a batch gives them.
fn placeless(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if let Entry::Blocks(blocks) = entry
            && let BlockKind::Data { position, .. } = &mut blocks.kind
        {
            *position = 0;
        }
    }
    entries
}

/// Entries, one behind another.
pub(crate) fn entry(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest;
        match Entry::take(&mut rest) {
            Ok(Some(entry)) => {
                assert_eq!(before.len() - rest.len(), entry.encoded_bytes());
                let mut encoded = Vec::new();
                entry.encode(&mut encoded);
                assert_eq!(Entry::take(&mut encoded.as_slice()), Ok(Some(entry)));
            }
            Ok(None) => {
                assert!(before.is_empty());
                return;
            }
            Err(_) => {
                assert_eq!(before.len(), rest.len(), "what is refused is not taken");
                return;
            }
        }
    }
}

/// Bytes of a footer's fields at the front of what [`index`] takes.
pub(crate) const FOOTER_BYTES: usize = 80;

/// A footer, cut to [`FOOTER_BYTES`], and the index behind it.
pub(crate) fn index(bytes: &[u8]) {
    let (front, index) = bytes.split_at(bytes.len().min(FOOTER_BYTES));
    let Ok(footer) = Footer::decode(&sealed(front), SEGMENT_BLOCKS) else {
        return;
    };
    check_index(&footer, index);
    let described = |entries: u32| Footer {
        index_bytes: u32::try_from(index.len()).unwrap_or(u32::MAX),
        index_checksum: checksum(index),
        entries,
        ..footer
    };
    check_index(&described(footer.entries), index);
    // The number of entries made right too: what is behind it must be reached.
    let count = (0..).zip(std::iter::from_fn({
        let mut rest = index;
        move || Entry::take(&mut rest).ok().flatten()
    }));
    check_index(
        &described(count.last().map_or(0, |(nth, _)| nth + 1)),
        index,
    );
}

fn check_index(footer: &Footer, bytes: &[u8]) {
    match decode_index(footer, bytes) {
        Ok(entries) => {
            assert_eq!(entries.len(), footer.entries as usize);
            let encoded = encode_index(&entries);
            assert!(encoded.len() <= bytes.len());
            let again = Footer {
                index_bytes: u32::try_from(encoded.len()).expect("it fitted before"),
                index_checksum: checksum(&encoded),
                ..*footer
            };
            assert_eq!(decode_index(&again, &encoded), Ok(entries));
        }
        Err(FormatError::Checksum(_)) => {
            let named = bytes.get(..footer.index_bytes as usize);
            assert!(named.is_none_or(|named| checksum(named) != footer.index_checksum));
        }
        Err(_) => {}
    }
}

/// A footer.
pub(crate) fn footer(bytes: &[u8]) {
    both(bytes, |block| {
        for segment_blocks in SEGMENT_SIZES {
            if let Ok(footer) = Footer::decode(block, segment_blocks) {
                let end = footer.index_position as usize + footer.index_blocks();
                assert!(footer.index_position >= HEAD_BLOCKS);
                assert!(end <= (segment_blocks - FOOTER_BLOCKS) as usize);
                assert_eq!(Footer::decode(&footer.encode(), segment_blocks), Ok(footer));
            }
        }
    });
}
