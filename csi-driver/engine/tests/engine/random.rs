//! Random runs: operations, new maps, copies, lost connections, answers in any order, engines that
//! die while what they sent still arrives, or that live on after they were superseded. What clients saw must fit one order for each block, with
//! each snapshot a read at one moment; in the end all replicas in sync show the same.

use crate::history::History;
use crate::replica::Value;
use crate::world::{BLOCK, World, block, generation};
use bytes::Bytes;
use moraine_engine::{Io, IoId, Output};
use moraine_model::{BucketId, Cut, Epoch, Generation, Listing, Role};
use moraine_protocol::Refusal;
use proptest::prelude::*;
use std::collections::BTreeMap;

const DISKS: usize = 4;
const BUCKETS: u32 = 2;
/// Two blocks in each of two chunks, of which the first two are neighbours.
const BLOCKS: [u64; 4] = [6, 7, 1024 + 3, 1024 + 9];

#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8),
    Read(u8),
    Deliver(u16),
    Answer(u16),
    Run,
    Kill(u8),
    Connect(u8),
    Tick(u8),
    Drop(u8),
    List(u8),
    Copy(u8, u8),
    Promote(u8),
    TellDisk(u8),
    TellEngine,
    Keep,
    Restart,
    Supersede,
    TellZombie(u8),
    ZombieWrites(u8, u8),
    Cut,
    Refuse(u8, u8),
    Damage(u8, u8),
    Garble(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any::<u8>().prop_map(Step::Write),
        8 => any::<u8>().prop_map(Step::Read),
        40 => any::<u16>().prop_map(Step::Deliver),
        40 => any::<u16>().prop_map(Step::Answer),
        2 => Just(Step::Run),
        2 => any::<u8>().prop_map(Step::Kill),
        5 => any::<u8>().prop_map(Step::Connect),
        4 => any::<u8>().prop_map(Step::Tick),
        2 => any::<u8>().prop_map(Step::Drop),
        3 => any::<u8>().prop_map(Step::List),
        6 => any::<(u8, u8)>().prop_map(|(to, from)| Step::Copy(to, from)),
        4 => any::<u8>().prop_map(Step::Promote),
        5 => any::<u8>().prop_map(Step::TellDisk),
        4 => Just(Step::TellEngine),
        6 => Just(Step::Keep),
        1 => Just(Step::Restart),
        1 => Just(Step::Supersede),
        2 => any::<u8>().prop_map(Step::TellZombie),
        3 => any::<(u8, u8)>().prop_map(|(nth, at)| Step::ZombieWrites(nth, at)),
        2 => Just(Step::Cut),
        2 => any::<(u8, u8)>().prop_map(|(disk, what)| Step::Refuse(disk, what)),
        1 => any::<(u8, u8)>().prop_map(|(disk, block)| Step::Damage(disk, block)),
        1 => any::<u8>().prop_map(Step::Garble),
    ]
}

struct Run {
    world: World,
    history: History,
    /// Operations under way: of reads the block and when they began, of writes block and value.
    reads: BTreeMap<IoId, (u64, u64)>,
    writes: BTreeMap<IoId, (u64, u64)>,
    /// Writes that superseded engines have under way.
    of_zombies: BTreeMap<IoId, (u64, u64)>,
    values: u64,
    /// The listing for which each replica is whole.
    copied: BTreeMap<(BucketId, usize), Epoch>,
    /// Snapshots: when they were asked for, and when they were there.
    snapshots: BTreeMap<Cut, (u64, Option<u64>)>,
    cut: Cut,
    generation: Generation,
}

