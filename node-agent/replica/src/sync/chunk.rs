//! The copy of one chunk: layer by layer, the newest cut first.
//!
//! A hole takes away with it what its cut alone hid in older ones, and versions that both sides had
//! may be collected already. So each cut is compared when the copies of the newer ones are durable.

use super::CallFor;
use super::compare::{Basis, asks, difference};
use super::job::Job;
use super::share::ShareCopy;
use crate::CallId;
use crate::replicas::{Replicas, Task};
use moraine_model::{
    BLOCK_BYTES, BlockRange, ChunkIndex, Cut, Epoch, Generation, Place, Share, Stamp, Tag,
};
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;
use moraine_protocol::{Block, Part, Reply, Request, Version, VersionKind};
use moraine_store::{Buffer, Content, Disk, Rule, StoreError, Write};
use std::collections::{BTreeSet, VecDeque};

/// Writes of a chunk that the store has at once, so that engines need not wait behind many.
const WRITES_MAX: usize = 16;

/// The copy of one chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkCopy {
    /// The cuts that are still to be compared, oldest first; `None` until they are known.
    cuts: Option<Vec<Cut>>,
    layer: Option<Layer>,
    call: Option<CallId>,
    /// Writes that the store has.
    writes: usize,
    /// Something failed: begins again when no write is under way.
    restart: bool,
}

/// The layer that is being taken over.
#[derive(Debug)]
struct Layer {
    cut: Cut,
    /// What is known of the source's versions; `None` until it has told.
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    fence: Generation,
    /// The runs whose data is wanted.
    wanted: Vec<BlockRange>,
    /// What is to be asked for.
    asks: VecDeque<BlockRange>,
    /// The range that was asked for last.
    asked: Option<BlockRange>,
    /// What is to be written.
    writes: VecDeque<(BlockRange, Tag, Content)>,
}

impl ChunkCopy {
    /// Whether it waits for this call, which has ended.
    pub(super) fn is_answered(&mut self, call: CallId) -> bool {
        self.call.take_if(|waits| *waits == call).is_some()
    }
}

impl ShareCopy {
    /// What is known of all chunks counts no more: they begin again.
    pub(super) fn restart_chunks(&mut self) {
        for copy in self.chunks.values_mut() {
            copy.restart = true;
        }
    }

    /// A call of a chunk failed: it begins again.
    pub(super) fn restart_chunk(&mut self, chunk: ChunkIndex) {
        if let Some(copy) = self.chunks.get_mut(&chunk) {
            copy.restart = true;
        }
    }
}

impl<D: Disk> Replicas<D> {
    /// Does what can be done for a chunk. True when it is done.
    pub(super) fn chunk_goes_on(
        &mut self,
        job: &Job,
        share: Share,
        chunk: ChunkIndex,
        copy: &mut ChunkCopy,
    ) -> bool {
        if copy.restart {
            if copy.writes > 0 || copy.call.is_some() {
                return false;
            }
            *copy = ChunkCopy::default();
        }
        self.give_writes(job, share.place(chunk), copy);
        let epoch = self.bucket_mut(share.bucket).epoch.now();
        let Some(epoch) = epoch.filter(|_| copy.call.is_none()) else {
            return false;
        };
        let generation = None;
        let over = copy.layer.as_ref().and_then(|layer| layer.told.as_ref());
        if over.is_some_and(|told| told.asks.is_empty() && told.writes.is_empty())
            && copy.writes == 0
        {
            copy.layer = None;
        }
        let request = match (&mut copy.cuts, &mut copy.layer) {
            (None, _) => Request::Layers {
                share,
                epoch,
                generation,
                chunk,
            },
            (Some(cuts), None) => {
                let Some(cut) = cuts.pop() else {
                    return true;
                };
                copy.layer = Some(Layer { cut, told: None });
                Request::Versions {
                    share,
                    epoch,
                    generation,
                    chunk,
                    cut,
                }
            }
            (Some(_), Some(layer)) => {
                let cut = layer.cut;
                let Some(range) = self.next_ask(layer) else {
                    return false;
                };
                let block = Block { chunk, range };
                Request::Copy {
                    share,
                    epoch,
                    block,
                    cut,
                }
            }
        };
        let what = CallFor::Chunk(chunk);
        copy.call = Some(self.call(share.bucket, job, what, request));
        false
    }

