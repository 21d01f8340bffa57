//! The checksum of every block and structure on the disk: crc32c.
//!
//! One place to change should the format ever take another.

use moraine_model::BLOCK_BYTES;

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The checksum of each block of `data`, in order.
pub fn block_checksums(data: &[u8]) -> Vec<u32> {
    data.chunks(BLOCK_BYTES).map(checksum).collect()
}

/// The checksum of `bytes` as if the four at `hole` were zero.
pub(crate) fn checksum_with_hole(bytes: &[u8], hole: usize) -> u32 {
    let sum = crc32c::crc32c_append(checksum(&bytes[..hole]), &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[hole + 4..])
}
