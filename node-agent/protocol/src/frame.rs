//! The header that every frame opens with, and the making of frames.
//!
//! A frame is a header, a body and a payload. The header says how long both are; the payload is
//! whole blocks of data, and what covers them is not the frame's checksum but one for each block,
//! which stands in the body and goes with the block to the disk. So a reader takes the 32 bytes of
//! the header, then the body, then reads the payload straight into the buffer it is wanted in.

use crate::error::AllowedVersions;
use crate::limits::BODY_BYTES_MAX;
use crate::{FrameError, Group, HANDSHAKE_VERSION, Kind, RequestId, VERSION, Versions};
use moraine_model::{BLOCK_BYTES, checksum};
use std::ops::Range;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// What every frame begins with: `MORA`.
pub const MAGIC: [u8; 4] = *b"MORA";

/// Where the fields of a header lie. No version changes them.
mod at {
    use super::Range;

    const fn after(field: &Range<usize>, bytes: usize) -> Range<usize> {
        field.end..field.end + bytes
    }

    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: Range<usize> = after(&MAGIC, 2);
    pub(super) const KIND: Range<usize> = after(&VERSION, 2);
    pub(super) const ID: Range<usize> = after(&KIND, 8);
    pub(super) const BODY_BYTES: Range<usize> = after(&ID, 4);
    pub(super) const PAYLOAD_BYTES: Range<usize> = after(&BODY_BYTES, 4);
    pub(super) const BODY_CHECKSUM: Range<usize> = after(&PAYLOAD_BYTES, 4);
    pub(super) const HEADER_CHECKSUM: Range<usize> = after(&BODY_CHECKSUM, 4);
    const _: () = assert!(HEADER_CHECKSUM.end == super::HEADER_BYTES);
}

/// The header of a frame that may follow: everything in it is within its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    version: u16,
    kind: Kind,
    id: u64,
    body_bytes: u32,
    payload_bytes: u32,
    body_checksum: u32,
}

