//! What goes wrong, one thing after another, within what Moraine promises to survive: of each
//! bucket one replica in sync lies on a disk that is neither dead nor spoiled, and what breaks comes
//! back before the end.

use crate::agenda::MS;
use crate::engines::End;
use crate::network::{Caller, LinkId};
use crate::scenario::Fault;
use crate::trace::About;
use crate::value::label_of;
use crate::world::{Event, Phase, World};
use moraine_model::{BucketId, DiskId};
use moraine_store::format::{Head, SegmentState};
use std::sync::atomic::Ordering;

impl World {
    /// Something goes wrong.
    pub(crate) fn fault(&mut self) {
        if self.phase != Phase::Chaos {
            return;
        }
        if let Some(&fault) = self.chance.pick(&self.scenario.faults) {
            self.counts.faults += 1;
            self.stir(fault as u64);
            self.commit(fault);
        }
        let pause = self.chance.skewed(MS..=self.scenario.calm);
        self.agenda.after(pause, Event::Fault);
    }

    fn commit(&mut self, fault: Fault) {
        let node = self.chance.below(self.scenario.nodes);
        let disk = self.chance.below(self.agents.len());
        let volume = self.chance.below(self.volumes.len());
        let serves = self.in_use(volume);
        match fault {
            Fault::Crash => self.crash(node),
            Fault::Stall => {
                let node = self.chance.below(self.nodes.len() - 1);
                let length = self.chance.skewed(5 * MS..=900 * MS);
                self.note(About::World, |_| {
                    format!("node {node} stands still for {} ms", length / MS)
                });
                self.nodes[node].stalled = self.agenda.now() + length;
            }
            Fault::Partition => self.part(),
            Fault::Cut => {
                let links: Vec<LinkId> = self.links.keys().copied().collect();
                if let Some(&link) = self.chance.pick(&links) {
                    self.note(About::World, |_| format!("connection {link} breaks"));
                    self.break_link(link);
                }
            }
            Fault::FailWrites => {
                let count = u32::try_from(self.chance.within(1..=2)).unwrap_or(1);
                self.agents[disk]
                    .switches
                    .writes
                    .store(count, Ordering::Relaxed);
            }
            Fault::FailReads if !self.is_dispensable(disk) => {}
            Fault::FailReads => {
                let count = u32::try_from(self.chance.within(1..=4)).unwrap_or(1);
                self.agents[disk]
                    .switches
                    .reads
                    .store(count, Ordering::Relaxed);
            }
            Fault::Rot => self.rot(disk),
            Fault::LoseDisk => {
                if !self.agents[disk].lost && self.is_dispensable(disk) {
                    self.lose_disk(disk);
                }
            }
            Fault::ClockJump => {
                let node = self.chance.below(self.nodes.len() - 1);
                let jump = self.chance.skewed(10..=60_000);
                self.note(About::World, |_| {
                    format!("the clock of node {node} jumps by {jump} ms")
                });
                self.nodes[node].ahead_ms += jump;
            }
            Fault::Attach | Fault::Restart if !serves => {}
            Fault::Attach | Fault::Restart => self.change_engine(volume, fault),
            Fault::Drop => self.drop_some(),
            Fault::Scene => self.begin_scene(volume),
            Fault::Move => {
                let bucket = self.some_bucket();
                let room = self.map.entry(bucket).listings().len() <= self.scenario.replicas;
                if room {
                    self.list_another(bucket);
                }
            }
        }
    }

    fn some_bucket(&mut self) -> BucketId {
        let buckets: Vec<BucketId> = self
            .map
            .entries()
            .map(moraine_model::BucketEntry::bucket)
            .collect();
        buckets[self.chance.below(buckets.len())]
    }

    fn crash(&mut self, node: usize) {
        let length = self.chance.skewed(2 * MS..=1500 * MS);
        self.note(About::World, |_| {
            format!("the agent of node {node} is killed for {} ms", length / MS)
        });
        for disk in 0..self.agents.len() {
            if self.agents[disk].node == node && !self.agents[disk].lost {
                self.end_agent(disk);
                self.keep_earlier(disk);
                self.agenda.after(length, Event::Start(disk));
            }
        }
        if self.chance.permille(200) {
            for engine in 0..self.engines.len() {
                if self.engines[engine].node == node && self.engines[engine].engine.is_some() {
                    self.kill_engine(engine);
                    if self.is_newest(engine) {
                        self.attach(self.engines[engine].volume);
                    }
                }
            }
        }
    }

