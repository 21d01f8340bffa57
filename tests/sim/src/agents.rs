//! Disks with the replicas on them: how a process starts, works, and ends; the shell of the replica
//! core, as the world has it.

use crate::agenda::{MS, Micros};
use crate::network::{Caller, Link, LinkId, Message, Way};
use crate::probes::Probe;
use crate::scenario::Theme;
use crate::shards::Shards;
use crate::trace::About;
use crate::world::{Event, World, disk_number};
use bytes::Bytes;
use moraine_model::{ClusterId, DiskId};
use moraine_protocol::{Reply, Request, RequestId};
use moraine_replica::{CallId, Options, Output, Replicas, SessionId, SyncOptions};
use moraine_store::disk::{Fault, FaultyDisk, MemoryDisk, Operation};
use moraine_store::{FormatOptions, Shard, ShardOptions, format, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A disk that fails as told.
pub(crate) type SimDisk = FaultyDisk<MemoryDisk>;

/// Blocks of a segment: the least there can be, so that extents close and are compacted often.
const SEGMENT_BLOCKS: u32 = 64;
/// The session of those who look at a replica directly.
const PROBES: SessionId = SessionId(0);
/// How long a replica waits for another.
const CALL_TIMEOUT: Micros = 800 * MS;

/// What is to fail next on a disk.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// So many writes.
    pub(crate) writes: AtomicU32,
    /// So many reads.
    pub(crate) reads: AtomicU32,
}

impl Switches {
    fn next(&self, operation: &Operation) -> Fault {
        let (left, kinds) = match operation {
            Operation::Write { .. } => (
                &self.writes,
                [Fault::Fail, Fault::FailDone, Fault::Short { blocks: 1 }],
            ),
            Operation::Read { .. } => (&self.reads, [Fault::Fail; 3]),
            Operation::Sync | Operation::Discard { .. } => return Fault::None,
        };
        match left.load(Ordering::Relaxed) {
            0 => Fault::None,
            now => {
                left.store(now - 1, Ordering::Relaxed);
                kinds[now as usize % 3]
            }
        }
    }

    fn clear(&self) {
        self.writes.store(0, Ordering::Relaxed);
        self.reads.store(0, Ordering::Relaxed);
    }
}

/// A disk and the process that serves it.
pub(crate) struct Agent {
    /// The disk's id: its number plus one.
    pub(crate) id: DiskId,
    /// Its node.
    pub(crate) node: usize,
    /// What is on it.
    pub(crate) platter: MemoryDisk,
    /// What is to fail.
    pub(crate) switches: Arc<Switches>,
    /// The process, while it runs.
    pub(crate) replicas: Option<Shards>,
    /// Whether the disk is dead for good.
    pub(crate) lost: bool,
    /// Whether a bit of it has changed: it may refuse to open.
    pub(crate) rotten: bool,
    /// When the operator last heard of it.
    pub(crate) beat: Micros,
    /// Direct looks at it that are not answered.
    pub(crate) probes: BTreeMap<RequestId, Probe>,
    /// Whether it has done all that it was told of volumes and deletions.
    pub(crate) told: bool,
    /// Its content some time ago.
    pub(crate) earlier: Option<MemoryDisk>,
    boot: u64,
    steps: usize,
    wires: BTreeMap<usize, LinkId>,
    calls: BTreeMap<(LinkId, RequestId), (usize, CallId)>,
    asked: u64,
}

fn cluster() -> ClusterId {
    ClusterId::new(0xc1).expect("it is not zero")
}

