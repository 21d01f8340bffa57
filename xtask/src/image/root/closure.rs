//! Which shared libraries a set of programs needs, and whether they fit.
//!
//! The loader would find out at run time, on a user's node; here it is an error of the build. That also proves that
//! the C library of the image is new enough for programs that were linked on this host.

use crate::image::elf::{self, Dynamic};
use crate::image::packages::Packages;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Paths in the image of the loader and all libraries that `programs` (files of this machine) need.
pub(super) fn libraries(packages: &Packages, programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut files = BTreeMap::new();
    let named = |path: &PathBuf| (path.display().to_string(), path.clone());
    let mut open: Vec<(String, PathBuf)> = programs.iter().map(named).collect();
    while let Some((name, source)) = open.pop() {
        let bytes = fs::read(&source).with_context(|| format!("reading {name}"))?;
        let dynamic = elf::read(&bytes).with_context(|| format!("reading {name}"))?;
        let dynamic = dynamic
            .with_context(|| format!("{name} is a script, and the image has no shell to run it"))?;
        if let Some(loader) = &dynamic.interpreter {
            let held = packages.find(loader);
            held.with_context(|| format!("{name} needs {}: no package has it", loader.display()))?;
            found.insert(loader.clone());
        }
        for library in &dynamic.needed {
            let (path, held) = folders()
                .into_iter()
                .map(|folder| PathBuf::from(folder).join(library))
                .find_map(|path| packages.find(&path).map(|held| (path, held)))
                .with_context(|| format!("{name} needs {library}: no package has it"))?;
            if found.insert(path) {
                open.push((library.clone(), held.source));
            }
        }
        files.insert(name, dynamic);
    }
    check_versions(&files)?;
    Ok(found)
}

/// Where the loader looks on Debian and Ubuntu.
fn folders() -> [String; 2] {
    let architecture = std::env::consts::ARCH;
    [
        format!("usr/lib/{architecture}-linux-gnu"),
        "usr/lib".to_owned(),
    ]
}

/// Fails if a library lacks a symbol version that another file wants of it.
pub(super) fn check_versions(files: &BTreeMap<String, Dynamic>) -> Result<()> {
    for (user, dynamic) in files {
        for (name, versions) in &dynamic.wanted {
            let none = BTreeSet::new();
            let defined = files.get(name).map_or(&none, |library| &library.defined);
            if let Some(lacking) = versions.difference(defined).next() {
                bail!(
                    "{user} wants {lacking} of {name}, and the {name} of this distribution's \
                     packages is older: build on the distribution whose packages are used"
                );
            }
        }
    }
    Ok(())
}
