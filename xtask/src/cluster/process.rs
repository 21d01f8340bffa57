//! Processes as the kernel shows them: told apart by id *and* start time, never by a program's name.

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long the kernel may take to end what got SIGKILL (a process may hang in I/O).
const END_LIMIT: Duration = Duration::from_secs(30);

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its id.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    start_ticks: u64,
}

impl Identity {
    /// The process that has this id now; none if it has ended.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        let start_ticks = stat.start_ticks;
        (!stat.ended).then_some(Self { pid, start_ticks })
    }

    /// Whether it still runs.
    pub(super) fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// What /proc/PID/stat tells us.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name stands in parentheses and may hold anything, so fields are counted from the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The ids of all processes.
fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

/// The processes that `parent` started and that still run.
pub(super) fn children(parent: i32) -> Vec<i32> {
    let is_child = |pid: &i32| Stat::read(*pid).is_some_and(|s| s.parent == parent && !s.ended);
    all().into_iter().filter(is_child).collect()
}

/// The processes in the network namespace that is kept at `handle`.
pub(super) fn in_network(handle: &Path) -> Vec<i32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = identity(Path::new("/proc/self/ns/net"));
    let Some(wanted) = identity(handle).filter(|wanted| Some(*wanted) != own) else {
        return Vec::new();
    };
    let inside = |pid: &i32| identity(Path::new(&format!("/proc/{pid}/ns/net"))) == Some(wanted);
    all().into_iter().filter(inside).collect()
}

/// Sends SIGKILL to all that `find` finds, until it finds none: what is killed may just have started another.
pub(super) fn kill_all(mut find: impl FnMut() -> BTreeSet<i32>) -> Result<()> {
    let end = Instant::now() + END_LIMIT;
    loop {
        let found: Vec<i32> = find()
            .into_iter()
            .filter(|pid| Identity::of(*pid).is_some())
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!("these processes do not end: {found:?} (blocked in I/O?)");
        }
        for pid in found {
            kill(pid);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends SIGKILL to one process.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself.
        kill_process(pid, Signal::KILL).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let stat = Stat::parse(&format!("42 (a) Z (b) {rest}")).unwrap();
        let wanted = Stat {
            ended: false,
            parent: 7,
            start_ticks: 4711,
        };
        assert_eq!(stat, wanted);
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[test]
    fn an_id_with_another_start_is_another_process() {
        let me = Identity::of(std::process::id().cast_signed()).unwrap();
        assert!(me.runs());
        let former = Identity {
            start_ticks: me.start_ticks - 1,
            ..me
        };
        assert!(!former.runs());
    }

    #[test]
    fn killing_goes_on_until_none_is_left() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(children(std::process::id().cast_signed()).contains(&pid));
        kill_all(|| BTreeSet::from([pid])).unwrap();
        assert!(Identity::of(pid).is_none());
        child.wait().unwrap();
    }

    #[test]
    fn our_own_network_is_never_a_target() {
        assert!(in_network(Path::new("/proc/self/ns/net")).is_empty());
        assert!(in_network(Path::new("/nowhere")).is_empty());
    }
}
