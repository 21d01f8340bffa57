//! Any requests in any order and at any time, between answers of the disk and of others, crashes and
//! losses: the body of the fuzz target `requests`, and of ordinary tests.
//!
//! The bytes say what happens; whatever it is, no rule is broken.

use super::promises::{Promises, check_output};
use super::script::{BUCKETS, Script, With};
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{CallId, Options, Output, SessionId};
use moraine_store::disk::CrashFate;
use moraine_store::{Buffer, Disk};
use std::collections::{BTreeMap, BTreeSet};

/// A script that is longer is cut.
const STEPS_MAX: usize = 400;
/// Polls after which a disk that holds nothing back has nothing under way.
const POLLS_MAX: usize = 2000;

/// What a run came to: a test that nothing happens in proves nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) copied: u64,
    pub(crate) listed: u64,
    pub(crate) refused: u64,
    pub(crate) calls: u64,
    pub(crate) synced: u64,
    pub(crate) crashes: u64,
    pub(crate) damaged: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.written += other.written;
        self.read += other.read;
        self.copied += other.copied;
        self.listed += other.listed;
        self.refused += other.refused;
        self.calls += other.calls;
        self.synced += other.synced;
        self.crashes += other.crashes;
        self.damaged += other.damaged;
    }
}

struct Storm<'a> {
    script: Script<'a>,
    host: Host,
    promises: Promises,
    sessions: [SessionId; 3],
    next: u64,
    /// Calls that were not answered.
    calls: BTreeMap<CallId, Request>,
    /// What blocks begin with that were written.
    words: BTreeSet<[u8; 8]>,
    /// Whether data on the disk was damaged: what a crash makes of that is the store's subject.
    harmed: bool,
    tally: Tally,
}

/// Runs a script.
pub(crate) fn run(bytes: &[u8]) -> Tally {
    let mut script = Script::new(bytes);
    let settings = script.byte();
    let segments = if settings & 1 == 0 { 64 } else { 16 };
    let mut options = Options::new(disk_id(1));
    options.buckets = BUCKETS;
    options.only_known_volumes = settings & 0b1110 == 0b1110;
    options.requests_max = if settings & 0b11_0000 == 0b11_0000 {
        3
    } else {
        64
    };
    options.mark_interval_ms = if settings & 32 == 0 { 10 } else { 0 };
    options.sync.buckets_max = 1 + usize::from(settings >> 6 & 1);
    options.sync.retry_ms = 20;
    options.sync.report_ms = 20;
    let host = Host::with(formatted(1, segments), options);
    host.queue.hold(settings & 128 == 0);
    let mut storm = Storm {
        script,
        host,
        promises: Promises::default(),
        sessions: [SessionId(10), SessionId(11), SessionId(12)],
        next: 13,
        calls: BTreeMap::new(),
        words: BTreeSet::new(),
        harmed: false,
        tally: Tally::default(),
    };
    for _ in 0..STEPS_MAX {
        if storm.script.is_over() {
            break;
        }
        storm.step();
        storm.look();
    }
    storm.end();
    storm.tally
}

