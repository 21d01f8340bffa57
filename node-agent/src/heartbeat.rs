//! That this agent lives: its Lease, renewed every few seconds, given up on a clean stop.
//!
//! One Lease for each node has one writer, so there is no election: it is applied, not fought for.
//! Whoever judges it goes by when they saw it change, not by the times in it.

use crate::apply::MANAGER;
use crate::clock::Clock;
use crate::metrics::Metrics;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How long the agent counts as alive after it was seen to renew.
pub(crate) const DURATION: Duration = Duration::from_secs(10);
/// How often it renews.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// A renewal that takes longer is given up for the next.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long a stopping agent tries to give the Lease up.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(2);

/// The Lease of one agent.
pub(crate) struct Heartbeat {
    pub(crate) leases: Api<Lease>,
    pub(crate) node: String,
    pub(crate) boot_id: String,
    pub(crate) acquired: Timestamp,
    pub(crate) clock: Clock,
    /// When the last renewal that succeeded was sent.
    pub(crate) renewed: watch::Sender<Option<Duration>>,
    pub(crate) metrics: Metrics,
}

impl Heartbeat {
    fn name(&self) -> String {
        format!("moraine-node-{}", self.node)
    }

    /// Renews for ever.
    pub(crate) async fn run(&self) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            let sent = self.clock.monotonic();
            let lease = held(self, Clock::time_of_day());
            let failure = match tokio::time::timeout(ANSWER_LIMIT, self.apply(&lease)).await {
                Ok(Ok(_)) => {
                    self.renewed.send_replace(Some(sent));
                    self.metrics.renewals.inc();
                    if std::mem::take(&mut failing) {
                        tracing::info!("the Lease is renewed again");
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!("the Lease can't be renewed, and it is tried again: {failure}");
            }
        }
    }

    /// Tells that the agent stops, so that nobody has to wait for the Lease to run out.
    pub(crate) async fn give_up(&self) {
        let lease = given_up(self, Clock::time_of_day());
        match tokio::time::timeout(GIVE_UP_LIMIT, self.apply(&lease)).await {
            Ok(Ok(_)) => tracing::info!("gave the Lease up"),
            Ok(Err(error)) => tracing::warn!("the Lease is left to run out: {error}"),
            Err(_) => tracing::warn!("the Lease is left to run out: no answer in time"),
        }
    }

    async fn apply(&self, lease: &Value) -> kube::Result<Lease> {
        let params = PatchParams::apply(MANAGER).force();
        self.leases
            .patch(&self.name(), &params, &Patch::Apply(lease))
            .await
    }
}

fn held(beat: &Heartbeat, now: Timestamp) -> Value {
    let mut lease = given_up(beat, now);
    lease["spec"]["holderIdentity"] = format!("{}/{}", beat.node, beat.boot_id).into();
    lease["spec"]["acquireTime"] = json!(MicroTime(beat.acquired));
    lease
}

/// With no holder: what an apply leaves out, it takes away.
fn given_up(beat: &Heartbeat, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": beat.name()},
        "spec": {
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": MicroTime(now),
        },
    })
}
