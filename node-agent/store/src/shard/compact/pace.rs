//! How fast compaction goes, and how fast data may come meanwhile.
//!
//! While there is room, compaction keeps to its rate and asks nothing of anybody. What the log takes
//! while space is low, compaction owes in proportion: so many blocks copied for each block written
//! that the room which is left lasts until the next segment comes free. The less room, the more it
//! owes, up to twice what is needed to keep even; it pays with priority over its rate. Data waits
//! when it is far behind, so writes slow down bit by bit to what compaction gives back, instead of
//! standing still when the last segment is full.

use super::super::Shard;
use super::choose::Choice;
use super::copy::ROUND_BLOCKS;
use crate::disk::Disk;
use crate::free_list::Purpose;
use moraine_model::BLOCK_BYTES;

/// Segments for each shard between where compaction begins and where data waits.
const BAND_PER_SHARD: usize = 2;
/// A disk of more than so many segments has one more segment there for each so many.
const SEGMENTS_PER_BAND: usize = 256;
/// Blocks that compaction may owe before data waits for it.
const OWED_MAX: u64 = 4 * ROUND_BLOCKS as u64;
/// Blocks copied for each block written at most: with more, the disk is full for all purposes.
const RATIO_MAX: u64 = 16;

/// The pace of a shard's compaction.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When its rate allows the next copy.
    not_before_us: u64,
    /// Blocks of the log that are accounted for.
    seen_blocks: u64,
    /// Blocks to copy for each block written, in thousandths, to keep even.
    ratio_permille: u64,
    /// Thousandths of blocks that it owes.
    owed_permille: u64,
}

impl<D: Disk> Shard<D> {
    /// Free segments between where compaction begins and where data waits.
    fn band(&self) -> usize {
        let layout = self.layout();
        BAND_PER_SHARD * layout.shards as usize + layout.segments as usize / SEGMENTS_PER_BAND
    }

    /// Whether so little is free that compaction should run.
    pub(super) fn space_is_low(&self) -> bool {
        self.compactor.free_seen <= self.free.reserve(Purpose::Data) + self.band()
    }

    /// Whether data waits for space, or is about to.
    fn is_urgent(&self) -> bool {
        self.compactor.free_seen <= self.free.reserve(Purpose::Data)
    }

    pub(super) fn begin_pace(&mut self, choice: &Choice) {
        let pace = &mut self.compactor.pace;
        let ratio = choice.live * 1000 / choice.dead.max(1);
        pace.ratio_permille = ratio.min(RATIO_MAX * 1000);
    }

    /// What was written since the last poll makes compaction owe.
    pub(super) fn keep_pace(&mut self) {
        let written = self.metrics.log_blocks - self.compactor.pace.seen_blocks;
        self.compactor.pace.seen_blocks = self.metrics.log_blocks;
        if !self.can_pay() {
            self.compactor.pace.owed_permille = 0;
        } else if written > 0 {
            let pressure = self.pressure_permille();
            let pace = &mut self.compactor.pace;
            let owed = pace.owed_permille + written * pace.ratio_permille / 1000 * pressure;
            pace.owed_permille = owed.min(2 * OWED_MAX * 1000);
        }
    }

    /// How much of the room between "low" and "data waits" is used up: 2000 is all of it, and at
    /// 1000 compaction keeps even with what is written.
    fn pressure_permille(&self) -> u64 {
        let segment = u64::from(self.layout().segment_blocks);
        let above = self
            .compactor
            .free_seen
            .saturating_sub(self.free.reserve(Purpose::Data));
        let open = self
            .log
            .open
            .as_ref()
            .map_or(0, |open| segment - u64::from(open.position));
        let spare = self.log.spare.map_or(0, |_| segment);
        let left = above as u64 * segment + open + spare;
        let whole = self.band() as u64 * segment;
        2000 * whole.saturating_sub(left) / whole
    }

    /// Whether data must wait, so that compaction is not left behind. It never waits for nothing:
    /// whoever owes so much does not wait for its rate.
    pub(in crate::shard) fn compaction_is_behind(&self) -> bool {
        self.compactor.pace.owed_permille > OWED_MAX * 1000
            && self.pressure_permille() > 1000
            && self.can_pay()
    }

    /// Whether compaction runs, or will with this poll if space is low.
    fn can_pay(&self) -> bool {
        self.compactor.is_running() || (self.has_sources() && self.compactor.free_seen > 0)
    }

    /// Whether the next step may be made now.
    pub(super) fn may_copy(&self, now_ms: u64) -> bool {
        let pace = &self.compactor.pace;
        now_ms.saturating_mul(1000) >= pace.not_before_us
            || pace.owed_permille >= u64::from(ROUND_BLOCKS) * 1000
            || self.is_urgent()
    }

    /// So many blocks are being copied.
    pub(super) fn note_copy(&mut self, blocks: u32, now_ms: u64) {
        let rate = self.options.compaction_bytes_per_s.max(1);
        let cost_us = u64::from(blocks) * BLOCK_BYTES as u64 * 1_000_000 / rate;
        let pace = &mut self.compactor.pace;
        let start_us = pace.not_before_us.max(now_ms.saturating_mul(1000));
        pace.not_before_us = start_us.saturating_add(cost_us);
        pace.owed_permille = pace.owed_permille.saturating_sub(u64::from(blocks) * 1000);
    }
}
