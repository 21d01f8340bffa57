//! What the control plane wants gone or kept: deleted volumes and snapshots, references of clones,
//! and buckets that are no longer listed here. Level-based: each call says how things are to be,
//! does what is missing, and says whether anything is.
//!
//! Deleting has an effect only where the replica is in sync. One that is not may have missed that a
//! clone reads through to what is deleted; it learns both from its source, references first.
//!
//! A bucket is forgotten in this order: marks, and when they are gone from the disk, shares, children
//! before their parents, each with its references in one go. So a crash in between, or an entry that
//! lists this disk again, finds shares that are whole and others that are gone, and a replica that
//! claims less than it holds: a share without its references would have lost what its clones read, and
//! if it is deleted a copy could not bring that back. Fences and the entry stay: they refuse engines
//! that come late.

use super::{Replicas, Task};
use crate::bucket::Ticket;
use moraine_model::{BucketId, Cut, Role, Share, VolumeId};
use moraine_store::{Control, Disk, Request};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most controls that wait; what is beyond them is done when it is said again.
const WAITING_MAX: usize = 4096;
/// Most controls that the store has at once: each goes alone in a batch, and engines wait for it.
const UNDER_WAY_MAX: usize = 8;
/// How often to go on with what is to be forgotten.
const FORGET_INTERVAL_MS: u64 = 100;

/// Controls that wait for the store.
#[derive(Debug, Default)]
pub(super) struct Chores {
    waiting: VecDeque<(Share, Control)>,
    under_way: usize,
    /// When to go on with what is to be forgotten.
    forget_at_ms: u64,
}

impl<D: Disk> Replicas<D> {
    /// The volume is deleted; it had reached this cut. Its snapshots and clones stay. True if
    /// nothing is left to do where this disk is in sync; else say it again later.
    pub fn delete_volume(&mut self, volume: VolumeId, cut: Cut) -> bool {
        self.keep_less(volume, Control::DeleteVolume { cut })
    }

    /// The snapshot named by the cut is deleted. True if nothing is left to do, like
    /// [`Replicas::delete_volume`].
    pub fn delete_snapshot(&mut self, volume: VolumeId, cut: Cut) -> bool {
        self.keep_less(volume, Control::DeleteSnapshot { cut })
    }

