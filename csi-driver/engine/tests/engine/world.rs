//! Disks, a network and an engine; what each was told, and checks that hold for every run: each
//! operation is answered once, and a write only when every listed replica has acknowledged it under
//! the newest entry that the engine knows.

use crate::replica::{Disk, Value};
use bytes::Bytes;
use moraine_engine::{Engine, Io, IoError, IoId, Limits, Output, PathId, Settings};
use moraine_model::{
    BLOCK_BYTES, BucketEntry, BucketId, CHUNK_BYTES, ChunkIndex, Cut, DiskId, Epoch, Generation,
    Listing, Role, Stamp, VolumeId, bucket_of,
};
use moraine_protocol::{Content, Reply, Request, RequestId};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const BLOCK: u64 = BLOCK_BYTES as u64;
pub(crate) const VOLUME: u128 = 0x77;

/// A request on its way, or its answer.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) path: PathId,
    pub(crate) disk: usize,
    pub(crate) id: RequestId,
    pub(crate) request: Request,
    pub(crate) payload: Bytes,
    pub(crate) reply: Option<Reply>,
}

/// One life of the engine, and what it asked for.
pub(crate) struct World {
    pub(crate) engine: Engine,
    former: Option<Engine>,
    pub(crate) settings: Settings,
    pub(crate) disks: Vec<Disk>,
    /// The newest map.
    pub(crate) map: BTreeMap<BucketId, BucketEntry>,
    /// What the engine has made durable, and what it knows.
    pub(crate) kept: BTreeMap<BucketId, BucketEntry>,
    pub(crate) known: BTreeMap<BucketId, BucketEntry>,
    pub(crate) auto_keep: bool,
    pub(crate) wanted_cut: Cut,
    pub(crate) kept_cut: Cut,
    /// Paths that are up, by disk.
    pub(crate) paths: BTreeMap<PathId, usize>,
    next_path: u64,
    last_ids: BTreeMap<PathId, RequestId>,
    /// Superseded engines that live on, on other nodes.
    pub(crate) zombies: Vec<Zombie>,
    pub(crate) wire: Vec<Message>,
    /// Disks whose requests aren't delivered by `run`.
    pub(crate) stuck: BTreeSet<usize>,
    /// What was sent, ever.
    pub(crate) sent: Vec<Request>,
    pub(crate) events: Vec<Output>,
    pub(crate) done: BTreeMap<IoId, Result<Bytes, IoError>>,
    /// Writes that are unanswered: blocks and content.
    pub(crate) writes: BTreeMap<IoId, (u64, Vec<Value>)>,
    open: BTreeSet<IoId>,
    next_io: u64,
    pub(crate) now: u64,
    /// Who acknowledged what under which epoch, as the engine was told.
    acknowledged: BTreeSet<(BucketId, ChunkIndex, u16, DiskId, Epoch, Stamp)>,
    stamps: BTreeMap<Vec<u8>, BTreeSet<Stamp>>,
}

/// An engine that was superseded and doesn't know it.
pub(crate) struct Zombie {
    pub(crate) engine: Engine,
    paths: BTreeMap<PathId, usize>,
    pub(crate) done: BTreeMap<IoId, Result<Bytes, IoError>>,
}

impl Zombie {
    /// Does what the engine says, as a world does; on another node, it keeps things at once.
    fn take_outputs(&mut self, wire: &mut Vec<Message>) {
        while let Some(output) = self.engine.next_output() {
            match output {
                Output::Send {
                    path,
                    id,
                    request,
                    payload,
                } => wire.push(Message {
                    path,
                    disk: self.paths[&path],
                    id,
                    request,
                    payload: payload.unwrap_or_default(),
                    reply: None,
                }),
                Output::Done { io, result } => drop(self.done.insert(io, result)),
                Output::Keep { entry } => self.engine.kept(entry.bucket(), entry.epoch()),
                Output::KeepCut { cut } => self.engine.kept_cut(cut),
                _ => {}
            }
        }
    }
}

