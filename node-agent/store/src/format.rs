//! Every structure on the disk, as bytes. The tables are in `docs/format.md`.
//!
//! Decoding never panics and trusts nothing: it gives a checked value or says what is wrong.
//! Nothing here reads or writes a disk.

mod batch;
mod cursor;
mod entry;
mod footer;
mod frame;
mod head;
mod superblock;
#[cfg(test)]
mod tests;

pub use batch::{
    BatchHeader, BatchPlace, HEADER_ROOM_BYTES, Identity, Packing, decode_header, encode_batch,
};
pub use entry::{
    BLOCK_ENTRY_BYTES_MAX, BlockEntry, BlockKind, Entry, Outline, RecordEntry, RecordKey,
};
pub use footer::{Footer, decode_index, encode_index, sort_index, take_indexed};
pub use frame::VERSION;
pub use head::{Head, SegmentState};
pub use moraine_model::{Place, Tag};
pub use superblock::{Layout, Superblock};

use thiserror::Error;

/// Superblock copies, in blocks from the start of the disk.
pub const SUPERBLOCKS: [u32; 2] = [0, 128];
/// Block where the first segment begins.
pub const FIRST_SEGMENT: u32 = 256;
/// Blocks of a segment unless a trial asks for fewer.
pub const SEGMENT_BLOCKS: u32 = 32_768;
/// Fewest blocks that a segment may have.
pub const SEGMENT_BLOCKS_MIN: u32 = 64;
/// Blocks of the two copies of a segment's head.
pub const HEAD_BLOCKS: u32 = 4;
/// Blocks of the two copies of a segment's footer.
pub const FOOTER_BLOCKS: u32 = 2;
/// Most blocks of one entry; longer writes become several.
pub const ENTRY_BLOCKS_MAX: u16 = 512;
/// Most bytes of a record's key.
pub const KEY_BYTES_MAX: usize = 64;
/// Most bytes of a record's value.
pub const VALUE_BYTES_MAX: usize = 512;

/// No LSN, incarnation or sequence gets so far in the life of a disk; the next one always exists.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Why bytes are not the structure that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The magic is not there: something else, or nothing, was written here.
    #[error("the magic of a {0} is not there")]
    Magic(&'static str),
    /// It is ours, but of a version that this program doesn't know.
    #[error("{what} has format version {version}; this program reads version {VERSION}")]
    Version {
        /// Which structure.
        what: &'static str,
        /// Its version.
        version: u32,
    },
    /// It is ours, but its checksum is wrong: torn or damaged.
    #[error("the checksum of the {0} is wrong")]
    Checksum(&'static str),
    /// The checksum is right, but a field can't be.
    #[error("{what}: {field} is out of range")]
    Field {
        /// Which structure.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
}