impl World {
    /// Puts a formatted disk into a node, and starts to serve it.
    pub(crate) fn add_disk(&mut self, node: usize) -> usize {
        let number = self.agents.len();
        let id = DiskId::new(number as u128 + 1).expect("it is not zero");
        let blocks = 256 + self.scenario.segments * u64::from(SEGMENT_BLOCKS);
        let unit = if self.chance.permille(500) { 512 } else { 4096 };
        let mut platter = MemoryDisk::new(blocks * 4096, unit);
        let options = FormatOptions {
            segment_blocks: SEGMENT_BLOCKS,
            shards: self.scenario.shards,
            ..FormatOptions::new(cluster(), id)
        };
        format(&mut platter, &options).expect("a disk of the world is large enough and blank");
        self.agents.push(Agent {
            id,
            node,
            platter,
            switches: Arc::default(),
            replicas: None,
            lost: false,
            rotten: false,
            beat: self.agenda.now(),
            probes: BTreeMap::new(),
            told: false,
            earlier: None,
            boot: 0,
            steps: 0,
            wires: BTreeMap::new(),
            calls: BTreeMap::new(),
            asked: 0,
        });
        self.start_agent(number);
        number
    }

    /// The process of a disk starts: recovers the store, reads the notes.
    pub(crate) fn start_agent(&mut self, disk: usize) {
        let only_known_volumes = self.scenario.only_known;
        let buckets = self.scenario.buckets;
        let mark_interval_ms = self.chance.skewed(10..=2000);
        let agent = &mut self.agents[disk];
        if agent.lost || agent.replicas.is_some() {
            return;
        }
        agent.switches.clear();
        let store = ShardOptions {
            batches_max: 3,
            ..ShardOptions::default()
        };
        let options = Options {
            buckets,
            only_known_volumes,
            mark_interval_ms,
            sync: SyncOptions {
                retry_ms: 40,
                report_ms: 60,
                ..SyncOptions::default()
            },
            ..Options::new(agent.id)
        };
        match open_shards(agent, options, store) {
            Ok(shards) => self.agent_runs(disk, shards),
            Err(error) => self.will_not_open(disk, error.as_ref()),
        }
    }

    fn agent_runs(&mut self, disk: usize, replicas: Shards) {
        self.note(About::World, |world| {
            format!("{} serves", world.agents[disk].id.get())
        });
        let agent = &mut self.agents[disk];
        agent.boot += 1;
        agent.told = false;
        agent.steps = 0;
        let boot = agent.boot;
        agent.replicas = Some(replicas);
        self.agenda.after(MS, Event::Poll(disk, boot));
        self.tell_disk_all(disk);
        if boot > 1 {
            let late = self.chance.within(0..=self.scenario.news);
            self.agenda.after(late, Event::Tell(disk));
        }
        self.pump_agent(disk);
    }

    /// What was learned and not yet durable is lost when a process ends or recovers, so the shell
    /// tells it the whole map then.
    fn tell_disk_all(&mut self, disk: usize) {
        let entries: Vec<_> = self.map.entries().cloned().collect();
        for entry in entries {
            self.tell_disk(disk, entry);
        }
    }

    /// A disk that a bit flip has made unreadable is replaced; any other must open.
    fn will_not_open(&mut self, disk: usize, error: &dyn std::error::Error) {
        if self.agents[disk].rotten {
            self.note(About::World, |_| {
                format!("disk {} can't be opened after rot: {error}", disk + 1)
            });
            self.lose_disk(disk);
        } else {
            let source = error
                .source()
                .map_or(String::new(), |source| format!(": {source}"));
            self.violated(
                None,
                format!("disk {} can't be opened: {error}{source}", disk + 1),
            );
        }
    }

    /// A disk dies for good; its node gets another one.
    pub(crate) fn lose_disk(&mut self, disk: usize) {
        self.end_agent(disk);
        self.agents[disk].lost = true;
        let node = self.agents[disk].node;
        let new = self.add_disk(node);
        self.note(About::World, |_| {
            format!("disk {} is dead, disk {} replaces it", disk + 1, new + 1)
        });
        self.agenda.after(MS, Event::Remind(new));
        for engine in 0..self.engines.len() {
            self.agenda.after(MS, Event::Dial(engine, new));
        }
    }

    /// The process of a disk ends, with whatever was under way.
    pub(crate) fn end_agent(&mut self, disk: usize) {
        let mut fates = self.chance.branch();
        let agent = &mut self.agents[disk];
        let Some(shards) = agent.replicas.take() else {
            return;
        };
        shards.crash(&mut fates);
        agent.calls.clear();
        agent.wires.clear();
        agent.probes.clear();
        let wires: Vec<LinkId> = self.links.keys().copied().collect();
        for link in wires {
            let ends = self.links.get(&link).map(|link| (link.disk, link.caller));
            match ends {
                Some((at, _)) if at == disk => self.disk_hangs_up(link),
                Some((_, Caller::Disk(at))) if at == disk => self.caller_dies(link),
                _ => {}
            }
        }
    }