impl Header {
    /// Reads a header. Nothing has been allocated for the frame yet, and what the header says of its
    /// sizes can be: they are within the limits of its kind.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        if bytes[at::MAGIC] != MAGIC {
            let found = u32::from_be_bytes(field(bytes, at::MAGIC));
            return Err(FrameError::Magic { found });
        }
        let said = u32::from_le_bytes(field(bytes, at::HEADER_CHECKSUM));
        if said != checksum(&bytes[..at::HEADER_CHECKSUM.start]) {
            return Err(FrameError::HeaderChecksum);
        }
        let number = u16::from_le_bytes(field(bytes, at::KIND));
        let kind = Kind::with_number(number).ok_or(FrameError::Kind { found: number })?;
        let header = Self {
            version: u16::from_le_bytes(field(bytes, at::VERSION)),
            kind,
            id: u64::from_le_bytes(field(bytes, at::ID)),
            body_bytes: u32::from_le_bytes(field(bytes, at::BODY_BYTES)),
            payload_bytes: u32::from_le_bytes(field(bytes, at::PAYLOAD_BYTES)),
            body_checksum: u32::from_le_bytes(field(bytes, at::BODY_CHECKSUM)),
        };
        header.check_version()?;
        header.check_sizes()?;
        Ok(header)
    }

    fn check_version(&self) -> Result<(), FrameError> {
        let (kind, found) = (self.kind, self.version);
        let (is_allowed, allowed) = match kind.group() {
            Group::Handshake => (found == HANDSHAKE_VERSION, AllowedVersions::Handshake),
            Group::Request | Group::Reply => {
                let ours = Versions::OURS;
                (ours.contains(found), AllowedVersions::Spoken(ours))
            }
        };
        if is_allowed {
            return Ok(());
        }
        Err(FrameError::Version {
            kind,
            found,
            allowed,
        })
    }

    fn check_sizes(&self) -> Result<(), FrameError> {
        let (kind, id) = (self.kind, self.id);
        let (bytes, max) = (self.body_bytes, kind.body_bytes_max());
        if bytes as usize > max {
            return Err(FrameError::BodyTooLong { kind, bytes, max });
        }
        let (bytes, max) = (self.payload_bytes, kind.payload_bytes_max());
        if bytes as usize > max || !(bytes as usize).is_multiple_of(BLOCK_BYTES) {
            return Err(FrameError::BadPayload { kind, bytes, max });
        }
        if kind.group() == Group::Handshake && id != 0 {
            return Err(FrameError::HandshakeId { kind, id });
        }
        Ok(())
    }

    /// Refuses a frame of another part of the protocol. To be asked before its body is read: what
    /// may come before a peer has proved itself is small.
    pub fn expect(&self, group: Group) -> Result<(), FrameError> {
        if self.kind.group() == group {
            return Ok(());
        }
        Err(FrameError::Unexpected {
            kind: self.kind,
            expected: group,
        })
    }

    /// What the frame is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The version that it is written in.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// The request that it is, or that it answers.
    pub const fn id(&self) -> RequestId {
        RequestId(self.id)
    }

    /// Bytes of the body.
    pub const fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }

    /// Bytes of data behind the body, a multiple of [`BLOCK_BYTES`].
    pub const fn payload_bytes(&self) -> usize {
        self.payload_bytes as usize
    }

    /// Holds a body against its length and checksum.
    pub(crate) fn check_body(&self, body: &[u8]) -> Result<(), FrameError> {
        let kind = self.kind;
        if body.len() != self.body_bytes() {
            return Err(FrameError::BodyBytes {
                kind,
                found: body.len(),
                said: self.body_bytes,
            });
        }
        if checksum(body) != self.body_checksum {
            return Err(FrameError::BodyChecksum { kind });
        }
        Ok(())
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[at::MAGIC].copy_from_slice(&MAGIC);
        bytes[at::VERSION].copy_from_slice(&self.version.to_le_bytes());
        bytes[at::KIND].copy_from_slice(&self.kind.number().to_le_bytes());
        bytes[at::ID].copy_from_slice(&self.id.to_le_bytes());
        bytes[at::BODY_BYTES].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[at::PAYLOAD_BYTES].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[at::BODY_CHECKSUM].copy_from_slice(&self.body_checksum.to_le_bytes());
        let sum = checksum(&bytes[..at::HEADER_CHECKSUM.start]);
        bytes[at::HEADER_CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// The bytes of a field.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], range: Range<usize>) -> [u8; N] {
    let bytes = &bytes[range];
    bytes.try_into().expect("each field is read as what it is")
}

/// Appends header and body of a frame; `body` appends the latter.
///
/// # Panics
/// If the frame is beyond the limits of its kind: its message was to be checked before.
pub(crate) fn put_frame(
    kind: Kind,
    id: u64,
    payload_bytes: usize,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    body(out);
    let bytes = &out[start + HEADER_BYTES..];
    assert!(
        bytes.len() <= BODY_BYTES_MAX && payload_bytes <= kind.payload_bytes_max(),
        "a message within its own limits fits into a frame"
    );
    let version = match kind.group() {
        Group::Handshake => HANDSHAKE_VERSION,
        Group::Request | Group::Reply => VERSION,
    };
    let size = |bytes: usize| u32::try_from(bytes).expect("it is below the limit, as asserted");
    let header = Header {
        version,
        kind,
        id,
        body_bytes: size(bytes.len()),
        payload_bytes: size(payload_bytes),
        body_checksum: checksum(bytes),
    };
    header
        .check_sizes()
        .expect("a message within its own limits fits into a frame");
    out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
}

/// Refuses requests that came already.
///
/// The ids of the requests on one connection grow, from each to the next, so that a frame which is
/// sent a second time is known by its id. (Replies come in any order; the asker knows what it asked.)
#[derive(Debug, Default)]
pub struct RequestOrder {
    last: Option<u64>,
}

impl RequestOrder {
    /// Takes the next request of the connection.
    pub fn accept(&mut self, header: &Header) -> Result<(), FrameError> {
        if let Some(last) = self.last
            && header.id <= last
        {
            let id = header.id;
            return Err(FrameError::Replayed { id, last });
        }
        self.last = Some(header.id);
        Ok(())
    }
}
