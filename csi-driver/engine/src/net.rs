//! Disks and the paths to them: credits, balance, latency, suspicion. It moves keys of requests
//! about and knows nothing of what they ask.

use crate::asks::{Asks, Waits};
use crate::deadlines::Deadlines;
use crate::interface::PathId;
use moraine_model::{BucketId, DiskId};
use moraine_protocol::RequestId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Latency is kept in eighths of a millisecond, as a mean in which the past fades.
const FADE: u64 = 8;
/// How much better than the local replica another one must look to be read instead.
const LOCAL_BONUS: u64 = 4;

/// What speaks against a disk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doubts {
    /// It has been without a path, or has owed an answer, for too long.
    pub(crate) late: bool,
    /// So many requests it has refused for too long: for want of room, or for whatever reason.
    pub(crate) stuck: usize,
}

impl Doubts {
    pub(crate) fn any(self) -> bool {
        self.late || self.stuck > 0
    }
}

/// A disk that holds replicas of the volume.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    paths: Vec<PathId>,
    local: bool,
    /// Requests that wait for credit.
    queue: VecDeque<usize>,
    /// Requests that wait for answers.
    outstanding: usize,
    latency: u64,
    /// Since when it has had no path.
    pub(crate) pathless_since: Option<u64>,
    pub(crate) doubts: Doubts,
    /// The buckets whose entries have ever listed it.
    pub(crate) buckets: BTreeSet<BucketId>,
    /// Buckets that wait to be opened, and how many are being opened.
    pub(crate) to_open: BTreeSet<BucketId>,
    pub(crate) opening: usize,
    /// Whether it is among those to be looked at for something to send.
    stirred: bool,
}

impl Disk {
    pub(crate) fn has_path(&self) -> bool {
        !self.paths.is_empty()
    }

    /// How long a read would probably take here: the less the better.
    pub(crate) fn burden(&self) -> u64 {
        let waiting = (self.outstanding + self.queue.len()) as u64;
        let burden = (waiting + 1) * (self.latency + FADE);
        if self.local {
            burden / LOCAL_BONUS
        } else {
            burden
        }
    }
}

#[derive(Debug)]
struct Path {
    disk: usize,
    credits: usize,
    outstanding: usize,
    local: bool,
    /// What was sent, the oldest first.
    sent: Deadlines<RequestId>,
}

/// All disks, paths and requests.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) asks: Asks,
    disks: Vec<Disk>,
    numbers: BTreeMap<DiskId, usize>,
    paths: BTreeMap<PathId, Path>,
    stirred: Vec<usize>,
}

impl Net {
    /// The number of a disk, which it gets when it is first named.
    pub(crate) fn number(&mut self, id: DiskId, now_ms: u64) -> usize {
        *self.numbers.entry(id).or_insert_with(|| {
            self.disks.push(Disk {
                id,
                paths: Vec::new(),
                local: false,
                queue: VecDeque::new(),
                outstanding: 0,
                latency: 0,
                pathless_since: Some(now_ms),
                doubts: Doubts::default(),
                buckets: BTreeSet::new(),
                to_open: BTreeSet::new(),
                opening: 0,
                stirred: false,
            });
            self.disks.len() - 1
        })
    }

    /// The time before which nothing was waited for.
    pub(crate) fn set_clock(&mut self, now_ms: u64) {
        for disk in &mut self.disks {
            disk.pathless_since = disk.pathless_since.map(|_| now_ms);
        }
    }

    pub(crate) fn disk(&self, disk: usize) -> &Disk {
        &self.disks[disk]
    }

    pub(crate) fn disk_mut(&mut self, disk: usize) -> &mut Disk {
        &mut self.disks[disk]
    }

    pub(crate) fn disks(&self) -> usize {
        self.disks.len()
    }

    /// A path comes up. One that is up already stays as it is.
    pub(crate) fn connect(&mut self, path: PathId, number: usize, credits: u32, local: bool) {
        let fresh = Path {
            disk: number,
            credits: credits.max(1) as usize,
            outstanding: 0,
            local,
            sent: Deadlines::default(),
        };
        if self.paths.contains_key(&path) {
            return;
        }
        self.paths.insert(path, fresh);
        let disk = &mut self.disks[number];
        disk.paths.push(path);
        disk.local |= local;
        disk.pathless_since = None;
        self.stir(number);
    }

    /// A path is gone. Returns its disk and the requests that were unanswered on it, in order; they
    /// wait nowhere now.
    pub(crate) fn disconnect(&mut self, path: PathId, now_ms: u64) -> Option<(usize, Vec<usize>)> {
        let mut gone = self.paths.remove(&path)?;
        let number = gone.disk;
        let asks = &self.asks;
        let lives = |id| {
            asks.named(id)
                .filter(|(_, ask)| ask.waits == Waits::On(path))
        };
        let keys = gone.sent.drain().filter_map(lives).map(|(key, _)| key);
        let keys: Vec<usize> = keys.collect();
        assert_eq!(keys.len(), gone.outstanding, "a path knows its requests");
        let disk = &mut self.disks[number];
        disk.outstanding -= gone.outstanding;
        disk.paths.retain(|other| *other != path);
        let paths = &self.paths;
        disk.local = disk.paths.iter().any(|path| paths[path].local);
        if disk.paths.is_empty() {
            disk.pathless_since = Some(now_ms);
        }
        Some((number, keys))
    }

