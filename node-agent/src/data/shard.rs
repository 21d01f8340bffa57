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
use super::pool_map::PoolMap;
use super::session::Session;
use super::socket::{Loose, Socket};
use super::view::View;
use anyhow::{Context, Result};
use moraine_model::DiskId;
use moraine_protocol::{Request, RequestId};
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
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

/// How long the pump waits for something to do: while there is work that only time moves on, and
/// otherwise.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
const LONG_PAUSE: Duration = Duration::from_millis(250);
/// How long what is under way may take when the shard ends.
const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// What other threads tell the shard.
#[derive(Debug)]
pub(super) enum Told {
    /// A connection whose other side has proved itself, and how many requests it may have.
    Connection(Loose, u32),
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
    /// The newest map, whenever there is one.
    pub(super) maps: watch::Receiver<Arc<PoolMap>>,
    pub(super) events: mpsc::Sender<Event>,
    /// What others may see of the shard.
    pub(super) view: Arc<View>,
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
    view: Arc<View>,
    /// No more requests are taken.
    is_ending: Cell<bool>,
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
        view: start.view,
        is_ending: Cell::new(false),
    });
    server.learn(&server.peers.map());
    let readiness = readable(descriptor).context("waiting for the disk")?;
    tokio::select! {
        ended = pump(&server, &readiness) => return ended,
        () = listen(&server, start.told) => {}
        () = follow(&server, start.maps) => {}
    }
    finish(&server, &readiness).await
}

/// Nobody needs the shard any more: what is under way is finished, but not waited for without end.
/// What isn't done then was acknowledged to nobody.
async fn finish(server: &Rc<Server>, readiness: &AsyncFd<OwnedFd>) -> Result<()> {
    server.is_ending.set(true);
    let done = async {
        while server.has_work() {
            tokio::time::sleep(SHORT_PAUSE).await;
        }
    };
    tokio::select! {
        ended = pump(server, readiness) => ended,
        () = done => Ok(()),
        () = tokio::time::sleep(FINISH_LIMIT) => {
            tracing::warn!(disk = %server.disk, "some requests are not finished, and their engines ask again elsewhere");
            Ok(())
        }
    }
}

/// The descriptor in the runtime's hands. What replaces the deprecated call is unsafe because some
/// types may close or change their descriptor meanwhile; this one is owned.
#[allow(deprecated)]
fn readable(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
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
        }
    }
}

/// Takes each newer map, or the newest where several came. Ends never: that no more maps come is no
/// reason to stop.
async fn follow(server: &Rc<Server>, mut maps: watch::Receiver<Arc<PoolMap>>) {
    while maps.changed().await.is_ok() {
        let map = Arc::clone(&maps.borrow_and_update());
        server.peers.follow(&map);
        server.learn(&map);
        server.wake();
    }
    std::future::pending::<()>().await;
}

async fn pump(server: &Rc<Server>, readiness: &AsyncFd<OwnedFd>) -> Result<()> {
    loop {
        // What was submitted starts in a turn, so it comes before any waiting.
        let busy = server.turn()?;
        server.show();
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

    /// Whether the shard ends, so that no more requests are to be read.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Whether something that was asked is not answered.
    fn has_work(&self) -> bool {
        let unsent = |session: &Rc<Session>| session.has_answers();
        self.with(|replicas| replicas.metrics().in_flight > 0)
            || self.sessions.borrow().values().any(unsent)
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

    fn learn(&self, map: &PoolMap) {
        self.with(|replicas| {
            for entry in &map.file.entries {
                replicas.learn(entry.clone());
            }
            // After the entries: of what they list nothing is forgotten. Once begun it goes on by
            // itself, and what could not begin is said again with the next version of the map.
            for bucket in map.spare_on(self.disk) {
                replicas.forget(bucket);
            }
        });
    }

    /// Lets others see how it is, now and then.
    fn show(&self) {
        let now = self.started.elapsed();
        if self.view.is_due(now) {
            self.with(|replicas| self.view.show(now, replicas));
        }
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
        self.view.recovered();
        let (outputs, recovered) = stopped.recover();
        *self.replicas.borrow_mut() = Some(recovered.context("opening the shard again")?);
        // What it was told and had not yet made durable is forgotten.
        self.learn(&self.peers.map());
        self.put_out(outputs.into_iter());
        self.wake();
        Ok(())
    }
}