    /// The next range whose data to ask for, if it is time to.
    fn next_ask(&mut self, layer: &mut Layer) -> Option<BlockRange> {
        let told = layer.told.as_mut()?;
        let range = *told.asks.front()?;
        // What came before is with the store first, so that memory stays bounded.
        if !told.writes.is_empty() || !self.may_ask_for(range.bytes()) {
            return None;
        }
        told.asks.pop_front();
        told.asked = Some(range);
        Some(range)
    }

    /// Gives the store what is to be written, once the fence that it follows from is durable.
    fn give_writes(&mut self, job: &Job, place: Place, copy: &mut ChunkCopy) {
        let told = copy.layer.as_mut().and_then(|layer| layer.told.as_mut());
        let Some(told) = told.filter(|told| !told.writes.is_empty()) else {
            return;
        };
        if !self.takes_fence(place.share(), told.fence) {
            return;
        }
        while copy.writes < WRITES_MAX
            && let Some((range, tag, content)) = told.writes.pop_front()
        {
            if matches!(content, Content::Data { .. }) {
                self.metrics.copied_bytes += range.bytes() as u64;
            }
            let rule = Rule::Copy {
                listed: job.since(),
                fence: told.fence,
            };
            let write = Write {
                place,
                range,
                tag,
                rule,
                content,
            };
            copy.writes += 1;
            let ticket = self.own_change(place.share());
            let task = Task::SyncWrite(place, ticket, job.serial());
            self.submit(moraine_store::Request::Write(write), task);
        }
    }

    /// The source has told something of a chunk. `None` if that can't be.
    pub(super) fn chunk_answered(
        &mut self,
        job: &mut Job,
        chunk: ChunkIndex,
        reply: &Reply,
        payload: Option<Buffer>,
    ) -> Option<()> {
        let since = job.since();
        let current = job.current.as_ref();
        let share = current.map(|current| (current.share, current.mark));
        let copies = job.current.as_mut().map(|share| &mut share.chunks);
        let copy = copies.and_then(|copies| copies.get_mut(&chunk));
        let (Some((share, mark)), Some(copy)) = (share, copy) else {
            self.recycle_all(payload);
            return Some(());
        };
        let place = share.place(chunk);
        let taken = match (reply, payload) {
            (Reply::Layers { fence, layers }, None) => {
                self.takes_fence(share, *fence);
                let theirs = layers.iter().map(|layer| layer.cut);
                let cuts: BTreeSet<Cut> = theirs.chain(self.cuts_of(place)).collect();
                copy.cuts = Some(cuts.into_iter().collect());
                Some(())
            }
            (Reply::Versions { fence, versions }, None) => {
                self.takes_fence(share, *fence);
                let kept = self.shard.retention(share);
                let basis = Basis {
                    deleted: kept.is_some_and(|kept| !kept.head_is_read()),
                    mark,
                    since,
                    fence: *fence,
                };
                self.versions_told(place, versions, basis, copy)
            }
            (Reply::Data { parts }, payload) => {
                let most = self.shard.write_blocks_max();
                let taken = data_told(copy, parts, payload.as_deref(), most, since);
                self.recycle_all(payload);
                taken
            }
            (_, payload) => {
                self.recycle_all(payload);
                None
            }
        };
        copy.restart |= taken.is_none();
        taken
    }

    fn versions_told(
        &mut self,
        place: Place,
        versions: &[Version],
        basis: Basis,
        copy: &mut ChunkCopy,
    ) -> Option<()> {
        let layer = copy.layer.as_mut()?;
        let cut = layer.cut;
        if versions.iter().any(|version| version.tag.cut != cut) {
            return None;
        }
        let own = self.shard.versions(place).into_iter();
        let own = own.filter(|version| version.tag.cut == cut);
        let own = own.map(|version| (version.range, version.tag));
        let found = difference(own, versions, basis);
        let zeros = found.zeros.into_iter();
        let zeros = zeros.map(|(range, tag)| (range, here(tag, basis.since), Content::Zero));
        let holes = found.holes.into_iter();
        let holes = holes.map(|range| (range, no_version(cut, basis.since), Content::Hole));
        let most = self.shard.write_blocks_max();
        let most = u16::try_from(most).unwrap_or(PAYLOAD_BLOCKS_MAX);
        layer.told = Some(Told {
            fence: basis.fence,
            asks: asks(&found.data, most.min(PAYLOAD_BLOCKS_MAX)).into(),
            wanted: found.data,
            asked: None,
            writes: zeros.chain(holes).collect(),
        });
        Some(())
    }

