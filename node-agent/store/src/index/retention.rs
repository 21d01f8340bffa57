//! Which cuts of a volume somebody may still read: snapshots, clones and the head.
//!
//! Every cut is a snapshot until it is deleted, so nothing is lost because nobody spoke. A target
//! `volume@cut` stays while a name that contains it is left: its own, or that of a reference
//! `volume@cut#child`.

use moraine_model::{Cut, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of one volume in one bucket.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    deleted: BTreeSet<Cut>,
    references: BTreeMap<Cut, BTreeSet<VolumeId>>,
    head_deleted_at: Option<Cut>,
}

impl Retention {
    /// Whether the head is read: the volume is not deleted.
    pub fn head_is_read(&self) -> bool {
        self.head_deleted_at.is_none()
    }

    /// The snapshot named by this cut is deleted.
    pub fn delete_snapshot(&mut self, cut: Cut) {
        self.deleted.insert(cut);
    }

    /// The volume is deleted; its cuts from `cut` on were never snapshots.
    pub fn delete_head(&mut self, cut: Cut) {
        self.head_deleted_at = Some(cut);
    }

    /// A clone reads at this cut.
    pub fn add_reference(&mut self, cut: Cut, child: VolumeId) {
        self.references.entry(cut).or_default().insert(child);
    }

    /// The clone does so no more.
    pub fn remove_reference(&mut self, cut: Cut, child: VolumeId) {
        if let Some(children) = self.references.get_mut(&cut) {
            children.remove(&child);
            if children.is_empty() {
                self.references.remove(&cut);
            }
        }
    }

    /// Whether the clone holds a reference at this cut.
    pub fn has_reference(&self, cut: Cut, child: VolumeId) -> bool {
        self.references
            .get(&cut)
            .is_some_and(|children| children.contains(&child))
    }

    /// The snapshots that were deleted.
    pub fn deleted(&self) -> impl Iterator<Item = Cut> {
        self.deleted.iter().copied()
    }

    /// The clones, each with the cut that it reads at.
    pub fn references(&self) -> impl Iterator<Item = (Cut, VolumeId)> {
        let references = self.references.iter();
        references.flat_map(|(cut, children)| children.iter().map(|child| (*cut, *child)))
    }

    /// The cut that the volume had when it was deleted, if it was.
    pub fn head_deleted_at(&self) -> Option<Cut> {
        self.head_deleted_at
    }

    /// Whether the target `volume@cut` is kept: by its own name or by one that contains it.
    pub fn keeps(&self, cut: Cut) -> bool {
        self.references.contains_key(&cut) || self.is_snapshot(cut)
    }

    /// Whether the snapshot itself is there, clones aside.
    pub fn is_snapshot(&self, cut: Cut) -> bool {
        !self.deleted.contains(&cut) && self.head_deleted_at.is_none_or(|head| cut < head)
    }

    /// The least cut from which on none below `cut` is kept: a version of such a cut that lies under
    /// one of `cut` is read by nobody.
    pub fn hidden_from(&self, cut: Cut) -> Cut {
        let mut least = cut;
        while let Some(below) = least.0.checked_sub(1).map(Cut)
            && !self.keeps(below)
        {
            least = below;
        }
        least
    }

    /// Whether a version written with cut `from`, above which the next is of cut `next` (`None`: it
    /// is the newest), is read by anyone.
    pub fn anyone_reads(&self, from: Cut, next: Option<Cut>) -> bool {
        let end = match (next, self.head_deleted_at) {
            (None, None) => return true,
            (Some(next), None) => next,
            (None, Some(head)) => head,
            (Some(next), Some(head)) => next.min(head),
        };
        if from < end {
            let deleted = self.deleted.range(from..end).count() as u64;
            if deleted < end.0 - from.0 {
                return true;
            }
        }
        match next {
            Some(next) => from < next && self.references.range(from..next).next().is_some(),
            None => self.references.range(from..).next().is_some(),
        }
    }
}

impl Retention {
    /// How many names read a version written with cut `from`, above which the next is of cut
    /// `next`: the head, which is at cut `head_cut`, snapshots and clones.
    pub fn readers(&self, from: Cut, next: Option<Cut>, head_cut: Cut) -> usize {
        let head = usize::from(next.is_none() && self.head_is_read());
        let children = match next {
            Some(next) if from < next => self.references.range(from..next),
            Some(_) => self.references.range(Cut(0)..Cut(0)),
            None => self.references.range(from..),
        };
        let clones: usize = children.map(|(_, children)| children.len()).sum();
        let head_cut = self.head_deleted_at.unwrap_or(head_cut);
        let end = next.map_or(head_cut, |next| next.min(head_cut));
        let deleted = if from < end {
            self.deleted.range(from..end).count()
        } else {
            0
        };
        let cuts = usize::try_from(end.0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        head + clones + cuts.saturating_sub(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_while_a_name_contains_its_target() {
        let child = VolumeId::new(9).unwrap();
        let mut kept = Retention::default();
        assert!(kept.anyone_reads(Cut(3), None));
        assert!(
            kept.anyone_reads(Cut(3), Some(Cut(4))),
            "snapshot 3 reads it"
        );
        kept.delete_snapshot(Cut(3));
        assert!(!kept.anyone_reads(Cut(3), Some(Cut(4))));
        assert!(
            kept.anyone_reads(Cut(3), Some(Cut(5))),
            "snapshot 4 reads it"
        );
        kept.add_reference(Cut(3), child);
        assert!(kept.keeps(Cut(3)) && !kept.is_snapshot(Cut(3)));
        assert!(kept.anyone_reads(Cut(2), Some(Cut(4))));
        kept.delete_snapshot(Cut(2));
        assert!(!kept.anyone_reads(Cut(2), Some(Cut(3))));
        kept.delete_head(Cut(4));
        assert!(kept.anyone_reads(Cut(3), None), "the clone reads it");
        kept.remove_reference(Cut(3), child);
        assert!(!kept.anyone_reads(Cut(3), None));
        assert!(
            !kept.anyone_reads(Cut(7), None),
            "nothing but the head had cut 7"
        );
    }
}
