//! What was answered, and what must therefore hold from then on.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{Output, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// A request that is not answered.
struct Asked {
    request: Request,
    /// What was promised when it came.
    fence: Option<Generation>,
    epoch: Option<Epoch>,
}

/// What the answers so far promise.
#[derive(Default)]
pub(crate) struct Promises {
    fences: BTreeMap<Share, Generation>,
    /// The newest entry of each bucket under which something was answered.
    entries: BTreeMap<BucketId, BucketEntry>,
    asked: BTreeMap<(SessionId, RequestId), Asked>,
    /// Every entry that was adopted since the start.
    adopted: BTreeMap<(BucketId, Epoch), BucketEntry>,
    newest: BTreeMap<BucketId, Epoch>,
    /// What was written to a block, whether it was taken or not: checksums.
    written: BTreeSet<(ChunkIndex, u16, u32)>,
}

/// The share that a request is about, and in whose name it comes.
fn name_of(request: &Request) -> Option<(Share, Option<Generation>, Epoch)> {
    match *request {
        Request::Open {
            volume,
            generation,
            ref entry,
        } => {
            let bucket = entry.bucket();
            Some((Share { volume, bucket }, Some(generation), entry.epoch()))
        }
        Request::Write { under, .. }
        | Request::Read { under, .. }
        | Request::Close { under, .. } => Some((under.share, Some(under.generation), under.epoch)),
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
        } => Some((share, generation, epoch)),
        Request::Copy { share, epoch, .. } => Some((share, None, epoch)),
        Request::Adopt { .. } | Request::Shares { .. } | Request::Ping => None,
    }
}

impl Promises {
    /// A request is sent.
    pub(crate) fn asks(&mut self, session: SessionId, id: RequestId, request: Request) {
        if let Request::Write { block, content, .. } = &request
            && let Content::Data { checksums } = content
        {
            self.writes(*block, checksums);
        }
        let name = name_of(&request);
        let asked = Asked {
            fence: name.and_then(|(share, ..)| self.fences.get(&share).copied()),
            epoch: request.bucket().and_then(|bucket| self.epoch(bucket)),
            request,
        };
        self.asked.insert((session, id), asked);
    }

    /// Data with these checksums may be found there from now on.
    pub(crate) fn writes(&mut self, block: Block, checksums: &[u32]) {
        for (index, sum) in block.range.blocks().zip(checksums) {
            self.written.insert((block.chunk, index, *sum));
        }
    }

