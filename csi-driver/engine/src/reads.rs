//! Reads: from one replica in sync, elsewhere when that one fails or is slow, and an order to repair
//! what was bad.

use crate::asks::Purpose;
use crate::engine::{Engine, Timer};
use crate::interface::IoError;
use crate::ios::{Change, Owner, State};
use crate::verify::{Bad, Found, verify};
use bytes::Bytes;
use moraine_model::{BlockRange, BucketId, ChunkIndex, Role};
use moraine_protocol::{Part, Refusal};

/// How often all replicas are asked before a block counts as damaged: what was damaged on its way
/// may come whole the next time.
const ROUNDS: u8 = 2;

/// A read in flight.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The piece that wants it.
    pub(crate) piece: usize,
    pub(crate) bucket: BucketId,
    pub(crate) chunk: ChunkIndex,
    pub(crate) range: BlockRange,
    /// Slots with a bad copy.
    bad: u8,
    /// Slots that refused for now, or are slow.
    busy: u8,
    /// Blocks of which a replica has a bad copy.
    bad_blocks: Vec<u16>,
    rounds: u8,
    pauses: u32,
    /// The request that is under way.
    pub(crate) ask: Option<usize>,
    pub(crate) paused_until: Option<u64>,
}

impl Engine {
    /// Begins to read a piece.
    pub(crate) fn begin_read(&mut self, key: usize) {
        let piece = &mut self.ios.pieces[key];
        let id = piece.bucket;
        let read = self.reads.insert(Reading {
            piece: key,
            bucket: id,
            chunk: piece.chunk,
            range: piece.range,
            bad: 0,
            busy: 0,
            bad_blocks: Vec::new(),
            rounds: 1,
            pauses: 0,
            ask: None,
            paused_until: None,
        });
        piece.state = State::Reads(read);
        self.bucket_mut(id).reads.insert(read);
        self.choose_replica(read);
    }

    /// Asks a replica for a read that nobody is asked for: of those in sync that have not failed
    /// the one with the least to do. With none within reach, the read waits for a path.
    pub(crate) fn choose_replica(&mut self, key: usize) {
        let read = &self.reads[key];
        let id = read.bucket;
        let bucket = self.bucket(id);
        if !bucket.ready || read.ask.is_some() || read.paused_until.is_some() {
            return;
        }
        let in_sync = bucket.slots();
        let in_sync = in_sync.filter(|slot| bucket.replica(*slot).role == Role::InSync);
        let good = in_sync.filter(|slot| read.bad & (1 << slot) == 0);
        let good: u8 = good.map(|slot| 1 << slot).sum();
        if good == 0 {
            return self.every_copy_is_bad(key);
        }
        if good & !read.busy == 0 {
            return self.pause_read(key);
        }
        let reachable = |slot: &u8| {
            let disk = self.net.disk(bucket.replica(*slot).disk);
            disk.has_path()
                .then(|| (disk.doubts.late, disk.burden(), *slot))
        };
        let free = bucket.slots();
        let free = free.filter(|slot| good & !read.busy & (1 << slot) != 0);
        if let Some((_, _, slot)) = free.filter_map(|slot| reachable(&slot)).min() {
            let ask = self.ask(id, slot, Purpose::Read { read: key });
            self.reads[key].ask = Some(ask);
        } else if read.busy != 0 {
            self.pause_read(key);
        }
    }

    /// Every good replica is busy: all are asked again after a time.
    fn pause_read(&mut self, key: usize) {
        let limits = self.limits;
        let read = &mut self.reads[key];
        let pause = limits.pause_ms << read.pauses.min(16);
        let due = self.now_ms + pause.min(limits.pause_max_ms);
        (read.busy, read.pauses) = (0, read.pauses + 1);
        read.paused_until = Some(due);
        self.timers.insert((due, Timer::Read(key)));
    }

    /// The pause of a read is over.
    pub(crate) fn read_again(&mut self, key: usize) {
        self.reads[key].paused_until = None;
        self.choose_replica(key);
    }

    fn every_copy_is_bad(&mut self, key: usize) {
        let read = &mut self.reads[key];
        if read.rounds < ROUNDS {
            (read.rounds, read.bad) = (read.rounds + 1, 0);
            return self.pause_read(key);
        }
        let (piece, chunk) = (read.piece, read.chunk.get());
        let first = read.range.first();
        let block = read.bad_blocks.first().copied().unwrap_or(first);
        match self.ios.pieces[piece].owner {
            Owner::Operation(operation) => {
                self.end_early(operation, IoError::Damaged { chunk, block });
            }
            Owner::Repair | Owner::Nobody => {
                self.drop_read(key);
                self.let_go(piece);
                self.go_on_detaching();
            }
        }
    }

