//! Runs the driver on a node: opens the sockets, serves, and ends cleanly when asked.
//!
//! Order matters: the CSI socket answers before the registration socket exists, because kubelet connects to the
//! former as soon as it has seen the latter.

use crate::health;
use crate::identity::IdentityService;
use crate::metrics;
use crate::node::{NodeName, NodeService};
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;
use crate::proto::pluginregistration::registration_server::RegistrationServer;
use crate::registration::{self, RegistrationService, State};
use crate::socket::OwnedSocket;
use anyhow::{Context, Result, bail};
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Where a node's driver listens.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node that the driver speaks for.
    pub node: NodeName,
    /// The CSI socket, as this process sees it.
    pub csi_socket: PathBuf,
    /// The same socket, as kubelet sees it.
    pub kubelet_csi_socket: PathBuf,
    /// The registration socket in kubelet's `plugins_registry`.
    pub registration_socket: PathBuf,
}

/// Where the pages are served; opened beforehand, so that a taken port is told before kubelet hears of us.
#[derive(Debug)]
pub struct Pages {
    /// For `/healthz` and `/readyz`.
    pub health: TcpListener,
    /// For `/metrics`.
    pub metrics: TcpListener,
}

impl Pages {
    /// Listens on both ports; 0 is any free one.
    pub async fn listen(health_port: u16, metrics_port: u16) -> Result<Self> {
        Ok(Self {
            health: listen(health_port).await?,
            metrics: listen(metrics_port).await?,
        })
    }
}

/// Serves until `stop` completes; an error if a server fails or kubelet refuses the driver.
pub async fn node(
    options: NodeOptions,
    pages: Pages,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    registration::check_socket(&options.registration_socket)?;
    let (csi_file, csi) = OwnedSocket::bind(&options.csi_socket).await?;
    let csi_server = Server::builder()
        .add_service(IdentityServer::new(IdentityService))
        .add_service(NodeServer::new(NodeService::new(options.node)))
        .serve_with_incoming(UnixListenerStream::new(csi));

    let endpoint = options.kubelet_csi_socket.to_string_lossy().into_owned();
    let (registration, registered) = RegistrationService::new(endpoint);
    let health = health::router(&options.csi_socket, registered.clone());
    let metrics = metrics::router(registered.clone());

    let (registration_file, listener) = OwnedSocket::bind(&options.registration_socket).await?;
    let registration_server = Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tracing::info!(socket = %options.csi_socket.display(), "serving; waiting for kubelet");

    let ended = tokio::select! {
        () = stop => Ok(()),
        result = csi_server => result.context("serving CSI"),
        result = registration_server => result.context("serving the registration"),
        result = async { axum::serve(pages.health, health).await } => result.context("serving /healthz"),
        result = async { axum::serve(pages.metrics, metrics).await } => result.context("serving /metrics"),
        result = refused(registered) => result,
    };
    // Good-bye to kubelet first, so that it doesn't call a socket that is going away.
    drop(registration_file);
    drop(csi_file);
    ended
}

/// Listens on all addresses, of both families where the node has both.
async fn listen(port: u16) -> Result<TcpListener> {
    let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
    let listener = match both {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    };
    listener.with_context(|| format!("listening on port {port}"))
}

/// Ends, with the reason, when kubelet refuses the driver; the pod's restart is the retry.
async fn refused(mut registration: watch::Receiver<State>) -> Result<()> {
    while registration.changed().await.is_ok() {
        if let State::Refused(reason) = registration.borrow().clone() {
            bail!("kubelet refused the driver: {reason}");
        }
    }
    // The server that owns the sender has ended; its own branch tells why.
    std::future::pending().await
}
