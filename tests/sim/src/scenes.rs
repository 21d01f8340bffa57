//! Sequences of faults that bring out what faults drawn one by one hardly ever do: an engine that
//! nobody needs any more and whose writes reach only a replica that is being copied to, and an
//! engine that dies while only a replica that leaves and returns has its last writes.
//!
//! A scene goes on where the one before left the world. What does not fit any more, since other
//! faults came between, is left out.

use crate::agenda::MS;
use crate::history::Kind;
use crate::scenario::Theme;
use crate::trace::About;
use crate::value::Spot;
use crate::world::{Event, World, disk_number};
use moraine_model::{BucketId, DiskId, Role};

/// What happens next of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// As soon as the newer engine serves, the old one, which hears none of the replicas, gets more
    /// to do: nothing of that may ever be seen.
    Zombie {
        /// The bucket.
        bucket: BucketId,
        /// The engine that is cut off.
        old: usize,
        /// The newer one.
        new: usize,
        /// How often to look again whether that serves.
        looks: u32,
    },
    /// A replica is listed that has never heard of the newer engine, and the old one finds it.
    Found {
        /// The bucket.
        bucket: BucketId,
        /// The engine that is cut off.
        old: usize,
        /// The newer one.
        new: usize,
    },
    /// An engine dies whose last writes only one replica has; that is dropped and listed again.
    Orphan {
        /// The bucket.
        bucket: BucketId,
        /// The engine.
        engine: usize,
        /// Who has its last writes.
        disk: DiskId,
    },
    /// A replica that was dropped is listed again.
    Return {
        /// The bucket.
        bucket: BucketId,
        /// The replica's disk.
        disk: DiskId,
    },
    /// The next engine.
    Successor {
        /// Of this one, unless there was one meanwhile.
        engine: usize,
    },
}

impl World {
    /// A sequence begins, if this run has such.
    pub(crate) fn begin_scene(&mut self, volume: usize) {
        let Some(engine) = self.serving(volume) else {
            return;
        };
        let chunk = self.chance.within(0..=self.volumes[volume].chunks - 1);
        let block = chunk * 1024;
        let bucket = self.bucket(Spot { volume, block });
        match self.scenario.theme {
            Theme::Plain | Theme::Lives => {}
            Theme::Zombies => self.begin_zombie(engine, bucket),
            Theme::Orphans if self.chance.permille(300) => self.begin_return(bucket),
            Theme::Orphans => self.begin_orphan(engine, bucket),
        }
    }

    /// The next scene of a sequence.
    pub(crate) fn play(&mut self, scene: Scene) {
        if self.phase != crate::world::Phase::Chaos {
            return;
        }
        match scene {
            Scene::Zombie {
                bucket,
                old,
                new,
                looks,
            } => self.zombie(bucket, old, new, looks),
            Scene::Found { bucket, old, new } => self.zombie_finds(bucket, old, new),
            Scene::Orphan {
                bucket,
                engine,
                disk,
            } => self.orphan(bucket, engine, disk),
            Scene::Return { bucket, disk } => self.give_back(bucket, disk),
            Scene::Successor { engine } => {
                if self.is_newest(engine) {
                    let volume = self.engines[engine].volume;
                    self.attach(volume);
                }
            }
        }
    }

    /// The nodes of a bucket's replicas, without one disk's.
    fn nodes_of(&self, bucket: BucketId, without: Option<DiskId>) -> Vec<usize> {
        let listings = self.map.entry(bucket).listings().iter();
        let others = listings.filter(|listing| Some(listing.disk) != without);
        others
            .map(|listing| self.agents[disk_number(listing.disk)].node)
            .collect()
    }

    fn begin_zombie(&mut self, old: usize, bucket: BucketId) {
        let nodes = self.nodes_of(bucket, None);
        let node = self.engines[old].node;
        if nodes.contains(&node) {
            return;
        }
        self.note(About::Bucket(bucket), |world| {
            format!("{} becomes a zombie", world.name(old))
        });
        let length = self.chance.within(300 * MS..=900 * MS);
        self.part_from(node, &nodes, length);
        let volume = self.engines[old].volume;
        // Most on a node without disks, so that it can be cut off in its turn.
        let first = if self.chance.permille(800) {
            self.scenario.nodes
        } else {
            0
        };
        let others: Vec<usize> = (first..self.api()).filter(|other| *other != node).collect();
        let other = others[self.chance.below(others.len())];
        let new = self.attach_on(volume, other);
        // One that only decides what was left, as the controller attaches for a snapshot: no mark
        // of its own hides from its successor what was written before.
        self.engines[new].idle = self.chance.permille(700);
        let looks = 60;
        let scene = Scene::Zombie {
            bucket,
            old,
            new,
            looks,
        };
        self.agenda.after(5 * MS, Event::Scene(scene));
    }

    fn zombie(&mut self, bucket: BucketId, old: usize, new: usize, looks: u32) {
        if self.engines[old].engine.is_none() || looks == 0 {
            return;
        }
        if !self.engines[new].attached {
            let looks = looks - 1;
            let again = Scene::Zombie {
                bucket,
                old,
                new,
                looks,
            };
            return self.agenda.after(5 * MS, Event::Scene(again));
        }
        self.add_work(old, bucket);
        let late = self.chance.skewed(MS..=20 * MS);
        let scene = Scene::Found { bucket, old, new };
        self.agenda.after(late, Event::Scene(scene));
    }

