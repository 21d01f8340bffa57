//! The thread of one shard: its replicas, its connections, its calls to other agents.
//!
//! ```text
//!  connections ── requests ──> replicas ── operations ──> disk
//!      ▲                        │    ▲                      │
//!      └────── replies ─────────┤    └──── its descriptor ──┘
//!                               └── calls ──> peers ── answers ──> replicas
//! ```
//!
//! One thread, one runtime, no lock: readers put in what has arrived, and when they are done the
//! pump turns once for all of them, so that what came together is committed together.

use super::Event;
use super::peers::Peers;
use super::session::Session;
use super::socket::{Loose, Socket};
use anyhow::{Context, Result};
use moraine_model::DiskId;
use moraine_protocol::{MapFile, Request, RequestId};
use moraine_replica::{CallId, Options, Output, Replicas, SessionId};
use moraine_store::disk::DeviceDisk;
use moraine_store::{Buffer, Opened, Shard, ShardOptions};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};

/// How long the pump waits for something to do: while there is work that only time moves on, and
/// otherwise.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
const LONG_PAUSE: Duration = Duration::from_millis(250);

/// What other threads tell the shard.
#[derive(Debug)]
pub(super) enum Told {
    /// A connection whose other side has proved itself, and how many requests it may have.
    Connection(Loose, u32),
    /// The newest map.
    Map(Arc<MapFile>),
}

/// What a shard's thread begins with.
pub(super) struct Start {
    /// A handle of the disk for this shard alone.
    pub(super) handle: DeviceDisk,
    /// What opening the disk found.
    pub(super) opened: Arc<Opened>,
    /// Which shard.
    pub(super) shard: u32,
    pub(super) options: Options,
    pub(super) peers: Peers,
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) events: mpsc::Sender<Event>,
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Server {
    /// Absent only while it recovers, which nobody sees: the thread does nothing else then.
    replicas: RefCell<Option<Replicas<DeviceDisk>>>,
    sessions: RefCell<BTreeMap<SessionId, Rc<Session>>>,
    next_session: Cell<u64>,
    peers: Peers,
    work: Notify,
    started: Instant,
    disk: DiskId,
    events: mpsc::Sender<Event>,
}

/// Serves one shard until nobody can tell it anything any more.
pub(super) fn run(start: Start) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime of a shard")?;
    LocalSet::new().block_on(&runtime, serve(start))
}

async fn serve(start: Start) -> Result<()> {
    let disk = start.options.disk;
    let descriptor = start.handle.readiness().context("waiting for the disk")?;
    let descriptor = descriptor
        .try_clone_to_owned()
        .context("waiting for the disk")?;
    let shard = Shard::recover(
        start.handle,
        &start.opened,
        start.shard,
        ShardOptions::default(),
    )?;
    let replicas = Replicas::new(shard, start.options)
        .with_context(|| format!("reading the notes on disk {disk}"))?;
    let server = Rc::new(Server {
        replicas: RefCell::new(Some(replicas)),
        sessions: RefCell::default(),
        next_session: Cell::new(0),
        peers: start.peers,
        work: Notify::new(),
        started: Instant::now(),
        disk,
        events: start.events,
    });
    server.learn(&server.peers.map());
    let readiness = watch(descriptor).context("waiting for the disk")?;
    tokio::select! {
        ended = pump(&server, &readiness) => ended,
        () = listen(&server, start.told) => Ok(()),
    }
}

/// The descriptor in the runtime's hands. What replaces the deprecated call is unsafe because some
/// types may close or change their descriptor meanwhile; this one is owned.
#[allow(deprecated)]
fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Takes what other threads tell.
async fn listen(server: &Rc<Server>, mut told: mpsc::Receiver<Told>) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Connection(loose, credits) => match Socket::new(loose) {
                Ok(socket) => server.connect(socket, credits),
                Err(error) => tracing::warn!("a connection is dropped: {error}"),
            },
            Told::Map(map) => {
                server.peers.follow(&map);
                server.learn(&map);
                server.wake();
            }
        }
    }
}

