//! What is said on the wires, held against the invariants that can be seen there: I4 at the
//! replicas, I5 and I8 at the engines. What a replica had said before a crash it still has to keep.

use crate::history::Kind;
use crate::map::Map;
use crate::network::LinkId;
use crate::register::OpId;
use crate::value::label_of;
use crate::world::World;
use bytes::Bytes;
use moraine_model::{BucketEntry, BucketId, DiskId, Epoch, Generation, Share};
use moraine_protocol::{Block, Content, Reply, Request, RequestId, Under};
use std::collections::{BTreeMap, BTreeSet};

/// A request that a replica has and did not answer, with what the replica had promised by then.
#[derive(Debug)]
struct Received {
    request: Request,
    fence: Generation,
    epoch: Epoch,
}

/// What replicas have promised.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    fences: BTreeMap<(usize, Share), Generation>,
    epochs: BTreeMap<(usize, BucketId), Epoch>,
    received: BTreeMap<(LinkId, RequestId), Received>,
}

/// The bucket of a request, in whose name it is made if in an engine's, and the epoch.
type Claims = (BucketId, Option<(Share, Generation)>, Epoch);

/// What a request claims.
fn claims(request: &Request) -> Option<Claims> {
    let of_engine = |under: &Under| {
        let share = under.share;
        (share.bucket, Some((share, under.generation)), under.epoch)
    };
    match request {
        Request::Open {
            volume,
            generation,
            entry,
        } => {
            let share = Share {
                volume: *volume,
                bucket: entry.bucket(),
            };
            Some((entry.bucket(), Some((share, *generation)), entry.epoch()))
        }
        Request::Write { under, .. }
        | Request::Read { under, .. }
        | Request::Close { under, .. } => Some(of_engine(under)),
        Request::Adopt { entry } => Some((entry.bucket(), None, entry.epoch())),
        Request::Shares { bucket, epoch, .. } => Some((*bucket, None, *epoch)),
        Request::Chunks {
            share,
            epoch,
            generation,
            ..
        }
        | Request::Layers {
            share,
            epoch,
            generation,
            ..
        }
        | Request::Versions {
            share,
            epoch,
            generation,
            ..
        } => {
            let by = generation.map(|generation| (*share, generation));
            Some((share.bucket, by, *epoch))
        }
        Request::Copy { share, epoch, .. } => Some((share.bucket, None, *epoch)),
        Request::Ping => None,
    }
}

impl Watch {
    /// The newest generation that a disk has let in.
    pub(crate) fn fence(&self, disk: usize, share: Share) -> Generation {
        self.fences.get(&(disk, share)).copied().unwrap_or_default()
    }

    /// The newest epoch that a disk has said it has adopted.
    pub(crate) fn epoch(&self, disk: usize, bucket: BucketId) -> Epoch {
        self.epochs
            .get(&(disk, bucket))
            .copied()
            .unwrap_or_default()
    }

    /// A request reaches a disk.
    pub(crate) fn received(&mut self, disk: usize, name: (LinkId, RequestId), request: &Request) {
        let Some((bucket, by, _)) = claims(request) else {
            return;
        };
        let fence = by.map_or(Generation::default(), |(share, _)| self.fence(disk, share));
        let received = Received {
            request: request.clone(),
            fence,
            epoch: self.epoch(disk, bucket),
        };
        self.received.insert(name, received);
    }

    /// A request that a replica has not answered.
    pub(crate) fn asked(&self, name: (LinkId, RequestId)) -> Option<&Request> {
        self.received.get(&name).map(|received| &received.request)
    }

    /// What was asked over a connection will not be answered.
    pub(crate) fn session_gone(&mut self, link: LinkId) {
        self.received.retain(|(over, _), _| *over != link);
    }

    /// A disk answers; says what it must not have done.
    pub(crate) fn replied(
        &mut self,
        disk: usize,
        name: (LinkId, RequestId),
        reply: &Reply,
    ) -> Option<String> {
        let received = self.received.remove(&name)?;
        let (bucket, by, epoch) = claims(&received.request)?;
        if matches!(reply, Reply::Refused(_)) {
            return None;
        }
        let wrong = if by.is_some_and(|(_, generation)| generation < received.fence) {
            Some(format!("though it had let in {:?}", received.fence))
        } else if epoch < received.epoch {
            Some(format!("though it had adopted epoch {}", received.epoch.0))
        } else {
            None
        };
        match (&received.request, by) {
            (Request::Open { .. }, Some((share, generation))) => {
                let fence = self.fences.entry((disk, share)).or_default();
                *fence = (*fence).max(generation);
            }
            (Request::Adopt { .. }, _) => {}
            _ => {
                return wrong.map(|why| {
                    format!("disk {} served {:?} {why} (I4)", disk + 1, received.request)
                });
            }
        }
        let known = self.epochs.entry((disk, bucket)).or_default();
        *known = (*known).max(epoch);
        wrong.map(|why| {
            format!(
                "disk {} accepted {:?} {why} (I4)",
                disk + 1,
                received.request
            )
        })
    }
}

/// A part of an operation: its bucket, its sequence number, its first block.
type Part = (BucketId, u64, u64);

/// What an engine was seen to ask and to hear.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    asked: BTreeMap<(LinkId, RequestId), Asked>,
    opened: BTreeSet<(BucketId, Epoch, DiskId)>,
    acks: BTreeSet<(u64, Epoch, DiskId)>,
    /// Sequences that all replicas of some entry have acknowledged under it.
    proved: BTreeSet<u64>,
    parts: BTreeMap<OpId, BTreeSet<Part>>,
    kept: BTreeMap<BucketId, Epoch>,
}

