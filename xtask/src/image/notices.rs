//! The licence texts of the crates that are linked into the programs: passing on the image means passing on these.
//!
//! It deliberately judges no licence; cargo-deny does.

use crate::image::binaries::Metadata;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How the files that a crate's author wants passed on are called.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// One text with each licence once, headed by the crates that it covers, for all that `roots` link.
pub(super) fn of_crates(metadata: &Metadata, roots: &[&str]) -> Result<String> {
    let linked = linked(metadata, roots);
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        if package.source.is_none() || !linked.contains(package.id.as_str()) {
            continue;
        }
        let title = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text below");
        writeln!(list, "{title}: {licence}")?;
        let folder = package.manifest_path.parent();
        for text in texts_in(folder.context("a manifest lies in a folder")?)? {
            texts.entry(text).or_default().insert(title.clone());
        }
    }
    let mut all = format!("Crates linked into Moraine's programs\n\n{list}");
    for (text, crates) in texts {
        let crates: Vec<String> = crates.into_iter().collect();
        let line = "-".repeat(80);
        write!(all, "\n{line}\n{}\n{line}\n{text}\n", crates.join(", "))?;
    }
    Ok(all)
}

/// Identifiers of all packages that are linked into `roots`.
fn linked<'a>(metadata: &'a Metadata, roots: &[&'a str]) -> BTreeSet<&'a str> {
    let nodes = metadata.resolve.nodes.iter();
    let nodes: HashMap<&str, _> = nodes.map(|node| (node.id.as_str(), node)).collect();
    let mut found = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let deps = nodes.get(id).map_or(&[][..], |node| &node.deps);
        let links = deps
            .iter()
            .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        open.extend(links.map(|dep| dep.pkg.as_str()));
    }
    found
}

fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            texts.push(String::from_utf8_lossy(&text).trim_end().to_owned());
        }
    }
    Ok(texts)
}
