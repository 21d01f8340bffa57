//! What there is in the modelled world: the bucket's map, the replicas, the engines, the Volume object and the messages under way.
//! Deliberately plain values: what may happen to them stands in `action.rs` and the files named after who does it.

use crate::truth::Truth;

/// Replicas that the bucket may be listed on.
pub const REPLICAS: usize = 3;
/// Blocks of the volume, at most; [`crate::Bounds`] says how many are used.
pub const BLOCKS: usize = 2;
/// Cuts of the volume, at most.
pub const CUTS: usize = 3;

/// The version of the bucket's entry in the map: its place in [`State::maps`].
pub type Epoch = u8;
/// What a block holds; zero is what a block holds that was never written, and what a trim leaves.
pub type Value = u8;

/// Which engine: attach grows with each attach, incarnation with each restart within one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation {
    /// From the Volume object.
    pub attach: u8,
    /// From the engine's own file.
    pub incarnation: u8,
}

/// The total order of a volume's writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp {
    /// The engine that gave it.
    pub generation: Generation,
    /// Grows with each write of that engine.
    pub sequence: u8,
}

/// One version of one block at one cut, as a replica holds it. A zero is a version like another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version {
    /// Its place among the volume's writes.
    pub stamp: Stamp,
    /// Its content.
    pub value: Value,
    /// The newest epoch under which it was accepted, or that of the listing for which it was copied.
    pub epoch: Epoch,
}

/// What a replica holds: for each block a layer per cut.
pub type Layers = [[Option<Version>; CUTS]; BLOCKS];

/// What a reader at `cut` sees: the version of the greatest cut up to it.
pub fn visible(layers: &[Option<Version>; CUTS], cut: usize) -> Value {
    let seen = layers[..=cut].iter().rev().flatten().next();
    seen.map_or(0, |version| version.value)
}

/// What the map says of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Not listed.
    Out,
    /// Listed, and copying.
    Syncing,
    /// Listed, and holding every acknowledged write.
    InSync,
}

/// A replica's entry in the map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listing {
    /// What it is.
    pub role: Role,
    /// The epoch at which it was listed.
    pub since: Epoch,
}

impl Listing {
    /// Whether it gets the bucket's writes.
    pub fn listed(self) -> bool {
        self.role != Role::Out
    }
}

/// The bucket's entry in the map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Map(pub [Listing; REPLICAS]);

impl Map {
    /// The replicas that get the bucket's writes.
    pub fn listed(self) -> impl Iterator<Item = usize> {
        (0..REPLICAS).filter(move |&replica| self.0[replica].listed())
    }

    /// The replicas that may be read.
    pub fn in_sync(self) -> impl Iterator<Item = usize> {
        (0..REPLICAS).filter(move |&replica| self.0[replica].role == Role::InSync)
    }
}

/// A replica of the bucket on one disk. Its steps are durable and atomic, so one that crashed is one that takes no step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Replica {
    /// Everything it holds.
    pub layers: Layers,
    /// The newest commit mark it kept.
    pub mark: Stamp,
    /// The newest generation it made durable.
    pub fence: Generation,
    /// The newest epoch it knows.
    pub epoch: Epoch,
    /// The listing for which each block and cut was copied.
    pub copied: [[Epoch; CUTS]; BLOCKS],
}

/// A replica's answer to an open.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Answer {
    /// Its commit mark.
    pub mark: Stamp,
    /// What it holds: stamps and content.
    pub layers: Layers,
    /// Which of them it reports: above its mark, and if it is Syncing written since it was listed.
    pub reported: [[bool; CUTS]; BLOCKS],
}

/// A write in flight, of the block and cut under which [`Engine::flights`] has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flight {
    /// The same in every retry.
    pub stamp: Stamp,
    /// What is written.
    pub value: Value,
    /// The newest epoch under which each replica acknowledged it.
    pub acks: [Option<Epoch>; REPLICAS],
    /// A write of the reconciliation, not of a user.
    pub reconciling: bool,
}

/// How far an engine is with the bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Waiting for answers; nothing was reconciled yet.
    Fresh,
    /// The writes of the reconciliation are decided on.
    Reconciling,
    /// The bucket is wholly reconciled.
    Reconciled,
}

/// An engine; one that another has superseded goes on as a zombie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Engine {
    /// Who it is.
    pub generation: Generation,
    /// False once its process has ended.
    pub alive: bool,
    /// The newest map it knows, which it keeps across a restart.
    pub epoch: Epoch,
    /// The greatest cut wanted by a version of the Volume object that it saw and obeys.
    pub told: u8,
    /// The cut with which it tags writes, kept across a restart.
    pub cut: u8,
    /// Who has accepted its generation under its epoch.
    pub answers: [Option<Answer>; REPLICAS],
    /// All listed have, and the bucket is reconciled.
    pub serving: bool,
    /// How far it is with the reconciliation.
    pub phase: Phase,
    /// Writes in flight, by block and cut.
    pub flights: [[Option<Flight>; CUTS]; BLOCKS],
    /// The sequence number of its last write.
    pub sequence: u8,
    /// What the reconciliation made of each block.
    pub found: [Value; BLOCKS],
}