pub(crate) fn disk_id(number: usize) -> DiskId {
    DiskId::new(number as u128 + 1).unwrap()
}

/// An entry: for each listed disk its number, role and since when.
pub(crate) fn entry(bucket: BucketId, epoch: u64, listed: &[(usize, Role, u64)]) -> BucketEntry {
    let listings = listed.iter().map(|(disk, role, since)| Listing {
        disk: disk_id(*disk),
        role: *role,
        since: Epoch(*since),
    });
    BucketEntry::new(bucket, Epoch(epoch), listings.collect()).unwrap()
}

/// One block of this number.
pub(crate) fn block(value: u64) -> Bytes {
    Bytes::from(value.to_le_bytes().repeat(BLOCK_BYTES / 8))
}

pub(crate) fn generation(attach: u32) -> Generation {
    Generation {
        attach,
        incarnation: 0,
    }
}

/// An engine of this attachment says that it has reached a cut.
pub(crate) fn reached(attach: u32, cut: u64) -> Output {
    Output::CutReached {
        cut: Cut(cut),
        generation: generation(attach),
    }
}

impl World {
    /// Replicas of all buckets in sync on the first `replicas` of the disks.
    pub(crate) fn new(disks: usize, replicas: usize, chunks: u64, buckets: u32) -> Self {
        let volume = VolumeId::new(VOLUME).unwrap();
        let mut settings = Settings::new(volume, chunks * CHUNK_BYTES, generation(1), buckets);
        settings.limits = Limits {
            path_timeout_ms: 100,
            no_space_grace_ms: 300,
            io_deadline_ms: 10_000,
            detach_deadline_ms: 5_000,
            ..Limits::default()
        };
        Self::with(settings, disks, replicas)
    }

    pub(crate) fn with(settings: Settings, disks: usize, replicas: usize) -> Self {
        let listed: Vec<_> = (0..replicas).map(|disk| (disk, Role::InSync, 1)).collect();
        let ids = (0..settings.buckets).map(|id| BucketId::new(id).unwrap());
        let map: BTreeMap<_, _> = ids.map(|id| (id, entry(id, 1, &listed))).collect();
        let entries = map.values().cloned().collect();
        let mut world = Self {
            engine: Engine::new(settings, entries).unwrap(),
            former: None,
            settings,
            disks: (1..=disks as u128).map(Disk::new).collect(),
            map,
            kept: BTreeMap::new(),
            known: BTreeMap::new(),
            auto_keep: true,
            wanted_cut: Cut(0),
            kept_cut: Cut(0),
            paths: BTreeMap::new(),
            next_path: 0,
            last_ids: BTreeMap::new(),
            zombies: Vec::new(),
            wire: Vec::new(),
            stuck: BTreeSet::new(),
            sent: Vec::new(),
            events: Vec::new(),
            done: BTreeMap::new(),
            writes: BTreeMap::new(),
            open: BTreeSet::new(),
            next_io: 0,
            now: 1000,
            acknowledged: BTreeSet::new(),
            stamps: BTreeMap::new(),
        };
        world.engine.tick(world.now);
        world.take_outputs();
        world
    }

    /// A world whose volume is attached, with a path to every disk.
    pub(crate) fn attached(disks: usize, replicas: usize, chunks: u64, buckets: u32) -> Self {
        let mut world = Self::new(disks, replicas, chunks, buckets);
        world.connect_all();
        world.run();
        world.expect(|output| *output == Output::Attached);
        world
    }

    pub(crate) fn connect_all(&mut self) {
        for disk in 0..self.disks.len() {
            self.connect(disk);
        }
    }

    pub(crate) fn connect(&mut self, disk: usize) -> PathId {
        self.connect_as(disk, 64, false)
    }

    pub(crate) fn connect_as(&mut self, disk: usize, credits: u32, local: bool) -> PathId {
        self.next_path += 1;
        let path = PathId(self.next_path);
        self.paths.insert(path, disk);
        self.engine.connected(path, disk_id(disk), credits, local);
        self.take_outputs();
        path
    }

