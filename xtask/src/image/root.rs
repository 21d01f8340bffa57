//! The root folder of Moraine's image: our programs, the tools they run, what both need to start, and the licences.
//!
//! Each file has a reason to be here. There is deliberately no shell and no package manager: nothing at run time
//! needs one, and what is not there can't be misused. So tools that are shell scripts (`xfs_admin`, `xfs_info`) stay out.

mod closure;
#[cfg(test)]
mod tests;

use crate::image::binaries::Binaries;
use crate::image::packages::{MERGED, Package, Packages};
use crate::image::put;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The packages that [`TOOLS`] and [`FILES`] come from; apt finds what they depend on.
pub(super) const PACKAGES: [&str; 7] = [
    "base-files",
    "btrfs-progs",
    "e2fsprogs",
    "libc6",
    "mount",
    "util-linux",
    "xfsprogs",
];

/// Every tool in the image; docs/image.md gives the reason for each.
const TOOLS: [&str; 16] = [
    "blkid",
    "btrfs",
    "btrfstune",
    "e2fsck",
    "fstrim",
    "losetup",
    "mkfs.btrfs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mount",
    "resize2fs",
    "tune2fs",
    "umount",
    "wipefs",
    "xfs_growfs",
    "xfs_repair",
];

/// Where tools lie; some moved from one to the other between releases.
const TOOL_FOLDERS: [&str; 2] = ["usr/bin", "usr/sbin"];

/// What else is taken from packages: the features mkfs.ext4 chooses from, and the distribution's name for scanners.
const FILES: [&str; 2] = ["etc/mke2fs.conf", "etc/os-release"];

/// Files of our own. The operator runs as `moraine`; what handles devices runs as root.
const OWN_FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         moraine:x:65532:65532:Moraine:/nonexistent:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "etc/group",
        "root:x:0:\nmoraine:x:65532:\nnogroup:x:65534:\n",
    ),
    // Without it, older C libraries ask the DNS before they look into /etc/hosts.
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];

/// Empty folders, so that a read-only root has places to mount on.
const FOLDERS: [&str; 8] = ["dev", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"];

const DOC: &str = "usr/share/doc";
const COMMON_LICENSES: &str = "usr/share/common-licenses";

/// Fills the empty folder `rootfs` and returns what takes how many bytes.
pub(super) fn assemble(
    binaries: &Binaries,
    packages: &Packages,
    rootfs: &Path,
) -> Result<BTreeMap<String, u64>> {
    let mut root = Root {
        packages,
        rootfs,
        used: BTreeSet::new(),
        sizes: BTreeMap::new(),
    };
    root.frame()?;
    let mut programs = Vec::new();
    for program in &binaries.programs {
        root.install(program)?;
        programs.push(program.clone());
    }
    for tool in TOOLS {
        programs.push(root.take_tool(tool)?);
    }
    for path in closure::libraries(packages, &programs)? {
        root.take(&path, "shared libraries")?;
    }
    for path in FILES {
        root.take(Path::new(path), "licences and settings")?;
    }
    root.document(binaries)?;
    Ok(root.sizes)
}

/// A root folder being filled.
struct Root<'a> {
    packages: &'a Packages,
    rootfs: &'a Path,
    /// Packages that gave at least one file.
    used: BTreeSet<&'a Package>,
    sizes: BTreeMap<String, u64>,
}

