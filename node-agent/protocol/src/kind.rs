//! The kinds of frames: their numbers, who sends them, and how large they can be.
//!
//! What stands in their bodies is the subject of `wire` and `handshake`.

use crate::limits::{
    CHUNKS_MAX, HANDSHAKE_BODY_BYTES_MAX, LAYERS_MAX, NAMES_MAX, PAYLOAD_BLOCKS_MAX,
    PAYLOAD_BYTES_MAX, SHARES_MAX, VERSIONS_MAX,
};
use moraine_model::REPLICAS_MAX;
use std::fmt;

/// What a frame is. The numbers are part of the protocol and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[allow(missing_docs, reason = "each is the message of the same name")]
pub enum Kind {
    Hello = 0x01,
    Challenge = 0x02,
    Proof = 0x03,
    Welcome = 0x04,
    Reject = 0x05,

    Open = 0x10,
    Write = 0x11,
    Read = 0x12,
    Close = 0x13,
    Ping = 0x14,
    Adopt = 0x18,
    ListShares = 0x19,
    ListChunks = 0x1a,
    ListLayers = 0x1b,
    ListVersions = 0x1c,
    Copy = 0x1d,

    Opened = 0x40,
    Done = 0x41,
    Data = 0x42,
    Shares = 0x43,
    Chunks = 0x44,
    Layers = 0x45,
    Versions = 0x46,
    Refused = 0x47,
}

/// Which part of the protocol a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Before the peers have proved themselves, in both directions.
    Handshake,
    /// To a replica.
    Request,
    /// From a replica.
    Reply,
}

/// Bytes of a bucket and an epoch, and at most so many listings.
const ENTRY_MAX: usize = 4 + 8 + 1 + REPLICAS_MAX * (16 + 1 + 8);
const STAMP: usize = 16;
const GENERATION: usize = 8;
const TAG: usize = STAMP + 8 + 8;
const SHARE: usize = 16 + 4;
const UNDER: usize = SHARE + GENERATION + 8;
const BLOCK: usize = 4 + 4;
const CHECKSUMS_MAX: usize = 4 * PAYLOAD_BLOCKS_MAX as usize;
/// What a question about a share opens with: share, epoch, perhaps a generation.
const ASKED_MAX: usize = SHARE + 8 + 1 + GENERATION;

/// Bytes of so many things of the same size.
const fn list(count: usize, bytes: usize) -> usize {
    2 + count * bytes
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Hello,
        Self::Challenge,
        Self::Proof,
        Self::Welcome,
        Self::Reject,
        Self::Open,
        Self::Write,
        Self::Read,
        Self::Close,
        Self::Ping,
        Self::Adopt,
        Self::ListShares,
        Self::ListChunks,
        Self::ListLayers,
        Self::ListVersions,
        Self::Copy,
        Self::Opened,
        Self::Done,
        Self::Data,
        Self::Shares,
        Self::Chunks,
        Self::Layers,
        Self::Versions,
        Self::Refused,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The kind with this number.
    pub(crate) fn with_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Which part of the protocol it belongs to.
    pub const fn group(self) -> Group {
        match self.number() {
            0..0x10 => Group::Handshake,
            0x10..0x40 => Group::Request,
            _ => Group::Reply,
        }
    }

    /// Most bytes that its body can have.
    pub const fn body_bytes_max(self) -> usize {
        match self {
            Self::Hello | Self::Challenge | Self::Proof | Self::Welcome | Self::Reject => {
                HANDSHAKE_BODY_BYTES_MAX
            }
            Self::Open => 16 + GENERATION + ENTRY_MAX,
            Self::Write => UNDER + BLOCK + 8 + 8 + STAMP + 3 + CHECKSUMS_MAX,
            Self::Read => UNDER + BLOCK + 9 + STAMP,
            Self::Close => UNDER + STAMP,
            Self::Ping | Self::Done => 0,
            Self::Adopt => ENTRY_MAX,
            Self::ListShares => 4 + 8 + 1 + 16,
            Self::ListChunks => ASKED_MAX + STAMP + 4,
            Self::ListLayers => ASKED_MAX + 4,
            Self::ListVersions => ASKED_MAX + 4 + 8,
            Self::Copy => SHARE + 8 + BLOCK + 8,
            Self::Opened => STAMP + 8 + 1,
            Self::Data => list(PAYLOAD_BLOCKS_MAX as usize, 4 + 1 + TAG + 3) + CHECKSUMS_MAX,
            Self::Shares => 1 + list(SHARES_MAX, 16 + GENERATION + 9 + 4) + NAMES_MAX * 24,
            Self::Chunks => 1 + list(CHUNKS_MAX, 4 + STAMP),
            Self::Layers => GENERATION + list(LAYERS_MAX, 8 + STAMP),
            Self::Versions => GENERATION + list(VERSIONS_MAX, 4 + 1 + TAG),
            Self::Refused => 1 + ENTRY_MAX,
        }
    }

    /// Most bytes of data that can follow its body.
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            Self::Write | Self::Data => PAYLOAD_BYTES_MAX,
            _ => 0,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Reply => "reply",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BODY_BYTES_MAX;

    #[test]
    fn every_kind_is_found_by_its_number_and_fits_the_limits() {
        assert!(Kind::ALL.is_sorted());
        for kind in Kind::ALL {
            assert_eq!(Kind::with_number(kind.number()), Some(kind));
            assert!(kind.body_bytes_max() <= BODY_BYTES_MAX, "{kind}");
        }
        assert_eq!(Kind::with_number(0), None);
        assert_eq!(Kind::with_number(0x48), None);
    }
}
