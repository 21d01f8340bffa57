//! What is asked of the store: each request follows from its number alone, so that the process that
//! is killed and the one that verifies need not talk about it.

use moraine_model::*;
use moraine_store::disk::{Device, OpenOptions, Opened};
use moraine_store::{
    Buffer, Content, Control, FormatOptions, Place, Request, Rule, Share, Tag, Write,
    block_checksums,
};
use std::path::Path;
use std::time::Duration;

/// The number of a request, which is the sequence of its stamp too.
pub(crate) type Number = u64;

pub(crate) const SEGMENT_BLOCKS: u32 = 128;
pub(crate) const DISK_BYTES: u64 = (256 + 64 * SEGMENT_BLOCKS as u64) * BLOCK_BYTES as u64;
pub(crate) const CHUNKS: u32 = 6;
pub(crate) const BLOCKS: u16 = 64;
/// Requests of one cut.
const CUT_REQUESTS: u64 = 50;

/// What one request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data(u32, BlockRange),
    Zero(u32, BlockRange),
    /// A note whose value is the number.
    Note,
    DeleteSnapshot(Cut),
}

/// A number that looks random (splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

pub(crate) fn cut(number: Number) -> Cut {
    Cut(number / CUT_REQUESTS)
}

/// Whether the request is the first of its cut: those of older cuts must have been answered.
pub(crate) fn begins_a_cut(number: Number) -> bool {
    number.is_multiple_of(CUT_REQUESTS)
}

pub(crate) fn kind(number: Number) -> Kind {
    // Each snapshot is deleted several times: some of the requests are never made.
    let nth = number % CUT_REQUESTS;
    if nth % 10 == 5
        && let Some(old) = cut(number).0.checked_sub(3 + nth / 10)
    {
        return Kind::DeleteSnapshot(Cut(old));
    }
    let draw = |salt: u64, below: u64| mix(number ^ salt << 56) % below;
    if draw(1, 12) == 0 {
        return Kind::Note;
    }
    let chunk = u32::try_from(draw(2, u64::from(CHUNKS))).unwrap();
    let first = u16::try_from(draw(3, u64::from(BLOCKS))).unwrap();
    let count = u16::try_from(1 + draw(4, 24)).unwrap().min(BLOCKS - first);
    let range = BlockRange::new(first, count).unwrap();
    if draw(5, 6) == 0 {
        Kind::Zero(chunk, range)
    } else {
        Kind::Data(chunk, range)
    }
}

pub(crate) fn place(chunk: u32) -> Place {
    Place {
        volume: VolumeId::new(1).unwrap(),
        bucket: BucketId::new(0).unwrap(),
        chunk: ChunkIndex::new(chunk).unwrap(),
    }
}

pub(crate) fn share() -> Share {
    place(0).share()
}

/// The bytes that the request writes into a block.
pub(crate) fn block_bytes(number: Number, chunk: u32, block: u16) -> Vec<u8> {
    let seed = mix(number) ^ u64::from(chunk) << 16 ^ u64::from(block);
    let words = (0..BLOCK_BYTES as u64 / 8).map(|nth| seed.wrapping_add(nth));
    words.flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn request(number: Number) -> Request {
    let write = |chunk, range, content| {
        Request::Write(Write {
            place: place(chunk),
            range,
            tag: Tag {
                stamp: Stamp::new(1, 0, number),
                cut: cut(number),
                epoch: Epoch(1),
            },
            rule: Rule::Write { listed: Epoch(0) },
            content,
        })
    };
    match kind(number) {
        Kind::Zero(chunk, range) => write(chunk, range, Content::Zero),
        Kind::Data(chunk, range) => {
            let blocks = range.blocks();
            let bytes: Vec<u8> = blocks
                .flat_map(|block| block_bytes(number, chunk, block))
                .collect();
            let checksums = block_checksums(&bytes);
            let data = Buffer::copy_of(&bytes);
            write(chunk, range, Content::Data { data, checksums })
        }
        Kind::Note => Request::Note {
            key: b"newest".to_vec(),
            value: Some(number.to_le_bytes().to_vec()),
        },
        Kind::DeleteSnapshot(cut) => Request::Control {
            share: share(),
            control: Control::DeleteSnapshot { cut },
        },
    }
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(1).unwrap()
}

pub(crate) fn format_options() -> FormatOptions {
    FormatOptions {
        segment_blocks: SEGMENT_BLOCKS,
        ..FormatOptions::new(cluster(), DiskId::new(77).unwrap())
    }
}

/// The file as a disk. A process that was killed may hold it for a moment.
pub(crate) fn open(path: &Path) -> Opened {
    let options = OpenOptions {
        patience: Duration::from_secs(30),
        ..OpenOptions::default()
    };
    Device::open(path, &options).unwrap().handle().unwrap()
}
