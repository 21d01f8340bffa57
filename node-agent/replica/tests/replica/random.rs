//! Random requests, one after another, against a simple model. `storm` has them in any order and at
//! any time, when only the rules must hold.

use super::net::*;
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use std::collections::BTreeMap;

const BLOCKS: u16 = 6;

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