    /// Two nodes, or one and all others, don't hear each other for a while, or only one way.
    fn part(&mut self) {
        let nodes = self.nodes.len();
        let one = self.chance.below(nodes);
        let others: Vec<usize> = if self.chance.permille(400) {
            (0..nodes).filter(|node| *node != one).collect()
        } else {
            vec![self.chance.below(nodes)]
        };
        let ways = 1 + self.chance.below(3);
        let length = self.chance.skewed(5 * MS..=1500 * MS);
        self.note(About::World, |_| {
            let words = ["", "is not heard by", "does not hear", "is parted from"][ways];
            format!("node {one} {words} {others:?} for {} ms", length / MS)
        });
        for other in others {
            for (from, to, bit) in [(one, other, 1), (other, one, 2)] {
                if ways & bit != 0 && from != to {
                    self.silence.begin(from, to);
                    self.agenda.after(length, Event::Heal(from, to));
                }
            }
        }
        self.break_some_parted();
    }

    /// Connections between nodes that don't hear each other break after a while, or outlast it.
    fn break_some_parted(&mut self) {
        let mut parted = Vec::new();
        for (link, wire) in &self.links {
            let near = match wire.caller {
                Caller::Engine(engine) => self.engines[engine].node,
                Caller::Disk(disk) => self.agents[disk].node,
            };
            if !self.silence.both(near, self.agents[wire.disk].node) {
                parted.push(*link);
            }
        }
        for link in parted {
            if self.chance.permille(700) {
                let late = self.chance.skewed(2 * MS..=600 * MS);
                self.agenda.after(late, Event::Break(link));
            }
        }
    }

    /// Whether each bucket that a disk has in sync is in sync on a sound one too.
    fn is_dispensable(&self, disk: usize) -> bool {
        let id: DiskId = self.agents[disk].id;
        self.map.entries().all(|entry| {
            let mut others = entry.in_sync().filter(|other| *other != id);
            others.any(|other| self.is_sound(other))
        })
    }

    /// One bit of some block of data on a disk changes.
    fn rot(&mut self, disk: usize) {
        if self.agents[disk].lost || !self.is_dispensable(disk) {
            return;
        }
        let blocks = self.scenario.segments * 64;
        for _ in 0..24 {
            let block = self.chance.within(0..=blocks - 1);
            // What rots at the end of an open extent before a crash can't be told from a write that
            // was torn: that much the store does not promise.
            if !self.is_closed(disk, block / 64) {
                continue;
            }
            let offset = (256 + block) * 4096;
            let mut bytes = [0; 4096];
            self.agents[disk].platter.peek(offset, &mut bytes);
            let Some((write, spot)) = label_of(&bytes) else {
                continue;
            };
            let at = self.chance.below(4096);
            bytes[at] ^= 1 << self.chance.below(8);
            self.agents[disk].platter.poke(offset, &bytes);
            self.agents[disk].rotten = true;
            self.note(About::World, |_| {
                format!("a bit of w{write} of {spot} rots on disk {}", disk + 1)
            });
            return;
        }
    }

    /// Whether a segment of a disk holds a closed extent.
    fn is_closed(&self, disk: usize, segment: u64) -> bool {
        let copies = [0, 2].map(|copy| {
            let mut bytes = [0; 4096];
            let block = 256 + segment * 64 + copy;
            self.agents[disk].platter.peek(block * 4096, &mut bytes);
            Head::decode(&bytes).ok()
        });
        let newest = copies
            .into_iter()
            .flatten()
            .max_by_key(|head| head.sequence);
        newest.is_some_and(|head| head.state == SegmentState::Closed)
    }

    /// A new engine. Often a replica goes with the former, which alone has what that wrote last.
    fn change_engine(&mut self, volume: usize, fault: Fault) {
        if self.scenario.faults.contains(&Fault::Drop) && self.chance.permille(400) {
            self.drop_some();
        }
        match fault {
            Fault::Restart => self.restart(volume),
            _ => self.attach_again(volume),
        }
    }

    /// A new engine, beside whatever becomes of the former.
    fn attach_again(&mut self, volume: usize) {
        let newest = *self.volumes[volume]
            .engines
            .last()
            .expect("a volume in use was attached");
        match self.chance.below(4) {
            0 => self.kill_engine(newest),
            1 => {
                let host = &mut self.engines[newest];
                host.end = Some(End::Told);
                if let Some(core) = &mut host.engine {
                    core.detach();
                    self.pump_engine(newest);
                }
            }
            _ => {}
        }
        self.attach(volume);
    }

    fn drop_some(&mut self) {
        let bucket = self.some_bucket();
        self.drop_some_of(bucket);
    }

    /// A replica of a bucket is dropped that has done nothing wrong, if one can be spared.
    pub(crate) fn drop_some_of(&mut self, bucket: BucketId) {
        let disks: Vec<DiskId> = self
            .map
            .entry(bucket)
            .listings()
            .iter()
            .map(|listing| listing.disk)
            .collect();
        let disk = disks[self.chance.below(disks.len())];
        if disks.len() > 1 && self.may_drop(bucket, disk) {
            self.drop_from(bucket, disk, "for no reason");
        }
    }
}
