//! One version of each dependency, in one place, each with the reason it is there.
//!
//! Every entry of `[workspace.dependencies]` has a comment right above it and a crate that uses it; no crate names a
//! version or a folder itself. Crates of our own need no reason: ARCHITECTURE.md gives it.

use super::Finding;
use super::tree::Tree;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use toml::{Table, Value};

const WORKSPACE: &str = "Cargo.toml";
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the workspace's manifest and every crate's.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for package in &tree.packages {
        let manifest = parse(tree, package.manifest())?;
        for (name, entry) in entries(&manifest) {
            if entry.get("workspace") != Some(&Value::Boolean(true)) {
                let line = line_of(tree, package.manifest(), &name);
                let text = format!(
                    "`{name}` names its own version or folder: enter it in [workspace.dependencies] with its reason \
                     and write `{name}.workspace = true`"
                );
                findings.push(Finding::new(package.manifest(), line, text));
            }
            used.insert(name);
        }
    }
    let workspace = parse(tree, WORKSPACE)?;
    let shared = table(&workspace, &["workspace", "dependencies"]);
    let lines = workspace_lines(tree);
    for (name, entry) in shared.into_iter().flatten() {
        let line = lines.iter().find(|at| at.name == *name);
        let number = line.map_or(0, |at| at.number);
        if !used.contains(name) {
            let text = format!("no crate uses `{name}`: remove it");
            findings.push(Finding::new(WORKSPACE, number, text));
        }
        let ours = entry.get("path").is_some();
        if !ours && !line.is_some_and(|at| at.reason) {
            let text = format!("write the reason for `{name}` as a comment right above it");
            findings.push(Finding::new(WORKSPACE, number, text));
        }
    }
    Ok(findings)
}

/// The line of a manifest that names a dependency, 0 if none does.
pub(super) fn line_of(tree: &Tree, manifest: &str, name: &str) -> usize {
    let text = tree.file(manifest).and_then(|file| file.text.as_deref());
    let mut lines = text.unwrap_or_default().lines();
    let found = lines.position(|line| entry_name(line) == Some(name));
    found.map_or(0, |index| index + 1)
}

fn parse(tree: &Tree, manifest: &str) -> Result<Table> {
    let text = tree.file(manifest).and_then(|file| file.text.as_deref());
    let text = text.with_context(|| format!("{manifest} is missing"))?;
    text.parse().with_context(|| format!("parsing {manifest}"))
}

/// Every dependency of a crate's manifest, those of single platforms too.
fn entries(manifest: &Table) -> Vec<(String, Value)> {
    let platforms = table(manifest, &["target"]).into_iter().flatten();
    let platforms = platforms.filter_map(|(_, value)| value.as_table());
    let places: Vec<&Table> = platforms.chain([manifest]).collect();
    let tables = places
        .iter()
        .flat_map(|place| KINDS.iter().filter_map(|kind| table(place, &[kind])));
    tables
        .flatten()
        .map(|(name, entry)| (name.clone(), entry.clone()))
        .collect()
}

fn table<'a>(from: &'a Table, path: &[&str]) -> Option<&'a Table> {
    path.iter()
        .try_fold(from, |table, name| table.get(*name)?.as_table())
}

/// A line that opens an entry of `[workspace.dependencies]`.
struct EntryLine {
    name: String,
    number: usize,
    /// Whether a comment stands right above it.
    reason: bool,
}

fn workspace_lines(tree: &Tree) -> Vec<EntryLine> {
    let text = tree.file(WORKSPACE).and_then(|file| file.text.as_deref());
    let (mut inside, mut above) = (false, "");
    let mut lines = Vec::new();
    for (index, line) in text.unwrap_or_default().lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_end() == "[workspace.dependencies]";
        } else if inside && let Some(name) = entry_name(line) {
            lines.push(EntryLine {
                name: name.to_owned(),
                number: index + 1,
                reason: above.starts_with('#') && above.len() > 2,
            });
        }
        above = line;
    }
    lines
}

/// The `name` of `name = ...` or `name.workspace = ...`.
fn entry_name(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim_end().split('.').next()?;
    let plain = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Package;

    fn findings(workspace: &str, manifest: &str) -> Vec<String> {
        let mut tree = Tree::of(&[("Cargo.toml", workspace), ("a/Cargo.toml", manifest)]);
        tree.packages.push(Package::of("a", &[]));
        let found = check(&tree).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_entry_needs_its_own_reason_and_a_user() {
        let workspace = "[workspace.dependencies]\n# Edges.\nserde = \"1\"\nserde_json = \"1\"\n";
        let manifest = "[dependencies]\nserde.workspace = true\n";
        let found = findings(workspace, manifest);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("Cargo.toml:4: no crate uses `serde_json`"));
        assert!(found[1].starts_with("Cargo.toml:4: write the reason for `serde_json`"));
    }

    #[test]
    fn a_crate_names_no_version_and_no_folder() {
        let workspace =
            "[workspace.dependencies]\n# Edges.\nserde = { version = \"1\",\n    features = [] }\n";
        let manifest = "[dependencies]\nserde = \"1\"\n\n[target.'cfg(unix)'.dev-dependencies]\n\
                        b = { path = \"../b\" }\n";
        let found = findings(workspace, manifest);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found
                .iter()
                .any(|text| text.starts_with("a/Cargo.toml:2: `serde` names"))
        );
        assert!(
            found
                .iter()
                .any(|text| text.starts_with("a/Cargo.toml:5: `b` names"))
        );
    }

    #[test]
    fn features_of_a_shared_dependency_are_the_crates_own() {
        let workspace = "[workspace.dependencies]\nb = { path = \"b\" }\n# Edges.\nserde = \"1\"\n";
        let manifest = "[build-dependencies]\nb.workspace = true\n[dependencies]\n\
                        serde = { workspace = true, features = [\"rc\"] }\n";
        assert_eq!(findings(workspace, manifest), Vec::<String>::new());
    }
}
