//! What is wrong with a frame. Whatever it is, the connection can't be trusted any more: it is
//! closed, nothing is answered, and the error is counted by its [`FrameError::label`].

use crate::{Group, Kind, Versions};
use moraine_model::OutOfRange;
use thiserror::Error;

/// Why a frame was refused. The connection that it came by is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// These are not the first bytes of a frame.
    #[error(
        "not a frame of Moraine: it begins with {found:#010x}; check that the port is an agent's, and that both sides have TLS on or off"
    )]
    Magic {
        /// What stands there instead.
        found: u32,
    },
    /// The header was damaged on its way, or made up.
    #[error("the header of a frame doesn't match its checksum; look for faulty network hardware")]
    HeaderChecksum,
    /// A frame of a version that this side doesn't speak, or hasn't agreed to.
    #[error("a {kind} frame of version {found}, but it must be of {allowed}")]
    Version {
        /// The kind of the frame.
        kind: Kind,
        /// The version that it says.
        found: u16,
        /// What it must be.
        allowed: AllowedVersions,
    },
    /// No such kind of frame exists in this version.
    #[error("no frame has the kind {found:#06x}")]
    Kind {
        /// The number in the header.
        found: u16,
    },
    /// A frame that does not belong where it came: a request among replies, say.
    #[error("a {kind} frame came where only a {expected} frame may come")]
    Unexpected {
        /// The kind of the frame.
        kind: Kind,
        /// What may come here.
        expected: Group,
    },
    /// A body larger than this kind can have. Nothing was allocated for it.
    #[error("the body of a {kind} frame is said to have {bytes} bytes; at most {max} are allowed")]
    BodyTooLong {
        /// The kind of the frame.
        kind: Kind,
        /// What the header says.
        bytes: u32,
        /// What is allowed.
        max: usize,
    },
    /// More data than this kind can have, or a part of a block. Nothing was allocated for it.
    #[error(
        "the data of a {kind} frame is said to have {bytes} bytes; whole blocks of 4096, at most {max} bytes, are allowed"
    )]
    BadPayload {
        /// The kind of the frame.
        kind: Kind,
        /// What the header says.
        bytes: u32,
        /// What is allowed.
        max: usize,
    },
    /// A frame of the handshake with a request id.
    #[error("a {kind} frame has the request id {id}; frames of the handshake have 0")]
    HandshakeId {
        /// The kind of the frame.
        kind: Kind,
        /// The id.
        id: u64,
    },
    /// The frame ends before its body does: the connection was cut, or the caller is wrong.
    #[error("the body of a {kind} frame has {found} bytes, but its header says {said}")]
    BodyBytes {
        /// The kind of the frame.
        kind: Kind,
        /// How many there are.
        found: usize,
        /// What the header says.
        said: u32,
    },
    /// The body was damaged on its way, or made up.
    #[error(
        "the body of a {kind} frame doesn't match its checksum; look for faulty network hardware"
    )]
    BodyChecksum {
        /// The kind of the frame.
        kind: Kind,
    },
    /// The body says what no body of its kind says: the peer's code is wrong, or an enemy's.
    #[error("the body of a {kind} frame is malformed: {source}")]
    Body {
        /// The kind of the frame.
        kind: Kind,
        /// What is wrong with it.
        source: BodyError,
    },
    /// As much data as the header says doesn't fit what the body says.
    #[error("a {kind} frame brings {said} bytes of data, but its body describes {described}")]
    PayloadBytes {
        /// The kind of the frame.
        kind: Kind,
        /// What the header says.
        said: u32,
        /// What the body's fields need.
        described: usize,
    },
    /// A request whose id is not above that of the one before it: it was sent already.
    #[error("request {id} came again, or out of order: request {last} came before it")]
    Replayed {
        /// Its id.
        id: u64,
        /// The id of the request before it.
        last: u64,
    },
}

/// The versions that a frame may have where it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedVersions {
    /// The handshake's layout, which is of no version.
    Handshake,
    /// Those that this side speaks.
    Spoken(Versions),
}

impl std::fmt::Display for AllowedVersions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Handshake => f.write_str("version 0, since it is of the handshake"),
            Self::Spoken(versions) => versions.fmt(f),
        }
    }
}

/// What is wrong with the fields of a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It ends within a field.
    #[error("it ends too early")]
    Truncated,
    /// Bytes follow its last field.
    #[error("{bytes} bytes follow its last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number that stands for nothing.
    #[error("{found} is no {what}")]
    Tag {
        /// What it was to stand for.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// A value outside its limits.
    #[error(transparent)]
    Value(#[from] OutOfRange),
    /// More of something than is allowed.
    #[error("{count} {what}; at most {max} are allowed")]
    Count {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Things out of order, or twice.
    #[error("{what} out of order, or twice")]
    Order {
        /// Which.
        what: &'static str,
    },
    /// Not one checksum for each block of data.
    #[error("{checksums} checksums for {blocks} blocks of data")]
    Checksums {
        /// How many checksums there are.
        checksums: usize,
        /// How many blocks of data there are.
        blocks: usize,
    },
    /// It says that more follows behind its last item, and has no item.
    #[error("more is said to follow, but there is nothing that it could follow")]
    MoreOfNothing,
}

impl FrameError {
    /// A short name to count it by.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "magic",
            Self::HeaderChecksum => "header_checksum",
            Self::Version { .. } => "version",
            Self::Kind { .. } => "kind",
            Self::Unexpected { .. } => "unexpected",
            Self::BodyTooLong { .. } | Self::BadPayload { .. } => "oversized",
            Self::HandshakeId { .. } | Self::Body { .. } | Self::PayloadBytes { .. } => "malformed",
            Self::BodyBytes { .. } => "truncated",
            Self::BodyChecksum { .. } => "body_checksum",
            Self::Replayed { .. } => "replayed",
        }
    }
}