    /// One operation of the disk completes, any of those under way.
    pub(crate) fn disk_step(&mut self, disk: usize, boot: u64) {
        let agent = &mut self.agents[disk];
        let Some(shards) = agent.replicas.as_mut().filter(|_| agent.boot == boot) else {
            return;
        };
        agent.steps -= 1;
        let waiting = shards.pending();
        if waiting > 0 {
            shards.complete(self.chance.below(waiting));
        }
        if self.nodes[agent.node].stalled <= self.agenda.now() {
            self.pump_agent(disk);
        }
    }

    /// The process looks at the clock.
    pub(crate) fn poll(&mut self, disk: usize, boot: u64) {
        let agent = &self.agents[disk];
        if agent.boot != boot || agent.replicas.is_none() {
            return;
        }
        if self.nodes[agent.node].stalled <= self.agenda.now() {
            self.pump_agent(disk);
        }
        let pause = self.chance.within(5 * MS..=20 * MS);
        self.agenda.after(pause, Event::Poll(disk, boot));
    }

    /// Lets the replicas work, does what they say, and sees to it that their disk works too.
    pub(crate) fn pump_agent(&mut self, disk: usize) {
        let now_ms = self.clock_ms(self.agents[disk].node);
        if let Some(replicas) = &mut self.agents[disk].replicas {
            replicas.poll(now_ms);
        }
        while let Some((shard, output)) = self.agents[disk]
            .replicas
            .as_mut()
            .and_then(Shards::next_output)
        {
            self.agent_says(disk, shard, output);
        }
        while let Some((shard, replicas)) = self.agents[disk]
            .replicas
            .as_mut()
            .and_then(Shards::take_stopped)
        {
            self.recover_agent(disk, shard, replicas);
        }
        let agent = &mut self.agents[disk];
        let pending = agent.replicas.as_ref().map_or(0, Shards::pending);
        while agent.steps < pending {
            agent.steps += 1;
            let delay = self.chance.skewed(MS / 50..=self.scenario.disk_latency);
            self.agenda.after(delay, Event::Disk(disk, agent.boot));
        }
    }

    fn recover_agent(&mut self, disk: usize, shard: usize, replicas: Replicas<SimDisk>) {
        self.note(About::World, |_| {
            format!("disk {} failed a write and is opened again", disk + 1)
        });
        self.agents[disk].switches.clear();
        let (outputs, again) = replicas.recover();
        for output in outputs {
            self.agent_says(disk, shard, output);
        }
        match again {
            Ok(replicas) => {
                if let Some(shards) = &mut self.agents[disk].replicas {
                    shards.put_back(shard, replicas);
                }
                self.tell_disk_all(disk);
            }
            Err(error) => {
                self.agents[disk].replicas = None;
                self.hang_up_all(disk);
                self.will_not_open(disk, &error);
            }
        }
    }

    fn agent_says(&mut self, disk: usize, shard: usize, output: Output) {
        match output {
            Output::Reply {
                session,
                id,
                reply,
                payload,
            } => {
                let mut data = Vec::with_capacity(payload.iter().map(|buffer| buffer.len()).sum());
                for buffer in payload {
                    data.extend_from_slice(&buffer);
                    if let Some(shards) = &mut self.agents[disk].replicas {
                        shards.recycle(shard, buffer);
                    }
                }
                if session == PROBES {
                    self.probe_answered(disk, id, reply, &data);
                } else {
                    self.replied(disk, (session.0, id), reply, data.into());
                }
            }
            Output::Call {
                call,
                disk: other,
                request,
            } => self.call(disk, (shard, call), other, request),
            Output::Synced { bucket, since } => {
                let (soon, late) = self.scenario.reports;
                let late = match self.scenario.theme {
                    Theme::Orphans => self.chance.within(soon..=late),
                    Theme::Plain | Theme::Zombies | Theme::Lives => self.chance.skewed(soon..=late),
                };
                self.agenda.after(late, Event::Report(disk, bucket, since));
            }
        }
    }

