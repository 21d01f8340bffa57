//! Engines and their lives: attach, restart, death, and the zombies between; the shell of the
//! engine core, as the world has it.

use crate::agenda::{MS, Micros};
use crate::life::Life;
use crate::mutation::Mutation;
use crate::network::{Caller, LinkId, Message, Way};
use crate::register::OpId;
use crate::scenario::Theme;
use crate::trace::About;
use crate::watch::Seen;
use crate::world::{Event, World};
use bytes::Bytes;
use moraine_engine::{Engine, Limits, Output, PathId, Settings};
use moraine_model::{BucketEntry, Cut, DiskId, Generation};
use moraine_protocol::{Reply, RequestId};
use std::collections::{BTreeMap, BTreeSet};

/// How the life of an engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to detach.
    Told,
    /// Its process was killed.
    Dead,
}

/// An engine and its process.
pub(crate) struct Host {
    /// The number of its volume.
    pub(crate) volume: usize,
    /// Its node.
    pub(crate) node: usize,
    /// Its life.
    pub(crate) generation: Generation,
    /// The core, while the process lives.
    pub(crate) engine: Option<Engine>,
    /// Whether it is to end, or has: then it never begins.
    pub(crate) end: Option<End>,
    /// Whether it serves.
    pub(crate) attached: bool,
    /// Whether no client uses it.
    pub(crate) idle: bool,
    /// Whether a newer engine serves, so that what this one has not acknowledged is decided.
    pub(crate) superseded: bool,
    /// The size that its clients see.
    pub(crate) chunks: u64,
    /// The cut that it began with.
    pub(crate) cut: u64,
    /// The map that it begins with.
    pub(crate) entries: Vec<BucketEntry>,
    /// Operations that are not answered.
    pub(crate) unanswered: BTreeSet<OpId>,
    /// Writes that are not acknowledged, those that ended with an error too.
    pub(crate) open_writes: BTreeSet<OpId>,
    /// Disks that it can't reach, since when.
    pub(crate) suspects: BTreeMap<DiskId, Micros>,
    /// What it was seen to do.
    pub(crate) seen: Seen,
    tick_at: Option<Micros>,
}

/// The engine's patience, short beside the faults of a run.
fn limits() -> Limits {
    Limits {
        path_timeout_ms: 120,
        pause_ms: 2,
        pause_max_ms: 40,
        no_space_grace_ms: 600,
        io_deadline_ms: 8_000,
        detach_deadline_ms: 3_000,
        ..Limits::default()
    }
}

impl World {
    /// The name of an engine in the trace.
    pub(crate) fn name(&self, engine: usize) -> String {
        let host = &self.engines[engine];
        format!(
            "engine {}.{} of v{}",
            host.generation.attach, host.generation.incarnation, host.volume
        )
    }

    /// The volume is attached: a new generation, with the newest map.
    pub(crate) fn attach(&mut self, volume: usize) {
        let first = match self.scenario.theme {
            Theme::Plain | Theme::Lives => 0,
            // One that can be cut off from all replicas.
            Theme::Zombies | Theme::Orphans => self.scenario.nodes,
        };
        let end = self.scenario.nodes + self.scenario.clients;
        let node = first + self.chance.below(end - first);
        self.attach_on(volume, node);
    }

    /// The same, on that node.
    pub(crate) fn attach_on(&mut self, volume: usize, node: usize) -> usize {
        let skip = self.mutated(Mutation::SameGeneration) && self.volumes[volume].attach > 0;
        self.volumes[volume].attach += u32::from(!skip);
        let entries: Vec<BucketEntry> = self.map.entries().cloned().collect();
        let kept = entries.iter().map(|entry| (entry.bucket(), entry.clone()));
        self.volumes[volume].kept = kept.collect();
        // Told with the attachment, before the first engine of it begins.
        self.volumes[volume].kept_cut = self.volumes[volume].cut;
        let generation = Generation {
            attach: self.volumes[volume].attach,
            incarnation: 0,
        };
        self.add_engine(volume, node, generation, entries)
    }

