//! A segment in use, as a row.

use moraine_store::bitmap::Bitmap;
use moraine_store::format::{Entry, Head, SegmentState};
use moraine_store::inspect::{Entries, Extent, SegmentHead};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct SegmentRow {
    pub(super) segment: u32,
    pub(super) state: &'static str,
    pub(super) shard: u32,
    pub(super) incarnation: u64,
    /// Blocks of data that somebody reads; unknown if the shard can't be recovered.
    pub(super) live_blocks: Option<u32>,
    /// Unknown if the index can't be read.
    pub(super) entries: Option<usize>,
    pub(super) lsn_min: Option<u64>,
    pub(super) lsn_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreadable: Option<String>,
}

impl SegmentRow {
    /// `live` is what the shard says of the segment, if there is a shard.
    pub(super) fn new(head: &Head, found: &Extent, live: Option<&Bitmap>) -> Self {
        let unreadable = match &found.entries {
            Entries::Damaged(error) => Some(error.to_string()),
            _ => None,
        };
        let lsns = || found.entries().iter().map(Entry::lsn);
        Self {
            segment: head.segment,
            state: state(head.state),
            shard: head.shard,
            incarnation: head.incarnation,
            live_blocks: live.map(Bitmap::live),
            entries: unreadable.is_none().then(|| found.entries().len()),
            lsn_min: lsns().min(),
            lsn_max: lsns().max(),
            unreadable,
        }
    }

    /// What is wrong with it, in a sentence.
    pub(super) fn problem(&self) -> Option<String> {
        let error = self.unreadable.as_ref()?;
        Some(format!(
            "segment {}: what it holds can't be read: {error}",
            self.segment
        ))
    }
}

/// Whether something may be in it.
pub(super) fn is_used(segment: &SegmentHead) -> bool {
    let head = segment.newest();
    head.is_some_and(|head| head.state != SegmentState::Free)
}

fn state(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Free => "free",
        SegmentState::Log => "open",
        SegmentState::Scratch => "scratch",
        SegmentState::Closed => "closed",
    }
}