#[derive(Debug)]
enum Asked {
    Open(BucketId, Epoch),
    Write(BucketId, u64, Epoch),
}

impl Seen {
    /// An entry is durable at the engine.
    pub(crate) fn kept(&mut self, entry: &BucketEntry) {
        let kept = self.kept.entry(entry.bucket()).or_default();
        *kept = (*kept).max(entry.epoch());
    }

    /// A reply of a disk reaches the engine.
    pub(crate) fn heard(
        &mut self,
        disk: DiskId,
        name: (LinkId, RequestId),
        reply: &Reply,
        map: &Map,
    ) {
        match (self.asked.remove(&name), reply) {
            (Some(Asked::Open(bucket, epoch)), Reply::Opened { .. }) => {
                self.opened.insert((bucket, epoch, disk));
            }
            (Some(Asked::Write(bucket, sequence, epoch)), Reply::Done) => {
                self.acks.insert((sequence, epoch, disk));
                let known = self.kept.get(&bucket).copied().unwrap_or_default();
                let by_all = map.at(bucket, epoch).is_some_and(|entry| {
                    let mut listings = entry.listings().iter();
                    listings.all(|listing| self.acks.contains(&(sequence, epoch, listing.disk)))
                });
                if by_all && epoch >= known {
                    self.proved.insert(sequence);
                }
            }
            _ => {}
        }
    }

    /// Whether all replicas of an entry have opened for this engine under it.
    pub(crate) fn has_opened(&self, entry: &BucketEntry) -> bool {
        let listings = entry.listings().iter();
        let mut disks = listings.map(|listing| listing.disk);
        disks.all(|disk| self.opened.contains(&(entry.bucket(), entry.epoch(), disk)))
    }

    /// Why an acknowledgement of this write has no right: some part of it was never acknowledged by
    /// all that an entry lists under that entry's epoch, while the engine knew no newer one.
    pub(crate) fn unproved(&self, op: OpId) -> Option<String> {
        let Some(parts) = self.parts.get(&op) else {
            return Some("of which it had sent nothing".into());
        };
        let mut missing = parts
            .iter()
            .filter(|(_, sequence, _)| !self.proved.contains(sequence));
        let (bucket, sequence, _) = missing.next()?;
        let bucket = bucket.get();
        Some(format!(
            "though not all replicas had acknowledged sequence {sequence} in bucket {bucket}"
        ))
    }
}

impl World {
    /// An engine asks; what it must not ask yet is a violation (I5).
    pub(crate) fn engine_asks(
        &mut self,
        engine: usize,
        name: (LinkId, RequestId),
        request: &Request,
        data: Option<&Bytes>,
    ) {
        let (under, asked) = match request {
            Request::Open { entry, .. } => {
                let asked = Asked::Open(entry.bucket(), entry.epoch());
                self.engines[engine].seen.asked.insert(name, asked);
                return;
            }
            Request::Write {
                under, sequence, ..
            } => (
                under,
                Some(Asked::Write(under.share.bucket, *sequence, under.epoch)),
            ),
            Request::Read { under, .. } => (under, None),
            _ => return,
        };
        let bucket = under.share.bucket;
        // Writes in flight go to each replica as soon as that has opened; what is acknowledged by
        // all has then been opened by all.
        let host = &self.engines[engine];
        let disk = self
            .links
            .get(&name.0)
            .map(|wire| self.agents[wire.disk].id);
        let opened = if let (Request::Write { .. }, Some(disk)) = (request, disk) {
            host.seen.opened.contains(&(bucket, under.epoch, disk))
        } else {
            let entry = self.map.at(bucket, under.epoch);
            entry.is_some_and(|entry| host.seen.has_opened(entry))
        };
        if !opened {
            let what = format!(
                "{} uses bucket {} before all have opened epoch {} (I5): {request:?}",
                self.name(engine),
                bucket.get(),
                under.epoch.0
            );
            return self.violated(None, what);
        }
        if let Some(asked) = asked {
            self.engines[engine].seen.asked.insert(name, asked);
            self.part_sent(engine, request, data);
        }
    }

    /// Finds out which operation a write is a part of.
    fn part_sent(&mut self, engine: usize, request: &Request, data: Option<&Bytes>) {
        let Request::Write {
            under,
            block: Block { chunk, range },
            sequence,
            content,
            ..
        } = request
        else {
            return;
        };
        let first = u64::from(chunk.get()) * 1024 + u64::from(range.first());
        let label = data.and_then(|data| label_of(data)).map(|(write, _)| write);
        let host = &self.engines[engine];
        let parts = &host.seen.parts;
        if parts.values().flatten().any(|part| part.1 == *sequence) {
            return;
        }
        // Zeros bear no label, and repairs bear that of another write. Overlapping operations are
        // done one after another, so this is of the first one that has not sent these blocks.
        let fits = |id: &OpId| {
            let op = &self.history.ops[id];
            let kind = match content {
                Content::Data { .. } => op.kind == Kind::Write && label == Some(*id),
                Content::Zero => op.kind == Kind::Zero,
            };
            let chunk = first / 1024 * 1024..first / 1024 * 1024 + 1024;
            let end = first + u64::from(range.count());
            let exact =
                op.blocks.start.max(chunk.start) == first && op.blocks.end.min(chunk.end) == end;
            let sent = |parts: &BTreeSet<Part>| parts.iter().any(|part| part.2 == first);
            kind && exact && !parts.get(id).is_some_and(sent)
        };
        if let Some(op) = host.unanswered.iter().copied().find(fits) {
            let parts = self.engines[engine].seen.parts.entry(op).or_default();
            parts.insert((under.share.bucket, *sequence, first));
        }
    }
}
