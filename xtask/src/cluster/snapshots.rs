//! Snapshots as a cluster administrator would install them: the definitions of the objects and the role of their
//! controller, both from upstream.

use super::kube::Kube;
use crate::components::Built;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fmt::Write;
use std::fs;

/// Who the snapshot controller is for the API server.
pub(super) const USER: &str = "snapshot-controller";
/// The role in upstream's manifest.
const ROLE: &str = "snapshot-controller-runner";

/// Installs the definitions, and binds the controller to its role.
pub(super) fn install(kube: &Kube, built: &Built) -> Result<()> {
    let mut manifest = String::new();
    for file in built.list("manifests")? {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        manifest.push_str("---\n");
        manifest.push_str(&text);
        manifest.push('\n');
    }
    ensure!(
        manifest.contains(ROLE),
        "upstream's snapshot controller has no role {ROLE} any more: see cluster/snapshots.rs"
    );
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "snapshot-controller-user"},
        "subjects": [{"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": ROLE, "apiGroup": "rbac.authorization.k8s.io"},
    });
    writeln!(manifest, "---\n{binding}").expect("writing to a String cannot fail");
    kube.apply("install the snapshot definitions", manifest)
}
