//! Keeps a path to one disk: a connection to each of its shards, all or none, and again after a
//! pause when one fails. Says what went wrong once, not at each attempt.

use super::connection::{Connection, ConnectionError};
use super::outbox::Outbox;
use crate::PathId;
use bytes::Bytes;
use moraine_model::{ClusterId, DiskId};
use moraine_protocol::handshake::{BootId, Caller, Local, NodeName, Secret, Wanted};
use moraine_protocol::{DiskPlace, Reply, RequestId, Versions};
use moraine_tls::Tls;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The first pause; it doubles with each failure.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Who connects, to whom all of them prove it.
pub(super) struct Identity {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeName,
    pub(super) boot: BootId,
    pub(super) secret: Secret,
    /// The certificates, if connections are encrypted.
    pub(super) tls: Option<Tls>,
    /// As what it comes.
    pub(super) caller: Caller,
    /// The next path's number.
    pub(super) paths: Cell<u64>,
}

impl Identity {
    /// What this side says of itself over a connection that has this channel.
    pub(super) fn local<'a>(&'a self, channel: &'a [u8]) -> Local<'a> {
        Local {
            versions: Versions::OURS,
            cluster: self.cluster,
            node: self.node.clone(),
            boot: self.boot,
            secret: &self.secret,
            channel,
        }
    }
}

/// What keepers tell the driver.
pub(super) enum Event {
    Connected {
        path: PathId,
        disk: DiskId,
        credits: u32,
        local: bool,
        /// One of each shard, in order.
        outboxes: Vec<Rc<Outbox>>,
    },
    Disconnected {
        path: PathId,
    },
    Answered {
        path: PathId,
        id: RequestId,
        reply: Reply,
        data: Bytes,
    },
}

/// Where a connection puts its replies.
pub(super) struct Wire {
    path: PathId,
    events: mpsc::Sender<Event>,
}

impl Wire {
    /// Hands on a reply; waits while the driver is busy.
    pub(super) async fn answered(&self, id: RequestId, reply: Reply, data: Bytes) {
        let path = self.path;
        let event = Event::Answered {
            path,
            id,
            reply,
            data,
        };
        // It fails when the driver has ended, which ends this connection too.
        let _ = self.events.send(event).await;
    }
}

/// Keeps the path until dropped.
pub(super) async fn keep(place: DiskPlace, me: Rc<Identity>, events: mpsc::Sender<Event>) {
    let mut pause = PAUSE_MIN;
    let mut complained = false;
    loop {
        match connect(&place, &me).await {
            Ok(connections) => {
                tracing::info!(disk = %place.id, address = place.address, "connected");
                let error = run(&place, &me, &events, connections).await;
                tracing::warn!(disk = %place.id, address = place.address, %error, "disconnected");
                (pause, complained) = (PAUSE_MIN, true);
            }
            Err(error) if complained => {
                tracing::debug!(disk = %place.id, address = place.address, %error, "not connected");
            }
            Err(error) => {
                tracing::warn!(disk = %place.id, address = place.address, %error, "not connected");
                complained = true;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A connection to each shard.
async fn connect(place: &DiskPlace, me: &Rc<Identity>) -> Result<Vec<Connection>, ConnectionError> {
    let mut connections = Vec::new();
    for shard in 0..place.shards {
        let wanted = Wanted {
            caller: me.caller,
            disk: place.id,
            shard,
        };
        connections.push(Connection::open(&place.address, me, wanted, place.shards).await?);
    }
    Ok(connections)
}

/// Runs the connections of a path until the first of them fails.
async fn run(
    place: &DiskPlace,
    me: &Rc<Identity>,
    events: &mpsc::Sender<Event>,
    connections: Vec<Connection>,
) -> ConnectionError {
    let path = PathId(me.paths.get());
    me.paths.set(path.0 + 1);
    let outboxes: Vec<_> = connections
        .iter()
        .map(|_| Rc::<Outbox>::default())
        .collect();
    let connected = Event::Connected {
        path,
        disk: place.id,
        credits: connections.iter().map(|one| one.credits).min().unwrap_or(1),
        local: connections.iter().all(|one| one.local),
        outboxes: outboxes.clone(),
    };
    // The driver hears of the path before it hears from it. If it has ended, this ends soon.
    let _ = events.send(connected).await;
    let mut running = JoinSet::new();
    for (connection, outbox) in connections.into_iter().zip(outboxes) {
        let events = events.clone();
        running.spawn_local(async move { connection.run(&outbox, &Wire { path, events }).await });
    }
    let ended = running.join_next().await;
    // Nothing comes from the path once it is said to be lost.
    running.shutdown().await;
    let _ = events.send(Event::Disconnected { path }).await;
    match ended {
        Some(Ok(error)) => error,
        _ => ConnectionError::Slow,
    }
}
