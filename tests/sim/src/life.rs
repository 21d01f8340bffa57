//! The lives of volumes: clones of snapshots, growth while in use, deletion in any order; and what
//! the agents are told of them, again and again, as the shells would say it.
//!
//! A clone is served only when every listed replica of its buckets is in sync and holds the
//! reference by which its parent's blocks stay: one that is listed later takes it from its source.

use crate::agenda::MS;
use crate::mutation::Mutation;
use crate::register::Register;
use crate::scenario::Theme;
use crate::trace::About;
use crate::value::{Spot, Value, value_of};
use crate::world::{Event, Phase, Volume, World, disk_number};
use moraine_model::{BucketEntry, BucketId, Cut, Role, VolumeId};
use std::collections::BTreeSet;

/// Most volumes that a run ever has: the history of each block of each is followed.
const VOLUMES_MAX: usize = 6;
/// Most chunks of a volume.
const CHUNKS_MAX: u64 = 4;

/// How far the life of a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A clone whose references are not yet everywhere.
    Wanted,
    /// Engines serve it.
    InUse,
    /// It is deleted, with all its snapshots.
    Deleted,
}

impl World {
    /// Whether engines serve a volume.
    pub(crate) fn in_use(&self, volume: usize) -> bool {
        self.volumes[volume].life == Life::InUse
    }

    /// A volume of this many chunks, which no engine serves yet.
    pub(crate) fn add_volume(&mut self, parent: Option<(usize, u64)>, chunks: u64) -> usize {
        let number = self.volumes.len();
        let id = VolumeId::new(0x71 + number as u128).expect("it is not zero");
        self.volumes.push(Volume {
            id,
            key: parent.map_or(id, |(parent, _)| self.volumes[parent].key),
            parent,
            life: match parent {
                Some(_) => Life::Wanted,
                None => Life::InUse,
            },
            chunks,
            attach: 0,
            engines: Vec::new(),
            cut: 0,
            rising: Vec::new(),
            snapshots: Vec::new(),
            deleted: Vec::new(),
            kept: std::collections::BTreeMap::new(),
            kept_cut: 0,
        });
        number
    }

    /// Something changes in the lives of volumes, if this run is about them.
    pub(crate) fn live(&mut self) {
        if self.scenario.theme != Theme::Lives {
            return;
        }
        for volume in 0..self.volumes.len() {
            if self.volumes[volume].life == Life::Wanted && self.is_referenced(volume) {
                self.volumes[volume].life = Life::InUse;
                self.note(About::World, |_| format!("v{volume} is ready"));
                self.attach(volume);
            }
        }
        if self.phase != Phase::Chaos {
            return;
        }
        let volume = self.chance.below(self.volumes.len());
        match self.chance.below(100) {
            0..=7 => self.clone_some(volume),
            8..=10 => self.grow(volume),
            11..=14 => self.delete(volume),
            _ => {}
        }
    }

    /// A volume begins as a snapshot of another one.
    fn clone_some(&mut self, parent: usize) {
        let snapshots = &self.volumes[parent].snapshots;
        let Some(cut) = self.chance.pick(snapshots).copied() else {
            return;
        };
        if self.volumes.len() >= VOLUMES_MAX {
            return;
        }
        let spots = self.history.spots(parent);
        let shown = spots.iter().map(|spot| {
            let shown = self.history.block(*spot).shown(cut);
            shown.map(|values| (spot.block, Register::beginning(values)))
        });
        // What an open read has still to say may narrow the snapshot down.
        let Some(blocks) = shown.collect::<Option<Vec<_>>>() else {
            return;
        };
        let chunks = self.volumes[parent].chunks;
        let volume = self.add_volume(Some((parent, cut)), chunks);
        self.history.add(volume, blocks);
        self.counts.clones += 1;
        self.note(About::World, |_| {
            format!("v{volume} is to be a clone of v{parent} at cut {cut}")
        });
        self.tell_all();
    }

