//! What is known of one bucket: the adopted entry, fences and marks, and who is let in by them.
//!
//! Decisions only; what must be durable first is the caller's subject.

use crate::kept::Kept;
use moraine_model::{BucketEntry, DiskId, Epoch, Generation, Listing, Role, Stamp, VolumeId};
use moraine_protocol::{Refusal, Rule, Under};
use std::collections::{BTreeMap, BTreeSet};

/// Counts what was accepted, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// One bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    entry: Option<BucketEntry>,
    /// The epoch of the entry, and how far it is on the disk.
    pub(crate) epoch: Kept<Option<Epoch>>,
    /// What was accepted before has a lower ticket, and belongs to an older entry.
    pub(crate) adopted_at: Ticket,
    /// What it keeps of its shares beside their blocks.
    pub(crate) shares: BTreeMap<VolumeId, ShareNotes>,
    /// What was accepted and not finished.
    pub(crate) under_way: BTreeSet<Ticket>,
    /// Whether its shares are being dropped, since no entry lists it here.
    pub(crate) forgetting: bool,
}

/// What a bucket keeps of one share beside its blocks.
#[derive(Debug, Default)]
pub(crate) struct ShareNotes {
    /// The newest generation that opened the share.
    pub(crate) fence: Kept<Option<Generation>>,
    /// The commit mark.
    pub(crate) mark: Kept<Stamp>,
    /// Grows when the mark is removed, so that the notes before it are known.
    pub(crate) mark_life: u32,
    /// Whether a mark may be on the disk.
    pub(crate) mark_on_disk: bool,
    /// Whether the mark is being removed from the disk.
    pub(crate) mark_going: bool,
    /// Changes of the share that are not finished.
    pub(crate) under_way: u32,
}

impl Bucket {
    /// A bucket with the entry that was read from the disk.
    pub(crate) fn with_entry(&mut self, entry: BucketEntry) {
        self.epoch = Kept::new(Some(entry.epoch()));
        self.entry = Some(entry);
    }

    /// The adopted entry.
    pub(crate) fn entry(&self) -> Option<&BucketEntry> {
        self.entry.as_ref()
    }

    /// How the adopted entry lists a disk.
    pub(crate) fn listing(&self, disk: DiskId) -> Option<Listing> {
        self.entry.as_ref()?.on(disk).copied()
    }

    /// Whether the adopted entry lists a disk in that role.
    pub(crate) fn is(&self, disk: DiskId, role: Role) -> bool {
        self.listing(disk)
            .is_some_and(|listing| listing.role == role)
    }

    /// Takes a newer entry. What is accepted from now on is accepted under it.
    pub(crate) fn adopt(&mut self, entry: BucketEntry, next: Ticket) {
        self.epoch.raise(Some(entry.epoch()));
        self.entry = Some(entry);
        self.adopted_at = next;
        self.forgetting = false;
    }

    /// Whether nothing that was accepted before the ticket is under way.
    pub(crate) fn is_finished_before(&self, ticket: Ticket) -> bool {
        self.under_way.first().is_none_or(|first| *first >= ticket)
    }

    /// Compares an entry with the adopted one: whether it is newer.
    pub(crate) fn is_news(&self, entry: &BucketEntry) -> Result<bool, Refusal> {
        let Some(known) = &self.entry else {
            return Ok(true);
        };
        if entry.epoch() < known.epoch() {
            return Err(Refusal::StaleEpoch {
                entry: known.clone(),
            });
        }
        if entry.epoch() == known.epoch() && entry != known {
            return Err(malformed(Rule::OneEntryPerEpoch));
        }
        Ok(entry.epoch() > known.epoch())
    }

    /// The fence of a share.
    pub(crate) fn fence(&self, volume: VolumeId) -> Kept<Option<Generation>> {
        let notes = self.shares.get(&volume);
        notes.map(|notes| notes.fence).unwrap_or_default()
    }

    /// The mark of a share.
    pub(crate) fn mark(&self, volume: VolumeId) -> Stamp {
        let notes = self.shares.get(&volume);
        notes.map_or(Stamp::ZERO, |notes| notes.mark.now())
    }

    /// Compares a generation with the fence of a share.
    pub(crate) fn passes(&self, volume: VolumeId, generation: Generation) -> Result<(), Refusal> {
        match self.fence(volume).now() {
            Some(by) if generation < by => Err(Refusal::Fenced { by }),
            _ => Ok(()),
        }
    }

    /// Whether an engine may ask, and how the entry that it asks under lists this disk.
    ///
    /// What is in memory already refuses the older generation and epoch; only what is durable lets
    /// the newer one in, so that no crash forgets in whose name something was answered.
    pub(crate) fn lets_in(&self, under: &Under, disk: DiskId) -> Result<Listing, Refusal> {
        let volume = under.share.volume;
        self.passes(volume, under.generation)?;
        let entry = self.entry.as_ref().ok_or(Refusal::NotOpen)?;
        self.is_at(under.epoch)?;
        let fence = self.fence(volume);
        if fence.now() != Some(under.generation) || !fence.is_durable() {
            return Err(Refusal::NotOpen);
        }
        let listing = entry.on(disk).copied();
        listing.ok_or(malformed(Rule::AskedIsListed))
    }

    /// Whether this is the epoch of the adopted entry, durably.
    fn is_at(&self, epoch: Epoch) -> Result<(), Refusal> {
        let entry = self.entry.as_ref().ok_or(Refusal::NotOpen)?;
        if epoch < entry.epoch() {
            return Err(Refusal::StaleEpoch {
                entry: entry.clone(),
            });
        }
        if epoch > entry.epoch() || !self.epoch.is_durable() {
            return Err(Refusal::NotOpen);
        }
        Ok(())
    }

    /// Whether a replica that copies may ask: only of a replica in sync, and only when all that was
    /// accepted under an older entry has finished (invariant I6).
    pub(crate) fn lets_copy(&self, epoch: Epoch, disk: DiskId) -> Result<(), Refusal> {
        self.is_at(epoch)?;
        if !self.is(disk, Role::InSync) {
            return Err(malformed(Rule::SourceInSync));
        }
        if !self.is_finished_before(self.adopted_at) {
            return Err(Refusal::NotOpen);
        }
        Ok(())
    }
}

/// The refusal of a request that breaks a rule.
pub(crate) fn malformed(rule: Rule) -> Refusal {
    Refusal::Malformed { rule }
}
