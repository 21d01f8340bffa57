//! The ratchet: files and functions that may be longer than the rule says, each with its length and its reason.
//!
//! A length in the list is exact. What grows is a finding, and so is what has shrunk, until the list says so: an entry
//! can only go down, and one that is no longer needed has to go.

use super::tree::Tree;
use anyhow::{Context, Result};
use serde::Deserialize;

/// Where the list is kept.
pub(super) const LIST: &str = "xtask/tidy-exceptions.toml";

/// The whole list.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Exceptions {
    /// Files longer than 500 lines without their tests.
    #[serde(default)]
    pub(super) code: Vec<Exception>,
    /// Files longer than 800 lines in all.
    #[serde(default, rename = "file")]
    pub(super) files: Vec<Exception>,
    /// Functions longer than 70 lines.
    #[serde(default, rename = "function")]
    pub(super) functions: Vec<Exception>,
}

/// One entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub(super) path: String,
    /// Of the function; empty for a file.
    #[serde(default)]
    pub(super) name: String,
    /// Its length now.
    pub(super) lines: usize,
    pub(super) reason: String,
}

impl Exceptions {
    /// Reads the list; without one there are no exceptions.
    pub(super) fn read(tree: &Tree) -> Result<Self> {
        let text = tree.file(LIST).and_then(|file| file.text.as_deref());
        toml::from_str(text.unwrap_or_default()).with_context(|| format!("parsing {LIST}"))
    }
}
