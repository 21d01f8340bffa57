//! Loop devices that a cluster's nodes set up. They belong to the kernel, not to a namespace, so they outlive the
//! node that made them.
//!
//! A loop device is a node's if its file, by device and inode, lies in the cluster's folder, or is what the node
//! itself sees under the name that the loop device reports (a block volume's file may lie elsewhere).

use crate::proc::Cmd;
use anyhow::{Context, Result};
use rustix::fs::{major, minor};
use serde::Deserialize;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Folders that each node has for itself.
const PRIVATE: [&str; 3] = ["/var/lib/", "/var/log/", "/run/"];

#[derive(Deserialize)]
struct Listed {
    loopdevices: Vec<Loop>,
}

#[derive(Clone, Debug, Deserialize)]
struct Loop {
    name: String,
    #[serde(rename = "back-ino")]
    inode: u64,
    #[serde(rename = "back-maj:min")]
    device: String,
    #[serde(rename = "back-file")]
    file: String,
}

/// The loop devices of nodes whose first processes are `inits`, or whose files lie below `folder`.
pub(super) fn find(inits: &[i32], folder: &Path) -> Result<BTreeSet<String>> {
    let loops = list()?;
    let mut found: BTreeSet<String> = BTreeSet::new();
    if loops.is_empty() {
        return Ok(found);
    }
    let mut files = HashSet::new();
    collect_files(folder, &mut files);
    for one in loops {
        let identity = (one.device.clone(), one.inode);
        if files.contains(&identity) || inits.iter().any(|init| seen_by(*init, &one, &identity)) {
            found.insert(one.name);
        }
    }
    Ok(found)
}

/// Lets go of loop devices.
pub(super) fn detach(names: &BTreeSet<String>) -> Result<()> {
    let attached: HashSet<String> = list()?.into_iter().map(|one| one.name).collect();
    for name in names.iter().filter(|name| attached.contains(*name)) {
        Cmd::new("losetup", "detach a loop device")
            .args(["--detach", name])
            .run()?;
    }
    Ok(())
}

fn list() -> Result<Vec<Loop>> {
    let text = Cmd::new("losetup", "list the loop devices")
        .args([
            "--list",
            "--json",
            "--output",
            "NAME,BACK-INO,BACK-MAJ:MIN,BACK-FILE",
        ])
        .read()?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Loop>> {
    let listed: Listed =
        serde_json::from_str(text).with_context(|| format!("losetup printed {text}"))?;
    let mut loops = listed.loopdevices;
    for one in &mut loops {
        // Padded with blanks, in JSON too.
        one.device = one.device.trim().to_owned();
    }
    Ok(loops)
}

fn seen_by(init: i32, one: &Loop, identity: &(String, u64)) -> bool {
    if !PRIVATE.iter().any(|folder| one.file.starts_with(folder)) {
        return false;
    }
    let path = format!("/proc/{init}/root{}", one.file);
    fs::metadata(path).is_ok_and(|meta| identity_of(&meta) == *identity)
}

fn identity_of(meta: &fs::Metadata) -> (String, u64) {
    let device = format!("{}:{}", major(meta.dev()), minor(meta.dev()));
    (device, meta.ino())
}

fn collect_files(folder: &Path, files: &mut HashSet<(String, u64)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            collect_files(&entry.path(), files);
        } else if meta.is_file() {
            files.insert(identity_of(&meta));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losetups_list_is_read() {
        let text = r#"{"loopdevices": [{"name": "/dev/loop3", "back-ino": 12,
            "back-maj:min": "     254:0  ", "back-file": "/var/lib/x"}]}"#;
        let loops = parse(text).unwrap();
        assert_eq!((loops[0].device.as_str(), loops[0].inode), ("254:0", 12));
    }

    #[test]
    fn a_file_is_known_by_device_and_inode() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/disk");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "x").unwrap();
        let mut files = HashSet::new();
        collect_files(folder.path(), &mut files);
        assert!(files.contains(&identity_of(&fs::metadata(&file).unwrap())));
        assert_eq!(files.len(), 1);
    }
}
