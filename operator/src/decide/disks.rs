//! The disks of a pool as placement sees them: those that its map names, then those that nodes report
//! besides.
//!
//! A disk is known by its id wherever it is plugged in. Not here: what follows for the map.

use super::members::{Home, home};
use super::node::places;
use super::{Memory, lease_of};
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use moraine_crds::conditions::DISKS_HEALTHY;
use moraine_crds::observation::find;
use moraine_crds::{
    Answer as SaidWord, BucketMapStatus, DiskEntry, DiskHealth, DiskStatus, StorageNode,
    StoragePool,
};
use moraine_placement::{Answer, Disk, Health, Place, Said, View};
use std::collections::{BTreeMap, BTreeSet};

/// How long a node must have been ready again before its disks get their buckets back, so that one
/// that comes and goes doesn't make a storm of changes.
const STEADY: SignedDuration = SignedDuration::from_secs(5);
/// For how long a disk that refused an offer is asked for nothing.
const REFUSED: SignedDuration = SignedDuration::from_secs(60);
/// The most disks that a map has room for.
const DISKS_MAX: usize = 4096;

/// The disks of a pool, by place.
#[derive(Debug, Default)]
pub(super) struct Disks {
    pub(super) entries: Vec<DiskEntry>,
    pub(super) views: Vec<View>,
    pub(super) answers: Vec<Answer>,
    /// Whether some disk has held buckets of the pool.
    pub(super) were_used: bool,
    /// Whether of some disk it isn't known what it is, so that no plan can be right.
    pub(super) is_blind: bool,
    /// Bytes in use, by place.
    pub(super) used_bytes: Vec<u64>,
}

/// A disk as its node reports it.
#[derive(Clone, Copy)]
struct Report<'a> {
    node: &'a StorageNode,
    disk: &'a DiskStatus,
}

impl Disks {
    /// What is known now.
    pub(super) fn of(
        pool: &StoragePool,
        map: Option<&BucketMapStatus>,
        world: &World,
        memory: &Memory,
        now: Timestamp,
    ) -> Self {
        let reports = reports(&pool.name_any(), world);
        let entries = entries(map, &reports);
        let homes: Vec<Option<Home<'_>>> = entries
            .iter()
            .map(|entry| home(pool, world, &entry.node))
            .collect();
        let domains: BTreeSet<&str> = homes.iter().flatten().filter_map(|h| h.domain).collect();
        let domains: BTreeMap<&str, u32> = domains.into_iter().zip(0..).collect();
        let mut disks = Self::default();
        for ((entry, home), place) in entries.iter().zip(&homes).zip(0..) {
            let report = reports.get(&*entry.id).copied();
            let eye = Eye { pool, memory, now };
            let mut view = eye.view(&entry.id, home.as_ref(), report);
            let domain = home.as_ref().and_then(|home| home.domain);
            view.disk.domain = domain.and_then(|domain| domains.get(domain).copied());
            if report.is_none() {
                let life = world.leases.life(&lease_of(&entry.node));
                view.health = eye.absence(home.as_ref(), life);
                disks.is_blind |= view.health == Health::Unknown;
            }
            disks.views.push(view);
            disks
                .used_bytes
                .push(report.map_or(0, |report| report.disk.used_bytes));
            disks.were_used |= report.is_some_and(|report| report.disk.epoch > 0);
            disks
                .answers
                .extend(report.iter().flat_map(|r| answers(r.disk, place)));
        }
        disks.entries = entries;
        disks
    }

    /// A disk as the map names it.
    pub(super) fn entry(&self, place: Place) -> Option<&DiskEntry> {
        at(&self.entries, place)
    }

    /// Name of the node of a disk.
    pub(super) fn node(&self, place: Place) -> &str {
        self.entry(place).map_or("", |entry| &entry.node)
    }

    /// Whether a disk serves.
    pub(super) fn serves(&self, place: Place) -> bool {
        at(&self.views, place).is_some_and(|view| view.health == Health::Serves)
    }

