//! Random requests: against a simple model, one after another; and in any order and at any time,
//! when only the rules must hold.

use super::net::*;
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_store::Buffer;
use std::collections::BTreeMap;

const BLOCKS: u16 = 6;
const EPOCHS: u64 = 12;

/// The entry of an epoch: disk 1 comes and goes.
fn entry_at(epoch: u64) -> BucketEntry {
    let source = (2, Role::InSync, 1);
    match epoch % 6 {
        1 | 2 => entry(epoch, &[(1, Role::InSync, epoch / 6 * 6 + 1), source]),
        4 | 5 => entry(epoch, &[(1, Role::Syncing, epoch / 6 * 6 + 4), source]),
        0 => entry(epoch, &[(1, Role::InSync, epoch - 2), source]),
        _ => entry(epoch, &[source]),
    }
}

fn listing_at(epoch: u64) -> Option<Listing> {
    entry_at(epoch).on(disk_id(1)).copied()
}

/// Chunk, block, cut.
type Key = (u32, u16, u64);

/// A version: stamp, epoch, and the number that its data was made of, if it is data.
type Known = (Stamp, Epoch, Option<u64>);

/// What one share is to be.
#[derive(Default)]
struct Model {
    fence: Option<Generation>,
    mark: Stamp,
    /// The greatest mark that is certainly durable.
    closed: Stamp,
    /// After a crash: the mark may be an older one.
    unsure: bool,
    versions: BTreeMap<Key, Known>,
}

/// What one bucket is to be.
#[derive(Default)]
struct Models {
    epoch: Option<u64>,
    shares: BTreeMap<u128, Model>,
}

impl Models {
    /// What an engine is told, if it isn't let in.
    fn refusal(&mut self, under: &Under) -> Option<Refusal> {
        let fence = self.share(under.share.volume.get()).fence;
        if let Some(by) = fence
            && under.generation < by
        {
            return Some(Refusal::Fenced { by });
        }
        let epoch = self.epoch?;
        if under.epoch.0 < epoch {
            let entry = entry_at(epoch);
            return Some(Refusal::StaleEpoch { entry });
        }
        if under.epoch.0 > epoch || fence != Some(under.generation) {
            return Some(Refusal::NotOpen);
        }
        listing_at(epoch)
            .is_none()
            .then_some(malformed(Rule::AskedIsListed))
    }

    fn share(&mut self, number: u128) -> &mut Model {
        self.shares.entry(number).or_default()
    }

    fn role(&self) -> Option<Role> {
        Some(listing_at(self.epoch?)?.role)
    }

    /// What an open is answered, apart from marks.
    fn open(&mut self, number: u128, generation: Generation, epoch: u64) -> Result<(), Refusal> {
        if let Some(by) = self.share(number).fence
            && generation < by
        {
            return Err(Refusal::Fenced { by });
        }
        if let Some(known) = self.epoch
            && epoch < known
        {
            let entry = entry_at(known);
            return Err(Refusal::StaleEpoch { entry });
        }
        if listing_at(epoch).is_none() {
            return Err(malformed(Rule::AskedIsListed));
        }
        self.epoch = Some(epoch);
        self.share(number).fence = Some(generation);
        Ok(())
    }

    fn write(&mut self, under: &Under, key: Key, stamp: Stamp, value: Option<u64>) {
        let since = listing_at(under.epoch.0).unwrap().since;
        let share = self.share(under.share.volume.get());
        let new = (stamp, under.epoch);
        if let Some((stamp, epoch, _)) = share.versions.get(&key)
            && *epoch >= since
            && (*stamp, *epoch) >= new
        {
            return;
        }
        share.versions.insert(key, (stamp, under.epoch, value));
    }

    fn opened(&mut self, number: u128) -> Reply {
        let since = listing_at(self.epoch.unwrap())
            .filter(|listing| listing.role == Role::Syncing)
            .map_or(Epoch(0), |listing| listing.since);
        let share = self.share(number);
        let mut versions = share.versions.values();
        Reply::Opened {
            mark: share.mark,
            cut: Cut(share
                .versions
                .keys()
                .map(|(_, _, cut)| *cut)
                .max()
                .unwrap_or(0)),
            above_mark: versions.any(|(stamp, epoch, _)| *stamp > share.mark && *epoch >= since),
        }
    }

    /// The version that a reader sees in a block.
    fn seen(&mut self, number: u128, (chunk, block): (u32, u16), at: At) -> Option<Known> {
        let top = match at {
            At::Head => u64::MAX,
            At::Cut(Cut(cut)) => cut,
        };
        let versions = &self.share(number).versions;
        let mut seen = versions.range((chunk, block, 0)..=(chunk, block, top));
        seen.next_back().map(|(_, known)| *known)
    }
}

