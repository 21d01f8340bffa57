//! Where things are: the repository and the cache.
//!
//! Nothing else in xtask spells a path that starts at a home folder.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The top folder of the repository.
pub(crate) fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask lies in a folder of the repository")
        .to_path_buf()
}

/// What is built once and used by every checkout: `$MORAINE_CACHE`, else `~/.cache/moraine`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(named) = env::var_os("MORAINE_CACHE") {
        return Ok(PathBuf::from(named));
    }
    let home =
        env::var_os("HOME").context("HOME is not set: set it, or set MORAINE_CACHE to a folder")?;
    Ok(PathBuf::from(home).join(".cache/moraine"))
}

/// Where cargo keeps crates and tools: `$CARGO_HOME`, else `~/.cargo`.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(named) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(named));
    }
    let home =
        env::var_os("HOME").context("HOME is not set: set it, or set CARGO_HOME to a folder")?;
    Ok(PathBuf::from(home).join(".cargo"))
}
