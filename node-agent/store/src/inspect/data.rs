//! Reads blocks of data and compares them with their checksums, at the speed of the disk: in its
//! order, up to a MiB at a time and several reads in flight.
//!
//! Which blocks are worth it the caller says. A read that fails is repeated block by block, which is
//! no second try: it tells which of its blocks the disk can't read.

use super::read;
use crate::checksum;
use crate::disk::{Completion, Disk, Operation};
use crate::format::{BlockKind, Entry, Layout, Place};
use moraine_model::{BLOCK_BYTES, Cut};

/// Blocks of one read.
const WINDOW_BLOCKS: u32 = 256;
/// Blocks that nobody asked for but that are read along, since a second read costs more.
const GAP_BLOCKS: u32 = 16;
/// Reads in flight.
const DEPTH: usize = 16;

/// What is wrong with a block of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is not what was written.
    Checksum,
    /// The disk can't read it.
    Unreadable,
}

/// A block of data as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The chunk that it belongs to.
    pub place: Place,
    /// The block within it.
    pub block: u16,
    /// The cut that it was written with.
    pub cut: Cut,
    /// Where it lies on the disk.
    pub location: u32,
    /// Its checksum.
    pub checksum: u32,
}

/// The blocks of data of a segment's entries whose position `live` says yes to.
pub fn expected(
    layout: Layout,
    segment: u32,
    entries: &[Entry],
    live: impl Fn(u32) -> bool,
) -> Vec<Expected> {
    let mut wanted = Vec::new();
    for entry in entries {
        let Entry::Blocks(entry) = entry else {
            continue;
        };
        let BlockKind::Data {
            position,
            checksums,
        } = &entry.kind
        else {
            continue;
        };
        let blocks = entry.range.blocks().zip(checksums.iter());
        for (position, (block, checksum)) in (*position..).zip(blocks) {
            if live(position) {
                wanted.push(Expected {
                    place: entry.place,
                    block,
                    cut: entry.tag.cut,
                    location: layout.location(segment, position),
                    checksum: *checksum,
                });
            }
        }
    }
    wanted
}

/// Reads blocks, and hands each with its bytes to `each`, or with what is wrong: in the order of the
/// disk, but for reads that overtake each other.
pub fn read_expected<D: Disk>(
    disk: &mut D,
    mut wanted: Vec<Expected>,
    mut each: impl FnMut(&Expected, Result<&[u8], Bad>),
) {
    wanted.sort_unstable_by_key(|expected| expected.location);
    let windows = windows(&wanted);
    let failed = read_windows(disk, &windows, |expected, bytes| {
        each(expected, compared(expected, bytes));
    });
    for expected in failed.into_iter().flatten() {
        match read(disk, expected.location, 1) {
            Ok(block) => each(expected, compared(expected, &block)),
            Err(_) => each(expected, Err(Bad::Unreadable)),
        }
    }
}

fn compared<'a>(expected: &Expected, bytes: &'a [u8]) -> Result<&'a [u8], Bad> {
    if checksum(bytes) == expected.checksum {
        Ok(bytes)
    } else {
        Err(Bad::Checksum)
    }
}

/// Cuts what is wanted into pieces that are read at once.
fn windows(wanted: &[Expected]) -> Vec<&[Expected]> {
    let mut windows = Vec::new();
    let mut start = 0;
    for (nth, pair) in wanted.windows(2).enumerate() {
        let far = pair[1].location - pair[0].location > GAP_BLOCKS;
        if far || pair[1].location - wanted[start].location >= WINDOW_BLOCKS {
            windows.push(&wanted[start..=nth]);
            start = nth + 1;
        }
    }
    if start < wanted.len() {
        windows.push(&wanted[start..]);
    }
    windows
}

/// Reads each window and hands its blocks over. Gives those that the disk failed to read, with
/// nothing left in flight.
fn read_windows<'a, D: Disk>(
    disk: &mut D,
    windows: &[&'a [Expected]],
    mut each: impl FnMut(&Expected, &[u8]),
) -> Vec<&'a [Expected]> {
    let depth = disk.geometry().queue_depth.clamp(1, DEPTH);
    let mut next = windows.iter().enumerate();
    let mut completions: Vec<Completion> = Vec::new();
    let mut failed = Vec::new();
    loop {
        while disk.in_flight() < depth
            && let Some((nth, window)) = next.next()
        {
            let (Some(first), Some(last)) = (window.first(), window.last()) else {
                continue;
            };
            let blocks = last.location - first.location + 1;
            let buffer = disk.buffer(blocks as usize);
            let offset = u64::from(first.location) * BLOCK_BYTES as u64;
            let read = Operation::Read { offset, buffer };
            if disk.submit(nth as u64, read).is_err() {
                failed.push(*window);
            }
        }
        if disk.in_flight() == 0 {
            return failed;
        }
        disk.wait(&mut completions);
        for completion in completions.drain(..) {
            let nth = usize::try_from(completion.tag).unwrap_or(usize::MAX);
            let Some(window) = windows.get(nth) else {
                continue;
            };
            match (completion.outcome, completion.operation) {
                (Ok(()), Operation::Read { buffer, .. }) => {
                    let first = window.first().map_or(0, |expected| expected.location);
                    for expected in *window {
                        let at = (expected.location - first) as usize * BLOCK_BYTES;
                        each(expected, &buffer[at..at + BLOCK_BYTES]);
                    }
                    disk.recycle(buffer);
                }
                _ => failed.push(*window),
            }
        }
    }
}
