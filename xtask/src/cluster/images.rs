//! Images in nodes: every archive in the cluster's folder of images goes into every node, later ones too.

use super::node;
use super::state::Home;
use crate::components::Built;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

/// Puts an archive into the cluster's folder and returns where it lies.
pub(super) fn keep(home: &Home, archive: &Path) -> Result<PathBuf> {
    let name = archive
        .file_name()
        .with_context(|| format!("{} names no file", archive.display()))?;
    let kept = home.images().join(name);
    // Written beside first: a node that joins meanwhile must not read half of it.
    let partial = home.images().join("partial");
    fs::copy(archive, &partial).with_context(|| format!("copying {}", archive.display()))?;
    fs::rename(&partial, &kept).with_context(|| format!("naming {}", kept.display()))?;
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

/// Imports archives into nodes that are known by their `unshare` processes; into all nodes at once, since one
/// import keeps only one processor busy.
pub(super) fn import(nodes: &[i32], built: &Built, archives: &[PathBuf]) -> Result<()> {
    thread::scope(|scope| {
        let import = |node: &i32| {
            let node = *node;
            scope.spawn(move || {
                let mut each = archives.iter();
                each.try_for_each(|archive| import_one(node, built, archive))
            })
        };
        let running: Vec<_> = nodes.iter().map(import).collect();
        let results = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        });
        results.collect()
    })
}

fn import_one(node: i32, built: &Built, archive: &Path) -> Result<()> {
    node::ctr(node, built)?
        .args(["images", "import"])
        .arg(archive)
        .run()
        .with_context(|| format!("importing {}", archive.display()))
}
