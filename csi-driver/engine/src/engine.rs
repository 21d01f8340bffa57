//! The engine as its shell sees it: what comes in, what goes out, and all state between. Each step
//! stands in the module of its subject.

use crate::address::{self, Placing};
use crate::bucket::Bucket;
use crate::deadlines::Deadlines;
use crate::flight::Flight;
use crate::ios::Ios;
use crate::net::Net;
use crate::ranges::Ranges;
use crate::reads::Reading;
use crate::{Io, IoError, IoId, Limits, Metrics, NewError, Output, PathId, Settings};
use bytes::Bytes;
use moraine_model::{BucketEntry, BucketId, Cut, DiskId, Epoch, Generation, VolumeId};
use moraine_protocol::{Reply, RequestId};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How far the engine's life is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all buckets have been reconciled yet.
    Attaching,
    /// It serves.
    Attached,
    /// It takes nothing new and finishes what there is.
    Detaching,
    /// Nothing is in flight; replicas are told.
    Closing,
    /// It does nothing any more, and says this to whoever wants something.
    Ended(IoError),
}

/// What is to be done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Ask this again.
    Ask(usize),
    /// Choose a replica for this read again.
    Read(usize),
    /// Give up the detach.
    Detach,
}

/// The client of one attached volume.
///
/// Time comes in by [`Self::tick`] alone: whoever runs it says the time first, then what happened.
#[derive(Debug)]
pub struct Engine {
    pub(crate) volume: VolumeId,
    pub(crate) generation: Generation,
    pub(crate) placing: Placing,
    pub(crate) read_only: bool,
    pub(crate) limits: Limits,
    pub(crate) phase: Phase,
    pub(crate) now_ms: u64,
    knows_time: bool,
    pub(crate) size_bytes: u64,
    /// The size that it is to have, when it grows.
    pub(crate) growing_to: Option<u64>,
    /// The cut of new writes, and the one that they are to have.
    pub(crate) cut: Cut,
    pub(crate) wanted_cut: Cut,
    /// The greatest cut that is durable here, and the greatest that was ordered to be.
    pub(crate) kept_cut: Option<Cut>,
    pub(crate) ordered_cut: Option<Cut>,
    /// The sequence number of the last write that was begun.
    pub(crate) issued: u64,
    /// The newest entries of buckets that the volume doesn't use.
    pub(crate) unused: BTreeMap<BucketId, BucketEntry>,
    /// Buckets that the volume uses from now on, of which no entry is known.
    pub(crate) missing: BTreeSet<BucketId>,
    pub(crate) buckets: BTreeMap<BucketId, Bucket>,
    /// Those that are not ready.
    pub(crate) unready: BTreeSet<BucketId>,
    /// Those for which pieces are parked.
    pub(crate) parked: BTreeSet<BucketId>,
    /// Those that wait to be reconciled, and how many are being.
    pub(crate) to_reconcile: VecDeque<BucketId>,
    pub(crate) reconciling: usize,
    /// Those of which not all replicas know yet that the engine goes.
    pub(crate) to_close: BTreeSet<BucketId>,
    pub(crate) ios: Ios,
    pub(crate) io_deadlines: Deadlines<(usize, u64)>,
    pub(crate) ranges: Ranges,
    pub(crate) flights: Slab<Flight>,
    pub(crate) reads: Slab<Reading>,
    /// Blocks whose repair waits or is under way.
    pub(crate) repairs: BTreeSet<(u32, u16)>,
    pub(crate) net: Net,
    pub(crate) timers: BTreeSet<(u64, Timer)>,
    /// When disks are to be looked at for answers that they owe.
    pub(crate) watch_at: Option<u64>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) metrics: Metrics,
}

impl Engine {
    /// An engine that begins to attach the volume, given the map's entries of all buckets that it
    /// uses.
    pub fn new(settings: Settings, entries: Vec<BucketEntry>) -> Result<Self, NewError> {
        let Settings {
            volume,
            placement_key,
            size_bytes,
            generation,
            cut,
            buckets,
            read_only,
            limits,
        } = settings;
        let blocks = address::blocks_of_size(size_bytes).ok_or(NewError::Size { size_bytes })?;
        if !address::is_number_of_buckets(buckets) {
            return Err(NewError::Buckets { buckets });
        }
        if generation == Generation::default() {
            return Err(NewError::Generation);
        }
        let placing = Placing {
            key: placement_key,
            buckets,
        };
        let mut engine = Self {
            volume,
            generation,
            placing,
            read_only,
            limits,
            phase: Phase::Attaching,
            now_ms: 0,
            knows_time: false,
            size_bytes,
            growing_to: None,
            cut,
            wanted_cut: cut,
            kept_cut: None,
            ordered_cut: None,
            issued: 0,
            unused: BTreeMap::new(),
            missing: placing.used(0..address::chunks_of(blocks)),
            buckets: BTreeMap::new(),
            unready: BTreeSet::new(),
            parked: BTreeSet::new(),
            to_reconcile: VecDeque::new(),
            reconciling: 0,
            to_close: BTreeSet::new(),
            ios: Ios::default(),
            io_deadlines: Deadlines::default(),
            ranges: Ranges::default(),
            flights: Slab::new(),
            reads: Slab::new(),
            repairs: BTreeSet::new(),
            net: Net::default(),
            timers: BTreeSet::new(),
            watch_at: None,
            outputs: VecDeque::new(),
            metrics: Metrics::default(),
        };
        for entry in entries {
            engine.learn_entry(entry);
        }
        if let Some(bucket) = engine.missing.first() {
            return Err(NewError::NoEntry { bucket: *bucket });
        }
        engine.order_cut();
        Ok(engine)
    }

