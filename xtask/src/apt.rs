//! Debian packages, installed by name when missing.

use crate::proc::Cmd;
use crate::progress::Step;
use crate::{interrupt, places, preflight};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long another apt may hold its lock.
const LOCK_LIMIT: Duration = Duration::from_mins(15);
/// What unpacking the packages we ask for takes, with room to spare.
const NEED_BYTES: u64 = 300 << 20;

/// Installs those of `packages` that are not there.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let listed = Cmd::new("dpkg-query", "list the installed packages")
        .args([
            "--show",
            "--showformat",
            "${Package} ${db:Status-Status}\\n",
        ])
        .read()?;
    let missing = missing(&listed, packages);
    if missing.is_empty() {
        return Ok(());
    }
    preflight::package_mirror_reachable()?;
    preflight::disk(Path::new("/usr"), NEED_BYTES, "installing Debian packages")?;
    let mut step = Step::start(format!("installing {} with apt", missing.join(" ")));
    apt_get(&["update"], &mut step)?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    apt_get(&install, &mut step)?;
    step.done("");
    Ok(())
}

fn missing<'a>(listed: &str, packages: &[&'a str]) -> Vec<&'a str> {
    let installed: HashSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    let absent = |package: &&&str| !installed.contains(**package);
    packages.iter().filter(absent).copied().collect()
}

/// Runs apt-get, again and again while another apt or dpkg holds a lock.
fn apt_get(args: &[&str], step: &mut Step) -> Result<()> {
    let log = places::cache()?.join(format!("logs/apt-{}.log", args[0]));
    let end = Instant::now() + LOCK_LIMIT;
    loop {
        let done = Cmd::new("apt-get", "install Debian packages")
            .arg("-q")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("NEEDRESTART_SUSPEND", "1")
            .env("LC_ALL", "C")
            .run_logged(&log, step);
        let Err(error) = done else { return Ok(()) };
        interrupt::check()?;
        let output = fs::read(&log).unwrap_or_default();
        match reason(&String::from_utf8_lossy(&output)) {
            Reason::Locked if Instant::now() < end => {
                step.tick();
                interrupt::sleep(Duration::from_secs(2))?;
            }
            Reason::Locked => bail!("another program has held apt's lock for too long: end it"),
            Reason::DiskFull => {
                return Err(error).context("the disk is too full to install Debian packages");
            }
            Reason::Other => return Err(error),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reason {
    Locked,
    DiskFull,
    Other,
}

fn reason(output: &str) -> Reason {
    if output.contains("Could not get lock") || output.contains("Unable to lock") {
        Reason::Locked
    } else if output.contains("No space left on device") {
        Reason::DiskFull
    } else {
        Reason::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wholly_installed_packages_count() {
        let listed = "gcc installed\nnftables config-files\nruncible installed\n";
        assert_eq!(
            missing(listed, &["gcc", "nftables", "runc"]),
            ["nftables", "runc"]
        );
    }

    #[test]
    fn apts_troubles_are_told_apart() {
        let locked = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7";
        assert_eq!(reason(locked), Reason::Locked);
        assert_eq!(
            reason("write error: No space left on device"),
            Reason::DiskFull
        );
        assert_eq!(reason("E: Unable to locate package x"), Reason::Other);
    }
}
