//! What verified blocks hold: a pattern that says of itself which write made it.
//!
//! A block begins with a mark, the seed, its own number and the sequence of the write; the rest
//! follows from these. So a block that is torn, misplaced or of another write is known by looking
//! at it alone.

use super::random::Random;
use moraine_model::BLOCK_BYTES;

const MARK: u64 = u64::from_be_bytes(*b"MORAINE!");
const WORD: usize = 8;

/// What a block was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Zeros: never written, or trimmed.
    Zeros,
    /// The whole pattern of this write.
    Write(u64),
    /// Anything else.
    Garbage,
}

/// Fills a block.
pub(crate) fn fill(block: &mut [u8], seed: u64, number: u64, sequence: u64) {
    let words = block
        .chunks_exact_mut(WORD)
        .zip(words(seed, number, sequence));
    for (bytes, word) in words {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// Looks at a block.
pub(crate) fn look(block: &[u8], seed: u64, number: u64) -> Found {
    let word = |nth: usize| {
        let bytes = &block[nth * WORD..(nth + 1) * WORD];
        u64::from_le_bytes(bytes.try_into().expect("a word has 8 bytes"))
    };
    if word(0) != MARK {
        let is_zero = block.iter().all(|byte| *byte == 0);
        return if is_zero {
            Found::Zeros
        } else {
            Found::Garbage
        };
    }
    let sequence = word(3);
    let expected = words(seed, number, sequence).take(BLOCK_BYTES / WORD);
    let is_whole = expected.enumerate().all(|(nth, value)| word(nth) == value);
    if is_whole {
        Found::Write(sequence)
    } else {
        Found::Garbage
    }
}

fn words(seed: u64, number: u64, sequence: u64) -> impl Iterator<Item = u64> {
    let mut random = Random::new(seed ^ number.rotate_left(32) ^ sequence);
    let rest = std::iter::repeat_with(move || random.next());
    [MARK, seed, number, sequence].into_iter().chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_which_write_made_it() {
        let mut block = vec![0; BLOCK_BYTES];
        assert_eq!(look(&block, 1, 2), Found::Zeros);
        fill(&mut block, 1, 2, 3);
        assert_eq!(look(&block, 1, 2), Found::Write(3));
        assert_eq!(look(&block, 1, 4), Found::Garbage, "of another place");
        assert_eq!(look(&block, 5, 2), Found::Garbage, "of another run");
        for torn in [8, 31, BLOCK_BYTES - 1] {
            let mut block = block.clone();
            block[torn] ^= 1;
            assert_eq!(look(&block, 1, 2), Found::Garbage, "byte {torn}");
        }
    }
}
