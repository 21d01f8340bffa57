//! What happens to one bucket: failures, answers, returns.

use super::{Answer, Health, Rules, Said, View};
use crate::map::{Bucket, Place, Replica, Stage};

/// What all buckets of one version have in common.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pub(super) views: &'a [View],
    pub(super) rules: Rules,
    /// The version that is being made.
    pub(super) epoch: u64,
}

impl Round<'_> {
    pub(super) fn health(&self, disk: Place) -> Health {
        // A disk that nobody knows any more can't be told to be down: its node may be registering.
        self.view(disk).map_or(Health::Unknown, |view| view.health)
    }

    pub(super) fn view(&self, disk: Place) -> Option<&View> {
        usize::try_from(disk)
            .ok()
            .and_then(|disk| self.views.get(disk))
    }

    fn serves(&self, disk: Place) -> bool {
        self.health(disk) == Health::Serves
    }

    /// Whether the disk is to keep buckets.
    fn stays(&self, disk: Place) -> bool {
        self.view(disk).is_none_or(|view| view.disk.weight > 0)
    }

    /// Whether some replica in sync serves: without one there is nothing to copy from, and nothing to
    /// be dropped.
    pub(super) fn is_available(&self, bucket: &Bucket) -> bool {
        bucket.in_sync().any(|replica| self.serves(replica.disk))
    }

    /// Drops replicas on disks that are down, as long as one in sync serves. Whether one was dropped.
    pub(super) fn drop_down(&self, bucket: &mut Bucket) -> bool {
        bucket
            .away
            .retain(|&disk| self.health(disk) != Health::Out && self.stays(disk));
        if !self.is_available(bucket) {
            return false;
        }
        let before = bucket.replicas.len();
        let is_down = |disk| matches!(self.health(disk), Health::Down | Health::Out);
        let target = bucket.moving.map(|moving| moving.to);
        for replica in &bucket.replicas {
            // A copy that was never whole is begun anew, wherever there is room then.
            let awaited = self.health(replica.disk) == Health::Down
                && self.stays(replica.disk)
                && Some(replica.disk) != target
                && Some(replica.disk) != bucket.leaving();
            if awaited {
                bucket.away.push(replica.disk);
            }
        }
        bucket.replicas.retain(|replica| !is_down(replica.disk));
        bucket.replicas.len() < before
    }

    /// Takes an answer, if it is about what stands.
    pub(super) fn hear(&self, bucket: &mut Bucket, answer: &Answer) {
        if answer.said == Said::Synced {
            let mut listed = bucket.replicas.iter_mut();
            let named = listed.find(|r| r.disk == answer.disk && r.since == answer.since);
            if let Some(replica) = named {
                replica.in_sync = true;
            }
            return;
        }
        let Some(moving) = &mut bucket.moving else {
            return;
        };
        if moving.stage != Stage::Offered
            || (moving.to, moving.since) != (answer.disk, answer.since)
        {
            return;
        }
        if answer.said == Said::Refused {
            bucket.moving = None;
            return;
        }
        moving.stage = Stage::Copying;
        moving.since = self.epoch;
        bucket.replicas.push(Replica {
            disk: answer.disk,
            in_sync: false,
            since: self.epoch,
        });
    }

    /// Ends moves that are done or can't be, and lists again who is back.
    pub(super) fn settle(&self, bucket: &mut Bucket) {
        if let Some(moving) = bucket.moving {
            let target = bucket.on(moving.to).copied();
            match moving.stage {
                // It said that it is whole, and serves now: what it said may be from before it fell
                // silent.
                Stage::Copying
                    if target.is_some_and(|target| target.in_sync) && self.serves(moving.to) =>
                {
                    self.end_move(bucket, moving.from);
                }
                Stage::Copying if target.is_none() => bucket.moving = None,
                Stage::Offered if target.is_some() || !self.may_take(moving.to) => {
                    bucket.moving = None;
                }
                Stage::Copying | Stage::Offered => {}
            }
        }
        forget_source(bucket);
        self.welcome_back(bucket);
    }

    /// Ends a move whose target is whole. The source goes in one version with it, unless it is needed:
    /// then another copy was lost meanwhile, and the new one is in its place.
    fn end_move(&self, bucket: &mut Bucket, from: Option<Place>) {
        bucket.moving = None;
        let wanted = usize::try_from(self.rules.replicas).unwrap_or(usize::MAX);
        let others = bucket
            .in_sync()
            .filter(|replica| Some(replica.disk) != from && self.serves(replica.disk));
        if others.count() >= wanted {
            bucket.replicas.retain(|replica| Some(replica.disk) != from);
        }
    }

    /// Whether an offer to the disk still makes sense. One that nobody can tell of may yet answer.
    fn may_take(&self, disk: Place) -> bool {
        self.view(disk).is_some_and(|view| {
            let down = matches!(view.health, Health::Down | Health::Out);
            view.disk.takes && view.disk.weight > 0 && !down
        })
    }

    /// Lists disks that were away and serve again, as far as replicas lack.
    fn welcome_back(&self, bucket: &mut Bucket) {
        let wanted = usize::try_from(self.rules.replicas).unwrap_or(usize::MAX);
        let back: Vec<Place> = bucket
            .away
            .iter()
            .copied()
            .filter(|&disk| self.serves(disk))
            .collect();
        bucket.away.retain(|disk| !back.contains(disk));
        for disk in back {
            let leaving = usize::from(
                bucket
                    .leaving()
                    .is_some_and(|from| bucket.on(from).is_some()),
            );
            let listed = bucket.replicas.len() - leaving;
            if listed < wanted && bucket.on(disk).is_none() {
                bucket.replicas.push(Replica {
                    disk,
                    in_sync: false,
                    since: self.epoch,
                });
            }
        }
    }
}

/// A source that is not listed any more gives nothing up: what moved becomes a replica made again.
fn forget_source(bucket: &mut Bucket) {
    let from = bucket.leaving();
    let gone = from.is_some_and(|from| bucket.on(from).is_none());
    if let Some(moving) = &mut bucket.moving
        && gone
    {
        moving.from = None;
    }
}