async fn pump(server: &Rc<Server>, readiness: &AsyncFd<OwnedFd>) -> Result<()> {
    loop {
        // What was submitted starts in a turn, so it comes before any waiting.
        let busy = server.turn()?;
        let pause = if busy { SHORT_PAUSE } else { LONG_PAUSE };
        tokio::select! {
            () = server.work.notified() => {}
            ready = readiness.readable() => {
                // Forgotten before the turn looks, so that what comes after it is seen again.
                ready.context("waiting for the disk")?.clear_ready();
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Server {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Replicas<DeviceDisk>) -> T) -> T {
        let mut replicas = self.replicas.borrow_mut();
        act(replicas
            .as_mut()
            .expect("it is put back before anyone else runs"))
    }

    /// There is something for the pump to do.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Memory for the data of a write.
    pub(super) fn buffer(&self, blocks: usize) -> Buffer {
        self.with(|replicas| replicas.buffer(blocks))
    }

    /// Takes back memory.
    pub(super) fn recycle(&self, buffers: Vec<Buffer>) {
        if !buffers.is_empty() {
            self.with(|replicas| buffers.into_iter().for_each(|b| replicas.recycle(b)));
        }
    }

    /// A request has arrived.
    pub(super) fn request(
        &self,
        session: SessionId,
        id: RequestId,
        request: Request,
        payload: Option<Buffer>,
    ) {
        self.with(|replicas| replicas.request(session, id, request, payload));
    }

    /// The answer to a call has arrived, or none will.
    pub(super) fn answered(
        &self,
        call: CallId,
        answer: Option<(moraine_protocol::Reply, Option<Buffer>)>,
    ) {
        let (reply, payload) = answer.unzip();
        self.with(|replicas| replicas.answered(call, reply, payload.flatten()));
        self.wake();
    }

    fn learn(&self, map: &MapFile) {
        self.with(|replicas| {
            for entry in &map.entries {
                replicas.learn(entry.clone());
            }
        });
    }

    fn connect(self: &Rc<Self>, socket: Socket, credits: u32) {
        let id = SessionId(self.next_session.get());
        self.next_session.set(id.0 + 1);
        let from = socket.peer_addr().map(|from| from.to_string());
        let session = Rc::new(Session::new(id, socket, credits));
        self.sessions.borrow_mut().insert(id, Rc::clone(&session));
        let server = Rc::clone(self);
        spawn_local(async move {
            let ended = tokio::select! {
                ended = Rc::clone(&session).serve(Rc::clone(&server)) => ended,
                ended = Rc::clone(&session).drain(Rc::clone(&server)) => ended,
            };
            if let Err(error) = ended {
                let from = from.unwrap_or_default();
                tracing::warn!(from, "a connection is closed: {error:#}");
            }
            server.sessions.borrow_mut().remove(&id);
            server.with(|replicas| replicas.disconnected(id));
            server.recycle(session.abandon());
        });
    }

    /// Moves everything on once. Whether there is more to do that no descriptor will tell of.
    fn turn(self: &Rc<Self>) -> Result<bool> {
        let now_ms = self.now_ms();
        self.with(|replicas| replicas.poll(now_ms));
        self.put_out(std::iter::from_fn(|| self.with(Replicas::next_output)));
        if self.with(|replicas| replicas.is_stopped()) {
            self.recover()?;
            return Ok(true);
        }
        Ok(!self.with(|replicas| replicas.is_idle()))
    }

    /// Does what the replicas say, and sends the answers of each connection together.
    fn put_out(self: &Rc<Self>, outputs: impl Iterator<Item = Output>) {
        let mut answered = Vec::new();
        for output in outputs {
            self.act(output, &mut answered);
        }
        answered.sort_unstable();
        answered.dedup();
        for id in answered {
            let session = self.sessions.borrow().get(&id).cloned();
            // An error shows again where the connection is read.
            if let Some(Ok(sent)) = session.map(|session| session.flush()) {
                self.recycle(sent);
            }
        }
    }

    fn act(self: &Rc<Self>, output: Output, answered: &mut Vec<SessionId>) {
        match output {
            Output::Reply {
                session,
                id,
                reply,
                payload,
            } => match self.sessions.borrow().get(&session) {
                Some(open) => {
                    open.answer(id, &reply, payload);
                    answered.push(session);
                }
                None => self.recycle(payload),
            },
            Output::Call {
                call,
                disk,
                request,
            } => Peers::call(self, call, disk, request),
            Output::Synced { bucket, since } => {
                // Said again until the map says so, so one that finds no room is no loss.
                let _ = self.events.try_send(Event::Synced {
                    disk: self.disk,
                    bucket,
                    since,
                });
            }
        }
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// After a failed write: what is on the disk decides. An error is the end of this disk's service.
    fn recover(self: &Rc<Self>) -> Result<()> {
        let stopped = self.replicas.borrow_mut().take();
        let stopped = stopped.expect("it is put back before anyone else runs");
        tracing::error!("the disk failed a write; its shard is opened again");
        let (outputs, recovered) = stopped.recover();
        *self.replicas.borrow_mut() = Some(recovered.context("opening the shard again")?);
        // What it was told and had not yet made durable is forgotten.
        self.learn(&self.peers.map());
        self.put_out(outputs.into_iter());
        self.wake();
        Ok(())
    }
}
