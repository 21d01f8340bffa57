//! Formatting a disk, and opening one: what it is, whose it is, and who has which segment.
//!
//! Nothing is written before everything is known to be right. The shards' own recovery is in
//! `shard/recover.rs`.

use crate::blocking;
use crate::disk::Disk;
use crate::format::{
    FormatError, HEAD_BLOCKS, Head, Layout, SEGMENT_BLOCKS, SUPERBLOCKS, SegmentState, Superblock,
    decode_header,
};
use crate::free_list::{FreeList, FreeSegment};
use crate::{Buffer, OpenError, checksum};
use moraine_model::{BLOCK_BYTES, ClusterId, DiskId};
use std::sync::Arc;

/// How a disk is to be formatted.
#[derive(Debug, Clone, Copy)]
pub struct FormatOptions {
    /// The cluster that it will belong to.
    pub cluster: ClusterId,
    /// The id that it gets.
    pub disk: DiskId,
    /// Shards, for the life of the disk.
    pub shards: u32,
    /// Blocks of a segment; [`SEGMENT_BLOCKS`] but for trials.
    pub segment_blocks: u32,
    /// Overwrite what is there.
    pub wipe: bool,
    /// The time, for the superblock.
    pub now_ms: u64,
}

impl FormatOptions {
    /// The usual: segments of 128 MiB, one shard, nothing overwritten.
    pub fn new(cluster: ClusterId, disk: DiskId) -> Self {
        Self {
            cluster,
            disk,
            shards: 1,
            segment_blocks: SEGMENT_BLOCKS,
            wipe: false,
            now_ms: 0,
        }
    }
}

/// What opening a disk finds, before any shard recovers.
#[derive(Debug)]
pub struct Opened {
    /// Whose disk it is and how it is cut up.
    pub superblock: Superblock,
    /// The segments that nobody has, shared by all shards.
    pub free: Arc<FreeList>,
    pub(crate) segments: Vec<OpenedSegment>,
}

/// A segment in use, as its head says.
#[derive(Debug)]
pub(crate) struct OpenedSegment {
    pub(crate) head: Head,
    /// The bitmap beside the head.
    pub(crate) bitmap: Option<Buffer>,
}

/// Signatures of other users of disks: byte offset, bytes, name.
const SIGNATURES: [(usize, &[u8], &str); 9] = [
    (0x438, &[0x53, 0xef], "an ext file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (4096, b"EFI PART", "a partition table (GPT)"),
    (4086, b"SWAPSPACE2", "swap space"),
    (510, &[0x55, 0xaa], "a partition table (MBR)"),
];
/// Blocks at the start of the disk that are searched for signatures.
const SEARCHED_BLOCKS: usize = 32;

fn recognise<D: Disk>(disk: &mut D) -> Result<&'static str, OpenError> {
    let blocks = disk.geometry().size_bytes / BLOCK_BYTES as u64;
    let blocks = usize::try_from(blocks)
        .unwrap_or(usize::MAX)
        .min(SEARCHED_BLOCKS);
    let start = blocking::read(disk, 0, blocks, "reading the start of the disk")?;
    if start.starts_with(b"MORAINE!") {
        return Ok("a Moraine store");
    }
    for (offset, signature, name) in SIGNATURES {
        if start
            .get(offset..)
            .is_some_and(|bytes| bytes.starts_with(signature))
        {
            return Ok(name);
        }
    }
    Ok(if start.iter().all(|&byte| byte == 0) {
        BLANK
    } else {
        "data of an unknown kind"
    })
}

const BLANK: &str = "nothing";

