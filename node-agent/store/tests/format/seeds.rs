//! What each fuzz target starts from: the structures of the newest fixture.

use super::decoders::FOOTER_BYTES;
use super::driver::{SEGMENT_BLOCKS, SEGMENTS};
use super::image::{block, described, first_block, footer};
use super::patches;
use moraine_model::BLOCK_BYTES;
use moraine_store::format::SUPERBLOCKS;

/// The target that patches a whole disk.
pub(crate) const OPEN: &str = "open";

/// Valid inputs of a target, from an image.
pub(crate) fn seeds(target: &str, image: &[u8]) -> Vec<Vec<u8>> {
    let magic = |magic: &[u8; 8]| {
        let blocks = described(image).into_iter().map(|at| block(image, at));
        let found = blocks.filter(|block| block.starts_with(magic));
        found.map(trimmed).collect::<Vec<_>>()
    };
    let mut seeds = match target {
        "superblock" => SUPERBLOCKS
            .iter()
            .map(|&at| trimmed(block(image, at)))
            .collect(),
        "head" => magic(b"MOR-HEAD"),
        "batch" => magic(b"MOR-BTCH"),
        "footer" => magic(b"MOR-FOOT"),
        "index" => indexes(image, FOOTER_BYTES),
        "entry" => indexes(image, 0),
        OPEN => patches::seeds(),
        other => unreachable!("no target is called {other}"),
    };
    seeds.sort();
    seeds.dedup();
    seeds
}

/// The block without the zeros at its end.
fn trimmed(block: &[u8]) -> Vec<u8> {
    let end = block.iter().rposition(|&byte| byte != 0);
    block[..end.map_or(0, |at| at + 1)].to_vec()
}

/// Each index, behind so many bytes of its footer.
fn indexes(image: &[u8], footer_bytes: usize) -> Vec<Vec<u8>> {
    let of_segment = |segment| {
        let footer = footer(image, segment)?;
        let at = (first_block(segment) + footer.index_position) as usize * BLOCK_BYTES;
        let mut seed = block(image, first_block(segment) + SEGMENT_BLOCKS - 1).to_vec();
        seed.truncate(footer_bytes);
        seed.extend_from_slice(&image[at..at + footer.index_bytes as usize]);
        Some(seed)
    };
    (0..SEGMENTS).filter_map(of_segment).collect()
}
