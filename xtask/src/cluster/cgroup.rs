//! Control groups: one for the control plane, and one for each node in which its kubelet makes those of the pods.
//!
//! ```text
//! /moraine-dev-cp          the control plane's processes
//! /moraine-dev-n1          the kubelet's cgroupRoot; empty itself, as cgroup v2 asks of inner groups
//! /moraine-dev-n1/system   kubelet, containerd and kube-proxy
//! /moraine-dev-n1/kubepods made by the kubelet
//! ```
//!
//! Both versions of cgroups are served: v2 (one hierarchy, controllers enabled from the top), and v1 (a hierarchy
//! each, the same group in all of them; also when a v2 hierarchy without controllers lies beside them).

use super::journal::{Journal, Made};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What kubelet wants to set for pods.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];
/// Those without which no pod starts.
const REQUIRED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// How often a node's group reaches for its controllers.
const ATTEMPTS: usize = 20;
/// How long the kernel may take to forget the processes of a group.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// Where this machine's groups are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchies {
    roots: Vec<PathBuf>,
    version_2_only: bool,
}

impl Hierarchies {
    pub(super) fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
        Self::parse(&mounts)
    }

    /// Fails if v2 cannot limit what kubelet and runc must limit.
    pub(super) fn check(&self) -> Result<()> {
        let Some(root) = self.roots.first().filter(|_| self.version_2_only) else {
            return Ok(());
        };
        let file = root.join("cgroup.controllers");
        let available =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let lacking = lacking_controllers(&available);
        if !lacking.is_empty() {
            bail!(
                "{} lacks {}, which Kubernetes needs: enable them for this kernel (or container)",
                file.display(),
                lacking.join(", ")
            );
        }
        Ok(())
    }

    fn parse(mountinfo: &str) -> Result<Self> {
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let Some(target) = before.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            match after.split(' ').next() {
                Some("cgroup") => v1.push(target),
                Some("cgroup2") => v2.push(target),
                _ => {}
            }
        }
        if v1.is_empty() && v2.is_empty() {
            bail!("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup");
        }
        let version_2_only = v1.is_empty();
        // A hierarchy may be mounted twice; with v2 alone the first mount is the system's.
        if version_2_only {
            v2.truncate(1);
        }
        v1.append(&mut v2);
        v1.dedup();
        Ok(Self {
            roots: v1,
            version_2_only,
        })
    }

    /// Makes the group `name`, and its inner group `system` for daemons if it is a node's.
    pub(super) fn make(&self, journal: &Journal, name: &str, inner: Option<&str>) -> Result<()> {
        journal.record(&Made::Group(name.to_owned()))?;
        for root in &self.roots {
            let group = root.join(name);
            make_one(&group, root)?;
            if let Some(inner) = inner {
                if self.version_2_only {
                    hold_controllers(root, &group)?;
                }
                make_one(&group.join(inner), &group)?;
            }
        }
        Ok(())
    }

    /// Puts the calling process into a group.
    pub(super) fn join(&self, name: &str) -> Result<()> {
        for root in &self.roots {
            let file = root.join(name).join("cgroup.procs");
            fs::write(&file, "0").with_context(|| format!("joining {}", file.display()))?;
        }
        Ok(())
    }

    /// All processes in a group and in the groups below it.
    pub(super) fn processes(&self, name: &str) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for root in &self.roots {
            for group in with_inner(&root.join(name)) {
                let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
        }
        found
    }

    /// Removes a group, in which no process may be left, and all below it.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let end = Instant::now() + REMOVE_LIMIT;
        for root in &self.roots {
            // Deepest first.
            for group in with_inner(&root.join(name)).iter().rev() {
                remove_one(group, end)?;
            }
        }
        Ok(())
    }
}

fn make_one(group: &Path, parent: &Path) -> Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("making the cgroup {}", group.display()));
        }
        _ => {}
    }
    // In v1 a new cpuset group has no processors and no memory, so nothing could run in it.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        let text = fs::read_to_string(&own).unwrap_or_else(|_| "absent".to_owned());
        if text.trim().is_empty() && !group.join("cgroup.controllers").exists() {
            let inherited = fs::read_to_string(parent.join(file))?;
            fs::write(&own, inherited.trim())
                .with_context(|| format!("writing {}", own.display()))?;
        }
    }
    Ok(())
}

/// Lets the groups below `group`, which lies in `root`, have controllers (v2).
///
/// A controller of the top that no group uses is taken away by systemd when it next looks, which can be before
/// `group` uses it. In use, the kernel keeps it there.
fn hold_controllers(root: &Path, group: &Path) -> Result<()> {
    let lacking = persist(|| {
        enable_controllers(root)?;
        enable_controllers(group)
    })?;
    if !lacking.is_empty() {
        bail!(
            "{} does not get {}: another program takes them away from {}",
            group.display(),
            lacking.join(", "),
            root.display()
        );
    }
    Ok(())
}

