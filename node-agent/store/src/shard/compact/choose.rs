//! Which extents are worth compacting. Nothing here changes anything.

use super::super::Shard;
use crate::disk::Disk;
use crate::format::{FOOTER_BLOCKS, HEAD_BLOCKS, SegmentState};

/// Sources of one compaction at most.
const SOURCES_MAX: usize = 64;
/// An extent of which less is dead (one part in so many) is left alone.
const LEAST_DEAD: u64 = 16;

/// When it was last looked for sources, and whether there were any.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// What had changed by then; `None` before the first look.
    changes: Option<u64>,
    fruitful: bool,
}

/// The sources of a compaction.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Best first.
    pub(super) sources: Vec<u32>,
    /// Blocks that their copies take.
    pub(super) live: u64,
    /// Blocks that come free.
    pub(super) dead: u64,
}

impl<D: Disk> Shard<D> {
    fn room(&self) -> u64 {
        u64::from(self.layout().segment_blocks - HEAD_BLOCKS - FOOTER_BLOCKS)
    }

    /// Whether so much has changed since the last look that another one may find something else.
    /// Looking takes time for each segment of the disk, and a full disk asks with every write.
    fn look_is_old(&self) -> bool {
        let enough = u64::from(self.layout().segment_blocks) / 64;
        let seen = self.compactor.look.changes;
        seen.is_none_or(|seen| self.segments.changes >= seen + enough)
    }

    /// Looks again if that may change anything.
    pub(super) fn look_for_sources(&mut self) {
        if !self.compactor.is_running() && self.look_is_old() {
            self.compactor.look = Look {
                changes: Some(self.segments.changes),
                fruitful: !self.choose_sources().sources.is_empty(),
            };
        }
    }

    /// There are no sources after all. Who waits for them is told with the next poll.
    pub(super) fn note_fruitless(&mut self) {
        self.compactor.work_left = true;
        self.compactor.look = Look {
            changes: Some(self.segments.changes),
            fruitful: false,
        };
    }

    /// Whether compaction would find sources.
    pub(super) fn has_sources(&self) -> bool {
        if self.look_is_old() {
            !self.choose_sources().sources.is_empty()
        } else {
            self.compactor.look.fruitful
        }
    }

    /// Closed extents worth compacting, best first: `(1 - u) * age / (1 + u)`, where u is the part
    /// that copying would take, and age is how much of the log came after the extent.
    pub(super) fn choose_sources(&self) -> Choice {
        let room = self.room();
        let mut ranked: Vec<(u64, u32, u64)> = Vec::new();
        let mut gain = 0;
        for (number, segment) in self.segments.iter() {
            let idle = !segment.busy && !segment.damaged;
            if segment.state != SegmentState::Closed || !idle || segment.is_dead() {
                continue;
            }
            let live = segment.copy_blocks().min(room);
            let dead = room - live;
            if dead * LEAST_DEAD < room {
                continue;
            }
            gain += dead;
            let age = 1 + self.log.durable_lsn.saturating_sub(segment.lsn_max);
            let worth = dead.saturating_mul(1000).saturating_mul(age) / (room + live);
            ranked.push((worth, number, live));
        }
        // All of it together must give back a segment, or copying would only turn in circles.
        if gain < room + room / 8 {
            return Choice::default();
        }
        if ranked.len() > SOURCES_MAX {
            ranked.select_nth_unstable_by(SOURCES_MAX, |a, b| b.cmp(a));
            ranked.truncate(SOURCES_MAX);
        }
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let mut choice = Choice::default();
        for (_, number, live) in ranked {
            // What it copies is an estimate: some more, so that the scratch extent gets full.
            if choice.live > room + room / 4 {
                break;
            }
            choice.sources.push(number);
            choice.live += live;
            choice.dead += room - live;
        }
        choice
    }

    /// Blocks that compaction could give back, all copying done: what is dead in closed extents.
    pub(in crate::shard) fn dead_blocks(&self) -> u64 {
        let room = self.room();
        let closed = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.state == SegmentState::Closed);
        let dead = closed.map(|(_, segment)| room.saturating_sub(segment.copy_blocks()));
        dead.sum()
    }
}
