//! Programs that stay: started in a session and a cgroup of their own, and written down.

use super::cgroup::Hierarchies;
use super::journal::Made;
use super::process::Identity;
use super::state::Home;
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// This very program, also after a rebuild has replaced its file.
pub(super) const OURSELVES: &str = "/proc/self/exe";
/// Lines of a dead daemon's log that the error repeats.
const TAIL_LINES: usize = 8;

/// How to start a daemon.
pub(super) struct Daemon<'a> {
    /// Names it, and its log.
    pub(super) part: &'a str,
    /// The cgroup that it starts in.
    pub(super) group: &'a str,
    /// The network namespace that it starts in.
    pub(super) network: &'a Path,
    /// PATH for it and what it starts.
    pub(super) search_path: &'a OsStr,
    /// Program and arguments.
    pub(super) command: Vec<OsString>,
}

/// A daemon that was started.
pub(super) struct Running {
    pub(super) identity: Identity,
    part: String,
    log: PathBuf,
}

impl Daemon<'_> {
    pub(super) fn start(self, home: &Home) -> Result<Running> {
        let log = home.log(self.part);
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut network = OsString::from("--net=");
        network.push(self.network);
        let child = Command::new(OURSELVES)
            .args(["launch", "--group", self.group, "--", "nsenter"])
            .arg(network)
            .args(&self.command)
            .env("PATH", self.search_path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .current_dir("/")
            .spawn()
            .with_context(|| format!("starting {}", self.part))?;
        let pid = child.id().cast_signed();
        let identity = Identity::of(pid)
            .with_context(|| format!("{} ended at once: see {}", self.part, log.display()))?;
        home.journal().record(&Made::Process(identity))?;
        Ok(Running {
            identity,
            part: self.part.to_owned(),
            log,
        })
    }
}

impl Running {
    /// Fails with its last words if it has ended.
    pub(super) fn check(&self) -> Result<()> {
        if self.identity.runs() {
            return Ok(());
        }
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..);
        bail!(
            "{} has ended; its last words:\n    {}",
            self.part,
            last.unwrap_or_default().join("\n    ")
        );
    }
}

/// What [`Daemon::start`] runs first in the new process: takes its place, then becomes the program.
pub(super) fn launch(group: &str, command: &[OsString]) -> Result<()> {
    match rustix::process::setsid() {
        // Whoever leads a process group already is out of the terminal's reach as well.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error).context("starting a session"),
    }
    Hierarchies::find()?.join(group)?;
    let (program, arguments) = command.split_first().context("no program was named")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("running {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemon_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("etcd.log");
        fs::write(&log, "first\nlast\n").unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id().cast_signed()).unwrap();
        let running = Running {
            identity,
            part: "etcd".to_owned(),
            log,
        };
        running.check().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let said = running.check().unwrap_err().to_string();
        assert_eq!(said, "etcd has ended; its last words:\n    first\n    last");
    }
}
