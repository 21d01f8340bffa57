//! Everything there is in a run, and the loop that lets one event after another happen.
//!
//! What each event does stands with its subject: `agents` (disks and their replicas), `engines`,
//! `wires` (connections), `operator`, `faults`, `load` (clients), `finish`. This file only holds it
//! together.

use crate::agenda::{Agenda, MS, Micros};
use crate::agents::Agent;
use crate::bend::Bent;
use crate::chance::Chance;
use crate::engines::Host;
use crate::history::History;
use crate::life::Life;
use crate::map::Map;
use crate::mutation::Mutation;
use crate::network::{Link, LinkId, Silence, Way};
use crate::operator::Operator;
use crate::scenario::Scenario;
use crate::scenes::Scene;
use crate::trace::{About, Trace};
use crate::value::Spot;
use crate::watch::Watch;
use moraine_model::{BucketEntry, BucketId, ChunkIndex, DiskId, Epoch, VolumeId, bucket_of};
use std::collections::BTreeMap;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next message of a connection arrives.
    Arrive(LinkId, Way),
    /// A connection to a disk is tried: engine, disk.
    Dial(usize, usize),
    /// A replica's call was not answered in time: the connection and the request.
    Overdue(LinkId, u64),
    /// A connection breaks by itself.
    Break(LinkId),
    /// One operation of a disk completes: the disk, and which start of its process asked for it.
    Disk(usize, u64),
    /// The replicas of a disk look at the clock.
    Poll(usize, u64),
    /// An agent's process starts.
    Start(usize),
    /// An engine looks at the clock.
    Tick(usize),
    /// An engine's entry is durable.
    Kept(usize, BucketEntry),
    /// An engine's cut is durable.
    KeptCut(usize, u64),
    /// A new engine's process starts.
    Begin(usize),
    /// News of the map reach a disk.
    DiskNews(usize, BucketEntry),
    /// News of the map reach an engine.
    EngineNews(usize, BucketEntry),
    /// A disk is told of the volumes, and of what is deleted.
    Tell(usize),
    /// A disk is told again.
    Remind(usize),
    /// The operator looks around.
    Operate,
    /// A replica's report reaches the operator.
    Report(usize, BucketId, Epoch),
    /// A client of an engine does something.
    Work(usize),
    /// Somebody looks at a replica directly.
    Look,
    /// Something goes wrong.
    Fault,
    /// The next of a sequence of faults.
    Scene(Scene),
    /// Two nodes hear each other again, one way.
    Heal(usize, usize),
    /// An engine is to raise its cut.
    Raise(usize),
    /// An engine is to grow to its volume's size.
    Grow(usize),
    /// The faults end.
    Calm,
    /// The end is looked for.
    Finish,
}

/// A node.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Until when it stands still.
    pub(crate) stalled: Micros,
    /// By how much its clock is ahead.
    pub(crate) ahead_ms: u64,
}

/// A volume.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Its id.
    pub(crate) id: VolumeId,
    /// The id that places its chunks.
    pub(crate) key: VolumeId,
    /// The volume and the cut that it was cloned from.
    pub(crate) parent: Option<(usize, u64)>,
    /// How far its life is.
    pub(crate) life: Life,
    /// Its size.
    pub(crate) chunks: u64,
    /// The newest attach, as the Volume object has it.
    pub(crate) attach: u32,
    /// Its engines, the newest last.
    pub(crate) engines: Vec<usize>,
    /// The cut that it is to have.
    pub(crate) cut: u64,
    /// Cuts that are not reached yet.
    pub(crate) rising: Vec<u64>,
    /// Snapshots that can be read.
    pub(crate) snapshots: Vec<u64>,
    /// Snapshots that were deleted.
    pub(crate) deleted: Vec<u64>,
    /// The entries that the engine of this attach keeps on its node.
    pub(crate) kept: BTreeMap<BucketId, BucketEntry>,
    /// The cut that it keeps there.
    pub(crate) kept_cut: u64,
}

/// What a run counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Events that happened.
    pub events: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were judged.
    pub reads: u64,
    /// Blocks that were looked at directly.
    pub looks: u64,
    /// Faults.
    pub faults: u64,
    /// Changes of the map.
    pub maps: u64,
    /// Engines.
    pub engines: u64,
    /// Cuts.
    pub cuts: u64,
    /// Clones.
    pub clones: u64,
    /// Volumes that grew.
    pub grown: u64,
    /// Volumes that were deleted.
    pub deleted: u64,
    /// Operations that ended with an error.
    pub errors: u64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults happen.
    Chaos,
    /// No more faults: everything is to come to its end.
    Calm,
    /// The final reads are under way.
    Reading,
    /// It is over.
    Over,
}

/// What was wrong.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    /// In words.
    pub(crate) what: String,
    /// The block, if it is about one.
    pub(crate) spot: Option<Spot>,
}

/// A run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) chance: Chance,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) next_link: LinkId,
    pub(crate) silence: Silence,
    pub(crate) engines: Vec<Host>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) map: Map,
    pub(crate) operator: Operator,
    pub(crate) history: History,
    pub(crate) watch: Watch,
    pub(crate) bent: Bent,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) phase: Phase,
    pub(crate) calm_since: Micros,
    /// When something was not at rest the last time.
    pub(crate) busy: Micros,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    digest: u64,
}

