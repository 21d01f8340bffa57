//! Writes the report: server-side apply with one field manager, only when something changed.
//!
//! While the API server is away it tries again with growing pauses, says so once, and goes on as soon
//! as there is an answer.

use crate::clock::Clock;
use crate::metrics::{Metrics, WriteLabels};
use crate::observe::Known;
use crate::report::{Myself, Write, report};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use moraine_crds::{GROUP, StorageNode, VERSION};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::watch;

/// The name under which the API server keeps what this program wrote.
pub(crate) const MANAGER: &str = "moraine-agent";
/// A write that takes longer is given up; what it was about is looked at anew.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Changes that come within this time are written together.
const GATHER: Duration = Duration::from_millis(200);
/// The least time between two writes: what changes all the time is told once a second.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Pauses after failures: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Keeps the StorageNode true.
pub(crate) struct Keeper<'a> {
    pub(crate) me: Myself,
    pub(crate) client: Client,
    pub(crate) known: &'a watch::Sender<Known>,
    /// Whether the object says all that the agent has to say.
    pub(crate) reported: watch::Sender<bool>,
    pub(crate) metrics: Metrics,
}

impl Keeper<'_> {
    /// Writes what there is to write, for ever.
    pub(crate) async fn run(self) {
        let nodes: Api<StorageNode> = Api::all(self.client.clone());
        let mut changes = self.known.subscribe();
        let mut failures = 0;
        let mut written = None;
        loop {
            if let Some(written) = written {
                tokio::time::sleep_until(written + WRITE_EVERY).await;
            }
            let (write, complete) = {
                let known = changes.borrow_and_update();
                let write = report(&self.me, &known, Clock::time_of_day());
                (
                    write,
                    known.own.contains_key(&self.me.node)
                        && known.found.is_some()
                        && known.disks.is_some(),
                )
            };
            let Some(write) = write else {
                self.reported.send_replace(complete);
                if changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
                continue;
            };
            written = Some(tokio::time::Instant::now());
            match self.write(&nodes, write).await {
                Ok(()) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("the StorageNode can be written again");
                    }
                }
                Err(failure) => {
                    self.reported.send_replace(false);
                    if failures == 0 {
                        tracing::warn!(
                            "the StorageNode can't be written, and it is tried again: {failure}"
                        );
                    }
                    tokio::time::sleep(pause(&self.me.node, failures)).await;
                    failures += 1;
                }
            }
        }
    }

    async fn write(&self, nodes: &Api<StorageNode>, write: Write) -> Result<(), String> {
        let params = PatchParams::apply(MANAGER).force();
        let name = &self.me.node;
        let registers = matches!(write, Write::Register(_));
        let object = match write {
            Write::Register(object) => whole(object),
            Write::Status(status) => whole(json!({"metadata": {"name": name}, "status": status})),
        };
        let patch = Patch::Apply(&object);
        let answer = async {
            if registers {
                nodes.patch(name, &params, &patch).await
            } else {
                nodes.patch_status(name, &params, &patch).await
            }
        };
        let (result, answer) = match tokio::time::timeout(WRITE_LIMIT, answer).await {
            Ok(Ok(node)) => ("ok", Ok(node)),
            Ok(Err(error)) => ("failed", Err(error.to_string())),
            Err(_) => ("failed", Err("no answer in time".to_owned())),
        };
        let kind = "StorageNode";
        self.metrics
            .writes
            .get_or_create(&WriteLabels { kind, result })
            .inc();
        let node = answer?;
        if registers {
            tracing::info!(node = name, "registered this node");
            // The watch brings a new object; until then there is nothing to learn about.
            self.wait_until_known().await;
        }
        if !registers {
            let status = node.status.as_ref();
            let devices = status.map_or(0, |status| status.unused_devices.len());
            tracing::debug!(node = name, devices, "reported");
        }
        self.known.send_modify(|known| known.own.learn(node));
        Ok(())
    }

    /// Waits for the watch to bring the object that was just made, but not for ever: it may be gone
    /// again.
    async fn wait_until_known(&self) {
        let mut changes = self.known.subscribe();
        let known = changes.wait_for(|known| known.own.contains_key(&self.me.node));
        // Whatever comes of it, the next round looks anew.
        let _ = tokio::time::timeout(WRITE_LIMIT, known).await;
    }
}

fn whole(mut object: Value) -> Value {
    object["apiVersion"] = format!("{GROUP}/{VERSION}").into();
    object["kind"] = "StorageNode".into();
    object
}

/// The pause after so many failures in a row, up to half longer, differently for each node, so that not
/// all come back at once.
fn pause(node: &str, failures: u32) -> Duration {
    let pause = RETRY.0.saturating_mul(1 << failures.min(8)).min(RETRY.1);
    let mut hasher = DefaultHasher::new();
    (node, failures).hash(&mut hasher);
    let eighths = u32::try_from(hasher.finish() % 5).unwrap_or_default();
    pause + pause / 8 * eighths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ_between_nodes() {
        for failures in 0..100 {
            let least = RETRY.0.saturating_mul(1 << failures.min(8)).min(RETRY.1);
            let pause = pause("a", failures);
            assert!(
                pause >= least && pause <= least * 3 / 2,
                "{failures}: {pause:?}"
            );
        }
        let of = |node: &str| pause(node, 20);
        let nodes: Vec<String> = (0..32).map(|n| format!("node-{n}")).collect();
        assert!(nodes.iter().any(|node| of(node) != of("node-0")));
        assert_eq!(of("node-0"), of("node-0"));
    }
}
