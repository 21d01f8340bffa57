//! The first process of a node: arranges what the node sees, starts its daemons, and reaps.
//!
//! It runs in namespaces of its own already. A daemon that ends is started again, as a service manager would. It
//! never ends by itself; whoever kills it kills the node.

use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// How long a daemon that ended stays down.
const RESTART: Duration = Duration::from_secs(1);
const GATE_PAUSE: Duration = Duration::from_millis(50);
/// Kernel settings that kubelet writes. It gets files of its own for them, so that the host's stay as they are.
const KUBELET_SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// The name of the file for which gated parts wait.
pub(super) const GATE: &str = "join";

/// What a node is to be.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct Plan {
    pub(super) host_name: String,
    /// The folder that stands in for its disk.
    pub(super) disk: PathBuf,
    /// The file whose appearance starts the gated parts.
    pub(super) gate: PathBuf,
    /// Its daemons, in the order of their start.
    pub(super) parts: Vec<Part>,
}

/// One daemon.
#[derive(Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Whether it waits for the gate.
    pub(super) gated: bool,
    pub(super) log: PathBuf,
}

/// Becomes the node that `plan` describes. Returns only if it cannot.
pub(in super::super) fn run(plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(plan)?).context("reading the plan")?;
    rustix::system::sethostname(plan.host_name.as_bytes()).context("setting the host name")?;
    arrange(&plan.disk).context("arranging the node's mounts")?;
    supervise(&plan)
}

fn arrange(disk: &Path) -> Result<()> {
    // What the host has mounted under /run (namespaces of other nodes, too) must not be held by this node.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for target in inner_mounts(&mounts, "/run/").iter().rev() {
        // What stays is covered by the next mount.
        unmount(*target, UnmountFlags::DETACH).ok();
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/run", "tmpfs", flags, c"mode=755").context("mounting /run")?;
    for folder in ["/run/containerd", "/run/lock"] {
        fs::create_dir_all(folder)?;
    }
    for (inner, target) in [("var-lib", "/var/lib"), ("var-log", "/var/log")] {
        mount_bind(disk.join(inner), target).with_context(|| format!("mounting {target}"))?;
    }
    for folder in ["/var/lib/kubelet", "/var/log/pods", "/var/log/containers"] {
        fs::create_dir_all(folder)?;
    }
    shield_settings(&disk.join("settings"))?;
    // Pods' mounts spread where they ask for it, within the node.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).context("sharing the node's mounts")
}

fn shield_settings(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for setting in KUBELET_SETTINGS {
        let real = Path::new("/proc/sys").join(setting);
        let own = folder.join(setting.replace('/', "."));
        fs::write(&own, fs::read(&real)?)?;
        mount_bind(&own, &real).with_context(|| format!("shielding {}", real.display()))?;
    }
    Ok(())
}

/// The mount points below `prefix`, outer before inner.
fn inner_mounts<'a>(mountinfo: &'a str, prefix: &str) -> Vec<&'a str> {
    let targets = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let mut inner: Vec<&str> = targets
        .filter(|target| target.starts_with(prefix) || format!("{target}/") == prefix)
        .collect();
    inner.sort_unstable();
    inner
}

fn supervise(plan: &Plan) -> Result<()> {
    let mut running: Vec<(u32, &Part)> = Vec::new();
    for part in &plan.parts {
        while part.gated && !plan.gate.exists() {
            thread::sleep(GATE_PAUSE);
        }
        running.push((start(part)?, part));
    }
    loop {
        // Orphans of containers come here too; they only need to be reaped.
        let ended = match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) => pid.as_raw_nonzero().get().cast_unsigned(),
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).context("waiting for a daemon's end"),
        };
        if let Some(slot) = running.iter_mut().find(|(pid, _)| *pid == ended) {
            eprintln!("{} ended and is started again", slot.1.program.display());
            thread::sleep(RESTART);
            slot.0 = start(slot.1)?;
        }
    }
}

fn start(part: &Part) -> Result<u32> {
    let log = append(&part.log).with_context(|| format!("opening {}", part.log.display()))?;
    let child = Command::new(&part.program)
        .args(&part.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", part.program.display()))?;
    Ok(child.id())
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_found_outer_first() {
        let mounts = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /run/netns/a rw - nsfs nsfs rw\n\
            3 1 0:3 / /run rw - tmpfs tmpfs rw\n4 1 0:4 / /running rw - tmpfs tmpfs rw\n";
        assert_eq!(inner_mounts(mounts, "/run/"), ["/run", "/run/netns/a"]);
    }
}
