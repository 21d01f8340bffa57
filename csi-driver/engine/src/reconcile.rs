//! Reconciling a bucket before it is first served: what a former engine left on some replicas is
//! brought to all, or to none. Which versions count is decided in `plan`; here replicas are asked,
//! one chunk after another, and the writes are made.
//!
//! It is done once. A new entry of the bucket begins it again, as long as it isn't finished: what
//! was answered under the old one counts no more, and the writes that it has begun land first.

mod plan;

use crate::asks::{Ask, Look, Purpose};
use crate::bucket::{Bucket, Replica, Stage};
use crate::engine::Engine;
use crate::flight::{Flight, For};
use crate::verify::{Bad, Found, verify};
use bytes::Bytes;
use moraine_model::{BlockRange, BucketId, Checksums, ChunkIndex, Cut, Role, Stamp};
use moraine_protocol::{ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Version};
use plan::{Fix, Plan, Source};
use std::collections::{BTreeMap, BTreeSet};

/// How often data that is damaged, or was on its way, is asked for again before the copy counts as
/// bad.
const TRIES: u8 = 3;

/// The reconciliation of a bucket, under way.
#[derive(Debug)]
pub(crate) struct Reconcile {
    /// The greatest mark of a replica in sync: every write up to it is on all.
    top: Stamp,
    /// Chunks with a version above it, that are still to be looked at.
    chunks: BTreeSet<ChunkIndex>,
    /// Unanswered questions.
    asked: usize,
    chunk: Option<Work>,
}

/// What is known of the chunk that is looked at.
#[derive(Debug)]
struct Work {
    chunk: ChunkIndex,
    step: Step,
    /// By slot.
    layers: Vec<Vec<LayerStamp>>,
    /// By layer and slot.
    versions: BTreeMap<Cut, Vec<Vec<Version>>>,
    /// Versions that can't be read.
    damaged: BTreeSet<(Cut, u8, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Layers,
    Versions,
    Fixing,
}

impl Bucket {
    /// The mark above which is reconciled now.
    pub(crate) fn top_mark(&self) -> Stamp {
        match &self.stage {
            Stage::Reconciling(reconcile) => reconcile.top,
            _ => Stamp::ZERO,
        }
    }

    fn reconcile_mut(&mut self) -> &mut Reconcile {
        match &mut self.stage {
            Stage::Reconciling(reconcile) => reconcile,
            _ => unreachable!("its questions are asked and answered within one epoch"),
        }
    }

    fn work_mut(&mut self) -> &mut Work {
        let work = &mut self.reconcile_mut().chunk;
        work.as_mut()
            .expect("a chunk's questions are answered before the next chunk")
    }

    /// Lets a plan be made of what is known of the chunk.
    fn plan<R>(&self, make: impl FnOnce(&plan::Chunk<'_>) -> R) -> R {
        let Stage::Reconciling(reconcile) = &self.stage else {
            unreachable!("its questions are asked and answered within one epoch");
        };
        let work = reconcile.chunk.as_ref().expect("a chunk is looked at");
        let slots = self.replicas.iter().map(|replica| plan::Slot {
            in_sync: replica.role == Role::InSync,
            since: replica.since,
        });
        let slots: Vec<plan::Slot> = slots.collect();
        make(&plan::Chunk::new(
            reconcile.top,
            &slots,
            &work.versions,
            &work.damaged,
        ))
    }
}

impl Engine {
    /// All listed replicas of a bucket are open for the first time: it is reconciled if one of them
    /// holds something above its mark.
    pub(crate) fn order_reconciliation(&mut self, id: BucketId) {
        let bucket = self.bucket_mut(id);
        let opened = bucket.replicas.iter().filter_map(Replica::opened);
        if opened.into_iter().any(|opened| opened.above_mark) {
            bucket.stage = Stage::Waits;
            self.to_reconcile.push_back(id);
            self.begin_reconciliations();
        } else {
            bucket.stage = Stage::Whole;
            self.become_ready(id);
        }
    }

    fn begin_reconciliations(&mut self) {
        while self.reconciling < self.limits.reconciles_max
            && let Some(id) = self.to_reconcile.pop_front()
        {
            if matches!(self.bucket(id).stage, Stage::Waits) {
                self.begin_reconciliation(id);
            }
        }
    }