    /// Begins an operation. Its result comes as [`Output::Done`].
    pub fn submit(&mut self, io: IoId, operation: Io) {
        self.metrics.ios += 1;
        match self.admit(io, operation) {
            Ok(key) => {
                self.refill(key);
                self.finish_flushes();
            }
            Err(error) => self.answer(io, Err(error)),
        }
        self.send_all();
    }

    /// News of the map: late, repeated and out of order are fine.
    pub fn learn(&mut self, entries: Vec<BucketEntry>) {
        for entry in entries {
            self.learn_entry(entry);
        }
        self.send_all();
    }

    /// The entry of this bucket and epoch that [`Output::Keep`] named is durable.
    pub fn kept(&mut self, bucket: BucketId, epoch: Epoch) {
        if !self.has_ended() {
            self.entry_kept(bucket, epoch);
            self.send_all();
        }
    }

    /// There is a connection to a disk, which takes so many unanswered requests at once.
    pub fn connected(&mut self, path: PathId, disk: DiskId, credits: u32, local: bool) {
        if !self.has_ended() {
            self.path_up(path, disk, credits, local);
            self.send_all();
        }
    }

    /// A connection is lost, and what was unanswered on it will not be answered.
    pub fn disconnected(&mut self, path: PathId) {
        if !self.has_ended() {
            self.path_down(path);
            self.send_all();
        }
    }

    /// A reply, with the data of all its parts, one behind the other.
    pub fn answered(&mut self, path: PathId, id: RequestId, reply: Reply, payload: Bytes) {
        if !self.has_ended() {
            self.take_answer(path, id, reply, payload);
            self.send_all();
        }
    }

    /// Writes are to have this cut, as soon as those with the older one are acknowledged. Answered
    /// with [`Output::CutReached`], at once if it has been reached.
    ///
    /// Only a cut from a version of the volume's object that names this engine's own attachment may
    /// be given here: a newer engine is told at least every cut that this one begins.
    pub fn raise_cut(&mut self, cut: Cut) {
        if !self.has_ended() {
            self.want_cut(cut);
            self.send_all();
        }
    }

    /// The cut that [`Output::KeepCut`] named is durable.
    pub fn kept_cut(&mut self, cut: Cut) {
        if !self.has_ended() {
            self.kept_cut = self.kept_cut.max(Some(cut));
            self.go_on_attaching();
            self.begin_cut();
            self.send_all();
        }
    }

    /// The time, which never goes backwards.
    pub fn tick(&mut self, now_ms: u64) {
        if !std::mem::replace(&mut self.knows_time, true) {
            self.net.set_clock(now_ms);
            self.watch_at = Some(now_ms + self.limits.path_timeout_ms);
        }
        self.now_ms = self.now_ms.max(now_ms);
        if !self.has_ended() {
            self.do_what_is_due();
            self.send_all();
        }
    }

    /// When [`Self::tick`] is wanted next at the latest.
    pub fn deadline(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let operation = self.io_deadlines.next_due();
        [timer, operation, self.watch_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What to do next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many operations are not answered.
    pub fn unanswered(&self) -> usize {
        self.ios.operations.len()
    }

    /// Counts of what it met.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    pub(crate) fn bucket(&self, id: BucketId) -> &Bucket {
        self.buckets.get(&id).expect("a used bucket stays")
    }

    pub(crate) fn bucket_mut(&mut self, id: BucketId) -> &mut Bucket {
        self.buckets.get_mut(&id).expect("a used bucket stays")
    }

    pub(crate) fn answer(&mut self, io: IoId, result: Result<Bytes, IoError>) {
        self.metrics.answered += 1;
        self.metrics.failed += u64::from(result.is_err());
        self.outputs.push_back(Output::Done { io, result });
    }
}
