//! What engines and agents say to each other: messages as values, and as bytes.
//!
//! It knows no socket and no thread: bytes come in and go out as slices, and the data of blocks
//! never passes through here, so that a shell can read it from the wire to where it is wanted.
//! `docs/protocol.md` gives every byte and the rules that the messages serve.
#![forbid(unsafe_code)]

pub mod limits;
mod map_file;
mod message;

pub use map_file::{DiskPlace, MapFile, MapFileError};
pub use message::{
    At, Block, ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Request, RequestId, Rule,
    ShareState, Under, Version, VersionKind,
};