struct Run {
    host: Host,
    models: Models,
    random: Random,
}

impl Run {
    fn under(&mut self) -> Under {
        let number = 7 + u128::from(self.random.below(2));
        let known = self
            .models
            .share(number)
            .fence
            .map_or(1, |fence| fence.attach);
        // Mostly right, so that much is done.
        let attach = match self.random.below(6) {
            0 => known.saturating_sub(1),
            1 => known + 1,
            _ => known,
        };
        let epoch = self.models.epoch.unwrap_or(1);
        let epoch = match self.random.below(6) {
            0 => epoch.saturating_sub(1).max(1),
            1 => epoch + 1,
            _ => epoch,
        };
        under(number, attach, epoch)
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0 => self.open(),
            1 if self.random.one_in(4) => {
                let epoch = 1 + self.random.below(self.models.epoch.unwrap_or(1) + 2);
                self.learn(epoch);
            }
            2 => self.close(),
            3 if self.random.one_in(3) => self.crash(),
            4..6 => self.read(),
            _ => self.write(),
        }
    }

    fn open(&mut self) {
        let by = self.under();
        let (number, epoch) = (by.share.volume.get(), by.epoch.0);
        let reply = self
            .host
            .plain(open(number, by.generation.attach, entry_at(epoch)));
        let wanted = match self.models.open(number, by.generation, epoch) {
            Ok(()) => {
                self.ask_mark(number, &reply);
                self.models.opened(number)
            }
            Err(refusal) => Reply::Refused(refusal),
        };
        assert_eq!(reply, wanted);
    }

    /// After a crash the mark may be any between the one that is certainly durable and the newest.
    fn ask_mark(&mut self, number: u128, reply: &Reply) {
        let share = self.models.share(number);
        if let (true, Reply::Opened { mark, .. }) = (share.unsure, reply) {
            assert!(*mark >= share.closed && *mark <= share.mark, "{mark:?}");
            share.mark = *mark;
            share.unsure = false;
        }
    }

    fn learn(&mut self, epoch: u64) {
        self.host.replicas.learn(entry_at(epoch));
        self.host.calm();
        let known = self.models.epoch;
        if known.map_or(listing_at(epoch).is_some(), |known| epoch > known) {
            self.models.epoch = Some(epoch);
        }
    }

    fn close(&mut self) {
        let by = self.under();
        let mark = Stamp {
            generation: by.generation,
            sequence: self.random.below(30),
        };
        let reply = self.host.plain(Request::Close { under: by, mark });
        if let Some(refusal) = self.models.refusal(&by) {
            assert_eq!(reply, Reply::Refused(refusal));
            return;
        }
        assert_eq!(reply, Reply::Done);
        if self.models.role() == Some(Role::InSync) {
            let share = self.models.share(by.share.volume.get());
            share.mark = share.mark.max(mark);
            // After a crash the mark that is known may be too high, but not this one.
            share.closed = share.closed.max(mark);
        }
    }

    fn write(&mut self) {
        let by = self.under();
        let (chunk, first) = (self.random.below(2), self.random.below(BLOCKS.into()));
        let (chunk, first) = (u32::try_from(chunk).unwrap(), u16::try_from(first).unwrap());
        let count = 1 + u16::try_from(self.random.below(u64::from(BLOCKS - first))).unwrap();
        let (sequence, cut) = (1 + self.random.below(40), self.random.below(4));
        let number = self.random.below(1 << 40);
        let block = block(chunk, first, count);
        let value = (!self.random.one_in(4)).then_some(number);
        let request = match value {
            Some(number) => write(by, block, sequence, cut, number),
            None => zero(by, block, sequence, cut),
        };
        let mark = Stamp {
            generation: by.generation,
            sequence: self.random.below(sequence),
        };
        let reply = self.host.ask(with_mark(request, mark));
        if let Some(refusal) = self.models.refusal(&by) {
            assert_eq!(reply, Reply::Refused(refusal));
            return;
        }
        assert_eq!(reply, Reply::Done);
        let stamp = Stamp {
            generation: by.generation,
            sequence,
        };
        if self.models.role() == Some(Role::InSync) {
            let share = self.models.share(by.share.volume.get());
            share.mark = share.mark.max(mark);
        }
        for (nth, block) in (0_u64..).zip(block.range.blocks()) {
            // Each block of a write looks its own way.
            let value = value.map(|number| number * 8 + nth);
            self.models.write(&by, (chunk, block, cut), stamp, value);
        }
    }

    fn read(&mut self) {
        let by = self.under();
        let chunk = u32::try_from(self.random.below(2)).unwrap();
        let at = match self.random.below(5) {
            4 => At::Head,
            cut => At::Cut(Cut(cut)),
        };
        let whole = block(chunk, 0, BLOCKS);
        let (reply, data) = self.host.ask_data((read(by, whole, at), None));
        let refusal = self.models.refusal(&by);
        let refusal = refusal
            .or_else(|| (self.models.role() == Some(Role::Syncing)).then_some(Refusal::NotInSync));
        if let Some(refusal) = refusal {
            assert_eq!(reply, Reply::Refused(refusal));
            return;
        }
        let Reply::Data { parts } = reply else {
            panic!("{reply:?}");
        };
        let shown = spread(whole, &parts, &data);
        let number = by.share.volume.get();
        for (block, shown) in (0..).zip(shown) {
            let wanted = self.models.seen(number, (chunk, block), at);
            let wanted = wanted.map(|(_, _, value)| match value {
                Some(value) => of_write(value),
                None => vec![0; BLOCK_BYTES],
            });
            assert!(shown == wanted, "block {block} of chunk {chunk} at {at:?}");
        }
    }

    /// A crash forgets nothing that was answered, but marks.
    fn crash(&mut self) {
        self.host.calm();
        self.host = self.host.crashed();
        let Some(epoch) = self.models.epoch else {
            return;
        };
        assert_eq!(self.host.replicas.entries().next(), Some(&entry_at(epoch)));
        for share in self.models.shares.values_mut() {
            share.unsure = true;
        }
    }
}

