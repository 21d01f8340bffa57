//! Where the world can tamper with what passes between the cores: nowhere, unless a mutation is
//! wanted. Each tampering stands for a bug that a core, a disk or the operator could have.

mod chosen;

use crate::mutation::Mutation;
use crate::network::{LinkId, Message, Way};
use crate::world::World;
use bytes::Bytes;
use moraine_model::{Cut, Generation, Stamp};
use moraine_protocol::{Refusal, Reply, Request, RequestId};
use std::collections::{BTreeMap, BTreeSet};

/// What tampering has to remember.
#[derive(Debug, Default)]
pub(crate) struct Bent {
    /// Writes that some disk has acknowledged.
    done: BTreeSet<(Generation, u64)>,
    /// Writes that a disk has acknowledged.
    done_at: BTreeSet<(usize, Generation, u64)>,
    /// Requests that were answered already, so that their true answer goes nowhere.
    answered: BTreeSet<(LinkId, RequestId)>,
    /// Requests of engines with their data, should they have to be asked again.
    asked: BTreeMap<(LinkId, RequestId), (Request, Option<Bytes>)>,
    /// What disks have acknowledged.
    held: chosen::Held,
}

impl World {
    /// What an engine's request becomes on its way out.
    pub(crate) fn bent_request(
        &mut self,
        engine: usize,
        mut request: Request,
        mut data: Option<Bytes>,
    ) -> (Request, Option<Bytes>) {
        self.choose_syncing(engine, &mut request, &mut data);
        if let Request::Write {
            under,
            sequence,
            cut,
            mark,
            ..
        } = &mut request
        {
            if self.mutated(Mutation::MarkTooHigh) {
                *mark = Stamp {
                    generation: under.generation,
                    sequence: *sequence - 1,
                };
            }
            if self.mutated(Mutation::OldCut) {
                *cut = Cut(0);
            }
        }
        (request, data)
    }

    /// A request arrives at a disk.
    pub(crate) fn request_arrives(
        &mut self,
        link: LinkId,
        disk: usize,
        id: RequestId,
        asked: (Request, Option<Bytes>),
    ) {
        self.tell_request(disk, &asked.0);
        if self.agents[disk].replicas.is_none() {
            return;
        }
        if self.mutation.is_some() {
            if self.forged(link, disk, id, &asked.0) {
                return;
            }
            self.bent.asked.insert((link, id), asked.clone());
        }
        self.watch.received(disk, (link, id), &asked.0);
        self.ask_replicas(disk, link, id, asked);
    }

    /// Answers in the place of the replica; true if that is not asked at all.
    fn forged(&mut self, link: LinkId, disk: usize, id: RequestId, request: &Request) -> bool {
        let done = |world: &mut Self| {
            world.send(
                link,
                Way::Back,
                Message::Reply(id, Reply::Done, Bytes::new()),
            );
        };
        match request {
            Request::Write {
                under, sequence, ..
            } => {
                let name = (under.generation, *sequence);
                let elsewhere = self.mutated(Mutation::AckOne) && self.bent.done.contains(&name);
                let before = self.mutated(Mutation::StaleAck)
                    && self.bent.done_at.contains(&(disk, name.0, name.1));
                let lost = elsewhere && self.chance.permille(300) || before;
                if elsewhere || before || self.mutated(Mutation::AckBeforeDurable) {
                    done(self);
                    self.bent.answered.insert((link, id));
                }
                lost
            }
            _ => false,
        }
    }

    /// What a refused request would have to be for the replica to take it, if it is to.
    fn let_in(
        &mut self,
        name: (LinkId, RequestId),
        reply: &Reply,
    ) -> Option<(Request, Option<Bytes>)> {
        let (mut request, data) = self.bent.asked.remove(&name)?;
        let (Request::Write { under, .. } | Request::Read { under, .. }) = &mut request else {
            return None;
        };
        match reply {
            Reply::Refused(Refusal::Fenced { by }) if self.mutated(Mutation::SkipFence) => {
                under.generation = *by;
            }
            Reply::Refused(Refusal::StaleEpoch { entry }) if self.mutated(Mutation::SkipEpoch) => {
                under.epoch = entry.epoch();
            }
            _ => return None,
        }
        Some((request, data))
    }

    /// The replicas of a disk answer.
    pub(crate) fn replied(
        &mut self,
        disk: usize,
        name: (LinkId, RequestId),
        reply: Reply,
        data: Bytes,
    ) {
        let (link, id) = name;
        let asked = self.watch.asked(name).cloned();
        if let Some(what) = self.watch.replied(disk, name, &reply) {
            self.violated(None, what);
        }
        self.tell_reply(disk, asked.as_ref(), &reply);
        let written = self.bent.asked.get(&name).and_then(|asked| asked.1.clone());
        if self.mutation.is_some()
            && let Some(again) = self.let_in(name, &reply)
        {
            self.watch.received(disk, name, &again.0);
            let link = name.0;
            return self.ask_replicas(disk, link, name.1, again);
        }
        if let (
            Some(
                request @ Request::Write {
                    under, sequence, ..
                },
            ),
            Reply::Done,
        ) = (&asked, &reply)
            && self.mutation.is_some()
        {
            if self.mutated(Mutation::SyncingCounts) {
                self.bent.held.written(disk, request, written.as_ref());
            }
            self.bent.done.insert((under.generation, *sequence));
            self.bent
                .done_at
                .insert((disk, under.generation, *sequence));
        }
        if self.bent.answered.remove(&(link, id)) {
            return;
        }
        let (reply, data) = self.bent_reply(asked.as_ref(), reply, data);
        self.send(link, Way::Back, Message::Reply(id, reply, data));
    }

    fn bent_reply(
        &mut self,
        asked: Option<&Request>,
        mut reply: Reply,
        mut data: Bytes,
    ) -> (Reply, Bytes) {
        match &mut reply {
            Reply::Opened { above_mark, .. } if self.mutated(Mutation::ForgetReconciliation) => {
                *above_mark = false;
            }
            Reply::Chunks { chunks, .. } if self.mutated(Mutation::CopyHalf) => {
                if matches!(
                    asked,
                    Some(Request::Chunks {
                        generation: None,
                        ..
                    })
                ) {
                    chunks.pop();
                }
            }
            Reply::Shares { shares, .. } if self.mutated(Mutation::CopyNoReferences) => {
                for share in shares {
                    share.references.clear();
                }
            }
            Reply::Versions { fence, .. } if self.mutated(Mutation::CopyUnfenced) => {
                if matches!(
                    asked,
                    Some(Request::Versions {
                        generation: None,
                        ..
                    })
                ) {
                    *fence = Generation::default();
                }
            }
            Reply::Data { parts }
                if self.mutated(Mutation::ReadsZeros) && self.chance.permille(100) =>
            {
                parts.clear();
                data = Bytes::new();
            }
            _ => {}
        }
        (reply, data)
    }

    /// A disk that was killed may come back as it was when it was killed before.
    pub(crate) fn keep_earlier(&mut self, disk: usize) {
        if self.mutated(Mutation::OldDisk) {
            let now = self.agents[disk].platter.duplicate();
            let earlier = self.agents[disk].earlier.replace(now);
            if let Some(earlier) = earlier {
                self.agents[disk].platter = earlier;
            }
        }
    }
}