/// Formats a disk.
///
/// Heads first, superblocks last, each step durable before the next: a disk without a superblock
/// is not ours, so a crash leaves an unformatted disk.
pub fn format<D: Disk>(disk: &mut D, options: &FormatOptions) -> Result<Superblock, OpenError> {
    let size_bytes = disk.geometry().size_bytes;
    let layout = Layout::for_size(size_bytes, options.segment_blocks, options.shards).ok_or(
        OpenError::TooSmall {
            size_bytes,
            shards: options.shards,
        },
    )?;
    let found = recognise(disk)?;
    if found != BLANK && !options.wipe {
        return Err(OpenError::NotBlank { found });
    }
    let superblock = Superblock {
        cluster: options.cluster,
        disk: options.disk,
        layout,
        formatted_at_ms: options.now_ms,
    };
    // An old superblock must not outlive the heads that it goes with.
    for copy in SUPERBLOCKS {
        blocking::write(disk, copy, vec![Buffer::zeroed(1)], "wiping the superblock")?;
    }
    for segment in 0..layout.segments {
        let buffers = [1, 2].map(|sequence| free_head(options.disk, segment, 0, sequence));
        let [first, second] = buffers;
        // Copy `sequence mod 2` holds a head, so the second one comes first on the disk.
        let buffers = second.into_iter().chain(first).collect();
        blocking::write(
            disk,
            layout.first_block(segment),
            buffers,
            "writing segment heads",
        )?;
    }
    blocking::sync(disk, "formatting")?;
    for copy in SUPERBLOCKS.iter().rev() {
        let block = Buffer::copy_of(&superblock.encode());
        blocking::write(disk, *copy, vec![block], "writing the superblock")?;
    }
    blocking::sync(disk, "formatting")?;
    Ok(superblock)
}

/// One copy of the head of a free segment: head block and an empty bitmap.
pub(crate) fn free_head(
    disk: DiskId,
    segment: u32,
    incarnation: u64,
    sequence: u64,
) -> Vec<Buffer> {
    let bitmap = Buffer::zeroed(1);
    let head = Head {
        disk,
        segment,
        state: SegmentState::Free,
        incarnation,
        shard: 0,
        bitmap_checksum: checksum(&bitmap),
        sequence,
        bitmap_lsn: 0,
    };
    vec![Buffer::copy_of(&head.encode()), bitmap]
}

/// The superblock of a disk, from whichever copy is whole.
pub fn read_superblock<D: Disk>(disk: &mut D) -> Result<Superblock, OpenError> {
    let size_bytes = disk.geometry().size_bytes;
    let mut errors = Vec::new();
    for copy in SUPERBLOCKS {
        if u64::from(copy + 1) * BLOCK_BYTES as u64 > size_bytes {
            continue;
        }
        let block = blocking::read(disk, copy, 1, "reading the superblock")?;
        match Superblock::decode(&block) {
            Ok(superblock) => return Ok(superblock),
            Err(error) => errors.push(error),
        }
    }
    let worst = errors
        .iter()
        .find(|error| matches!(error, FormatError::Version { .. }));
    let worst = worst.or_else(|| errors.iter().find(|e| !matches!(e, FormatError::Magic(_))));
    match worst {
        Some(&version @ FormatError::Version { .. }) => Err(OpenError::UnknownVersion(version)),
        Some(&damage) => Err(OpenError::SuperblockDamaged(damage)),
        None => Err(OpenError::NotFormatted {
            found: recognise(disk)?,
        }),
    }
}

/// Opens a disk of this cluster. Reads only.
pub fn open<D: Disk>(disk: &mut D, cluster: ClusterId) -> Result<Opened, OpenError> {
    let superblock = read_superblock(disk)?;
    if superblock.cluster != cluster {
        return Err(OpenError::ForeignCluster {
            expected: cluster,
            found: superblock.cluster,
        });
    }
    let layout = superblock.layout;
    let size_bytes = disk.geometry().size_bytes;
    if size_bytes < layout.size_bytes() {
        return Err(OpenError::Truncated {
            size_bytes,
            needed_bytes: layout.size_bytes(),
        });
    }
    let numbers: Vec<u32> = (0..layout.segments).collect();
    let (free, segments) = read_heads(disk, &superblock, &numbers)?;
    let free = Arc::new(FreeList::new(layout.shards, free));
    Ok(Opened {
        superblock,
        free,
        segments,
    })
}