    /// Whether all listed replicas of a clone's buckets hold what keeps its parent's blocks.
    fn is_referenced(&mut self, volume: usize) -> bool {
        let Some((parent, cut)) = self.volumes[volume].parent else {
            return true;
        };
        let (parent, child) = (self.volumes[parent].id, self.volumes[volume].id);
        let entries: Vec<BucketEntry> = self.map.entries().cloned().collect();
        let used = entries
            .into_iter()
            .filter(|entry| self.uses(volume, entry.bucket()));
        let used: Vec<BucketEntry> = used.collect();
        used.iter().flat_map(BucketEntry::listings).all(|listing| {
            let replicas = &mut self.agents[disk_number(listing.disk)].replicas;
            let replicas = replicas.as_mut();
            listing.role == Role::InSync
                && replicas.is_some_and(|it| it.add_reference(parent, Cut(cut), child))
        })
    }

    /// A volume gets one more chunk while it is in use.
    fn grow(&mut self, volume: usize) {
        let Volume {
            chunks,
            ref snapshots,
            ref rising,
            ..
        } = self.volumes[volume];
        if !self.in_use(volume) || chunks >= CHUNKS_MAX {
            return;
        }
        let grown = |block| (block, Register::grown(snapshots, rising));
        let before: BTreeSet<u64> = self.scenario.runs(chunks).into_iter().flatten().collect();
        let now = self.scenario.runs(chunks + 1).into_iter().flatten();
        let blocks: Vec<_> = now
            .filter(|block| !before.contains(block))
            .map(grown)
            .collect();
        self.history.add(volume, blocks);
        self.volumes[volume].chunks += 1;
        self.counts.grown += 1;
        self.note(About::World, |_| {
            format!("v{volume} is to have {} chunks", chunks + 1)
        });
        if let Some(&newest) = self.volumes[volume].engines.last() {
            let late = self.chance.skewed(MS..=30 * MS);
            self.agenda.after(late, Event::Grow(newest));
        }
    }

    /// An engine hears of its volume's new size.
    pub(crate) fn grow_engine(&mut self, engine: usize) {
        if self.postponed(self.engines[engine].node, Event::Grow(engine)) {
            return;
        }
        let host = &mut self.engines[engine];
        let size_bytes = self.volumes[host.volume].chunks << 22;
        let detaches = host.end.is_some();
        let Some(core) = host.engine.as_mut().filter(|_| !detaches) else {
            return;
        };
        if let Err(error) = core.resize(size_bytes) {
            let name = self.name(engine);
            return self.violated(None, format!("{name} does not grow: {error}"));
        }
        self.pump_engine(engine);
    }

    /// A volume is deleted with all its snapshots. Its clones stay.
    fn delete(&mut self, volume: usize) {
        let others = (0..self.volumes.len()).filter(|other| *other != volume);
        let used = others.filter(|other| self.in_use(*other)).count();
        if used == 0 || self.volumes[volume].life == Life::Deleted {
            return;
        }
        self.volumes[volume].life = Life::Deleted;
        self.counts.deleted += 1;
        self.note(About::World, |_| format!("v{volume} is deleted"));
        for engine in self.volumes[volume].engines.clone() {
            self.kill_engine(engine);
        }
        let of = &mut self.volumes[volume];
        of.deleted = (0..of.cut).collect();
        of.snapshots.clear();
        of.rising.clear();
        self.tell_all();
    }

    /// All disks hear of volumes some time.
    fn tell_all(&mut self) {
        for disk in 0..self.agents.len() {
            self.agents[disk].told = false;
            let late = self.chance.skewed(MS..=self.scenario.news.max(MS));
            self.agenda.after(late, Event::Tell(disk));
        }
    }