    fn begin_reconciliation(&mut self, id: BucketId) {
        let bucket = self.bucket_mut(id);
        let in_sync = bucket.replicas.iter().filter(|r| r.role == Role::InSync);
        let marks = in_sync.filter_map(Replica::opened);
        let top = marks.map(|opened| opened.mark).max().unwrap_or(Stamp::ZERO);
        let above = bucket.slots().filter(|slot| {
            let opened = bucket.replica(*slot).opened();
            opened.is_some_and(|opened| opened.above_mark)
        });
        let above: Vec<u8> = above.collect();
        bucket.undecided = false;
        bucket.stage = Stage::Reconciling(Box::new(Reconcile {
            top,
            chunks: BTreeSet::new(),
            asked: above.len(),
            chunk: None,
        }));
        self.reconciling += 1;
        let from = ChunkIndex::new(0).expect("zero is a chunk");
        for slot in above {
            self.ask(id, slot, Purpose::Look(Look::Chunks { from }));
        }
    }

    /// The bucket has a new entry: what was found out under the old one counts for nothing, unless
    /// all was done.
    pub(crate) fn put_off_reconciliation(&mut self, id: BucketId) {
        let bucket = self.bucket_mut(id);
        match bucket.stage {
            Stage::Whole | Stage::Fresh => return,
            Stage::Waits => bucket.stage = Stage::Fresh,
            Stage::Reconciling(_) => {
                bucket.stage = Stage::Fresh;
                self.reconciling -= 1;
            }
        }
        self.begin_reconciliations();
    }

    /// A write that reconciles a bucket is on all its replicas.
    pub(crate) fn reconcile_landed(&mut self, id: BucketId) {
        match self.bucket(id).stage {
            Stage::Reconciling(_) => self.go_on_reconciling(id),
            _ => self.go_on_opening(id),
        }
    }

    /// Takes the next step when all questions are answered.
    fn go_on_reconciling(&mut self, id: BucketId) {
        loop {
            let bucket = self.bucket_mut(id);
            let landed = bucket.reconcile_flights == 0;
            let reconcile = bucket.reconcile_mut();
            if reconcile.asked > 0 {
                return;
            }
            match reconcile.chunk.as_ref().map(|work| work.step) {
                Some(Step::Layers) => self.ask_versions(id),
                Some(Step::Versions) => self.fix_chunk(id),
                Some(Step::Fixing) if !landed => return,
                Some(Step::Fixing) => reconcile.chunk = None,
                None => {
                    let Some(chunk) = reconcile.chunks.pop_first() else {
                        return self.end_reconciliation(id);
                    };
                    self.ask_layers(id, chunk);
                }
            }
        }
    }

    fn end_reconciliation(&mut self, id: BucketId) {
        self.bucket_mut(id).stage = Stage::Whole;
        self.reconciling -= 1;
        self.go_on_opening(id);
        self.begin_reconciliations();
    }

    fn ask_layers(&mut self, id: BucketId, chunk: ChunkIndex) {
        let bucket = self.bucket_mut(id);
        let slots = bucket.slots();
        let count = slots.len();
        let reconcile = bucket.reconcile_mut();
        reconcile.asked = count;
        reconcile.chunk = Some(Work {
            chunk,
            step: Step::Layers,
            layers: vec![Vec::new(); count],
            versions: BTreeMap::new(),
            damaged: BTreeSet::new(),
        });
        for slot in slots {
            self.ask(id, slot, Purpose::Look(Look::Layers { chunk }));
        }
    }

    /// Asks every replica for each layer in which one of them has something above the mark.
    fn ask_versions(&mut self, id: BucketId) {
        let reconcile = self.bucket_mut(id).reconcile_mut();
        let top = reconcile.top;
        let work = reconcile.chunk.as_mut().expect("its layers were asked for");
        work.step = Step::Versions;
        let chunk = work.chunk;
        let above = work.layers.iter().flatten();
        let above = above.filter(|layer| layer.newest > top);
        let cuts: BTreeSet<Cut> = above.map(|layer| layer.cut).collect();
        let mut questions = Vec::new();
        for cut in cuts {
            work.versions
                .insert(cut, vec![Vec::new(); work.layers.len()]);
            let has = |layers: &&Vec<LayerStamp>| layers.iter().any(|layer| layer.cut == cut);
            let slots = (0_u8..).zip(&work.layers).filter(|(_, layers)| has(layers));
            questions.extend(slots.map(|(slot, _)| (slot, cut)));
        }
        reconcile.asked = questions.len();
        for (slot, cut) in questions {
            self.ask(id, slot, Purpose::Look(Look::Versions { chunk, cut }));
        }
    }

