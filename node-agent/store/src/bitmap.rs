//! The bitmap of one segment: which of its blocks the index refers to.
//!
//! It has one owner, the shard that has the segment, so it is plain memory: no lock, no atomic.

use crate::Buffer;
use crate::format::SEGMENT_BLOCKS;

const WORDS: usize = SEGMENT_BLOCKS as usize / 64;

/// One bit for each block of a segment, and how many are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Box<[u64]>,
    live: u32,
}

impl Default for Bitmap {
    fn default() -> Self {
        Self {
            words: vec![0; WORDS].into_boxed_slice(),
            live: 0,
        }
    }
}

impl Bitmap {
    /// Marks a block live.
    ///
    /// # Panics
    /// If it is already: two places of the index would refer to one block.
    pub fn set(&mut self, block: u32) {
        let (word, bit) = Self::place(block);
        assert_eq!(self.words[word] & bit, 0, "block {block} has two owners");
        self.words[word] |= bit;
        self.live += 1;
    }

    /// Marks a block dead.
    ///
    /// # Panics
    /// If it is already.
    pub fn clear(&mut self, block: u32) {
        let (word, bit) = Self::place(block);
        assert_ne!(self.words[word] & bit, 0, "block {block} was freed twice");
        self.words[word] &= !bit;
        self.live -= 1;
    }

    /// Whether a block is live.
    pub fn is_live(&self, block: u32) -> bool {
        let (word, bit) = Self::place(block);
        self.words[word] & bit != 0
    }

    /// How many blocks are live.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// The block to write.
    pub fn encode(&self) -> Buffer {
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        Buffer::copy_of(&bytes)
    }

    /// Reads a block; what is missing counts as live, the careful guess.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut words = vec![u64::MAX; WORDS].into_boxed_slice();
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            if let Ok(bytes) = bytes.try_into() {
                *word = u64::from_le_bytes(bytes);
            }
        }
        let live = words.iter().map(|word| word.count_ones()).sum();
        Self { words, live }
    }

    fn place(block: u32) -> (usize, u64) {
        (block as usize / 64, 1 << (block % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_survive_their_block() {
        let mut bitmap = Bitmap::default();
        for block in [0, 63, 64, 32_767] {
            bitmap.set(block);
        }
        bitmap.clear(63);
        assert_eq!(bitmap.live(), 3);
        assert!(bitmap.is_live(64) && !bitmap.is_live(63));
        let block = bitmap.encode();
        assert_eq!(
            (block.len(), block[0], block[8], block[4095]),
            (4096, 1, 1, 128)
        );
        assert_eq!(Bitmap::decode(&block), bitmap);
    }

    #[test]
    #[should_panic(expected = "two owners")]
    fn a_block_has_one_owner() {
        let mut bitmap = Bitmap::default();
        bitmap.set(5);
        bitmap.set(5);
    }
}
