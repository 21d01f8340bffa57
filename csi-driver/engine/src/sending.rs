//! Requests on their way: what each says when it is sent, what its answer is for, and what is asked
//! again after a pause.

use crate::asks::{Ask, Look, Purpose, Waits};
use crate::engine::{Engine, Timer};
use crate::interface::{Output, PathId};
use bytes::Bytes;
use moraine_model::{BucketId, Share};
use moraine_protocol::{At, Block, Refusal, Reply, Request, RequestId, Under};

impl Engine {
    /// Asks a replica something under the bucket's entry.
    pub(crate) fn ask(&mut self, bucket: BucketId, slot: u8, purpose: Purpose) -> usize {
        let of = self.bucket(bucket);
        let ask = Ask {
            id: RequestId(0),
            disk: of.replica(slot).disk,
            bucket,
            epoch: of.epoch(),
            slot,
            purpose,
            waits: Waits::InQueue,
            refusals: 0,
            refused_since: 0,
            damages: 0,
            stuck: false,
            sent_ms: 0,
        };
        let key = self.net.asks.insert(ask);
        self.net.queue(key);
        key
    }

    /// Whether nobody wants the answer any more.
    pub(crate) fn is_over(&self, ask: &Ask) -> bool {
        match ask.purpose {
            Purpose::Dropped => true,
            Purpose::Ping => false,
            _ => self.bucket(ask.bucket).epoch() != ask.epoch,
        }
    }

    /// Forgets a request that waits nowhere.
    pub(crate) fn forget(&mut self, key: usize) {
        let ask = self.net.asks.remove(key);
        if ask.stuck {
            self.judge(ask.disk, |doubts| doubts.stuck -= 1);
        }
        if ask.purpose == Purpose::Open {
            self.net.disk_mut(ask.disk).opening -= 1;
            self.open_next(ask.disk);
        }
    }

    /// Sends what can be sent.
    pub(crate) fn send_all(&mut self) {
        while let Some(disk) = self.net.next_stirred() {
            while let Some((key, path)) = self.net.next(disk) {
                if self.is_over(self.net.asks.get(key)) {
                    self.forget(key);
                    continue;
                }
                let (request, payload) = self.request(key);
                let id = self.net.sent(key, path, self.now_ms);
                self.metrics.requests += 1;
                let due = self.now_ms + self.limits.path_timeout_ms;
                self.watch_at.get_or_insert(due);
                self.outputs.push_back(Output::Send {
                    path,
                    id,
                    request,
                    payload,
                });
            }
        }
    }

    /// What a request says now: its mark is the newest.
    fn request(&self, key: usize) -> (Request, Option<Bytes>) {
        let ask = self.net.asks.get(key);
        if ask.purpose == Purpose::Ping {
            return (Request::Ping, None);
        }
        let of = self.bucket(ask.bucket);
        let mark = of.mark(self.generation, self.issued);
        let under = Under {
            share: Share {
                volume: self.volume,
                bucket: ask.bucket,
            },
            generation: self.generation,
            epoch: ask.epoch,
        };
        let request = match ask.purpose {
            Purpose::Open => Request::Open {
                volume: self.volume,
                generation: self.generation,
                entry: of.entry.clone(),
            },
            Purpose::Close => Request::Close { under, mark },
            Purpose::Write { flight } => {
                let flight = &self.flights[flight];
                let request = Request::Write {
                    under,
                    block: Block {
                        chunk: flight.chunk,
                        range: flight.range,
                    },
                    sequence: flight.sequence,
                    cut: flight.cut,
                    mark,
                    content: flight.content.clone(),
                };
                return (request, flight.data.clone());
            }
            Purpose::Read { read } => {
                let read = &self.reads[read];
                Request::Read {
                    under,
                    block: Block {
                        chunk: read.chunk,
                        range: read.range,
                    },
                    at: At::Head,
                    mark,
                }
            }
            Purpose::Look(look) => self.look_request(under, look),
            Purpose::Ping | Purpose::Dropped => unreachable!("neither is of a bucket"),
        };
        (request, None)
    }

    fn look_request(&self, under: Under, look: Look) -> Request {
        let of = self.bucket(under.share.bucket);
        let (share, epoch) = (under.share, under.epoch);
        let generation = Some(self.generation);
        match look {
            Look::Chunks { from } => Request::Chunks {
                share,
                epoch,
                generation,
                above: of.top_mark(),
                from,
            },
            Look::Layers { chunk } => Request::Layers {
                share,
                epoch,
                generation,
                chunk,
            },
            Look::Versions { chunk, cut } => Request::Versions {
                share,
                epoch,
                generation,
                chunk,
                cut,
            },
            Look::Data {
                chunk,
                range,
                cut,
                head,
            } => Request::Read {
                under,
                block: Block { chunk, range },
                at: if head { At::Head } else { At::Cut(cut) },
                mark: of.mark(self.generation, self.issued),
            },
        }
    }

