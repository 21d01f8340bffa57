//! What all structures of one block have in common: magic, version and checksum in front.

use super::FormatError;
use super::cursor::{Reader, Writer};
use moraine_model::BLOCK_BYTES;
use moraine_model::checksum_with_hole;

/// The version of the format that this code writes and reads.
pub const VERSION: u32 = 1;

/// Bytes of the frame, in front of the fields.
pub(super) const FRAME_BYTES: usize = 16;
const CHECKSUM_AT: usize = 12;

/// A kind of structure: its name for messages, and its magic.
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) magic: [u8; 8],
}

impl Kind {
    pub(super) fn field(&self, field: &'static str) -> FormatError {
        FormatError::Field {
            what: self.what,
            field,
        }
    }
}

/// Starts a block: the frame with room for the checksum.
pub(super) fn open(kind: &Kind) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    Writer(&mut block).bytes(&kind.magic).u32(VERSION).u32(0);
    block
}

/// Fills the block up with zeros and puts the checksum in.
pub(super) fn close(mut block: Vec<u8>) -> Vec<u8> {
    assert!(block.len() <= BLOCK_BYTES, "a structure outgrew its block");
    block.resize(BLOCK_BYTES, 0);
    let sum = checksum_with_hole(&block, CHECKSUM_AT);
    block[CHECKSUM_AT..FRAME_BYTES].copy_from_slice(&sum.to_le_bytes());
    block
}

/// Checks a block's frame and gives its fields.
pub(super) fn check<'a>(kind: &Kind, block: &'a [u8]) -> Result<Reader<'a>, FormatError> {
    if block.len() != BLOCK_BYTES || !block.starts_with(&kind.magic) {
        return Err(FormatError::Magic(kind.what));
    }
    let mut reader = Reader(&block[kind.magic.len()..]);
    let (Some(version), Some(sum)) = (reader.u32(), reader.u32()) else {
        return Err(FormatError::Magic(kind.what));
    };
    // The checksum first: a version that a bit flip made is damage, not news from the future.
    if checksum_with_hole(block, CHECKSUM_AT) != sum {
        return Err(FormatError::Checksum(kind.what));
    }
    if version != VERSION {
        return Err(FormatError::Version {
            what: kind.what,
            version,
        });
    }
    Ok(reader)
}