    /// Cuts a path; what is on its way is lost.
    pub(crate) fn disconnect(&mut self, path: PathId) {
        self.paths.remove(&path);
        self.wire.retain(|message| message.path != path);
        self.engine.disconnected(path);
        self.take_outputs();
    }

    /// Cuts all paths to a disk.
    pub(crate) fn kill(&mut self, disk: usize) {
        let paths = self.paths.iter().filter(|(_, to)| **to == disk);
        for path in paths.map(|(path, _)| *path).collect::<Vec<_>>() {
            self.disconnect(path);
        }
    }

    /// The engine dies, and what it sent may still arrive. A newer one begins, with the map that it
    /// kept or a newer one.
    pub(crate) fn restart(&mut self, generation: Generation, newest_map: bool) {
        let told = self.settings.cut;
        self.restart_with(generation, newest_map, told);
    }

    pub(crate) fn restart_with(&mut self, generation: Generation, newest_map: bool, cut: Cut) {
        self.settings.generation = generation;
        self.settings.cut = cut;
        // Of a bucket of which nothing was kept, nothing was opened: any map will do.
        let entries = self.map.iter().map(|(id, newest)| {
            let kept = self.kept.get(id).filter(|_| !newest_map);
            kept.unwrap_or(newest).clone()
        });
        let entries = entries.collect();
        let engine = Engine::new(self.settings, entries).unwrap();
        self.former = Some(std::mem::replace(&mut self.engine, engine));
        self.engine.tick(self.now);
        self.known.clear();
        self.open.clear();
        self.writes.clear();
        self.paths.clear();
        self.last_ids.clear();
        self.take_outputs();
    }

    /// A newer engine begins on another node, with the newest map, while the former lives on.
    pub(crate) fn supersede(&mut self, generation: Generation, cut: Cut) {
        let paths = self.paths.clone();
        self.kept.clear();
        self.restart_with(generation, true, cut);
        self.zombies.push(Zombie {
            engine: self.former.take().unwrap(),
            paths,
            done: BTreeMap::new(),
        });
    }

    /// Something happens to a superseded engine.
    pub(crate) fn zombie(&mut self, nth: usize, act: impl FnOnce(&mut Engine)) {
        let count = self.zombies.len();
        if count > 0 {
            let zombie = &mut self.zombies[nth % count];
            act(&mut zombie.engine);
            zombie.take_outputs(&mut self.wire);
        }
    }

    pub(crate) fn fresh_io(&mut self) -> IoId {
        self.next_io += 1;
        IoId(self.next_io)
    }

    /// The map changes; disks and engine learn of it later.
    pub(crate) fn publish(
        &mut self,
        bucket: BucketId,
        listed: &[(usize, Role, u64)],
    ) -> BucketEntry {
        let epoch = self.map[&bucket].epoch().0 + 1;
        let entry = entry(bucket, epoch, listed);
        self.map.insert(bucket, entry.clone());
        entry
    }

    pub(crate) fn learn(&mut self, entry: &BucketEntry) {
        self.engine.learn(vec![entry.clone()]);
        self.take_outputs();
    }

    pub(crate) fn submit(&mut self, io: Io) -> IoId {
        let id = self.fresh_io();
        let (offset, values) = match &io {
            Io::Write { offset, data } => {
                let blocks = data.chunks(BLOCK_BYTES);
                (
                    *offset,
                    blocks.map(|b| Value::Data(data.slice_ref(b))).collect(),
                )
            }
            Io::Zero { offset, length } => (*offset, vec![Value::Zero; (length / BLOCK) as usize]),
            _ => (0, Vec::new()),
        };
        if !values.is_empty() {
            self.writes.insert(id, (offset / BLOCK, values));
        }
        self.open.insert(id);
        self.engine.submit(id, io);
        self.take_outputs();
        id
    }

    pub(crate) fn write(&mut self, at: u64, value: u64) -> IoId {
        let (offset, data) = (at * BLOCK, block(value));
        self.submit(Io::Write { offset, data })
    }

    pub(crate) fn read(&mut self, at: u64, blocks: u64) -> IoId {
        self.submit(Io::Read {
            offset: at * BLOCK,
            length: blocks * BLOCK,
        })
    }

