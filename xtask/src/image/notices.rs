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

/// The notices that the Rust project keeps of its standard library.
pub(super) fn of_library(sysroot: &Path) -> Result<Vec<u8>> {
    let path = sysroot.join("share/doc/rust/COPYRIGHT-library.html");
    fs::read(&path).with_context(|| {
        format!(
            "reading {}: the notices of Rust's library, which a toolchain of rustup has",
            path.display()
        )
    })
}

/// Identifiers of all packages that are linked into `roots`; macros and what only they use are not.
fn linked<'a>(metadata: &'a Metadata, roots: &[&'a str]) -> BTreeSet<&'a str> {
    let macros = metadata
        .packages
        .iter()
        .filter(|package| package.makes("proc-macro"))
        .map(|package| package.id.as_str());
    let macros: BTreeSet<&str> = macros.collect();
    let nodes = metadata.resolve.nodes.iter();
    let nodes: HashMap<&str, _> = nodes.map(|node| (node.id.as_str(), node)).collect();
    let mut found = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if macros.contains(id) || !found.insert(id) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `tool` links `lib`, uses the macro `derive` (which uses `parser`) and is built with `builder`.
    const METADATA: &str = r#"{
        "target_directory": "/t",
        "packages": [
            {"id": "tool", "name": "tool", "version": "1.0.0", "manifest_path": "/tool/Cargo.toml",
             "targets": [{"name": "tool", "kind": ["bin"]}]},
            {"id": "derive", "name": "derive", "version": "1.0.0", "source": "registry",
             "manifest_path": "/derive/Cargo.toml", "targets": [{"name": "derive", "kind": ["proc-macro"]}]}
        ],
        "resolve": {"nodes": [
            {"id": "tool", "deps": [
                {"pkg": "lib", "dep_kinds": [{"kind": null}]},
                {"pkg": "derive", "dep_kinds": [{"kind": null}]},
                {"pkg": "builder", "dep_kinds": [{"kind": "build"}]},
                {"pkg": "checker", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "lib", "deps": [{"pkg": "deep", "dep_kinds": [{"kind": "build"}, {"kind": null}]}]},
            {"id": "derive", "deps": [{"pkg": "parser", "dep_kinds": [{"kind": null}]}]}
        ]}
    }"#;

    #[test]
    fn only_what_is_linked_counts() {
        let metadata: Metadata = serde_json::from_str(METADATA).unwrap();
        let found = linked(&metadata, &["tool"]);
        assert_eq!(found, BTreeSet::from(["tool", "lib", "deep"]));
    }

    #[test]
    fn licence_files_are_known_by_their_names() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["LICENSE-MIT", "notice.txt", "README.md", "src"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut texts = texts_in(folder.path()).unwrap();
        texts.sort();
        assert_eq!(texts, ["LICENSE-MIT", "notice.txt"]);
    }
}
