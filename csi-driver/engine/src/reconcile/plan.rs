//! Which versions of one layer of a chunk count, and what must be written so that every listed
//! replica holds the same. Pure: answers of replicas in, writes out.

use crate::verify::Found;
use moraine_model::{BlockRange, CHUNK_BLOCKS, Cut, Epoch, Stamp};
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;
use moraine_protocol::{Version, VersionKind};

/// What one listed replica holds of the layer.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) in_sync: bool,
    /// The epoch since which it is listed.
    pub(super) since: Epoch,
    pub(super) versions: &'a [Version],
}

/// Where the content of a write comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: zeros.
    Zero,
    /// What the replica at this slot shows at the layer's cut.
    Shown(u8),
}

/// A write to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fix {
    pub(super) range: BlockRange,
    pub(super) source: Source,
}

/// The version of each block of a chunk.
struct Blocks(Vec<Option<Version>>);

impl Blocks {
    fn of(versions: &[Version]) -> Self {
        let mut blocks = vec![None; usize::from(CHUNK_BLOCKS)];
        for version in versions {
            for block in version.range.blocks() {
                blocks[usize::from(block)] = Some(*version);
            }
        }
        Self(blocks)
    }

    fn at(&self, block: u16) -> Option<Version> {
        self.0[usize::from(block)]
    }

    fn stamp(&self, block: u16) -> Option<Stamp> {
        self.at(block).map(|version| version.tag.stamp)
    }
}

/// The writes that bring these blocks to one state, given what replicas hold of the layer by slot,
/// the greatest mark of one in sync, and which versions can't be read.
///
/// A block is looked at if a replica holds a version above the mark; of a syncing one only those
/// count that were written to it since it was listed. The newest stamp that one in sync holds is
/// right: one that only a syncing replica holds was never acknowledged. If none in sync has a
/// version, what it shows at the cut is right. Nothing is written if all listed replicas hold
/// exactly that stamp.
pub(super) fn plan(
    top: Stamp,
    range: BlockRange,
    held: &[Held<'_>],
    damaged: impl Fn(u8, u16) -> bool,
) -> Vec<Fix> {
    let blocks: Vec<Blocks> = held.iter().map(|held| Blocks::of(held.versions)).collect();
    let slots = || (0_u8..).zip(held.iter().zip(&blocks));
    let mut fixes: Vec<Fix> = Vec::new();
    for block in range.blocks() {
        let counts = slots().any(|(_, (held, blocks))| {
            let tag = blocks.at(block).map(|version| version.tag);
            tag.is_some_and(|tag| tag.stamp > top && (held.in_sync || tag.epoch >= held.since))
        });
        let sound = slots().filter(|(slot, (held, _))| held.in_sync && !damaged(*slot, block));
        // Of several with the newest, the first: longer runs come from one source.
        let best =
            sound.max_by_key(|(slot, (_, blocks))| (blocks.stamp(block), std::cmp::Reverse(*slot)));
        // Damaged on all in sync: it stays, and whoever reads it is told so. It can't have been
        // acknowledged and be missing on a syncing replica whose copy is past it (I1, I6).
        let Some((slot, (_, best))) = best.filter(|_| counts) else {
            continue;
        };
        let stamp = best.stamp(block);
        if slots().all(|(_, (_, blocks))| blocks.stamp(block) == stamp) {
            continue;
        }
        let zero = best
            .at(block)
            .is_some_and(|version| version.kind == VersionKind::Zero);
        let source = if zero {
            Source::Zero
        } else {
            Source::Shown(slot)
        };
        add(&mut fixes, block, source);
    }
    fixes
}

/// Adds a block to the last fix if it fits there.
fn add(fixes: &mut Vec<Fix>, block: u16, source: Source) {
    if let Some(last) = fixes.last_mut()
        && last.source == source
        && last.range.end() == block
        && last.range.count() < PAYLOAD_BLOCKS_MAX
        && let Some(range) = BlockRange::between(last.range.first(), block + 1)
    {
        last.range = range;
    } else if let Some(range) = BlockRange::between(block, block + 1) {
        fixes.push(Fix { range, source });
    }
}

/// Whether what a replica shows fits what it said it holds of the layer: the very version that it
/// named, or one of a newer cut up to `newest`; where it named none, something older or nothing.
pub(super) fn shows(
    held: &[Version],
    cut: Cut,
    newest: Cut,
    range: BlockRange,
    found: &[Found],
) -> bool {
    let named = Blocks::of(held);
    let mut shown: Vec<Option<&Found>> = vec![None; usize::from(CHUNK_BLOCKS)];
    for run in found {
        for block in run.range.blocks() {
            shown[usize::from(block)] = Some(run);
        }
    }
    range.blocks().all(|block| {
        let own = shown[usize::from(block)].filter(|run| !run.inherited);
        match own {
            Some(run) if run.cut > cut => run.cut <= newest,
            Some(run) if run.cut == cut => named.stamp(block) == Some(run.stamp),
            _ => named.stamp(block).is_none(),
        }
    })
}

#[cfg(test)]
mod tests;
