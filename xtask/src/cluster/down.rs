//! Taking a cluster down: all that its journal names, and nothing else.
//!
//! Order: processes first (they hold everything else), then loop devices, links and namespaces, cgroups, and the
//! folder with the journal last. Each step is tried even if an earlier one failed; if any did, the journal stays, so
//! that the next `down` tries again. Whatever is gone already is no failure.

use super::cgroup::Hierarchies;
use super::journal::Made;
use super::process::{self, Identity};
use super::state::{Home, Node, State};
use super::{logs, loops, network, node, settings};
use crate::places;
use anyhow::{Context, Error, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const VANISH_LIMIT: Duration = Duration::from_secs(10);

/// What a journal names, sorted by kind.
#[derive(Default)]
struct Inventory {
    networks: Vec<PathBuf>,
    links: Vec<(String, String)>,
    groups: Vec<String>,
    processes: Vec<Identity>,
}

impl Inventory {
    fn of(entries: Vec<Made>) -> Self {
        let mut sorted = Self::default();
        for entry in entries {
            match entry {
                Made::Network(file) => sorted.networks.push(file),
                Made::Link(link, alias) => sorted.links.push((link, alias)),
                Made::Group(group) => sorted.groups.push(group),
                Made::Process(identity) => sorted.processes.push(identity),
            }
        }
        sorted
    }

    /// What belongs to one node only.
    fn of_node(entries: Vec<Made>, label: &str) -> Self {
        let mut sorted = Self::of(entries);
        sorted
            .networks
            .retain(|file| *file == network::handle(label));
        sorted.groups.retain(|group| group == label);
        sorted.links.clear();
        sorted.processes.clear();
        sorted
    }

    /// Everything that runs in it now.
    fn running(&self, hierarchies: &Hierarchies) -> BTreeSet<i32> {
        let recorded = self
            .processes
            .iter()
            .filter(|one| one.runs())
            .map(|one| one.pid);
        let grouped = self
            .groups
            .iter()
            .flat_map(|group| hierarchies.processes(group));
        let networked = self
            .networks
            .iter()
            .flat_map(|file| process::in_network(file));
        recorded.chain(grouped).chain(networked).collect()
    }
}

/// Takes a cluster down. With `keep_logs`, says where its logs are then.
pub(super) fn take_down(home: &Home, keep_logs: bool) -> Result<Option<PathBuf>> {
    let inventory = Inventory::of(home.journal().read()?);
    let hierarchies = Hierarchies::find()?;
    let mut troubles = Troubles::default();
    let running = inventory.running(&hierarchies);
    let everyone: Vec<i32> = running.into_iter().collect();
    let loops = troubles
        .note(loops::find(&everyone, home.path()))
        .unwrap_or_default();
    troubles.note(process::kill_all(|| inventory.running(&hierarchies)));
    troubles.note(loops::detach(&loops));
    for (link, alias) in &inventory.links {
        troubles.note(network::remove_link(link, alias));
    }
    for file in &inventory.networks {
        troubles.note(network::remove_namespace(file));
    }
    for group in &inventory.groups {
        troubles.note(hierarchies.remove(group));
    }
    troubles.note(wait_for_links(&inventory.links));
    troubles.note(refuse_mounts(home.path()));
    troubles.end()?;
    let kept = if keep_logs {
        Some(keep_logs_of(home)?)
    } else {
        None
    };
    remove_folder(home.path())?;
    settings::restore()?;
    Ok(kept)
}

/// Takes the power of one node away: its link first, then all its processes at once. Its disk stays.
pub(super) fn cut_power(home: &Home, state: &State, node: &Node) -> Result<()> {
    let label = state.label(&node.name());
    let journal = home.journal().read()?;
    let recorded = Inventory::of(journal.clone()).processes;
    let inventory = Inventory::of_node(journal, &label);
    let hierarchies = Hierarchies::find()?;
    let everyone: Vec<i32> = inventory.running(&hierarchies).into_iter().collect();
    let mut troubles = Troubles::default();
    let loops = troubles
        .note(loops::find(&everyone, &home.node(node)))
        .unwrap_or_default();
    troubles.note(network::cut_node(state, node));
    // With the first process of its namespace, the kernel ends all of them in one go; the rest is to be sure.
    let unshare = recorded.iter().find(|one| everyone.contains(&one.pid));
    if let Some(init) = unshare.and_then(|one| node::init_of(one.pid).ok()) {
        process::kill(init);
    }
    troubles.note(process::kill_all(|| inventory.running(&hierarchies)));
    troubles.note(loops::detach(&loops));
    troubles.note(hierarchies.remove(&label));
    for file in &inventory.networks {
        troubles.note(network::remove_namespace(file));
    }
    troubles.end()
}

/// Failures that shall not keep the next step from being tried.
#[derive(Default)]
struct Troubles(Vec<Error>);

impl Troubles {
    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    fn end(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = self.0.iter().map(|error| format!("{error:#}")).collect();
        bail!(
            "some things could not be taken down (run `cargo xtask cluster down` again): {}",
            all.join("; ")
        );
    }
}

/// A link goes when the kernel gets round to the end of its namespace.
fn wait_for_links(links: &[(String, String)]) -> Result<()> {
    let end = Instant::now() + VANISH_LIMIT;
    for (link, alias) in links {
        let path = format!("/sys/class/net/{link}/ifalias");
        while fs::read_to_string(&path).is_ok_and(|found| found.trim() == alias) {
            if Instant::now() >= end {
                bail!("the link {link} does not go");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The folder is deleted with all below it, so nothing may be mounted there. We mount nothing there ourselves.
fn refuse_mounts(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let mut targets = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    if let Some(target) = targets.find(|target| Path::new(target).starts_with(folder)) {
        bail!("{target} is mounted, by somebody else: unmount it");
    }
    Ok(())
}

fn keep_logs_of(home: &Home) -> Result<PathBuf> {
    let name = home
        .path()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let target = places::cache()?.join(format!("logs/cluster-{name}-{now}"));
    logs::copy(home, &target)?;
    Ok(target)
}

/// The journal goes last, in case this is cut short.
fn remove_folder(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_share_is_its_own_group_and_namespace() {
        let entries = vec![
            Made::Network(network::handle("moraine-x-n1")),
            Made::Network(network::handle("moraine-x-n11")),
            Made::Group("moraine-x-n1".to_owned()),
            Made::Group("moraine-x-cp".to_owned()),
            Made::Link("mrn201".to_owned(), "moraine-x-host".to_owned()),
        ];
        let share = Inventory::of_node(entries, "moraine-x-n1");
        assert_eq!(share.networks, [network::handle("moraine-x-n1")]);
        assert_eq!(share.groups, ["moraine-x-n1"]);
        assert!(share.links.is_empty());
    }

    #[test]
    fn every_failure_is_told() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.note(Ok(1)), Some(1));
        assert_eq!(troubles.note::<()>(Err(anyhow::anyhow!("one"))), None);
        troubles.note::<()>(Err(anyhow::anyhow!("two")));
        let text = troubles.end().unwrap_err().to_string();
        assert!(text.ends_with("one; two"), "{text}");
        Troubles::default().end().unwrap();
    }
}
