//! The disks of this node in a cluster: which are held for which pool, opened, served, and told the
//! newest maps. It is fed by the looks at the devices (`scan`) and by the pool's objects (`observe`).
//!
//! ```text
//!  BucketMaps ── newer ones, kept first ──> served (data plane)
//!  devices ───── taken by their pool ─────> served
//!  served ────── counters, events ────────> said, to be reported
//! ```
//!
//! A disk that was taken is held until its pool's BucketMap is gone, whatever becomes of node and pool
//! meanwhile; then it is closed and left as it is. Nothing here ever wipes a disk that holds a pool's
//! data: what may be formatted is judged in `devices`.

mod answers;
mod claims;
mod feed;
mod kept;
mod maps;
mod metrics;
mod said;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub(crate) use claims::{DeviceClaim, Pool as ClaimingPool};
pub(crate) use feed::{follow_maps, say};
pub(crate) use kept::Kept;
pub(crate) use metrics::DiskMetrics;
pub(crate) use said::Said;

use crate::data::identity::Identity;
use crate::data::open;
use crate::data::served::{Ending, Served};
use crate::data::{Event, WAITING_MAX};
use answers::Answers;
use anyhow::{Context, Result, ensure};
use kept::Record;
use maps::{news, pool_map};
use moraine_crds::{BucketMap, DiskHealth};
use moraine_model::{ClusterId, DiskId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// All disks that are held, served or not.
#[derive(Debug)]
pub(crate) struct Serving {
    served: Arc<Served>,
    kept: Kept,
    /// The folder that holds the node's `/dev`, if devices are its business.
    root: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pools: BTreeMap<ClusterId, Pool>,
    disks: BTreeMap<DiskId, Held>,
}

/// A pool whose BucketMap is known.
#[derive(Debug)]
struct Pool {
    /// The newest map that was taken.
    map: BucketMap,
    /// What was last said against a newer one.
    complaint: Option<String>,
}

/// A disk that is held.
#[derive(Debug)]
struct Held {
    record: Record,
    standing: Standing,
    /// What a person should know though the disk is healthy.
    note: Option<String>,
    answers: Answers,
    /// When it was added, or tried last.
    added: Instant,
    /// Its health as it was said last, and since when.
    health: Option<(DiskHealth, String)>,
}

/// How a held disk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The data plane has it; its shards may have failed there.
    Served,
    /// It could not be opened.
    Failed(String),
    /// It isn't there.
    Missing(String),
}

impl Serving {
    /// Holds nothing yet; the events are those of the disks.
    pub(crate) fn new(
        kept: Kept,
        identity: Arc<Identity>,
        root: Option<PathBuf>,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (events, happened) = mpsc::channel(WAITING_MAX);
        let serving = Self {
            served: Arc::new(Served::new(identity, events)),
            kept,
            root,
            state: Mutex::default(),
        };
        (serving, happened)
    }