impl Run {
    fn new() -> Self {
        let mut settings = World::new(DISKS, 2, 2, BUCKETS).settings;
        // Nothing ends by itself: whatever is begun must be done in the end.
        settings.limits.io_deadline_ms = 1 << 40;
        settings.limits.no_space_grace_ms = 1 << 40;
        let mut world = World::with(settings, DISKS, 2);
        world.auto_keep = false;
        world.connect_all();
        Self {
            world,
            history: History::default(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            of_zombies: BTreeMap::new(),
            values: 0,
            copied: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            cut: Cut(0),
            generation: generation(1),
        }
    }

    fn take(&mut self, step: Step) {
        let disk = |number: u8| usize::from(number) % DISKS;
        match step {
            Step::Write(at) => self.write(BLOCKS[usize::from(at) % 4]),
            Step::Read(at) => self.read(BLOCKS[usize::from(at) % 4]),
            Step::Deliver(nth) => self.deliver(usize::from(nth)),
            Step::Answer(nth) => self.answer(usize::from(nth)),
            Step::Run => self.world.run(),
            Step::Kill(to) => self.world.kill(disk(to)),
            Step::Connect(to) => {
                if !self.world.paths.values().any(|up| *up == disk(to)) {
                    self.world.connect_as(disk(to), 3, to > 200);
                }
            }
            Step::Tick(ms) => self.world.tick(self.world.now + u64::from(ms)),
            Step::Drop(nth) => self.change_map(nth, Self::dropped),
            Step::List(nth) => self.change_map(nth, Self::listed),
            Step::Promote(nth) => self.change_map(nth, Self::promoted),
            Step::Copy(to, from) => self.copy(disk(to), disk(from), u32::from(to / 64)),
            Step::TellDisk(to) => {
                let id = BucketId::new(u32::from(to / 64) % BUCKETS).unwrap();
                let entry = self.world.map[&id].clone();
                self.world.disks[disk(to)].learn(&entry);
            }
            Step::TellEngine => self.tell_engine(),
            Step::Keep => self.keep(),
            Step::Restart => self.restart(),
            Step::Supersede => self.supersede(),
            Step::TellZombie(nth) => {
                let entries: Vec<_> = self.world.map.values().cloned().collect();
                let now = self.world.now;
                self.world.zombie(usize::from(nth), |engine| {
                    engine.tick(now);
                    engine.learn(entries);
                });
            }
            Step::ZombieWrites(nth, at) => {
                self.zombie_writes(usize::from(nth), BLOCKS[usize::from(at) % 4]);
            }
            Step::Cut => self.raise_cut(),
            Step::Refuse(to, what) => {
                let refusals = [Refusal::Busy, Refusal::Stopped, Refusal::NoSpace];
                let refusal = refusals[usize::from(what) % 3].clone();
                self.world.disks[disk(to)].refuse = Some((2, refusal));
            }
            Step::Damage(to, at) => self.damage(disk(to), BLOCKS[usize::from(at) % 4]),
            Step::Garble(to) => self.world.disks[disk(to)].garble = 1,
        }
        self.settle();
    }

    fn write(&mut self, at: u64) {
        self.values += 1;
        let value = self.values;
        self.history.write_begins(at, value);
        let io = self.world.write(at, value);
        self.writes.insert(io, (at, value));
    }

    fn read(&mut self, at: u64) {
        let start = self.history.now();
        let io = self.world.read(at, 1);
        self.reads.insert(io, (at, start));
    }

    fn deliver(&mut self, nth: usize) {
        let wire = self.world.wire.iter().enumerate();
        let open = wire.filter(|(_, message)| message.reply.is_none());
        let open: Vec<usize> = open.map(|(at, _)| at).collect();
        if !open.is_empty() {
            self.world.deliver(open[nth % open.len()]);
        }
    }

    fn answer(&mut self, nth: usize) {
        let wire = self.world.wire.iter().enumerate();
        let open = wire.filter(|(_, message)| message.reply.is_some());
        let open: Vec<usize> = open.map(|(at, _)| at).collect();
        if !open.is_empty() {
            self.world.answer(open[nth % open.len()]);
        }
    }

    /// Notes what has ended.
    fn settle(&mut self) {
        for (io, (at, start)) in self.reads.clone() {
            if let Some(result) = self.world.done.get(&io) {
                self.reads.remove(&io);
                if result.is_ok() {
                    let (value, end) = (self.world.values(io)[0], self.history.now());
                    self.history.read(at, value, start, end);
                }
            }
        }
        for (io, (at, value)) in self.writes.clone() {
            if let Some(result) = self.world.done.get(&io) {
                self.writes.remove(&io);
                if result.is_ok() {
                    self.history.write_ends(at, value);
                }
            }
        }
        for zombie in &mut self.world.zombies {
            for (io, result) in std::mem::take(&mut zombie.done) {
                if let (Some((at, value)), Ok(_)) = (self.of_zombies.remove(&io), result) {
                    self.history.write_ends(at, value);
                }
            }
        }
        for event in std::mem::take(&mut self.world.events) {
            if let Output::CutReached { cut, .. } = event {
                let now = self.history.now();
                for (_, reached) in self.snapshots.range_mut(..cut).map(|(_, times)| times) {
                    reached.get_or_insert(now);
                }
            }
            if matches!(event, Output::Fenced { .. } | Output::AttachFailed(_)) {
                panic!("the only living engine has ended: {event:?}");
            }
        }
    }

    fn raise_cut(&mut self) {
        let start = self.history.now();
        self.snapshots.insert(self.cut, (start, None));
        self.cut = Cut(self.cut.0 + 1);
        self.world.engine.raise_cut(self.cut);
        self.world.take_outputs();
    }

    fn tell_engine(&mut self) {
        let entries: Vec<_> = self.world.map.values().cloned().collect();
        for entry in entries {
            self.world.learn(&entry);
        }
    }

    fn keep(&mut self) {
        for entry in self.world.known.clone().into_values() {
            self.world.keep_now(entry);
        }
        self.world.keep_cut_now();
    }

    /// The engine dies and begins again, with what it kept.
    fn restart(&mut self) {
        self.generation.incarnation += 1;
        self.reads.clear();
        self.writes.clear();
        let cut = self.world.kept_cut;
        self.world.restart_with(self.generation, false, cut);
        self.world.connect_all();
        // What it wasn't told at once it is told later.
        self.world.engine.raise_cut(self.cut);
        self.world.take_outputs();
    }

    /// The volume is attached elsewhere, while the engine lives on: a write of its that is
    /// acknowledged yet must be there.
    fn supersede(&mut self) {
        if self.world.zombies.len() >= 3 {
            return;
        }
        self.generation = generation(self.generation.attach + 1);
        self.reads.clear();
        self.of_zombies.append(&mut self.writes);
        self.world.supersede(self.generation, self.cut);
        self.world.connect_all();
    }

    fn zombie_writes(&mut self, nth: usize, at: u64) {
        if self.world.zombies.is_empty() {
            return;
        }
        self.values += 1;
        let (value, io) = (self.values, self.world.fresh_io());
        self.history.write_begins(at, value);
        self.of_zombies.insert(io, (at, value));
        let (offset, data) = (at * BLOCK, block(value));
        self.world
            .zombie(nth, |engine| engine.submit(io, Io::Write { offset, data }));
    }

    /// A copy is damaged if another one in sync is whole, so that nothing is lost.
    fn damage(&mut self, disk: usize, at: u64) {
        let (bucket, chunk, block) = self.world.bucket_of(at);
        let others = self.world.disks.iter();
        let whole = others.filter(|other| other.damaged.is_empty()).count();
        if whole == DISKS && self.world.disks[disk].replicas.contains_key(&bucket) {
            let in_sync = self.world.map[&bucket].in_sync().count();
            if in_sync > 1 {
                self.world.disks[disk].damaged.insert((chunk, block));
            }
        }
    }

    fn change_map(
        &mut self,
        nth: u8,
        change: impl Fn(&Self, BucketId, Vec<Listing>, usize) -> Option<Vec<Listing>>,
    ) {
        let id = BucketId::new(u32::from(nth / 64) % BUCKETS).unwrap();
        let listings = self.world.map[&id].listings().to_vec();
        let number = usize::from(nth) % DISKS;
        let Some(listings) = change(self, id, listings, number) else {
            return;
        };
        // Enough for a run: more is only slower.
        if self.world.map[&id].epoch().0 > 20 || !self.nothing_is_damaged() {
            return;
        }
        let disk = |listing: &Listing| (listing.disk.get() - 1) as usize;
        let listed: Vec<_> = listings
            .iter()
            .map(|l| (disk(l), l.role, l.since.0))
            .collect();
        self.world.publish(id, &listed);
    }

    fn nothing_is_damaged(&self) -> bool {
        self.world.disks.iter().all(|disk| disk.damaged.is_empty())
    }

    fn dropped(
        &self,
        _: BucketId,
        mut listings: Vec<Listing>,
        number: usize,
    ) -> Option<Vec<Listing>> {
        let disk = self.world.disks[number].id;
        let before = listings.len();
        listings.retain(|listing| listing.disk != disk);
        let in_sync = listings.iter().any(|listing| listing.role == Role::InSync);
        (in_sync && listings.len() < before).then_some(listings)
    }

    fn listed(
        &self,
        id: BucketId,
        mut listings: Vec<Listing>,
        number: usize,
    ) -> Option<Vec<Listing>> {
        let disk = self.world.disks[number].id;
        let since = Epoch(self.world.map[&id].epoch().0 + 1);
        let role = Role::Syncing;
        let there = listings.iter().any(|listing| listing.disk == disk);
        listings.push(Listing { disk, role, since });
        (!there).then_some(listings)
    }

    fn promoted(
        &self,
        id: BucketId,
        mut listings: Vec<Listing>,
        number: usize,
    ) -> Option<Vec<Listing>> {
        let disk = self.world.disks[number].id;
        let listing = listings.iter_mut().find(|listing| listing.disk == disk)?;
        let whole = self.copied.get(&(id, number)) == Some(&listing.since);
        if listing.role == Role::InSync || !whole {
            return None;
        }
        listing.role = Role::InSync;
        Some(listings)
    }

    fn copy(&mut self, to: usize, from: usize, bucket: u32) {
        let id = BucketId::new(bucket % BUCKETS).unwrap();
        let disks = &mut self.world.disks;
        let (Some(replica), true) = (disks[to].replicas.get(&id), to != from) else {
            return;
        };
        let entry = replica.entry.clone();
        let role = |disk: usize| entry.on(disks[disk].id).map(|listing| listing.role);
        if role(to) != Some(Role::Syncing) || role(from) != Some(Role::InSync) {
            return;
        }
        let known = disks[from]
            .replicas
            .get(&id)
            .map(|source| source.entry.clone());
        if let Some(known) = known
            && known.epoch() > entry.epoch()
        {
            return disks[to].learn(&known);
        }
        let since = entry.on(disks[to].id).unwrap().since;
        let mut source = std::mem::replace(&mut disks[from], crate::replica::Disk::new(99));
        disks[to].copy_from(&mut source, id);
        disks[from] = source;
        self.copied.insert((id, to), since);
    }

    /// Nothing fails any more, and everything comes to its end.
    fn finish(mut self) {
        for disk in &mut self.world.disks {
            (disk.refuse, disk.garble) = (None, 0);
        }
        for disk in 0..DISKS {
            if !self.world.paths.values().any(|up| *up == disk) {
                self.world.connect(disk);
            }
        }
        self.world.auto_keep = true;
        self.tell_engine();
        self.keep();
        self.world.pass(10_000);
        let flush = self.world.submit(Io::Flush);
        for at in BLOCKS {
            self.read(at);
        }
        self.world.pass(10_000);
        self.settle();
        assert_eq!(self.world.done[&flush], Ok(Bytes::new()));
        assert_eq!(
            self.world.unanswered(),
            0,
            "everything is answered in the end"
        );
        for at in BLOCKS {
            self.compare(at);
        }
        self.history.check();
        self.world.engine.detach();
        self.world.take_outputs();
        self.world.pass(5_000);
        self.world
            .expect(|output| *output == Output::Detached { clean: true });
    }

    /// All replicas in sync show the same, and snapshots what was there when they were taken.
    fn compare(&mut self, at: u64) {
        let (bucket, chunk, block) = self.world.bucket_of(at);
        let entry = self.world.known[&bucket].clone();
        let mut cuts: Vec<(Cut, Option<(u64, u64)>)> = vec![(Cut(u64::MAX), None)];
        for (cut, (start, reached)) in &self.snapshots {
            let end = reached.expect("every cut is reached in the end");
            cuts.push((*cut, Some((*start, end))));
        }
        for (cut, times) in cuts {
            let shown = entry.in_sync().map(|id| {
                let disk = self.world.disks.iter().find(|disk| disk.id == id).unwrap();
                disk.shown(bucket, chunk, block, cut)
            });
            let shown: Vec<Value> = shown.collect();
            assert!(
                shown.windows(2).all(|two| two[0] == two[1]),
                "block {at} at {cut:?}"
            );
            let number = match &shown[0] {
                Value::Zero => 0,
                Value::Data(data) => u64::from_le_bytes(data[..8].try_into().unwrap()),
            };
            if let Some((start, end)) = times {
                self.history.read(at, number, start, end);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_clients_see_one_order(steps in prop::collection::vec(step(), 20..400)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.finish();
    }
}
