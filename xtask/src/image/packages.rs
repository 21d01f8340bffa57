//! Packages of the host's distribution as a set of files to pick from; nothing is installed and no script runs.
//!
//! apt resolves the dependencies as on a system without any package, so the set is whole and the same whatever the
//! host has installed. Packages stay in the cache; they are unpacked afresh each time, which takes seconds.

#[cfg(test)]
mod tests;

use crate::interrupt;
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

/// Folders that are links into /usr on a merged system; old packages still put files into them.
pub(super) const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// More links than this on one path are a loop.
const LINKS_MAX: usize = 40;

/// One package in the version that apt chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    architecture: String,
}

impl Package {
    /// The name that apt gives the file.
    fn file(&self) -> String {
        // apt escapes the epoch's colon.
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}

/// A file that a package holds.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) package: &'a Package,
    /// Where its content lies unpacked.
    pub(super) source: PathBuf,
    /// Where links led to.
    pub(super) path: PathBuf,
}

enum Entry {
    Folder,
    /// Which package holds it.
    File(usize),
    Link(PathBuf),
}

/// Unpacked packages.
pub(super) struct Packages {
    list: Vec<Package>,
    /// By path in the merged layout, without the leading slash.
    entries: BTreeMap<PathBuf, Entry>,
    unpacked: TempDir,
}

/// A scratch folder on the disk of the cache, as /tmp may be small.
pub(super) fn scratch() -> Result<TempDir> {
    let folder = places::cache()?.join("image");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    TempDir::with_prefix_in("scratch-", &folder)
        .with_context(|| format!("making a folder in {}", folder.display()))
}

impl Packages {
    /// Downloads and unpacks the named packages and all they depend on.
    pub(super) fn gather(names: &[&str]) -> Result<Self> {
        require_apt()?;
        // The lists may be missing (a fresh container) or name versions that are gone from the archive.
        let (list, folder) = obtain(names).or_else(|_| {
            update()?;
            obtain(names)
        })?;
        let mut packages = Self {
            list,
            entries: BTreeMap::new(),
            unpacked: scratch()?,
        };
        let mut step = Step::start("unpacking Debian packages");
        for at in 0..packages.list.len() {
            packages.unpack(at, &folder)?;
            step.tick();
        }
        step.done("");
        Ok(packages)
    }

    /// The file at `path`, links followed.
    pub(super) fn find(&self, path: impl AsRef<Path>) -> Option<Held<'_>> {
        let mut path = merged(path.as_ref())?;
        for _ in 0..LINKS_MAX {
            let Some((link, target)) = self.first_link(&path) else {
                let Entry::File(at) = *self.entries.get(&path)? else {
                    return None;
                };
                return Some(Held {
                    package: &self.list[at],
                    source: self.source(at, &path),
                    path,
                });
            };
            let rest = path.strip_prefix(link).ok()?;
            path = merged(&link.parent()?.join(target).join(rest))?;
        }
        None
    }

    /// Paths of all files and links right in a folder.
    pub(super) fn list(&self, folder: &str) -> Vec<&Path> {
        let entries = self.entries.iter();
        entries
            .filter(|(path, entry)| {
                !matches!(entry, Entry::Folder) && path.parent() == Some(Path::new(folder))
            })
            .map(|(path, _)| path.as_path())
            .collect()
    }

    /// Copies everything into one root, merged, as if installed (but without the packages' scripts).
    pub(super) fn copy_all(&self, root: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            let to = root.join(path);
            match entry {
                Entry::Folder => fs::create_dir_all(&to).map(drop),
                Entry::Link(target) => std::os::unix::fs::symlink(target, &to),
                Entry::File(at) => fs::copy(self.source(*at, path), &to).map(drop),
            }
            .with_context(|| format!("writing {}", to.display()))?;
        }
        Ok(())
    }

    /// The link nearest to the root on a path.
    fn first_link<'a>(&'a self, path: &'a Path) -> Option<(&'a Path, &'a Path)> {
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        prefixes
            .into_iter()
            .find_map(|prefix| match self.entries.get(prefix) {
                Some(Entry::Link(target)) => Some((prefix, target.as_path())),
                _ => None,
            })
    }

    /// Where a file of the merged layout lies among the unpacked.
    fn source(&self, at: usize, path: &Path) -> PathBuf {
        let folder = self.unpacked.path().join(at.to_string());
        let unmerged = folder.join(path.strip_prefix("usr").unwrap_or(path));
        let merged = folder.join(path);
        if merged.symlink_metadata().is_ok() {
            merged
        } else {
            unmerged
        }
    }

    fn unpack(&mut self, at: usize, folder: &Path) -> Result<()> {
        let package = &self.list[at];
        let into = self.unpacked.path().join(at.to_string());
        Cmd::new("dpkg-deb", format!("unpack {}", package.file()))
            .arg("--extract")
            .arg(folder.join(package.file()))
            .arg(&into)
            .run()?;
        self.index(at, &into, Path::new(""))
    }

    fn index(&mut self, at: usize, top: &Path, within: &Path) -> Result<()> {
        for entry in fs::read_dir(top.join(within))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            let kind = entry.file_type()?;
            // The links of a merged system itself; our layout has them anyway.
            if kind.is_symlink() && MERGED.iter().any(|name| path == Path::new(name)) {
                continue;
            }
            let found = if kind.is_dir() {
                self.index(at, top, &path)?;
                Entry::Folder
            } else if kind.is_symlink() {
                Entry::Link(fs::read_link(entry.path())?)
            } else {
                Entry::File(at)
            };
            let place = merged(&path).context("a package holds a file with no place")?;
            // A folder may belong to several; a file or link has one owner.
            self.entries.entry(place).or_insert(found);
        }
        Ok(())
    }
}

