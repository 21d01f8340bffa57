//! The bodies of requests: which fields, in which order.

use super::rules;
use crate::cursor::{Field, Reader, bodies};
use crate::{Block, BodyError, Content, Kind, Request};
use moraine_model::BLOCK_BYTES;

bodies!(Request {
    Open = Open { volume, generation, entry }
    Write = Write { under, block, sequence, cut, mark, content }
    Read = Read { under, block, at, mark }
    Close = Close { under, mark }
    Ping = Ping {}
    Adopt = Adopt { entry }
    ListShares = Shares { bucket, epoch, after }
    ListChunks = Chunks { share, epoch, generation, above, from }
    ListLayers = Layers { share, epoch, generation, chunk }
    ListVersions = Versions { share, epoch, generation, chunk, cut }
    Copy = Copy { share, epoch, block, cut }
});

impl Request {
    /// Bytes of data that travel beside it.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Write {
                content: Content::Data { checksums },
                ..
            } => checksums.len() * BLOCK_BYTES,
            _ => 0,
        }
    }

    /// Whether it keeps to the limits, and its parts fit each other. What is decoded does, and what
    /// is encoded must.
    pub fn check(&self) -> Result<(), BodyError> {
        match self {
            Self::Write {
                block: Block { range, .. },
                content: Content::Data { checksums },
                ..
            } => {
                rules::one_for_each_block(checksums, usize::from(range.count()))?;
                rules::blocks_of_one_frame(range.count())
            }
            Self::Read { block, .. } | Self::Copy { block, .. } => {
                rules::blocks_of_one_frame(block.range.count())
            }
            _ => Ok(()),
        }
    }
}
