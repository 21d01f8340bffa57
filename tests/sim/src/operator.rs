//! The operator as a model: it keeps the map by what it hears, within what design.md allows, and
//! raises cuts and deletes snapshots as the CSI controller would.

use crate::agenda::MS;
use crate::mutation::Mutation;
use crate::trace::About;
use crate::world::{Event, Phase, World, disk_number};
use moraine_model::{BucketEntry, BucketId, DiskId, Epoch, Role};
use std::sync::atomic::Ordering;

/// What it remembers beside the map.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// What the final looks have found.
    pub(crate) findings: crate::probes::Findings,
}

impl World {
    /// The first map.
    pub(crate) fn place_buckets(&mut self) {
        for number in 0..self.scenario.buckets {
            let bucket = BucketId::new(number).expect("a world has few buckets");
            let first = self.chance.below(self.scenario.nodes);
            let nodes =
                (first..first + self.scenario.replicas).map(|node| node % self.scenario.nodes);
            let disks: Vec<DiskId> = nodes
                .map(|node| {
                    let disk = self.chance.below(self.scenario.disks);
                    self.agents[node * self.scenario.disks + disk].id
                })
                .collect();
            self.map.place(bucket, &disks);
        }
    }

    /// Looks at heartbeats and suspicions, and changes what has to change.
    pub(crate) fn operate(&mut self) {
        let now = self.agenda.now();
        for disk in 0..self.agents.len() {
            let node = self.agents[disk].node;
            if self.reachable(node, disk) && self.silence.both(node, self.api()) {
                self.agents[disk].beat = now;
            }
        }
        for number in 0..self.scenario.buckets {
            self.look_after(BucketId::new(number).expect("a world has few buckets"));
        }
        self.live();
        if self.phase == Phase::Chaos {
            if self.chance.permille(self.scenario.cut_permille) {
                self.raise_some_cut();
            }
            if self.chance.permille(self.scenario.cut_permille / 3) {
                self.delete_some_snapshot();
            }
        }
        let pause = self.chance.within(8 * MS..=30 * MS);
        self.agenda.after(pause, Event::Operate);
    }

    fn look_after(&mut self, bucket: BucketId) {
        let entry = self.map.entry(bucket).clone();
        let bad = entry
            .listings()
            .iter()
            .find(|listing| self.is_stale(listing.disk) && self.may_drop(bucket, listing.disk));
        if let Some(listing) = bad {
            return self.drop_from(bucket, listing.disk, "stale or suspected");
        }
        let wanted = self.scenario.replicas;
        let all_in_sync = entry.in_sync().count() == entry.listings().len();
        if entry.listings().len() < wanted && self.chance.permille(400) {
            self.list_another(bucket);
        } else if entry.listings().len() > wanted && all_in_sync {
            let disks: Vec<DiskId> = entry.in_sync().collect();
            let disk = disks[self.chance.below(disks.len())];
            if self.may_drop(bucket, disk) {
                self.drop_from(bucket, disk, "one too many");
            }
        }
    }

    /// Whether the operator has reason to think that a disk is away.
    fn is_stale(&self, disk: DiskId) -> bool {
        let now = self.agenda.now();
        let agent = &self.agents[disk_number(disk)];
        let suspects = self.engines.iter().filter(|host| host.engine.is_some());
        let mut since = suspects.filter_map(|host| host.suspects.get(&disk));
        now - agent.beat > self.scenario.stale
            || since.any(|since| now - since > self.scenario.stale)
    }

    /// Whether another replica in sync is left, on a disk that the world has not spoiled.
    pub(crate) fn may_drop(&self, bucket: BucketId, disk: DiskId) -> bool {
        let entry = self.map.entry(bucket);
        let mut others = entry.in_sync().filter(|other| *other != disk);
        let mutated = self.mutated(Mutation::DropLast) && entry.listings().len() > 1;
        mutated || others.any(|other| self.is_sound(other))
    }

    /// Whether a disk is neither dead nor spoiled.
    pub(crate) fn is_sound(&self, disk: DiskId) -> bool {
        let agent = &self.agents[disk_number(disk)];
        let reads = agent.switches.reads.load(Ordering::Relaxed) == 0;
        !agent.lost && !agent.rotten && reads
    }

    /// Takes a replica out of the map.
    pub(crate) fn drop_from(&mut self, bucket: BucketId, disk: DiskId, why: &str) {
        self.map.drop_replica(bucket, disk);
        self.publish(bucket, why);
    }

    /// Lists a disk that has no replica of the bucket, on a node that has none if there is such.
    pub(crate) fn list_another(&mut self, bucket: BucketId) {
        let entry = self.map.entry(bucket);
        let nodes: Vec<usize> = entry
            .listings()
            .iter()
            .map(|l| self.agents[disk_number(l.disk)].node)
            .collect();
        let fit = |disk: &usize| {
            let agent = &self.agents[*disk];
            let apart = !nodes.contains(&agent.node) || nodes.len() >= self.scenario.nodes;
            !agent.lost && entry.on(agent.id).is_none() && apart && !self.is_stale(agent.id)
        };
        let disks: Vec<usize> = (0..self.agents.len()).filter(fit).collect();
        let Some(&disk) = self.chance.pick(&disks) else {
            return;
        };
        let role = if self.mutated(Mutation::SkipSync) {
            Role::InSync
        } else {
            Role::Syncing
        };
        self.map.list(bucket, self.agents[disk].id, role);
        self.publish(bucket, "one is wanted");
    }

