//! One extent as it lies on the disk, for offline tools: recovery's eyes without its judgement.
//!
//! Recovery takes all extents of a shard together and refuses the shard when something is lost. Here
//! each extent is looked at alone, and what can't be read is said of it alone.

use super::super::segments::SegmentTable;
use super::footer_of;
use super::scan::Scan;
use crate::OpenError;
use crate::disk::Disk;
use crate::format::{
    Entry, FOOTER_BLOCKS, Footer, FormatError, Head, SegmentState, Superblock, decode_index,
};
use crate::inspect::{CopyError, read};

/// What an extent says that it holds.
#[derive(Debug)]
pub enum Entries {
    /// Its index.
    Index(Vec<Entry>),
    /// The batches of one that is still open, up to the first that is not right. The last ones may
    /// be torn: recovery takes those only that were acknowledged or are whole.
    Batches(Vec<Entry>),
    /// The segment is free or a scratch extent: nothing in it counts.
    None,
    /// It can't be read.
    Damaged(CopyError),
}

/// What was found in one segment.
#[derive(Debug)]
pub struct Extent {
    /// The copies of its footer; only a closed extent must have them.
    pub footers: [Result<Footer, CopyError>; 2],
    /// What it holds.
    pub entries: Entries,
}

impl Extent {
    /// The entries, none if they can't be read.
    pub fn entries(&self) -> &[Entry] {
        match &self.entries {
            Entries::Index(entries) | Entries::Batches(entries) => entries,
            Entries::None | Entries::Damaged(_) => &[],
        }
    }
}

/// Looks at the extent in the segment that has this head.
pub fn extent<D: Disk>(disk: &mut D, superblock: &Superblock, head: &Head) -> Extent {
    let segments = SegmentTable::new(*superblock, head.shard);
    let layout = superblock.layout;
    let last = layout.segment_blocks - FOOTER_BLOCKS;
    let footers = [last, last + 1].map(|position| {
        let at = layout.location(head.segment, position);
        let block = read(disk, at, 1)?;
        let footer = Footer::decode(&block, layout.segment_blocks)?;
        let ours = footer_of(&block, &segments, head.segment, head.incarnation);
        let foreign = FormatError::Field {
            what: "footer",
            field: "disk id, segment number, shard or incarnation",
        };
        Ok(ours.filter(|ours| *ours == footer).ok_or(foreign)?)
    });
    let footer = footers.iter().flatten().next().copied();
    let entries = match (head.state, footer) {
        (SegmentState::Free | SegmentState::Scratch, _) => Entries::None,
        (SegmentState::Closed | SegmentState::Log, Some(footer)) => {
            let at = layout.location(head.segment, footer.index_position);
            let entries = read(disk, at, footer.index_blocks())
                .and_then(|bytes| Ok(decode_index(&footer, &bytes)?));
            entries.map_or_else(Entries::Damaged, Entries::Index)
        }
        (SegmentState::Closed, None) => Entries::Damaged(FormatError::Magic("footer").into()),
        (SegmentState::Log, None) => match Scan::of(disk, &segments, head) {
            Ok(scan) => Entries::Batches(scan.into_entries()),
            Err(OpenError::Io { source, .. }) => Entries::Damaged(CopyError::Unreadable(source)),
            Err(_) => Entries::Damaged(FormatError::Magic("batch header").into()),
        },
    };
    Extent { footers, entries }
}
