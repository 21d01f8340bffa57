//! Runs the agent: connects its parts and ends them cleanly when asked.

use crate::apply::Keeper;
use crate::boot;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::devices::Host;
use crate::health::{self, Health};
use crate::heartbeat::Heartbeat;
use crate::metrics::Metrics;
use crate::observe::{self, Known};
use crate::report::Myself;
use crate::scan;
use anyhow::{Context, Result};
use kube::{Api, Client};
use moraine_crds::observation::to_seconds;
use std::future::Future;
use std::path::PathBuf;
use tokio::sync::watch;

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
    /// Port of `/metrics`.
    pub(crate) metrics_port: u16,
    /// Port of `/healthz` and `/readyz`.
    pub(crate) health_port: u16,
}

/// Runs until `stop` completes; an error only if it can't start or a page can't be served. That the
/// API server is away is none: it is waited for.
pub(crate) async fn agent(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let _held = DataDir::take(&options.data_dir)?;
    let boot_id = boot::id()?;
    let client = Client::try_default()
        .await
        .context("finding the API server: run in a pod, or set KUBECONFIG")?;
    let clock = Clock::start();
    let started = Clock::time_of_day();
    let (known, _) = watch::channel(Known::default());
    let (reported, is_reported) = watch::channel(false);
    let (renewed, last_renewed) = watch::channel(None);
    let (beat, beats) = watch::channel(clock.monotonic());
    let (metrics, registry) = Metrics::registered();

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
        me: Myself {
            node: options.node.clone(),
            boot_id,
            started_at: to_seconds(started),
            looks_at_devices: options.host.is_some(),
        },
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
        () = scan::keep(options.host, &known) => Ok(()),
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
    // Nothing acts any more, so it may be said.
    heartbeat.give_up().await;
    ended
}