    /// The part that the listener needs.
    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.served
    }

    fn hold(&self) -> MutexGuard<'_, State> {
        // It is held for the writing of small files at most, and each change is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves what was served before the restart, with the maps that were kept. Blocks.
    pub(crate) fn restore(&self) -> Result<()> {
        for map in self.kept.maps()? {
            match pool_map(&map).and_then(|file| Ok((map.cluster()?, file))) {
                Ok((id, file)) => {
                    self.served.follow(file);
                    let complaint = None;
                    self.hold().pools.insert(id, Pool { map, complaint });
                }
                Err(error) => tracing::error!("a kept map is left out: {error}"),
            }
        }
        for record in self.kept.disks() {
            let buckets = self.buckets(record.pool_id);
            let (id, path) = (record.id, record.path.clone());
            let standing = match buckets {
                Some(buckets) => self.reopen(&record, buckets),
                None => Standing::Failed("the map of its pool is not known yet".to_owned()),
            };
            tracing::info!(disk = %id, path, ?standing, "a disk that was taken before");
            self.hold().disks.insert(id, Held::new(record, standing));
        }
        Ok(())
    }

    /// How many buckets a pool has, if it is known.
    fn buckets(&self, pool: ClusterId) -> Option<u32> {
        let state = self.hold();
        state.pools.get(&pool).map(|pool| pool.map.spec.buckets)
    }

    /// The pools that there are, as far as is known.
    pub(crate) fn pools(&self) -> BTreeSet<ClusterId> {
        self.hold().pools.keys().copied().collect()
    }

    /// Where a disk is opened.
    fn place(&self, record: &Record) -> Option<PathBuf> {
        if record.is_file {
            return Some(PathBuf::from(&record.path));
        }
        let below = record.path.trim_start_matches('/');
        Some(self.root.as_ref()?.join(below))
    }

    /// Opens a disk that was taken, where it was, and serves it.
    fn reopen(&self, record: &Record, buckets: u32) -> Standing {
        let Some(path) = self.place(record) else {
            return Standing::Missing(
                "the agent may not look at devices (agent.rawDisks of the chart)".to_owned(),
            );
        };
        if !path.exists() {
            return Standing::Missing(format!("{} is not there", record.path));
        }
        let opened = open::open(&path, record.pool_id).and_then(|disk| {
            let found = disk.opened.superblock.disk;
            ensure!(
                found == record.id,
                "{} is disk {found} now: names of devices change, those below /dev/disk/by-id don't",
                record.path
            );
            self.served.add(&disk, buckets)
        });
        match opened {
            Ok(()) => Standing::Served,
            Err(error) => Standing::Failed(format!("{error:#}")),
        }
    }

    /// Takes the BucketMaps as the API server has them, all of them: the newer ones are kept and told,
    /// and pools that are gone are given up. `is_there` says whether a map of this name may be there
    /// all the same. What is returned has to be waited for. Blocks.
    pub(crate) fn take_maps(
        &self,
        told: &[BucketMap],
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<Ending> {
        let mut there = BTreeSet::new();
        for map in told {
            match map.cluster() {
                Ok(id) => {
                    there.insert(id);
                    self.take_map(id, map);
                }
                Err(error) => tracing::error!(pool = map.spec.pool, "its map is left out: {error}"),
            }
        }
        let gone: Vec<ClusterId> = {
            let state = self.hold();
            let pools = state.pools.iter();
            let gone = pools.filter(|(id, pool)| {
                !there.contains(*id) && !is_there(pool.map.spec.pool.as_str())
            });
            gone.map(|(id, _)| *id).collect()
        };
        gone.into_iter()
            .flat_map(|pool| self.give_up(pool))
            .collect()
    }

    fn take_map(&self, id: ClusterId, told: &BucketMap) {
        let taken = {
            let mut state = self.hold();
            let served = state.pools.get(&id).map(|pool| &pool.map);
            match news(served, told) {
                Ok(taken) => taken,
                Err(error) => {
                    let complaint = error.to_string();
                    if let Some(pool) = state.pools.get_mut(&id) {
                        if pool.complaint.as_ref() == Some(&complaint) {
                            return;
                        }
                        pool.complaint = Some(complaint);
                    }
                    tracing::error!(pool = told.spec.pool, "the BucketMap is not taken: {error}");
                    return;
                }
            }
        };
        let Some(file) = taken else { return };
        // Kept before it is told, so that after a crash no shard knows more than the agent. If it can't
        // be kept it is told all the same: without it the engines would wait, and each disk has its own
        // note of every entry that concerns it.
        if let Err(error) = self.kept.keep_map(id, told) {
            tracing::error!(
                pool = told.spec.pool,
                "the map can't be kept for a restart: {error:#}"
            );
        }
        self.served.follow(file);
        let pool = Pool {
            map: told.clone(),
            complaint: None,
        };
        self.hold().pools.insert(id, pool);
    }

    /// A pool is gone: its disks are closed and left as they are.
    fn give_up(&self, id: ClusterId) -> Vec<Ending> {
        let mut state = self.hold();
        state.pools.remove(&id);
        let of_pool = state
            .disks
            .extract_if(.., |_, held| held.record.pool_id == id);
        let disks: Vec<DiskId> = of_pool.map(|(disk, _)| disk).collect();
        tracing::warn!(pool = %id, ?disks, "the pool's BucketMap is gone: its disks are closed and left as they are");
        // The list first: after a crash none of them is opened again for a pool that is gone.
        self.keep_disks(&state);
        drop(state);
        self.kept.drop_map(id);
        let endings = disks.iter().map(|disk| self.served.remove(*disk));
        let endings = endings.collect();
        self.served.forget(id);
        endings
    }

    /// Forgets disks that are gone for good: they are not there, and the operator says that nothing on
    /// them is needed any more.
    pub(crate) fn forget_evicted(&self, evicted: &[String]) {
        if evicted.is_empty() {
            return;
        }
        let mut state = self.hold();
        let gone = state.disks.extract_if(.., |id, held| {
            matches!(held.standing, Standing::Missing(_)) && evicted.contains(&id.to_string())
        });
        let gone: Vec<DiskId> = gone.map(|(id, _)| id).collect();
        if gone.is_empty() {
            return;
        }
        tracing::info!(disks = ?gone, "evicted, not there any more, and forgotten");
        self.keep_disks(&state);
        drop(state);
        for disk in gone {
            // Nothing is opened again under this id, so nobody waits for its threads.
            let _ = self.served.remove(disk);
        }
    }

    /// Keeps the list of disks. Only a restart needs it, and then the devices are looked at anyway, so
    /// that it can't be kept stops nothing.
    fn keep_disks(&self, state: &State) {
        let records = state.disks.values().map(|held| &held.record);
        if let Err(error) = self.kept.keep_disks(records) {
            tracing::error!("the list of disks can't be kept for a restart: {error:#}");
        }
    }

    /// Takes an event of the data plane; whether there is something new to say.
    pub(crate) fn hear(&self, event: &Event) -> bool {
        match event {
            Event::Ended => true,
            Event::Synced {
                disk,
                bucket,
                since,
            } => {
                let mut state = self.hold();
                let held = state.disks.get_mut(disk);
                held.is_some_and(|held| held.answers.synced(bucket.get(), since.0))
            }
        }
    }

    /// Closes all disks; what is under way is finished first.
    pub(crate) async fn end(&self) {
        self.served.end().await;
    }

    /// A disk of a pool is held from now on, and kept so.
    fn insert(&self, record: Record, standing: Standing) {
        let mut state = self.hold();
        state.disks.insert(record.id, Held::new(record, standing));
        self.keep_disks(&state);
    }

    /// Serves an open disk of a pool.
    fn serve(&self, disk: &open::OpenDisk) -> Result<()> {
        let superblock = disk.opened.superblock;
        let buckets = self.buckets(superblock.cluster);
        let buckets = buckets.context("the pool's BucketMap is not known")?;
        self.served.add(disk, buckets)
    }
}

impl Held {
    fn new(record: Record, standing: Standing) -> Self {
        Self {
            record,
            standing,
            note: None,
            answers: Answers::default(),
            added: Instant::now(),
            health: None,
        }
    }
}