    /// A replica asks another one.
    fn call(&mut self, disk: usize, call: (usize, CallId), other: DiskId, request: Request) {
        let other = disk_number(other);
        let open = self.agents[disk].wires.get(&other).copied();
        let open = open.filter(|link| self.links.get(link).is_some_and(|link| link.caller_open));
        let link = open.unwrap_or_else(|| {
            let link = self.new_link(Link::new(Caller::Disk(disk), other));
            self.agents[disk].wires.insert(other, link);
            if !self.reachable(self.agents[disk].node, other) {
                self.agenda.after(20 * MS, Event::Break(link));
            }
            link
        });
        let agent = &mut self.agents[disk];
        agent.asked += 1;
        let id = RequestId(agent.asked);
        agent.calls.insert((link, id), call);
        self.agenda.after(CALL_TIMEOUT, Event::Overdue(link, id.0));
        self.send(link, Way::Forth, Message::Request(id, request, None));
    }

    /// A replica's call was answered, or will never be.
    pub(crate) fn call_answered(
        &mut self,
        disk: usize,
        link: LinkId,
        id: RequestId,
        answer: Option<(Reply, Bytes)>,
    ) {
        let agent = &mut self.agents[disk];
        let (Some(call), Some(shards)) = (agent.calls.remove(&(link, id)), &mut agent.replicas)
        else {
            return;
        };
        shards.answered(call, answer);
        self.pump_agent(disk);
    }

    /// A request reaches the replicas of a disk.
    pub(crate) fn ask_replicas(
        &mut self,
        disk: usize,
        link: LinkId,
        id: RequestId,
        asked: (Request, Option<Bytes>),
    ) {
        let Some(replicas) = &mut self.agents[disk].replicas else {
            return;
        };
        let (request, data) = asked;
        replicas.request(SessionId(link), id, request, data.as_ref());
        self.pump_agent(disk);
    }

    /// Somebody looks at a replica directly.
    pub(crate) fn probe(&mut self, disk: usize, request: Request, probe: Probe) {
        let agent = &mut self.agents[disk];
        let Some(replicas) = &mut agent.replicas else {
            return;
        };
        agent.asked += 1;
        let id = RequestId(agent.asked);
        agent.probes.insert(id, probe);
        replicas.request(PROBES, id, request, None);
        self.pump_agent(disk);
    }

    /// The other end of a session is gone.
    pub(crate) fn session_gone(&mut self, disk: usize, link: LinkId) {
        if let Some(replicas) = &mut self.agents[disk].replicas {
            replicas.disconnected(SessionId(link));
            self.pump_agent(disk);
        }
    }

    /// All calls of a replica over a connection will never be answered.
    pub(crate) fn calls_lost(&mut self, disk: usize, link: LinkId) {
        let calls = self.agents[disk].calls.keys();
        let lost: Vec<RequestId> = calls
            .filter(|(over, _)| *over == link)
            .map(|(_, id)| *id)
            .collect();
        for id in lost {
            self.call_answered(disk, link, id, None);
        }
    }
}

/// Opens the disk of a process and all its shards.
fn open_shards(
    agent: &Agent,
    options: Options,
    store: ShardOptions,
) -> Result<Shards, Box<dyn std::error::Error>> {
    let handle = || {
        let handle = agent.platter.another();
        let queue = handle.queue();
        let switches = Arc::clone(&agent.switches);
        let fails = Box::new(move |operation: &Operation, _| switches.next(operation));
        (FaultyDisk::new(handle, fails), queue)
    };
    let opened = open(&mut handle().0, cluster())?;
    let mut shards = Shards::default();
    for number in 0..opened.superblock.layout.shards {
        let (handle, queue) = handle();
        let shard = Shard::recover(handle, &opened, number, store)?;
        shards.add(Replicas::new(shard, options)?, queue);
    }
    Ok(shards)
}