/// The data of a block, from the number of its write and its place in it.
fn of_write(value: u64) -> Vec<u8> {
    let nth = usize::try_from(value % 8).unwrap();
    let bytes = filled(u16::try_from(nth + 1).unwrap(), value / 8);
    bytes[nth * BLOCK_BYTES..].to_vec()
}

#[test]
fn requests_one_after_another_do_what_a_simple_model_says() {
    for seed in 0..seeds(30) {
        let mut run = Run {
            host: Host::new(1),
            models: Models::default(),
            random: Random::new(seed),
        };
        run.learn(1);
        for _ in 0..150 {
            run.step();
        }
    }
}

/// A request of any kind with any values.
fn anything(random: &mut Random) -> (Request, Option<Buffer>) {
    let number = 7 + u128::from(random.below(3));
    let epoch = 1 + random.below(EPOCHS);
    let attach = u32::try_from(1 + random.below(4)).unwrap();
    let by = under(number, attach, epoch);
    let first = u16::try_from(random.below(1020)).unwrap();
    let count = match random.below(10) {
        0 => 1024 - first,
        _ => 1 + u16::try_from(random.below(4)).unwrap(),
    };
    let block = block(
        u32::try_from(random.below(2)).unwrap(),
        first % 12,
        count.min(1012),
    );
    let stamp = match random.below(12) {
        0 => Stamp::new(u32::MAX, u32::MAX, u64::MAX),
        1 => Stamp::new(attach, 0, 1 << 62),
        _ => Stamp::new(u32::try_from(random.below(5)).unwrap(), 0, random.below(30)),
    };
    let cut = match random.below(12) {
        0 => u64::MAX,
        _ => random.below(4),
    };
    match random.below(14) {
        0..2 => (open(number, attach, entry_at(epoch)), None),
        2 => with_mark(zero(by, block, random.below(40), cut), stamp),
        3..6 => {
            let number = random.below(1000);
            let made = write(by, block, random.below(40), cut, number);
            let (request, payload) = with_mark(made, stamp);
            let payload = match random.below(8) {
                0 => None,
                1 => Some(Buffer::zeroed(1)),
                _ => payload,
            };
            (request, payload)
        }
        6 => with_mark((read(by, block, At::Head), None), stamp),
        7 => with_mark((read(by, block, At::Cut(Cut(cut))), None), stamp),
        8 => {
            let close = Request::Close {
                under: by,
                mark: stamp,
            };
            (close, None)
        }
        _ => (any_list(random, &by, block, (stamp, Cut(cut))), None),
    }
}

/// A request that asks what is held.
fn any_list(random: &mut Random, by: &Under, block: Block, (stamp, cut): (Stamp, Cut)) -> Request {
    let generation = random.one_in(2).then_some(by.generation);
    let (share, epoch, chunk) = (by.share, by.epoch, block.chunk);
    match random.below(6) {
        0 => Request::Adopt {
            entry: entry_at(epoch.0),
        },
        1 => Request::Shares {
            bucket: share.bucket,
            epoch,
            after: random.one_in(2).then_some(share.volume),
        },
        2 => Request::Chunks {
            share,
            epoch,
            generation,
            above: stamp,
            from: chunk,
        },
        3 => Request::Layers {
            share,
            epoch,
            generation,
            chunk,
        },
        4 => Request::Versions {
            share,
            epoch,
            generation,
            chunk,
            cut,
        },
        _ => Request::Copy {
            share,
            epoch,
            block,
            cut,
        },
    }
}

