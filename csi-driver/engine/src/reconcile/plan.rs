//! Which versions in the layers of a chunk count, and what must be written so that every listed
//! replica holds the same. Pure: answers of replicas in, writes out.

use crate::verify::Found;
use moraine_model::{BlockRange, CHUNK_BLOCKS, Cut, Epoch, Stamp};
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;
use moraine_protocol::{Version, VersionKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What counts of a listed replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) in_sync: bool,
    /// The epoch since which it is listed.
    pub(super) since: Epoch,
}

impl Slot {
    /// Whether a version that it holds counts: of a syncing replica only one that was written to it
    /// since it was listed. What it held before may still be taken away by its copy, which may have
    /// asked the source before the source had it.
    fn reports(self, version: &Version) -> bool {
        self.in_sync || version.tag.epoch >= self.since
    }
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

/// What is to be done about a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) fixes: Vec<Fix>,
    /// Whether a block can't be decided, since what counts can't be read.
    pub(super) undecided: bool,
}

/// The version of each block of a chunk.
struct Blocks(Vec<Option<Version>>);

impl Blocks {
    fn of<'a>(versions: impl Iterator<Item = &'a Version>) -> Self {
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

/// What the listed replicas hold of a chunk, in the layers in which one of them has something above
/// the greatest mark of one in sync. In every other layer all in sync hold the same.
pub(super) struct Chunk<'a> {
    top: Stamp,
    slots: &'a [Slot],
    layers: BTreeMap<Cut, Vec<Blocks>>,
    /// Versions that can't be read, by layer, slot and block.
    damaged: &'a BTreeSet<(Cut, u8, u16)>,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(
        top: Stamp,
        slots: &'a [Slot],
        versions: &BTreeMap<Cut, Vec<Vec<Version>>>,
        damaged: &'a BTreeSet<(Cut, u8, u16)>,
    ) -> Self {
        let layers = versions.iter().map(|(cut, by_slot)| {
            let by_slot = slots.iter().zip(by_slot);
            let blocks = by_slot.map(|(slot, held)| {
                Blocks::of(held.iter().filter(|version| slot.reports(version)))
            });
            (*cut, blocks.collect())
        });
        Self {
            top,
            slots,
            layers: layers.collect(),
            damaged,
        }
    }

    /// The writes that bring these blocks of a layer to one state.
    ///
    /// A block is looked at if a replica holds a version above the mark. The newest stamp that one
    /// in sync holds is right: one that only a syncing replica holds was never acknowledged. If none
    /// in sync has a version, what the block will show at that cut is right. Nothing is written if
    /// all listed replicas hold exactly that stamp.
    ///
    /// Where nothing that counts can be read, nothing is decided: whoever reads such a block is told
    /// that it is damaged, and the next engine is to look again.
    pub(super) fn plan(&self, cut: Cut, range: BlockRange) -> Plan {
        let mut plan = Plan::default();
        let Some(layer) = self.layers.get(&cut) else {
            return plan;
        };
        for block in range.blocks() {
            let above = |blocks: &Blocks| blocks.stamp(block) > Some(self.top);
            if !layer.iter().any(above) {
                continue;
            }
            let first = layer.first().and_then(|blocks| blocks.stamp(block));
            if layer.iter().all(|blocks| blocks.stamp(block) == first) {
                continue;
            }
            let source = self.best(cut, block).and_then(|(slot, best)| match best {
                Some(version) if version.kind == VersionKind::Zero => Some(Source::Zero),
                Some(_) => Some(Source::Shown(slot)),
                None => self.below(cut, block, slot),
            });
            match source {
                Some(source) => add(&mut plan.fixes, block, source),
                None => plan.undecided = true,
            }
        }
        plan
    }

    /// The replica in sync with the newest version of a block in a layer, and the version if it has
    /// one. Of several the first, so that longer runs come from one source.
    fn best(&self, cut: Cut, block: u16) -> Option<(u8, Option<Version>)> {
        let layer = &self.layers[&cut];
        let slots = (0_u8..).zip(self.slots.iter().zip(layer));
        let sound = slots.filter(|(slot, (of, _))| of.in_sync && self.is_sound(cut, *slot, block));
        let held = sound.map(|(slot, (_, blocks))| (slot, blocks.at(block)));
        held.max_by_key(|(slot, version)| (version.map(|v| v.tag.stamp), Reverse(*slot)))
    }

    /// Who shows what a block without a version in a layer will show there: a replica that holds
    /// what counts in the next lower layer. Another one may show what is older still, since that
    /// layer is only being reconciled; then a snapshot would have what the head after it has not.
    fn below(&self, cut: Cut, block: u16, any: u8) -> Option<Source> {
        let lower = self.layers.range(..cut).rev();
        let mut lower = lower.filter_map(|(cut, _)| self.best(*cut, block));
        let holder = lower.find(|(_, version)| version.is_some());
        let slot = holder.map_or(any, |(slot, _)| slot);
        let readable = self.is_sound(cut, slot, block);
        readable.then_some(Source::Shown(slot))
    }

    fn is_sound(&self, cut: Cut, slot: u8, block: u16) -> bool {
        let shown = self.shown_from(cut, slot, block);
        let bad = |cut: Cut| self.damaged.contains(&(cut, slot, block));
        !bad(cut) && !bad(shown)
    }

    /// The layer that a replica shows of a block at a cut, as far as layers are known here.
    pub(super) fn shown_from(&self, cut: Cut, slot: u8, block: u16) -> Cut {
        let lower = self.layers.range(..=cut).rev();
        let mut held = lower.filter(|(_, by_slot)| by_slot[usize::from(slot)].at(block).is_some());
        held.next().map_or(cut, |(cut, _)| *cut)
    }
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
    let named = Blocks::of(held.iter());
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
