//! What clients write: blocks that say which write made them, so that a read tells whose it saw.

use moraine_model::BLOCK_BYTES;
use std::fmt;

/// The content of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    /// Zeros: never written, zeroed or trimmed.
    Zeros,
    /// The data of this write.
    Of(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Of(write) => write!(f, "w{write}"),
        }
    }
}

/// A block of a volume, counted from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    /// The number of the volume in the world.
    pub(crate) volume: usize,
    /// The block.
    pub(crate) block: u64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}/{}", self.volume, self.block)
    }
}

/// First word of each block of data.
const MAGIC: u64 = 0x6d6f_7261_696e_6573;

fn word(nth: u64, write: u64, spot: Spot) -> u64 {
    match nth {
        0 => MAGIC,
        1 => write,
        2 => spot.volume as u64,
        3 => spot.block,
        _ => (write ^ spot.block.rotate_left(32))
            .wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

/// The bytes that this write puts there.
pub(crate) fn bytes_of(write: u64, spot: Spot) -> Vec<u8> {
    let words = 0..(BLOCK_BYTES / 8) as u64;
    words
        .flat_map(|nth| word(nth, write, spot).to_le_bytes())
        .collect()
}

/// Whose data a block is; `None` if it is not what any write of this spot put there.
pub(crate) fn value_of(bytes: &[u8], spot: Spot) -> Option<Value> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Some(Value::Zeros);
    }
    let (write, there) = label_of(bytes)?;
    let words = (0..).zip(bytes.chunks_exact(8));
    let mut same = words.map(|(nth, bytes)| bytes == word(nth, write, spot).to_le_bytes());
    (there == spot && same.all(|same| same)).then_some(Value::Of(write))
}

/// The write and the spot that the first words of a block name, if it looks like data.
pub(crate) fn label_of(bytes: &[u8]) -> Option<(u64, Spot)> {
    let number = |nth: usize| {
        let bytes = bytes.get(nth * 8..nth * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let spot = Spot {
        volume: usize::try_from(number(2)?).ok()?,
        block: number(3)?,
    };
    (number(0)? == MAGIC).then_some((number(1)?, spot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_its_write_and_only_where_it_belongs() {
        let (spot, other) = (
            Spot {
                volume: 1,
                block: 1023,
            },
            Spot {
                volume: 0,
                block: 1023,
            },
        );
        let mut bytes = bytes_of(77, spot);
        assert_eq!(bytes.len(), BLOCK_BYTES);
        assert_eq!(value_of(&bytes, spot), Some(Value::Of(77)));
        assert_eq!(value_of(&bytes, other), None, "data of another volume");
        assert_eq!(label_of(&bytes), Some((77, spot)));
        bytes[4000] ^= 1;
        assert_eq!(value_of(&bytes, spot), None, "one bit is wrong");
        assert_eq!(value_of(&[0; BLOCK_BYTES], spot), Some(Value::Zeros));
        assert_eq!(label_of(&[0; BLOCK_BYTES]), None);
    }
}
