//! The custom resource definitions, for tests that need no more of Moraine.

use crate::chart;
use crate::{kubectl, repository};
use anyhow::{Context, Result};
use serde_json::Value;

/// Sees to it that the cluster has the definitions of this source tree.
///
/// They get the marks that the chart leaves on them, so that the cluster looks as after `helm
/// uninstall`, and the tests of the chart can run before or after.
pub fn install_definitions() -> Result<()> {
    let _turn = chart::turn()?;
    let mut names = Vec::new();
    let mut manifest = String::new();
    for entry in std::fs::read_dir(repository().join("crds"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let mut definition: Value =
            serde_yaml::from_str(&text).with_context(|| path.display().to_string())?;
        names.push(
            definition["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        let metadata = &mut definition["metadata"];
        metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
        metadata["annotations"]["meta.helm.sh/release-name"] = chart::RELEASE.into();
        metadata["annotations"]["meta.helm.sh/release-namespace"] = chart::NAMESPACE.into();
        manifest.push_str("---\n");
        manifest.push_str(&definition.to_string());
        manifest.push('\n');
    }
    kubectl([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=moraine-e2e",
        "-f",
        "-",
    ])
    .input(manifest)
    .run()?;
    let mut wait = kubectl([
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
    ]);
    for name in names {
        wait = wait.arg(name);
    }
    wait.run()?;
    Ok(())
}