    /// Bytes in use on a disk, as far as is known.
    pub(super) fn used_bytes(&self, place: Place) -> u64 {
        at(&self.used_bytes, place).copied().unwrap_or_default()
    }
}

fn at<T>(list: &[T], place: Place) -> Option<&T> {
    list.get(usize::try_from(place).ok()?)
}

/// What nodes report, by id of the disk; of a disk that was moved, what its new home says.
fn reports<'a>(pool: &str, world: &'a World) -> BTreeMap<&'a str, Report<'a>> {
    let mut best: BTreeMap<&str, (bool, bool, Report<'a>)> = BTreeMap::new();
    for (name, node) in world.storage_nodes.iter() {
        let alive = world.leases.life(&lease_of(name)) == Life::Alive;
        let disks = node.status.iter().flat_map(|status| &status.disks);
        for disk in disks.filter(|disk| disk.pool == pool) {
            let there = disk.health != DiskHealth::Missing;
            let report = (there, alive, Report { node, disk });
            let held = best.entry(&disk.id).or_insert(report);
            if (held.0, held.1) < (there, alive) {
                *held = report;
            }
        }
    }
    let best = best.into_iter();
    best.map(|(id, (_, _, report))| (id, report)).collect()
}

/// The map's list of disks with what is new: places stay; those that nothing refers to and nobody
/// reports are given to new disks.
fn entries(map: Option<&BucketMapStatus>, reports: &BTreeMap<&str, Report<'_>>) -> Vec<DiskEntry> {
    let mut entries = map.map(|map| map.disks.clone()).unwrap_or_default();
    let used: BTreeSet<u32> = map
        .iter()
        .flat_map(|map| &map.buckets)
        .flat_map(places)
        .collect();
    for entry in &mut entries {
        if let Some(report) = reports.get(&*entry.id) {
            let mut now = named(report);
            if now.addresses.is_empty() {
                // Its agent is away or just begins: where it served last is the best guess.
                now.addresses.clone_from(&entry.addresses);
            }
            *entry = now;
        }
    }
    let known: BTreeSet<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let mut new = reports.iter().filter(|(id, _)| !known.contains(**id));
    let mut free = (0..)
        .zip(&mut entries)
        .filter(|(place, entry)| !used.contains(place) && !reports.contains_key(&*entry.id));
    let mut appended = Vec::new();
    for (_, report) in &mut new {
        match free.next() {
            Some((_, entry)) => *entry = named(report),
            None => appended.push(named(report)),
        }
    }
    drop(free);
    entries.extend(appended);
    entries.truncate(DISKS_MAX);
    entries
}

fn named(report: &Report<'_>) -> DiskEntry {
    let status = report.node.status.as_ref();
    DiskEntry {
        node: report.node.name_any(),
        id: report.disk.id.clone(),
        shards: report.disk.shards.max(1),
        addresses: status
            .map(|status| status.addresses.clone())
            .unwrap_or_default(),
    }
}

fn answers(disk: &DiskStatus, place: Place) -> impl Iterator<Item = Answer> {
    disk.reports.iter().map(move |report| Answer {
        disk: place,
        bucket: report.bucket,
        since: report.epoch,
        said: match report.answer {
            SaidWord::Accepted => Said::Accepted,
            SaidWord::Refused => Said::Refused,
            SaidWord::Synced => Said::Synced,
        },
    })
}

/// What a disk is judged with.
struct Eye<'a> {
    pool: &'a StoragePool,
    memory: &'a Memory,
    now: Timestamp,
}

