//! What is said of the disks: their part of the StorageNode's status, from how they stand.

use super::answers::{Room, place_of};
use super::{Held, Serving, Standing, State};
use crate::data::served::Shown;
use crate::data::view::Seen;
use k8s_openapi::jiff::Timestamp;
use moraine_crds::{DiskHealth, DiskStatus, StoragePool};
use moraine_model::{BLOCK_BYTES, DiskId};
use std::collections::BTreeMap;
use std::sync::TryLockError;
use std::time::Duration;

/// How long a disk that is being opened is waited for, before it is said that it doesn't serve.
const OPENING_LIMIT: Duration = Duration::from_mins(1);
/// The most characters of a message.
const MESSAGE_LIMIT: usize = 1000;
/// The near-full ratio of a pool whose object isn't known.
const NEAR_FULL_PERCENT: u32 = 80;

/// What there is to say of the disks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// Whether any of them is served.
    pub(crate) serves: bool,
    /// Each, in order of id.
    pub(crate) disks: Vec<DiskStatus>,
}

impl Serving {
    /// What there is to say now; nothing while a disk is being opened, for it would be said to be
    /// broken, or while the state is being changed.
    pub(crate) fn said(
        &self,
        pools: &BTreeMap<String, StoragePool>,
        now: Timestamp,
    ) -> Option<Said> {
        // Not waited for: the folder in which it is kept may hang.
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let mut said = Said::default();
        let State {
            pools: maps, disks, ..
        } = &mut *state;
        for (id, held) in disks {
            let shown = self.served.shown(*id);
            if is_opening(held, shown.as_ref()) {
                return None;
            }
            let (health, why) = health(held, shown.as_ref());
            let used_bytes = shown.as_ref().map_or(0, used);
            let mut status = DiskStatus {
                health,
                message: held.message(health, why, now),
                epoch: shown.as_ref().and_then(epoch).unwrap_or(0),
                used_bytes,
                ..plain(*id, held)
            };
            let serves = matches!(health, DiskHealth::Healthy | DiskHealth::Failing);
            said.serves |= serves;
            if let Some(map) = maps.get(&held.record.pool_id).map(|pool| &pool.map)
                && let Some(place) = place_of(map, *id)
            {
                let percent = near_full(pools.get(&held.record.pool));
                let room = match &shown {
                    Some(shown) if serves => Ok(room(shown, percent)),
                    _ => Err("the disk is not served".to_owned()),
                };
                status.reports = held.answers.reports(map, place, &room);
            }
            said.disks.push(status);
        }
        Some(said)
    }

    /// What is to be seen of each disk that is served, with the name of its pool.
    pub(super) fn shown(&self) -> Vec<(DiskId, String, Shown)> {
        let state = self.hold();
        let disks = state.disks.iter();
        let shown = disks.filter_map(|(id, held)| {
            Some((*id, held.record.pool.clone(), self.served.shown(*id)?))
        });
        shown.collect()
    }
}

/// What never changes about a disk.
fn plain(id: DiskId, held: &Held) -> DiskStatus {
    let record = &held.record;
    DiskStatus {
        id: id.to_string(),
        pool: record.pool.clone(),
        path: record.path.clone(),
        model: record.model.clone(),
        serial: record.serial.clone(),
        shards: record.shards,
        epoch: 0,
        size_bytes: record.size_bytes,
        used_bytes: 0,
        health: DiskHealth::Healthy,
        message: None,
        to_copy_bytes: None,
        reports: Vec::new(),
    }
}

fn near_full(pool: Option<&StoragePool>) -> u32 {
    pool.map_or(NEAR_FULL_PERCENT, |pool| {
        pool.spec.full_ratios.near_full_percent
    })
}

/// Whether its shards still read what is on it.
fn is_opening(held: &Held, shown: Option<&Shown>) -> bool {
    let shards = shown.into_iter().flat_map(|shown| &shown.shards);
    let mut opening = shards.filter(|seen| !seen.serves && seen.failure.is_none());
    held.standing == Standing::Served
        && held.added.elapsed() < OPENING_LIMIT
        && opening.next().is_some()
}

