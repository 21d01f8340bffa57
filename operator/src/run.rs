//! Runs the operator: connects its parts and ends them cleanly when asked.

use crate::apply::Writer;
use crate::clock::Clock;
use crate::health::{self, Health};
use crate::lead::{Elector, Known};
use crate::metrics::Metrics;
use crate::observe;
use crate::reconcile::Reconciler;
use crate::world::World;
use anyhow::{Context, Result};
use kube::{Api, Client};
use std::future::Future;
use tokio::sync::watch;

/// How a replica runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Namespace of the Leases.
    pub(crate) namespace: String,
    /// Name of this replica in the Lease.
    pub(crate) identity: String,
    /// Port of `/metrics`.
    pub(crate) metrics_port: u16,
    /// Port of `/healthz` and `/readyz`.
    pub(crate) health_port: u16,
}

/// Runs until `stop` completes; an error only if it can't start or a page can't be served. That the
/// API server is away is none: it is waited for.
pub(crate) async fn operator(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let client = Client::try_default()
        .await
        .context("finding the API server: run in a pod, or set KUBECONFIG")?;
    let clock = Clock::start();
    let (world, _) = watch::channel(World::default());
    let (own_lease, heard) = watch::channel(Known::default());
    let (metrics, registry) = Metrics::registered();

    let leases = Api::namespaced(client.clone(), &options.namespace);
    let elector = Elector::new(leases, options.identity.clone(), clock, heard);
    let reconciler = Reconciler {
        world: &world,
        writer: Writer::new(&client, &options.identity, metrics.clone()),
        term: elector.term(),
        clock,
        metrics,
    };
    let (beat, beats) = watch::channel(clock.monotonic());
    let probes = health::probes(Health {
        beat: beats,
        world: world.subscribe(),
        term: elector.term(),
        clock,
    });
    let health_listener = health::listen(options.health_port).await?;
    let metrics_listener = health::listen(options.metrics_port).await?;
    tracing::info!(
        identity = options.identity,
        namespace = options.namespace,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );

    // A task of its own, so that a decision that takes long can't keep a renewal waiting.
    let (stopping, told) = watch::channel(false);
    let election = tokio::spawn(elector.run(told));
    let ended = tokio::select! {
        () = stop => Ok(()),
        () = observe::world(client, &options.namespace, clock, &world, &own_lease) => Ok(()),
        () = reconciler.run() => Ok(()),
        () = health::beat(clock, beat) => Ok(()),
        result = async { axum::serve(health_listener, probes).await } => {
            result.context("serving /healthz")
        }
        result = async { axum::serve(metrics_listener, health::metrics(registry)).await } => {
            result.context("serving /metrics")
        }
    };
    // Nothing acts any more, so another may.
    stopping.send_replace(true);
    election.await.context("giving the Lease up")?;
    ended
}
