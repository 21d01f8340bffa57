//! Memory that direct I/O takes: owned, aligned to 4096 bytes, a whole number of blocks long.
//!
//! A buffer goes to the disk with an operation and comes back with its completion, so no borrow
//! outlives a call and a kernel may write into it meanwhile. It is not shared and not counted.

use aligned_vec::{AVec, ConstAlign};
use moraine_model::BLOCK_BYTES;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Aligned memory of a fixed length.
pub struct Buffer {
    bytes: AVec<u8, ConstAlign<BLOCK_BYTES>>,
    registration: Option<Registration>,
}

/// Where a disk registered a buffer's memory with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Which pool did it; no two pools of a process have the same number, so no disk takes
    /// another's slot for its own.
    pub(crate) pool: u64,
    /// The slot in that pool's table.
    pub(crate) slot: u16,
}

impl Buffer {
    /// `blocks` blocks of zeros.
    pub fn zeroed(blocks: usize) -> Self {
        let mut bytes = AVec::with_capacity(BLOCK_BYTES, blocks * BLOCK_BYTES);
        bytes.resize(blocks * BLOCK_BYTES, 0);
        Self {
            bytes,
            registration: None,
        }
    }

    /// A copy of `data`, filled up with zeros to whole blocks.
    pub fn copy_of(data: &[u8]) -> Self {
        let blocks = data.len().div_ceil(BLOCK_BYTES);
        let mut bytes = AVec::with_capacity(BLOCK_BYTES, blocks * BLOCK_BYTES);
        bytes.extend_from_slice(data);
        bytes.resize(blocks * BLOCK_BYTES, 0);
        Self {
            bytes,
            registration: None,
        }
    }

    /// The same memory, marked as registered with the kernel. Only a disk's pool calls this, for
    /// memory that it has just registered.
    #[must_use]
    pub(crate) fn registered_as(mut self, registration: Registration) -> Self {
        self.registration = Some(registration);
        self
    }

    /// Where its disk registered this memory, if it did.
    pub const fn registration(&self) -> Option<Registration> {
        self.registration
    }

    /// How many blocks it holds.
    pub fn blocks(&self) -> usize {
        self.bytes.len() / BLOCK_BYTES
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} blocks)", self.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_whole_blocks_long() {
        for length in [1, 4096, 4097, 1 << 20] {
            let buffer = Buffer::copy_of(&vec![7; length]);
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!(buffer.len(), length.div_ceil(BLOCK_BYTES) * BLOCK_BYTES);
            assert!(buffer[..length].iter().all(|&byte| byte == 7));
            assert!(buffer[length..].iter().all(|&byte| byte == 0));
        }
    }
}
