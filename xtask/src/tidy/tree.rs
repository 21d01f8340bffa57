//! The repository as the rules see it: every file that git has or would add, and every crate.
//!
//! Files that git ignores are not part of the project and are never looked at.

use super::syntax::Source;
use crate::packages::Package;
use crate::proc::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// All files and crates of the repository.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
    pub(super) packages: Vec<Package>,
}

/// One file.
pub(super) struct File {
    /// Relative to the top of the repository.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// Nothing when it is not text.
    pub(super) text: Option<String>,
    /// Only for Rust: its syntax tree, or the line and the message of what is wrong with it.
    pub(super) source: Option<Result<Source, (usize, String)>>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let list = Cmd::new("git", "list the files of the repository")
            .args(["ls-files", "-z", "--cached", "--others"])
            .args(["--exclude-standard", "--deduplicate"])
            .dir(root)
            .read()?;
        let mut files = Vec::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let full = root.join(path);
            // A file that was deleted but not yet in git, or a link, has no text to check.
            if !full.symlink_metadata().is_ok_and(|data| data.is_file()) {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("reading {path}"))?;
            files.push(File::new(path, bytes));
        }
        let mut packages = Package::list(root)?;
        packages.extend(Package::list_apart(root)?);
        Ok(Self { files, packages })
    }

    /// The file at this path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every text file with its text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&File, &str)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.text.as_deref()?)))
    }

    /// Every Rust file that could be parsed.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.source.as_ref()?.as_ref().ok()?)))
    }

    /// A tree of these files, for tests of rules.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File::new(path, text.as_bytes().to_vec());
        Self {
            files: files.iter().map(file).collect(),
            packages: Vec::new(),
        }
    }
}

impl File {
    fn new(path: &str, bytes: Vec<u8>) -> Self {
        let size_bytes = bytes.len() as u64;
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains('\0'));
        let mut file = Self {
            path: path.to_owned(),
            size_bytes,
            text,
            source: None,
        };
        if file.has_extension("rs") {
            file.source = file.text.as_deref().map(Source::parse);
        }
        file
    }

    /// Whether its name ends in a dot and this.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// Whether the whole file is tests: an integration test, a test crate, or a `tests.rs` beside its module.
    pub(super) fn is_tests(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// Whether a program wrote it, which its first line says as the field's custom is.
    pub(super) fn is_generated(&self) -> bool {
        let first = self.text.as_deref().and_then(|text| text.lines().next());
        first.is_some_and(|line| line.contains("@generated"))
    }
}