    /// The clone reads through to the volume at the cut. To be said before the snapshot is deleted.
    /// True if nothing is left to do.
    pub fn add_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) -> bool {
        let mut done = true;
        // A volume that is a clone itself and wrote nothing has no share, but what it reads through.
        let clones = self.shard.clones();
        let mut shares: BTreeSet<Share> = clones.filter(|share| share.volume == volume).collect();
        shares.extend(self.held_shares_of(volume));
        for share in shares {
            let retention = self.shard.retention(share);
            if !retention.is_some_and(|kept| kept.has_reference(cut, child)) {
                done = false;
                self.want(share, Control::AddReference { cut, child });
            }
        }
        done
    }

    /// The clone does so no more: it is deleted. True if nothing is left to do, like
    /// [`Replicas::delete_volume`].
    pub fn remove_reference(&mut self, volume: VolumeId, cut: Cut, child: VolumeId) -> bool {
        self.keep_less(volume, Control::RemoveReference { cut, child })
    }

    /// Drops what this shard holds of a bucket that its adopted entry no longer lists here. True if
    /// nothing is left; else say it again later. Of a listed bucket nothing is dropped.
    pub fn forget(&mut self, bucket: BucketId) -> bool {
        let disk = self.options.disk;
        let Some(known) = self.buckets.get_mut(&bucket) else {
            return true;
        };
        if known.listing(disk).is_some() || known.entry().is_none() {
            return false;
        }
        known.forgetting = true;
        self.forget_on(bucket)
    }

    /// Goes on forgetting a bucket. True if nothing is left.
    fn forget_on(&mut self, bucket: BucketId) -> bool {
        if self.is_stopped() {
            return false;
        }
        let volumes = self.volumes_of(bucket);
        let shares = volumes.into_iter().map(|volume| Share { volume, bucket });
        let shares: Vec<Share> = shares.collect();
        let mut unmarked = true;
        for share in &shares {
            unmarked &= self.remove_mark(*share);
        }
        let held: Vec<Share> = shares
            .into_iter()
            .filter(|share| self.shard.retention(*share).is_some())
            .collect();
        if held.is_empty() && unmarked {
            self.bucket_mut(bucket).forgetting = false;
            return true;
        }
        if unmarked {
            for share in self.children_first(held) {
                self.want(share, Control::LeaveShare);
            }
        }
        false
    }

    /// Shares in an order in which each comes before the one that it reads through to.
    pub(crate) fn children_first(&self, mut shares: Vec<Share>) -> Vec<Share> {
        let depths: BTreeMap<Share, usize> = shares
            .iter()
            .map(|share| (*share, self.depth(*share)))
            .collect();
        shares.sort_by_key(|share| std::cmp::Reverse(depths.get(share).copied()));
        shares
    }

    /// How many parents a share reads through to.
    fn depth(&self, mut share: Share) -> usize {
        // A ring of parents can't be, but a bound costs nothing.
        for depth in 0..64 {
            match self.shard.parent(share) {
                Some((volume, _)) => share.volume = volume,
                None => return depth,
            }
        }
        64
    }

    /// The shares of a volume that the store knows.
    fn held_shares_of(&self, volume: VolumeId) -> Vec<Share> {
        let shares = self.shard.shares();
        shares.filter(|share| share.volume == volume).collect()
    }

    /// Has a control that keeps less done wherever the replica is in sync and it changes anything.
    fn keep_less(&mut self, volume: VolumeId, control: Control) -> bool {
        let mut done = true;
        for share in self.held_shares_of(volume) {
            let syncing = self.is(share.bucket, Role::Syncing);
            if !self.is(share.bucket, Role::InSync) {
                // It will have taken this from its source when it is in sync, or is to be told.
                done &= !syncing;
                continue;
            }
            if self.changes_anything(share, control) {
                done = false;
                self.want(share, control);
            }
        }
        done
    }

    /// Whether a control would change what is kept of a share.
    pub(crate) fn changes_anything(&self, share: Share, control: Control) -> bool {
        let Some(kept) = self.shard.retention(share) else {
            return matches!(control, Control::AddReference { .. });
        };
        match control {
            Control::DropShare | Control::LeaveShare => true,
            Control::DeleteVolume { .. } => kept.head_is_read(),
            Control::DeleteSnapshot { cut } => kept.is_snapshot(cut),
            Control::AddReference { cut, child } => !kept.has_reference(cut, child),
            Control::RemoveReference { cut, child } => kept.has_reference(cut, child),
        }
    }

    fn want(&mut self, share: Share, control: Control) {
        let waiting = &mut self.chores.waiting;
        let wanted = (share, control);
        if waiting.len() < WAITING_MAX && !waiting.contains(&wanted) {
            waiting.push_back(wanted);
        }
    }

    /// Gives the store what waits for it.
    pub(super) fn do_chores(&mut self) {
        let idle = self.chores.waiting.is_empty() && self.chores.under_way == 0;
        if idle && self.now_ms >= self.chores.forget_at_ms {
            let forgetting = self.buckets.iter().filter(|(_, known)| known.forgetting);
            let forgetting: Vec<BucketId> = forgetting.map(|(bucket, _)| *bucket).collect();
            for bucket in forgetting {
                self.forget_on(bucket);
                // What fails, for want of space say, is not tried again at once.
                self.chores.forget_at_ms = self.now_ms.saturating_add(FORGET_INTERVAL_MS);
            }
        }
        while self.chores.under_way < UNDER_WAY_MAX
            && let Some((share, control)) = self.chores.waiting.pop_front()
        {
            // The map may have changed since: what is listed again is not dropped.
            let leaves = control == Control::LeaveShare;
            let forgetting = self.bucket_mut(share.bucket).forgetting;
            let allowed = match control {
                Control::AddReference { .. } => true,
                _ => forgetting || (!leaves && self.is(share.bucket, Role::InSync)),
            };
            if allowed {
                self.chores.under_way += 1;
                let ticket = self.own_change(share);
                let task = Task::Chore(share, ticket);
                self.submit(Request::Control { share, control }, task);
            }
        }
    }

    /// Notes that a change of a share that no engine asked for is under way: who opens it or adopts
    /// an entry waits for it too.
    pub(crate) fn own_change(&mut self, share: Share) -> Ticket {
        let ticket = self.ticket();
        self.bucket_mut(share.bucket).under_way.insert(ticket);
        self.notes_mut(share).under_way += 1;
        ticket
    }

    pub(super) fn chore_done(&mut self) {
        self.chores.under_way -= 1;
    }
}
