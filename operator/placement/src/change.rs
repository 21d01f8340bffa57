//! The next version of a map: what follows from failures, returns, answers and the plan.
//!
//! One function, [`advance`], from values to values; it is asked again whenever something has changed,
//! and says nothing when nothing has to. So an operator that dies at any moment is followed by one
//! that goes on from the map as it stands. What it must keep, whatever it is told:
//!
//! - I3: a replica in sync is dropped only while another one in sync serves; so the last never is.
//! - I7: a report counts only for the listing that it names.
//! - A replica leaves for another only when that one is in sync, in the same version of the map: the
//!   number of copies doesn't sink by a move.
//! - Versions only grow, and an entry has a new one exactly when its replicas changed.
//!
//! Not here: who is down and for how long, and when a version is written. That is the caller's, who
//! has a clock.

mod bucket;
mod start;

use crate::map::{Bucket, Map, Place};
use crate::{Disk, HeldError, Plan};

/// A disk as the operator sees it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What placement knows of it.
    pub disk: Disk,
    /// Whether it serves.
    pub health: Health,
}

/// Whether a disk serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serves,
    /// Nobody can tell yet; nothing is concluded from it.
    Unknown,
    /// It doesn't, and is awaited.
    Down,
    /// It doesn't, and isn't awaited any longer.
    Out,
}

/// What a disk says of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who says it.
    pub disk: Place,
    /// Of which bucket.
    pub bucket: u32,
    /// Which offer, or which listing, by the version of the map since which it stands.
    pub since: u64,
    /// What is said.
    pub said: Said,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Room is kept for the bucket.
    Accepted,
    /// The bucket can't be taken.
    Refused,
    /// The copy is whole.
    Synced,
}

/// What the pool asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Replicas of each bucket.
    pub replicas: u32,
    /// Buckets whose lost replicas are made again at the same time.
    pub recoveries_max: u32,
    /// Buckets that move at the same time.
    pub moves_max: u32,
    /// Whether moves that only restore balance may start.
    pub balance: bool,
}

/// What is to follow a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The next version, if there is something to change.
    pub map: Option<Map>,
    /// Whether a replica was dropped for a failure: then it must not wait.
    pub urgent: bool,
    /// What is still to be done after it, to be shown.
    pub plan: Plan,
}

/// The first version of a map: all replicas are in sync, because the disks are new and hold nothing.
///
/// `None` while the disks aren't enough for all replicas in different failure domains.
pub fn first(buckets: u32, views: &[View], rules: Rules) -> Option<Map> {
    start::first(buckets, views, rules)
}

/// What is to follow `map`; an error if the map can't be.
pub fn advance(
    map: &Map,
    views: &[View],
    answers: &[Answer],
    rules: Rules,
) -> Result<Next, HeldError> {
    let mut next = map.clone();
    next.epoch += 1;
    let epoch = next.epoch;
    let mut urgent = false;
    let round = bucket::Round {
        views,
        rules,
        epoch,
    };
    for bucket in &mut next.buckets {
        urgent |= round.drop_down(bucket);
    }
    for answer in answers {
        let bucket = usize::try_from(answer.bucket).ok();
        if let Some(bucket) = bucket.and_then(|bucket| next.buckets.get_mut(bucket)) {
            round.hear(bucket, answer);
        }
    }
    for bucket in &mut next.buckets {
        round.settle(bucket);
    }
    let plan = start::start(&mut next, &round)?;
    let changed = stamp(map, &mut next);
    Ok(Next {
        map: changed.then_some(next),
        urgent,
        plan,
    })
}

/// Gives entries whose replicas have changed their new version. Whether anything has changed.
fn stamp(before: &Map, next: &mut Map) -> bool {
    let mut changed = false;
    for (old, new) in before.buckets.iter().zip(&mut next.buckets) {
        changed |= old != new;
        if old.replicas != new.replicas {
            new.epoch = next.epoch;
        }
        assert!(
            kept_one(old, new),
            "a change of the map would drop the last replica in sync: {old:?} to {new:?}"
        );
    }
    changed
}

/// I3, and what makes it worth something: one in sync stays that was in sync, or has just said that it
/// is.
fn kept_one(old: &Bucket, new: &Bucket) -> bool {
    new.in_sync().any(|replica| {
        old.on(replica.disk)
            .is_some_and(|before| before.since == replica.since)
    })
}

#[cfg(test)]
mod tests;