    fn zombie_finds(&mut self, bucket: BucketId, old: usize, new: usize) {
        let crowded = self.map.entry(bucket).listings().len() >= self.scenario.nodes;
        if crowded || self.chance.permille(300) {
            self.drop_some_of(bucket);
        }
        let before = self.map.entry(bucket).clone();
        self.list_another(bucket);
        let entry = self.map.entry(bucket).clone();
        let mut listings = entry.listings().iter();
        let Some(listed) = listings.find(|listing| before.on(listing.disk).is_none()) else {
            return;
        };
        let (disk, node) = (listed.disk, self.agents[disk_number(listed.disk)].node);
        let sources = self.nodes_of(bucket, Some(disk));
        let length = self.chance.within(20 * MS..=300 * MS);
        self.part_from(node, &sources, length);
        let near = self.engines[old].node;
        self.silence.end(near, node);
        self.silence.end(node, near);
        if self.chance.permille(500) {
            self.kill_engine(new);
        } else {
            let length = self.chance.skewed(20 * MS..=200 * MS);
            self.part_from(self.engines[new].node, &[node], length);
        }
        for delay in [2 * MS, 12 * MS] {
            let news = Event::DiskNews(disk_number(disk), entry.clone());
            self.agenda.after(delay, news);
            self.agenda
                .after(delay, Event::EngineNews(old, entry.clone()));
        }
        if self.engines[new].engine.is_none() || self.chance.permille(400) {
            let late = self.chance.skewed(10 * MS..=200 * MS);
            let scene = Scene::Successor { engine: new };
            self.agenda.after(late, Event::Scene(scene));
        }
    }

    /// A replica leaves for a moment, one whose report is still under way if there is such.
    fn begin_return(&mut self, bucket: BucketId) {
        let listings = self.map.entry(bucket).listings();
        let syncing = listings
            .iter()
            .find(|listing| listing.role == Role::Syncing);
        let listing = syncing.or(listings.last());
        let Some(disk) = listing.map(|listing| listing.disk) else {
            return;
        };
        if self.may_drop(bucket, disk) {
            self.drop_from(bucket, disk, "it is to return");
            let late = self.chance.within(5 * MS..=80 * MS);
            let scene = Scene::Return { bucket, disk };
            self.agenda.after(late, Event::Scene(scene));
        }
    }

    fn give_back(&mut self, bucket: BucketId, disk: DiskId) {
        let lost = self.agents[disk_number(disk)].lost;
        if !lost && self.map.entry(bucket).on(disk).is_none() {
            self.map.list(bucket, disk, Role::Syncing);
            self.publish(bucket, "it returns");
        }
    }

    fn begin_orphan(&mut self, engine: usize, bucket: BucketId) {
        let disks: Vec<DiskId> = self.map.entry(bucket).in_sync().collect();
        let disk = disks[self.chance.below(disks.len())];
        let others = self.nodes_of(bucket, Some(disk));
        let node = self.engines[engine].node;
        if others.is_empty() || others.contains(&node) || !self.may_drop(bucket, disk) {
            return;
        }
        self.note(About::Bucket(bucket), |world| {
            let name = world.name(engine);
            format!("{name} is to die with writes at disk {} alone", disk.get())
        });
        let length = self.chance.within(200 * MS..=700 * MS);
        self.part_from(node, &others, length);
        self.add_work(engine, bucket);
        let late = self.chance.skewed(5 * MS..=60 * MS);
        let scene = Scene::Orphan {
            bucket,
            engine,
            disk,
        };
        self.agenda.after(late, Event::Scene(scene));
    }

    fn orphan(&mut self, bucket: BucketId, engine: usize, disk: DiskId) {
        let listed = self.map.entry(bucket).on(disk).is_some();
        if !self.is_newest(engine) || !listed || !self.may_drop(bucket, disk) {
            return;
        }
        self.kill_engine(engine);
        self.drop_from(bucket, disk, "it is to return");
        self.map.list(bucket, disk, Role::Syncing);
        self.publish(bucket, "it returns");
        let entry = self.map.entry(bucket).clone();
        let news = Event::DiskNews(disk_number(disk), entry);
        self.agenda.after(3 * MS, news);
        let late = self.chance.within(20 * MS..=300 * MS);
        let scene = Scene::Successor { engine };
        self.agenda.after(late, Event::Scene(scene));
    }

    /// An engine gets more to write in a bucket, whatever else it waits for.
    fn add_work(&mut self, engine: usize, bucket: BucketId) {
        let volume = self.engines[engine].volume;
        let spots = self.history.spots(volume);
        let of_bucket = spots
            .into_iter()
            .filter(|spot| self.bucket(*spot) == bucket);
        let spots: Vec<Spot> = of_bucket.collect();
        for _ in 0..self.chance.within(3..=8) {
            let spot = spots[self.chance.below(spots.len())];
            let kind = if self.chance.permille(800) {
                Kind::Write
            } else {
                Kind::Zero
            };
            if self.engines[engine].engine.is_some() && self.may_write(spot) {
                self.begin_op(engine, kind, spot.block..spot.block + 1);
            }
        }
    }

    /// A node and some others don't hear each other for so long.
    fn part_from(&mut self, node: usize, others: &[usize], length: u64) {
        for &other in others.iter().filter(|other| **other != node) {
            for (from, to) in [(node, other), (other, node)] {
                self.silence.begin(from, to);
                self.agenda.after(length, Event::Heal(from, to));
            }
        }
    }
}
