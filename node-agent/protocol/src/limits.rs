//! Limits of the protocol: what is beyond them is refused, never buffered.

use moraine_model::{BLOCK_BYTES, CHUNK_BLOCKS};

/// Most blocks of data in one request or reply: 1 MiB.
pub const PAYLOAD_BLOCKS_MAX: u16 = 256;
/// Most bytes of data in one frame.
pub const PAYLOAD_BYTES_MAX: usize = PAYLOAD_BLOCKS_MAX as usize * BLOCK_BYTES;
/// Most bytes of a frame between its header and its data; [`crate::Kind::body_bytes_max`] says for
/// each kind how many of them it can use.
pub const BODY_BYTES_MAX: usize = 512 << 10;
/// The same for frames of the handshake, which come from peers that have proved nothing yet.
pub const HANDSHAKE_BODY_BYTES_MAX: usize = 512;
/// Most chunks in one answer to [`crate::Request::Chunks`].
pub const CHUNKS_MAX: usize = 4096;
/// Most layers of a chunk that an answer names; a chunk has one for each cut in which it was
/// written and that somebody still reads.
pub const LAYERS_MAX: usize = 4096;
/// Most versions in one answer: each block of a chunk once.
pub const VERSIONS_MAX: usize = CHUNK_BLOCKS as usize;
/// Most shares in one answer to [`crate::Request::Shares`].
pub const SHARES_MAX: usize = 64;
/// Most names (deleted snapshots, references of clones) in such an answer, of all its shares
/// together. So one share may have many, as long as fewer shares go beside it.
pub const NAMES_MAX: usize = 16_384;
/// Most requests of one connection that may be unanswered, unless the agent grants fewer.
pub const CREDITS_MAX: u32 = 1024;