    /// The first number in each block that was read.
    pub(crate) fn values(&self, id: IoId) -> Vec<u64> {
        let data = self.done[&id].as_ref().unwrap();
        let blocks = data.chunks(BLOCK_BYTES).map(|data| {
            let number = u64::from_le_bytes(data[..8].try_into().unwrap());
            assert_eq!(data, block(number), "a block of one number");
            number
        });
        blocks.collect()
    }

    pub(crate) fn bucket_of(&self, block: u64) -> (BucketId, ChunkIndex, u16) {
        let chunk = ChunkIndex::new(u32::try_from(block / 1024).unwrap()).unwrap();
        let key = self.settings.placement_key;
        let bucket = bucket_of(key, chunk, self.settings.buckets).unwrap();
        (bucket, chunk, (block % 1024) as u16)
    }

    /// Delivers a request to its disk; the answer goes on the wire.
    pub(crate) fn deliver(&mut self, at: usize) {
        let mut message = self.wire.remove(at);
        let disk = &mut self.disks[message.disk];
        let (reply, data) = disk.handle(&message.request, &message.payload);
        reply.check().expect("replicas keep the rules of the wire");
        (message.reply, message.payload) = (Some(reply), data);
        self.wire.push(message);
    }

    /// Delivers an answer to the engine.
    pub(crate) fn answer(&mut self, at: usize) {
        let message = self.wire.remove(at);
        let reply = message.reply.unwrap();
        if !self.paths.contains_key(&message.path) {
            let mut zombies = self.zombies.iter_mut();
            if let Some(zombie) = zombies.find(|zombie| zombie.paths.contains_key(&message.path)) {
                let (path, id) = (message.path, message.id);
                zombie.engine.answered(path, id, reply, message.payload);
                zombie.take_outputs(&mut self.wire);
            }
            return;
        }
        if reply == Reply::Done {
            self.note_acknowledged(message.disk, &message.request);
        }
        let (path, id) = (message.path, message.id);
        self.engine.answered(path, id, reply, message.payload);
        self.take_outputs();
    }

    fn note_acknowledged(&mut self, disk: usize, request: &Request) {
        if let Request::Write {
            under,
            block,
            sequence,
            ..
        } = request
        {
            let stamp = Stamp {
                generation: under.generation,
                sequence: *sequence,
            };
            for number in block.range.blocks() {
                let bucket = under.share.bucket;
                let disk = disk_id(disk);
                let key = (bucket, block.chunk, number, disk, under.epoch, stamp);
                self.acknowledged.insert(key);
            }
        }
    }

    /// Delivers everything in order, until nothing is left but what is stuck.
    pub(crate) fn run(&mut self) {
        let free = |world: &Self| {
            let mut wire = world.wire.iter();
            wire.position(|message| !world.stuck.contains(&message.disk))
        };
        while let Some(at) = free(self) {
            if self.wire[at].reply.is_some() {
                self.answer(at);
            } else {
                self.deliver(at);
            }
        }
    }