/// How a disk is, and why it isn't well.
fn health(held: &Held, shown: Option<&Shown>) -> (DiskHealth, Option<String>) {
    match (&held.standing, shown) {
        (Standing::Missing(why), _) => (DiskHealth::Missing, Some(why.clone())),
        (Standing::Failed(why), _) => (DiskHealth::Failed, Some(why.clone())),
        (Standing::Served, None) => (DiskHealth::Failed, Some("it isn't served".to_owned())),
        (Standing::Served, Some(shown)) => health_of(&shown.shards),
    }
}

fn health_of(shards: &[Seen]) -> (DiskHealth, Option<String>) {
    if let Some(why) = shards.iter().find_map(|seen| seen.failure.clone()) {
        return (DiskHealth::Failed, Some(why));
    }
    if shards.iter().any(|seen| !seen.serves) {
        let why = "it takes long to read what is on it";
        return (DiskHealth::Failed, Some(why.to_owned()));
    }
    // Without their numbers, which the metrics have: a message that changes is a write.
    let any = |count: fn(&Seen) -> u64| shards.iter().any(|seen| count(seen) > 0);
    let errors = [
        ("blocks were damaged", any(|seen| seen.store.corrupt_blocks)),
        ("reads failed", any(|seen| seen.store.read_failures)),
        ("writes failed", any(|seen| seen.recoveries)),
    ];
    let seen = errors.iter().filter(|(_, seen)| *seen);
    let seen: Vec<&str> = seen.map(|(what, _)| *what).collect();
    if seen.is_empty() {
        return (DiskHealth::Healthy, None);
    }
    let why = format!(
        "errors were seen since the agent started: {}; replace the disk if it goes on",
        seen.join(", ")
    );
    (DiskHealth::Failing, Some(why))
}

impl Held {
    /// What a person should know, with the time since when for what isn't well.
    fn message(
        &mut self,
        health: DiskHealth,
        why: Option<String>,
        now: Timestamp,
    ) -> Option<String> {
        let Some(why) = why else {
            self.health = None;
            return self.note.clone();
        };
        if self.health.as_ref().is_none_or(|(held, _)| *held != health) {
            let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
            self.health = Some((health, second.to_string()));
        }
        let since = self.health.as_ref().map_or("", |(_, since)| since);
        let why: String = why.chars().take(MESSAGE_LIMIT - since.len() - 10).collect();
        Some(format!("{why} (since {since})"))
    }
}

fn segment_bytes(shown: &Shown) -> u64 {
    u64::from(shown.superblock.layout.segment_blocks) * BLOCK_BYTES as u64
}

/// Bytes in use, in whole segments.
pub(super) fn used(shown: &Shown) -> u64 {
    let segments: u64 = shown.shards.iter().map(|seen| seen.store.segments).sum();
    segments * segment_bytes(shown)
}

/// Bytes that the disk can hold.
pub(super) fn size(shown: &Shown) -> u64 {
    u64::from(shown.superblock.layout.segments) * segment_bytes(shown)
}

fn room(shown: &Shown, near_full_percent: u32) -> Room {
    let usable = u128::from(size(shown)) * u128::from(near_full_percent) / 100;
    Room {
        usable: u64::try_from(usable).unwrap_or(u64::MAX),
        used: used(shown),
        segment: segment_bytes(shown),
    }
}

fn epoch(shown: &Shown) -> Option<u64> {
    let epochs = shown.shards.iter().filter_map(|seen| seen.epoch);
    epochs.max().map(|epoch| epoch.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Seen {
        Seen {
            serves: true,
            ..Seen::default()
        }
    }

    #[test]
    fn one_shard_that_failed_makes_the_disk_failed_and_errors_make_it_failing() {
        assert_eq!(
            health_of(&[serving(), serving()]),
            (DiskHealth::Healthy, None)
        );
        let mut bad = serving();
        bad.store.corrupt_blocks = 1;
        bad.recoveries = 2;
        let (health, why) = health_of(&[serving(), bad.clone()]);
        assert_eq!(health, DiskHealth::Failing);
        let why = why.unwrap();
        assert!(why.contains("damaged, writes failed;"), "{why}");
        let ended = Seen {
            failure: Some("the ring broke".to_owned()),
            ..Seen::default()
        };
        let (health, why) = health_of(&[bad, ended]);
        assert_eq!(
            (health, why.as_deref()),
            (DiskHealth::Failed, Some("the ring broke"))
        );
        assert_eq!(
            health_of(&[serving(), Seen::default()]).0,
            DiskHealth::Failed
        );
    }
}