impl Engine {
    /// Ends its process: nothing is left of it but what it did.
    pub fn end(&mut self) {
        self.alive = false;
        self.answers = [None; REPLICAS];
        self.serving = false;
        self.flights = Default::default();
    }

    /// Whether it has anything in flight.
    pub fn is_idle(&self) -> bool {
        self.flights.iter().flatten().all(Option::is_none)
    }

    /// Whether it has anything in flight on a block.
    pub fn is_idle_at(&self, block: usize) -> bool {
        self.flights[block].iter().all(Option::is_none)
    }
}

/// One version of the Volume object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Volume {
    /// The attachment's number.
    pub attach: u8,
    /// False after a clean detach.
    pub attached: bool,
    /// The cut that the CSI controller wants.
    pub wanted: u8,
    /// The cut that was reported reached: snapshots of all below it are ready.
    pub reached: u8,
}

/// Something under way. Once sent it may arrive at any time, more than once, or never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// A write, of a user or of the reconciliation.
    Write {
        /// Of the engine's map.
        epoch: Epoch,
        /// The block written.
        block: u8,
        /// Its tag.
        cut: u8,
        /// Names the engine, too.
        stamp: Stamp,
        /// Its content.
        value: Value,
        /// The engine's commit mark.
        mark: Stamp,
        /// The replica it goes to.
        to: u8,
    },
    /// A replica has made a write durable.
    Ack {
        /// The epoch of the write's request.
        epoch: Epoch,
        /// The block written.
        block: u8,
        /// Its tag.
        cut: u8,
        /// Names the engine it goes to, too.
        stamp: Stamp,
        /// The replica.
        from: u8,
    },
    /// An engine tells the Volume object that it has reached a cut.
    Reached {
        /// Of the engine.
        attach: u8,
        /// The cut it now tags writes with.
        cut: u8,
    },
}

/// The whole world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Every version of the bucket's entry; the place is the epoch.
    pub maps: Vec<Map>,
    /// The three disks.
    pub replicas: [Replica; REPLICAS],
    /// Every engine there was.
    pub engines: Vec<Engine>,
    /// Every version of the Volume object.
    pub volumes: Vec<Volume>,
    /// What may still arrive, sorted.
    pub net: Vec<Message>,
    /// Writes that users began.
    pub writes: u8,
    /// What users may see.
    pub truth: Truth,
}

impl State {
    /// Two replicas in sync, one out, nothing written, nothing attached.
    pub fn first() -> Self {
        let listing = |role| Listing { role, since: 0 };
        let map = Map([
            listing(Role::InSync),
            listing(Role::InSync),
            listing(Role::Out),
        ]);
        let volume = Volume {
            attach: 0,
            attached: false,
            wanted: 0,
            reached: 0,
        };
        Self {
            maps: vec![map],
            replicas: [Replica::default(); REPLICAS],
            engines: Vec::new(),
            volumes: vec![volume],
            net: Vec::new(),
            writes: 0,
            truth: Truth::default(),
        }
    }

    /// The epoch of the newest map.
    pub fn newest_epoch(&self) -> Epoch {
        place(self.maps.len() - 1)
    }

    /// The newest map.
    pub fn newest_map(&self) -> Map {
        self.map(self.newest_epoch())
    }

    /// The map of an epoch.
    pub fn map(&self, epoch: Epoch) -> Map {
        self.maps[usize::from(epoch)]
    }

    /// What a replica knows of its own listing.
    pub fn known_listing(&self, replica: usize) -> Listing {
        self.map(self.replicas[replica].epoch).0[replica]
    }

    /// The Volume object as it is now.
    pub fn volume(&self) -> Volume {
        *self.volumes.last().expect("the first state has one")
    }

    /// Whether no engine is newer than this one.
    pub fn is_newest(&self, engine: usize) -> bool {
        let own = self.engines[engine].generation;
        self.engines.iter().all(|other| other.generation <= own)
    }

    /// What the next newer engine found that has reconciled the bucket, if there is one: from then on only its line counts.
    pub fn successor(&self, engine: usize) -> Option<&Engine> {
        let own = self.engines[engine].generation;
        let done = |other: &&Engine| other.generation > own && other.phase == Phase::Reconciled;
        self.engines
            .iter()
            .filter(done)
            .min_by_key(|other| other.generation)
    }

    /// Puts a message under way, if the very same one is not yet.
    pub fn send(&mut self, message: Message) {
        if let Err(at) = self.net.binary_search(&message) {
            self.net.insert(at, message);
        }
    }
}

/// A place as the small number that states hold.
pub fn place(index: usize) -> u8 {
    u8::try_from(index).expect("the bounds of the model are far below 256")
}
