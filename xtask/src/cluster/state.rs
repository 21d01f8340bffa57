//! A cluster's folder: its name, its addresses, its nodes, and where everything of it lies.

use super::journal::Journal;
use super::network::Range;
use crate::lock::{self, Lock};
use crate::places;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A name's length is limited by what names are made of it.
const NAME_LIMIT: usize = 20;

/// What is kept of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Its name.
    pub(super) name: String,
    /// Its addresses.
    pub(super) range: Range,
    /// Its nodes, killed ones too: an index is never used again.
    pub(super) nodes: Vec<Node>,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    /// 1 and up; its name and addresses follow from it.
    pub(super) index: u8,
    /// Whether `kill-node` took its power away.
    pub(super) killed: bool,
}

impl Node {
    /// `n1`, ...
    pub(super) fn name(&self) -> String {
        format!("n{}", self.index)
    }

    /// The zone it stands in: three of them, in turn.
    pub(super) fn zone(&self) -> &'static str {
        match self.index % 3 {
            1 => "zone-a",
            2 => "zone-b",
            _ => "zone-c",
        }
    }
}

impl State {
    /// What everything outside of its folder is called: `moraine-NAME-PART`.
    pub(super) fn label(&self, part: &str) -> String {
        format!("moraine-{}-{part}", self.name)
    }

    /// Nodes that have not been killed.
    pub(super) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.killed)
    }

    /// The index for one more node.
    pub(super) fn next_index(&self) -> Result<u8> {
        let last = self.nodes.iter().map(|node| node.index).max().unwrap_or(0);
        if last >= Range::NODES {
            bail!("a cluster has room for {} nodes", Range::NODES);
        }
        Ok(last + 1)
    }
}

/// The folder of one cluster.
#[derive(Clone)]
pub(super) struct Home(PathBuf);

impl Home {
    pub(super) fn of(name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self(all()?.join(name)))
    }

    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder; what holds keys is for root alone.
    pub(super) fn make(&self) -> Result<()> {
        for (inner, mode) in [
            ("", 0o755),
            ("pki", 0o700),
            ("etcd", 0o700),
            ("logs", 0o755),
            ("images", 0o755),
        ] {
            let folder = self.0.join(inner);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&folder)
                .with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(())
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// See [`super::kube::CACHE_VARIABLE`].
    pub(super) fn kubectl_cache(&self) -> PathBuf {
        self.0.join("kubectl-cache")
    }

    /// The folder of logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// Image archives that every node gets.
    pub(super) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// A node's disk.
    pub(super) fn node(&self, node: &Node) -> PathBuf {
        self.0.join("nodes").join(node.name())
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::at(self.0.join("made"))
    }

    /// Makes sure that no other command works on this cluster.
    pub(super) fn lock(&self) -> Result<Lock> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let path = places::cache()?.join(format!("locks/cluster-{name}"));
        lock::take(&path, &format!("cluster {name}"))
    }

    /// Reads the state; none if there is no such cluster or `up` had only just begun.
    pub(super) fn read(&self) -> Result<Option<State>> {
        let path = self.0.join("cluster.json");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result.with_context(|| format!("reading {}", path.display()))?,
        };
        let state = serde_json::from_str(&text);
        state
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// Reads the state of a cluster that must be there.
    pub(super) fn need(&self) -> Result<State> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        self.read()?.with_context(|| {
            format!("there is no cluster {name}: run `cargo xtask cluster up --name {name}`")
        })
    }

    /// Keeps the state; the old one stays whole until the new one is.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        let next = self.0.join("cluster.json.new");
        let text = serde_json::to_string_pretty(state)?;
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, self.0.join("cluster.json")))
            .with_context(|| format!("keeping the state in {}", self.0.display()))
    }
}

/// The folder of all clusters.
pub(super) fn all() -> Result<PathBuf> {
    Ok(places::cache()?.join("clusters"))
}

/// The clusters that have a folder, sorted by name.
pub(super) fn names() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(all()?) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=NAME_LIMIT).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !good {
        bail!(
            "{name:?} cannot be a cluster's name: use up to {NAME_LIMIT} of a-z, 0-9 and inner hyphens"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_the_folder_are_refused() {
        for good in ["dev", "test-2", "a"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            "..",
            "a/b",
            "-a",
            "a-",
            "A",
            "a b",
            "abcdefghijklmnopqrstu",
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_index_is_never_used_again() {
        let range = Range::of(201);
        let mut state = State {
            name: "x".to_owned(),
            range,
            nodes: Vec::new(),
        };
        assert_eq!(state.next_index().unwrap(), 1);
        state.nodes.push(Node {
            index: 4,
            killed: true,
        });
        assert_eq!(state.next_index().unwrap(), 5);
        assert_eq!(state.live().count(), 0);
        state.nodes.push(Node {
            index: Range::NODES,
            killed: false,
        });
        assert!(state.next_index().is_err());
    }

    #[test]
    fn the_state_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home(folder.path().join("x"));
        home.make().unwrap();
        assert_eq!(home.read().unwrap(), None);
        let nodes = vec![Node {
            index: 1,
            killed: false,
        }];
        let state = State {
            name: "x".to_owned(),
            range: Range::of(202),
            nodes,
        };
        home.save(&state).unwrap();
        assert_eq!(home.read().unwrap(), Some(state));
    }
}
