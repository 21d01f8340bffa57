//! What a cluster has made, written down before it is made.
//!
//! `down` goes by this list alone, so it takes down neither less than there is (an entry may name what was never
//! made) nor what others made. One JSON object a line, only ever appended; a torn last line is one that was not yet
//! acted on.

use super::process::Identity;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// One thing made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Made {
    /// A network namespace, by the file that keeps it.
    Network(PathBuf),
    /// A link in the host's own network, by name and the alias that proves it is ours.
    Link(String, String),
    /// A group of processes, by its path below each cgroup hierarchy.
    Group(String),
    /// A process; the only thing recorded after it was made, since its id is not known before. Until then it is
    /// found in its group.
    Process(Identity),
}

/// The list, in a file.
pub(super) struct Journal(PathBuf);

impl Journal {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes down what is about to be made.
    pub(super) fn record(&self, made: &Made) -> Result<()> {
        let mut line = serde_json::to_string(made)?;
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("writing {}", self.0.display()))
    }

    /// All entries, oldest first.
    pub(super) fn read(&self) -> Result<Vec<Made>> {
        let text = read_or_empty(&self.0)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is damaged", self.0.display()))
    }
}

fn read_or_empty(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        result => result.with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_a_torn_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        let journal = Journal::at(path.clone());
        assert_eq!(journal.read().unwrap(), []);
        let made = [
            Made::Network(PathBuf::from("/run/netns/x")),
            Made::Link("mrn201".to_owned(), "moraine-x-host".to_owned()),
            Made::Group("moraine-x-n1".to_owned()),
            Made::Process(Identity::of(std::process::id().cast_signed()).unwrap()),
        ];
        for one in &made {
            journal.record(one).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"group\":\"mor").unwrap();
        assert_eq!(journal.read().unwrap(), made);
    }
}