impl World {
    /// The world of a seed, before anything happened.
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, trace: Trace) -> Self {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::draw(&mut chance, seed);
        let nodes = scenario.nodes + scenario.clients + 1;
        let mut world = Self {
            chance,
            agenda: Agenda::default(),
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            agents: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            silence: Silence::default(),
            engines: Vec::new(),
            volumes: Vec::new(),
            map: Map::default(),
            operator: Operator::default(),
            history: History::new(&scenario),
            watch: Watch::default(),
            bent: Bent::default(),
            mutation,
            phase: Phase::Chaos,
            calm_since: 0,
            busy: 0,
            counts: Counts::default(),
            trace,
            violation: None,
            digest: seed,
            scenario,
        };
        world.note(About::World, |world| world.scenario.describe());
        world.furnish();
        world
    }

    fn furnish(&mut self) {
        for node in 0..self.scenario.nodes {
            for _ in 0..self.scenario.disks {
                self.add_disk(node);
            }
        }
        self.place_buckets();
        for _ in 0..self.scenario.volumes {
            let number = self.add_volume(None, self.scenario.chunks);
            self.attach(number);
        }
        for disk in 0..self.agents.len() {
            let late = self.chance.within(0..=self.scenario.news);
            self.agenda.after(late, Event::Remind(disk));
        }
        self.agenda.after(20 * MS, Event::Operate);
        self.agenda.after(30 * MS, Event::Look);
        let first = self.chance.within(MS..=self.scenario.calm);
        self.agenda.after(first, Event::Fault);
        self.agenda.after(self.scenario.chaos, Event::Calm);
    }

    /// Lets the next event happen; false when the run is over.
    pub(crate) fn step(&mut self) -> bool {
        if self.violation.is_some() || self.phase == Phase::Over {
            return false;
        }
        let Some(event) = self.agenda.next_event() else {
            self.violated(None, "nothing is to happen any more".into());
            return false;
        };
        self.counts.events += 1;
        self.stir(self.agenda.now());
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(link, way) => self.arrive(link, way),
            Event::Dial(engine, disk) => self.dial(engine, disk),
            Event::Overdue(link, request) => self.overdue(link, request),
            Event::Break(link) => self.break_link(link),
            Event::Disk(disk, boot) => self.disk_step(disk, boot),
            Event::Poll(disk, boot) => self.poll(disk, boot),
            Event::Start(disk) => self.start_agent(disk),
            Event::Tick(engine) => self.tick(engine),
            Event::Kept(engine, entry) => self.kept(engine, &entry),
            Event::KeptCut(engine, cut) => self.kept_cut(engine, cut),
            Event::Begin(engine) => self.begin_engine(engine),
            Event::DiskNews(disk, entry) => self.disk_news(disk, entry),
            Event::EngineNews(engine, entry) => self.engine_news(engine, entry),
            Event::Tell(disk) => self.tell(disk),
            Event::Remind(disk) => self.remind(disk),
            Event::Operate => self.operate(),
            Event::Report(disk, bucket, since) => self.report(disk, bucket, since),
            Event::Work(engine) => self.work(engine),
            Event::Look => self.look(),
            Event::Fault => self.fault(),
            Event::Scene(scene) => self.play(scene),
            Event::Heal(from, to) => self.silence.end(from, to),
            Event::Raise(engine) => self.raise(engine),
            Event::Grow(engine) => self.grow_engine(engine),
            Event::Calm => self.calm(),
            Event::Finish => self.finish(),
        }
    }

    /// What the run came to, as one number: two runs of a seed have the same.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Takes a number into the digest.
    pub(crate) fn stir(&mut self, number: u64) {
        let mixed = (self.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 29);
    }

    /// Tells the trace something.
    pub(crate) fn note(&self, about: About, text: impl FnOnce(&Self) -> String) {
        self.trace.line(self.agenda.now(), about, || text(self));
    }

    /// Something that must never be; the run ends with the first.
    pub(crate) fn violated(&mut self, spot: Option<Spot>, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { what, spot });
        }
    }

    /// Holds an outcome of a block's history against the rules.
    pub(crate) fn judge(&mut self, spot: Spot, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.violated(Some(spot), format!("{spot}: {what}"));
        }
    }

    /// The clock of a node.
    pub(crate) fn clock_ms(&self, node: usize) -> u64 {
        self.agenda.now() / MS + self.nodes[node].ahead_ms
    }

    /// Whether the bug is wanted, and happens this time.
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The node of the Kubernetes API.
    pub(crate) fn api(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The bucket of a block.
    pub(crate) fn bucket(&self, spot: Spot) -> BucketId {
        let chunk = u32::try_from(spot.block / 1024)
            .ok()
            .and_then(|chunk| ChunkIndex::new(chunk).ok());
        let chunk = chunk.expect("a world's volumes are small");
        let bucket = bucket_of(self.volumes[spot.volume].key, chunk, self.scenario.buckets);
        bucket.expect("a pool has buckets")
    }

    /// Whether a volume has a chunk in a bucket.
    pub(crate) fn uses(&self, volume: usize, bucket: BucketId) -> bool {
        let mut chunks = (0..self.volumes[volume].chunks).map(|chunk| Spot {
            volume,
            block: chunk * 1024,
        });
        chunks.any(|spot| self.bucket(spot) == bucket)
    }

    /// The number of the volume with this id.
    pub(crate) fn volume_number(&self, id: VolumeId) -> Option<usize> {
        self.volumes.iter().position(|volume| volume.id == id)
    }

    /// The newest engine of a volume, if it serves.
    pub(crate) fn serving(&self, volume: usize) -> Option<usize> {
        let newest = *self.volumes[volume].engines.last()?;
        let host = &self.engines[newest];
        (host.engine.is_some() && host.attached).then_some(newest)
    }
}

/// The number of the disk with this id.
pub(crate) fn disk_number(id: DiskId) -> usize {
    usize::try_from(id.get()).expect("a world has few disks") - 1
}
