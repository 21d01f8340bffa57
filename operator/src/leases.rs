//! Who lives: the Leases of the node agents, judged by when *this* process saw them change.
//!
//! The times in a Lease are of the writer's clock, which may be wrong, so only their changing counts.
//! And a Lease ages only while the view is known to work: news of any Lease shows that (the leader
//! renews its own every few seconds), and the time of a silence, of a broken watch or of a sudden gap
//! doesn't count, so that a cut-off operator doesn't take the whole cluster for dead.
//!
//! Not here: what follows from a node's death.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use std::collections::BTreeMap;
use std::time::Duration;

/// A longer silence on the watch, though leaders renew their Lease every few seconds, is a gap: what
/// is heard after it may come in any order, so the time of the gap doesn't count. Short enough that a
/// Lease of the usual duration that was renewed just before stays fresh through it.
const GAP: Duration = Duration::from_secs(6);
/// The duration of a Lease that doesn't say it.
const DEFAULT_DURATION_SECONDS: i32 = 10;
/// Limits of what a Lease may ask for.
const DURATION_SECONDS: std::ops::RangeInclusive<i32> = 1..=300;

/// What is known of the holder of a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It renews its Lease.
    Alive,
    /// It hasn't renewed its Lease in time; the last time it did, by its own clock.
    Stale(Option<Timestamp>),
    /// It gave its Lease up, at this time by its own clock.
    Stopped(Option<Timestamp>),
    /// There is no Lease.
    NeverSeen,
    /// The Lease was there when this process began to watch, and neither a renewal nor its
    /// absence was seen for long enough. Nothing may be concluded.
    Unconfirmed,
}

/// What counts as a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    holder: String,
    renewed: Option<Timestamp>,
    duration: Duration,
}

#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// What `watched` was when it was first seen like this.
    at: Duration,
    /// Whether it was seen to change, rather than found.
    confirmed: bool,
}

/// All Leases of the namespace, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    seen: BTreeMap<String, Seen>,
    listing: Option<BTreeMap<String, Seen>>,
    listed: bool,
    /// When the last event came; `None` while the watch is broken.
    heard_at: Option<Duration>,
    /// Time through which the view is known to have worked: the clock that ages are read from.
    watched: Duration,
}

impl Leases {
    /// Whether the first list is whole.
    pub(crate) fn listed(&self) -> bool {
        self.listed
    }

    /// Takes one event of the watch, heard at `now`.
    pub(crate) fn apply(&mut self, event: Event<DeserializeGuard<Lease>>, now: Duration) {
        let silence = self.heard_at.map(|at| now.saturating_sub(at));
        self.watched += silence
            .filter(|&silence| silence <= GAP)
            .unwrap_or_default();
        self.heard_at = Some(now);
        match event {
            Event::Apply(lease) => {
                let seen = self.judged(&lease, true);
                self.seen.insert(lease.name_any(), seen);
            }
            Event::Delete(lease) => {
                self.seen.remove(&lease.name_any());
            }
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(lease) => {
                // Found in the first list, it may be old; found in a later one, it is new since.
                let seen = self.judged(&lease, self.listed);
                let listing = self.listing.get_or_insert_default();
                listing.insert(lease.name_any(), seen);
            }
            Event::InitDone => {
                self.seen = self.listing.take().unwrap_or_default();
                self.listed = true;
            }
        }
    }

    /// The watch broke: until it is back nothing ages.
    pub(crate) fn lost(&mut self) {
        self.heard_at = None;
    }

    fn judged(&self, lease: &DeserializeGuard<Lease>, confirmed: bool) -> Seen {
        let record = record(lease);
        let held = self.seen.get(&lease.name_any());
        if let Some(held) = held.filter(|held| held.record == record) {
            return held.clone();
        }
        Seen {
            record,
            at: self.watched,
            confirmed: confirmed || held.is_some(),
        }
    }

    /// What is known of the holder of the Lease `name`.
    pub(crate) fn life(&self, name: &str) -> Life {
        let Some(seen) = self.seen.get(name) else {
            return Life::NeverSeen;
        };
        if seen.record.holder.is_empty() {
            return Life::Stopped(seen.record.renewed);
        }
        let age = self.watched.saturating_sub(seen.at);
        if age > seen.record.duration {
            Life::Stale(seen.record.renewed)
        } else if seen.confirmed {
            Life::Alive
        } else {
            Life::Unconfirmed
        }
    }
}

fn record(lease: &DeserializeGuard<Lease>) -> Record {
    // A Lease that isn't understood has no holder, so it vouches for nobody.
    let spec = lease.0.as_ref().ok().and_then(|lease| lease.spec.clone());
    let spec = spec.unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .unwrap_or(DEFAULT_DURATION_SECONDS)
        .clamp(*DURATION_SECONDS.start(), *DURATION_SECONDS.end());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time.map(|time| time.0),
        duration: Duration::from_secs(u64::from(seconds.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests;
