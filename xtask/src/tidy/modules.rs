//! Dead files: every Rust file is named by a `mod` that can be reached from a target's root.
//!
//! The compiler never opens a file that no `mod` names, so it can rot for years.

use super::Finding;
use super::syntax::Source;
use super::tree::Tree;
use std::collections::BTreeSet;
use syn::{Expr, Item, ItemMod, Lit, LitStr};

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
            if tree.file(&module.place).is_some() {
                reach(tree, &module.place, &module.folder, reached);
            }
        }
    }
}

/// A file that another names.
struct Named {
    /// Where it may be.
    place: String,
    /// Where its own modules lie.
    folder: String,
}

/// Collects what a file names.
struct Finder<'a> {
    /// The folder that the file lies in.
    beside: &'a str,
    found: Vec<Named>,
}

fn named(source: &Source, folder: &str, beside: &str) -> Vec<Named> {
    let mut finder = Finder {
        beside,
        found: Vec::new(),
    };
    for item in &source.tree.items {
        finder.look(item, folder, beside);
    }
    finder.found
}

impl Finder<'_> {
    /// `folder` is where the modules named here lie, `of_paths` what a `#[path]` counts from.
    fn look(&mut self, item: &Item, folder: &str, of_paths: &str) {
        match item {
            Item::Mod(module) => self.look_at_module(module, folder, of_paths),
            Item::Macro(call) if call.mac.path.is_ident("include") => {
                if let Ok(path) = call.mac.parse_body::<LitStr>() {
                    let place = join(self.beside, &path.value());
                    self.add(place, folder.to_owned());
                }
            }
            _ => {}
        }
    }

    fn look_at_module(&mut self, module: &ItemMod, folder: &str, of_paths: &str) {
        let inner = join(folder, &module.ident.to_string());
        if let Some((_, items)) = &module.content {
            for item in items {
                // A `#[path]` inside an inline module counts from the module's own folder.
                self.look(item, &inner, &inner);
            }
        } else if let Some(path) = path_attribute(module) {
            let place = join(of_paths, &path);
            let folder = parent(&place).to_owned();
            self.add(place, folder);
        } else {
            self.add(format!("{inner}.rs"), inner.clone());
            self.add(format!("{inner}/mod.rs"), inner);
        }
    }

    fn add(&mut self, place: String, folder: String) {
        self.found.push(Named { place, folder });
    }
}

/// The text of `#[path = "text"]`.
fn path_attribute(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| {
        let pair = attribute.meta.require_name_value().ok()?;
        match &pair.value {
            Expr::Lit(literal) if pair.path.is_ident("path") => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        }
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
            (
                "a/src/tests.rs",
                "mod wire { include!(\"made/wire.rs\"); }\n",
            ),
            ("a/src/made/wire.rs", ""),
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
