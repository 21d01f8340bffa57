//! The slow obvious model: a table of every version ever kept.

use crate::format::{Place, Tag};
use crate::index::Share;
use crate::{Control, ReadAt, Rule};
use moraine_model::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Data that only this number makes.
    Data(u64),
    Zero,
    Hole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versioned {
    pub(super) value: Value,
    pub(super) tag: Tag,
}

#[derive(Debug, Clone, Default)]
pub(super) struct ModelShare {
    pub(super) versions: BTreeMap<(u32, u16, Cut), Versioned>,
    pub(super) deleted: BTreeSet<Cut>,
    pub(super) head_deleted_at: Option<Cut>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) shares: BTreeMap<Share, ModelShare>,
    /// Child to parent and cut.
    pub(super) parents: BTreeMap<Share, (VolumeId, Cut)>,
    pub(super) notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A change of blocks that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) place: Place,
    pub(super) range: BlockRange,
    pub(super) tag: Tag,
    pub(super) rule: Rule,
    pub(super) value: Value,
}

impl Model {
    fn stays(there: &Versioned, change: &Change) -> bool {
        let (old, new) = (there.tag, change.tag);
        match change.rule {
            Rule::Write { listed } => {
                old.epoch >= listed
                    && (old.stamp > new.stamp || (old.stamp == new.stamp && old.epoch >= new.epoch))
            }
            Rule::Copy { listed, fence } => {
                old.epoch >= listed
                    && (old.stamp == new.stamp
                        || (old.stamp > new.stamp && old.stamp.generation >= fence))
            }
        }
    }

    /// The blocks that the change would change.
    pub(super) fn news(&self, change: &Change) -> Vec<u16> {
        let share = self.shares.get(&change.place.share());
        let chunk = change.place.chunk.get();
        let blocks = change.range.blocks().filter(|&block| {
            let there = share.and_then(|s| s.versions.get(&(chunk, block, change.tag.cut)));
            if change.value == Value::Hole {
                return there.is_some_and(|there| {
                    there.value != Value::Hole && !Self::stays(there, change)
                });
            }
            there.is_none_or(|there| !Self::stays(there, change))
        });
        blocks.collect()
    }

    /// Those of the blocks that the change would change for some reader; the others may be collected
    /// at once. A hole is itself no version that is read.
    pub(super) fn visible_news(&self, change: &Change) -> Vec<u16> {
        let mut news = self.news(change);
        if change.value != Value::Hole {
            let mut changed = self.clone();
            changed.apply(change);
            news.retain(|&block| changed.is_read(change.place, block, change.tag));
        }
        news
    }

    /// Whether somebody reads this version of a block.
    fn is_read(&self, place: Place, block: u16, tag: Tag) -> bool {
        let share = place.share();
        let above = (tag.cut.0..tag.cut.0 + 64).map(Cut);
        let cuts = above.filter(|&cut| self.keeps(share, cut)).map(ReadAt::Cut);
        let head = self.head_is_read(share).then_some(ReadAt::Head);
        cuts.chain(head).any(|at| {
            self.read(place, block, at)
                .is_some_and(|version| version.tag == tag)
        })
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let news = self.news(change);
        if news.is_empty() {
            return;
        }
        let hidden = self.hidden_by(change.place.share(), change.tag.cut);
        let share = self.shares.entry(change.place.share()).or_default();
        for block in news {
            let key = (change.place.chunk.get(), block, change.tag.cut);
            if change.value == Value::Hole {
                // What only this version hid must not show.
                for &cut in &hidden {
                    share.versions.remove(&(key.0, block, cut));
                }
            }
            share.versions.insert(
                key,
                Versioned {
                    value: change.value,
                    tag: change.tag,
                },
            );
        }
    }

    pub(super) fn control(&mut self, share: Share, control: Control) {
        match control {
            Control::DropShare => drop(self.shares.remove(&share)),
            Control::LeaveShare => {
                self.shares.remove(&share);
                self.parents.retain(|child, (parent, _)| {
                    child.bucket != share.bucket || *parent != share.volume
                });
            }
            Control::DeleteVolume { cut } => {
                if let Some(share) = self.shares.get_mut(&share) {
                    share.head_deleted_at.get_or_insert(cut);
                }
            }
            Control::DeleteSnapshot { cut } => {
                if let Some(share) = self.shares.get_mut(&share) {
                    share.deleted.insert(cut);
                }
            }
            Control::AddReference { cut, child } => {
                self.shares.entry(share).or_default();
                self.parents.insert(
                    Share {
                        volume: child,
                        ..share
                    },
                    (share.volume, cut),
                );
            }
            Control::RemoveReference { cut, child } => {
                let child = Share {
                    volume: child,
                    ..share
                };
                if self.parents.get(&child) == Some(&(share.volume, cut)) {
                    self.parents.remove(&child);
                }
            }
        }
    }

    /// The cuts from which on none up to `cut` is kept.
    fn hidden_by(&self, share: Share, cut: Cut) -> Vec<Cut> {
        let below = (0..cut.0).rev().map(Cut);
        below.take_while(|&cut| !self.keeps(share, cut)).collect()
    }

    fn references(&self, share: Share, cut: Cut) -> bool {
        let mut parents = self.parents.iter();
        parents
            .any(|(child, parent)| child.bucket == share.bucket && *parent == (share.volume, cut))
    }

    /// Whether the snapshot is there for a reader.
    pub(super) fn keeps(&self, share: Share, cut: Cut) -> bool {
        let Some(known) = self.shares.get(&share) else {
            return true;
        };
        let snapshot =
            !known.deleted.contains(&cut) && known.head_deleted_at.is_none_or(|head| cut < head);
        snapshot || self.references(share, cut)
    }

    pub(super) fn head_is_read(&self, share: Share) -> bool {
        self.shares
            .get(&share)
            .is_none_or(|share| share.head_deleted_at.is_none())
    }

    /// What a reader sees in a block: `None` is never written.
    pub(super) fn read(&self, place: Place, block: u16, at: ReadAt) -> Option<Versioned> {
        let share = self.shares.get(&place.share());
        let chunk = place.chunk.get();
        let cuts = match at {
            ReadAt::Head => (Cut(0), Cut(u64::MAX)),
            ReadAt::Cut(cut) => (Cut(0), cut),
            ReadAt::Layer(cut) => (cut, cut),
        };
        let range = (chunk, block, cuts.0)..=(chunk, block, cuts.1);
        let mut versions = share
            .into_iter()
            .flat_map(|share| share.versions.range(range.clone()).rev());
        let found = versions.find(|(_, version)| version.value != Value::Hole);
        if let Some((_, version)) = found {
            return Some(*version);
        }
        if matches!(at, ReadAt::Layer(_)) {
            return None;
        }
        let (volume, cut) = *self.parents.get(&place.share())?;
        self.read(Place { volume, ..place }, block, ReadAt::Cut(cut))
    }
}
