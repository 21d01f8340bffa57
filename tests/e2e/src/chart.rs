//! The chart on the cluster. There is one installation for all tests; who changes it, takes a turn.

use crate::command::kubeconfig;
use crate::{helm, repository};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::PathBuf;

/// The release's name.
pub const RELEASE: &str = "moraine";
/// The namespace of the programs.
pub const NAMESPACE: &str = "moraine-system";

/// The chart's folder.
pub fn folder() -> PathBuf {
    repository().join("charts/moraine")
}

/// Waits until no other test changes what all of them share, and keeps them from it while it lives.
///
/// The lock lies beside the kubeconfig: one per cluster, and gone with it.
pub fn turn() -> Result<File> {
    let path = PathBuf::from(kubeconfig()?).with_extension("e2e-lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    file.lock().with_context(|| path.display().to_string())?;
    Ok(file)
}

/// The one value that tests need: the image is imported into the nodes, and no registry is asked.
pub const IMPORTED_IMAGE: &str = "--set=image.pullPolicy=Never";

/// Sees to it that the chart of this source tree is installed.
pub fn install() -> Result<()> {
    let _turn = turn()?;
    helm([
        "upgrade",
        "--install",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ])
    .arg(folder())
    .arg(IMPORTED_IMAGE)
    .run()?;
    Ok(())
}
