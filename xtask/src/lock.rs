//! One command at a time: a lock file that the kernel lets go of when its holder ends, however it ends.

use crate::interrupt;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// Held until dropped.
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock, waiting for another run with a line that says so.
pub(crate) fn wait_for(path: &Path, what: &str) -> Result<Lock> {
    let mut file = open(path)?;
    let mut step: Option<Step> = None;
    while !try_lock(&mut file, path)? {
        let holder = holder(&mut file);
        step.get_or_insert_with(|| Step::start(format!("waiting for {holder} that {what}")))
            .tick();
        interrupt::sleep(Duration::from_millis(200))?;
    }
    if let Some(step) = step {
        step.done("");
    }
    Ok(Lock { _file: file })
}

/// Takes the lock, or fails at once and says who holds it.
pub(crate) fn take(path: &Path, what: &str) -> Result<Lock> {
    let mut file = open(path)?;
    if !try_lock(&mut file, path)? {
        bail!(
            "{} is working on {what}: wait for it or stop it",
            holder(&mut file)
        );
    }
    Ok(Lock { _file: file })
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

fn try_lock(file: &mut File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            Ok(true)
        }
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// Names the holder by the id it wrote; it may not have written it yet.
fn holder(file: &mut File) -> String {
    let mut id = String::new();
    file.rewind().ok();
    file.read_to_string(&mut id).ok();
    if id.is_empty() {
        "another run".to_owned()
    } else {
        format!("another run (process {id})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/lock");
        let first = take(&path, "the cluster").unwrap();
        let refused = take(&path, "the cluster").err().unwrap().to_string();
        let id = std::process::id();
        assert_eq!(
            refused,
            format!("another run (process {id}) is working on the cluster: wait for it or stop it")
        );
        drop(first);
        take(&path, "the cluster").unwrap();
    }
}
