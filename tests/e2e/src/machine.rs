//! Nodes that come and go: what the cluster's maker does when a machine is plugged in or loses its power.

use anyhow::{Context, Result, bail};
use std::process::Command;

/// Adds a node to the cluster and gives its name.
pub fn add_node() -> Result<String> {
    let before = names()?;
    xtask(&["add-node"])?;
    let mut new = names()?.into_iter().filter(|name| !before.contains(name));
    new.next().context("no node was added")
}

/// Takes a node's power away.
pub fn kill_node(name: &str) -> Result<()> {
    xtask(&["kill-node", name])
}

fn names() -> Result<Vec<String>> {
    let names = crate::kubectl(["get", "nodes", "-o", "name"]).run()?;
    let names = names.lines().filter_map(|line| line.strip_prefix("node/"));
    Ok(names.map(str::to_owned).collect())
}

fn xtask(arguments: &[&str]) -> Result<()> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .with_context(|| format!("{name} isn't set: `cargo xtask test` sets it"))
    };
    let output = Command::new(variable("MORAINE_XTASK")?)
        .args(["cluster", "--name"])
        .arg(variable("MORAINE_CLUSTER")?)
        .args(arguments)
        .output()
        .context("running xtask")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("xtask cluster {}: {said}{complaints}", arguments.join(" "));
    }
    Ok(())
}