impl Root<'_> {
    /// Folders, the links of a merged layout, and files of our own.
    fn frame(&mut self) -> Result<()> {
        for folder in FOLDERS {
            let folder = self.rootfs.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::set_permissions(self.rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        for name in MERGED {
            fs::create_dir_all(self.rootfs.join("usr").join(name))?;
            symlink(Path::new("usr").join(name), self.rootfs.join(name))?;
        }
        for (path, text) in OWN_FILES {
            self.add(path, text)?;
        }
        Ok(())
    }

    /// Copies one of our programs.
    fn install(&mut self, program: &Path) -> Result<()> {
        let name = program.file_name().context("a program has a name")?;
        let to = self.rootfs.join("usr/bin").join(name);
        let size = fs::copy(program, &to)
            .with_context(|| format!("copying {} to {}", program.display(), to.display()))?;
        self.count(&name.to_string_lossy(), size);
        Ok(())
    }

    /// Takes a tool from its package and returns where it lies on this machine.
    fn take_tool(&mut self, name: &str) -> Result<PathBuf> {
        let path = TOOL_FOLDERS
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| self.packages.find(path).is_some())
            .with_context(|| format!("none of the packages holds the tool {name}"))?;
        self.take(&path, "")
    }

    /// Takes the file at `path` from its package; links stay links. An empty `part` counts it to its package.
    fn take(&mut self, path: &Path, part: &str) -> Result<PathBuf> {
        let held = self.packages.find(path);
        let held =
            held.with_context(|| format!("none of the packages holds {}", path.display()))?;
        let to = self.rootfs.join(&held.path);
        if to.symlink_metadata().is_err() {
            let folder = to.parent().context("a file lies in a folder")?;
            fs::create_dir_all(folder)?;
            let size = fs::copy(&held.source, &to)
                .with_context(|| format!("copying {}", held.path.display()))?;
            let part = if part.is_empty() {
                &held.package.name
            } else {
                part
            };
            self.count(part, size);
        }
        let path = path.strip_prefix("/").unwrap_or(path);
        let link = self.rootfs.join(path);
        // Through the merged links of the root, it may be the very file that was just copied.
        if link.symlink_metadata().is_err() {
            let folder = path.parent().context("a link lies in a folder")?;
            fs::create_dir_all(self.rootfs.join(folder))?;
            symlink(relative(folder, &held.path), &link)
                .with_context(|| format!("linking {}", path.display()))?;
        }
        self.used.insert(held.package);
        Ok(held.source)
    }

    /// Adds what passing the image on demands: the licences, and which packages in which versions it was made of.
    fn document(&mut self, binaries: &Binaries) -> Result<()> {
        let mut list = String::new();
        let mut copyrights = String::new();
        for package in self.used.clone() {
            writeln!(list, "{} {}", package.name, package.version)?;
            let path = format!("{DOC}/{}/copyright", package.name);
            let held = self.packages.find(&path);
            let held = held.with_context(|| format!("no package holds {path}"))?;
            let text = fs::read(held.source).with_context(|| format!("reading {path}"))?;
            copyrights.push_str(&String::from_utf8_lossy(&text));
            self.add(&path, &text)?;
        }
        for path in self.packages.list(COMMON_LICENSES) {
            // They say "see /usr/share/common-licenses/GPL-2" rather than repeat it.
            if copyrights.contains(&format!("/{}", path.display()))
                && let Some(held) = self.packages.find(path)
            {
                self.add(&path.display().to_string(), fs::read(held.source)?)?;
            }
        }
        self.add("usr/share/moraine/packages.txt", &list)?;
        self.add(&format!("{DOC}/moraine/crates.txt"), &binaries.notices)?;
        let library = format!("{DOC}/moraine/rust-library.html");
        self.add(&library, &binaries.library_notices)?;
        let licence = fs::read(crate::places::repository().join("LICENSE"))?;
        self.add(&format!("{DOC}/moraine/copyright"), licence)
    }

    fn add(&mut self, path: &str, text: impl AsRef<[u8]>) -> Result<()> {
        self.count("licences and settings", text.as_ref().len() as u64);
        put(&self.rootfs.join(path), text)
    }

    fn count(&mut self, part: &str, size: u64) {
        *self.sizes.entry(part.to_owned()).or_default() += size;
    }
}

/// The way from a folder of the root to a file of it, so that a link is right from outside the root, too.
fn relative(folder: &Path, file: &Path) -> PathBuf {
    // Folders at the top may be links into /usr, from where `..` leads elsewhere.
    let folder = match folder.iter().next() {
        Some(top) if MERGED.iter().any(|name| top == *name) => Path::new("usr").join(folder),
        _ => folder.to_path_buf(),
    };
    let pairs = folder.iter().zip(file);
    let common = pairs.take_while(|(a, b)| a == b).count();
    let up = folder.iter().skip(common).map(|_| "..".as_ref());
    up.chain(file.iter().skip(common)).collect()
}
