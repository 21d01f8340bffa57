//! Is this machine fit? Each check fails with one sentence that says what is missing and what to do.
//!
//! Nothing is installed or changed here ([`crate::apt`] installs). Checks that need the network run only when
//! something must be fetched, so that a warm machine works offline.

mod network;
mod release;

pub(crate) use network::{go_proxy_reachable, package_mirror_reachable};

use crate::proc::Cmd;
use anyhow::{Context, Result, bail};
use release::{Release, Support};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The oldest Go that fetches newer toolchains by itself when a module asks for one.
const GO_MINIMUM: (u32, u32) = (1, 21);
const GIB: u64 = 1 << 30;

/// Fails unless this is a system that the cluster can run on, with the rights it needs.
pub(crate) fn system() -> Result<()> {
    let arch = env::consts::ARCH;
    if env::consts::OS != "linux" || !["x86_64", "aarch64"].contains(&arch) {
        bail!(
            "this needs Linux on x86_64 or aarch64, and this is {} on {arch}",
            env::consts::OS
        );
    }
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = Release::parse(&text);
    match release.support() {
        Support::Tried => {}
        Support::Untried => eprintln!(
            "  note: {} is not tried; Debian 12 and Ubuntu 24.04 are",
            release.name()
        ),
        Support::Unsupported => bail!(
            "this needs Debian 12 or Ubuntu 24.04 (or a derivative with apt), and this is {}",
            release.name()
        ),
    }
    if !rustix::process::geteuid().is_root() {
        bail!("this needs root, for namespaces, mounts and cgroups: run it again as root");
    }
    Ok(())
}

/// Fails unless the kernel can do what nodes are made of. Tried in namespaces that end with the trial.
pub(crate) fn kernel() -> Result<()> {
    let in_network = |script: &str| unshared(&["--net"], script);
    let overlay = "mount -t tmpfs trial /tmp && mkdir /tmp/l /tmp/u /tmp/w /tmp/m && \
         mount -t overlay trial -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w /tmp/m";
    let trials = [
        ("network namespaces", in_network("true")),
        (
            "mount and process namespaces",
            unshared(&["--mount", "--pid", "--fork"], "true"),
        ),
        ("veth links", in_network("ip link add trial type veth")),
        ("bridges", in_network("ip link add trial type bridge")),
        (
            "nftables with NAT",
            in_network(
                "nft 'table ip t { chain c { type nat hook postrouting priority 0; masquerade; }; }'",
            ),
        ),
        ("overlay file systems", unshared(&["--mount"], overlay)),
    ];
    for (feature, trial) in trials {
        trial.with_context(|| {
            format!("this kernel (or container) lacks {feature}, which the cluster's nodes need")
        })?;
    }
    Ok(())
}

fn unshared(flags: &[&str], script: &str) -> Result<()> {
    Cmd::new("unshare", "try a kernel feature")
        .args(flags)
        .args(["sh", "-c", script])
        .run()
}

/// Finds Go and fails if there is none or it is too old.
pub(crate) fn go() -> Result<PathBuf> {
    let program = find_go().context(
        "Go is not installed: install Go 1.21 or newer (https://go.dev/dl/) and put `go` into PATH",
    )?;
    let printed = Cmd::new(&program, "ask Go for its version")
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .read()?;
    let version = go_version(&printed)
        .with_context(|| format!("`{} version` printed {printed:?}", program.display()))?;
    if version < GO_MINIMUM {
        bail!(
            "Go {}.{} at {} is too old: install Go {}.{} or newer (https://go.dev/dl/), which fetches what newer version it needs by itself",
            version.0,
            version.1,
            program.display(),
            GO_MINIMUM.0,
            GO_MINIMUM.1
        );
    }
    Ok(program)
}

/// `go` from PATH, else from where its installer puts it (sudo drops that from PATH).
fn find_go() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push(PathBuf::from("/usr/local/go/bin"));
    folders
        .into_iter()
        .map(|folder| folder.join("go"))
        .find(|program| program.is_file())
}

/// Reads `go version go1.26.8 linux/amd64`.
fn go_version(printed: &str) -> Option<(u32, u32)> {
    let word = printed.split_whitespace().nth(2)?.strip_prefix("go")?;
    let mut numbers = word
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// Fails if the file system under `folder` (which need not exist yet) has fewer than `need_bytes` free.
pub(crate) fn disk(folder: &Path, need_bytes: u64, what: &str) -> Result<()> {
    let existing = folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let state = rustix::fs::statvfs(existing)
        .with_context(|| format!("asking for the free space of {}", existing.display()))?;
    let free_bytes = state.f_bavail.saturating_mul(state.f_frsize);
    if free_bytes < need_bytes {
        bail!(
            "the disk under {} is too full: {what} needs {} free, and {} is left",
            existing.display(),
            gib(need_bytes),
            gib(free_bytes)
        );
    }
    Ok(())
}

fn gib(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / u128::from(GIB);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(go_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(go_version("go version go1.21 linux/arm64"), Some((1, 21)));
        assert_eq!(
            go_version("go version go1.22rc1 linux/arm64"),
            Some((1, 22))
        );
        assert_eq!(go_version("go version devel +abc linux/arm64"), None);
        assert_eq!(go_version(""), None);
    }

    #[test]
    fn a_full_disk_is_one_sentence_with_both_numbers() {
        disk(Path::new("/nowhere/yet"), 1, "a test").unwrap();
        let refused = disk(Path::new("/"), u64::MAX, "a test").unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("a test needs 17179869183.9 GiB free"),
            "{text}"
        );
    }
}