impl Eye<'_> {
    fn view(&self, id: &str, home: Option<&Home<'_>>, report: Option<Report<'_>>) -> View {
        let Some(Report { node, disk }) = report else {
            let disk = Disk {
                domain: None,
                weight: u64::from(home.is_some()),
                takes: false,
            };
            let health = Health::Unknown;
            return View { disk, health };
        };
        let order = node.spec.disks.iter().find(|order| order.id == disk.id);
        let evict = node.spec.evict || order.is_some_and(|order| order.evict);
        let fits = home.is_none_or(|home| home.fits);
        let asked = node.spec.schedulable && order.is_none_or(|order| order.schedulable);
        let near_full = u64::from(self.pool.spec.full_ratios.near_full_percent);
        let room = u128::from(disk.used_bytes) * 100
            <= u128::from(disk.size_bytes) * u128::from(near_full);
        let refused = self.memory.refused.get(id);
        let refused = refused.is_some_and(|&at| self.now.duration_since(at) < REFUSED);
        View {
            disk: Disk {
                domain: None,
                weight: if evict || !fits {
                    0
                } else {
                    disk.size_bytes.max(1)
                },
                takes: asked && room && !refused,
            },
            health: self.health(home, node, disk),
        }
    }

    fn health(&self, home: Option<&Home<'_>>, node: &StorageNode, disk: &DiskStatus) -> Health {
        let Some(home) = home else {
            return Health::Out;
        };
        let since = match home.life {
            Life::Unconfirmed => return Health::Unknown,
            Life::Alive if matches!(disk.health, DiskHealth::Healthy | DiskHealth::Failing) => {
                let doubted = self.memory.suspicions.is_doubted(&disk.id, self.now);
                return if doubted {
                    Health::Down
                } else {
                    self.steady(home, node)
                };
            }
            Life::Alive => unhealthy_since(node),
            Life::Stale(_) | Life::Stopped(_) | Life::NeverSeen if home.said_ready => None,
            Life::Stale(_) | Life::Stopped(_) | Life::NeverSeen => home.since,
        };
        self.awaited(since)
    }

    /// Of a disk that no node reports.
    fn absence(&self, home: Option<&Home<'_>>, life: Life) -> Health {
        match home {
            // Its agent has just begun, or its object was deleted and is about to be made again.
            None if matches!(life, Life::Alive | Life::Unconfirmed) => Health::Unknown,
            Some(home) if home.life == Life::Unconfirmed => Health::Unknown,
            Some(home) if home.life == Life::Alive && !home.has_looked => Health::Unknown,
            // It lives and hasn't got it: the node was made anew, or the disk was taken out.
            Some(home) if home.life == Life::Alive => {
                self.awaited(home.since.filter(|_| home.said_ready))
            }
            // A person deleted the object of a node that is gone, or the node is as good as that.
            _ => Health::Out,
        }
    }

    /// Of a disk that doesn't serve since then, if that is known.
    fn awaited(&self, since: Option<Timestamp>) -> Health {
        let interval = self.pool.spec.recovery.down_out_interval.duration();
        let waited = since.map(|since| self.now.duration_since(since));
        let waited = waited.and_then(|waited| waited.try_into().ok());
        // An interval that can't be read is waited for ever: the schema doesn't let one in.
        match (waited, interval) {
            (Some::<std::time::Duration>(waited), Ok(interval)) if waited >= interval => {
                Health::Out
            }
            _ => Health::Down,
        }
    }

    /// A disk that works as far as its node can tell, and the node lives.
    fn steady(&self, home: &Home<'_>, node: &StorageNode) -> Health {
        let status = node.status.as_ref();
        let serves = status.is_some_and(|status| !status.addresses.is_empty());
        let since = home.since.map(|since| self.now.duration_since(since));
        let restless = !home.said_ready || since.is_some_and(|since| since < STEADY);
        // A node that was never said not to be ready has just come, which is no unrest.
        let fresh = home.since.is_none();
        if serves && (fresh || !restless) {
            Health::Serves
        } else {
            Health::Unknown
        }
    }
}

/// Since when some disk of the node doesn't work.
fn unhealthy_since(node: &StorageNode) -> Option<Timestamp> {
    let conditions = node.status.as_ref().map(|status| &status.conditions[..]);
    let healthy = find(conditions.unwrap_or_default(), DISKS_HEALTHY)?;
    (healthy.status != "True").then_some(healthy.last_transition_time.0)
}
