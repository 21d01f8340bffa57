//! Takes connections, finds out who calls, and hands them to the thread of the shard that they want.
//!
//! Connections whose other side hasn't proved itself are few at a time and live for seconds.

use super::identity::Identity;
use super::served::Served;
use super::shard::Told;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Handshakes at a time. More wait in the kernel.
const HANDSHAKES_MAX: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Requests that a connection may have unanswered.
const CREDITS: u32 = 256;
/// How long to wait when no connection can be taken, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// What a handshake needs.
struct Door {
    identity: Arc<Identity>,
    served: Arc<Served>,
}

/// Takes connections for ever.
pub(crate) async fn accept(listener: TcpListener, identity: Arc<Identity>, served: Arc<Served>) {
    let door = Arc::new(Door { identity, served });
    let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("nobody closes it");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("taking a connection failed: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let entering = tokio::time::timeout(HANDSHAKE_LIMIT, door.enter(stream, from)).await;
            match entering {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%from, "a connection is refused: {error:#}"),
                Err(_) => tracing::warn!(%from, "a connection is refused: it said nothing"),
            }
            drop(permit);
        });
    }
}

impl Door {
    async fn enter(&self, stream: TcpStream, from: SocketAddr) -> Result<()> {
        stream.set_nodelay(true)?;
        let entering = self.identity.welcome(stream, CREDITS, &self.served);
        let (peer, loose) = entering.await?;
        let wanted = peer.wanted;
        tracing::info!(%from, node = %peer.node, caller = ?wanted.caller, disk = %wanted.disk,
            shard = wanted.shard, "connected");
        let shard = self.served.shard(wanted.disk, wanted.shard);
        let shard = shard.context("the shard is not served")?;
        let told = shard.send(Told::Connection(loose, CREDITS)).await;
        told.context("the shard is not served any more")
    }
}