    /// Nobody waits for the answers to a session any more.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.asked.retain(|(of, _), _| *of != session);
    }

    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &Request> {
        self.asked.values().map(|asked| &asked.request)
    }

    fn epoch(&self, bucket: BucketId) -> Option<Epoch> {
        self.entries.get(&bucket).map(BucketEntry::epoch)
    }

    /// What the replicas have adopted: it never goes back, and an epoch has one entry.
    pub(crate) fn has_adopted(&mut self, entry: &BucketEntry) {
        let (bucket, epoch) = (entry.bucket(), entry.epoch());
        let first = self.adopted.entry((bucket, epoch));
        assert_eq!(first.or_insert_with(|| entry.clone()), entry);
        let newest = self.newest.entry(bucket).or_default();
        assert!(epoch >= *newest, "{newest:?} goes back to {entry}");
        *newest = epoch;
    }

    /// An answer comes. Gives what was asked.
    pub(crate) fn answered(
        &mut self,
        (session, id): (SessionId, RequestId),
        reply: &Reply,
        data: &[u8],
    ) -> Request {
        let asked = self.asked.remove(&(session, id));
        let asked = asked.expect("one answer to each request, and none to who is gone");
        if let Reply::Refused(_) = reply {
            assert!(data.is_empty(), "a refusal with data");
            return asked.request;
        }
        self.in_whose_name(&asked, reply);
        match (&asked.request, reply) {
            (
                Request::Open {
                    volume,
                    generation,
                    entry,
                },
                Reply::Opened { .. },
            ) => {
                let bucket = entry.bucket();
                let share = Share {
                    volume: *volume,
                    bucket,
                };
                self.fences.insert(share, *generation);
                self.promise(entry);
            }
            (Request::Adopt { entry }, Reply::Done) => self.promise(entry),
            (Request::Read { under, block, .. }, Reply::Data { parts }) => {
                let entry = self.adopted.get(&(under.share.bucket, under.epoch));
                let listing = entry.and_then(|entry| entry.on(disk_id(1)));
                let in_sync = listing.is_some_and(|listing| listing.role == Role::InSync);
                assert!(in_sync, "read under {entry:?}");
                self.shows(*block, parts, data);
            }
            (Request::Copy { block, .. }, Reply::Data { parts }) => {
                self.shows(*block, parts, data);
            }
            (Request::Write { .. } | Request::Close { .. } | Request::Ping, Reply::Done)
            | (Request::Shares { .. }, Reply::Shares { .. })
            | (Request::Chunks { .. }, Reply::Chunks { .. })
            | (Request::Layers { .. }, Reply::Layers { .. })
            | (Request::Versions { .. }, Reply::Versions { .. }) => {}
            (request, reply) => panic!("{request:?} was answered {reply:?}"),
        }
        asked.request
    }

    /// Nothing is done in the name of an older generation or epoch than one that was let in.
    fn in_whose_name(&self, asked: &Asked, reply: &Reply) {
        let Some((share, generation, epoch)) = name_of(&asked.request) else {
            return;
        };
        // Who opens waits for writes and reads that came before; the others may end behind it.
        let waited_for = matches!(
            asked.request,
            Request::Open { .. } | Request::Write { .. } | Request::Read { .. }
        );
        let (fence, promised) = if waited_for {
            let fence = self.fences.get(&share).copied();
            (fence, self.epoch(share.bucket))
        } else {
            (asked.fence, asked.epoch)
        };
        let late = generation.is_some_and(|generation| Some(generation) < fence);
        let late = late || Some(epoch) < promised;
        let request = &asked.request;
        assert!(
            !late,
            "{request:?} was answered {reply:?} after {fence:?}, {promised:?}"
        );
    }

    fn promise(&mut self, entry: &BucketEntry) {
        match self.entries.get(&entry.bucket()) {
            Some(known) if known.epoch() > entry.epoch() => {}
            Some(known) if known.epoch() == entry.epoch() => {
                assert_eq!(known, entry, "two entries of an epoch");
            }
            _ => drop(self.entries.insert(entry.bucket(), entry.clone())),
        }
    }

    /// Data is whole, and somebody wrote it there.
    fn shows(&self, block: Block, parts: &[Part], data: &[u8]) {
        let shown = spread(block, parts, data);
        for (index, shown) in block.range.blocks().zip(shown) {
            let Some(shown) = shown.filter(|shown| shown.iter().any(|byte| *byte != 0)) else {
                continue;
            };
            let key = (block.chunk, index, checksum(&shown));
            assert!(self.written.contains(&key), "nobody wrote {key:?}");
        }
    }

    /// A crash takes all that waits, and nothing that was promised.
    pub(crate) fn hold_after_crash(&mut self, host: &mut Host) {
        self.asked.clear();
        self.adopted.clear();
        self.newest.clear();
        for (bucket, entry) in &self.entries {
            let found = host
                .replicas
                .entries()
                .find(|found| found.bucket() == *bucket);
            let found = found.expect("an entry that was answered is kept");
            assert!(
                found == entry || found.epoch() > entry.epoch(),
                "{entry} became {found}"
            );
        }
        for (share, fence) in &self.fences {
            let Some(older) = before(*fence) else {
                continue;
            };
            let request = Request::Open {
                volume: share.volume,
                generation: older,
                entry: self.entries[&share.bucket].clone(),
            };
            let reply = host.plain(request);
            let holds = matches!(reply, Reply::Refused(Refusal::Fenced { by }) if by >= *fence);
            assert!(holds, "{reply:?} though {share:?} was open under {fence:?}");
        }
    }
}

/// The generation right before another.
fn before(generation: Generation) -> Option<Generation> {
    let Generation {
        attach,
        incarnation,
    } = generation;
    match incarnation.checked_sub(1) {
        Some(incarnation) => Some(Generation {
            attach,
            incarnation,
        }),
        None => Some(Generation {
            attach: attach.checked_sub(1)?,
            incarnation: u32::MAX,
        }),
    }
}

/// What comes out beside answers can be sent, and is true.
pub(crate) fn check_output(output: &Output, host: &Host) {
    match output {
        Output::Call { disk, request, .. } => {
            request.check().expect("a request that can be sent");
            assert_ne!(*disk, host.options.disk, "a call of itself");
        }
        Output::Synced { bucket, since } => {
            let mut entries = host.replicas.entries();
            let entry = entries.find(|entry| entry.bucket() == *bucket);
            let listing = entry.and_then(|entry| entry.on(host.options.disk));
            let right =
                listing.is_some_and(|known| known.role == Role::Syncing && known.since == *since);
            assert!(
                right,
                "a copy is whole for another listing than {listing:?}"
            );
        }
        Output::Reply { reply, .. } => {
            reply.check().expect("a reply that can be sent");
        }
    }
}
