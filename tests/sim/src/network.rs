//! Connections between processes, and which nodes hear each other.
//!
//! A connection keeps the order of each direction and loses nothing while it lasts; when it breaks,
//! what one end had sent may still arrive, up to some message, and the other end learns later.

use crate::agenda::Micros;
use bytes::Bytes;
use moraine_protocol::{
    FrameError, HEADER_BYTES, Header, Reply, Request, RequestId, RequestOrder, decode_reply,
    decode_request, encode_reply, encode_request,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names a connection for the whole run: session of the replica, path of the engine.
pub(crate) type LinkId = u64;

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// An engine.
    Engine(usize),
    /// The replicas of a disk.
    Disk(usize),
}

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who opened it to the disk.
    Forth,
    /// From the disk.
    Back,
}

/// What travels.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request with the data of a write.
    Request(RequestId, Request, Option<Bytes>),
    /// A reply with all its data.
    Reply(RequestId, Reply, Bytes),
    /// The other end is gone.
    Hangup,
}

impl Message {
    /// The message as it comes out of the bytes that it is on the wire.
    pub(crate) fn over_the_wire(self, order: &mut RequestOrder) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let data = match &self {
            Self::Request(id, request, data) => {
                encode_request(*id, request, &mut bytes);
                assert_eq!(data.as_ref().map_or(0, Bytes::len), request.payload_bytes());
                data.clone()
            }
            Self::Reply(id, reply, data) => {
                encode_reply(*id, reply, &mut bytes);
                assert_eq!(data.len(), reply.payload_bytes());
                Some(data.clone())
            }
            Self::Hangup => return Ok(self),
        };
        let (header, body) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or("no header")?;
        let decode = || {
            let header = Header::decode(header)?;
            if matches!(self, Self::Request(..)) {
                order.accept(&header)?;
                let (id, request) = decode_request(&header, body)?;
                return Ok(Self::Request(id, request, data));
            }
            let (id, reply) = decode_reply(&header, body)?;
            Ok(Self::Reply(id, reply, data.unwrap_or_default()))
        };
        decode().map_err(|error: FrameError| format!("a frame can't be read: {error}"))
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// What is under way.
    pub(crate) messages: VecDeque<Message>,
    /// When the last of them arrives.
    pub(crate) last: Micros,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who opened it.
    pub(crate) caller: Caller,
    /// Where to.
    pub(crate) disk: usize,
    /// Whether the caller's end is open.
    pub(crate) caller_open: bool,
    /// Whether the disk's end is open.
    pub(crate) disk_open: bool,
    /// Requests.
    pub(crate) forth: Lane,
    /// Replies.
    pub(crate) back: Lane,
    /// The order of the requests.
    pub(crate) order: RequestOrder,
    /// What the caller asked and has no answer to.
    pub(crate) asked: BTreeMap<RequestId, Request>,
}

impl Link {
    /// A new connection.
    pub(crate) fn new(caller: Caller, disk: usize) -> Self {
        Self {
            caller,
            disk,
            caller_open: true,
            disk_open: true,
            forth: Lane::default(),
            back: Lane::default(),
            order: RequestOrder::default(),
            asked: BTreeMap::new(),
        }
    }

    /// One of its directions.
    pub(crate) fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Forth => &mut self.forth,
            Way::Back => &mut self.back,
        }
    }
}

/// Which nodes don't hear which: `(from, to)`.
#[derive(Debug, Default)]
pub(crate) struct Silence(BTreeSet<(usize, usize)>);

impl Silence {
    /// Whether what one sends reaches the other.
    pub(crate) fn hears(&self, from: usize, to: usize) -> bool {
        from == to || !self.0.contains(&(from, to))
    }

    /// Whether they hear each other.
    pub(crate) fn both(&self, one: usize, other: usize) -> bool {
        self.hears(one, other) && self.hears(other, one)
    }

    /// From now on it does not.
    pub(crate) fn begin(&mut self, from: usize, to: usize) {
        self.0.insert((from, to));
    }

    /// From now on it does.
    pub(crate) fn end(&mut self, from: usize, to: usize) {
        self.0.remove(&(from, to));
    }

    /// Everybody hears everybody.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