    fn fix_chunk(&mut self, id: BucketId) {
        let work = self.bucket_mut(id).work_mut();
        work.step = Step::Fixing;
        let cuts: Vec<Cut> = work.versions.keys().copied().collect();
        let plans = self.bucket(id).plan(|chunk| {
            let plan = |cut: Cut| (cut, chunk.plan(cut, BlockRange::WHOLE_CHUNK));
            cuts.into_iter().map(plan).collect::<Vec<_>>()
        });
        for (cut, plan) in plans {
            self.fix(id, cut, plan);
        }
    }

    /// Begins what brings these blocks of a layer to one state: zeros are written at once, data is
    /// fetched first.
    fn fix(&mut self, id: BucketId, cut: Cut, plan: Plan) {
        self.bucket_mut(id).undecided |= plan.undecided;
        for Fix { range, source } in plan.fixes {
            let chunk = self.bucket_mut(id).work_mut().chunk;
            let slot = match source {
                Source::Zero => {
                    self.write_to_all(id, cut, range, (Content::Zero, None));
                    continue;
                }
                Source::Shown(slot) => slot,
            };
            let look = Look::Data {
                chunk,
                range,
                cut,
                head: false,
            };
            self.bucket_mut(id).reconcile_mut().asked += 1;
            self.ask(id, slot, Purpose::Look(look));
        }
    }

    fn write_to_all(
        &mut self,
        id: BucketId,
        cut: Cut,
        range: BlockRange,
        (content, data): (Content, Option<Bytes>),
    ) {
        let chunk = self.bucket_mut(id).work_mut().chunk;
        self.begin_write(Flight {
            bucket: id,
            chunk,
            range,
            sequence: 0,
            cut,
            content,
            data,
            of: For::Reconciliation,
            acknowledged: 0,
            asked: 0,
            no_space_since: None,
        });
    }

    /// A question is answered.
    pub(crate) fn looked(&mut self, key: usize, look: Look, reply: Reply, payload: Bytes) {
        let ask = *self.net.asks.get(key);
        let (id, slot) = (ask.bucket, ask.slot);
        let reconcile = self.bucket_mut(id).reconcile_mut();
        match (look, reply) {
            (Look::Chunks { from }, Reply::Chunks { chunks, more }) => {
                return self.found_chunks(key, from, &chunks, more);
            }
            (Look::Layers { .. }, Reply::Layers { layers, .. }) => {
                let work = reconcile.chunk.as_mut().expect("its layers were asked for");
                work.layers[usize::from(slot)] = layers;
            }
            (Look::Versions { cut, .. }, Reply::Versions { versions, .. }) => {
                let work = reconcile.chunk.as_mut().expect("its layers were asked for");
                let by_slot = work.versions.get_mut(&cut).expect("it was asked for");
                by_slot[usize::from(slot)] = versions;
            }
            (Look::Data { .. }, Reply::Data { parts }) => {
                return self.fetched(key, look, parts, payload);
            }
            _ => return self.wrong_answer(key),
        }
        self.question_done(key);
    }

    fn question_done(&mut self, key: usize) {
        let id = self.net.asks.get(key).bucket;
        self.forget(key);
        self.bucket_mut(id).reconcile_mut().asked -= 1;
        self.go_on_reconciling(id);
    }

    fn found_chunks(&mut self, key: usize, from: ChunkIndex, found: &[ChunkStamp], more: bool) {
        let ask = *self.net.asks.get(key);
        let reconcile = self.bucket_mut(ask.bucket).reconcile_mut();
        let above = found.iter().filter(|chunk| chunk.newest > reconcile.top);
        reconcile.chunks.extend(above.map(|chunk| chunk.chunk));
        if !more {
            return self.question_done(key);
        }
        let last = found
            .last()
            .map(|last| last.chunk)
            .filter(|last| *last >= from);
        let next = last.and_then(|last| ChunkIndex::new(last.get() + 1).ok());
        let Some(from) = next else {
            return self.wrong_answer(key);
        };
        self.forget(key);
        self.ask(ask.bucket, ask.slot, Purpose::Look(Look::Chunks { from }));
    }

    /// A question is refused.
    pub(crate) fn look_refused(&mut self, key: usize, look: Look, refusal: &Refusal) {
        let ask = *self.net.asks.get(key);
        match (look, refusal) {
            (_, Refusal::Deleted) if self.is_attaching() => self.fail_attach(ask.disk),
            (_, Refusal::NotOpen) => {
                self.pause(key);
                self.open_again(ask.bucket, ask.slot);
            }
            (
                Look::Data {
                    chunk, range, cut, ..
                },
                Refusal::NoSnapshot,
            ) => {
                // The snapshot is gone. What it showed shows at the head, unless a newer cut has
                // covered it; and a newer cut begins only when every older write is on all.
                self.forget(key);
                let look = Look::Data {
                    chunk,
                    range,
                    cut,
                    head: true,
                };
                self.ask(ask.bucket, ask.slot, Purpose::Look(look));
            }
            (Look::Data { cut, range, .. }, Refusal::Damaged { block })
                if range.contains(*block) =>
            {
                self.bad_source(key, cut, range, &[*block]);
            }
            _ => self.pause(key),
        }
    }

