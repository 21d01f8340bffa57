//! The folder on the node for what has to outlive the pod. Here: that it is there, can be written,
//! and is this agent's alone.
//!
//! Two agents on one node would one day serve the same disks, and lose data. The lock is the kernel's,
//! so it ends with the process, however that ends.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The folder, held as long as this is.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the folder if needed, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("making {}, the folder of --data-dir", path.display()))?;
        let name = path.join("agent.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .with_context(|| format!("opening {}", name.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(Errno::WOULDBLOCK) => anyhow::bail!(
                "another agent has {}: only one may run on a node",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("locking {}", name.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_agent_has_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("made/for/it");
        let first = DataDir::take(&path).unwrap();
        let second = DataDir::take(&path).unwrap_err().to_string();
        assert!(second.contains("another agent has"), "{second}");
        drop(first);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::take(&file.join("below")).unwrap_err().to_string();
        assert!(error.contains("file/below"), "{error}");
    }
}
