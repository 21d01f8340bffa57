//! Images in nodes: every archive in the cluster's folder of images goes into every node, later ones too.

use super::node;
use super::state::Home;
use crate::components::Built;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Puts an archive into the cluster's folder and returns where it lies.
pub(super) fn keep(home: &Home, archive: &Path) -> Result<PathBuf> {
    let name = archive
        .file_name()
        .with_context(|| format!("{} names no file", archive.display()))?;
    let kept = home.images().join(name);
    // Written beside first: a node that joins meanwhile must not read half of it.
    let partial = home.images().join("partial");
    fs::copy(archive, &partial).with_context(|| format!("copying {}", archive.display()))?;
    fs::rename(&partial, &kept)?;
    Ok(kept)
}

/// The archives that every node gets.
pub(super) fn kept(home: &Home) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(home.images()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        result => result?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "partial") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Imports an archive into a node.
pub(super) fn import(unshare: i32, built: &Built, archive: &Path) -> Result<()> {
    node::ctr(unshare, built)?
        .args(["images", "import"])
        .arg(archive)
        .run()
        .with_context(|| format!("importing {}", archive.display()))
}
