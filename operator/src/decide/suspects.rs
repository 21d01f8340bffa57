//! What engines can't reach: whose word counts, and for how long.
//!
//! A report alone is a wish, for the reporter may be the one that is cut off (design.md, section 5). It
//! counts when another node says the same, or when it has lasted and its reporter complains of one node
//! only: who can't reach several is more likely itself to blame. A stale Lease counts without any report. A disk that was dropped for it is left alone for a while, longer each time: the engines stop
//! to complain as soon as they don't use it, which says nothing about whether they could.

use super::lease_of;
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long one reporter alone must complain.
const LASTS: SignedDuration = SignedDuration::from_secs(5);
/// For how long a disk is left alone the first time, and at most.
const LEFT_ALONE: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_mins(30));
/// After so long without a complaint that counted, the next one is a first one again.
const FORGIVEN: SignedDuration = SignedDuration::from_hours(2);

/// What was heard, as far as it matters later.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspicions {
    /// Since when each reporter complains of each disk, as this leader saw it.
    since: BTreeMap<Complaint, Timestamp>,
    doubts: BTreeMap<String, Doubt>,
}

/// One node's word on one disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    reporter: String,
    /// The node of the disk.
    accused: String,
    disk: String,
}

/// A disk whose replicas were dropped because engines could not reach it.
#[derive(Clone, Debug)]
struct Doubt {
    until: Timestamp,
    times: u32,
}

impl Suspicions {
    /// Takes what all nodes say now.
    pub(super) fn hear(&mut self, world: &World, now: Timestamp) {
        let said = complaints(world);
        self.since.retain(|key, _| said.contains(key));
        for complaint in &said {
            self.since.entry(complaint.clone()).or_insert(now);
        }
        let counts = |(complaint, since): (&Complaint, &Timestamp)| {
            let agrees = |other: &Complaint| {
                other.disk == complaint.disk && other.reporter != complaint.reporter
            };
            let elsewhere = |other: &Complaint| {
                other.reporter == complaint.reporter && other.accused != complaint.accused
            };
            let lasts = now.duration_since(*since) >= LASTS;
            let counts = said.iter().any(agrees) || (lasts && !said.iter().any(elsewhere));
            counts.then(|| complaint.disk.clone())
        };
        let confirmed: BTreeSet<String> = self.since.iter().filter_map(counts).collect();
        for disk in confirmed {
            self.doubt(disk, now);
        }
        self.doubts
            .retain(|_, doubt| now.duration_since(doubt.until) < FORGIVEN);
    }

    fn doubt(&mut self, disk: String, now: Timestamp) {
        let doubt = self.doubts.entry(disk).or_insert(Doubt {
            until: now,
            times: 0,
        });
        if doubt.until > now {
            return;
        }
        let alone = LEFT_ALONE.0 * (1 << doubt.times.min(8));
        doubt.times += 1;
        doubt.until = now + alone.min(LEFT_ALONE.1);
    }

    /// Whether a disk is to be taken for down.
    pub(super) fn is_doubted(&self, disk: &str, now: Timestamp) -> bool {
        self.doubts.get(disk).is_some_and(|doubt| doubt.until > now)
    }

    /// Whether something here changes by time alone.
    pub(super) fn waits(&self) -> bool {
        !self.since.is_empty() || !self.doubts.is_empty()
    }
}

/// Who complains of which disk: reporters that live, about others than themselves. One that can't reach
/// a node complains of all its disks.
fn complaints(world: &World) -> BTreeSet<Complaint> {
    let mut said = BTreeSet::new();
    for (reporter, node) in world.storage_nodes.iter() {
        if world.leases.life(&lease_of(reporter)) != Life::Alive {
            continue;
        }
        for suspect in node.status.iter().flat_map(|status| &status.suspects) {
            let accused = world.storage_nodes.get(&suspect.node);
            let disks = accused.and_then(|node| node.status.as_ref());
            let disks = disks.into_iter().flat_map(|status| &status.disks);
            let meant = disks.filter(|disk| suspect.disk.as_ref().is_none_or(|id| *id == disk.id));
            said.extend(meant.map(|disk| Complaint {
                reporter: reporter.clone(),
                accused: suspect.node.clone(),
                disk: disk.id.clone(),
            }));
        }
    }
    said
}