/// Tries until nothing is lacking, and returns what still is at the end.
fn persist(mut enable: impl FnMut() -> Result<Vec<&'static str>>) -> Result<Vec<&'static str>> {
    let mut lacking = Vec::new();
    for _ in 0..ATTEMPTS {
        lacking = enable()?;
        if lacking.is_empty() {
            break;
        }
    }
    Ok(lacking)
}

/// Enables in `group` all that can be, and returns what could not of what pods need.
fn enable_controllers(group: &Path) -> Result<Vec<&'static str>> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))
        .with_context(|| format!("reading the controllers of {}", group.display()))?;
    let wanted = wanted_controllers(&available);
    let file = group.join("cgroup.subtree_control");
    match fs::write(&file, &wanted) {
        Ok(()) => Ok(lacking_controllers(&available)),
        // One of them was taken away after the look.
        Err(error) if error.kind() == ErrorKind::NotFound && file.exists() => Ok(REQUIRED.to_vec()),
        Err(error) => {
            Err(error).with_context(|| format!("enabling {wanted} in {}", file.display()))
        }
    }
}

fn lacking_controllers(available: &str) -> Vec<&'static str> {
    let present: Vec<&str> = available.split_whitespace().collect();
    let absent = |one: &&str| !present.contains(one);
    REQUIRED.into_iter().filter(absent).collect()
}

fn wanted_controllers(available: &str) -> String {
    let present: Vec<&str> = available.split_whitespace().collect();
    let wanted = CONTROLLERS.iter().filter(|one| present.contains(one));
    wanted
        .map(|one| format!("+{one}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The group and all below it, outer before inner; empty if it does not exist.
fn with_inner(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    let mut found = vec![group.to_owned()];
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(with_inner(&entry.path()));
        }
    }
    found
}

fn remove_one(group: &Path, end: Instant) -> Result<()> {
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // Ended processes are counted until they are wholly gone.
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < end => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("removing the cgroup {}", group.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "24 30 0:22 / /proc rw - proc proc rw\n\
        35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
        99 24 0:30 / /var/lib/x/cgroup rw - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "35 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        36 24 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        37 24 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_alone_is_one_hierarchy() {
        let found = Hierarchies::parse(UNIFIED).unwrap();
        assert!(found.version_2_only);
        assert_eq!(found.roots, [Path::new("/sys/fs/cgroup")]);
    }

    #[test]
    fn version_1_is_all_hierarchies() {
        let found = Hierarchies::parse(HYBRID).unwrap();
        assert!(!found.version_2_only);
        let names = ["cpu", "systemd", "unified"].map(|one| Path::new("/sys/fs/cgroup").join(one));
        assert_eq!(found.roots, names);
        assert!(Hierarchies::parse("").is_err());
    }

    #[test]
    fn only_controllers_that_are_there_are_enabled() {
        let available = "cpuset cpu io memory pids rdma misc\n";
        assert_eq!(
            wanted_controllers(available),
            "+cpu +cpuset +io +memory +pids"
        );
    }

    #[test]
    fn a_system_without_the_controllers_of_pods_is_told_which() {
        assert_eq!(
            lacking_controllers("cpuset cpu io memory hugetlb pids"),
            [""; 0]
        );
        assert_eq!(lacking_controllers("cpuset cpu io pids"), ["memory"]);
        assert_eq!(lacking_controllers("hugetlb\n"), REQUIRED);
    }

    #[test]
    fn controllers_that_were_taken_away_meanwhile_are_enabled_again() {
        let mut answers = vec![Vec::new(), vec!["cpuset"], vec!["cpu", "cpuset"]];
        let lacking = persist(|| Ok(answers.pop().expect("asked no more once all are there")));
        assert!(lacking.unwrap().is_empty());
        assert!(answers.is_empty());
        assert_eq!(persist(|| Ok(vec!["cpu"])).unwrap(), ["cpu"]);
        assert!(persist(|| bail!("not a cgroup")).is_err());
    }

    #[test]
    fn a_v2_node_that_does_not_get_its_controllers_is_told_which() {
        let root = tempfile::tempdir().unwrap();
        let node = root.path().join("moraine-x-n1");
        fs::create_dir(&node).unwrap();
        fs::write(
            root.path().join("cgroup.controllers"),
            "cpu cpuset memory pids",
        )
        .unwrap();
        fs::write(node.join("cgroup.controllers"), "memory pids").unwrap();
        let refused = hold_controllers(root.path(), &node)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("does not get cpu, cpuset"), "{refused}");
    }

    /// A folder stands in for a v2 hierarchy: what is written where does not depend on the kernel.
    #[test]
    fn a_v2_node_enables_controllers_on_the_way_down_and_keeps_daemons_in_the_inner_group() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cgroup");
        let node = root.join("moraine-x-n1");
        fs::create_dir_all(&node).unwrap();
        for group in [&root, &node] {
            fs::write(
                group.join("cgroup.controllers"),
                "cpu cpuset memory misc pids",
            )
            .unwrap();
        }
        let hierarchies = Hierarchies {
            roots: vec![root.clone()],
            version_2_only: true,
        };
        let journal = Journal::at(folder.path().join("made"));
        hierarchies
            .make(&journal, "moraine-x-n1", Some("system"))
            .unwrap();
        let enabled = |group: &Path| fs::read_to_string(group.join("cgroup.subtree_control"));
        let wanted = "+cpu +cpuset +memory +pids";
        assert_eq!(enabled(&root).unwrap(), wanted);
        assert_eq!(enabled(&node).unwrap(), wanted);
        assert!(enabled(&node.join("system")).is_err());
        hierarchies.join("moraine-x-n1/system").unwrap();
        assert_eq!(
            fs::read_to_string(node.join("system/cgroup.procs")).unwrap(),
            "0"
        );
        assert_eq!(
            journal.read().unwrap(),
            [Made::Group("moraine-x-n1".to_owned())]
        );
    }
}
