//! Disk I/O that is waited for: formatting, opening and offline tools, where nothing else goes on.

use crate::disk::{Completion, Disk, Failure, FailureKind, Operation};
use crate::{Buffer, OpenError};
use moraine_model::BLOCK_BYTES;

/// Runs one operation to its end.
fn run<D: Disk>(disk: &mut D, operation: Operation) -> Result<Operation, Failure> {
    let lost = || Failure {
        kind: FailureKind::Io,
        source: None,
    };
    disk.submit(0, operation).map_err(|_| lost())?;
    let mut completions: Vec<Completion> = Vec::new();
    while completions.is_empty() {
        if disk.in_flight() == 0 {
            return Err(lost());
        }
        disk.wait(&mut completions);
    }
    let completion = completions.pop().ok_or_else(lost)?;
    completion.outcome.map(|()| completion.operation)
}

/// Reads some blocks.
pub(crate) fn read<D: Disk>(
    disk: &mut D,
    block: u32,
    blocks: usize,
    doing: &'static str,
) -> Result<Buffer, OpenError> {
    if blocks == 0 {
        return Ok(Buffer::zeroed(0));
    }
    let buffer = disk.buffer(blocks);
    let offset = u64::from(block) * BLOCK_BYTES as u64;
    match run(disk, Operation::Read { offset, buffer }) {
        Ok(Operation::Read { buffer, .. }) => Ok(buffer),
        Ok(_) => Err(OpenError::Io {
            doing,
            source: Failure {
                kind: FailureKind::Io,
                source: None,
            },
        }),
        Err(source) => Err(OpenError::Io { doing, source }),
    }
}

/// Reads ranges of the same length, many at a time, and hands each to `each` in any order.
pub(crate) fn read_many<D: Disk>(
    disk: &mut D,
    starts: impl Iterator<Item = u32>,
    blocks: usize,
    mut each: impl FnMut(usize, &Buffer) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let depth = disk.geometry().queue_depth.clamp(1, 64);
    let mut starts = starts.enumerate();
    let mut completions = Vec::new();
    let doing = "reading the disk";
    let mut failed = None;
    loop {
        while failed.is_none() && disk.in_flight() < depth {
            let Some((nth, start)) = starts.next() else {
                break;
            };
            let buffer = disk.buffer(blocks);
            let offset = u64::from(start) * BLOCK_BYTES as u64;
            if disk
                .submit(nth as u64, Operation::Read { offset, buffer })
                .is_err()
            {
                let source = Failure {
                    kind: FailureKind::Io,
                    source: None,
                };
                failed = Some(OpenError::Io { doing, source });
            }
        }
        // Also after a failure: a completion left behind would be taken for that of a later read.
        if disk.in_flight() == 0 {
            return failed.map_or(Ok(()), Err);
        }
        disk.wait(&mut completions);
        for completion in completions.drain(..) {
            let nth = usize::try_from(completion.tag).unwrap_or(usize::MAX);
            match (completion.outcome, completion.operation) {
                (Ok(()), Operation::Read { buffer, .. }) if failed.is_none() => {
                    failed = each(nth, &buffer).err();
                    disk.recycle(buffer);
                }
                (Err(source), _) => failed = Some(OpenError::Io { doing, source }),
                _ => {}
            }
        }
    }
}

/// Waits until nothing is in flight, whatever becomes of it.
pub(crate) fn drain<D: Disk>(disk: &mut D) {
    let mut completions = Vec::new();
    while disk.in_flight() > 0 {
        disk.wait(&mut completions);
        completions.clear();
    }
}

/// Writes some blocks durably.
pub(crate) fn write<D: Disk>(
    disk: &mut D,
    block: u32,
    buffers: Vec<Buffer>,
    doing: &'static str,
) -> Result<(), OpenError> {
    let offset = u64::from(block) * BLOCK_BYTES as u64;
    run(disk, Operation::Write { offset, buffers })
        .map(drop)
        .map_err(|source| OpenError::Io { doing, source })
}

/// Makes everything durable.
pub(crate) fn sync<D: Disk>(disk: &mut D, doing: &'static str) -> Result<(), OpenError> {
    run(disk, Operation::Sync)
        .map(drop)
        .map_err(|source| OpenError::Io { doing, source })
}
