//! What time brings: pauses that are over, operations that took too long, disks that don't answer;
//! and paths that come and go.

use crate::asks::{Ask, Purpose, Waits};
use crate::engine::{Engine, Timer};
use crate::interface::{IoError, Output, PathId};
use crate::net::Doubts;
use moraine_model::{BucketId, DiskId};
use moraine_protocol::RequestId;

impl Engine {
    pub(crate) fn do_what_is_due(&mut self) {
        while let Some((due, timer)) = self.timers.first().copied()
            && due <= self.now_ms
        {
            self.timers.pop_first();
            match timer {
                Timer::Ask(key) => self.ask_again(key),
                Timer::Read(key) => self.read_again(key),
                Timer::Detach => return self.give_up_detach(),
            }
        }
        self.end_overdue();
        if self.watch_at.is_some_and(|at| at <= self.now_ms) {
            self.watch();
        }
    }

    fn end_overdue(&mut self) {
        loop {
            let ios = &self.ios;
            let first = self.io_deadlines.first(|name| ios.lives(name));
            let Some((_, (key, _))) = first.filter(|(due, _)| *due <= self.now_ms) else {
                return;
            };
            let since = self.ios.operations[key].submitted_ms;
            let waited_ms = self.now_ms - since;
            self.end_early(key, IoError::TimedOut { waited_ms });
        }
    }

    /// Looks at the disks the next time at the latest when the first of them can be due.
    pub(crate) fn watch_soon(&mut self) {
        let at = self.now_ms + self.limits.path_timeout_ms;
        self.watch_at = Some(self.watch_at.map_or(at, |before| before.min(at)));
    }

    /// Looks for disks without a path, or with an answer that is overdue.
    fn watch(&mut self) {
        let timeout = self.limits.path_timeout_ms;
        self.watch_at = None;
        let mut next: Option<u64> = None;
        for number in 0..self.net.disks() {
            let disk = self.net.disk(number);
            let listed = !disk.buckets.is_empty();
            let pathless = disk.pathless_since.filter(|_| listed);
            let owes = self.net.owes_since(number);
            let Some(since) = pathless.into_iter().chain(owes).min() else {
                continue;
            };
            let mut at = since + timeout;
            if at <= self.now_ms {
                self.suspect(number);
                self.move_slow_reads(number);
                at = self.now_ms + timeout;
            }
            next = Some(next.map_or(at, |before| before.min(at)));
        }
        let later = self.watch_at.into_iter().chain(next).min();
        self.watch_at = later;
    }

    fn suspect(&mut self, number: usize) {
        self.judge(number, |doubts| doubts.late = true);
    }

    /// A disk answers.
    pub(crate) fn trust(&mut self, number: usize) {
        if self.net.disk(number).doubts.late {
            self.judge(number, |doubts| doubts.late = false);
        }
    }

    /// The volume doesn't use a disk any more, so that nothing can be said about it.
    pub(crate) fn has_left(&mut self, number: usize) {
        self.judge(number, |doubts| doubts.late = false);
    }

    /// Changes what is thought of a disk, and tells when that makes a difference.
    pub(crate) fn judge(&mut self, number: usize, change: impl FnOnce(&mut Doubts)) {
        let disk = self.net.disk_mut(number);
        let before = disk.doubts.any();
        change(&mut disk.doubts);
        let after = disk.doubts.any();
        let disk = disk.id;
        if after && !before {
            self.outputs.push_back(Output::Suspect { disk });
        } else if before && !after {
            self.outputs.push_back(Output::Trust { disk });
        }
    }

    /// Reads that a disk owes too long, or that wait for it, go to other replicas where there are
    /// some. Writes stay: no other replica can stand in for this one.
    fn move_slow_reads(&mut self, number: usize) {
        let before = self.now_ms.saturating_sub(self.limits.path_timeout_ms);
        for key in self.net.unanswered_before(number, before) {
            let ask = *self.net.asks.get(key);
            if self.is_over(&ask) {
                continue;
            }
            if let Purpose::Read { read } = ask.purpose
                && self.read_from_another(read, ask.slot)
            {
                self.net.asks.get_mut(key).purpose = Purpose::Dropped;
            }
        }
        for key in self.net.take_queue(number) {
            let ask = *self.net.asks.get(key);
            let read = match ask.purpose {
                Purpose::Read { read } if !self.is_over(&ask) => Some(read),
                _ => None,
            };
            if read.is_some_and(|read| self.read_from_another(read, ask.slot)) {
                self.forget(key);
            } else {
                self.net.queue(key);
            }
        }
    }

    pub(crate) fn path_up(&mut self, path: PathId, disk: DiskId, credits: u32, local: bool) {
        let number = self.net.number(disk, self.now_ms);
        self.net.connect(path, number, credits, local);
        if self.net.disk(number).doubts.late {
            self.ping(number);
        }
        // Reads that nobody could be asked for.
        let buckets: Vec<BucketId> = self.net.disk(number).buckets.iter().copied().collect();
        for id in buckets {
            self.choose_replicas(id);
        }
    }

    /// Asks a disk for a sign of life.
    fn ping(&mut self, number: usize) {
        let key = self.net.asks.insert(Ask {
            id: RequestId(0),
            disk: number,
            bucket: *self.buckets.keys().next().expect("a volume uses a bucket"),
            epoch: moraine_model::Epoch(0),
            slot: 0,
            purpose: Purpose::Ping,
            waits: Waits::InQueue,
            refusals: 0,
            refused_since: 0,
            damages: 0,
            stuck: false,
            sent_ms: 0,
        });
        self.net.queue(key);
    }

    /// A path is gone: what was unanswered on it goes to another path of the disk, or waits for one;
    /// reads go to another replica if the disk has no path left.
    pub(crate) fn path_down(&mut self, path: PathId) {
        let Some((number, mut keys)) = self.net.disconnect(path, self.now_ms) else {
            return;
        };
        self.watch_soon();
        self.metrics.resent += keys.len() as u64;
        keys.extend(if self.net.disk(number).has_path() {
            Vec::new()
        } else {
            Vec::from(self.net.take_queue(number))
        });
        let mut again = Vec::with_capacity(keys.len());
        let mut reads = Vec::new();
        for key in keys {
            let ask = *self.net.asks.get(key);
            match ask.purpose {
                Purpose::Ping | Purpose::Dropped => self.forget(key),
                _ if self.is_over(&ask) => self.forget(key),
                Purpose::Read { read } => {
                    self.forget(key);
                    self.reads[read].ask = None;
                    reads.push(read);
                }
                _ => again.push(key),
            }
        }
        self.net.queue_first(number, &again);
        for read in reads {
            self.choose_replica(read);
        }
    }
}
