//! The programs that a cluster is made of, built from Go modules and kept under `components` in the cache.
//!
//! [`table`] is the one place that names versions. Each component lies in a folder of its own whose name holds a
//! hash of its recipe, so a changed recipe is a new folder and a built one is never changed.

mod build;
mod recipe;
mod table;

pub(crate) use recipe::Component;
pub(crate) use table::{CONTROL_PLANE, KUBERNETES, SIDECARS, all};

use crate::{apt, lock, places, preflight};
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Debian packages without which nothing here can be built.
const BUILD_PACKAGES: [&str; 5] = [
    "ca-certificates",
    "gcc",
    "libc6-dev",
    "libseccomp-dev",
    "pkg-config",
];
/// How much of what a build writes lies outside of Go's build cache, which may be on another file system: the
/// modules in Go's module cache, and the programs in ours.
const OTHER_SHARE: u64 = 3;

/// The name of the image of every pod's pause container; no registry has it.
pub(crate) const PAUSE_IMAGE: &str = "moraine.test/pause:1";

/// Built components.
pub(crate) struct Built {
    folders: Vec<PathBuf>,
}

impl Built {
    /// The path of a program by name.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        self.find(&format!("bin/{name}"))
    }

    /// The path of anything that a component left in its folder.
    pub(crate) fn find(&self, path: &str) -> Result<PathBuf> {
        let mut candidates = self.folders.iter().map(|folder| folder.join(path));
        candidates
            .find(|candidate| candidate.exists())
            .with_context(|| format!("{path} is missing from the built components in the cache"))
    }

    /// All files below `path` in all components, sorted by name.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let Ok(entries) = fs::read_dir(folder.join(path)) else {
                continue;
            };
            for entry in entries {
                found.push(entry?.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// A PATH of the programs alone.
    pub(crate) fn own_search_path(&self) -> Result<OsString> {
        Ok(env::join_paths(
            self.folders.iter().map(|folder| folder.join("bin")),
        )?)
    }

    /// A PATH with the programs first, then the system's own.
    pub(crate) fn search_path(&self) -> Result<OsString> {
        let system = [
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
        ];
        let folders = self.folders.iter().map(|folder| folder.join("bin"));
        Ok(env::join_paths(
            folders.chain(system.into_iter().map(PathBuf::from)),
        )?)
    }
}

/// Builds what of `wanted` is not in the cache.
pub(crate) fn ensure(wanted: &[&Component]) -> Result<Built> {
    let root = root()?;
    let folders = wanted.iter().map(|one| root.join(one.folder())).collect();
    let built = Built { folders };
    if missing(wanted, &root).is_empty() {
        return Ok(built);
    }
    apt::ensure(&BUILD_PACKAGES)?;
    let go = preflight::go()?;
    let _lock = lock::wait_for(
        &places::cache()?.join("locks/components"),
        "builds components",
    )?;
    let missing = missing(wanted, &root);
    if missing.is_empty() {
        return Ok(built);
    }
    preflight::go_proxy_reachable(&go)?;
    check_disk(&go, &root, wanted, &missing)?;
    let total = wanted.len();
    for (index, component) in wanted.iter().enumerate() {
        if missing.contains(&component.name) {
            let place = format!("[{:>2}/{total}]", index + 1);
            build::build(&go, component, &root, &place)?;
        }
    }
    Ok(built)
}

fn check_disk(go: &Path, root: &Path, wanted: &[&Component], missing: &[&str]) -> Result<()> {
    let to_build = wanted.iter().filter(|one| missing.contains(&one.name));
    let need_bytes = to_build.map(|one| one.disk_gib << 30).sum();
    let what = format!("building {}", missing.join(", "));
    let caches = build::go_caches(go)?;
    preflight::disk(&caches.builds, need_bytes, &what)?;
    for folder in [caches.modules.as_path(), root] {
        preflight::disk(folder, need_bytes / OTHER_SHARE, &what)?;
    }
    Ok(())
}

/// What is built already of `wanted`, for commands that must not build.
pub(crate) fn cached(wanted: &[&Component]) -> Result<Built> {
    let root = root()?;
    let missing = missing(wanted, &root);
    anyhow::ensure!(
        missing.is_empty(),
        "{} is not built: run `cargo xtask components`",
        missing.join(", ")
    );
    Ok(Built {
        folders: wanted.iter().map(|one| root.join(one.folder())).collect(),
    })
}

/// `cargo xtask components`: builds all and shows what there is.
pub(crate) fn command() -> Result<()> {
    preflight::system()?;
    let all = all();
    let root = root()?;
    let missing = missing(&all, &root);
    ensure(&all)?;
    println!(
        "{:<18} {:<10} {:<6} {:>9}",
        "COMPONENT", "VERSION", "STATE", "SIZE"
    );
    for component in all {
        let state = if missing.contains(&component.name) {
            "built"
        } else {
            "cached"
        };
        let mib = size_bytes(&root.join(component.folder()))? >> 20;
        let version = component.version;
        println!(
            "{:<18} {version:<10} {state:<6} {mib:>5} MiB",
            component.name
        );
    }
    println!("in {}", root.display());
    Ok(())
}

fn root() -> Result<PathBuf> {
    Ok(places::cache()?.join("components"))
}

fn missing(wanted: &[&Component], root: &Path) -> Vec<&'static str> {
    let absent = wanted
        .iter()
        .filter(|one| !root.join(one.folder()).exists());
    absent.map(|one| one.name).collect()
}

fn size_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            size_bytes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(sum)
}
