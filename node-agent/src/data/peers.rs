//! Calls to the shards of other agents: one connection to each, made when it is first needed.
//!
//! Every call is answered, with a reply or with nothing. A connection on which one is not answered
//! in time is given up with all that wait on it; the replicas ask again.

use super::identity::Identity;
use super::outgoing::Outgoing;
use super::pool_map::PoolMap;
use super::session::read_payload;
use super::shard::Server;
use super::socket::Socket;
use anyhow::{Context, Result, ensure};
use moraine_model::{BLOCK_BYTES, DiskId};
use moraine_protocol::{Group, Inbox, Request, RequestId, decode_reply, encode_request};
use moraine_replica::CallId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// How long a connection may take to be made, and a call to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that may wait for one connection.
const CALLS_MAX: usize = 256;

/// The other agents, as one shard knows them.
#[derive(Debug)]
pub(super) struct Peers {
    identity: Arc<Identity>,
    map: RefCell<Arc<PoolMap>>,
    lines: RefCell<BTreeMap<Address, mpsc::Sender<(CallId, Request)>>>,
}

/// A shard of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    disk: DiskId,
    shard: u32,
}

impl Peers {
    pub(super) fn new(identity: Arc<Identity>, map: Arc<PoolMap>) -> Self {
        Self {
            identity,
            map: RefCell::new(map),
            lines: RefCell::default(),
        }
    }

    /// Where disks are served from now on.
    pub(super) fn follow(&self, map: &Arc<PoolMap>) {
        *self.map.borrow_mut() = Arc::clone(map);
    }

    /// The newest map.
    pub(super) fn map(&self) -> Arc<PoolMap> {
        Arc::clone(&self.map.borrow())
    }

    /// Asks the shard that serves the request's bucket at a disk.
    pub(super) fn call(server: &Rc<Server>, call: CallId, disk: DiskId, request: Request) {
        tracing::trace!(?call, %disk, ?request, "asks");
        let peers = server.peers();
        let place = peers.map.borrow().file.disk(disk).cloned();
        let (Some(place), Some(bucket)) = (place, request.bucket()) else {
            return server.answered(call, None);
        };
        let address = Address {
            disk,
            shard: bucket.get() % place.shards,
        };
        let mut lines = peers.lines.borrow_mut();
        let line = lines.entry(address).or_insert_with(|| {
            let (line, calls) = mpsc::channel(CALLS_MAX);
            spawn_local(serve(Rc::clone(server), address, place.address, calls));
            line
        });
        let refused = line.try_send((call, request)).is_err();
        drop(lines);
        if refused {
            server.answered(call, None);
        }
    }
}

/// A call that was sent and is not answered.
struct Waiting {
    call: CallId,
    since: Instant,
}

/// Serves a line until it breaks; then all that wait on it get nothing, and the next call makes a
/// new one.
async fn serve(
    server: Rc<Server>,
    address: Address,
    host: String,
    mut calls: mpsc::Receiver<(CallId, Request)>,
) {
    let mut waiting = BTreeMap::new();
    let ended = converse(&server, address, &host, &mut calls, &mut waiting).await;
    server.peers().lines.borrow_mut().remove(&address);
    if let Err(error) = ended {
        tracing::warn!(disk = %address.disk, host, "a call failed: {error:#}");
    }
    for Waiting { call, .. } in waiting.into_values() {
        server.answered(call, None);
    }
    while let Ok((call, _)) = calls.try_recv() {
        server.answered(call, None);
    }
}

async fn converse(
    server: &Rc<Server>,
    address: Address,
    host: &str,
    calls: &mut mpsc::Receiver<(CallId, Request)>,
    waiting: &mut BTreeMap<RequestId, Waiting>,
) -> Result<()> {
    let connecting = async {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let identity = &server.peers().identity;
        let cluster = server.peers().map().file.cluster;
        let shard = (address.disk, address.shard);
        identity.introduce(stream, cluster, shard).await
    };
    let connected = timeout(PATIENCE, connecting).await;
    let (socket, credits) = connected.context("no answer in time")??;
    let mut inbox = Inbox::default();
    let mut out = Outgoing::default();
    let mut next = 0;
    loop {
        let may_ask = waiting.len() < credits as usize;
        tokio::select! {
            call = calls.recv(), if may_ask => {
                let Some((call, request)) = call else { return Ok(()) };
                let id = RequestId(next);
                next += 1;
                waiting.insert(id, Waiting { call, since: Instant::now() });
                out.push(|bytes| encode_request(id, &request, bytes), Vec::new());
            }
            bytes = socket.receive(inbox.room()) => {
                let bytes = bytes?;
                ensure!(bytes > 0, "the other side closed the connection");
                inbox.filled(bytes);
                while take_reply(server, &socket, &mut inbox, waiting).await? {}
            }
            ready = socket.writable(), if out.has_bytes(&socket) => ready?,
            () = tokio::time::sleep(PATIENCE), if !waiting.is_empty() => {}
        }
        out.write(&socket)?;
        let late = waiting.values().any(|call| call.since.elapsed() > PATIENCE);
        ensure!(!late, "no answer in time");
    }
}

/// Hands over the next whole reply, if one is there.
async fn take_reply(
    server: &Server,
    socket: &Socket,
    inbox: &mut Inbox,
    waiting: &mut BTreeMap<RequestId, Waiting>,
) -> Result<bool> {
    let Some((header, body)) = inbox.frame()? else {
        return Ok(false);
    };
    header.expect(Group::Reply)?;
    let (id, reply) = decode_reply(&header, body)?;
    let payload = match header.payload_bytes() {
        0 => None,
        bytes => {
            let mut buffer = server.buffer(bytes / BLOCK_BYTES);
            timeout(PATIENCE, read_payload(socket, inbox, &mut buffer))
                .await
                .context("the data of an answer doesn't come")??;
            Some(buffer)
        }
    };
    tracing::trace!(?id, ?reply, "is answered");
    let asked = waiting.remove(&id);
    let asked = asked.context("the other side answers what it was not asked")?;
    server.answered(asked.call, Some((reply, payload)));
    Ok(true)
}
