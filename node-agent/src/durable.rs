//! Files that are whole or not there, whatever happens: written aside, then given their name.

use anyhow::{Context, Result};
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The name under which a file is made before it gets its own. What is found there was left by a
/// crash, and nothing refers to it.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// Puts `bytes` in place of what is at `path`, if anything is.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = aside(path);
    let writing = || format!("writing {}", unfinished.display());
    let mut file = File::create(&unfinished).with_context(writing)?;
    file.write_all(bytes).with_context(writing)?;
    // The content comes before the name: a crash in between leaves the old file, and one beside it
    // that the next write replaces.
    file.sync_all().with_context(writing)?;
    drop(file);
    publish(path)
}

/// Gives what was made aside, and is durable, its name. It replaces what had it.
pub(crate) fn publish(path: &Path) -> Result<()> {
    let unfinished = aside(path);
    std::fs::rename(&unfinished, path)
        .with_context(|| format!("renaming {} to {}", unfinished.display(), path.display()))?;
    sync_folder(path)
}

/// Makes a folder and those above it, if they are not there, for this user alone.
pub(crate) fn folder(path: &Path) -> Result<()> {
    let making = || format!("making the folder {}", path.display());
    let mut folders = DirBuilder::new();
    folders.recursive(true).mode(0o700);
    folders.create(path).with_context(making)?;
    sync_folder(path)
}

/// Makes the names in the folder of `path` durable.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("making names in {} durable", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_what_a_crash_left_aside_is_no_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        std::fs::write(aside(&path), "half of a longer text, never published").unwrap();
        write(&path, b"first").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        write(&path, b"2").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
        assert!(!aside(&path).exists());
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/map");
        let error = write(&path, b"").unwrap_err().to_string();
        assert!(error.contains("missing/map"), "{error}");
    }
}
