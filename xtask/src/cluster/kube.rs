//! Talking to a cluster's API server, by kubectl.

use super::daemon::OURSELVES;
use super::state::{Home, State};
use crate::components::Built;
use crate::proc::Cmd;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Where kubectl and helm keep what they found out about an API server. In the user's home it would outlive the
/// cluster, and the next one with the same address would be taken for it.
pub(super) const CACHE_VARIABLE: &str = "KUBECACHEDIR";

/// A kubectl that knows its cluster.
pub(super) struct Kube {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    group: String,
}

impl Kube {
    pub(super) fn new(home: &Home, state: &State, built: &Built) -> Result<Self> {
        Ok(Self {
            kubectl: built.program("kubectl")?,
            kubeconfig: home.kubeconfig(),
            cache: home.kubectl_cache(),
            group: state.label("cp"),
        })
    }

    /// kubectl for `purpose`, which completes "could not ...".
    pub(super) fn ctl(&self, purpose: &str) -> Cmd {
        Cmd::new(&self.kubectl, purpose)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env(CACHE_VARIABLE, &self.cache)
    }

    /// The same within the control plane's cgroup, so that `down` finds it should we be killed.
    fn grouped(&self, purpose: &str) -> Cmd {
        Cmd::new(OURSELVES, purpose)
            .args(["launch", "--group", &self.group, "--"])
            .arg(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env(CACHE_VARIABLE, &self.cache)
    }

    /// Whether the API server serves.
    pub(super) fn is_ready(&self) -> bool {
        self.grouped("ask the API server whether it is ready")
            .args(["get", "--raw", "/readyz", "--request-timeout=2s"])
            .limit(Duration::from_secs(5))
            .run()
            .is_ok()
    }

    /// Objects as JSON.
    pub(super) fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self
            .grouped("read from the API server")
            .args(["get", "--output=json", "--request-timeout=10s"])
            .args(what)
            .read()?;
        serde_json::from_str(&text).context("reading kubectl's answer")
    }

    /// Creates or updates what `manifest` describes.
    pub(super) fn apply(&self, purpose: &str, manifest: String) -> Result<()> {
        self.grouped(purpose)
            .args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--filename=-",
            ])
            .input(manifest)
            .run()
    }
}

/// The names of nodes whose condition Ready is True.
pub(super) fn ready_nodes(nodes: &Value) -> Vec<String> {
    let items = nodes["items"].as_array().into_iter().flatten();
    let ready = items.filter(|node| {
        let conditions = node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        conditions
            .clone()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    });
    ready
        .filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_nodes_that_say_true_are_ready() {
        let node = |name: &str, status: &str| {
            json!({"metadata": {"name": name}, "status": {"conditions": [
                {"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]}})
        };
        let nodes = json!({"items": [node("n1", "True"), node("n2", "Unknown"), {"metadata": {"name": "n3"}}]});
        assert_eq!(ready_nodes(&nodes), ["n1"]);
        assert!(ready_nodes(&json!({})).is_empty());
    }
}