/// Opens again those segments that a stopped shard had, while other shards go on: what of them is
/// free now goes to the free list.
pub(crate) fn reopen<D: Disk>(
    disk: &mut D,
    superblock: Superblock,
    free: Arc<FreeList>,
    numbers: &[u32],
) -> Result<Opened, OpenError> {
    let (freed, segments) = read_heads(disk, &superblock, numbers)?;
    for segment in freed {
        free.give(segment);
    }
    Ok(Opened {
        superblock,
        free,
        segments,
    })
}

/// The heads of some segments: those free, and those in use.
fn read_heads<D: Disk>(
    disk: &mut D,
    superblock: &Superblock,
    numbers: &[u32],
) -> Result<(Vec<FreeSegment>, Vec<OpenedSegment>), OpenError> {
    let (mut free, mut segments) = (Vec::new(), Vec::new());
    let starts = numbers
        .iter()
        .map(|&number| superblock.layout.first_block(number));
    blocking::read_many(disk, starts, HEAD_BLOCKS as usize + 1, |nth, buffer| {
        let Some(&number) = numbers.get(nth) else {
            return Ok(());
        };
        let opened = newest_head(superblock, number, buffer)?;
        if opened.head.state == SegmentState::Free {
            free.push(FreeSegment {
                number,
                incarnation: opened.head.incarnation,
                head_sequence: opened.head.sequence,
            });
        } else {
            segments.push(opened);
        }
        Ok(())
    })?;
    segments.sort_by_key(|segment| segment.head.segment);
    Ok((free, segments))
}

/// Both copies of a segment's head, or what is wrong with each.
pub(crate) fn head_copies(
    superblock: &Superblock,
    segment: u32,
    blocks: &[u8],
) -> impl Iterator<Item = Result<OpenedSegment, FormatError>> {
    blocks.chunks_exact(2 * BLOCK_BYTES).map(move |copy| {
        let (head, bitmap) = copy.split_at(BLOCK_BYTES);
        let head = Head::decode(head)?;
        let ours = head.disk == superblock.disk
            && head.segment == segment
            && head.shard < superblock.layout.shards;
        if !ours {
            return Err(FormatError::Field {
                what: "segment head",
                field: "disk id, segment number or shard",
            });
        }
        let whole = checksum(bitmap) == head.bitmap_checksum;
        Ok(OpenedSegment {
            head,
            bitmap: whole.then(|| Buffer::copy_of(bitmap)),
        })
    })
}

/// The newest valid copy of a head, from the blocks of both and the one behind them.
fn newest_head(
    superblock: &Superblock,
    segment: u32,
    blocks: &[u8],
) -> Result<OpenedSegment, OpenError> {
    // A copy with a torn bitmap beside a whole head counts, but only its head: without a bitmap
    // everything is looked at.
    let newest = head_copies(superblock, segment, blocks)
        .filter_map(Result::ok)
        .max_by_key(|copy| copy.head.sequence)
        .ok_or(OpenError::Damaged {
            segment,
            what: "both copies of its head are unreadable",
        })?;
    // A head is durable in both copies before the first batch behind it: if that knows of a newer
    // one, the newer head is lost, and the older would give a full extent away as free.
    let batch = blocks.chunks_exact(BLOCK_BYTES).nth(HEAD_BLOCKS as usize);
    let batch = batch.and_then(|block| decode_header(block, superblock.layout.segment_blocks).ok());
    let newer = batch.is_some_and(|batch| {
        (batch.identity.disk, batch.identity.segment) == (superblock.disk, segment)
            && batch.identity.incarnation > newest.head.incarnation
    });
    if newer {
        return Err(OpenError::Damaged {
            segment,
            what: "its newest head is lost",
        });
    }
    Ok(newest)
}