/// A path from the root in the merged layout, with `..` resolved; none if it leads out of the root.
fn merged(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::RootDir => plain.clear(),
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let first = plain.iter().next()?;
    if MERGED.iter().any(|name| first == *name) {
        return Some(Path::new("usr").join(plain));
    }
    Some(plain)
}

fn require_apt() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in ["apt-get", "dpkg-deb"] {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            bail!(
                "an image is made of packages of Debian 12 or Ubuntu 24.04, and this system has no \
                 {program}: make it on one of them, or use the Dockerfile"
            );
        }
    }
    Ok(())
}

/// apt-get as on a system with no package installed.
fn apt(purpose: &str) -> Result<Cmd> {
    let folder = places::cache()?.join("image");
    let status = folder.join("nothing-installed");
    super::put(&status, "")?;
    Ok(Cmd::new("apt-get", purpose)
        .env("LC_ALL", "C")
        .arg("--quiet")
        .arg("--option")
        .arg(format!("Dir::State::status={}", status.display()))
        // The host's own cache of the package lists is neither read nor written: it knows another status.
        .args(["--option", "Dir::Cache::pkgcache="])
        .args(["--option", "Dir::Cache::srcpkgcache="])
        .args(["--option", "APT::Install-Recommends=false"])
        // Ubuntu gives an update to some machines first, by their identity; all shall get the same.
        .args(["--option", "APT::Get::Never-Include-Phased-Updates=true"])
        // Nothing of the host is changed, so its locks are left to those who need them.
        .args(["--option", "Debug::NoLocking=true"])
        // The archives' signatures are checked all the same; this is about the user that downloads.
        .args(["--option", "APT::Sandbox::User=root"]))
}

/// Which packages, in which versions.
fn resolve(names: &[&str]) -> Result<Vec<Package>> {
    let step = Step::start("choosing Debian packages");
    let text = apt("choose Debian packages")?
        .args(["--simulate", "install"])
        .args(names)
        .read()?;
    let mut list = text
        .lines()
        .filter(|line| line.starts_with("Inst "))
        .map(|line| parse(line).with_context(|| format!("apt-get said: {line}")))
        .collect::<Result<Vec<Package>>>()?;
    list.sort();
    step.done(&format!("{} packages", list.len()));
    Ok(list)
}

/// Reads a line such as `Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []`.
fn parse(line: &str) -> Option<Package> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    // What follows the bracket are apt's remarks on what is not yet configured.
    let (inside, _) = rest.split_once("])")?;
    let (origin, architecture) = inside.rsplit_once(" [")?;
    let (version, _) = origin.split_once(' ')?;
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    })
}

/// Chooses packages and downloads them into the folder that is returned.
fn obtain(names: &[&str]) -> Result<(Vec<Package>, PathBuf)> {
    let list = resolve(names)?;
    let folder = download(&list)?;
    Ok((list, folder))
}

/// Fetches new lists of what the archive has.
fn update() -> Result<()> {
    interrupt::check()?;
    if !rustix::process::geteuid().is_root() {
        bail!(
            "apt does not know the packages of the image: run `sudo apt-get update` and try again"
        );
    }
    let log = places::cache()?.join("image/update.log");
    let mut step = Step::start("updating the lists of Debian packages");
    let updated = Cmd::new("apt-get", "update the lists of Debian packages")
        .env("LC_ALL", "C")
        .args(["--quiet", "--error-on=any", "update"])
        .run_logged(&log, &mut step);
    if updated.is_err() {
        interrupt::check()?;
        bail!(
            "the packages of the image can't be downloaded: is this machine online? What apt-get \
             said is in {}",
            log.display()
        );
    }
    step.done("");
    Ok(())
}

/// Downloads what the cache lacks and returns the folder.
fn download(list: &[Package]) -> Result<PathBuf> {
    let folder = places::cache()?.join("image/packages");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let missing = || {
        let absent = |package: &&Package| !folder.join(package.file()).is_file();
        let wanted = |package: &Package| format!("{}={}", package.name, package.version);
        list.iter()
            .filter(absent)
            .map(wanted)
            .collect::<Vec<String>>()
    };
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(folder);
    }
    let mut step = Step::start(format!("downloading {} Debian packages", wanted.len()));
    let log = folder.join("download.log");
    apt("download Debian packages (is this machine online?)")?
        .arg("download")
        .args(wanted)
        .dir(&folder)
        .run_logged(&log, &mut step)?;
    if let Some(lost) = missing().first() {
        bail!(
            "apt-get downloaded {lost} under a name that was not expected: see {}",
            log.display()
        );
    }
    step.done("");
    Ok(folder)
}
