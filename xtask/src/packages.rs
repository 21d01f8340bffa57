//! The crates of the workspace, as `cargo metadata` tells them.

use crate::proc::Cmd;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// One crate of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: String,
    /// Relative to the top of the repository.
    #[serde(skip)]
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// One line of a manifest's dependencies.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Nothing for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
    /// The folder, when it is a crate of ours; relative to the top of the repository.
    pub(crate) path: Option<String>,
}

/// A library, a program, a test, a benchmark or a build script.
#[derive(Deserialize)]
pub(crate) struct Target {
    name: String,
    pub(crate) kind: Vec<String>,
    /// Relative to the top of the repository.
    #[serde(rename = "src_path")]
    pub(crate) root: String,
}

/// Crates that have a workspace of their own, and why: their folders.
///
/// The fuzz targets: they need a nightly toolchain and sanitizers, which must not get into anybody else's build.
const APART: [&str; 3] = [
    "node-agent/protocol/fuzz",
    "node-agent/replica/fuzz",
    "node-agent/store/fuzz",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Package {
    /// All crates of the workspace at `root`.
    pub(crate) fn list(root: &Path) -> Result<Vec<Self>> {
        Self::list_at(root, "Cargo.toml")
    }

    /// The crates that lie in the repository and outside the workspace: nothing here builds them, but the rules over
    /// text hold for them too.
    pub(crate) fn list_apart(root: &Path) -> Result<Vec<Self>> {
        let mut packages = Vec::new();
        for folder in APART {
            packages.extend(Self::list_at(root, &format!("{folder}/Cargo.toml"))?);
        }
        Ok(packages)
    }

    fn list_at(root: &Path, manifest: &str) -> Result<Vec<Self>> {
        let json = Cmd::new("cargo", format!("list the crates of {manifest}"))
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .args(["--manifest-path", manifest])
            .dir(root)
            .read()?;
        let mut metadata: Metadata =
            serde_json::from_str(&json).context("reading what cargo metadata printed")?;
        for package in &mut metadata.packages {
            package.make_relative(root);
        }
        Ok(metadata.packages)
    }

    /// The manifest's path, relative to the top of the repository.
    pub(crate) fn manifest(&self) -> &str {
        &self.manifest_path
    }

    /// Whether it has a library, as opposed to programs and tests only.
    pub(crate) fn has_library(&self) -> bool {
        let kinds = self.targets.iter().flat_map(|target| &target.kind);
        kinds.into_iter().any(|kind| kind == "lib")
    }

    /// The names of its benchmarks.
    pub(crate) fn benches(&self) -> impl Iterator<Item = &str> {
        let benches = self
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "bench"));
        benches.map(|target| target.name.as_str())
    }

    /// Whether this file lies in the crate's folder, or in that of a crate inside it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.folder)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    fn make_relative(&mut self, root: &Path) {
        let relative = |path: &str| {
            let inside = Path::new(path).strip_prefix(root);
            inside.map_or_else(
                |_| path.to_owned(),
                |inside| inside.to_string_lossy().into_owned(),
            )
        };
        self.manifest_path = relative(&self.manifest_path);
        let folder = Path::new(&self.manifest_path).parent();
        self.folder = folder.map_or_else(String::new, |at| at.to_string_lossy().into_owned());
        for target in &mut self.targets {
            target.root = relative(&target.root);
        }
        for dependency in &mut self.dependencies {
            dependency.path = dependency.path.as_deref().map(relative);
        }
    }

    /// A crate in this folder with these targets, for tests of rules.
    #[cfg(test)]
    pub(crate) fn of(folder: &str, targets: &[(&str, &str)]) -> Self {
        let target = |(kind, root): &(&str, &str)| Target {
            name: root.replace('/', "-"),
            kind: vec![(*kind).to_owned()],
            root: format!("{folder}/{root}"),
        };
        Self {
            name: format!("moraine-{}", folder.replace('/', "-")),
            manifest_path: format!("{folder}/Cargo.toml"),
            folder: folder.to_owned(),
            dependencies: Vec::new(),
            targets: targets.iter().map(target).collect(),
        }
    }

    /// The same crate with one more dependency: `kind` is empty, `dev`, `build` or `optional`; a name with a slash
    /// is the folder of a crate of ours.
    #[cfg(test)]
    pub(crate) fn with(mut self, kind: &str, name: &str) -> Self {
        self.dependencies.push(Dependency {
            name: name.replace('/', "-"),
            kind: ["dev", "build"].contains(&kind).then(|| kind.to_owned()),
            optional: kind == "optional",
            path: (name.contains('/') || name == "crds").then(|| name.to_owned()),
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Package;
    use crate::places;

    #[test]
    fn finds_this_crate_and_its_root() {
        let packages = Package::list(&places::repository()).unwrap();
        let xtask = packages.iter().find(|package| package.name == "xtask");
        let xtask = xtask.expect("xtask is a crate of the workspace");
        assert_eq!(xtask.manifest(), "xtask/Cargo.toml");
        assert!(
            xtask
                .targets
                .iter()
                .any(|at| at.root == "xtask/src/main.rs")
        );
        assert!(xtask.holds("xtask/src/main.rs") && !xtask.holds("xtaskx/src/main.rs"));
    }

    #[test]
    fn finds_the_crates_apart_too() {
        let root = places::repository();
        let apart = Package::list_apart(&root).unwrap();
        let folders: Vec<&str> = apart.iter().map(|at| at.folder.as_str()).collect();
        assert_eq!(folders, super::APART);
        let inside = Package::list(&root).unwrap();
        assert!(
            inside
                .iter()
                .all(|at| !folders.contains(&at.folder.as_str()))
        );
    }
}
