//! Several hosts that call each other, and an engine that writes to those that are listed.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{CallId, Output, SessionId};
use moraine_store::Buffer;
use std::collections::{BTreeMap, BTreeSet};

/// Sessions of hosts that copy: this number and the host's.
const COPIERS: u64 = 100;

/// How many random runs there are to be, unless the environment says.
pub(crate) fn seeds(usual: u64) -> u64 {
    let seeds = std::env::var("MORAINE_REPLICA_SEEDS");
    seeds
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(usual)
}

/// A generator of random numbers that a seed decides.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Hosts with disks 1, 2 and so on.
pub(crate) struct Net {
    pub(crate) hosts: BTreeMap<u128, Host>,
    pub(crate) random: Random,
    /// Whether disks end their operations in any order.
    pub(crate) shuffle: bool,
    /// One call in so many is lost, before or after it was served; 0 loses none.
    pub(crate) loss: u64,
    /// The copies that were reported whole: disk, since.
    pub(crate) synced: BTreeSet<(u128, u64)>,
    /// Calls that were made, by kind.
    pub(crate) calls: BTreeMap<&'static str, u32>,
    lost: BTreeSet<(u128, u64)>,
}

impl Net {
    pub(crate) fn new(disks: u128, seed: u64) -> Self {
        Self {
            hosts: (1..=disks).map(|disk| (disk, Host::new(disk))).collect(),
            random: Random::new(seed),
            shuffle: false,
            loss: 0,
            synced: BTreeSet::new(),
            calls: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    pub(crate) fn host(&mut self, disk: u128) -> &mut Host {
        self.hosts.get_mut(&disk).unwrap()
    }

    /// Lets every host do something, and carries its messages.
    pub(crate) fn step(&mut self) {
        let disks: Vec<u128> = self.hosts.keys().copied().collect();
        for disk in disks {
            let shuffle = self.shuffle;
            let host = self.hosts.get_mut(&disk).unwrap();
            host.queue.hold(shuffle);
            while shuffle && host.queue.pending() > 0 && !self.random.one_in(3) {
                let nth = self.random.below(host.queue.pending() as u64);
                host.queue.complete(usize::try_from(nth).unwrap());
            }
            host.poll();
            self.carry(disk);
        }
    }

    fn carry(&mut self, disk: u128) {
        let outputs = std::mem::take(&mut self.host(disk).outputs);
        for output in outputs {
            match output {
                Output::Call {
                    call,
                    disk: to,
                    request,
                } => self.called(disk, call, to.get(), request),
                Output::Synced { since, .. } => {
                    self.synced.insert((disk, since.0));
                }
                Output::Reply {
                    session,
                    id,
                    reply,
                    payload,
                } if session.0 >= COPIERS => {
                    reply.check().expect("a reply that can be sent");
                    let from = u128::from(session.0 - COPIERS);
                    let bytes: Vec<u8> = payload.iter().flat_map(|b| b.to_vec()).collect();
                    let data = (!bytes.is_empty()).then(|| Buffer::copy_of(&bytes));
                    let lost = self.lost.remove(&(from, id.0));
                    let host = self.host(from);
                    // One that was given up is answered too late.
                    if !lost && host.calls.remove(&CallId(id.0)) {
                        host.replicas.answered(CallId(id.0), Some(reply), data);
                    }
                }
                other @ Output::Reply { .. } => self.host(disk).outputs.push_back(other),
            }
        }
    }

    fn called(&mut self, from: u128, call: CallId, to: u128, request: Request) {
        request.check().expect("a request that can be sent");
        let kind = match &request {
            Request::Adopt { .. } => "adopt",
            Request::Shares { .. } => "shares",
            Request::Chunks { .. } => "chunks",
            Request::Layers { .. } => "layers",
            Request::Versions { .. } => "versions",
            Request::Copy { .. } => "copy",
            other => panic!("a replica asks {other:?}"),
        };
        *self.calls.entry(kind).or_default() += 1;
        let lost = self.loss > 0 && self.random.one_in(self.loss);
        if lost {
            // It may be served all the same; its answer is not heard of.
            self.host(from).replicas.answered(call, None, None);
            if self.random.one_in(2) {
                return;
            }
            self.lost.insert((from, call.0));
        }
        let session = SessionId(COPIERS + u64::try_from(from).unwrap());
        let id = RequestId(call.0);
        match self.hosts.get_mut(&to) {
            Some(host) => {
                host.replicas.request(session, id, request, None);
                if !lost {
                    self.host(from).calls.insert(call);
                }
            }
            None => self.host(from).replicas.answered(call, None, None),
        }
    }

    pub(crate) fn steps(&mut self, count: u64) {
        for _ in 0..count {
            self.step();
        }
    }

    /// Steps until the copy of a disk is whole.
    pub(crate) fn until_synced(&mut self, disk: u128, since: u64) {
        for _ in 0..20_000 {
            if self.synced.contains(&(disk, since)) {
                return;
            }
            self.step();
        }
        let metrics = self.host(disk).replicas.metrics();
        panic!("not whole: {metrics:?}, {:?}", self.calls);
    }

    /// Sends a request to some hosts and waits for all answers.
    pub(crate) fn all(
        &mut self,
        disks: &[u128],
        make: impl Fn() -> (Request, Option<Buffer>),
    ) -> Vec<Reply> {
        let mut asked = Vec::new();
        for disk in disks {
            asked.push((*disk, self.host(*disk).send(make())));
        }
        let mut answers = vec![None; disks.len()];
        for _ in 0..5000 {
            for ((disk, id), answer) in asked.iter().zip(&mut answers) {
                if answer.is_none() {
                    *answer = self.host(*disk).answer(*id).map(|(reply, _)| reply);
                }
            }
            if answers.iter().all(Option::is_some) {
                return answers.into_iter().flatten().collect();
            }
            self.step();
        }
        panic!("no answer");
    }

    /// The same, when all must do it.
    pub(crate) fn done(&mut self, disks: &[u128], make: impl Fn() -> (Request, Option<Buffer>)) {
        for reply in self.all(disks, make) {
            assert_eq!(reply, Reply::Done);
        }
    }

    /// Opens a volume at some hosts.
    pub(crate) fn open(&mut self, disks: &[u128], number: u128, attach: u32, entry: &BucketEntry) {
        for reply in self.all(disks, || (open(number, attach, entry.clone()), None)) {
            assert!(matches!(reply, Reply::Opened { .. }), "{reply:?}");
        }
    }

    /// A host crashes and starts again; what it was asked is lost.
    pub(crate) fn crash(&mut self, disk: u128) {
        let crashed = self.host(disk).crashed();
        let calls: Vec<u128> = self.hosts.keys().copied().collect();
        let now_ms = self.host(disk).now_ms;
        self.hosts.insert(disk, crashed);
        self.host(disk).now_ms = now_ms;
        // Those that called it hear nothing: what they wait for is lost.
        for other in calls {
            if other != disk {
                self.host(other).forget_calls();
            }
        }
        self.lost.retain(|(from, _)| *from != disk);
    }
}

/// What a share holds, as far as two replicas of it must agree: place, cut, stamp and content of each
/// version.
pub(crate) fn content(
    host: &Host,
    number: u128,
) -> BTreeMap<(u32, u64, u16), (Stamp, Option<u32>)> {
    let shard = shard_of(&host.disk);
    let mut found = BTreeMap::new();
    for chunk in shard.chunks_above(share(number), Stamp::ZERO) {
        let place = Place {
            volume: volume(number),
            bucket: bucket(),
            chunk: chunk.chunk,
        };
        for (cut, piece) in shard.pieces(place) {
            for (nth, block) in piece.range.blocks().enumerate() {
                if piece.kind != moraine_store::index::layer::PieceKind::Hole {
                    let key = (chunk.chunk.get(), cut.0, block);
                    found.insert(key, (piece.stamp, piece.checksums.get(nth).copied()));
                }
            }
        }
    }
    found
}
