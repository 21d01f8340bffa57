//! Rules that several messages obey. They hold for what is read and for what is written.

use crate::BodyError;
use crate::limits::PAYLOAD_BLOCKS_MAX;
use moraine_model::Checksums;

/// At most so many.
pub(super) fn count(what: &'static str, count: usize, max: usize) -> Result<(), BodyError> {
    if count > max {
        return Err(BodyError::Count { what, count, max });
    }
    Ok(())
}

/// Each item comes before the one behind it.
pub(super) fn ordered<T>(
    what: &'static str,
    items: &[T],
    comes_before: impl Fn(&T, &T) -> bool,
) -> Result<(), BodyError> {
    if items.is_sorted_by(comes_before) {
        return Ok(());
    }
    Err(BodyError::Order { what })
}

/// What is said to follow the last item needs a last item.
pub(super) fn more_of_something<T>(more: bool, items: &[T]) -> Result<(), BodyError> {
    if more && items.is_empty() {
        return Err(BodyError::MoreOfNothing);
    }
    Ok(())
}

/// As many blocks as one frame can bring.
pub(super) fn blocks_of_one_frame(blocks: u16) -> Result<(), BodyError> {
    let (blocks, max) = (usize::from(blocks), usize::from(PAYLOAD_BLOCKS_MAX));
    count("blocks", blocks, max)
}

/// One checksum for each block of data.
pub(super) fn one_for_each_block(checksums: &Checksums, blocks: usize) -> Result<(), BodyError> {
    if checksums.len() == blocks {
        return Ok(());
    }
    Err(BodyError::Checksums {
        checksums: checksums.len(),
        blocks,
    })
}
