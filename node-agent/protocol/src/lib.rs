//! What engines and agents say to each other: messages as values, and as bytes.
//!
//! It knows no socket and no thread: bytes come in and go out as slices, and the data of blocks
//! never passes through here, so that a shell can read it from the wire to where it is wanted.
//! `docs/wire.md` gives every byte; `docs/design.md` the rules that the messages serve.
#![forbid(unsafe_code)]

mod cursor;
mod error;
mod frame;
pub mod handshake;
mod inbox;
mod kind;
pub mod limits;
mod map_file;
mod message;
mod version;
mod wire;

pub use error::{AllowedVersions, BodyError, FrameError};
pub use frame::{HEADER_BYTES, Header, MAGIC, RequestOrder};
pub use inbox::Inbox;
pub use kind::{Group, Kind};
pub use map_file::{DiskPlace, MapFile, MapFileError, NotNewer};
pub use message::{
    At, Block, ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Request, RequestId, Rule,
    ShareState, Under, Version, VersionKind,
};
pub use version::{HANDSHAKE_VERSION, VERSION, VERSION_MIN, Versions};
pub use wire::{decode_reply, decode_request, encode_reply, encode_request};