    /// Takes an answer to where it is wanted.
    pub(crate) fn take_answer(
        &mut self,
        path: PathId,
        id: RequestId,
        reply: Reply,
        payload: Bytes,
    ) {
        let Some(key) = self.net.answered(path, id, self.now_ms) else {
            // Late, after the path was given up; or a second answer, which is the peer's bug.
            self.metrics.bad_replies += 1;
            return;
        };
        let ask = *self.net.asks.get(key);
        self.trust(ask.disk);
        match &reply {
            Reply::Refused(Refusal::StaleEpoch { entry }) => self.learn_entry(entry.clone()),
            Reply::Refused(Refusal::Fenced { by }) if *by > self.generation => {
                return self.fence(*by);
            }
            _ => {}
        }
        if self.is_over(&ask) {
            return self.forget(key);
        }
        match (ask.purpose, reply) {
            (_, Reply::Refused(refusal)) => self.refused(key, &ask, &refusal),
            (Purpose::Ping, Reply::Done) => self.forget(key),
            (
                Purpose::Open,
                Reply::Opened {
                    mark,
                    cut,
                    above_mark,
                },
            ) => {
                self.forget(key);
                let opened = crate::bucket::Opened {
                    mark,
                    cut,
                    above_mark,
                };
                self.opened(ask.bucket, ask.slot, opened);
            }
            (Purpose::Close, Reply::Done) => {
                self.forget(key);
                self.closed(ask.bucket, ask.slot);
            }
            (Purpose::Write { flight }, Reply::Done) => {
                self.forget(key);
                self.acknowledged(flight, ask.slot);
            }
            (Purpose::Read { read }, Reply::Data { parts }) => {
                self.forget(key);
                self.read_answered(read, ask.slot, parts, payload);
            }
            (Purpose::Look(look), reply) => self.looked(key, look, reply, payload),
            _ => self.wrong_answer(key),
        }
    }

    /// An answer that is none to what was asked: it is asked again, later.
    pub(crate) fn wrong_answer(&mut self, key: usize) {
        self.metrics.bad_replies += 1;
        let ask = *self.net.asks.get(key);
        if let Purpose::Read { read } = ask.purpose {
            self.forget(key);
            self.read_elsewhere(read, ask.slot);
        } else {
            self.pause(key);
        }
    }

    fn refused(&mut self, key: usize, ask: &Ask, refusal: &Refusal) {
        match refusal {
            Refusal::Malformed { .. } => self.metrics.malformed += 1,
            Refusal::NoSpace => self.metrics.no_space += 1,
            Refusal::Mismatch { .. } => self.metrics.mismatches += 1,
            Refusal::Damaged { .. } => self.metrics.damaged += 1,
            _ => {}
        }
        match (ask.purpose, refusal) {
            (Purpose::Read { read }, _) => {
                self.forget(key);
                self.read_refused(read, ask.slot, refusal);
            }
            (Purpose::Look(look), _) => self.look_refused(key, look, refusal),
            (Purpose::Write { flight }, Refusal::NotOpen) => {
                // It has restarted with less than it had made durable, or the request overtook an
                // open. Opened again, it gets every write in flight again.
                self.forget(key);
                self.flights[flight].asked &= !(1 << ask.slot);
                self.open_again(ask.bucket, ask.slot);
            }
            (Purpose::Close, Refusal::NotOpen) => {
                self.forget(key);
                self.open_again(ask.bucket, ask.slot);
            }
            (Purpose::Open, Refusal::Deleted) if self.is_attaching() => {
                self.fail_attach(ask.disk);
            }
            (Purpose::Write { flight }, _) => {
                self.pause(key);
                self.write_refused(flight, refusal);
            }
            _ => self.pause(key),
        }
    }

    /// Asks again after a time, which doubles with each refusal. A disk that refuses for too long is
    /// suspected: if the replica is syncing, or another one is in sync, the operator can do without.
    pub(crate) fn pause(&mut self, key: usize) {
        let (now, limits) = (self.now_ms, self.limits);
        let ask = self.net.asks.get_mut(key);
        ask.waits = Waits::Paused;
        if ask.refusals == 0 {
            ask.refused_since = now;
        }
        let pause = limits.pause_ms << ask.refusals.min(16);
        ask.refusals += 1;
        self.timers
            .insert((now + pause.min(limits.pause_max_ms), Timer::Ask(key)));
        self.metrics.resent += 1;
        let lasts = now - ask.refused_since >= limits.path_timeout_ms;
        if lasts && !std::mem::replace(&mut ask.stuck, true) {
            let disk = ask.disk;
            self.judge(disk, |doubts| doubts.stuck += 1);
        }
    }

    /// The pause of a request is over.
    pub(crate) fn ask_again(&mut self, key: usize) {
        if self.is_over(self.net.asks.get(key)) {
            self.forget(key);
        } else {
            self.net.queue(key);
        }
    }
}
