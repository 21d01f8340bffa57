//! The disks that are served, and the threads of their shards. Disks come and go while it runs;
//! which, and when, is decided elsewhere.
//!
//! A disk belongs to one pool for life, and the pool's map goes to all its shards. A shard that fails
//! takes its part of its disk with it, and what it held is read elsewhere; the others go on.

use super::identity::Identity;
use super::open::OpenDisk;
use super::peers::Peers;
use super::pool_map::PoolMap;
use super::shard::{self, Start, Told};
use super::view::{Seen, View};
use super::{Event, WAITING_MAX};
use anyhow::{Context, Result, ensure};
use moraine_model::{ClusterId, DiskId};
use moraine_replica::Options as ReplicaOptions;
use moraine_store::format::Superblock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often it is looked whether threads have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long ending may take; a disk that hangs is not waited for.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The served disks.
#[derive(Debug)]
pub(crate) struct Served {
    identity: Arc<Identity>,
    events: mpsc::Sender<Event>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest map of each pool.
    pools: BTreeMap<ClusterId, watch::Sender<Arc<PoolMap>>>,
    disks: BTreeMap<DiskId, Disk>,
}

/// A disk that is served.
#[derive(Debug)]
struct Disk {
    superblock: Superblock,
    shards: Vec<Running>,
}

/// A shard that has a thread.
#[derive(Debug)]
struct Running {
    tell: mpsc::Sender<Told>,
    view: Arc<View>,
    thread: JoinHandle<()>,
}

/// What is to be seen of a disk.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Whose it is and how it is cut up.
    pub(crate) superblock: Superblock,
    /// Its shards, in order.
    pub(crate) shards: Vec<Seen>,
}

/// Threads that have been told to end.
#[derive(Debug)]
#[must_use = "the disk is held until they have ended"]
pub(crate) struct Ending(Vec<JoinHandle<()>>);

impl Served {
    /// Nothing yet. What happens is told to `events`.
    pub(crate) fn new(identity: Arc<Identity>, events: mpsc::Sender<Event>) -> Self {
        Self {
            identity,
            events,
            state: Mutex::default(),
        }
    }

    fn hold(&self) -> MutexGuard<'_, State> {
        // Nothing below panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest map of a pool, for all shards of its disks, those that come later too. Whether it may
    /// follow the one before is the caller's to know.
    pub(crate) fn follow(&self, map: impl Into<PoolMap>) {
        let map: Arc<PoolMap> = Arc::new(map.into());
        let mut state = self.hold();
        let pool = state.pools.entry(map.file.cluster);
        let maps = pool.or_insert_with(|| watch::Sender::new(Arc::clone(&map)));
        maps.send_replace(map);
    }

    /// Serves a disk, in a pool of so many buckets whose map was told.
    pub(crate) fn add(&self, disk: &OpenDisk, buckets: u32) -> Result<()> {
        let superblock = disk.opened.superblock;
        let id = superblock.disk;
        let mut state = self.hold();
        ensure!(
            !state.disks.contains_key(&id),
            "disk {id} is served already: two devices hold the same store, and one is a copy"
        );
        let maps = state.pools.get(&superblock.cluster);
        let maps = maps.with_context(|| format!("the pool {} is unknown", superblock.cluster))?;
        let options = ReplicaOptions {
            buckets,
            ..ReplicaOptions::new(id)
        };
        let shards = 0..superblock.layout.shards;
        let shards = shards.map(|shard| {
            let (tell, told) = mpsc::channel(WAITING_MAX);
            let maps = maps.subscribe();
            let view = Arc::new(View::default());
            let map = Arc::clone(&maps.borrow());
            let start = Start {
                handle: disk.device.handle()?.disk,
                opened: Arc::clone(&disk.opened),
                shard,
                options,
                peers: Peers::new(Arc::clone(&self.identity), map),
                told,
                maps,
                events: self.events.clone(),
                view: Arc::clone(&view),
            };
            let thread = spawn(start, self.events.clone())?;
            Ok(Running { tell, view, thread })
        });
        // If one can't start, those that have are told to end by the loss of their senders.
        let shards = shards.collect::<Result<_>>()?;
        state.disks.insert(id, Disk { superblock, shards });
        Ok(())
    }

