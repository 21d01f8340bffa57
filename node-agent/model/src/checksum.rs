//! The checksum of every block and structure, on the disk and on the wire: crc32c.
//!
//! A block's is computed once, by the engine that writes it, and goes with it to the disk and back.
//! One place to change should a format ever take another.

use crate::BLOCK_BYTES;
use std::fmt;
use std::ops::Deref;

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The checksum of each block of `data`, in order.
pub fn block_checksums(data: &[u8]) -> Checksums {
    match data.len() {
        BLOCK_BYTES => Checksums::from(checksum(data)),
        _ => data.chunks(BLOCK_BYTES).map(checksum).collect(),
    }
}

/// The checksums of blocks that follow one another. Most writes are of one block, and its checksum
/// needs no memory of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksums(Sums);

#[derive(Clone, PartialEq, Eq)]
enum Sums {
    One(u32),
    Many(Box<[u32]>),
}

impl Deref for Checksums {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match &self.0 {
            Sums::One(sum) => std::slice::from_ref(sum),
            Sums::Many(sums) => sums,
        }
    }
}

impl From<u32> for Checksums {
    fn from(sum: u32) -> Self {
        Self(Sums::One(sum))
    }
}

impl From<&[u32]> for Checksums {
    fn from(sums: &[u32]) -> Self {
        match sums {
            [sum] => Self::from(*sum),
            _ => Self(Sums::Many(sums.into())),
        }
    }
}

impl From<Vec<u32>> for Checksums {
    fn from(sums: Vec<u32>) -> Self {
        match *sums {
            [sum] => Self::from(sum),
            _ => Self(Sums::Many(sums.into())),
        }
    }
}

impl FromIterator<u32> for Checksums {
    fn from_iter<I: IntoIterator<Item = u32>>(sums: I) -> Self {
        Self::from(sums.into_iter().collect::<Vec<_>>())
    }
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The checksum of bytes that are followed by `more`, given that of the bytes alone.
pub fn checksum_append(sum: u32, more: &[u8]) -> u32 {
    crc32c::crc32c_append(sum, more)
}

/// The checksum of `bytes` as if the four at `hole` were zero.
pub fn checksum_with_hole(bytes: &[u8], hole: usize) -> u32 {
    let sum = crc32c::crc32c_append(checksum(&bytes[..hole]), &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[hole + 4..])
}
