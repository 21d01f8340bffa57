//! Logs: those of the cluster's parts lie in one folder, those of pods on their nodes' disks.

use super::state::Home;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Copies all logs into `target`, which need not exist.
pub(super) fn copy(home: &Home, target: &Path) -> Result<()> {
    copy_folder(&home.logs(), target)?;
    let Some(state) = home.read()? else {
        return Ok(());
    };
    for node in &state.nodes {
        let pods = home.node(node).join("disk/var-log/pods");
        copy_folder(&pods, &target.join(format!("{}-pods", node.name())))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.with_context(|| format!("reading {}", from.display()))?,
    };
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in entries {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("writing {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::network::Range;
    use super::super::state::{Node, State};
    use super::*;

    #[test]
    fn logs_of_parts_and_of_pods_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("x"));
        home.make().unwrap();
        let node = Node {
            index: 2,
            killed: true,
        };
        let pod = home.node(&node).join("disk/var-log/pods/a/b");
        fs::create_dir_all(&pod).unwrap();
        fs::write(pod.join("0.log"), "pod").unwrap();
        fs::write(home.log("etcd"), "part").unwrap();
        let state = State {
            name: "x".to_owned(),
            range: Range::of(201),
            nodes: vec![node],
        };
        home.save(&state).unwrap();
        let target = folder.path().join("kept");
        copy(&home, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("etcd.log")).unwrap(), "part");
        assert_eq!(
            fs::read_to_string(target.join("n2-pods/a/b/0.log")).unwrap(),
            "pod"
        );
    }
}