    /// The engine's process starts again on its node, with the map that it had kept.
    pub(crate) fn restart(&mut self, volume: usize) {
        let Some(&newest) = self.volumes[volume].engines.last() else {
            return;
        };
        self.kill_engine(newest);
        let entries = self.volumes[volume].kept.values().cloned().collect();
        let (node, mut generation) = (self.engines[newest].node, self.engines[newest].generation);
        generation.incarnation += 1;
        self.add_engine(volume, node, generation, entries);
    }

    fn add_engine(
        &mut self,
        volume: usize,
        node: usize,
        generation: Generation,
        entries: Vec<BucketEntry>,
    ) -> usize {
        let number = self.engines.len();
        self.engines.push(Host {
            volume,
            node,
            generation,
            engine: None,
            end: None,
            attached: false,
            idle: false,
            superseded: false,
            chunks: 0,
            cut: 0,
            entries,
            unanswered: BTreeSet::new(),
            open_writes: BTreeSet::new(),
            suspects: BTreeMap::new(),
            seen: Seen::default(),
            tick_at: None,
        });
        self.volumes[volume].engines.push(number);
        self.counts.engines += 1;
        let late = self.chance.skewed(MS..=60 * MS);
        self.agenda.after(late, Event::Begin(number));
        number
    }

    /// The engine's process begins.
    pub(crate) fn begin_engine(&mut self, number: usize) {
        if self.postponed(self.engines[number].node, Event::Begin(number)) {
            return;
        }
        let host = &mut self.engines[number];
        if host.end == Some(End::Dead) || self.volumes[host.volume].life != Life::InUse {
            return;
        }
        let volume = &self.volumes[host.volume];
        // A process that starts again needs no API: it has what the former kept on the node.
        host.cut = match host.generation.incarnation {
            0 => volume.cut,
            _ => volume.kept_cut,
        };
        let buckets = self.scenario.buckets;
        host.chunks = volume.chunks;
        let size_bytes = volume.chunks << 22;
        let settings = Settings {
            cut: Cut(host.cut),
            limits: limits(),
            placement_key: volume.key,
            ..Settings::new(volume.id, size_bytes, host.generation, buckets)
        };
        let entries = std::mem::take(&mut host.entries);
        match Engine::new(settings, entries) {
            Ok(engine) => host.engine = Some(engine),
            Err(error) => {
                return self.violated(None, format!("an engine refuses to begin: {error}"));
            }
        }
        self.note(About::World, |world| {
            format!(
                "{} begins on node {}",
                world.name(number),
                world.engines[number].node
            )
        });
        for disk in 0..self.agents.len() {
            let late = self.chance.skewed(MS / 10..=10 * MS);
            self.agenda.after(late, Event::Dial(number, disk));
        }
        for _ in 0..self.scenario.depth {
            let late = self.chance.within(0..=self.scenario.pause);
            self.agenda.after(late, Event::Work(number));
        }
        for entry in self.map.entries().cloned().collect::<Vec<_>>() {
            self.tell_engine(number, entry);
        }
        let late = self.chance.skewed(MS..=self.scenario.news.max(MS));
        self.agenda.after(late, Event::Raise(number));
        self.pump_engine(number);
    }

    /// The engine's process ends; what it had sent may still arrive.
    pub(crate) fn kill_engine(&mut self, number: usize) {
        self.engines[number].end = Some(End::Dead);
        if self.engines[number].engine.take().is_none() {
            return;
        }
        self.note(About::World, |world| {
            format!("{} is killed", world.name(number))
        });
        self.end_engine(number);
    }

