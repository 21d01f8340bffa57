//! Runs the agent: connects its parts and ends them cleanly when asked.

use crate::apply::Keeper;
use crate::boot;
use crate::clock::Clock;
use crate::data::Event;
use crate::data::identity::Identity;
use crate::data::listen;
use crate::data_dir::DataDir;
use crate::devices::Host;
use crate::health::{self, Health};
use crate::heartbeat::Heartbeat;
use crate::metrics::Metrics;
use crate::observe::{self, Known};
use crate::report::Myself;
use crate::scan;
use crate::serving::{self, DiskMetrics, Kept, Serving};
use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use moraine_crds::observation::to_seconds;
use moraine_tls::TlsFiles;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// How an agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Name of the node.
    pub(crate) node: String,
    /// Namespace of the Lease.
    pub(crate) namespace: String,
    /// What outlives the pod.
    pub(crate) data_dir: PathBuf,
    /// Where the node's devices are; `None`: they are none of its business.
    pub(crate) host: Option<Host>,
    /// Address of the data plane, as others reach it.
    pub(crate) data_address: IpAddr,
    /// Its port.
    pub(crate) data_port: u16,
    /// The file with the secret of the data plane.
    pub(crate) secret: PathBuf,
    /// The certificates of this agent, if connections are encrypted.
    pub(crate) tls: Option<TlsFiles>,
    /// Port of `/metrics`.
    pub(crate) metrics_port: u16,
    /// Port of `/healthz` and `/readyz`.
    pub(crate) health_port: u16,
}

/// The disks, and the door to them.
struct DataPlane {
    identity: Arc<Identity>,
    address: SocketAddr,
    listener: TcpListener,
    serving: Arc<Serving>,
    happened: mpsc::Receiver<Event>,
}

impl DataPlane {
    /// Listens; what it serves is opened later.
    async fn start(options: &Options) -> Result<Self> {
        let tls = options.tls.clone();
        let identity = Arc::new(Identity::read(&options.secret, &options.node, tls)?);
        let address = SocketAddr::from((options.data_address, options.data_port));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} for the data plane"))?;
        let kept = Kept::new(&options.data_dir)?;
        let root = options.host.as_ref().map(|host| host.root.clone());
        let (serving, happened) = Serving::new(kept, Arc::clone(&identity), root);
        let serving = Arc::new(serving);
        Ok(Self {
            identity,
            address,
            listener,
            serving,
            happened,
        })
    }

    /// Takes, serves and watches disks, for ever. First what was served before the restart, whatever is
    /// known of the API server; that may take a while, so nothing waits for it but what needs it.
    async fn run(self, host: Option<Host>, known: &watch::Sender<Known>) -> Result<()> {
        let serving = || Arc::clone(&self.serving);
        let served = Arc::clone(self.serving.served());
        let disks = async {
            let restoring = serving();
            tokio::task::spawn_blocking(move || restoring.restore())
                .await
                .context("opening the disks")??;
            tokio::join!(
                scan::keep(host, serving(), known),
                serving::follow_maps(serving(), known),
                serving::say(serving(), known, self.happened),
            );
            Ok(())
        };
        tokio::select! {
            ended = disks => ended,
            () = listen::accept(self.listener, self.identity, served) => Ok(()),
        }
    }

    fn myself(&self, options: &Options, boot_id: String, started: Timestamp) -> Myself {
        Myself {
            node: options.node.clone(),
            boot_id,
            started_at: to_seconds(started),
            address: self.address.to_string(),
            looks_at_devices: options.host.is_some(),
        }
    }
}

/// Runs until `stop` completes; an error only if it can't start or a page can't be served. That the
/// API server is away is none: it is waited for.
pub(crate) async fn agent(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let _held = DataDir::take(&options.data_dir)?;
    let boot_id = boot::id()?;
    let plane = DataPlane::start(&options).await?;
    let serving = Arc::clone(&plane.serving);
    let client = Client::try_default()
        .await
        .context("finding the API server: run in a pod, or set KUBECONFIG")?;
    let clock = Clock::start();
    let started = Clock::time_of_day();
    let (known, _) = watch::channel(Known::default());
    let (reported, is_reported) = watch::channel(false);
    let (renewed, last_renewed) = watch::channel(None);
    let (beat, beats) = watch::channel(clock.monotonic());
    let (metrics, mut registry) = Metrics::registered();
    registry.register_collector(Box::new(DiskMetrics(Arc::clone(&serving))));

    let heartbeat = Heartbeat {
        leases: Api::namespaced(client.clone(), &options.namespace),
        node: options.node.clone(),
        boot_id: boot_id.clone(),
        acquired: started,
        clock,
        renewed,
        metrics: metrics.clone(),
    };
    let keeper = Keeper {
        me: plane.myself(&options, boot_id, started),
        client: client.clone(),
        known: &known,
        reported,
        metrics,
    };
    let probes = health::probes(Health {
        beat: beats,
        reported: is_reported,
        renewed: last_renewed,
        clock,
    });
    let health_listener = health::listen(options.health_port).await?;
    let metrics_listener = health::listen(options.metrics_port).await?;
    tracing::info!(
        node = options.node,
        namespace = options.namespace,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    let ended = tokio::select! {
        () = stop => Ok(()),
        () = observe::known(client, &options.node, &known) => Ok(()),
        ended = plane.run(options.host, &known) => ended,
        () = keeper.run() => Ok(()),
        () = heartbeat.run() => Ok(()),
        () = health::beat(clock, beat) => Ok(()),
        result = async { axum::serve(health_listener, probes).await } => {
            result.context("serving /healthz")
        }
        result = async { axum::serve(metrics_listener, health::metrics(registry)).await } => {
            result.context("serving /metrics")
        }
    };
    // No connection is taken any more; what has begun is finished, and then the Lease says that nothing
    // is served.
    serving.end().await;
    // Nothing acts any more, so it may be said.
    heartbeat.give_up().await;
    ended
}
