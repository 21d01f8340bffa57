//! `/healthz` and `/readyz` for kubelet, `/metrics` for Prometheus.
//!
//! `/healthz` fails when the program makes no progress; `/readyz` while the StorageNode doesn't say what
//! the agent has to say, or the Lease isn't renewed. Neither page asks the API server anything: when
//! that is away, what runs goes on, and restarting it would help nobody.

use crate::clock::Clock;
use crate::heartbeat;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A program that hasn't come round for longer is taken for hung.
const HUNG_AFTER: Duration = Duration::from_secs(30);
/// How often the program shows that it comes round.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// What the pages tell about.
#[derive(Clone)]
pub(crate) struct Health {
    /// When the main task last came round.
    pub(crate) beat: watch::Receiver<Duration>,
    /// Whether the StorageNode says all that there is to say.
    pub(crate) reported: watch::Receiver<bool>,
    /// When the Lease was last renewed.
    pub(crate) renewed: watch::Receiver<Option<Duration>>,
    pub(crate) clock: Clock,
}

/// Shows, for ever, that the task that polls it comes round.
pub(crate) async fn beat(clock: Clock, beat: watch::Sender<Duration>) {
    loop {
        beat.send_replace(clock.monotonic());
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

/// The pages for kubelet.
pub(crate) fn probes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
}

/// The page for Prometheus.
pub(crate) fn metrics(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .with_state(Arc::new(registry))
}

/// Listens on all addresses of both families, or of IPv4 where the kernel has no other.
pub(crate) async fn listen(port: u16) -> Result<TcpListener> {
    let listener = match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    };
    listener.with_context(|| format!("listening on port {port}"))
}

async fn healthz(State(health): State<Health>) -> (StatusCode, String) {
    let silence = health
        .clock
        .monotonic()
        .saturating_sub(*health.beat.borrow());
    if silence > HUNG_AFTER {
        let text = format!("no progress for {} s\n", silence.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let now = health.clock.monotonic();
    let text = match *health.renewed.borrow() {
        None => "the API server hasn't answered yet: no Lease\n".to_owned(),
        Some(at) if now.saturating_sub(at) > heartbeat::DURATION => {
            let seconds = now.saturating_sub(at).as_secs();
            format!("the API server hasn't answered for {seconds} s: the Lease isn't renewed\n")
        }
        Some(_) if !*health.reported.borrow() => {
            "the StorageNode isn't up to date yet\n".to_owned()
        }
        Some(_) => return (StatusCode::OK, "ok\n".to_owned()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn exposition(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    let status = match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (status, [(header::CONTENT_TYPE, format)], text)
}