    /// Serves a disk no more. It can be opened again when its threads have ended.
    pub(crate) fn remove(&self, disk: DiskId) -> Ending {
        let removed = self.hold().disks.remove(&disk);
        Ending(threads(removed))
    }

    /// Knows nothing of a pool any more, of which no disk is served.
    pub(crate) fn forget(&self, pool: ClusterId) {
        self.hold().pools.remove(&pool);
    }

    /// Serves nothing any more: what is under way is finished first.
    pub(crate) async fn end(&self) {
        let disks = std::mem::take(&mut self.hold().disks);
        let ending = Ending(threads(disks.into_values()));
        ending.wait().await;
    }

    /// How many shards there are, served or failed.
    pub(crate) fn shards(&self) -> usize {
        let state = self.hold();
        state.disks.values().map(|disk| disk.shards.len()).sum()
    }

    /// What is to be seen of a disk, if it is here.
    pub(crate) fn shown(&self, disk: DiskId) -> Option<Shown> {
        let state = self.hold();
        let disk = state.disks.get(&disk)?;
        Some(Shown {
            superblock: disk.superblock,
            shards: disk.shards.iter().map(|shard| shard.view.seen()).collect(),
        })
    }

    /// The cluster as which a connection is answered: the one that is asked for, or any if it isn't
    /// served here.
    pub(super) fn cluster(&self, asked: ClusterId) -> Option<ClusterId> {
        let state = self.hold();
        if state.pools.contains_key(&asked) {
            return Some(asked);
        }
        state.pools.keys().next().copied()
    }

    /// How many shards a disk of this cluster has.
    pub(super) fn shards_of(&self, cluster: ClusterId, disk: DiskId) -> Option<u32> {
        let state = self.hold();
        let superblock = state.disks.get(&disk)?.superblock;
        (superblock.cluster == cluster).then_some(superblock.layout.shards)
    }

    /// The way to a shard.
    pub(super) fn shard(&self, disk: DiskId, shard: u32) -> Option<mpsc::Sender<Told>> {
        let state = self.hold();
        let shards = &state.disks.get(&disk)?.shards;
        let running = shards.get(usize::try_from(shard).ok()?)?;
        Some(running.tell.clone())
    }
}

/// Takes the disks apart: what tells their shards is gone with this, which ends them.
fn threads(disks: impl IntoIterator<Item = Disk>) -> Vec<JoinHandle<()>> {
    let shards = disks.into_iter().flat_map(|disk| disk.shards);
    shards.map(|shard| shard.thread).collect()
}

impl Ending {
    /// Waits for the threads, on a thread that may be blocked; whether all have ended.
    pub(crate) fn join(self) -> bool {
        let started = Instant::now();
        while !self.0.iter().all(JoinHandle::is_finished) {
            if started.elapsed() > END_LIMIT {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Waits for the threads, but not for one whose disk hangs.
    pub(crate) async fn wait(self) {
        let all = async {
            while !self.0.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, all).await.is_err() {
            tracing::warn!("a shard doesn't end: its disk may hang");
        }
    }
}

/// Gives a shard its thread. How it ends, if it does, is shown and told.
fn spawn(start: Start, events: mpsc::Sender<Event>) -> Result<JoinHandle<()>> {
    let (disk, shard) = (start.options.disk, start.shard);
    let view = Arc::clone(&start.view);
    let named = std::thread::Builder::new().name(format!("shard-{shard}"));
    let body = move || match shard::run(start) {
        Ok(()) => view.ended(None),
        Err(error) => {
            let error = error.context(format!("disk {disk}, shard {shard}"));
            tracing::error!("a shard is not served any more: {error:#}");
            view.ended(Some(format!("{error:#}")));
            // Nobody listens any more only when the program ends anyway.
            let _ = events.blocking_send(Event::Ended);
        }
    };
    named.spawn(body).context("starting the thread of a shard")
}