    /// A replica has answered a read, so that nobody is asked for it now.
    pub(crate) fn read_answered(&mut self, key: usize, slot: u8, parts: Vec<Part>, payload: Bytes) {
        let range = self.reads[key].range;
        match verify(range, parts, payload) {
            Ok(found) => self.read_done(key, &found),
            Err(Bad::Blocks(blocks)) => {
                self.metrics.mismatches += blocks.len() as u64;
                self.bad_copy(key, slot, &blocks);
            }
            Err(Bad::Shape) => {
                self.metrics.bad_replies += 1;
                self.bad_copy(key, slot, &[]);
            }
        }
    }

    /// A replica has refused a read.
    pub(crate) fn read_refused(&mut self, key: usize, slot: u8, refusal: &Refusal) {
        match refusal {
            Refusal::Damaged { block } => self.bad_copy(key, slot, &[*block]),
            Refusal::NotOpen => {
                let id = self.reads[key].bucket;
                self.read_elsewhere(key, slot);
                self.open_again(id, slot);
            }
            _ => self.read_elsewhere(key, slot),
        }
    }

    fn bad_copy(&mut self, key: usize, slot: u8, blocks: &[u16]) {
        let read = &mut self.reads[key];
        read.ask = None;
        read.bad |= 1 << slot;
        let range = read.range;
        let asked = blocks.iter().filter(|block| range.contains(**block));
        read.bad_blocks.extend(asked);
        self.metrics.reads_moved += 1;
        self.choose_replica(key);
    }

    /// Another replica is to be asked.
    pub(crate) fn read_elsewhere(&mut self, key: usize, slot: u8) {
        let read = &mut self.reads[key];
        read.ask = None;
        read.busy |= 1 << slot;
        self.metrics.reads_moved += 1;
        self.choose_replica(key);
    }

    fn read_done(&mut self, key: usize, found: &[Found]) {
        let read = self.reads.remove(key);
        self.bucket_mut(read.bucket).reads.remove(&key);
        let piece = read.piece;
        if self.ios.pieces[piece].owner == Owner::Repair {
            return self.write_good_copy(piece, found);
        }
        self.deposit(piece, found);
        for block in read.bad_blocks {
            self.repair(read.chunk, block);
        }
        self.piece_done(piece);
    }

    /// What was read for a repair is written to all: with a new stamp, so that it counts everywhere,
    /// and at its own cut, or at the volume's if a clone has it from its parent.
    fn write_good_copy(&mut self, piece: usize, found: &[Found]) {
        let [found] = found else {
            // It was never written: what was damaged is no longer there.
            self.let_go(piece);
            return self.go_on_detaching();
        };
        self.metrics.repaired += 1;
        let has_data = !found.data.is_empty();
        self.ios.pieces[piece].change = Some(Change {
            content: found.content.clone(),
            data: has_data.then(|| found.data.clone()),
            cut: (!found.inherited).then_some(found.cut),
        });
        self.start(piece);
    }

    /// Forgets a read, whose answer nobody wants any more.
    pub(crate) fn drop_read(&mut self, key: usize) {
        let read = self.reads.remove(key);
        self.bucket_mut(read.bucket).reads.remove(&key);
        if let Some(ask) = read.ask {
            self.net.asks.get_mut(ask).purpose = Purpose::Dropped;
        }
        if let Some(due) = read.paused_until {
            self.timers.remove(&(due, Timer::Read(key)));
        }
    }

    /// The bucket has a new entry: what was asked under the old one is asked again when it is ready.
    pub(crate) fn repeat_reads(&mut self, id: BucketId) {
        let keys: Vec<usize> = self.bucket(id).reads.iter().copied().collect();
        for key in keys {
            let read = &mut self.reads[key];
            read.ask = None;
            (read.bad, read.busy) = (0, 0);
        }
    }

    /// Asks somebody for each read of a bucket that nobody is asked for.
    pub(crate) fn choose_replicas(&mut self, id: BucketId) {
        let keys: Vec<usize> = self.bucket(id).reads.iter().copied().collect();
        for key in keys {
            self.choose_replica(key);
        }
    }

    /// Asks others for a read, if there is one to ask: this one is slow, or can't be reached.
    pub(crate) fn read_from_another(&mut self, key: usize, slot: u8) -> bool {
        let read = &self.reads[key];
        let bucket = self.bucket(read.bucket);
        let other = bucket.slots().any(|other| {
            let replica = bucket.replica(other);
            let disk = self.net.disk(replica.disk);
            let free = (read.bad | read.busy) & (1 << other) == 0;
            other != slot
                && free
                && replica.role == Role::InSync
                && disk.has_path()
                && !disk.doubts.late
        });
        if other {
            self.read_elsewhere(key, slot);
        }
        other
    }
}