    /// Time passes, and everything is delivered.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.run();
            let due = self.engine.deadline().filter(|due| *due <= end);
            self.tick(due.unwrap_or(end).max(self.now));
            if due.is_none() {
                return self.run();
            }
        }
    }

    pub(crate) fn tick(&mut self, now: u64) {
        self.now = now;
        self.engine.tick(now);
        self.take_outputs();
    }

    pub(crate) fn take_outputs(&mut self) {
        while let Some(output) = self.engine.next_output() {
            match output {
                Output::Send {
                    path,
                    id,
                    request,
                    payload,
                } => self.send(path, id, request, payload),
                Output::Done { io, result } => self.finish(io, result),
                Output::Keep { entry } => self.keep(entry),
                Output::KeepCut { cut } => self.keep_cut(cut),
                output => self.events.push(output),
            }
        }
    }

    fn send(&mut self, path: PathId, id: RequestId, request: Request, payload: Option<Bytes>) {
        let disk = *self
            .paths
            .get(&path)
            .expect("it sends on paths that are up");
        if let Request::Open { entry, .. } = &request {
            let kept = self.kept.get(&entry.bucket());
            assert_eq!(
                kept,
                Some(entry),
                "opened under an entry that is not durable"
            );
        }
        request.check().expect("it keeps the rules of the wire");
        assert_eq!(
            request.payload_bytes(),
            payload.as_ref().map_or(0, Bytes::len)
        );
        let last = self.last_ids.insert(path, id);
        assert!(last < Some(id), "ids grow on a connection");
        if let Request::Write { cut, .. } = &request {
            assert!(
                *cut <= self.kept_cut,
                "a write with a cut that is not durable"
            );
        }
        if let (Request::Write { .. }, Some(data)) = (&request, &payload) {
            self.note_stamp(&request, data);
        }
        self.sent.push(request.clone());
        self.wire.push(Message {
            path,
            disk,
            id,
            request,
            payload: payload.unwrap_or_default(),
            reply: None,
        });
    }

    fn note_stamp(&mut self, request: &Request, data: &Bytes) {
        let Request::Write {
            under,
            block,
            sequence,
            content,
            ..
        } = request
        else {
            return;
        };
        assert!(
            matches!(content, Content::Data { checksums } if checksums.len() == usize::from(block.range.count()))
        );
        let stamp = Stamp {
            generation: under.generation,
            sequence: *sequence,
        };
        for block in data.chunks(BLOCK_BYTES) {
            let stamps = self.stamps.entry(block[..8].to_vec()).or_default();
            stamps.insert(stamp);
        }
    }

    fn keep(&mut self, entry: BucketEntry) {
        self.known.insert(entry.bucket(), entry.clone());
        if self.auto_keep {
            self.keep_now(entry);
        }
    }

    fn keep_cut(&mut self, cut: Cut) {
        self.wanted_cut = cut;
        if self.auto_keep {
            self.keep_cut_now();
        }
    }

    pub(crate) fn keep_cut_now(&mut self) {
        self.kept_cut = self.wanted_cut;
        self.engine.kept_cut(self.kept_cut);
        self.take_outputs();
    }

    pub(crate) fn keep_now(&mut self, entry: BucketEntry) {
        let (bucket, epoch) = (entry.bucket(), entry.epoch());
        let newer = |kept: &BucketEntry| kept.epoch() < epoch;
        if self.kept.get(&bucket).is_none_or(newer) {
            self.kept.insert(bucket, entry);
        }
        self.engine.kept(bucket, epoch);
        self.take_outputs();
    }

    fn finish(&mut self, io: IoId, result: Result<Bytes, IoError>) {
        assert!(self.open.remove(&io), "{io:?} was answered twice");
        let write = self.writes.remove(&io);
        if let (Some((first, values)), Ok(_)) = (write, &result) {
            for (at, value) in (first..).zip(&values) {
                self.check_acknowledged(at, value);
            }
        }
        assert!(self.done.insert(io, result).is_none());
    }

    /// Every replica listed in the newest entry that the engine knows has acknowledged it under that
    /// entry's epoch.
    fn check_acknowledged(&self, at: u64, value: &Value) {
        let Value::Data(data) = value else {
            return;
        };
        let (bucket, chunk, block) = self.bucket_of(at);
        let entry = &self.known[&bucket];
        for listing in entry.listings() {
            let (disk, epoch) = (listing.disk, entry.epoch());
            let has = self.stamps[&data[..8]].iter().any(|stamp| {
                let key = (bucket, chunk, block, disk, epoch, *stamp);
                self.acknowledged.contains(&key)
            });
            assert!(has, "acknowledged without {disk} under {entry}");
        }
    }

    /// Takes the first event that is so.
    pub(crate) fn expect(&mut self, is: impl Fn(&Output) -> bool) -> Output {
        let at = self.events.iter().position(is);
        let at = at.unwrap_or_else(|| panic!("not among {:?}", self.events));
        self.events.remove(at)
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.open.len()
    }
}