    fn end_engine(&mut self, number: usize) {
        self.engines[number].engine = None;
        let mine = self
            .links
            .iter()
            .filter(|(_, wire)| wire.caller == Caller::Engine(number));
        for link in mine.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.caller_dies(link);
        }
        for op in std::mem::take(&mut self.engines[number].unanswered) {
            self.never_answered(op);
        }
        if self.engines[number].superseded {
            self.writes_gone(number);
        }
    }

    /// Whether something that a node is to do has to wait until it stands still no more.
    pub(crate) fn postponed(&mut self, node: usize, event: Event) -> bool {
        let stalled = self.nodes[node].stalled;
        let waits = stalled > self.agenda.now();
        if waits {
            self.agenda.at(stalled, event);
        }
        waits
    }

    /// An engine looks at the clock.
    pub(crate) fn tick(&mut self, engine: usize) {
        if !self.postponed(self.engines[engine].node, Event::Tick(engine)) {
            self.engines[engine].tick_at = None;
            self.pump_engine(engine);
        }
    }

    /// An entry is durable on the engine's node.
    pub(crate) fn kept(&mut self, engine: usize, entry: &BucketEntry) {
        if self.postponed(
            self.engines[engine].node,
            Event::Kept(engine, entry.clone()),
        ) {
            return;
        }
        let host = &mut self.engines[engine];
        let Some(core) = &mut host.engine else {
            return;
        };
        let volume = &mut self.volumes[host.volume];
        if volume.attach == host.generation.attach {
            let newer = |kept: &BucketEntry| entry.epoch() > kept.epoch();
            if volume.kept.get(&entry.bucket()).is_none_or(newer) {
                volume.kept.insert(entry.bucket(), entry.clone());
            }
        }
        host.seen.kept(entry);
        core.kept(entry.bucket(), entry.epoch());
        self.pump_engine(engine);
    }

    /// A cut is durable on the engine's node.
    pub(crate) fn kept_cut(&mut self, engine: usize, cut: u64) {
        if self.postponed(self.engines[engine].node, Event::KeptCut(engine, cut)) {
            return;
        }
        let host = &mut self.engines[engine];
        let Some(core) = &mut host.engine else {
            return;
        };
        let volume = &mut self.volumes[host.volume];
        if volume.attach == host.generation.attach {
            volume.kept_cut = volume.kept_cut.max(cut);
        }
        core.kept_cut(Cut(cut));
        self.pump_engine(engine);
    }

    /// News of the map.
    pub(crate) fn engine_news(&mut self, engine: usize, entry: BucketEntry) {
        let node = self.engines[engine].node;
        if self.postponed(node, Event::EngineNews(engine, entry.clone())) {
            return;
        }
        if !self.silence.hears(self.api(), node) {
            self.agenda.after(20 * MS, Event::EngineNews(engine, entry));
        } else if let Some(core) = &mut self.engines[engine].engine {
            core.learn(vec![entry]);
            self.pump_engine(engine);
        }
    }

    /// The cut of the volume is to rise.
    pub(crate) fn raise(&mut self, engine: usize) {
        if self.postponed(self.engines[engine].node, Event::Raise(engine)) {
            return;
        }
        let host = &mut self.engines[engine];
        let volume = &self.volumes[host.volume];
        // The Volume names its attachment: one that it doesn't name obeys no cut of it.
        if volume.attach != host.generation.attach {
            return;
        }
        let cut = volume.cut;
        if let Some(core) = &mut host.engine {
            core.raise_cut(Cut(cut));
            self.pump_engine(engine);
        }
    }

    /// A reply reaches an engine.
    pub(crate) fn engine_hears(
        &mut self,
        engine: usize,
        link: LinkId,
        id: RequestId,
        answer: (Reply, Bytes),
    ) {
        let (reply, data) = answer;
        let Some(disk) = self.links.get(&link).map(|wire| self.agents[wire.disk].id) else {
            return;
        };
        let host = &mut self.engines[engine];
        host.seen.heard(disk, (link, id), &reply, &self.map);
        if let Some(core) = &mut host.engine {
            core.answered(PathId(link), id, reply, data);
            self.pump_engine(engine);
        }
    }

    /// Lets an engine look at the clock, does what it says, and sees to its next look.
    pub(crate) fn pump_engine(&mut self, engine: usize) {
        let now_ms = self.clock_ms(self.engines[engine].node);
        if let Some(core) = &mut self.engines[engine].engine {
            core.tick(now_ms);
        }
        while let Some(output) = self.engines[engine]
            .engine
            .as_mut()
            .and_then(Engine::next_output)
        {
            self.engine_says(engine, output);
        }
        let ahead_ms = self.nodes[self.engines[engine].node].ahead_ms;
        let host = &mut self.engines[engine];
        let deadline = host.engine.as_ref().and_then(Engine::deadline);
        if let Some(deadline) = deadline {
            let at = (deadline.saturating_sub(ahead_ms) * MS).max(self.agenda.now() + MS / 10);
            if host.tick_at.is_none_or(|planned| planned > at) {
                host.tick_at = Some(at);
                self.agenda.at(at, Event::Tick(engine));
            }
        }
    }

    fn engine_says(&mut self, engine: usize, output: Output) {
        match output {
            Output::Send {
                path,
                id,
                request,
                payload,
            } => {
                self.engine_asks(engine, (path.0, id), &request, payload.as_ref());
                let (request, payload) = self.bent_request(engine, request, payload);
                self.send(path.0, Way::Forth, Message::Request(id, request, payload));
            }
            Output::Done { io, result } => self.op_ended(engine, io.0, result),
            Output::Keep { entry } => {
                let late = self.chance.skewed(MS / 20..=8 * MS);
                self.agenda.after(late, Event::Kept(engine, entry));
            }
            Output::Attached => self.attached(engine),
            Output::AttachFailed(error) => {
                let name = self.name(engine);
                self.violated(None, format!("{name} can't attach: {error}"));
            }
            Output::Detached { clean } => {
                self.note(About::World, |world| {
                    format!("{} is detached, clean: {clean}", world.name(engine))
                });
                self.end_engine(engine);
            }
            Output::CutReached { cut, generation } => {
                if generation == self.engines[engine].generation {
                    self.cut_reached(engine, cut.0);
                }
            }
            Output::KeepCut { cut } => {
                let late = self.chance.skewed(MS / 20..=8 * MS);
                self.agenda.after(late, Event::KeptCut(engine, cut.0));
            }
            Output::Resized { size_bytes } => self.engines[engine].chunks = size_bytes >> 22,
            Output::Suspect { disk } => {
                self.note(About::World, |world| {
                    format!("{} suspects disk {}", world.name(engine), disk.get())
                });
                self.engines[engine]
                    .suspects
                    .insert(disk, self.agenda.now());
            }
            Output::Trust { disk } => {
                self.engines[engine].suspects.remove(&disk);
            }
            Output::Fenced { by } => self.fenced(engine, by),
        }
    }

    /// An engine has found a newer one.
    fn fenced(&mut self, engine: usize, by: Generation) {
        self.note(About::World, |world| {
            let name = world.name(engine);
            format!("{name} is fenced by {}.{}", by.attach, by.incarnation)
        });
        let host = &self.engines[engine];
        let mut others = self.volumes[host.volume].engines.iter();
        let newer =
            others.any(|other| self.engines[*other].generation == by && by > host.generation);
        if !newer {
            let name = self.name(engine);
            let what = format!("{name} says it is fenced by {by:?}, which is no newer engine");
            self.violated(None, what);
        }
        self.end_engine(engine);
    }

    /// An engine serves: what the former ones had not acknowledged is there by now, or never.
    fn attached(&mut self, engine: usize) {
        self.note(About::World, |world| {
            format!("{} is attached", world.name(engine))
        });
        self.engines[engine].attached = true;
        let volume = self.engines[engine].volume;
        let older: Vec<usize> = self.volumes[volume]
            .engines
            .iter()
            .copied()
            .filter(|&other| other != engine)
            .collect();
        if older
            .iter()
            .any(|&other| self.engines[other].generation > self.engines[engine].generation)
        {
            return;
        }
        for other in older {
            if !std::mem::replace(&mut self.engines[other].superseded, true) {
                for op in self.engines[other].open_writes.clone() {
                    self.write_decided(op);
                }
            }
            if self.engines[other].engine.is_none() {
                self.writes_gone(other);
            }
        }
    }

    /// Nobody is left who could acknowledge what this engine had not.
    fn writes_gone(&mut self, engine: usize) {
        for op in std::mem::take(&mut self.engines[engine].open_writes) {
            self.write_gone(op);
        }
    }

    /// Whether no newer engine of its volume was begun.
    pub(crate) fn is_newest(&self, engine: usize) -> bool {
        self.volumes[self.engines[engine].volume].engines.last() == Some(&engine)
    }

    /// Whether a newer engine serves already: what this one begins now must come to nothing.
    pub(crate) fn is_late(&self, engine: usize) -> bool {
        self.engines[engine].superseded
    }
}
