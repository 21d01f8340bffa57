//! A folder as a deterministic tar stream.
//!
//! What a file system adds by chance is left out: order, times, owners and exact modes. Modes follow a rule: folders
//! 0755 (1777 if sticky, as /tmp is), files 0755 if anyone may run them and 0644 otherwise, never setuid. Extended
//! attributes and device nodes are deliberately not carried over: an image of ours needs none.

use crate::interrupt;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Writes all that lies in `root` to `out`, sorted by path, and gives `out` back.
pub(super) fn write<W: Write>(root: &Path, out: W) -> Result<W> {
    let mut found = BTreeMap::new();
    collect(root, Path::new(""), &mut found)?;
    let mut tar = Builder::new(out);
    let mut linked = HashMap::new();
    for (path, meta) in &found {
        interrupt::check()?;
        append(&mut tar, root, (path, meta), &mut linked)
            .with_context(|| format!("packing /{}", path.display()))?;
    }
    Ok(tar.into_inner()?)
}

/// A header without anything of this machine in it.
pub(super) fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Gathers everything below `root`/`within`; a path sorts by its components, so a folder precedes what it holds.
fn collect(root: &Path, within: &Path, found: &mut BTreeMap<PathBuf, Metadata>) -> Result<()> {
    let folder = root.join(within);
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = within.join(entry.file_name());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            collect(root, &path, found)?;
        }
        found.insert(path, meta);
    }
    Ok(())
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    root: &Path,
    (path, meta): (&Path, &Metadata),
    linked: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<()> {
    let kind = meta.file_type();
    let source = root.join(path);
    if kind.is_dir() {
        let mode = if meta.mode() & 0o1000 == 0 {
            0o755
        } else {
            0o1777
        };
        // The slash at the end is how tar marks a folder.
        let name = path.join("");
        tar.append_data(&mut header(EntryType::Directory, mode), name, &[][..])?;
    } else if kind.is_symlink() {
        let target = fs::read_link(&source)?;
        tar.append_link(&mut header(EntryType::Symlink, 0o777), path, target)?;
    } else if kind.is_file() {
        let mode = if meta.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        let identity = (meta.dev(), meta.ino());
        if let Some(first) = linked.get(&identity) {
            tar.append_link(&mut header(EntryType::Link, mode), path, first)?;
            return Ok(());
        }
        if meta.nlink() > 1 {
            linked.insert(identity, path.to_path_buf());
        }
        let mut header = header(EntryType::Regular, mode);
        header.set_size(meta.len());
        tar.append_data(&mut header, path, File::open(&source)?)?;
    } else {
        bail!("it is neither a file, a folder nor a link");
    }
    Ok(())
}