    /// A replica says that its copy is whole.
    pub(crate) fn report(&mut self, disk: usize, bucket: BucketId, since: Epoch) {
        let agent = &self.agents[disk];
        if !self.silence.hears(agent.node, self.api()) {
            return;
        }
        let id = agent.id;
        let listing = self.map.entry(bucket).on(id).copied();
        let current = |listing: &moraine_model::Listing| {
            listing.role == Role::Syncing
                && (listing.since == since || self.mutated(Mutation::StaleReport))
        };
        if listing.as_ref().is_some_and(current) {
            self.map.promote(bucket, id);
            self.publish(bucket, "its copy is whole");
        }
    }

    /// The entry has changed: everybody hears of it some time.
    pub(crate) fn publish(&mut self, bucket: BucketId, why: &str) {
        self.counts.maps += 1;
        let entry = self.map.entry(bucket).clone();
        self.note(About::Bucket(bucket), |_| {
            format!("map: {} ({why})", short(&entry))
        });
        self.stir(entry.epoch().0);
        for disk in 0..self.agents.len() {
            self.tell_disk(disk, entry.clone());
        }
        for engine in 0..self.engines.len() {
            self.tell_engine(engine, entry.clone());
        }
    }

    /// Has a disk hear of an entry some time.
    pub(crate) fn tell_disk(&mut self, disk: usize, entry: BucketEntry) {
        let late = self.chance.skewed(MS..=self.scenario.news.max(MS));
        self.agenda.after(late, Event::DiskNews(disk, entry));
    }

    /// Has an engine hear of an entry some time.
    pub(crate) fn tell_engine(&mut self, engine: usize, entry: BucketEntry) {
        let late = self.chance.skewed(MS..=self.scenario.news.max(MS));
        self.agenda.after(late, Event::EngineNews(engine, entry));
    }

    /// News of the map.
    pub(crate) fn disk_news(&mut self, disk: usize, entry: BucketEntry) {
        let node = self.agents[disk].node;
        if self.postponed(node, Event::DiskNews(disk, entry.clone())) {
            return;
        }
        if !self.silence.hears(self.api(), node) {
            self.agenda.after(20 * MS, Event::DiskNews(disk, entry));
        } else if let Some(replicas) = &mut self.agents[disk].replicas {
            replicas.learn(entry);
            self.pump_agent(disk);
        }
    }

    /// Has a disk hear again and again of volumes and deletions: it may hear too early or be away.
    pub(crate) fn remind(&mut self, disk: usize) {
        self.tell(disk);
        if !self.agents[disk].lost {
            let pause = self.chance.within(80 * MS..=250 * MS);
            self.agenda.after(pause, Event::Remind(disk));
        }
    }

    fn raise_some_cut(&mut self) {
        let volume = self.chance.below(self.volumes.len());
        if !self.in_use(volume) {
            return;
        }
        let cut = self.volumes[volume].cut;
        self.counts.cuts += 1;
        self.volumes[volume].cut += 1;
        self.volumes[volume].rising.push(cut);
        self.note(About::World, |_| {
            format!("v{volume} is to have snapshot {cut}")
        });
        for spot in self.history.spots(volume) {
            let outcome = self.history.block(spot).cut_begins(cut);
            self.judge(spot, outcome);
        }
        let newest = *self.volumes[volume]
            .engines
            .last()
            .expect("a volume in use was attached");
        let late = self.chance.skewed(MS..=30 * MS);
        self.agenda.after(late, Event::Raise(newest));
    }

    /// An engine has reached a cut: the snapshots below it are there.
    pub(crate) fn cut_reached(&mut self, engine: usize, cut: u64) {
        let volume = self.engines[engine].volume;
        if !self.is_newest(engine) {
            return;
        }
        let rising = std::mem::take(&mut self.volumes[volume].rising);
        let (there, still): (Vec<u64>, Vec<u64>) = rising.into_iter().partition(|name| *name < cut);
        self.volumes[volume].rising = still;
        for name in there {
            self.note(About::World, |_| {
                format!("snapshot {name} of v{volume} is there")
            });
            for spot in self.history.spots(volume) {
                let outcome = self.history.block(spot).cut_ends(name);
                self.judge(spot, outcome);
            }
            self.volumes[volume].snapshots.push(name);
        }
    }

    fn delete_some_snapshot(&mut self) {
        let volume = self.chance.below(self.volumes.len());
        let count = self.volumes[volume].snapshots.len();
        if count > 0 {
            let nth = self.chance.below(count);
            self.delete_snapshot(volume, nth);
        }
    }

    /// Deletes the nth snapshot of a volume.
    pub(crate) fn delete_snapshot(&mut self, volume: usize, nth: usize) {
        let cut = self.volumes[volume].snapshots.remove(nth);
        self.volumes[volume].deleted.push(cut);
        self.note(About::World, |_| {
            format!("snapshot {cut} of v{volume} is deleted")
        });
        for disk in 0..self.agents.len() {
            self.agents[disk].told = false;
            let late = self.chance.skewed(MS..=self.scenario.news.max(MS));
            self.agenda.after(late, Event::Tell(disk));
        }
    }
}

/// An entry in few words.
pub(crate) fn short(entry: &BucketEntry) -> String {
    let listings = entry.listings().iter().map(|listing| {
        let role = match listing.role {
            Role::InSync => "",
            Role::Syncing => "?",
        };
        format!("{}{role}@{}", listing.disk.get(), listing.since.0)
    });
    let list: Vec<String> = listings.collect();
    format!(
        "bucket {} epoch {}: {}",
        entry.bucket().get(),
        entry.epoch().0,
        list.join(" ")
    )
}