    /// A disk hears of the volumes that there are, and of what was deleted: references first, for
    /// what they read must not go; then who reads before who is read.
    pub(crate) fn tell(&mut self, disk: usize) {
        if self.postponed(self.agents[disk].node, Event::Tell(disk)) {
            return;
        }
        self.forget_some(disk);
        let gone = (0..self.volumes.len()).filter(|volume| self.is_gone(*volume));
        let gone: BTreeSet<usize> = gone.collect();
        let leaves = self.mutated(Mutation::LeaveDeleted);
        let Some(replicas) = &mut self.agents[disk].replicas else {
            return;
        };
        let mut done = true;
        let mut referenced: BTreeSet<usize> = (0..self.volumes.len()).collect();
        for volume in &self.volumes {
            let lives = volume.life != Life::Deleted;
            let text = lives.then(|| format!("volume {}", volume.id).into_bytes());
            replicas.describe(volume.id, text.as_deref());
            if let Some((parent, cut)) = volume.parent.filter(|_| lives) {
                let id = self.volumes[parent].id;
                if !replicas.add_reference(id, Cut(cut), volume.id) {
                    referenced.remove(&parent);
                    done = false;
                }
            }
        }
        for (number, volume) in self.volumes.iter().enumerate().rev() {
            if !referenced.contains(&number) {
                continue;
            }
            for cut in &volume.deleted {
                done &= replicas.delete_snapshot(volume.id, Cut(*cut));
            }
            if volume.life == Life::Deleted && !leaves {
                done &= replicas.delete_volume(volume.id, Cut(volume.cut));
                if let Some((parent, cut)) = volume.parent {
                    let id = self.volumes[parent].id;
                    let removed = replicas.remove_reference(id, Cut(cut), volume.id);
                    // Said at once, though it can't be while a clone of the clone is there.
                    done &= removed || !gone.contains(&number);
                }
            }
        }
        self.agents[disk].told = done;
        self.pump_agent(disk);
    }

    /// A disk forgets some bucket that the map no longer lists there.
    fn forget_some(&mut self, disk: usize) {
        if self.scenario.theme != Theme::Lives || !self.chance.permille(300) {
            return;
        }
        let id = self.agents[disk].id;
        let entries = self.map.entries();
        let unlisted = entries.filter(|entry| entry.on(id).is_none());
        let unlisted: Vec<BucketId> = unlisted.map(BucketEntry::bucket).collect();
        let bucket = self.chance.pick(&unlisted).copied();
        if let (Some(bucket), Some(replicas)) = (bucket, &mut self.agents[disk].replicas) {
            replicas.forget(bucket);
        }
    }

    /// What of the lives of volumes is not at rest.
    pub(crate) fn life_waits(&self) -> Option<String> {
        for (number, volume) in self.volumes.iter().enumerate() {
            if volume.life == Life::Wanted {
                return Some(format!("the clone v{number} is not ready"));
            }
            let serving = self.serving(number);
            if serving.is_some_and(|engine| self.engines[engine].chunks < volume.chunks) {
                return Some(format!("v{number} has not grown"));
            }
        }
        let mut agents = self.agents.iter();
        let late = agents.find(|agent| !agent.lost && agent.replicas.is_some() && !agent.told);
        let of_theme = self.scenario.theme == Theme::Lives;
        late.filter(|_| of_theme)
            .map(|agent| format!("disk {} has not deleted what is gone", agent.id.get()))
    }

    /// Whether nothing of a volume may be left: it is deleted, and so are all that read through it.
    pub(crate) fn is_gone(&self, volume: usize) -> bool {
        let reads = |other: &Volume| other.parent.is_some_and(|(parent, _)| parent == volume);
        let mut readers = (0..self.volumes.len()).filter(|other| reads(&self.volumes[*other]));
        self.volumes[volume].life == Life::Deleted && readers.all(|reader| self.is_gone(reader))
    }

    /// Whose data a block of a volume is: its own, or that of those from which it was cloned.
    pub(crate) fn value_at(&self, bytes: &[u8], mut spot: Spot) -> Option<Value> {
        loop {
            if let Some(value) = value_of(bytes, spot) {
                return Some(value);
            }
            spot.volume = self.volumes[spot.volume].parent?.0;
        }
    }
}