    /// Notes that there may be something to send to a disk.
    pub(crate) fn stir(&mut self, disk: usize) {
        if !std::mem::replace(&mut self.disks[disk].stirred, true) {
            self.stirred.push(disk);
        }
    }

    /// A disk for which there may be something to send.
    pub(crate) fn next_stirred(&mut self) -> Option<usize> {
        let disk = self.stirred.pop()?;
        self.disks[disk].stirred = false;
        Some(disk)
    }

    /// Puts a request behind all that wait for the disk.
    pub(crate) fn queue(&mut self, key: usize) {
        let ask = self.asks.get_mut(key);
        ask.waits = Waits::InQueue;
        let disk = ask.disk;
        self.disks[disk].queue.push_back(key);
        self.stir(disk);
    }

    /// Puts requests before all that wait for the disk, in their order.
    pub(crate) fn queue_first(&mut self, disk: usize, keys: &[usize]) {
        for key in keys.iter().rev() {
            self.asks.get_mut(*key).waits = Waits::InQueue;
            self.disks[disk].queue.push_front(*key);
        }
        self.stir(disk);
    }

    /// Takes all that wait for the disk.
    pub(crate) fn take_queue(&mut self, disk: usize) -> VecDeque<usize> {
        std::mem::take(&mut self.disks[disk].queue)
    }

    /// The next request that waits for the disk, with the path for it: of those with credit the one
    /// with the least outstanding.
    pub(crate) fn next(&mut self, disk: usize) -> Option<(usize, PathId)> {
        let paths = &self.paths;
        let disk = &mut self.disks[disk];
        if disk.queue.is_empty() {
            return None;
        }
        let free = disk.paths.iter().map(|id| (&paths[id], *id));
        let free = free.filter(|(path, _)| path.outstanding < path.credits);
        let (_, id) = free.min_by_key(|(path, id)| (path.outstanding, *id))?;
        Some((disk.queue.pop_front()?, id))
    }

    /// A request is sent on a path, under a fresh name.
    pub(crate) fn sent(&mut self, key: usize, on: PathId, now_ms: u64) -> RequestId {
        let id = self.asks.name(key);
        let ask = self.asks.get_mut(key);
        (ask.id, ask.waits, ask.sent_ms) = (id, Waits::On(on), now_ms);
        self.disks[ask.disk].outstanding += 1;
        let path = self.paths.get_mut(&on).expect("it was chosen");
        path.outstanding += 1;
        let asks = &self.asks;
        let lives = |id| asks.named(id).is_some();
        path.sent.push(now_ms, id, path.outstanding, lives);
        id
    }

    /// An answer has come: finds its request, which waits nowhere now.
    pub(crate) fn answered(&mut self, on: PathId, id: RequestId, now_ms: u64) -> Option<usize> {
        let (key, ask) = self.asks.named(id)?;
        if ask.waits != Waits::On(on) {
            return None;
        }
        let path = self.paths.get_mut(&on)?;
        path.outstanding -= 1;
        let number = ask.disk;
        let disk = &mut self.disks[number];
        disk.outstanding -= 1;
        let took = now_ms.saturating_sub(ask.sent_ms) * FADE;
        disk.latency = disk.latency - disk.latency / FADE + took / FADE;
        // It waits nowhere: a name of its own keeps a second answer from finding it.
        let fresh = self.asks.name(key);
        self.asks.get_mut(key).id = fresh;
        self.stir(number);
        Some(key)
    }

    /// Since when the disk has owed an answer.
    pub(crate) fn owes_since(&mut self, disk: usize) -> Option<u64> {
        let (asks, paths) = (&self.asks, &mut self.paths);
        let lives = |id| asks.named(id).is_some();
        let oldest = self.disks[disk].paths.iter().filter_map(|path| {
            let path = paths.get_mut(path).expect("a disk knows its paths");
            path.sent.first(lives).map(|(sent, _)| sent)
        });
        oldest.min()
    }

    /// The unanswered requests to a disk that were sent before a time.
    pub(crate) fn unanswered_before(&mut self, disk: usize, sent_ms: u64) -> Vec<usize> {
        let asks = &self.asks;
        let mut found = Vec::new();
        for path in &self.disks[disk].paths {
            let sent = self.paths[path].sent.iter();
            let old = sent.take_while(|(sent, _)| *sent <= sent_ms);
            found.extend(old.filter_map(|(_, id)| asks.named(id).map(|(key, _)| key)));
        }
        found
    }

    /// Forgets all requests and paths.
    pub(crate) fn clear(&mut self) {
        self.asks.clear();
        self.paths.clear();
        for disk in &mut self.disks {
            disk.paths.clear();
            disk.queue.clear();
            disk.to_open.clear();
            disk.opening = 0;
        }
    }
}