    /// A write of a copy has ended.
    pub(crate) fn sync_write_done(
        &mut self,
        place: Place,
        serial: u64,
        outcome: &Result<(), StoreError>,
    ) {
        self.with_job(place.bucket, |replicas, _, job| {
            let ours = job.serial() == serial;
            let current = job.current.as_mut();
            let current = current.filter(|copy| ours && copy.share == place.share())?;
            let copy = current.chunks.get_mut(&place.chunk)?;
            copy.writes -= 1;
            let failed = match outcome {
                Ok(()) => false,
                // Nobody reads what the source has beyond it: it was deleted here already.
                Err(StoreError::Deleted(_)) => !replicas.is_wholly_deleted(place.share()),
                Err(_) => true,
            };
            if failed && !copy.restart {
                copy.restart = true;
                replicas.fail(job);
            }
            None
        });
    }

    /// Whether a share's volume is deleted, and no snapshot or clone of it is left.
    fn is_wholly_deleted(&self, share: Share) -> bool {
        let kept = self.shard.retention(share);
        kept.is_some_and(|kept| !kept.anyone_reads(Cut(0), None))
    }
}

/// What the copy of a version is called here.
fn here(tag: Tag, since: Epoch) -> Tag {
    Tag {
        epoch: since,
        ..tag
    }
}

/// What takes a version away.
fn no_version(cut: Cut, since: Epoch) -> Tag {
    Tag {
        stamp: Stamp::ZERO,
        cut,
        epoch: since,
    }
}

/// The source has sent data. `None` if it isn't what was asked for.
///
/// Its versions are those of the moment, perhaps newer than it told before. What it has no version
/// of any more is taken away here too.
fn data_told(
    copy: &mut ChunkCopy,
    parts: &[Part],
    payload: Option<&[u8]>,
    most: u32,
    since: Epoch,
) -> Option<()> {
    let layer = copy.layer.as_mut()?;
    let cut = layer.cut;
    let told = layer.told.as_mut()?;
    let asked = told.asked.take()?;
    let mut data = payload.unwrap_or_default();
    let mut next = asked.first();
    let wanted = told.wanted.iter();
    let wanted: Vec<BlockRange> = wanted.filter_map(|run| run.intersection(asked)).collect();
    let hole = |range: BlockRange| (range, no_version(cut, since), Content::Hole);
    let most = u16::try_from(most).unwrap_or(PAYLOAD_BLOCKS_MAX);
    for part in parts {
        let range = part.version.range;
        let fits = range.first() >= next && range.end() <= asked.end();
        if !fits || part.inherited || part.version.tag.cut != cut {
            return None;
        }
        let missing = BlockRange::between(next, range.first());
        let missing = missing.into_iter().flat_map(|gap| within(&wanted, gap));
        told.writes.extend(missing.map(hole));
        next = range.end();
        let tag = here(part.version.tag, since);
        match part.version.kind {
            VersionKind::Zero => {
                let zeros = within(&wanted, range);
                told.writes
                    .extend(zeros.map(|run| (run, tag, Content::Zero)));
            }
            VersionKind::Data => {
                if part.checksums.len() != usize::from(range.count()) {
                    return None;
                }
                let (bytes, rest) = data.split_at_checked(range.bytes())?;
                data = rest;
                let runs = within(&wanted, range).flat_map(|run| pieces(run, most));
                told.writes.extend(runs.map(|run| {
                    let first = usize::from(run.first() - range.first());
                    let end = first + usize::from(run.count());
                    let data = Buffer::copy_of(&bytes[first * BLOCK_BYTES..end * BLOCK_BYTES]);
                    let checksums = part.checksums[first..end].into();
                    (run, tag, Content::Data { data, checksums })
                }));
            }
        }
    }
    let missing = BlockRange::between(next, asked.end());
    let missing = missing.into_iter().flat_map(|gap| within(&wanted, gap));
    told.writes.extend(missing.map(hole));
    data.is_empty().then_some(())
}

/// The parts of some runs that lie in a range.
fn within(runs: &[BlockRange], range: BlockRange) -> impl Iterator<Item = BlockRange> {
    runs.iter().filter_map(move |run| run.intersection(range))
}

/// A run in pieces of at most so many blocks.
fn pieces(run: BlockRange, most: u16) -> impl Iterator<Item = BlockRange> {
    let starts = (run.first()..run.end()).step_by(usize::from(most.max(1)));
    starts.filter_map(move |first| {
        let end = first.saturating_add(most.max(1)).min(run.end());
        BlockRange::between(first, end)
    })
}
