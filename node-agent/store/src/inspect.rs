//! What lies on a disk, piece by piece, for offline tools: both copies of everything, each with what
//! is wrong with it.
//!
//! It reads only, and a piece that is damaged or can't be read keeps none of the others from being
//! looked at. It judges nothing: what a finding means, and what to do about it, is the tool's
//! matter. Recovery, which refuses a shard that lost something, is in `shard/recover.rs`.

mod bitmaps;
mod data;
mod records;

pub use crate::shard::recover::extent::{Entries, Extent, extent};
pub use bitmaps::{Suspect, Verdict, suspects, verdict};
pub use data::{Bad, Expected, expected, read_expected};
pub use records::meaning;

use crate::disk::{Disk, Failure};
use crate::format::{FormatError, HEAD_BLOCKS, Head, SUPERBLOCKS, SegmentState, Superblock};
use crate::free_list::{FreeList, FreeSegment};
use crate::open::{OpenedSegment, head_copies};
use crate::{Buffer, OpenError, Opened, blocking};
use std::sync::Arc;
use thiserror::Error;

/// Why one copy of a structure is of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// What was read is not the structure.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The disk failed to read it.
    #[error("the disk can't read it: {0}")]
    Unreadable(#[source] Failure),
}

/// One copy of a segment's head.
#[derive(Debug, Clone, Copy)]
pub struct HeadCopy {
    /// The head itself.
    pub head: Head,
    /// Whether the bitmap beside it is the one that it was written with.
    pub bitmap_whole: bool,
}

/// The head of a segment, in both copies.
#[derive(Debug)]
pub struct SegmentHead {
    /// The segment.
    pub number: u32,
    /// The copies, in the order of the disk.
    pub copies: [Result<HeadCopy, CopyError>; 2],
    /// The bitmap beside the newest copy, if it is whole.
    bitmap: Option<Buffer>,
}

impl SegmentHead {
    /// The copy that counts: the newest that is whole.
    pub fn newest(&self) -> Option<Head> {
        let heads = self.copies.iter().flatten().map(|copy| copy.head);
        heads.max_by_key(|head| head.sequence)
    }

    /// The bitmap block beside the newest copy; `None` if it is torn.
    pub fn bitmap(&self) -> Option<&[u8]> {
        self.bitmap.as_deref()
    }
}

/// What recovery is to make of the bitmaps on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bitmaps {
    /// What they call dead is skipped, as always.
    Trusted,
    /// Everything is looked at. The outcome must be the same, unless a bitmap is wrong.
    Ignored,
}

/// Both copies of the superblock.
pub fn superblocks<D: Disk>(disk: &mut D) -> [Result<Superblock, CopyError>; 2] {
    SUPERBLOCKS.map(|copy| {
        let block = read(disk, copy, 1)?;
        Ok(Superblock::decode(&block)?)
    })
}

/// Both copies of the head of a segment.
pub fn head<D: Disk>(disk: &mut D, superblock: &Superblock, number: u32) -> SegmentHead {
    let first = superblock.layout.first_block(number);
    let half = HEAD_BLOCKS / 2;
    let copies = [first, first + half].map(|at| {
        let blocks = read(disk, at, half as usize)?;
        let copy = head_copies(superblock, number, &blocks).next();
        // Two blocks are one copy.
        Ok(copy.ok_or(FormatError::Magic("segment head"))??)
    });
    let mut bitmap = None;
    let mut newest = 0;
    let copies = copies.map(|copy: Result<OpenedSegment, CopyError>| {
        let OpenedSegment {
            head,
            bitmap: found,
        } = copy?;
        let bitmap_whole = found.is_some();
        if head.sequence >= newest {
            newest = head.sequence;
            bitmap = found;
        }
        Ok(HeadCopy { head, bitmap_whole })
    });
    SegmentHead {
        number,
        copies,
        bitmap,
    }
}

/// An opened disk made of heads that were looked at one by one. Segments without a whole head are
/// left out: what was in them is missing then, and older versions may show where it was. So this
/// is for looking, through an [`OverlayDisk`](crate::disk::OverlayDisk), and never for serving.
pub fn opened_despite_damage(
    superblock: Superblock,
    heads: &[SegmentHead],
    bitmaps: Bitmaps,
) -> Opened {
    let (mut free, mut segments) = (Vec::new(), Vec::new());
    for segment in heads {
        let Some(head) = segment.newest() else {
            continue;
        };
        if head.state == SegmentState::Free {
            free.push(FreeSegment {
                number: segment.number,
                incarnation: head.incarnation,
                head_sequence: head.sequence,
            });
            continue;
        }
        let bitmap = segment.bitmap().filter(|_| bitmaps == Bitmaps::Trusted);
        segments.push(OpenedSegment {
            head,
            bitmap: bitmap.map(Buffer::copy_of),
        });
    }
    Opened {
        superblock,
        free: Arc::new(FreeList::new(superblock.layout.shards, free)),
        segments,
    }
}

/// Reads some blocks; a part of the disk that isn't there is a failure like any other.
pub(crate) fn read<D: Disk>(disk: &mut D, block: u32, blocks: usize) -> Result<Buffer, CopyError> {
    blocking::read(disk, block, blocks, "looking at the disk").map_err(|error| match error {
        OpenError::Io { source, .. } => CopyError::Unreadable(source),
        // Reading gives no other error; this is the nearest.
        _ => CopyError::Format(FormatError::Magic("block")),
    })
}
