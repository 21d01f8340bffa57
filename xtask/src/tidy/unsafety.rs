//! `unsafe` only in the files listed here; every other crate says that it has none.
//!
//! The compiler checks `forbid(unsafe_code)`; that the line is there, and that `deny` is not lifted by an `allow` in
//! some new file, nobody would check.

use super::Finding;
use super::tree::{File, Tree};
use crate::packages::{Package, Target};

/// Files that talk to the kernel where no safe crate does; a folder ends with a slash.
const LISTED: &[&str] = &["csi-driver/device/", "node-agent/store/src/disk/uring.rs"];

const FORBID: &str = "#![forbid(unsafe_code)]";
const DENY: &str = "#![deny(unsafe_code)]";

/// Checks every word of every file, and every crate's root.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources().filter(|(file, _)| !listed(&file.path)) {
        let words = source.words();
        for (index, (word, line)) in words.iter().enumerate() {
            let lifted = word == "unsafe_code"
                && index > 0
                && ["allow", "expect", "warn"].contains(&words[index - 1].0.as_str());
            if word == "unsafe" || lifted {
                let text = format!(
                    "unsafe code is allowed in {} only: use a safe crate, or put it there",
                    LISTED.join(" and ")
                );
                findings.push(Finding::new(&file.path, *line, text));
            }
        }
    }
    for package in &tree.packages {
        let may = tree
            .files
            .iter()
            .any(|file| listed(&file.path) && owner(tree, &file.path) == Some(package.manifest()));
        let roots = package.targets.iter().filter(|target| is_product(target));
        findings.extend(roots.filter_map(|target| root_finding(tree.file(&target.root)?, may)));
        findings.extend(manifest_finding(tree, package));
    }
    findings
}

/// The manifest of the innermost package that holds the file: one crate's folder may lie in another's.
fn owner<'a>(tree: &'a Tree, path: &str) -> Option<&'a str> {
    let holders = tree.packages.iter().filter(|package| package.holds(path));
    holders.map(Package::manifest).max_by_key(|path| path.len())
}

fn listed(path: &str) -> bool {
    LISTED.iter().any(|entry| match entry.strip_suffix('/') {
        Some(folder) => path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/')),
        None => path == *entry,
    })
}

/// Tests and benchmarks fall under the lint of the workspace.
fn is_product(target: &Target) -> bool {
    !target
        .kind
        .iter()
        .any(|kind| ["test", "bench", "example"].contains(&kind.as_str()))
}

fn root_finding(root: &File, may: bool) -> Option<Finding> {
    let text = root.text.as_deref()?;
    let wanted = if may { DENY } else { FORBID };
    if text.lines().any(|line| line.trim() == wanted) {
        return None;
    }
    let text = format!("add `{wanted}` below the opening comment");
    Some(Finding::new(&root.path, 1, text))
}

/// Without the workspace's lints, tests and benchmarks of a crate would be free.
fn manifest_finding(tree: &Tree, package: &Package) -> Option<Finding> {
    let text = tree.file(package.manifest())?.text.as_deref()?;
    if text.contains("[lints]\nworkspace = true") {
        return None;
    }
    let text = "add `[lints]` with `workspace = true`";
    Some(Finding::new(package.manifest(), 0, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn findings(folder: &str, files: &[(&str, &str)]) -> Vec<String> {
        let mut tree = Tree::of(files);
        tree.packages
            .push(Package::of(folder, &[("lib", "src/lib.rs")]));
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unsafe_outside_the_list_is_found_even_in_macros() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn a() { println!(\"unsafe {}\", unsafe { b() }) }\n";
        let found = findings("a", &[("a/src/lib.rs", text), ("a/Cargo.toml", LINTS)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a/src/lib.rs:3: unsafe code is allowed in"));
    }

    #[test]
    fn lifting_the_lint_is_found() {
        let files = [
            ("a/src/lib.rs", "#![forbid(unsafe_code)]\nmod b;\n"),
            ("a/src/b.rs", "#![allow(unsafe_code)]\n"),
            ("a/Cargo.toml", LINTS),
        ];
        assert!(findings("a", &files)[0].starts_with("a/src/b.rs:1:"));
    }

    #[test]
    fn a_root_must_forbid_or_deny() {
        let listed = "node-agent/store/src/disk/uring.rs";
        let files = [
            ("node-agent/store/src/lib.rs", "#![forbid(unsafe_code)]\n"),
            (listed, "fn a() { unsafe { b() } }\n"),
            ("node-agent/store/Cargo.toml", LINTS),
        ];
        let found = findings("node-agent/store", &files);
        assert_eq!(
            found,
            [
                "node-agent/store/src/lib.rs:1: add `#![deny(unsafe_code)]` below the opening comment"
            ]
        );
        let found = findings(
            "a",
            &[("a/src/lib.rs", "//! A.\n"), ("a/Cargo.toml", LINTS)],
        );
        assert_eq!(
            found,
            ["a/src/lib.rs:1: add `#![forbid(unsafe_code)]` below the opening comment"]
        );
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let files = [
            ("a/src/lib.rs", "#![forbid(unsafe_code)]\n"),
            ("a/Cargo.toml", "[package]\n"),
        ];
        assert!(findings("a", &files)[0].starts_with("a/Cargo.toml: add `[lints]`"));
    }

    #[test]
    fn a_crate_around_one_that_may_must_not() {
        let files = [
            ("node-agent/src/lib.rs", "#![deny(unsafe_code)]\n"),
            ("node-agent/store/src/lib.rs", "#![deny(unsafe_code)]\n"),
            ("node-agent/store/src/disk/uring.rs", "unsafe {}"),
            ("node-agent/Cargo.toml", LINTS),
            ("node-agent/store/Cargo.toml", LINTS),
        ];
        let mut tree = Tree::of(&files);
        for folder in ["node-agent", "node-agent/store"] {
            let package = Package::of(folder, &[("lib", "src/lib.rs")]);
            tree.packages.push(package);
        }
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("node-agent/src/lib.rs:1: add `#![forbid"));
    }
}