    /// Blocks of a replica in sync can't be read, again and again: another one is the source, or, if
    /// this version was on no other one and so never acknowledged, an older one counts.
    fn bad_source(&mut self, key: usize, cut: Cut, range: BlockRange, blocks: &[u16]) {
        let ask = self.net.asks.get_mut(key);
        ask.damages += 1;
        if ask.damages <= TRIES {
            return self.pause(key);
        }
        let ask = *ask;
        let slot = ask.slot;
        let bad = self.bucket(ask.bucket).plan(|chunk| {
            let layer = |block: u16| (chunk.shown_from(cut, slot, block), slot, block);
            blocks.iter().map(|block| layer(*block)).collect::<Vec<_>>()
        });
        self.bucket_mut(ask.bucket).work_mut().damaged.extend(bad);
        let of = self.bucket(ask.bucket);
        let plan = of.plan(|chunk| chunk.plan(cut, range));
        self.fix(ask.bucket, cut, plan);
        self.question_done(key);
    }

    fn fetched(&mut self, key: usize, look: Look, parts: Vec<Part>, payload: Bytes) {
        let Look::Data {
            range, cut, head, ..
        } = look
        else {
            return self.wrong_answer(key);
        };
        let ask = *self.net.asks.get(key);
        let found = match verify(range, parts, payload.clone()) {
            Ok(found) => found,
            Err(Bad::Blocks(blocks)) => {
                self.metrics.mismatches += blocks.len() as u64;
                return self.bad_source(key, cut, range, &blocks);
            }
            Err(Bad::Shape) => return self.wrong_answer(key),
        };
        let work = self.bucket_mut(ask.bucket).work_mut();
        let held = &work.versions[&cut][usize::from(ask.slot)];
        let newest = if head { Cut(u64::MAX) } else { cut };
        if !plan::shows(held, cut, newest, range, &found) {
            return self.wrong_answer(key);
        }
        self.write_found(&ask, cut, range, Shown { found, payload });
        self.question_done(key);
    }

    /// Writes what a replica in sync shows: data and zeros as they are, zeros where there is
    /// nothing, and nothing where a newer cut has covered it. Data of blocks that follow one another
    /// follows in the payload too, so that it goes out in one write.
    fn write_found(&mut self, ask: &Ask, cut: Cut, range: BlockRange, shown: Shown) {
        let (mut next, mut at) = (range.first(), 0);
        let mut runs: Vec<Run> = Vec::new();
        let zeros = |range| Run { range, data: None };
        for run in shown.found {
            runs.extend(BlockRange::between(next, run.range.first()).map(zeros));
            next = run.range.end();
            let from = at;
            at += run.data.len();
            if !run.inherited && run.cut > cut {
                continue;
            }
            let Content::Data { checksums } = run.content else {
                runs.push(zeros(run.range));
                continue;
            };
            if let Some(last) = runs.last_mut()
                && last.range.end() == run.range.first()
                && let Some((sums, data)) = &mut last.data
                && let Some(both) = BlockRange::between(last.range.first(), run.range.end())
            {
                last.range = both;
                sums.extend(checksums.iter());
                *data = shown.payload.slice(at - both.bytes()..at);
            } else {
                let data = shown.payload.slice(from..at);
                runs.push(Run {
                    range: run.range,
                    data: Some((checksums.to_vec(), data)),
                });
            }
        }
        runs.extend(BlockRange::between(next, range.end()).map(zeros));
        for Run { range, data } in runs {
            let change = match data {
                None => (Content::Zero, None),
                Some((sums, data)) => {
                    let checksums = Checksums::from(sums);
                    (Content::Data { checksums }, Some(data))
                }
            };
            self.write_to_all(ask.bucket, cut, range, change);
        }
    }
}

/// What is to be written in one go: zeros, or data and its checksums.
struct Run {
    range: BlockRange,
    data: Option<(Vec<u32>, Bytes)>,
}

/// What a replica showed, and the data of all of it.
struct Shown {
    found: Vec<Found>,
    payload: Bytes,
}