impl Storm<'_> {
    fn step(&mut self) {
        match self.script.below(32) {
            0..13 => self.ask(),
            13..20 => {
                let pending = u8::try_from(self.host.queue.pending()).unwrap_or(u8::MAX);
                for _ in 0..=self.script.below(4) {
                    let nth = self.script.below(pending.max(1));
                    self.host.queue.complete(nth.into());
                }
                self.poll(1);
            }
            20..25 => self.answer(),
            25 => {
                let entry = self.script.entry();
                self.host.replicas.learn(entry);
            }
            26 => self.control(),
            27 => self.disconnect(),
            28 => {
                let by_ms = match self.script.below(8) {
                    0 => self.script.edge(),
                    byte => u64::from(byte) * 30,
                };
                self.poll(by_ms);
            }
            29 => self.host.queue.hold(self.script.below(3) > 0),
            30 => self.calm(),
            _ => match self.script.below(8) {
                0 => self.damage(),
                1 | 2 => self.answer_nobody_asked_for(),
                3 if !self.harmed => self.crash(),
                _ => self.poll(0),
            },
        }
    }

    fn poll(&mut self, by_ms: u64) {
        self.host.now_ms = self.host.now_ms.saturating_add(by_ms);
        self.host.replicas.poll(self.host.now_ms);
    }

    fn ask(&mut self) {
        let nth = self.script.below(3);
        let session = self.sessions[usize::from(nth)];
        let (request, payload) = self.script.request();
        let id = RequestId(self.next);
        self.next += 1;
        let request = carried(id, request);
        if let (Request::Write { .. }, Some(payload)) = (&request, &payload) {
            self.remember(payload);
        }
        self.promises.asks(session, id, request.clone());
        self.host.replicas.request(session, id, request, payload);
    }

    fn remember(&mut self, data: &Buffer) {
        let blocks = data.chunks(BLOCK_BYTES);
        self.words
            .extend(blocks.filter_map(|block| block.first_chunk().copied()));
    }

    /// Takes all that came out, and looks at what is adopted.
    fn look(&mut self) {
        for entry in self.host.replicas.entries() {
            self.promises.has_adopted(entry);
            self.script.saw_entry(entry);
        }
        while let Some(output) = self
            .host
            .outputs
            .pop_front()
            .or_else(|| self.host.replicas.next_output())
        {
            check_output(&output, &self.host);
            match output {
                Output::Reply {
                    session,
                    id,
                    reply,
                    payload,
                } => self.replied((session, id), reply, payload),
                Output::Call { call, request, .. } => {
                    let known = self.calls.insert(call, carried(RequestId(call.0), request));
                    assert!(known.is_none(), "two calls of one name");
                }
                Output::Synced { .. } => self.tally.synced += 1,
            }
        }
    }

    fn replied(&mut self, of: (SessionId, RequestId), reply: Reply, payload: Vec<Buffer>) {
        let reply = carried_back(of.1, reply);
        let data: Vec<u8> = payload.iter().flat_map(|buffer| buffer.to_vec()).collect();
        assert_eq!(
            data.len(),
            reply.payload_bytes(),
            "data that the reply doesn't tell of"
        );
        for buffer in payload {
            self.host.replicas.recycle(buffer);
        }
        let request = self.promises.answered(of, &reply, &data);
        match (&request, &reply) {
            (
                Request::Open {
                    volume,
                    generation,
                    entry,
                },
                Reply::Opened { .. },
            ) => {
                let (volume, bucket) = (*volume, entry.bucket());
                self.script.saw_fence(Share { volume, bucket }, *generation);
                self.tally.opened += 1;
            }
            (Request::Write { .. }, Reply::Done) => self.tally.written += 1,
            (Request::Read { .. }, Reply::Data { parts }) if !parts.is_empty() => {
                self.tally.read += 1;
            }
            (Request::Copy { .. }, Reply::Data { parts }) if !parts.is_empty() => {
                self.tally.copied += 1;
            }
            (_, Reply::Refused(Refusal::Damaged { .. })) => self.tally.damaged += 1,
            (_, Reply::Refused(_)) => self.tally.refused += 1,
            (_, Reply::Shares { .. } | Reply::Chunks { .. } | Reply::Versions { .. }) => {
                self.tally.listed += 1;
            }
            _ => {}
        }
    }

    /// A call is answered, rightly or not.
    fn answer(&mut self) {
        let nth = usize::from(self.script.byte()) % self.calls.len().max(1);
        let Some(call) = self.calls.keys().nth(nth).copied() else {
            self.poll(1);
            return;
        };
        let request = self.calls.remove(&call);
        let request = request.expect("its name was just found");
        let (reply, payload) = self.script.answer(&request);
        self.tally.calls += 1;
        self.give(call, &request, (reply, payload));
        self.look();
        self.poll(1);
    }

    /// One that was answered already, or that was never made.
    fn answer_nobody_asked_for(&mut self) {
        let call = CallId(u64::from(self.script.byte()));
        if self.calls.contains_key(&call) {
            return;
        }
        let (request, _) = self.script.request();
        let answer = self.script.answer(&request);
        self.give(call, &request, answer);
    }

    fn give(&mut self, call: CallId, request: &Request, (reply, payload): With<Option<Reply>>) {
        if let (Request::Copy { block, .. }, Some(Reply::Data { parts })) = (request, &reply) {
            for part in parts {
                let range = part.version.range;
                let chunk = block.chunk;
                self.promises
                    .writes(Block { chunk, range }, &part.checksums);
            }
        }
        if let Some(payload) = &payload {
            self.remember(payload);
        }
        // One that is not well-formed doesn't get past the decoder; it must do no harm even so.
        let reply = reply.map(|reply| match reply.check() {
            Ok(()) => carried_back(RequestId(call.0), reply),
            Err(_) => reply,
        });
        self.host.replicas.answered(call, reply, payload);
    }

    fn control(&mut self) {
        let (volume, cut, child) = (
            self.script.volume(),
            self.script.cut(),
            self.script.volume(),
        );
        let replicas = &mut self.host.replicas;
        match self.script.below(12) {
            0 => drop(replicas.delete_volume(volume, cut)),
            1 | 2 => drop(replicas.delete_snapshot(volume, cut)),
            3 | 4 => drop(replicas.add_reference(volume, cut, child)),
            5 => drop(replicas.remove_reference(volume, cut, child)),
            6 => drop(replicas.describe(volume, None)),
            7 => {
                let bytes = usize::from(self.script.byte()) * 64;
                let described = replicas.describe(volume, Some(vec![7; bytes]));
                let kept = replicas
                    .descriptions()
                    .any(|(of, text)| of == volume && text.len() == bytes);
                assert_eq!(described.is_ok(), kept);
            }
            _ => drop(replicas.forget(self.script.bucket())),
        }
    }

    fn disconnect(&mut self) {
        let nth = usize::from(self.script.below(3));
        let gone = std::mem::replace(&mut self.sessions[nth], SessionId(self.next));
        self.next += 1;
        self.host.replicas.disconnected(gone);
        self.promises.forget(gone);
    }

    /// With a disk that holds nothing back, every request is answered.
    fn calm(&mut self) {
        self.host.queue.hold(false);
        let mut idle = 0;
        for _ in 0..POLLS_MAX {
            self.poll(1);
            self.look();
            idle = if self.host.replicas.is_idle() {
                idle + 1
            } else {
                0
            };
            if idle > 3 {
                break;
            }
        }
        assert!(idle > 3, "it doesn't come to rest");
        assert!(!self.host.replicas.is_stopped(), "no write failed");
        let unanswered: Vec<_> = self.promises.unanswered().collect();
        assert!(unanswered.is_empty(), "unanswered: {unanswered:?}");
        self.host.queue.hold(self.script.below(3) > 0);
    }

    /// Bits of a block of data rot.
    fn damage(&mut self) {
        let disk = &self.host.disk;
        let places = (0..disk.geometry().size_bytes).step_by(BLOCK_BYTES);
        let found = places.filter(|at| {
            let mut word = [0; 8];
            disk.peek(*at, &mut word);
            self.words.contains(&word)
        });
        let nth = usize::from(self.script.byte() % 4);
        for at in found.skip(nth).step_by(3) {
            disk.poke(at + 100, &[0x5a; 3]);
            self.harmed = true;
        }
    }

    /// What is under way on the disk is lost, done or torn.
    fn crash(&mut self) {
        let script = &mut self.script;
        self.host.queue.crash(|_| match script.below(3) {
            0 => CrashFate::Lost,
            1 => CrashFate::Whole,
            _ => {
                let sectors = script.byte();
                CrashFate::Sectors((0..64).map(|nth| sectors >> (nth % 8) & 1 == 1).collect())
            }
        });
        let hold = script.below(3) > 0;
        self.host = self.host.crashed();
        self.calls.clear();
        for session in &mut self.sessions {
            *session = SessionId(self.next);
            self.next += 1;
        }
        self.promises.hold_after_crash(&mut self.host);
        self.host.queue.hold(hold);
        self.tally.crashes += 1;
    }

    /// Whatever the script said: a crash, and then rest.
    fn end(&mut self) {
        if !self.harmed {
            self.crash();
            self.look();
        }
        self.calm();
    }
}

/// A request as it comes over the wire.
fn carried(id: RequestId, request: Request) -> Request {
    if request.check().is_err() {
        return request;
    }
    let mut frame = Vec::new();
    encode_request(id, &request, &mut frame);
    let decoded = framed(&frame, decode_request);
    assert_eq!(decoded, (id, request));
    decoded.1
}

/// A reply as it comes over the wire.
fn carried_back(id: RequestId, reply: Reply) -> Reply {
    let mut frame = Vec::new();
    encode_reply(id, &reply, &mut frame);
    let decoded = framed(&frame, decode_reply);
    assert_eq!(decoded, (id, reply));
    decoded.1
}

fn framed<T>(frame: &[u8], decode: fn(&Header, &[u8]) -> Result<T, FrameError>) -> T {
    let (header, body) = frame.split_first_chunk().expect("a frame has a header");
    let header = Header::decode(header).expect("its own header");
    decode(&header, body).expect("its own frame")
}
