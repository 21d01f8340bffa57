//! The bodies of replies: which fields, in which order.

use super::rules;
use crate::cursor::{Field, Reader, bodies};
use crate::limits::{CHUNKS_MAX, LAYERS_MAX, NAMES_MAX, SHARES_MAX, VERSIONS_MAX};
use crate::{BodyError, Kind, Part, Refusal, Reply, ShareState, VersionKind};
use moraine_model::{BLOCK_BYTES, BlockIndex};

bodies!(Reply {
    Opened = Opened { mark, cut, above_mark }
    Done = Done {}
    Data = Data { parts }
    Shares = Shares { shares, more }
    Chunks = Chunks { chunks, more }
    Layers = Layers { fence, layers }
    Versions = Versions { fence, versions },
    Refused(refusal)
});

impl Reply {
    /// Bytes of data that travel beside it: that of its parts, one behind the other.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Data { parts } => {
                let blocks = parts.iter().map(|part| part.checksums.len());
                blocks.sum::<usize>() * BLOCK_BYTES
            }
            _ => 0,
        }
    }

    /// Whether it keeps to the limits, and its parts fit each other. What is decoded does, and what
    /// is encoded must.
    pub fn check(&self) -> Result<(), BodyError> {
        match self {
            Self::Data { parts } => check_parts(parts),
            Self::Shares { shares, more } => {
                rules::more_of_something(*more, shares)?;
                check_shares(shares)
            }
            Self::Chunks { chunks, more } => {
                rules::more_of_something(*more, chunks)?;
                rules::count("chunks", chunks.len(), CHUNKS_MAX)?;
                rules::ordered("chunks", chunks, |one, next| one.chunk < next.chunk)
            }
            Self::Layers { layers, .. } => {
                rules::count("layers", layers.len(), LAYERS_MAX)?;
                rules::ordered("layers", layers, |one, next| one.cut > next.cut)
            }
            Self::Versions { versions, .. } => {
                rules::count("versions", versions.len(), VERSIONS_MAX)?;
                rules::ordered("versions", versions, |one, next| {
                    one.range.end() <= next.range.first()
                })
            }
            Self::Refused(Refusal::Damaged { block } | Refusal::Mismatch { block }) => {
                BlockIndex::new(*block)?;
                Ok(())
            }
            Self::Opened { .. } | Self::Done | Self::Refused(_) => Ok(()),
        }
    }
}

/// The parts of a read: of the blocks that one request can ask for, in order, and with as many
/// checksums as they have blocks of data.
fn check_parts(parts: &[Part]) -> Result<(), BodyError> {
    rules::ordered("parts", parts, |one, next| {
        one.version.range.end() <= next.version.range.first()
    })?;
    if let [first, .., last] | [first @ last] = parts {
        rules::blocks_of_one_frame(last.version.range.end() - first.version.range.first())?;
    }
    for part in parts {
        let blocks = match part.version.kind {
            VersionKind::Data => usize::from(part.version.range.count()),
            VersionKind::Zero => 0,
        };
        rules::one_for_each_block(&part.checksums, blocks)?;
    }
    Ok(())
}

fn check_shares(shares: &[ShareState]) -> Result<(), BodyError> {
    rules::count("shares", shares.len(), SHARES_MAX)?;
    rules::ordered("shares", shares, |one, next| one.volume < next.volume)?;
    let names = |share: &ShareState| share.deleted_snapshots.len() + share.references.len();
    let names = shares.iter().map(names).sum();
    rules::count("deleted snapshots and references", names, NAMES_MAX)?;
    for share in shares {
        rules::ordered(
            "deleted snapshots",
            &share.deleted_snapshots,
            |one, next| one < next,
        )?;
        rules::ordered("references", &share.references, |one, next| one < next)?;
    }
    Ok(())
}
