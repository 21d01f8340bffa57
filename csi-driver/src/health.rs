//! `/healthz` and `/readyz` over HTTP, for kubelet's probes.
//!
//! `/healthz` asks the identity service over the very socket that kubelet uses, so it fails when the driver no longer
//! answers there, not only when the process is gone. `/readyz` says whether kubelet took the driver.

use crate::proto::csi::ProbeRequest;
use crate::proto::csi::identity_client::IdentityClient;
use crate::registration::State;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// A driver that takes longer to answer is taken for hung.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

struct Health {
    socket: PathBuf,
    registration: watch::Receiver<State>,
}

/// The pages.
pub fn router(socket: &Path, registration: watch::Receiver<State>) -> Router {
    let health = Health {
        socket: socket.to_owned(),
        registration,
    };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(health))
}

async fn healthz(Shared(health): Shared<Arc<Health>>) -> (StatusCode, String) {
    match tokio::time::timeout(PROBE_LIMIT, probe(&health.socket)).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
        Err(_) => {
            let seconds = PROBE_LIMIT.as_secs();
            let text = format!("the driver did not answer within {seconds} s\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn readyz(Shared(health): Shared<Arc<Health>>) -> (StatusCode, String) {
    match &*health.registration.borrow() {
        State::Registered => (StatusCode::OK, "ok\n".to_owned()),
        State::Waiting => {
            let text = "kubelet has not registered the driver yet\n".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        State::Refused(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("kubelet refused the driver: {reason}\n"),
        ),
    }
}

async fn probe(socket: &Path) -> Result<()> {
    let answer = IdentityClient::new(connect(socket).await?)
        .probe(ProbeRequest {})
        .await?;
    anyhow::ensure!(
        answer.into_inner().ready == Some(true),
        "the driver says it is not ready"
    );
    Ok(())
}

/// Connects a gRPC client to a unix socket.
pub async fn connect(socket: &Path) -> Result<Channel> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is required and unused: the connector knows where to go.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .with_context(|| format!("connecting to {}", socket.display()))
}
