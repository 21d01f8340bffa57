//! Dead files: every Rust file is named by a `mod` that can be reached from a target's root.
//!
//! The compiler never opens a file that no `mod` names, so it can rot for years.

use super::Finding;
use super::syntax::Source;
use super::tree::Tree;
use std::collections::BTreeSet;
use syn::{Expr, Item, ItemMod, Lit, Meta};

/// Finds the files that no target reaches.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for target in tree.packages.iter().flat_map(|package| &package.targets) {
        let folder = parent(&target.root).to_owned();
        reach(tree, &target.root, &folder, &mut reached);
    }
    let dead = tree
        .files
        .iter()
        .filter(|file| file.has_extension("rs") && !reached.contains(&file.path));
    dead.map(|file| {
        let text = "no `mod` that a crate's root reaches names this file: name it, or remove it";
        Finding::new(&file.path, 0, text)
    })
    .collect()
}

/// Marks the file and all that it names; `folder` is where its modules lie.
fn reach(tree: &Tree, path: &str, folder: &str, reached: &mut BTreeSet<String>) {
    if !reached.insert(path.to_owned()) {
        return;
    }
    if let Some(Ok(source)) = tree.file(path).and_then(|file| file.source.as_ref()) {
        for module in named(source, folder, parent(path)) {
            let found = module
                .places
                .iter()
                .find(|place| tree.file(place).is_some());
            if let Some(place) = found {
                reach(tree, place, &module.folder, reached);
            }
        }
    }
}

/// A module that a file names but does not hold.
struct Named {
    /// Where it may be; the first that exists is it.
    places: Vec<String>,
    /// Where its own modules lie.
    folder: String,
}

fn named(source: &Source, folder: &str, of_paths: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for item in &source.tree.items {
        collect(item, folder, of_paths, &mut found);
    }
    found
}

fn collect(item: &Item, folder: &str, of_paths: &str, found: &mut Vec<Named>) {
    let Item::Mod(module) = item else { return };
    let inner = join(folder, &module.ident.to_string());
    if let Some((_, items)) = &module.content {
        for item in items {
            // A `#[path]` inside an inline module counts from the module's own folder.
            collect(item, &inner, &inner, found);
        }
    } else if let Some(path) = path_attribute(module) {
        let place = join(of_paths, &path);
        let folder = parent(&place).to_owned();
        found.push(Named {
            places: vec![place],
            folder,
        });
    } else {
        found.push(Named {
            places: vec![format!("{inner}.rs"), format!("{inner}/mod.rs")],
            folder: inner,
        });
    }
}

/// The text of `#[path = "text"]`.
fn path_attribute(module: &ItemMod) -> Option<String> {
    module
        .attrs
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins and resolves `..`.
pub(super) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Package;

    #[test]
    fn reached_files_live_and_others_are_dead() {
        let mut tree = Tree::of(&[
            (
                "a/src/lib.rs",
                "mod b;\nmod c { mod d; }\n#[cfg(test)]\nmod tests;\n",
            ),
            ("a/src/b.rs", "mod e;\n#[path = \"other.rs\"]\nmod f;\n"),
            ("a/src/b/e.rs", ""),
            ("a/src/other.rs", "mod g;\n"),
            ("a/src/g.rs", ""),
            ("a/src/c/d.rs", "mod h;\n"),
            ("a/src/c/d/h/mod.rs", "mod i;\n"),
            ("a/src/c/d/h/i.rs", ""),
            ("a/src/tests.rs", ""),
            ("a/src/tests/server.rs", "// what nobody compiles\n"),
            ("a/tests/whole.rs", "mod b;\n"),
            ("a/tests/part/b.rs", ""),
            ("a/benches/old.rs", ""),
        ]);
        tree.packages.push(Package::of(
            "a",
            &[("lib", "src/lib.rs"), ("test", "tests/whole.rs")],
        ));
        let dead: Vec<String> = check(&tree).into_iter().map(|at| at.path).collect();
        assert_eq!(
            dead,
            [
                "a/src/tests/server.rs",
                "a/tests/part/b.rs",
                "a/benches/old.rs"
            ]
        );
    }

    #[test]
    fn paths_are_joined() {
        assert_eq!(join("a/b", "../c.md"), "a/c.md");
        assert_eq!(join("", "../c.md"), "../c.md");
        assert_eq!(join("a", "./b//c"), "a/b/c");
    }
}
