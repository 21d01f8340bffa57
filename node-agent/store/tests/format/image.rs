//! Disks as bytes, and the structures that are found on them.

use super::driver::{DISK_BLOCKS, SEGMENT_BLOCKS, SEGMENTS};
use flate2::read::GzDecoder;
use moraine_model::BLOCK_BYTES;
use moraine_store::disk::MemoryDisk;
use moraine_store::format::{FIRST_SEGMENT, FOOTER_BLOCKS, Footer, SUPERBLOCKS};
use std::io::Read;

/// The newest fixture, which today's code must read, and write again byte for byte.
pub(crate) const NEWEST: &[u8] = include_bytes!("../fixtures/version-1/first/disk.img.gz");

/// The bytes of a compressed image.
pub(crate) fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    let read = GzDecoder::new(packed).read_to_end(&mut image);
    read.expect("the fixture is a gzip file");
    image
}

/// All bytes of a disk.
pub(crate) fn bytes_of(disk: &MemoryDisk) -> Vec<u8> {
    let mut image = vec![0; DISK_BLOCKS as usize * BLOCK_BYTES];
    disk.peek(0, &mut image);
    image
}

/// A disk with these bytes, which may be fewer than the fixture has.
pub(crate) fn disk_of(image: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new(image.len() as u64, 512);
    for (nth, block) in image.chunks_exact(BLOCK_BYTES).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            disk.poke((nth * BLOCK_BYTES) as u64, block);
        }
    }
    disk
}

/// A block of an image.
pub(crate) fn block(image: &[u8], number: u32) -> &[u8] {
    let at = number as usize * BLOCK_BYTES;
    &image[at..at + BLOCK_BYTES]
}

/// The first block of a segment.
pub(crate) fn first_block(segment: u32) -> u32 {
    FIRST_SEGMENT + segment * SEGMENT_BLOCKS
}

/// Where the footers of a segment are.
pub(crate) fn footers(segment: u32) -> [u32; 2] {
    let end = first_block(segment + 1);
    [end - FOOTER_BLOCKS, end - 1]
}

/// The footer of a segment, if it has one, of whatever incarnation.
pub(crate) fn footer(image: &[u8], segment: u32) -> Option<Footer> {
    footers(segment)
        .into_iter()
        .find_map(|at| Footer::decode(block(image, at), SEGMENT_BLOCKS).ok())
}

/// The blocks that describe something: superblocks, heads with their bitmaps, batch headers,
/// indexes, footers; those of earlier incarnations too.
pub(crate) fn described(image: &[u8]) -> Vec<u32> {
    let mut blocks: Vec<u32> = SUPERBLOCKS.to_vec();
    for segment in 0..SEGMENTS {
        let first = first_block(segment);
        blocks.extend(first..first + 4);
        let found =
            (first + 4..first + SEGMENT_BLOCKS).filter(|&at| block(image, at).starts_with(b"MOR-"));
        blocks.extend(found);
        if let Some(footer) = footer(image, segment) {
            let index = first + footer.index_position;
            let count = u32::try_from(footer.index_blocks()).unwrap_or(0);
            blocks.extend(index..index + count);
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}