/// What was answered when a request was sent: the greatest fence and epoch of its share.
#[derive(Clone, Copy, Default, Debug)]
struct Promised {
    fence: u32,
    epoch: u64,
}

struct Storm {
    host: Host,
    random: Random,
    promised: BTreeMap<u128, Promised>,
    /// Requests under way, with what was promised when they were sent.
    sent: BTreeMap<RequestId, (Request, Promised)>,
    answers: u64,
}

impl Storm {
    fn send(&mut self) {
        let (request, payload) = anything(&mut self.random);
        let promised = share_of(&request).and_then(|number| self.promised.get(&number));
        let promised = promised.copied().unwrap_or_default();
        let id = self.host.send((request.clone(), payload));
        self.sent.insert(id, (request, promised));
    }

    /// Checks all answers that have come.
    fn check(&mut self) {
        let ids: Vec<RequestId> = self.sent.keys().copied().collect();
        for id in ids {
            let Some((reply, data)) = self.host.answer(id) else {
                continue;
            };
            self.answers += 1;
            let (request, promised) = self.sent.remove(&id).unwrap();
            let under = match &request {
                Request::Write { under, .. }
                | Request::Read { under, .. }
                | Request::Close { under, .. } => Some((under.generation.attach, under.epoch.0)),
                Request::Open {
                    generation, entry, ..
                } => Some((generation.attach, entry.epoch().0)),
                _ => None,
            };
            if matches!(reply, Reply::Refused(_)) {
                assert!(data.is_empty());
                continue;
            }
            if let Some((attach, epoch)) = under {
                let late = attach < promised.fence || epoch < promised.epoch;
                assert!(!late, "{request:?} was done after {promised:?}: {reply:?}");
            }
            if let (Request::Open { volume, .. }, Some((attach, epoch))) = (&request, under) {
                let promised = self.promised.entry(volume.get()).or_default();
                promised.fence = promised.fence.max(attach);
                promised.epoch = promised.epoch.max(epoch);
            }
        }
    }

    /// Whatever was answered holds after a crash.
    fn crash(&mut self) {
        self.sent.clear();
        self.host = self.host.crashed();
        for (number, promised) in &self.promised {
            let host = &mut self.host;
            host.queue.hold(false);
            if promised.fence > 1 {
                let newest = open(*number, promised.fence - 1, entry_at(EPOCHS * 2));
                let refused = host.plain(newest);
                let fenced = matches!(refused, Reply::Refused(Refusal::Fenced { .. }));
                assert!(fenced, "{refused:?} after {promised:?}");
            }
            let entry = host.replicas.entries().next();
            assert!(entry.is_some_and(|entry| entry.epoch().0 >= promised.epoch));
        }
    }
}

fn share_of(request: &Request) -> Option<u128> {
    match request {
        Request::Open { volume, .. } => Some(volume.get()),
        Request::Write { under, .. }
        | Request::Read { under, .. }
        | Request::Close { under, .. } => Some(under.share.volume.get()),
        _ => None,
    }
}

#[test]
fn requests_in_any_order_break_no_rule() {
    let mut answers = 0;
    for seed in 0..seeds(40) {
        let mut storm = Storm {
            host: Host::new(1),
            random: Random::new(seed),
            promised: BTreeMap::new(),
            sent: BTreeMap::new(),
            answers: 0,
        };
        for _ in 0..300 {
            storm.host.queue.hold(true);
            match storm.random.below(30) {
                0 => storm
                    .host
                    .replicas
                    .learn(entry_at(1 + storm.random.below(EPOCHS))),
                1 => {
                    let (volume, cut) = (volume(7), Cut(storm.random.below(4)));
                    let replicas = &mut storm.host.replicas;
                    match storm.random.below(6) {
                        0 => drop(replicas.delete_snapshot(volume, cut)),
                        1 => drop(replicas.add_reference(volume, cut, super::world::volume(8))),
                        2 => drop(replicas.remove_reference(volume, cut, super::world::volume(8))),
                        3 if seed % 3 == 0 => drop(replicas.delete_volume(volume, cut)),
                        _ => drop(replicas.forget(bucket())),
                    }
                }
                2 if storm.random.one_in(10) => storm.crash(),
                3..14 => {
                    let pending = storm.host.queue.pending() as u64;
                    if pending > 0 {
                        let nth = storm.random.below(pending);
                        storm.host.queue.complete(usize::try_from(nth).unwrap());
                    }
                    storm.host.poll();
                }
                _ => storm.send(),
            }
            storm.check();
        }
        storm.host.queue.hold(false);
        storm.host.calm();
        storm.check();
        assert!(storm.sent.is_empty(), "unanswered: {:?}", storm.sent);
        answers += storm.answers;
    }
    assert!(answers > 1000);
}
