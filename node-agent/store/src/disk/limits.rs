//! What every disk refuses before it does anything: operations outside it, not aligned, or in more
//! pieces than one system call takes.

use super::{Failure, FailureKind, Geometry, Operation};
use std::io;

/// Pieces of one vectored write; the kernel's own limit (`UIO_MAXIOV`).
pub(super) const MAX_BUFFERS: usize = 1024;

/// Whether the disk may be asked for this operation at all.
pub(super) fn check(geometry: &Geometry, operation: &Operation) -> Result<(), Failure> {
    let offset = match operation {
        Operation::Read { offset, .. }
        | Operation::Write { offset, .. }
        | Operation::Discard { offset, .. } => *offset,
        Operation::Sync => return Ok(()),
    };
    if let Operation::Write { buffers, .. } = operation
        && buffers.len() > MAX_BUFFERS
    {
        return Err(Failure {
            kind: FailureKind::OutOfRange,
            source: Some(io::Error::other("more than 1024 buffers in one write")),
        });
    }
    let unit = u64::from(geometry.logical_block_bytes);
    let size = operation.size_bytes();
    let inside = offset
        .checked_add(size)
        .is_some_and(|end| end <= geometry.size_bytes);
    if inside && offset.is_multiple_of(unit) && size.is_multiple_of(unit) {
        return Ok(());
    }
    Err(Failure {
        kind: FailureKind::OutOfRange,
        source: None,
    })
}

/// Whether there is nothing to do, so that the kernel need not be asked.
pub(super) fn is_empty(operation: &Operation) -> bool {
    !matches!(operation, Operation::Sync) && operation.size_bytes() == 0
}

/// A device that can't take a range back keeps it, and that is as good: what a discarded range
/// reads is undefined.
pub(super) fn forgive_discard(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

/// The failure for an error of the kernel.
pub(super) fn failed(source: io::Error) -> Failure {
    Failure {
        kind: FailureKind::Io,
        source: Some(source),
    }
}

/// The outcome of a transfer that moved `moved` of `wanted` bytes.
pub(super) fn whole(moved: u64, wanted: u64) -> Result<(), Failure> {
    if moved == wanted {
        return Ok(());
    }
    Err(Failure {
        kind: FailureKind::Short,
        source: None,
    })
}
