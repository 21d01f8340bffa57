//! Requests from their arrival to their answer: which there are, and who waits for them.

use super::Replicas;
use crate::bucket::{Ticket, malformed};
use crate::{Output, SessionId};
use moraine_model::{BlockRange, BucketId, Epoch, Generation, Place, Share, Stamp};
use moraine_protocol::{Refusal, Reply, Request, RequestId, Rule};
use moraine_store::{Buffer, Disk, ReadAt, StoreError};

/// A request that is not answered.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who waits, unless he is gone.
    pub(super) session: Option<SessionId>,
    pub(super) id: RequestId,
    pub(super) what: What,
}

/// What was asked, as far as its answer needs it.
#[derive(Debug)]
pub(super) enum What {
    Open {
        share: Share,
        generation: Generation,
        epoch: Epoch,
    },
    Close {
        share: Share,
        mark: Stamp,
    },
    Adopt {
        bucket: BucketId,
        epoch: Epoch,
    },
    Write {
        share: Share,
        data_blocks: u16,
    },
    Read(Reading),
}

/// A read or a copy.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) place: Place,
    pub(super) range: BlockRange,
    pub(super) at: ReadAt,
    /// The runs of blocks that a clone has itself, if the share is one.
    pub(super) own: Option<Vec<BlockRange>>,
}

impl What {
    /// The bucket whose next entry waits for it, and the share, if it changes or reads blocks for
    /// an engine.
    pub(super) fn holds_up(&self) -> Option<Share> {
        match self {
            Self::Write { share, .. } => Some(*share),
            Self::Read(Reading { at, place, .. }) => {
                (!matches!(at, ReadAt::Layer(_))).then(|| place.share())
            }
            _ => None,
        }
    }

    /// The bucket that it is about.
    pub(super) fn bucket(&self) -> BucketId {
        match self {
            Self::Open { share, .. } | Self::Close { share, .. } | Self::Write { share, .. } => {
                share.bucket
            }
            Self::Adopt { bucket, .. } => *bucket,
            Self::Read(reading) => reading.place.bucket,
        }
    }
}

/// What becomes of a request at once.
pub(super) enum Taken {
    /// It is answered.
    Answered(Reply),
    /// It is under way in the store or waits for notes.
    Later(What, Option<moraine_store::Request>),
}

impl<D: Disk> Replicas<D> {
    pub(super) fn ask(
        &mut self,
        session: SessionId,
        id: RequestId,
        request: Request,
        payload: Option<Buffer>,
    ) {
        self.metrics.requests += 1;
        let taken = if self.is_stopped() {
            self.recycle_all(payload);
            Err(Refusal::Stopped)
        } else if self.asked.len() >= self.options.requests_max {
            self.recycle_all(payload);
            Err(Refusal::Busy)
        } else {
            self.take(request, payload)
        };
        match taken {
            Ok(Taken::Answered(reply)) => self.reply(Some(session), id, reply, Vec::new()),
            Ok(Taken::Later(what, to_store)) => {
                let ticket = self.ticket();
                let session = Some(session);
                self.begin(ticket, Asked { session, id, what }, to_store);
            }
            Err(refusal) => self.reply(Some(session), id, Reply::Refused(refusal), Vec::new()),
        }
    }

    fn take(&mut self, request: Request, payload: Option<Buffer>) -> Result<Taken, Refusal> {
        let bucket = request.bucket();
        if bucket.is_some_and(|bucket| !self.is_served(bucket)) {
            self.recycle_all(payload);
            return Err(Refusal::NotHere);
        }
        let payload = match request {
            Request::Write { .. } => payload,
            _ if payload.is_some() => {
                self.recycle_all(payload);
                return Err(malformed(Rule::PayloadFitsRange));
            }
            _ => None,
        };
        match request {
            Request::Open {
                volume,
                generation,
                entry,
            } => self.open(volume, generation, entry),
            Request::Write {
                under,
                block,
                sequence,
                cut,
                mark,
                content,
            } => {
                let stamp = Stamp {
                    generation: under.generation,
                    sequence,
                };
                let write = super::write::Incoming {
                    under,
                    block,
                    stamp,
                    cut,
                    mark,
                    content,
                };
                self.write(write, payload)
            }
            Request::Read {
                under,
                block,
                at,
                mark,
            } => self.read(under, block, at, mark),
            Request::Close { under, mark } => self.close(under, mark),
            Request::Ping => Ok(Taken::Answered(Reply::Done)),
            Request::Adopt { entry } => self.adopt_for_copy(entry),
            list => self.list(&list),
        }
    }

    fn begin(&mut self, ticket: Ticket, asked: Asked, to_store: Option<moraine_store::Request>) {
        if let Some(share) = asked.what.holds_up() {
            self.bucket_mut(share.bucket).under_way.insert(ticket);
            self.notes_mut(share).under_way += 1;
        }
        self.asked.insert(ticket, asked);
        if let Some(request) = to_store {
            self.submit(request, super::Task::Asked(ticket));
        } else {
            self.waiting.insert(ticket);
            self.settle(ticket);
        }
    }

    /// Answers a request and forgets it.
    pub(super) fn finish(&mut self, ticket: Ticket, reply: Reply, payload: Vec<Buffer>) {
        self.waiting.remove(&ticket);
        let Some(asked) = self.asked.remove(&ticket) else {
            return;
        };
        if let Some(share) = asked.what.holds_up() {
            self.done_with(share, ticket);
        }
        self.reply(asked.session, asked.id, reply, payload);
    }

    /// A change or read of a share has ended.
    pub(super) fn done_with(&mut self, share: Share, ticket: Ticket) {
        self.bucket_mut(share.bucket).under_way.remove(&ticket);
        let notes = self.notes_mut(share);
        assert!(notes.under_way > 0, "what has ended was under way");
        notes.under_way -= 1;
    }

    /// Refuses everything that is not answered: the disk failed, and nobody knows what of it is
    /// done.
    pub(super) fn refuse_all(&mut self) {
        let tickets: Vec<Ticket> = self.asked.keys().copied().collect();
        for ticket in tickets {
            self.finish(ticket, Reply::Refused(Refusal::Stopped), Vec::new());
        }
    }

    fn reply(
        &mut self,
        session: Option<SessionId>,
        id: RequestId,
        reply: Reply,
        payload: Vec<Buffer>,
    ) {
        if let Reply::Refused(refusal) = &reply {
            self.metrics.refusals.count(refusal);
        }
        match session {
            Some(session) => self.outputs.push_back(Output::Reply {
                session,
                id,
                reply,
                payload,
            }),
            None => self.recycle_all(payload),
        }
    }

    pub(crate) fn recycle_all(&mut self, buffers: impl IntoIterator<Item = Buffer>) {
        for buffer in buffers {
            self.shard.recycle(buffer);
        }
    }
}

/// What a failure of the store means to who asked. `block` is the block that could not be read.
pub(super) fn refusal_of(error: &StoreError, block: u16) -> Refusal {
    match error {
        StoreError::NoSpace => Refusal::NoSpace,
        StoreError::Corrupt { block, .. } => Refusal::Damaged { block: *block },
        StoreError::ReadFailed { .. } => Refusal::Damaged { block },
        StoreError::Stopped => Refusal::Stopped,
        StoreError::Mismatch { block } => Refusal::Mismatch { block: *block },
        StoreError::Busy => Refusal::Busy,
        StoreError::Deleted(_) => Refusal::Deleted,
        StoreError::NoSnapshot { .. } => Refusal::NoSnapshot,
        _ => malformed(Rule::StoreLimits),
    }
}
