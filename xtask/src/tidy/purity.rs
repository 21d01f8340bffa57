//! The cores are deterministic: no clock, thread, randomness, socket or file of their own.
//!
//! Time, random numbers and I/O come in as arguments or through one small trait, so that the simulator runs the very
//! same code. Tests are free, and so are the shells listed in [`CORES`].
//!
//! Why not clippy's `disallowed_types`: it reads only the nearest `clippy.toml`, so that each core would repeat the
//! workspace's, and it can't tell tests from the product. Its strength, to see through renaming, is had here by
//! forbidding to import a module that has forbidden items, only the items themselves.

use super::Finding;
use super::syntax::{Source, only_tests};
use super::tree::{File, Tree};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, ItemUse, Macro, Path, PathArguments, UseTree,
};

/// The folders of cores, and in each the files that run it in production.
const CORES: &[(&str, &[&str])] = &[
    ("node-agent/model/src/", &[]),
    ("node-agent/protocol/src/", &[]),
    (
        "node-agent/store/src/",
        &[
            "disk/uring.rs",
            "disk/threads.rs",
            "disk/open.rs",
            "disk/open/error.rs",
        ],
    ),
    ("node-agent/replica/src/", &[]),
    ("csi-driver/engine/src/", &["shell.rs", "shell/"]),
    ("operator/placement/src/", &[]),
];

const TIME: &str = "take the time as an argument";
const RANDOM: &str = "take random numbers as an argument";
const OUTSIDE: &str = "ask the shell that runs this core";

/// What a core never names, and what it does instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time::Instant", TIME),
    ("std::time::SystemTime", TIME),
    ("std::time::UNIX_EPOCH", TIME),
    ("std::thread", OUTSIDE),
    ("std::net", OUTSIDE),
    ("std::fs", OUTSIDE),
    ("std::env", OUTSIDE),
    ("std::process", OUTSIDE),
    ("std::os", OUTSIDE),
    ("std::hash::RandomState", RANDOM),
    ("std::collections::hash_map::RandomState", RANDOM),
    ("rand", RANDOM),
    ("getrandom", RANDOM),
    ("fastrand", RANDOM),
    ("uuid", RANDOM),
    ("jiff", TIME),
    ("chrono", TIME),
    ("tokio", OUTSIDE),
    ("mio", OUTSIDE),
    ("libc", OUTSIDE),
    ("nix", OUTSIDE),
    ("rustix", OUTSIDE),
];

/// Modules that hold forbidden items: imported whole, they would hide what is used of them.
const MODULES: &[&str] = &[
    "std",
    "std::time",
    "std::hash",
    "std::collections::hash_map",
];

/// Hash maps whose order differs from run to run, unless a hasher is named as the last parameter.
const MAPS: &[(&str, usize)] = &[("HashMap", 3), ("HashSet", 2)];
const FIXED_ORDER: &str =
    "its order differs from run to run: take a BTreeMap or BTreeSet, or name a fixed hasher";

/// Checks every file of every core.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources().filter(|(file, _)| is_core(file)) {
        findings.extend(impurities(file, source));
    }
    findings
}

fn is_core(file: &File) -> bool {
    CORES.iter().any(|(folder, shells)| {
        let inside = file.path.strip_prefix(folder);
        inside.is_some_and(|path| {
            !file.is_tests() && !shells.iter().any(|shell| is_shell(path, shell))
        })
    })
}

fn is_shell(path: &str, shell: &str) -> bool {
    path == shell || (shell.ends_with('/') && path.starts_with(shell))
}

fn impurities(file: &File, source: &Source) -> Vec<Finding> {
    let mut finder = Impurities {
        path: &file.path,
        findings: Vec::new(),
    };
    finder.visit_file(&source.tree);
    finder.findings
}

struct Impurities<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Impurities<'_> {
    fn name(&mut self, name: &str, line: usize) {
        let name = name.trim_start_matches("::");
        let found = FORBIDDEN.iter().find(|(forbidden, _)| {
            let rest = name.strip_prefix(forbidden);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        if let Some((_, instead)) = found {
            self.add(line, format!("a core may not use `{name}`: {instead}"));
        }
    }

    fn import(&mut self, name: &str, line: usize) {
        let module = name.trim_end_matches("::*").trim_end_matches("::self");
        if MODULES.contains(&module) {
            let text = format!(
                "import from `{module}` by item: the whole module has what a core may not use"
            );
            self.add(line, text);
        } else {
            self.name(module, line);
        }
    }

    fn import_tree(&mut self, tree: &UseTree, before: &str) {
        let line = tree.span().start().line;
        match tree {
            UseTree::Path(path) => {
                let so_far = format!("{before}{}::", path.ident);
                self.import_tree(&path.tree, &so_far);
            }
            UseTree::Name(name) => self.import(&format!("{before}{}", name.ident), line),
            UseTree::Rename(name) => self.import(&format!("{before}{}", name.ident), line),
            UseTree::Glob(_) => self.import(&format!("{before}*"), line),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import_tree(tree, before);
                }
            }
        }
    }

    /// Paths inside a macro's call, which the parser doesn't look into.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line) = (String::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(word) if path.is_empty() || path.ends_with("::") => {
                    line = word.span().start().line;
                    path.push_str(&word.to_string());
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    path.push(':');
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            self.path_of_tokens(&path, line);
            path.clear();
        }
        self.path_of_tokens(&path, line);
    }

    fn path_of_tokens(&mut self, path: &str, line: usize) {
        if path.contains("::") {
            self.name(path.trim_end_matches(':'), line);
        }
    }

    fn map(&mut self, path: &Path) {
        let mut segments = path.segments.iter().rev();
        let (Some(last), before) = (segments.next(), segments.next()) else {
            return;
        };
        for (map, parameters) in MAPS {
            let line = last.ident.span().start().line;
            let given = match &last.arguments {
                PathArguments::AngleBracketed(given) => given.args.len(),
                _ => *parameters,
            };
            let made = before.is_some_and(|before| before.ident == map)
                && ["new", "with_capacity", "from"]
                    .iter()
                    .any(|maker| last.ident == maker);
            if (last.ident == map && given < *parameters) || made {
                self.add(
                    line,
                    format!("a core may not use a plain `{map}`: {FIXED_ORDER}"),
                );
            }
        }
    }

    fn add(&mut self, line: usize, text: String) {
        self.findings.push(Finding::new(self.path, line, text));
    }
}

impl<'ast> Visit<'ast> for Impurities<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::ExternCrate(other) = item {
            self.import(&other.ident.to_string(), other.ident.span().start().line);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !only_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !only_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if !only_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !only_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !only_tests(&item.attrs) {
            self.import_tree(&item.tree, "");
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        // A single word is a name of this file, such as a variable called `rand`.
        if parts.len() > 1 {
            self.name(&parts.join("::"), path.span().start().line);
        }
        self.map(path);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests;
